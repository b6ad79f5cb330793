"""The fused layer for Hopper GPUs (Pallas, Mosaic GPU): modulated weights, nine shifted products, one epilogue.

Each block of threads makes a piece of one row of pixels, for some output channels: tiles of the padded image, shifted
by the tap, and of the sample's modulated kernel come through the tensor memory accelerator into shared memory, some in
flight, and `wgmma` adds their products in float32 registers. It has not run on a GPU yet, so nothing chooses it but
`modulated_conv_gpu` itself; XLA with cuDNN is what runs there (benchmarks/gpu_queue.md).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxtalk.kernels.modulated_conv import choice, packing, reference, tiles
from jaxtalk.kernels.modulated_conv.fused import Settings
from jaxtalk.kernels.modulated_conv.tiles import GPUTile

_CHANNELS = 64  # of a tile of the contraction: 128 bytes, one swizzle


def limits(x: jax.Array, weight: jax.Array) -> str | None:
  """Why the kernel cannot do this layer, or None if it can."""
  if x.dtype != jnp.bfloat16:
    return f"{x.dtype} features"
  if x.shape[2] % 64 or x.shape[3] % _CHANNELS or weight.shape[3] % 64:
    return f"rows of {x.shape[2]} pixels with {x.shape[3]} channels to {weight.shape[3]}: not whole tiles"
  return None


def modulated_conv_gpu(
  settings: Settings,
  x: jax.Array,
  weight: jax.Array,
  styles: jax.Array,
  bias: jax.Array,
  noise: jax.Array | None,
  *,
  interpret: Any = False,
) -> jax.Array:
  """As `fused.layer`, without derivatives.

  Raises:
    NotImplementedError: shapes or dtypes that do not fit the tiles.
  """
  if reason := limits(x, weight):
    raise NotImplementedError(reason)
  n, height, width, channels = x.shape
  out = weight.shape[3]
  blocks = packing.Blocks(settings.up, (1, 1), (1, 1), (channels, out))
  phases = settings.up**2
  scales = reference.demodulation(weight, styles) if settings.demodulate else jnp.ones((n, out))
  scales = jnp.tile(scales * settings.gain, (1, phases))
  kernel = packing.block_kernel(weight, settings.filter, blocks)
  kernel = (kernel[None] * styles[:, None, :, None] * scales[:, None, None, :]).astype(x.dtype)
  kernel = kernel.reshape(n, 9 * channels, phases * out)
  plane = jnp.zeros((1, height * settings.up, width * settings.up)) if noise is None else noise * settings.gain
  plane = packing.pack(plane[..., None], (settings.up, settings.up))
  plane = jnp.broadcast_to(jnp.moveaxis(plane, 3, 1), (n, phases, height, width))
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(n * (height + 2), width + 2, channels)
  # Tiles in shared memory are eight pixels high and so start at multiples of eight: a shift is an image of its own.
  shifted = jnp.stack([padded[:, dx : dx + width] for dx in range(3)])
  layer = choice.size_name(height * settings.up, (channels, out), settings.up)
  tile = tiles.lookup_gpu(choice.device_kind(), layer)
  y = _call(shifted, kernel, jnp.tile(bias * settings.gain, phases), plane, settings, out, tile, interpret)
  return packing.unpack(y.reshape(n, height, width, phases * out), (settings.up, settings.up))


def _call(shifted, kernel, bias, plane, settings: Settings, out: int, tile: GPUTile, interpret: Any) -> jax.Array:
  n, phases, height, width = plane.shape
  lanes = kernel.shape[2]
  pixels = tile.pixels if width % tile.pixels == 0 else 64
  wide = tile.lanes if out % tile.lanes == 0 else 64
  tiling = plgpu.TilingTransform((8, _CHANNELS)), plgpu.SwizzleTransform(128)
  body = functools.partial(
    _kernel,
    settings=settings,
    out=out,
    tile=dataclasses.replace(tile, pixels=pixels, lanes=wide),
    height=height,
    interpret=bool(interpret),
  )
  run = plgpu.kernel(
    body,
    out_type=jax.ShapeDtypeStruct((n * height, width, lanes), shifted.dtype),
    grid=(n * height, width // pixels, lanes // wide),
    grid_names=("row", "column", "channel"),
    scratch_types={
      "image": plgpu.SMEM((tile.stages, pixels, _CHANNELS), shifted.dtype, transforms=tiling),
      "taps": plgpu.SMEM((tile.stages, _CHANNELS, wide), shifted.dtype, transforms=tiling),
      "result": plgpu.SMEM((pixels, wide), shifted.dtype, transforms=tiling),
      "arrived": plgpu.Barrier(num_arrivals=2, num_barriers=tile.stages),
    },
    interpret=interpret,
  )
  return run(shifted, kernel, bias, plane)


def _kernel(
  shifted, kernel, bias, plane, out_ref, *, image, taps, result, arrived, settings, out, tile, height, interpret
):
  pixels, wide, stages = tile.pixels, tile.lanes, tile.stages
  row, column, channel = (lax.axis_index(name) for name in ("row", "column", "channel"))
  sample = lax.div(row, height)
  first, left, low = row + 2 * sample, column * pixels, channel * wide
  parts = shifted.shape[3] // _CHANNELS
  steps = 9 * parts

  def fetch(step, slot):
    tap, part = lax.div(step, parts), lax.rem(step, parts)
    channels = pl.ds(part * _CHANNELS, _CHANNELS)
    source = shifted.at[lax.rem(tap, 3), first + lax.div(tap, 3), pl.ds(left, pixels), channels]
    plgpu.copy_gmem_to_smem(source, image.at[slot], arrived.at[slot])
    source = kernel.at[sample, pl.ds(step * _CHANNELS, _CHANNELS), pl.ds(low, wide)]
    plgpu.copy_gmem_to_smem(source, taps.at[slot], arrived.at[slot])

  for stage in range(stages):
    fetch(jnp.int32(stage), stage)

  def products(sums):
    def one(step, _):
      slot = lax.rem(step, stages)
      plgpu.barrier_wait(arrived.at[slot])
      plgpu.wgmma(sums, image.at[slot], taps.at[slot])
      plgpu.wgmma_wait(0)
      pl.when(step + stages < steps)(lambda: fetch(step + stages, slot))
      return ()

    lax.fori_loop(0, steps, one, ())
    return sums[...]

  y = pl.run_scoped(products, plgpu.ACC((pixels, wide), jnp.float32))
  phase = lax.div(low, out)
  layout = plgpu.Layout.WGMMA
  per_channel = _read(bias.at[pl.ds(low, wide)], layout.reduce(0), interpret)
  row_of_sample = lax.rem(row, height)
  per_pixel = plane.at[sample, phase, row_of_sample, pl.ds(left, pixels)]
  per_pixel = _read(per_pixel, layout.reduce(1), interpret)
  y += lax.broadcast_in_dim(per_channel, (pixels, wide), [1]) + lax.broadcast_in_dim(per_pixel, (pixels, wide), [0])
  y = jnp.maximum(y, y * settings.slope)
  if settings.clamp is not None:
    y = jnp.minimum(jnp.maximum(y, -settings.clamp), settings.clamp)
  result[...] = y.astype(result.dtype)
  plgpu.commit_smem()
  plgpu.copy_smem_to_gmem(result, out_ref.at[row, pl.ds(left, pixels), pl.ds(low, wide)])
  plgpu.wait_smem_to_gmem(0)


def _read(ref, layout, interpret: bool) -> jax.Array:
  """Values in the registers where the sums of their row or column are; the interpreter knows no registers."""
  return ref[...] if interpret else plgpu.load(ref, (), layout=layout, optimized=False)

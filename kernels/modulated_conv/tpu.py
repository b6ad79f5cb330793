"""The fused layer as one TPU kernel (Pallas, Mosaic): modulate, convolve, demodulate, noise, bias, activation, clamp.

A step of the grid is a band of rows of blocks (see packing) of one image, and some of its output channels. Style and
demodulation scale the kernel, not the image: once an image, in VMEM. Everything after the products happens on float32
before the one store. Rows above and below the band come as two more views of the same image, so the pipeline of the
grid fetches them as it does the rest. The compiler unrolls a step, so `tiles` keeps its products few.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxtalk.kernels.modulated_conv.packing import LANES, Blocks
from jaxtalk.kernels.modulated_conv.tiles import Tile

_FOLDED_LANES = 512  # of a region; an up-convolution to more has so many channels that folding its filter in costs more


@dataclasses.dataclass(frozen=True)
class Epilogue:
  """``clip(act(y), -clamp, clamp)``: leaky ReLU of this slope (1 is linear). Gains are in the scales."""

  slope: float = 1.0
  clamp: float | None = None


def conv_blocks(
  x: jax.Array,
  kernel: jax.Array,
  styles: jax.Array,
  scales: jax.Array,
  bias: jax.Array,
  noise: jax.Array | None,
  *,
  blocks: Blocks,
  epilogue: Epilogue,
  tile: Tile,
  interpret: bool,
) -> jax.Array:
  """The fused layer on blocks.

  Args:
    x: (N, h, w, input lanes), blocks of the input.
    kernel: (sources, input lanes, region lanes) from `block_kernel`.
    styles: (N, input lanes) float32, factors of the kernel's rows.
    scales: (N, region lanes) float32, factors of its columns.
    bias: (1, region lanes) float32.
    noise: (N or 1, H', W') float32, pixels of the output, or None.
    blocks: the plan.
    epilogue: what is applied to the sums.
    tile: how much a step of the grid does.
    interpret: run on the host, in plain JAX.

  Returns:
    (N, h * region rows, w * region columns, output lanes) in the dtype of ``x``.

  Raises:
    NotImplementedError: shapes that do not lie well in the TPU's registers.
  """
  n, height, width, lanes = x.shape
  (_, out_lanes), (rows, columns) = blocks.lanes, blocks.region
  sources, _, region_lanes = kernel.shape
  if not interpret and (reason := limits(blocks, width, x.dtype)):
    raise NotImplementedError(reason)
  wide = tile.width(region_lanes) if blocks.region == (1, 1) else region_lanes
  band = tile.band(height, width, sources * lanes * wide, x.dtype)
  specs = [
    pl.BlockSpec((1, 1, width, lanes), lambda i, t, j: (i, jnp.maximum(j * band - 1, 0), 0, 0)),
    pl.BlockSpec((1, band, width, lanes), lambda i, t, j: (i, j, 0, 0)),
    pl.BlockSpec((1, 1, width, lanes), lambda i, t, j: (i, jnp.minimum(j * band + band, height - 1), 0, 0)),
    pl.BlockSpec((sources, lanes, wide), lambda i, t, j: (0, 0, t)),
    pl.BlockSpec((1, lanes, 1), lambda i, t, j: (i, 0, 0)),
    pl.BlockSpec((1, 1, wide), lambda i, t, j: (i, 0, t)),
    pl.BlockSpec((1, wide), lambda i, t, j: (0, t)),
  ]
  args = [x, x, x, kernel.astype(x.dtype), styles[:, :, None], scales[:, None, :], bias]
  scratch = [pltpu.VMEM((sources * lanes, wide), x.dtype)]
  if noise is not None:
    count, rows_of_noise = noise.shape[0], noise.shape[1] * band // height
    args.append(noise.reshape(count, height // band, rows_of_noise, noise.shape[2]))
    image = (lambda i, t, j: (i, j, 0, 0)) if count > 1 else (lambda i, t, j: (0, j, 0, 0))
    specs.append(pl.BlockSpec((1, 1, rows_of_noise, noise.shape[2]), image))
    scratch.append(pltpu.VMEM((noise.shape[2], rows_of_noise), jnp.float32))
  call = pl.pallas_call(
    functools.partial(_kernel, blocks=blocks, epilogue=epilogue, with_noise=noise is not None, interpret=interpret),
    grid=(n, region_lanes // wide, height // band),
    in_specs=specs,
    out_specs=pl.BlockSpec((1, band, rows, columns * width, wide // (rows * columns)), lambda i, t, j: (i, j, 0, 0, t)),
    out_shape=jax.ShapeDtypeStruct((n, height, rows, columns * width, out_lanes), x.dtype),
    scratch_shapes=scratch,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=tile.vmem_mib * 2**20
    ),
    cost_estimate=_cost(x, kernel, blocks),
    interpret=interpret,
    name="modulated_conv",
  )
  return call(*args).reshape(n, height * rows, columns * width, out_lanes)


def limits(blocks: Blocks, width: int, dtype: jnp.dtype) -> str | None:
  """Why rows of so many blocks do not lie well in a TPU's registers, or None if they do."""
  rows = 8 * 4 // jnp.dtype(dtype).itemsize
  if any(n % LANES for n in blocks.lanes):
    return f"blocks of {blocks.lanes[0]} and {blocks.lanes[1]} numbers, not multiples of {LANES}"
  if blocks.region != (1, 1) and math.prod(blocks.region) * blocks.lanes[1] > _FOLDED_LANES:
    return f"upsampling to {blocks.channels[1]} channels, four times the products of a transposed convolution"
  return f"{width} blocks in a row, not a multiple of {rows}" if width % rows else None


def _cost(x: jax.Array, kernel: jax.Array, blocks: Blocks) -> pl.CostEstimate:
  pixels = x.shape[0] * x.shape[1] * x.shape[2]
  written = pixels * kernel.shape[2] * x.dtype.itemsize
  return pl.CostEstimate(
    flops=2 * pixels * kernel.size,
    transcendentals=0,
    bytes_accessed=x.nbytes + written + kernel.size * x.dtype.itemsize,
  )


def _kernel(above, main, below, kernel, style, scale, bias, *rest, blocks, epilogue, with_noise, interpret):
  noise, out, modulated, turned = rest if with_noise else (None, *rest, None)
  step, steps = pl.program_id(2), pl.num_programs(2)
  sources, lanes = kernel.shape[:2]

  @pl.when(step == 0)
  def _():
    for k in range(sources):
      w = kernel[k].astype(jnp.float32) * style[0] * scale[0]
      modulated[k * lanes : (k + 1) * lanes] = w.astype(modulated.dtype)

  first = jnp.where(step == 0, jnp.zeros_like(above[0]), above[0])
  last = jnp.where(step == steps - 1, jnp.zeros_like(below[0]), below[0])
  x = jnp.concatenate([first, main[0], last], axis=0)  # (band + 2, w, lanes)
  band, width = main.shape[1:3]
  found = jnp.concatenate(list(_sources(x, blocks)), axis=-1).reshape(band * width, sources * lanes)
  precision = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
  sums = jnp.dot(found, modulated[...], preferred_element_type=jnp.float32, precision=precision)
  sums = sums.reshape(band, width, -1) + bias[...][None]
  if noise is not None:
    sums = sums + _spread(noise[0, 0], turned, band, out.shape[4], blocks)
  _store(out, _activate(sums, epilogue), blocks, interpret)


def _sources(x: jax.Array, blocks: Blocks):
  """The vectors that are multiplied, (band, w, lanes) each, of a band with one row more above and below."""
  (p, q), channels = blocks.inner, blocks.channels[0]
  band = x.shape[0] - 2
  lane = lax.div(lax.broadcasted_iota(jnp.int32, x.shape[1:], 1)[None], channels)
  right, left = _shifted(x, -1), _shifted(x, 1)
  columns = [left, x, right] if q == 1 else [x, _merge(lax.rem(lane, q), q, right, left)]
  row = lax.div(lane, q)
  for kind_v, kind_h in blocks.sources:
    c = columns[kind_h]
    if p == 1:
      yield c[kind_v : kind_v + band]
    elif kind_v == 0:
      yield c[1 : band + 1]
    else:
      yield _merge(row, p, c[2:], c[:band])


def _merge(position: jax.Array, size: int, after: jax.Array, before: jax.Array) -> jax.Array:
  """Near pixels of both neighbours: the first position from the block after, the last from the block before."""
  rest = before if size == 2 else jnp.where(position == size - 1, before, jnp.zeros_like(before))
  return jnp.where(position == 0, after, rest)


def _shifted(x: jax.Array, by: int) -> jax.Array:
  """Every block's neighbour ``by`` places before it in the row; zeros outside the image."""
  width = x.shape[1]
  column = lax.broadcasted_iota(jnp.int32, x.shape[1:], 0)[None]
  edge = 0 if by > 0 else width - 1
  y = pltpu.roll(x.astype(jnp.float32), by % width, 1) if width > 1 else x
  return jnp.where(column == edge, 0.0, y).astype(x.dtype)


def _spread(noise, scratch, band: int, lanes: int, blocks: Blocks) -> jax.Array:
  """Noise (rows of pixels, columns of pixels) of the band as (band, w, region * lanes).

  Turned by a transpose, so that pixels of a row lie as blocks do, one below the other; then each is spread over lanes.
  """
  (rows, columns), (r, s), channels = blocks.region, blocks.outer, blocks.channels[1]
  scratch[...] = noise.T
  width = scratch.shape[0] // (columns * s)
  by_column = [scratch[pl.ds(c, width, stride=columns * s), :] for c in range(columns * s)]
  lane = lax.div(lax.broadcasted_iota(jnp.int32, (width, lanes), 1), channels)

  def block(row: int, column: int) -> jax.Array:
    parts = [by_column[column * s + k % s][:, row + k // s : row + k // s + 1] for k in range(r * s)]
    y = jnp.broadcast_to(parts[0], lane.shape)
    for k in range(1, r * s):
      y = jnp.where(lane == k, parts[k], y)
    return y

  return jnp.stack(
    [
      jnp.concatenate([block((h * rows + a) * r, b) for a in range(rows) for b in range(columns)], axis=1)
      for h in range(band)
    ]
  )


def _activate(y: jax.Array, epilogue: Epilogue) -> jax.Array:
  if epilogue.slope != 1:
    y = jnp.maximum(y, y * epilogue.slope)
  return y if epilogue.clamp is None else jnp.clip(y, -epilogue.clamp, epilogue.clamp)


def _store(out, y: jax.Array, blocks: Blocks, interpret: bool) -> None:
  """Region (rows, columns) of each block to its place: rows are an axis of the output, columns interleave."""
  (rows, columns), lanes = blocks.region, out.shape[4]
  for r in range(rows):
    parts = [y[..., (r * columns + c) * lanes : (r * columns + c + 1) * lanes] for c in range(columns)]
    if columns == 1:
      out[0, :, r] = parts[0].astype(out.dtype)
    elif interpret:
      out[0, :, r] = jnp.stack(parts, axis=2).reshape(out.shape[1], out.shape[3], lanes).astype(out.dtype)
    elif out.dtype == jnp.bfloat16:  # two neighbours in a row share a register's word
      packed = pltpu.pack_elementwise(parts, packed_dtype=jnp.bfloat16)
      out[0, :, r] = pltpu.bitcast(packed, jnp.bfloat16)
    else:
      for c, part in enumerate(parts):
        out[0, :, r, pl.ds(c, part.shape[1], stride=columns), :] = part

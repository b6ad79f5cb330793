"""The fused layer as one TPU kernel (Pallas, Mosaic): modulate, convolve, demodulate, noise, bias, activation, clamp.

A step of the grid is a band of rows of blocks (see packing) of one image, and some of its output channels. Style and
demodulation scale the kernel, not the image: once an image, in VMEM. Everything after the products, the filter of an
upsampling too, happens on float32 before the one store. Rows above and below the band come as two more views of the
same image, so the pipeline of the grid fetches them as it does the rest. The compiler unrolls a step, so `tiles` keeps
its products few.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxtalk.kernels.modulated_conv import tpu_lanes
from jaxtalk.kernels.modulated_conv.packing import LANES, Blocks
from jaxtalk.kernels.modulated_conv.tiles import Tile

_FOLDED_LANES = 512  # of a region; with the filter in the kernel, an up-convolution to more costs more than it saves


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
    kernel: (N or 1, sources, input lanes, sums * O) from `block_kernel`.
    styles: (N, I) float32, factors of the kernel's rows.
    scales: (N, O) float32, factors of its columns.
    bias: (O,) float32.
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
  sources, groups = kernel.shape[1], blocks.sums if blocks.outer == (1, 1) else 1
  if not interpret and (reason := limits(blocks, width, x.dtype)):
    raise NotImplementedError(reason)
  # Output channels are split into steps where each pixel is a block of its own.
  per_group = kernel.shape[3] // groups
  wide = tile.width(per_group) if blocks.outer == (1, 1) else per_group
  out_wide = wide if blocks.outer == (1, 1) else out_lanes
  band = tile.band(height, width, sources * lanes * groups * wide, x.dtype)
  specs = tpu_lanes.band_specs(band, height, (width, lanes)) + [
    pl.BlockSpec((1, sources, groups, lanes, wide), lambda i, t, j: (i if len(kernel) > 1 else 0, 0, 0, 0, t)),
    pl.BlockSpec((1, lanes, 1), lambda i, t, j: (i, 0, 0)),
    pl.BlockSpec((1, 1, wide), lambda i, t, j: (i, 0, t)),
    pl.BlockSpec((1, out_wide), lambda i, t, j: (0, t)),
  ]
  kernel = jnp.swapaxes(kernel.reshape(-1, sources, lanes, groups, per_group), 2, 3).astype(x.dtype)
  styles = jnp.tile(styles, (1, lanes // styles.shape[1]))[:, :, None]
  scales = jnp.tile(scales, (1, per_group // scales.shape[1]))[:, None, :]
  args = [x, x, x, kernel, styles, scales, jnp.tile(bias, out_lanes // len(bias))[None]]
  scratch = [pltpu.VMEM((sources * lanes, groups * wide), x.dtype)]
  if noise is not None:
    count, noise_rows = noise.shape[0], noise.shape[1] * band // height
    args.append(noise.reshape(count, height // band, noise_rows, noise.shape[2]))
    image = (lambda i, t, j: (i, j, 0, 0)) if count > 1 else (lambda i, t, j: (0, j, 0, 0))
    specs.append(pl.BlockSpec((1, 1, noise_rows, noise.shape[2]), image))
    scratch.append(tpu_lanes.noise_scratch(noise.shape[2], noise_rows, blocks, band))
  call = pl.pallas_call(
    functools.partial(_kernel, blocks=blocks, epilogue=epilogue, with_noise=noise is not None, interpret=interpret),
    grid=(n, per_group // wide, height // band),
    in_specs=specs,
    out_specs=pl.BlockSpec((1, band, rows, columns * width, out_wide), lambda i, t, j: (i, j, 0, 0, t)),
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
  if blocks.up == 2 and not blocks.taps and math.prod(blocks.region) * blocks.lanes[1] > _FOLDED_LANES:
    return f"upsampling to {blocks.channels[1]} channels, four times the products of a transposed convolution"
  return f"{width} blocks in a row, not a multiple of {rows}" if width % rows else None


def _cost(x: jax.Array, kernel: jax.Array, blocks: Blocks) -> pl.CostEstimate:
  pixels = math.prod(x.shape[:3])
  written = pixels * math.prod(blocks.region) * blocks.lanes[1] * x.dtype.itemsize
  return pl.CostEstimate(
    flops=2 * pixels * kernel[0].size, transcendentals=0, bytes_accessed=x.nbytes + written + kernel.nbytes
  )


def _kernel(above, main, below, kernel, style, scale, bias, *rest, blocks, epilogue, with_noise, interpret):
  noise, out, modulated, turned = rest if with_noise else (None, *rest, None)
  sources, groups, lanes, wide = kernel.shape[1:]

  @pl.when(pl.program_id(2) == 0)
  def _():
    for k, g in itertools.product(range(sources), range(groups)):
      w = kernel[0, k, g].astype(jnp.float32) * style[0] * scale[0]
      modulated[k * lanes : (k + 1) * lanes, g * wide : (g + 1) * wide] = w.astype(modulated.dtype)

  x = tpu_lanes.with_neighbours(above, main, below, axis=2)
  parts = (_filtered if blocks.taps else _products)(x, modulated, blocks)
  parts = [part + bias[...][None] for part in parts]
  if noise is not None:
    spread = tpu_lanes.spread(noise[0, 0], turned, main.shape[1], out.shape[4], blocks)
    parts = [part + drawn for part, drawn in zip(parts, spread, strict=True)]
  tpu_lanes.store(out, [_activate(part, epilogue) for part in parts], blocks, interpret)


def _products(x: jax.Array, modulated, blocks: Blocks) -> list[jax.Array]:
  """The convolution of a band and the rows around it, (band, w, lanes) for each block of the region."""
  y = dot(vectors_of(x, blocks), modulated[...])
  lanes = y.shape[2] // math.prod(blocks.region)
  return [y[..., k * lanes : (k + 1) * lanes] for k in range(math.prod(blocks.region))]


def vectors_of(x: jax.Array, blocks: Blocks) -> list[jax.Array]:
  """Vectors (band, w, lanes) that are multiplied, of a band and the rows around it (band + 2, w, lanes)."""
  by_column = [tpu_lanes.above_and_below(c, blocks) for c in tpu_lanes.beside(x, blocks.inner[1], blocks.channels[0])]
  return [by_column[h][v] for v, h in blocks.sources]


def _filtered(x: jax.Array, modulated, blocks: Blocks) -> list[jax.Array]:
  """The same of an up-convolution whose filter is applied to sums.

  Every other row of the transposed convolution sees two rows of the kernel, those between see one. Even row 2i is made
  of rows i and i - 1 of the image, so one more of them is needed than the band has, and of odd rows two more.
  """
  assert blocks.taps
  found = [x] if blocks.apart else tpu_lanes.beside(x, blocks.inner[1], blocks.channels[0])
  used = 2 * len(found) * x.shape[2]
  even = dot([*(c[1:] for c in found), *(c[:-1] for c in found)], modulated[:used])
  odd = dot(found, modulated[used:])
  ratio = jnp.float32(blocks.taps[0] / blocks.taps[1])
  both = (
    even[:-1] + odd[1:-1] + ratio * (odd[:-2] + even[1:]),
    odd[1:-1] + even[1:] + ratio * (even[:-1] + odd[2:]),
  )
  if blocks.apart:
    return [y for row in both for y in _filtered_columns(row, ratio)]
  lanes = both[0].shape[2] // blocks.region[1]
  pieces = [[row[..., k * lanes : (k + 1) * lanes] for k in range(blocks.region[1])] for row in both]
  if blocks.outer[0] == 1:
    return pieces[0] + pieces[1]
  return [jnp.concatenate(rows, axis=2) for rows in zip(*pieces, strict=True)]


def _filtered_columns(y: jax.Array, ratio: jax.Array) -> list[jax.Array]:
  """Even and odd columns from what the columns of the kernel gave, side by side in y (band, w, 3 * lanes).

  Columns 0 and 2 of the kernel make even columns of the transposed convolution: one adds to the column of its own
  pixel, the other to the next one. Both are summed only here, so that the image's edges need no column of their own.
  """
  lanes = y.shape[2] // 3
  own, between, next_ = (y[..., k * lanes : (k + 1) * lanes] for k in range(3))
  own_far, between_far, next_far = (ratio * part for part in (own, between, next_))
  even = own + between + next_far + tpu_lanes.shifted(between_far + next_, 1) + tpu_lanes.shifted(own_far, -1)
  odd = own_far + between + next_ + tpu_lanes.shifted(next_far, 1) + tpu_lanes.shifted(own + between_far, -1)
  return [even, odd]


def dot(vectors: list[jax.Array], matrix: jax.Array) -> jax.Array:
  """Vectors (rows, w, lanes), one after the other, times (all their lanes, columns): (rows, w, columns) float32."""
  rows, width = vectors[0].shape[:2]
  x = jnp.concatenate(vectors, axis=-1).reshape(rows * width, matrix.shape[0])
  precision = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
  y = jnp.dot(x, matrix, preferred_element_type=jnp.float32, precision=precision)
  return y.reshape(rows, width, matrix.shape[1])


def _activate(y: jax.Array, epilogue: Epilogue) -> jax.Array:
  if epilogue.slope != 1:
    y = jnp.maximum(y, y * epilogue.slope)
  return y if epilogue.clamp is None else jnp.clip(y, -epilogue.clamp, epilogue.clamp)

"""The cotangents of the TPU kernel's convolution, as kernels: for its images (of an upsampling) and for its kernel.

The convolution of blocks is linear in its image and in the matrices of each sample. What it sends back to an image is,
without upsampling, a convolution again (`tpu.conv_blocks` with the mirrored kernel); with upsampling it is a filter and
a convolution with stride. What it sends back to the matrices are products of the same vectors, summed over pixels.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxtalk.kernels.modulated_conv import tpu, tpu_lanes
from jaxtalk.kernels.modulated_conv.packing import Blocks
from jaxtalk.kernels.modulated_conv.tiles import Tile


def image_cotangent_of_up(
  g: jax.Array,
  kernel: jax.Array,
  styles: jax.Array,
  scales: jax.Array,
  *,
  blocks: Blocks,
  tile: Tile,
  interpret: bool,
) -> jax.Array:
  """What an up-convolution whose filter is applied to sums sends back to its image.

  Args:
    g: (N, h * region rows, w * region columns, output lanes), blocks of the output.
    kernel: (N or 1, sources, input lanes, sums * O) from `block_kernel`.
    styles: (N, I) float32, factors of the kernel's rows.
    scales: (N, O) float32, factors of its columns.
    blocks: the plan.
    tile: how much a step of the grid does.
    interpret: run on the host, in plain JAX.

  Returns:
    (N, h, w, input lanes) in the dtype of ``g``.
  """
  (rows, columns), (lanes, out_lanes) = blocks.region, blocks.lanes
  n, height, width = g.shape[0], g.shape[1] // rows, g.shape[2] // columns
  sources, sums = kernel.shape[1], kernel.shape[3]
  g = g.reshape(n, height, rows, columns * width, out_lanes)
  band = tile.band(height, width, sources * lanes * sums, g.dtype)
  call = pl.pallas_call(
    functools.partial(_image_kernel, blocks=blocks, interpret=interpret),
    grid=(n, height // band),
    in_specs=[
      *tpu_lanes.band_specs(band, height, g.shape[2:]),
      pl.BlockSpec((1, sources, sums, lanes), lambda i, j: (i if len(kernel) > 1 else 0, 0, 0, 0)),
      pl.BlockSpec((1, sums, 1), lambda i, j: (i, 0, 0)),
      pl.BlockSpec((1, 1, lanes), lambda i, j: (i, 0, 0)),
    ],
    out_specs=pl.BlockSpec((1, band, width, lanes), lambda i, j: (i, j, 0, 0)),
    out_shape=jax.ShapeDtypeStruct((n, height, width, lanes), g.dtype),
    scratch_shapes=[pltpu.VMEM((sources * sums, lanes), g.dtype)],
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=tile.vmem_mib * 2**20
    ),
    interpret=interpret,
    name="modulated_conv_image_cotangent",
  )
  scales = jnp.tile(scales, (1, sums // scales.shape[1]))[:, :, None]
  styles = jnp.tile(styles, (1, lanes // styles.shape[1]))[:, None, :]
  return call(g, g, g, jnp.swapaxes(kernel, 2, 3).astype(g.dtype), scales, styles)


def _image_kernel(above, main, below, kernel, scale, style, out, modulated, *, blocks, interpret):
  sources, sums, lanes = kernel.shape[1:]

  @pl.when(pl.program_id(1) == 0)
  def _():
    for k in range(sources):
      w = kernel[0, k].astype(jnp.float32) * scale[0] * style[0]
      modulated[k * sums : (k + 1) * sums] = w.astype(modulated.dtype)

  even, odd = _row_cotangents(tpu_lanes.with_neighbours(above, main, below, axis=1), blocks, interpret)
  vectors = [v for rows in (even[:-1], even[1:], odd) for v in _columns(rows, blocks)]
  out[0] = tpu.dot(vectors, modulated[...]).astype(out.dtype)


def _columns(y: jax.Array, blocks: Blocks) -> list[jax.Array]:
  """Vectors of row cotangents by the kind of source that they go back to."""
  q = blocks.inner[1]
  if blocks.apart:
    return [y]
  found = tpu_lanes.beside(y, q, 2 * blocks.channels[1])
  return found[::-1] if q == 1 else found  # what came from the block before goes to the block after


def _row_cotangents(g: jax.Array, blocks: Blocks, interpret: bool) -> tuple[jax.Array, jax.Array]:
  """The filter's transpose: of output rows (band + 2, region rows, w * region columns, lanes) to even and odd rows of
  the transposed convolution, (band + 1, w, sums * O) and (band, w, sums * O)."""
  assert blocks.taps
  parts, columns = tpu_lanes.load(g, blocks, interpret), blocks.region[1]
  ratio = jnp.float32(blocks.taps[0] / blocks.taps[1])
  if blocks.outer[0] == 1:
    upper, lower = parts[:columns], parts[columns:]
  else:
    half = parts[0].shape[2] // 2
    upper, lower = [p[..., :half] for p in parts], [p[..., half:] for p in parts]
  if blocks.apart:
    upper, lower = (_column_cotangents(*row, ratio) for row in (upper, lower))
  upper, lower = (row[0] if len(row) == 1 else jnp.concatenate(row, axis=2) for row in (upper, lower))
  even = upper[1:] + lower[:-1] + ratio * (lower[1:] + upper[:-1])
  odd = upper[1:-1] + lower[1:-1] + ratio * (upper[2:] + lower[:-2])
  return even.astype(g.dtype), odd.astype(g.dtype)


def _column_cotangents(even: jax.Array, odd: jax.Array, ratio: jax.Array) -> list[jax.Array]:
  """The transpose of `tpu._filtered_columns`."""
  even_far, odd_far = ratio * even, ratio * odd
  before, after = functools.partial(tpu_lanes.shifted, by=1), functools.partial(tpu_lanes.shifted, by=-1)
  own = even + odd_far + before(even_far + odd)
  between = even + odd + after(even_far) + before(odd_far)
  next_ = even_far + odd + after(even + odd_far)
  return [own, between, next_]


def kernel_cotangent(x: jax.Array, g: jax.Array, *, blocks: Blocks, tile: Tile, interpret: bool) -> jax.Array:
  """What the convolution of each sample sends back to its matrices, without styles and scales.

  Args:
    x: (N, h, w, input lanes), blocks of the input.
    g: (N, h * region rows, w * region columns, output lanes), blocks of the output.
    blocks: the plan; upsampling only with the filter on sums.
    tile: how much a step of the grid does.
    interpret: run on the host, in plain JAX.

  Returns:
    (N, sources, input lanes, sums * O) float32.
  """
  n, height, width, lanes = x.shape
  (rows, columns), out_lanes = blocks.region, blocks.lanes[1]
  g = g.reshape(n, height, rows, columns * width, out_lanes)
  sources, sums = len(blocks.sources), blocks.sums * blocks.channels[1]
  kinds = sources // 3 if blocks.taps else sources  # rows of the result; with the filter on sums, three of its columns
  shape = kinds * lanes, sources // kinds * sums
  band = tile.band(height, width, shape[0] * shape[1], x.dtype)
  of_x, of_g = (tpu_lanes.band_specs(band, height, a.shape[2:]) for a in (x, g))
  # Of which the rows above and below a band are needed depends on the side on which vectors are shifted.
  args, specs = ((x, g, g, g), [of_x[1], *of_g]) if blocks.taps else ((x, x, x, g), [*of_x, of_g[1]])
  call = pl.pallas_call(
    functools.partial(_kernel_kernel, blocks=blocks, interpret=interpret),
    grid=(n, height // band),
    in_specs=specs,
    out_specs=pl.BlockSpec((1, *shape), lambda i, j: (i, 0, 0)),
    out_shape=jax.ShapeDtypeStruct((n, *shape), jnp.float32),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=tile.vmem_mib * 2**20
    ),
    interpret=interpret,
    name="modulated_conv_kernel_cotangent",
  )
  y = call(*args).reshape(n, kinds, lanes, sources // kinds, sums)
  return jnp.moveaxis(y, 3, 1).reshape(n, sources, lanes, sums)


def _kernel_kernel(*refs, blocks, interpret):
  *refs, out = refs
  if blocks.taps:
    x, g = refs[0][0], tpu_lanes.with_neighbours(*refs[1:], axis=1)
    vectors = [x] if blocks.apart else tpu_lanes.beside(x, blocks.inner[1], blocks.channels[0])
    even, odd = _row_cotangents(g, blocks, interpret)
    cotangents = [even[:-1], even[1:], odd]
  else:
    vectors = tpu.vectors_of(tpu_lanes.with_neighbours(*refs[:3], axis=1), blocks)
    cotangents = [refs[3][0, :, 0]]
  left, right = (jnp.concatenate(v, axis=-1).reshape(-1, sum(p.shape[2] for p in v)) for v in (vectors, cotangents))
  precision = lax.Precision.HIGHEST if left.dtype == jnp.float32 else None
  y = lax.dot_general(left, right, (((0,), (0,)), ((), ())), precision=precision, preferred_element_type=jnp.float32)
  first = pl.program_id(1) == 0

  @pl.when(first)
  def _():
    out[0] = y

  @pl.when(jnp.logical_not(first))
  def _():
    out[0] += y

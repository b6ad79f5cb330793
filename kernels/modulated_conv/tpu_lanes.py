"""How vectors of the TPU kernels come to where they are needed: bands of rows, neighbours of blocks, noise, the output.

A value (rows, w, lanes) is w blocks of pixels in each of some rows; w lies in sublanes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxtalk.kernels.modulated_conv.packing import LANES, Blocks


def band_specs(band: int, height: int, tail: tuple[int, ...]) -> list[pl.BlockSpec]:
  """Views of an image (N, height, *tail) for a grid (image, ..., band): the row above a band, it, the row below."""
  rest = (0,) * len(tail)
  return [
    pl.BlockSpec((1, 1, *tail), lambda i, *at: (i, jnp.maximum(at[-1] * band - 1, 0), *rest)),
    pl.BlockSpec((1, band, *tail), lambda i, *at: (i, at[-1], *rest)),
    pl.BlockSpec((1, 1, *tail), lambda i, *at: (i, jnp.minimum(at[-1] * band + band, height - 1), *rest)),
  ]


def with_neighbours(above, main, below, axis: int) -> jax.Array:
  """What `band_specs` show as one value (band + 2, ...), zeros outside the image; ``axis`` of the grid counts bands."""
  step, steps = pl.program_id(axis), pl.num_programs(axis)
  first = jnp.where(step == 0, jnp.zeros_like(above[0]), above[0])
  last = jnp.where(step == steps - 1, jnp.zeros_like(below[0]), below[0])
  return jnp.concatenate([first, main[0], last], axis=0)


def beside(x: jax.Array, size: int, unit: int) -> list[jax.Array]:
  """The horizontal kinds of sources (see `packing.pixels`) of x (rows, w, lanes), each of its shape.

  Args:
    x: blocks of ``size`` columns.
    size: 1 gives blocks before, own and after; more gives own, and near columns of both neighbours.
    unit: lanes of a column.
  """
  after, before = shifted(x, -1), shifted(x, 1)
  if size == 1:
    return [before, x, after]
  return [x, _near(lax.rem(_pixel(x, unit), size), size, after, before)]


def above_and_below(x: jax.Array, blocks: Blocks) -> list[jax.Array]:
  """The vertical kinds of sources of x (band + 2, w, lanes), whose first and last row lie outside the band."""
  p, band = blocks.inner[0], x.shape[0] - 2
  if p == 1:
    return [x[k : k + band] for k in range(3)]
  row = lax.div(_pixel(x, blocks.channels[0]), blocks.inner[1])
  return [x[1 : band + 1], _near(row, p, x[2:], x[:band])]


def _pixel(x: jax.Array, unit: int) -> jax.Array:
  """Of its block, which pixel of ``unit`` lanes a lane belongs to; (1, w, lanes)."""
  return lax.div(lax.broadcasted_iota(jnp.int32, x.shape[1:], 1)[None], unit)


def _near(position: jax.Array, size: int, after: jax.Array, before: jax.Array) -> jax.Array:
  """Near pixels of both neighbours: the first position from the block after, the last from the block before."""
  rest = before if size == 2 else jnp.where(position == size - 1, before, jnp.zeros_like(before))
  return jnp.where(position == 0, after, rest)


def shifted(x: jax.Array, by: int) -> jax.Array:
  """Every block's neighbour one place before it in the row (``by`` is 1) or after it (-1); zeros outside the image."""
  rows, width, lanes = x.shape
  if x.dtype == jnp.bfloat16 and width % 2 == 0:
    # Two neighbours share a register's words: a shift by one is half a word, and cheaper than by way of float32.
    words = pltpu.bitcast(x.reshape(rows * width, lanes), jnp.uint32).reshape(rows, width // 2, lanes)
    half = jnp.full_like(words, 16)
    toward, away = (lax.shift_left, lax.shift_right_logical) if by > 0 else (lax.shift_right_logical, lax.shift_left)
    words = toward(words, half) | away(_rolled(words, by), half)
    return pltpu.bitcast(words.reshape(rows * width // 2, lanes), jnp.bfloat16).reshape(x.shape)
  return _rolled(x.astype(jnp.float32), by).astype(x.dtype)


def _rolled(x: jax.Array, by: int) -> jax.Array:
  """The same for 32-bit numbers."""
  width = x.shape[1]
  column = lax.broadcasted_iota(jnp.int32, x.shape[1:], 0)[None]
  y = pltpu.roll(x, by % width, 1) if width > 1 else x
  return jnp.where(column == (0 if by > 0 else width - 1), jnp.zeros_like(y), y)


def noise_scratch(columns: int, rows: int, blocks: Blocks, band: int) -> pltpu.MemoryRef:
  """What `spread` wants for noise of so many columns and rows of pixels in a band."""
  groups = band // _group(rows // band, blocks, band)
  return pltpu.VMEM((groups * columns, rows // groups), jnp.float32)


def _group(rows: int, blocks: Blocks, band: int) -> int:
  """Rows of input blocks, ``rows`` of pixels each, whose noise fits into the lanes beside that of other columns."""
  fitting = max(1, LANES // (rows * blocks.outer[1]))
  return max(n for n in range(1, min(band, fitting) + 1) if band % n == 0)


def spread(noise: jax.Array, turned, band: int, lanes: int, blocks: Blocks) -> list[jax.Array]:
  """Noise (rows, columns of pixels) of a band, spread over the lanes of its pixels.

  A transpose lays the pixels of a row as blocks lie, one below the other. Noise of the pixels of one block then stands
  in different lanes, from where one permutation takes it to all lanes of its pixel.

  Args:
    noise: float32.
    turned: from `noise_scratch`.
    band: rows of input blocks.
    lanes: of an output block.
    blocks: the plan.

  Returns:
    (band, w, lanes) for each block of the region.
  """
  (rows, columns), (r, s) = blocks.region, blocks.outer
  height, pixels = turned.shape[1], noise.shape[1]
  groups, width = noise.shape[0] // height, pixels // (columns * s)
  for k in range(groups):
    turned[k * pixels : (k + 1) * pixels] = noise[k * height : (k + 1) * height].T
  pixel = lax.div(lax.broadcasted_iota(jnp.int32, (width, lanes), 1), blocks.channels[1])
  found: list[list[jax.Array]] = [[] for _ in range(rows * columns)]
  for k in range(groups):
    for column in range(columns):
      by_column = [turned[pl.ds(k * pixels + column * s + c, width, stride=columns * s), :] for c in range(s)]
      if r * s > 1:
        rest = jnp.zeros((width, LANES - s * height), jnp.float32)
        table = jnp.concatenate([*by_column, *([rest] if rest.shape[1] else [])], axis=1)
        lane = lax.rem(pixel, s) * height + lax.div(pixel, s)
      for at in range(0, height, r):
        if r * s > 1:
          y = jnp.take_along_axis(table, lane + at, axis=1)
        else:
          y = jnp.broadcast_to(by_column[0][:, at : at + 1], (width, lanes))
        found[at // r % rows * columns + column].append(y)
  return [jnp.stack(of_band) for of_band in found]


def store(out, parts: list[jax.Array], blocks: Blocks, interpret: bool) -> None:
  """Blocks (band, w, lanes) of the region to their places: rows are an axis of the output, columns interleave."""
  (rows, columns), lanes = blocks.region, out.shape[4]
  for r in range(rows):
    row = parts[r * columns : (r + 1) * columns]
    if columns == 1:
      out[0, :, r] = row[0].astype(out.dtype)
    elif interpret:
      out[0, :, r] = jnp.stack(row, axis=2).reshape(out.shape[1], out.shape[3], lanes).astype(out.dtype)
    elif out.dtype == jnp.bfloat16:  # two neighbours in a row share a register's word
      packed = pltpu.pack_elementwise(row, packed_dtype=jnp.bfloat16)
      out[0, :, r] = pltpu.bitcast(packed, jnp.bfloat16)
    else:
      for c, part in enumerate(row):
        out[0, :, r, pl.ds(c, part.shape[1], stride=columns), :] = part


def load(x: jax.Array, blocks: Blocks, interpret: bool) -> list[jax.Array]:
  """The inverse of `store`: blocks of the output, (rows, region rows, w * region columns, lanes), to float32 parts."""
  (rows, columns), f32 = blocks.region, jnp.float32
  parts = []
  for r in range(rows):
    row = x[:, r]
    height, width, lanes = row.shape
    if columns == 1:
      parts.append(row.astype(f32))
    elif interpret or row.dtype != jnp.bfloat16:
      row = row.astype(f32).reshape(height, width // columns, columns, lanes)
      parts += [row[:, :, c] for c in range(columns)]
    else:  # a float32 is a bfloat16 with zeros behind it
      words = pltpu.bitcast(row.reshape(height * width, lanes), jnp.uint32).reshape(height, width // 2, lanes)
      low, high = words << jnp.uint32(16), words & jnp.uint32(0xFFFF0000)
      parts += [pltpu.bitcast(half, f32) for half in (low, high)]
  return parts

"""Images as blocks of pixels, so that few channels fill the 128 lanes of a TPU, and kernels that act on such blocks.

A block of ``p`` rows by ``q`` columns is one vector of p * q * C numbers, ordered (row, column, channel). A 3x3
convolution sees, around its own block, one row or column of pixels on each side. Those come from the eight
neighbouring blocks, but each of them has just the far lanes to give: lanes of the left and of the right neighbour do
not collide, and are merged into one vector. So a block of 2x2 pixels of 32 channels is convolved in four products of
128x128 (own, beside, above and below, corners) where one pixel at a time would take nine that fill a quarter of the
rows and a quarter of the columns each.

Upsampling by two is folded in: the kernel and the FIR filter together give each of the 2x2 output pixels of an input
pixel nine taps of its own (Karras et al. 2020, appendix B, in polyphase form).
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

LANES = 128


@dataclasses.dataclass(frozen=True)
class Blocks:
  """How a layer goes from blocks to blocks.

  Attributes:
    up: 1 or 2.
    inner: rows and columns of pixels in an input block.
    outer: the same of an output block.
    channels: of a pixel, in and out.
  """

  up: int
  inner: tuple[int, int]
  outer: tuple[int, int]
  channels: tuple[int, int]

  @property
  def region(self) -> tuple[int, int]:
    """Rows and columns of output blocks that one input block makes."""
    (p, q), (r, s) = self.inner, self.outer
    return p * self.up // r, q * self.up // s

  @property
  def lanes(self) -> tuple[int, int]:
    """Lanes of an input and of an output block."""
    (i, o), (p, q), (r, s) = self.channels, self.inner, self.outer
    return p * q * i, r * s * o

  @property
  def sources(self) -> tuple[tuple[int, int], ...]:
    """Vectors that are multiplied, as (vertical, horizontal) kinds; see `pixels`."""
    vertical, horizontal = (range(3 if n == 1 else 2) for n in self.inner)
    return tuple(itertools.product(vertical, horizontal))


def blocks_for(channels: tuple[int, int], up: int, size: tuple[int, int]) -> Blocks:
  """Blocks that fill the lanes where the image's size (height, width) allows it, else single pixels."""
  inner = outer = (1, 1)
  wanted = _block_of(channels[0])
  if all(n % b == 0 for n, b in zip(size, wanted, strict=True)):
    inner = wanted
  if up == 1:
    return Blocks(1, inner, inner, channels)
  wanted = _block_of(channels[1])
  if all(2 * a % b == 0 and 2 * n % b == 0 for n, a, b in zip(size, inner, wanted, strict=True)):
    outer = wanted
  return Blocks(2, inner, outer, channels)


def _block_of(channels: int) -> tuple[int, int]:
  """Pixels of a block: one, 1x2, 2x2 or 2x4."""
  return {64: (1, 2), 32: (2, 2), 16: (2, 4)}.get(channels, (1, 1))


def pack(x: jax.Array, block: tuple[int, int]) -> jax.Array:
  """(N, H, W, C) to (N, H / p, W / q, p * q * C)."""
  (n, height, width, channels), (p, q) = x.shape, block
  x = x.reshape(n, height // p, p, width // q, q, channels)
  return jnp.transpose(x, (0, 1, 3, 2, 4, 5)).reshape(n, height // p, width // q, p * q * channels)


def unpack(x: jax.Array, block: tuple[int, int]) -> jax.Array:
  """The inverse of `pack`."""
  (n, height, width, lanes), (p, q) = x.shape, block
  x = x.reshape(n, height, width, p, q, lanes // (p * q))
  return jnp.transpose(x, (0, 1, 3, 2, 4, 5)).reshape(n, height * p, width * q, lanes // (p * q))


def pixels(kind: int, size: int) -> list[int | None]:
  """Along one axis, which pixel each of a source's ``size`` positions holds; 0 is the first of the own block.

  With one pixel a block, kinds 0, 1, 2 are the block before, the own and the one after. With more, kind 0 is the own
  block, and kind 1 is the neighbours' near pixels: the first of the block after and the last of the block before.
  """
  if size == 1:
    return [kind - 1]
  if kind == 0:
    return list(range(size))
  return [size, *[None] * (size - 2), -1]


def block_kernel(weight: jax.Array, f: np.ndarray | None, blocks: Blocks) -> jax.Array:
  """Kernel (3, 3, I, O) as matrices (sources, input lanes, output lanes of the whole region), region by row, column.

  Args:
    weight: correlated with where ``up`` is 1, convolved with otherwise, as in `modulated_conv`.
    f: the FIR filter (taps, taps) of the upsampling; at most four taps.
    blocks: the plan.
  """
  taps = weight if blocks.up == 1 else _with_filter(weight, f)
  size = taps.shape[0]
  flat = jnp.concatenate([taps.reshape(size * size, *taps.shape[2:]), jnp.zeros((1, *taps.shape[2:]), taps.dtype)])
  index = _tap_index(blocks, size)  # (sources, input pixels, output pixels)
  w = jnp.transpose(flat[index], (0, 1, 3, 2, 4))  # (S, P, I, Q, O)
  s, p, i, q, o = w.shape
  return w.reshape(s, p * i, q * o)


def _with_filter(weight: jax.Array, f: np.ndarray | None) -> jax.Array:
  """Kernel (6, 6, I, O) of which output pixel y takes tap y - 2x + 2 of input pixel x."""
  f = np.ones((1, 1), np.float32) if f is None else np.asarray(f)
  f = np.outer(f, f) if f.ndim == 1 else f
  # The transposed convolution puts input x at 2x..2x+2; the filter's first tap sits where upsampling centres it.
  before = [(n + 1) // 2 for n in f.shape]
  taps = jnp.zeros((6, 6, *weight.shape[2:]), jnp.float32)
  for (a, b), gain in np.ndenumerate(f * 4.0):
    y, x = 2 + a - before[0], 2 + b - before[1]
    taps = taps.at[y : y + 3, x : x + 3].add(weight * np.float32(gain))
  return taps


def _tap_index(blocks: Blocks, size: int) -> np.ndarray:
  """Which tap leads from each input pixel of each source to each output pixel; the last index is a zero."""
  (p, q), (r, s), region, up = blocks.inner, blocks.outer, blocks.region, blocks.up
  outputs = [
    (a * r + y, b * s + x) for a, b, y, x in itertools.product(range(region[0]), range(region[1]), range(r), range(s))
  ]
  offset = 1 if up == 1 else 2
  index = np.full((len(blocks.sources), p * q, len(outputs)), size * size)
  for k, (vertical, horizontal) in enumerate(blocks.sources):
    for i, (row, column) in enumerate(itertools.product(pixels(vertical, p), pixels(horizontal, q))):
      if row is None or column is None:
        continue
      for j, (y, x) in enumerate(outputs):
        # Correlation reads tap x_in - x_out + 1, the transposed convolution x_out - 2 x_in + 2.
        dy, dx = (row - y, column - x) if up == 1 else (y - 2 * row, x - 2 * column)
        if 0 <= dy + offset < size and 0 <= dx + offset < size:
          index[k, i, j] = (dy + offset) * size + dx + offset
  return index

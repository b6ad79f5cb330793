"""Images as blocks of pixels, so that few channels fill the 128 lanes of a TPU, and kernels that act on such blocks.

A block of ``p`` rows by ``q`` columns is one vector of p * q * C numbers, ordered (row, column, channel). A 3x3
convolution sees, around its own block, one row or column of pixels on each side. Those come from the eight
neighbouring blocks, but each of them has just the far lanes to give: lanes of the left and of the right neighbour do
not collide, and are merged into one vector. So a block of 2x2 pixels of 32 channels is convolved in four products of
128x128 (own, beside, above and below, corners) where one pixel at a time would take nine that fill a quarter of the
rows and a quarter of the columns each.

Upsampling by two comes with a FIR filter, in one of two forms. In the kernel: both together give each of the 2x2 output
pixels of an input pixel nine taps of its own (Karras et al. 2020, appendix B, in polyphase form), four times the
products of a transposed convolution. Or on sums: a transposed convolution makes even and odd rows (and columns, where
an output block is one pixel), and the filter's four taps are applied to those, which takes no products.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LANES = 128


@dataclasses.dataclass(frozen=True)
class Blocks:
  """How a layer goes from blocks to blocks.

  Attributes:
    up: 1 or 2.
    inner: rows and columns of pixels in an input block.
    outer: the same of an output block.
    channels: of a pixel, in and out.
    taps: outer and inner tap, along one axis, of a symmetric filter of four that is applied to sums; None where the
      filter, if there is one, is in the kernel.
  """

  up: int
  inner: tuple[int, int]
  outer: tuple[int, int]
  channels: tuple[int, int]
  taps: tuple[float, float] | None = None

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
    """Vectors that are multiplied, as (vertical, horizontal) kinds; see `pixels`.

    With ``taps``, vertical kinds are the kernel's rows 0, 2 and 1: the first two make even rows, the last makes odd
    ones. The only horizontal kind is then 1, the own block, where columns are kept apart.
    """
    vertical, horizontal = (range(3 if n == 1 else 2) for n in self.inner)
    if self.taps:
      return tuple(itertools.product((0, 2, 1), range(1, 2) if self.apart else horizontal))
    return tuple(itertools.product(vertical, horizontal))

  @property
  def apart(self) -> bool:
    """Whether the filter is applied to sums along rows too: one for each column of the kernel."""
    return self.taps is not None and self.outer == (1, 1)

  @property
  def sums(self) -> int:
    """Numbers that the products of an input block give, for each of its output channels; see `block_kernel`."""
    if self.taps:
      return 3 if self.apart else 2 * self.inner[1]
    return math.prod(self.region) * math.prod(self.outer)


def blocks_for(channels: tuple[int, int], up: int, size: tuple[int, int], f: np.ndarray | None = None) -> Blocks:
  """Blocks that fill the lanes where the image's size (height, width) allows it, else single pixels.

  Args:
    channels: in and out.
    up: 1 or 2.
    size: of the input.
    f: the filter of the upsampling, two-dimensional; where it allows that, it is applied to sums.
  """
  inner = outer = (1, 1)
  wanted = _block_of(channels[0])
  if all(n % b == 0 for n, b in zip(size, wanted, strict=True)):
    inner = wanted
  if up == 1:
    return Blocks(1, inner, inner, channels)
  wanted = _block_of(channels[1])
  if all(2 * a % b == 0 and 2 * n % b == 0 for n, a, b in zip(size, inner, wanted, strict=True)):
    outer = wanted
  return Blocks(2, inner, outer, channels, _taps(f) if inner[0] == 1 and f is not None else None)


def _taps(f: np.ndarray) -> tuple[float, float] | None:
  """Taps (a, b) along one axis of a filter that is the outer product of (a, b, b, a) with itself, times the gain."""
  if f.shape != (4, 4) or f[1, 1] <= 0:
    return None
  b = 2 * float(np.sqrt(f[1, 1]))
  a = b * float(f[0, 1] / f[1, 1])
  line = np.array([a, b, b, a]) / 2
  return (a, b) if np.allclose(np.outer(line, line), f, rtol=0, atol=1e-7 * abs(f).max()) else None


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
  """Kernel (3, 3, I, O) as matrices (sources, input lanes, sums * O).

  Columns are ordered (region row, region column, row, column, channel); with the filter on sums (column, channel), or,
  where columns are kept apart, (kernel column, channel).

  Args:
    weight: correlated with where ``up`` is 1, convolved with otherwise, as in `modulated_conv`.
    f: the FIR filter (taps, taps) of the upsampling; at most four taps.
    blocks: the plan.
  """
  if blocks.taps:
    return _row_kernel(weight, blocks.taps, blocks)
  if blocks.up == 1 and blocks.inner == (1, 1):
    return weight.reshape(9, *weight.shape[2:])
  w = _combined(_coefficients(f, blocks).reshape(-1, 9), weight.reshape(9, *weight.shape[2:]))
  (p, q), (i, o) = blocks.inner, blocks.channels
  w = w.reshape(len(blocks.sources), p * q, blocks.sums, i, o)
  return jnp.swapaxes(w, 2, 3).reshape(len(blocks.sources), p * q * i, blocks.sums * o)


def _combined(coefficients: np.ndarray, taps: jax.Array) -> jax.Array:
  """Coefficients (A, B) with taps (B, ...): (A, ...). A plain product of two matrices: of others, with many short axes,
  the TPU's compiler takes minutes to find the best one, in the transpose above all."""
  y = jnp.matmul(coefficients, taps.reshape(len(taps), -1), precision=lax.Precision.HIGHEST)
  return y.reshape(len(coefficients), *taps.shape[1:])


def _row_kernel(weight: jax.Array, taps: tuple[float, float], blocks: Blocks) -> jax.Array:
  """The same where the filter is applied to sums, divided by its inner tap along each axis that sums run along."""
  (outer, inner), q, (i, o) = taps, blocks.inner[1], blocks.channels
  rows = jnp.stack([weight[v] for v in (0, 2, 1)]) * np.float32(inner)  # (3, 3, I, O); a TPU gathers slowly
  if blocks.apart:
    return jnp.moveaxis(rows, 1, 2).reshape(3, i, 3 * o) * np.float32(inner)
  line = _with_filter(np.array([outer, inner, inner, outer]))
  kinds = 3 if q == 1 else 2
  c = np.zeros((kinds, q, 2 * q, 3), np.float32)
  for k in range(kinds):
    for at, column in enumerate(pixels(k, q)):
      for x in range(2 * q):
        if column is not None and 0 <= x - 2 * column + 2 < 6:
          c[k, at, x] = line[x - 2 * column + 2]
  w = _combined(c.reshape(-1, 3), jnp.swapaxes(rows, 0, 1)).reshape(kinds, q, 2 * q, 3, i, o)
  return jnp.transpose(w, (3, 0, 1, 4, 2, 5)).reshape(3 * kinds, q * i, 2 * q * o)


def _with_filter(f: np.ndarray) -> np.ndarray:
  """(6, 3): tap y - 2x + 2, from input pixel x to output pixel y, by tap of the kernel; along one axis.

  The transposed convolution puts input x at 2x..2x+2; the filter's first tap sits where upsampling centres it.
  """
  taps, before = np.zeros((6, 3)), len(f) // 2
  for a, gain in enumerate(f):
    for k in range(3):
      taps[2 + a - before + k, k] += gain
  return taps


def _coefficients(f: np.ndarray | None, blocks: Blocks) -> np.ndarray:
  """How much of each tap of the kernel leads from each input pixel of each source to each output pixel of the region.

  (sources, input pixels, output pixels, 3, 3) float32.
  """
  (p, q), (r, s), region, up = blocks.inner, blocks.outer, blocks.region, blocks.up
  taps = np.einsum("ay,bx->abyx", np.eye(3), np.eye(3)) if up == 1 else _with_filters(f)
  outputs = [
    (a * r + y, b * s + x) for a, b, y, x in itertools.product(range(region[0]), range(region[1]), range(r), range(s))
  ]
  c = np.zeros((len(blocks.sources), p * q, len(outputs), 3, 3), np.float32)
  for k, (vertical, horizontal) in enumerate(blocks.sources):
    for i, (row, column) in enumerate(itertools.product(pixels(vertical, p), pixels(horizontal, q))):
      if row is None or column is None:
        continue
      for j, (y, x) in enumerate(outputs):
        # Correlation reads tap x_in - x_out + 1, the transposed convolution x_out - 2 x_in + 2.
        dy, dx = (row - y + 1, column - x + 1) if up == 1 else (y - 2 * row + 2, x - 2 * column + 2)
        if 0 <= dy < len(taps) and 0 <= dx < len(taps):
          c[k, i, j] = taps[dy, dx]
  return c


def _with_filters(f: np.ndarray | None) -> np.ndarray:
  """`_with_filter` along both axes, for filters that need not factor: (6, 6, 3, 3)."""
  f = np.ones((1, 1)) if f is None else np.asarray(f, np.float64)
  f = np.outer(f, f) if f.ndim == 1 else f
  lines = [np.stack([_with_filter(one) for one in np.eye(n)]) for n in f.shape]
  return np.einsum("mn,may,nbx->abyx", f * 4, *lines)

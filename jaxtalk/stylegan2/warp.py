"""The two resampling stages of adaptive augmentation: affine warps between wavelet filters, and gains per octave.

The warp (Karras et al. 2020, "Training GANs with limited data", appendix B) reflects the image at its borders, doubles
it with a 12-tap symlet, samples it bilinearly through the affine map and halves it with the same symlet, which undoes
the first one exactly where the map is the identity. Filters and reflection are linear and act on rows and columns
apart, so here they are matrices that are known at compile time, of the form ``M @ image @ M.T``: matrix units take
them, and their transposes, at full speed. Images are planar, (N, C, H, W) float32.

Padding does not depend on the batch. An image that is reflected without end is periodic, so one period of the doubled
image holds every value there is; a dozen extra rows hold what the filter sees where the longest padding of the paper,
W - 1 pixels, comes to its end. One sample therefore never changes with its neighbours in the batch.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

_GUARD = 3  # pixels around the output that the filter after the warp looks at
_EDGE = 6  # rows of the doubled image, at either end of the padding, within the filter's reach of that end
_BLOCK = 256  # matrices of images larger than this are cut into blocks of as many rows, because they are mostly zero


@functools.cache
def symlet(order: int) -> np.ndarray:
  """The least asymmetric orthogonal wavelet's low-pass filter with ``order`` vanishing moments: (2 * order,), sum 1.

  Daubechies, "Ten lectures on wavelets", chapters 6.1 and 8.1: spectral factorisation, keeping of each pair of zeros
  (z, 1/z) the one that holds the filter's energy closest together.
  """
  y = np.roots([math.comb(order - 1 + k, k) for k in reversed(range(order))]).astype(complex)
  y = y[y.imag > -1e-9]
  z = (1 - 2 * y) - np.sqrt((1 - 2 * y) ** 2 - 1)
  filters = []
  for outside in itertools.product((False, True), repeat=len(z)):
    kept = np.where(outside == (np.abs(z) > 1), z, 1 / z)
    zeros = [*kept, *kept[y.imag > 1e-9].conj(), *[-1.0] * order]
    filters.append(np.real(np.poly(zeros)))
  best = min((taps / taps.sum() for taps in filters), key=_spread)
  return best if abs(best[0]) > abs(best[-1]) else best[::-1]


def _spaced(taps: np.ndarray, step: int) -> np.ndarray:
  return np.insert(taps, np.repeat(np.arange(1, len(taps)), step - 1), 0)


def _spread(taps: np.ndarray) -> float:
  weights, time = taps**2 / np.sum(taps**2), np.arange(len(taps))
  return float(weights @ (time - weights @ time) ** 2)


@functools.cache
def band_filters() -> np.ndarray:
  """(4, 43) symmetric filters that cut the spectrum into octaves, lowest first, and sum to a unit impulse.

  With L and H the squared low-pass and high-pass responses of the 2-moment symlet, the bands are L(z) L(z^2) L(z^4),
  L(z) L(z^2) H(z^4), L(z) H(z^2) and H(z).
  """
  low = np.convolve(symlet(2), symlet(2)[::-1])
  high = low * (-1.0) ** np.arange(-3, 4)
  two = np.convolve(low, _spaced(low, 2))
  bands = [
    np.convolve(two, _spaced(low, 4)),
    np.convolve(two, _spaced(high, 4)),
    np.convolve(low, _spaced(high, 2)),
    high,
  ]
  return np.stack([np.pad(band, (43 - len(band)) // 2) for band in bands])


def warp(images: jax.Array, inverse: jax.Array) -> jax.Array:
  """Moves images by affine maps: (N, C, H, W) and (N, 3, 3) -> (N, C, H, W).

  ``inverse`` takes positions in the result to positions in the input, both (x, y) in pixels from the image's centre.
  Outside the image is its mirror image, to W - 1 pixels, then zero.
  """
  height, width = images.shape[2:]
  doubled = _across(_across(images, _doubling(width)).swapaxes(2, 3), _doubling(height))
  x, y = _positions(inverse, height, width)
  sampled = jax.vmap(_bilinear)(doubled, _row_of(x, width), _row_of(y, height), x % 1, y % 1)
  sampled = sampled.reshape(*images.shape[:2], 2 * width + 10, 2 * height + 10)
  return _across(_across(sampled, _halving(height)).swapaxes(2, 3), _halving(width))


def band_filter(images: jax.Array, gains: jax.Array) -> jax.Array:
  """Multiplies the four octaves of each image by its gains: (N, C, H, W) and (N, 4) -> (N, C, H, W)."""
  height, width = images.shape[2:]
  filtered = _across(images, _band_matrices(width), gains).swapaxes(2, 3)
  return _across(filtered, _band_matrices(height), gains).swapaxes(2, 3)


def _positions(inverse: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
  """x and y, each (N, samples), column by column, in pixels of the doubled image; its even pixels are the image's."""
  shape = (2 * width + 10, 2 * height + 10)
  xs, ys = (np.broadcast_to(v, shape).ravel() for v in np.ogrid[: shape[0], : shape[1]])
  u = jnp.asarray((xs - (width + 1 + _GUARD)) / 2, jnp.float32)[None]
  v = jnp.asarray((ys - (height + 1 + _GUARD)) / 2, jnp.float32)[None]
  a = inverse.astype(jnp.float32)[:, :, :, None]
  x = a[:, 0, 0] * u + a[:, 0, 1] * v + a[:, 0, 2]
  y = a[:, 1, 0] * u + a[:, 1, 1] * v + a[:, 1, 2]
  return 2 * x + (width - 1), 2 * y + (height - 1)


def _bilinear(image: jax.Array, row: jax.Array, column: jax.Array, fy: jax.Array, fx: jax.Array) -> jax.Array:
  """(C, H, W) at (samples,) whole positions plus fractions -> (C, samples)."""
  # One 2x2 window a sample: its transpose is one scatter of windows, which is twice as fast as four of pixels.
  window = jax.vmap(lambda y, x: jax.lax.dynamic_slice(image, (0, y, x), (image.shape[0], 2, 2)))(row, column)
  window = jnp.moveaxis(window, 0, 3)
  upper = window[:, 0, 0] * ((1 - fy) * (1 - fx))[None] + window[:, 0, 1] * ((1 - fy) * fx)[None]
  return upper + window[:, 1, 0] * (fy * (1 - fx))[None] + window[:, 1, 1] * (fy * fx)[None]


def _across(images: jax.Array, matrix: np.ndarray, gains: jax.Array | None = None) -> jax.Array:
  """Each row of images (N, C, H, W) times ``matrix`` (rows, W), or times the sum of (4, rows, W) by gains (N, 4)."""
  rows, parts = matrix.shape[-2], []
  step = _BLOCK if min(matrix.shape[-2:]) > _BLOCK else rows
  for start in range(0, rows, step):
    block = matrix[..., start : start + step, :]
    used = np.flatnonzero(np.any(block.reshape(-1, block.shape[-1]), axis=0))
    columns = slice(int(used[0]), int(used[-1]) + 1)
    weights, letters = jnp.asarray(block[..., columns], jnp.float32), "ij"
    if gains is not None:
      weights, letters = jnp.einsum("nb,bij->nij", gains, weights, precision="highest"), "nij"
    parts.append(jnp.einsum(f"nchj,{letters}->nchi", images[..., columns], weights, precision="highest"))
  return jnp.concatenate(parts, axis=3)


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
  """Pixels of an endlessly reflected row of ``size`` pixels; the border pixel is not repeated."""
  index = index % max(2 * (size - 1), 1)
  return np.minimum(index, 2 * (size - 1) - index)


def _row_of(position: jax.Array, size: int) -> jax.Array:
  """Where the doubled image, as ``_doubling`` keeps it, holds a position; the next row holds the next position."""
  period, first, last = 4 * (size - 1), -2 * (size - 1), 4 * (size - 1) + 1
  low, high = first + _EDGE, last - _EDGE
  k = jnp.clip(jnp.floor(position), first - 2, last + 1).astype(jnp.int32)
  inside = jnp.where(k < 0, k + period, jnp.where(k >= period, k - period, k))
  at_end = jnp.where(k < low, k - (first - 2), k - high + _EDGE + 3) + period + 1
  return jnp.where((k < low) | (k >= high), at_end, inside)


@functools.cache
def _doubling(size: int) -> np.ndarray:
  """(rows, size): reflection, zeros beyond it and interpolation by two, for the positions that ``_row_of`` asks for.

  One period of the doubled image, then the beginning and the end of the padding; each part goes on for one row more,
  so that the lower neighbour of a sample is always the next row, and two zero rows stand for all that is outside.
  """
  period, first, last = 4 * (size - 1), -2 * (size - 1), 4 * (size - 1) + 1
  inside, edges = np.arange(period + 1), (np.arange(first - 2, first + _EDGE + 1), np.arange(last - _EDGE, last + 3))
  positions = np.concatenate([inside, *edges])
  taps, matrix = symlet(6), np.zeros((len(positions), size))
  for row, position in enumerate(positions):
    if not first <= position <= last:
      continue
    reached = np.arange((position + 5) % 2, 12, 2)
    pixels = (position + 5 - reached) // 2
    seen = (2 * pixels >= first) & (2 * pixels <= last) | (row < len(inside))
    np.add.at(matrix[row], _reflected(pixels[seen], size), 2 * taps[reached[seen]])
  return matrix


@functools.cache
def _halving(size: int) -> np.ndarray:
  """(size, 2 * size + 10): the symlet at every second sample."""
  matrix = np.zeros((size, 2 * size + 10))
  for row in range(size):
    matrix[row, 2 * row : 2 * row + 12] = symlet(6)
  return matrix


@functools.cache
def _band_matrices(size: int) -> np.ndarray:
  """(4, size, size): the band filters on a reflected row."""
  bands, matrices = band_filters(), np.zeros((4, size, size))
  for row in range(size):
    for tap, column in enumerate(_reflected(np.arange(row - 21, row + 22), size)):
      matrices[:, row, column] += bands[:, tap]
  return matrices

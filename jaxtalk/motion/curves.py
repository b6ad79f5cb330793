"""Smooth functions of time from which all procedural motion is made.

Each is evaluated in closed form at any times (T,) in seconds, so a motion does not depend on the frame rate at which it
is sampled: 25 and 60 fps are samples of the same curve. Steps and pulses are minimum-jerk (Flash & Hogan 1985): their
velocity and acceleration are continuous.
"""

from __future__ import annotations

import numpy as np

Times = float | np.ndarray


def generator(seed: int, stream: str) -> np.random.Generator:
  """Random numbers of one named stream of a seed: adding draws to one stream leaves all others as they were."""
  return np.random.default_rng(np.random.SeedSequence([seed & (2**64 - 1), *stream.encode()]))


def step(t: np.ndarray, start: Times, length: Times) -> np.ndarray:
  """Minimum-jerk step from 0 before ``start`` to 1 after ``start + length``."""
  x = np.clip((t - start) / np.maximum(length, 1e-6), 0.0, 1.0)
  return x * x * x * (10.0 + x * (6.0 * x - 15.0))


def pulses(
  t: np.ndarray,
  starts: np.ndarray,
  rises: Times,
  holds: Times,
  falls: Times,
  heights: Times = 1.0,
  *,
  add: bool = False,
) -> np.ndarray:
  """N pulses that rise from ``starts``, stay for ``holds`` and fall, as one track.

  Args:
    t: (T,) seconds, increasing.
    starts: (N,) seconds; ``rises``, ``holds``, ``falls`` and ``heights`` are scalars or (N,).
    add: sum the pulses where they overlap; without it the highest counts.

  Returns:
    (T,), 0 between the pulses. Costs what the pulses cover, not N x T.
  """
  out = np.zeros_like(t)
  columns = np.broadcast_arrays(*(np.asarray(c, np.float64) for c in (starts, rises, holds, falls, heights)))
  for start, rise, hold, fall, height in zip(*columns, strict=True):
    part = slice(*np.searchsorted(t, (start, start + rise + hold + fall)))
    wave = height * (step(t[part], start, rise) - step(t[part], start + rise + hold, fall))
    out[part] = out[part] + wave if add else np.maximum(out[part], wave)
  return out


def noise(t: np.ndarray, rng: np.random.Generator, period: float) -> np.ndarray:
  """Smooth noise of about unit variance whose features last about ``period`` seconds: a C2 cubic B-spline.

  The knots are drawn from time 0 on, so a longer clip with the same generator begins in the same way.
  """
  spacing = period / 2.0
  last = float(t[-1]) if len(t) else 0.0
  knots = rng.standard_normal(int(np.ceil(max(last, 0.0) / spacing)) + 4)
  position = np.clip(t / spacing, 0.0, len(knots) - 4.0)
  cell = np.minimum(position.astype(np.int64), len(knots) - 4)
  u = position - cell
  basis = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3]) / 6.0
  # 0.69: a B-spline of independent unit knots has this standard deviation on average over the cell.
  return (basis * knots[cell[None, :] + np.arange(4)[:, None]]).sum(axis=0) / 0.69


def stairs(t: np.ndarray, times: np.ndarray, levels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """Piecewise constant levels joined by minimum-jerk steps.

  Args:
    t: (T,) seconds.
    times: (N,) starts of the steps; the first level holds before ``times[1]``, ``times[0]`` is ignored.
    levels: (N,) or (N, C).
    lengths: (N,) durations of the steps into each level.

  Returns:
    (T,) or (T, C).
  """
  out = np.broadcast_to(np.asarray(levels[0], np.float64), (len(t), *levels.shape[1:])).copy()
  for time, jump, length in zip(times[1:], np.diff(levels, axis=0), lengths[1:], strict=True):
    first = int(np.searchsorted(t, time))
    out[first:] += np.multiply.outer(step(t[first:], time, length), jump)
  return out


def soft_positive(x: np.ndarray, width: float) -> np.ndarray:
  """A smooth ``max(x, 0)``: exact from ``width`` on either side of zero, quadratic between, C1."""
  return np.where(np.abs(x) < width, (x + width) ** 2 / (4.0 * width), np.maximum(x, 0.0))


def smooth(values: np.ndarray, hop: float, sigma: float) -> np.ndarray:
  """Gaussian smoothing (S,) along time with ``sigma`` in seconds; ends are held."""
  radius = max(1, int(np.ceil(3.0 * sigma / hop)))
  kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) * hop / sigma) ** 2)
  return np.convolve(np.pad(values, radius, mode="edge"), kernel / kernel.sum(), mode="valid")

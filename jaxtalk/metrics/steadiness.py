"""Does a clip stay what it is: pixels that should rest, and a face that should stay the same person's."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.metrics.pictures import check_images
from jaxtalk.metrics.result import check_series

ROUNDING = 1.0 / np.sqrt(12.0)  # jitter of 8-bit rounding, in levels: less than this cannot be seen in a file


def temporal_jitter(images: np.ndarray, still: np.ndarray) -> float:
  """Standard deviation of the noise in time of pixels that rest, in levels of 255; NaN if none does.

  The root mean square of second differences over three frames, divided by the square root of 6: white noise of
  deviation s gives s, and what fades or drifts steadily gives nothing.

  Args:
    images: (T, H, W, 3) uint8, T at least 3.
    still: (T - 2, H, W) bool, or (H, W) for all frames: pixels that rest from frame t to t + 2.

  Raises:
    InputError: shapes that do not belong together, or too few frames.
  """
  x = check_images(images).astype(np.float32)
  if len(x) < 3:
    raise InputError(f"jitter is measured over three frames or more, not {len(x)}")
  shape = (len(x) - 2, *x.shape[1:3])
  if still.dtype != bool or still.shape not in (shape, shape[1:]):
    raise InputError(f"still pixels {still.shape} {still.dtype} do not fit pictures {x.shape}")
  second = x[:-2] - 2.0 * x[1:-1] + x[2:]
  chosen = second[np.broadcast_to(still, shape)]
  return float(np.sqrt(np.mean(np.square(chosen)) / 6.0)) if chosen.size else float("nan")


def resting_pixels(images: np.ndarray, levels: int = 1) -> np.ndarray:
  """(H, W) bool: pixels of (T, H, W, 3) uint8 pictures whose channels all stay within ``levels`` over the clip."""
  x = check_images(images).astype(np.int16)
  return ((x.max(0) - x.min(0)) <= levels).all(-1)


@dataclasses.dataclass(frozen=True)
class Drift:
  """A straight line through a series: change a minute, half of its 95 % interval, and the start."""

  per_minute: float
  ci95: float
  start: float

  @property
  def is_zero(self) -> bool:
    """Whether the interval has 0 in it."""
    return abs(self.per_minute) <= self.ci95


def drift(values: np.ndarray, seconds: np.ndarray) -> Drift:
  """Trend of (N,) values at (N,) rising seconds: least squares, with an interval that knows of slow noise.

  Neighbouring frames are alike, which makes plain intervals too narrow. The variance of the slope is that of Newey and
  West (1987), over a twelfth of the values, and the interval is as wide as that share of them asks for (Kiefer and
  Vogelsang 2005, "A new asymptotic theory for heteroskedasticity-autocorrelation robust tests", Bartlett kernel).

  Raises:
    InputError: fewer than eight values, or seconds that do not rise.
  """
  y, t = check_series("values", values), check_series("seconds", seconds) / 60.0
  if len(y) != len(t) or len(y) < 8 or (np.diff(t) <= 0).any():
    raise InputError(f"a trend takes eight values or more at rising times, not {len(y)} at {len(t)}")
  centred = t - t.mean()
  spread = centred @ centred
  slope = float(centred @ y / spread)
  start = float(y.mean() - slope * t.mean())
  score = centred * (y - start - slope * t)
  lags = max(4, len(y) // 12)
  variance = score @ score
  for lag in range(1, lags + 1):
    variance += 2 * (1 - lag / (lags + 1)) * (score[lag:] @ score[:-lag])
  share = (lags + 1) / len(y)
  width = 1.96 + 2.9694 * share + 0.4160 * share**2 - 0.5324 * share**3
  error = width * float(np.sqrt(max(variance, 0.0))) / spread
  return Drift(slope, float(error), start)


def unit_rows(features: np.ndarray) -> np.ndarray:
  """(N, D) of length 1; InputError for a row without length or with NaN."""
  x = check_series("features", features, 2)
  length = np.linalg.norm(x, axis=1, keepdims=True)
  if not (length > 0).all():
    raise InputError("features of a picture are all 0: they have no direction")
  return x / length


def cosines_within_and_between(features: np.ndarray, person: np.ndarray, clip: np.ndarray | None = None):
  """Cosines of all pairs of rows: of one person's, and of different people's.

  Args:
    features: (N, D).
    person: (N,) whose picture a row is.
    clip: (N,); if given, pairs from one clip are left out, so that a person has to be known in another light.

  Returns:
    (W,) and (B,) cosines.
  """
  rows = unit_rows(features)
  i, j = np.triu_indices(len(rows), 1)
  cosine = np.einsum("nd,nd->n", rows[i], rows[j])
  same = person[i] == person[j]
  kept = same if clip is None else same & (clip[i] != clip[j])
  return cosine[kept], cosine[~same]


def separation(within: np.ndarray, between: np.ndarray) -> dict[str, float]:
  """Both distributions in figures, and how far they are apart.

  ``auc`` is the chance that a pair of one person is more alike than a pair of two, ``d_prime`` the distance of the
  means over the pooled deviation. NaN where there is no pair.
  """
  out: dict[str, float] = {}
  for name, x in (("within", within), ("between", between)):
    values = (x.mean(), x.std(), *np.percentile(x, [5, 50, 95])) if len(x) else [float("nan")] * 5
    out |= {f"{name}_{k}": float(v) for k, v in zip(("mean", "std", "p5", "p50", "p95"), values, strict=True)}
    out[f"{name}_pairs"] = len(x)
  if not (len(within) and len(between)):
    return out | {"auc": float("nan"), "d_prime": float("nan")}
  ordered = np.sort(between)
  below, upto = np.searchsorted(ordered, within, "left"), np.searchsorted(ordered, within, "right")
  pooled = np.sqrt((within.var() + between.var()) / 2)
  out["auc"] = float((below + upto).mean() / (2 * len(between)))
  out["d_prime"] = float((within.mean() - between.mean()) / pooled) if pooled > 0 else float("inf")
  return out

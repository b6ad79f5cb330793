"""What points on a face say: how wide eyes and mouth are open, which blinks were seen, how far two sets lie apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.metrics.dynamics import blink_spans
from jaxtalk.metrics.result import check_series

# Two corners, then pairs of an upper and a lower point: (outer, inner, upper, lower, upper, lower).
Lids = tuple[int, int, int, int, int, int]
LIDS_68: tuple[Lids, Lids] = ((36, 39, 37, 41, 38, 40), (45, 42, 44, 46, 43, 47))  # of the 68 of 300-W
OUTER_CORNERS_68 = (36, 45)


def eye_aspect_ratio(points: np.ndarray, eyes: Sequence[Lids] = LIDS_68) -> np.ndarray:
  """(...,) height over width of the lids (Soukupova & Cech 2016), mean over eyes, of points (..., N, 2 or 3)."""
  ratios = []
  for outer, inner, *pairs in eyes:
    heights = [_apart(points, up, low) for up, low in zip(pairs[::2], pairs[1::2], strict=True)]
    ratios.append(np.mean(heights, axis=0) / _apart(points, outer, inner))
  return np.mean(ratios, axis=0)


def opening(points: np.ndarray, gap: tuple[int, int], unit: tuple[int, int]) -> np.ndarray:
  """(...,) distance of two points over that of two others, of points (..., N, 2 or 3)."""
  return _apart(points, *gap) / _apart(points, *unit)


def _apart(points: np.ndarray, a: int, b: int) -> np.ndarray:
  return np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)


def point_error(found: np.ndarray, truth: np.ndarray, unit: np.ndarray) -> np.ndarray:
  """(T,) mean distance of points (T, N, 2) from where they should be, in per cent of a length (T,) of each frame.

  Raises:
    InputError: shapes differ, or a length that is not positive.
  """
  if found.shape != truth.shape or found.ndim != 3 or unit.shape != found.shape[:1]:
    raise InputError(f"points {found.shape}, {truth.shape} and lengths {unit.shape} do not belong together")
  if not (unit > 0).all():
    raise InputError("a length to measure in is not positive")
  return 100.0 * np.linalg.norm(found - truth, axis=-1).mean(-1) / unit


def correlation(a: np.ndarray, b: np.ndarray) -> float:
  """Pearson's r of two series (T,); NaN if one of them does not move, for then it says nothing."""
  x, y = check_series("first series", a), check_series("second series", b)
  if x.shape != y.shape:
    raise InputError(f"series of {len(x)} and {len(y)} frames cannot be correlated")
  x, y = x - x.mean(), y - y.mean()
  scale = np.sqrt((x @ x) * (y @ y))
  return float(x @ y / scale) if scale > 1e-12 else float("nan")


@dataclasses.dataclass(frozen=True)
class BlinkCount:
  """Blinks of some clips: how many there were, how many were seen, and sightings where there was none."""

  labelled: int = 0
  seen: int = 0
  false: int = 0
  seconds: float = 0.0

  def __add__(self, other: BlinkCount) -> BlinkCount:
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
    return BlinkCount(*(a + b for a, b in pairs))

  def as_dict(self) -> dict[str, float]:
    """With the share that was seen, and false sightings a minute."""
    share = self.seen / self.labelled if self.labelled else float("nan")
    rate = 60.0 * self.false / self.seconds if self.seconds else float("nan")
    return dataclasses.asdict(self) | {"detected": share, "false_per_minute": rate}


def count_blinks(openness: np.ndarray, eye_blink: np.ndarray, fps: float, *, shut: float) -> BlinkCount:
  """Compares blinks seen in how far the eyes are open with those that were asked for.

  A blink is seen where the eyes are less open than ``shut`` times their median over the second around. One that was
  asked for (`dynamics.blink_spans`) is detected if it is seen in its frames or right beside them; a sighting is false
  if ``eye_blink`` stays below a quarter in all of its frames and the two around.

  Args:
    openness: (T,) by a detector, any unit; NaN where it found no face.
    eye_blink: (T,) label, 0 open to 1 shut.
    fps: frames a second.
    shut: share, between 0 and 1.
  """
  label = check_series("eyeBlink", eye_blink)
  if np.shape(openness) != label.shape:
    raise InputError(f"openness {np.shape(openness)} and labels {label.shape} differ in length")
  with np.errstate(invalid="ignore"):
    low = np.asarray(openness) < shut * _running_median(np.asarray(openness, np.float64), max(1, round(fps / 2)))
  spans = blink_spans(label)
  seen = sum(bool(low[max(0, a - 1) : b + 1].any()) for a, b in spans)
  edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]]).astype(int))).reshape(-1, 2)
  false = sum(bool((label[max(0, a - 1) : b + 1] < 0.25).all()) for a, b in edges)
  return BlinkCount(len(spans), seen, false, len(label) / fps)


def _running_median(values: np.ndarray, reach: int) -> np.ndarray:
  """Over ``reach`` frames to both sides; the edges are continued, and NaN frames left out where others are there."""
  padded = np.pad(values, reach, mode="reflect" if len(values) > reach else "edge")
  windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
  known = np.isfinite(windows).any(-1)
  out = np.full(len(values), np.nan)
  out[known] = np.nanmedian(windows[known], axis=-1)
  return out

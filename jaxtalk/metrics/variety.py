"""How different motions are from each other: for different sounds, and for several takes of one sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.metrics.result import MetricResult, bootstrap, check_series


def diversity(
  features: np.ndarray,
  representation: str,
  fps: Fraction | None = None,
  n_frames: int = 0,
  *,
  name: str = "diversity",
  unit: str = "1",
) -> MetricResult:
  """Mean Euclidean distance between the features (N, D) of N clips of different sounds, over all pairs.

  The interval is the jackknife's: resampling with repetition would compare clips with themselves.

  Args:
    features: one row a clip, see `motion_statistics`.
    representation: what the features are.
    fps, n_frames: of the motions, for the record.
    name, unit: of the figure and of the features.
  """
  x = check_series("features", features, 2)
  if len(x) < 2:
    raise InputError("diversity compares clips of different sounds: it needs two at least")
  return MetricResult(
    name=name,
    value=mean_distance(x),
    unit=unit,
    representation=representation,
    fps=fps,
    n_clips=len(x),
    n_frames=n_frames,
    ci95=_jackknife(x, mean_distance),
  )


def multimodality(
  takes: Sequence[np.ndarray],
  representation: str,
  fps: Fraction | None = None,
  n_frames: int = 0,
  *,
  name: str = "multimodality",
  unit: str = "1",
) -> MetricResult:
  """Mean over sounds of the mean distance between the features (K_i, D) of several takes of one sound.

  Details: ``fewest_takes``; figures in papers have 10 or more. Other arguments as `diversity`.
  """
  if not takes:
    raise InputError("no takes to compare")
  rows = [check_series("features", features, 2) for features in takes]
  if min(len(x) for x in rows) < 2:
    raise InputError("multimodality compares takes of one sound: it needs two at least of each")
  per_sound = [np.array([mean_distance(x)]) for x in rows]
  return MetricResult(
    name=name,
    value=float(np.mean(per_sound)),
    unit=unit,
    representation=representation,
    fps=fps,
    n_clips=sum(len(x) for x in rows),
    n_frames=n_frames,
    ci95=bootstrap(per_sound, lambda values: float(values.mean())),
    details={"sounds": float(len(rows)), "fewest_takes": float(min(len(x) for x in rows))},
  )


def motion_statistics(values: np.ndarray) -> np.ndarray:
  """(2 C,) feature of a motion (T, C) of any length: mean and standard deviation over time of every channel."""
  x = check_series("motion", values, 2)
  return np.concatenate([x.mean(axis=0), x.std(axis=0)])


def take_features(takes: Sequence[np.ndarray]) -> np.ndarray:
  """(K, T C) features of takes (T_i, C) of one sound, cut to the shortest.

  They are divided by the root of T, so that the distance of two is the root of their mean squared distance a frame.
  """
  tracks = [check_series("motion", values, 2) for values in takes]
  frames = min(len(x) for x in tracks)
  return np.stack([x[:frames].ravel() for x in tracks]) / np.sqrt(frames)


def spread_of_positions(points: np.ndarray) -> float:
  """L1div of (T, J, 3) joints: mean over frames of the L1 distance to the mean pose, in the points' unit."""
  x = check_series("joints", points, 3)
  return float(np.abs(x - x.mean(axis=0)).sum(axis=(1, 2)).mean())


def mean_distance(x: np.ndarray) -> float:
  """Mean Euclidean distance over the pairs of rows (N, D)."""
  first, second = np.triu_indices(len(x), 1)
  return float(np.linalg.norm(x[first] - x[second], axis=1).mean())


def _jackknife(x: np.ndarray, statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
  """95 % interval of a statistic of rows from leaving out one at a time; the value itself for fewer than three."""
  value = statistic(x)
  if len(x) < 3:
    return value, value
  without = np.array([statistic(np.delete(x, i, axis=0)) for i in range(len(x))])
  half = 1.96 * float(np.sqrt((len(x) - 1) * without.var()))
  return value - half, value + half

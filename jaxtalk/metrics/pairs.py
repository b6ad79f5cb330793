"""A motion next to the one that it should have been, and the vertices on which the two are compared."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.metrics.result import MetricResult, bootstrap, check_series, common_fps

MAX_EXTRA_FRAMES = 3  # by which two lengths may differ: rounding of one duration, not another clip


@dataclasses.dataclass(frozen=True)
class VertexMask:
  """Which vertices a figure is about: a name, and their distinct indices in rising order. Made by `of`."""

  name: str
  indices: np.ndarray

  @classmethod
  def of(cls, name: str, indices: Sequence[int] | np.ndarray) -> VertexMask:
    """A mask from indices in any order, or from one flag (V,) bool a vertex; InputError if nothing is in it."""
    found = np.asarray(indices)
    found = np.flatnonzero(found) if found.dtype == bool else np.unique(found.astype(np.int64))
    if not found.size or found[0] < 0:
      raise InputError(f"mask {name!r} has {'no vertices' if not found.size else 'a negative index'}")
    return cls(name, found)

  @property
  def sha256(self) -> str:
    """Of the indices as little-endian 64-bit integers: two figures compare only if theirs are the same."""
    return hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()

  def pick(self, points: np.ndarray) -> np.ndarray:
    """(T, V, 3) to the (T, N, 3) in the mask; InputError if there are fewer vertices than it names."""
    if self.indices[-1] >= points.shape[1]:
      last = self.indices[-1]
      raise InputError(f"mask {self.name!r} names vertex {last} of a mesh of {points.shape[1]}: it is of another mesh")
    return points[:, self.indices]


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two float64 arrays (T, ...) of one shape at one rate; made by `pair`."""

  predicted: np.ndarray
  truth: np.ndarray
  fps: Fraction


def pair(
  predicted: np.ndarray, truth: np.ndarray, fps: Fraction, truth_fps: Fraction | None = None, name: str = "the clip"
) -> Pair:
  """Puts a motion and its ground truth side by side; the longer one loses up to three frames at its end.

  Args:
    predicted, truth: (T, C) channels, (T, V, 3) points or (T, 3, 3) matrices, alike but for T.
    fps: frames a second of ``predicted``.
    truth_fps: of ``truth``; None is the same.
    name: of the clip, for messages.

  Raises:
    InputError: other rates or shapes, lengths that differ by more than three frames, no frames, values that are not
      finite.
  """
  if truth_fps is not None and truth_fps != fps:
    raise InputError(f"{name} has {fps} fps, its truth {truth_fps}: resample one of them first")
  x = check_series(f"{name}: the prediction", predicted, np.ndim(predicted))
  y = check_series(f"{name}: the truth", truth, np.ndim(truth))
  if x.shape[1:] != y.shape[1:]:
    raise InputError(f"{name} is {x.shape} and its truth {y.shape}: they must differ in frames only")
  if abs(len(x) - len(y)) > MAX_EXTRA_FRAMES:
    raise InputError(
      f"{name} has {len(x)} frames, its truth {len(y)}: more than {MAX_EXTRA_FRAMES} apart, so another clip or rate"
    )
  frames = min(len(x), len(y))
  return Pair(x[:frames], y[:frames], fps)


def points_of(pairs: Sequence[Pair], mask: VertexMask | None) -> list[tuple[np.ndarray, np.ndarray]]:
  """(T, N, 3) predicted and true points of every pair, in the mask if there is one; InputError for no pairs."""
  if not pairs:
    raise InputError("no clips to measure")
  for p in pairs:
    if p.truth.ndim != 3 or p.truth.shape[-1] != 3:
      raise InputError(f"points must be (T, V, 3), not {p.truth.shape}")
  if mask is None:
    return [(p.predicted, p.truth) for p in pairs]
  return [(mask.pick(p.predicted), mask.pick(p.truth)) for p in pairs]


def summarise(
  name: str,
  unit: str,
  representation: str,
  pairs: Sequence[Pair],
  per_clip: Sequence[np.ndarray],
  *,
  mask: VertexMask | None = None,
  details: Mapping[str, float] | None = None,
) -> MetricResult:
  """The mean of one value a frame (or a clip) over all clips, and over the clips' own means (``macro``)."""
  rate = common_fps([p.fps for p in pairs])
  return MetricResult(
    name=name,
    value=float(np.concatenate(per_clip).mean()),
    unit=unit,
    representation=representation,
    fps=rate,
    n_clips=len(pairs),
    n_frames=sum(len(p.truth) for p in pairs),
    ci95=bootstrap(per_clip, _mean),
    details=dict(details or {}),
    macro=float(np.mean([values.mean() for values in per_clip])),
    mask=mask.name if mask else "",
    mask_sha256=mask.sha256 if mask else "",
  )


def _mean(values: np.ndarray) -> float:
  return float(values.mean())

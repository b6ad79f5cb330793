"""A motion next to the one that it should have been, and the vertices on which the two are compared."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Protocol

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


class PointPair(Protocol):
  """Predicted and true points of one clip, which may be made only when they are asked for."""

  @property
  def fps(self) -> Fraction: ...

  @property
  def truth(self) -> np.ndarray: ...

  def points(self, mask: VertexMask | None) -> tuple[np.ndarray, np.ndarray]: ...

  def template(self, mask: VertexMask) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two float64 arrays (T, ...) of one shape at one rate, and the face at rest (V, 3) if known; made by `pair`."""

  predicted: np.ndarray
  truth: np.ndarray
  fps: Fraction
  rest: np.ndarray | None = None

  def points(self, mask: VertexMask | None) -> tuple[np.ndarray, np.ndarray]:
    """(T, N, 3) predicted and true points in the mask, if there is one; InputError if these are no points."""
    if self.truth.ndim != 3 or self.truth.shape[-1] != 3:
      raise InputError(f"points must be (T, V, 3), not {self.truth.shape}")
    return (self.predicted, self.truth) if mask is None else (mask.pick(self.predicted), mask.pick(self.truth))

  def template(self, mask: VertexMask) -> np.ndarray:
    """(N, 3) of the face at rest; InputError if it is not known."""
    if self.rest is None:
      raise InputError("this figure is about displacements: give pair() the template")
    return mask.pick(self.rest[None])[0]


def pair(
  predicted: np.ndarray,
  truth: np.ndarray,
  fps: Fraction,
  truth_fps: Fraction | None = None,
  name: str = "the clip",
  template: np.ndarray | None = None,
) -> Pair:
  """Puts a motion and its ground truth side by side; the longer one loses up to three frames at its end.

  Args:
    predicted, truth: (T, C) channels, (T, V, 3) points or (T, 3, 3) matrices, alike but for T.
    fps: frames a second of ``predicted``.
    truth_fps: of ``truth``; None is the same.
    name: of the clip, for messages.
    template: (V, 3) points of the face at rest, which only FDD needs.

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
  rest = None if template is None else check_series(f"{name}: the template", template, 2)
  return Pair(x[:frames], y[:frames], fps, rest)


def points_of(pairs: Sequence[PointPair], mask: VertexMask | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Predicted and true points (T, N, 3), one pair at a time; InputError for none at all."""
  if not pairs:
    raise InputError("no clips to measure")
  for p in pairs:
    yield p.points(mask)


def summarise(
  name: str,
  unit: str,
  representation: str,
  pairs: Sequence[PointPair],
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

"""How far the points of a face are from where they should be. Points are template-relative or not, without head pose.

Sources: lip vertex error of MeshTalk and FaceFormer (Fan et al. 2022) as CodeTalker's script computes it; upper-face
dynamics deviation of CodeTalker (Xing et al. 2023) and its variant in DiffPoseTalk (Sun et al. 2024). Published figures
compare only on the same data set, vertices and unit: every result names all three. Pairs come from `pairs.pair`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.metrics.pairs import PointPair, VertexMask, points_of, summarise
from jaxtalk.metrics.result import MetricResult

INNER_LIPS, OUTER_LIPS = (62, 66), (51, 57)  # upper and lower midpoints among the 68 landmarks, counted from 0
FDD_FORMS = ("codetalker", "diffposetalk")


def lip_vertex_error(
  pairs: Sequence[PointPair], mask: VertexMask, representation: str, *, unit: str = "m", name: str = "LVE"
) -> MetricResult:
  """Mean over frames of the largest *squared* distance among the lip vertices, in ``unit^2``.

  This is what CodeTalker's script and torchmetrics print. Its root is not `lip_vertex_distance`, which averages the
  distances themselves. With a mask of eyes and forehead it is the emotional error EVE.

  Args:
    pairs: (T, V, 3) points.
    mask: the lips.
    representation: what the points are.
    unit: of the points; BIWI has one of its own.
    name: of the figure.
  """
  largest = [np.square(_distances(x, y)).max(axis=1) for x, y in points_of(pairs, mask)]
  return summarise(name, f"{unit}^2", representation, pairs, largest, mask=mask)


def lip_vertex_distance(
  pairs: Sequence[PointPair], mask: VertexMask, representation: str, *, name: str = "LVE_mm"
) -> MetricResult:
  """Mean over frames of the largest distance among the lip vertices, in mm, from points in metres.

  DiffPoseTalk and ARTalk print this one; arguments as `lip_vertex_error`.
  """
  largest = [1000.0 * _distances(x, y).max(axis=1) for x, y in points_of(pairs, mask)]
  return summarise(name, "mm", representation, pairs, largest, mask=mask)


def mean_vertex_error(
  pairs: Sequence[PointPair], mask: VertexMask | None, representation: str, *, name: str = "MVE"
) -> MetricResult:
  """Mean distance over frames and vertices, in mm, from points in metres; on an upper-face mask it is UFVE."""
  means = [1000.0 * _distances(x, y).mean(axis=1) for x, y in points_of(pairs, mask)]
  return summarise(name, "mm", representation, pairs, means, mask=mask)


def face_dynamics_deviation(
  pairs: Sequence[PointPair], mask: VertexMask, representation: str, *, form: str = "codetalker"
) -> MetricResult:
  """FDD: how much more the truth's upper face varies over time than the prediction's; signed, mean over clips.

  With ``m`` the displacement of a vertex from the template, the variation of a motion is the mean over vertices of the
  standard deviation over time (divided by T) of ``|m|^2`` in CodeTalker's form, in m^2, and of ``|m|`` in
  DiffPoseTalk's, in m. Details: ``absolute``, the size of the value, and ``mean_absolute``, the mean over clips of each
  clip's own size, in which clips of opposite sign do not cancel.

  Args:
    pairs: (T, V, 3) points in metres, with a template each (zeros where the points are displacements already).
    mask: the upper face.
    representation: what the points are.
    form: one of ``FDD_FORMS``.
  """
  if form not in FDD_FORMS:
    raise InputError(f"FDD has the forms {' and '.join(FDD_FORMS)}, not {form!r}")
  power = 2 if form == "codetalker" else 1
  per_clip = []
  for p, (x, y) in zip(pairs, points_of(pairs, mask), strict=True):
    rest = p.template(mask)[None]
    per_clip.append(np.array([_variation(y - rest, power) - _variation(x - rest, power)]))
  sizes = np.abs(np.concatenate(per_clip))
  details = {"absolute": float(abs(np.mean(per_clip))), "mean_absolute": float(sizes.mean())}
  unit = "m^2" if form == "codetalker" else "m"
  return summarise(f"FDD, {form} form", unit, representation, pairs, per_clip, mask=mask, details=details)


def mouth_opening_difference(
  pairs: Sequence[PointPair], representation: str, *, lips: tuple[int, int] = INNER_LIPS
) -> MetricResult:
  """MOD: mean over frames of how much the mouth opening differs from the truth's, in mm; detail: root mean square.

  Args:
    pairs: (T, V, 3) points in metres.
    representation: what the points are.
    lips: indices of the upper and the lower midpoint; `INNER_LIPS` or `OUTER_LIPS` of 68 landmarks.
  """
  mask = VertexMask.of("lip midpoints", lips)
  off = [1000.0 * np.abs(_opening(x) - _opening(y)) for x, y in points_of(pairs, mask)]
  rms = float(np.sqrt(np.square(np.concatenate(off)).mean()))
  return summarise("MOD", "mm", representation, pairs, off, mask=mask, details={"rms_mm": rms})


def mouth_opening_correlation(
  pairs: Sequence[PointPair], representation: str, *, lips: tuple[int, int] = INNER_LIPS
) -> MetricResult:
  """Mean over clips of Pearson's r between the mouth openings of prediction and truth; details: median and lowest r.

  Arguments as `mouth_opening_difference`. A mouth that never moves has r = 0.
  """
  mask = VertexMask.of("lip midpoints", lips)
  scores = [np.array([_pearson(_opening(x), _opening(y))]) for x, y in points_of(pairs, mask)]
  details = {"median": float(np.median(scores)), "lowest": float(np.min(scores))}
  return summarise("mouth-opening correlation", "1", representation, pairs, scores, mask=mask, details=details)


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """(T, N) from (T, N, 3)."""
  return np.linalg.norm(x - y, axis=-1)


def _variation(displacement: np.ndarray, power: int) -> float:
  """Mean over vertices of the standard deviation over time of the displacements' (T, N, 3) lengths to a power."""
  return float((np.linalg.norm(displacement, axis=-1) ** power).std(axis=0).mean())


def _opening(points: np.ndarray) -> np.ndarray:
  """(T,) distance of two points (T, 2, 3)."""
  return np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
  x, y = x - x.mean(), y - y.mean()
  scale = np.sqrt((x @ x) * (y @ y))
  return float(x @ y / scale) if scale > 1e-18 else 0.0

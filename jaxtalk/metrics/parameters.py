"""How far channels and rotations of a motion are from where they should be. Pairs come from `pairs.pair`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtalk.core import InputError, MotionSpace
from jaxtalk.metrics.pairs import Pair, summarise
from jaxtalk.metrics.result import MetricResult
from jaxtalk.motion import rotations


def channel_error(
  pairs: Sequence[Pair], space: MotionSpace, channels: Sequence[str], *, norm: str = "l1", unit: str = "1"
) -> MetricResult:
  """Mean error of named channels of (T, C) motions.

  "l1" is the mean over frames and channels of the absolute difference; "l2" the mean over frames of the Euclidean
  length of the difference over channels.

  Args:
    pairs: (T, C) values, C = len(space).
    space: what the columns are.
    channels: which of them count, e.g. ``("jawOpen",)``.
    norm: "l1" or "l2".
    unit: "1" for weights; "deg" for angles in radians, which are converted.

  Raises:
    InputError: a channel that the space lacks, none at all, another norm or unit, another number of columns.
  """
  if norm not in ("l1", "l2") or unit not in ("1", "deg"):
    raise InputError(f"channel errors are l1 or l2, in units of 1 or deg; not {norm!r} in {unit!r}")
  columns = _columns(space, channels)
  per_clip = []
  for p in pairs:
    if p.truth.ndim != 2 or p.truth.shape[1] != len(space):
      raise InputError(f"motion of shape {p.truth.shape} does not fit the {len(space)} channels of {space.name}")
    off = (p.predicted - p.truth)[:, columns] * (180.0 / np.pi if unit == "deg" else 1.0)
    per_clip.append(np.abs(off).mean(axis=1) if norm == "l1" else np.linalg.norm(off, axis=1))
  what = channels[0] if len(channels) == 1 else f"{len(channels)} channels"
  return summarise(f"{norm.upper()} of {what}", unit, f"{space.name}: {_shortened(channels)}", pairs, per_clip)


def rotation_error(pairs: Sequence[Pair], representation: str, *, name: str = "head-pose error") -> MetricResult:
  """Mean over frames of the angle in degrees between rotations (T, 3, 3): ``arccos((tr(X' Y) - 1) / 2)``.

  Details hold the 95th percentile over all frames. For a jaw or head as axis-angle or yaw, pitch, roll take
  `motion.rotations` first.
  """
  per_clip = []
  for p in pairs:
    if p.truth.shape[1:] != (3, 3):
      raise InputError(f"rotations must be matrices (T, 3, 3), not {p.truth.shape}")
    between = np.swapaxes(p.predicted, -1, -2) @ p.truth
    # The angle by way of the quaternion, which is exact where the arccos of a rounded number is not: near 0.
    per_clip.append(np.rad2deg(np.linalg.norm(rotations.axis_angle_from_matrix(between), axis=-1)))
  details = {"p95_deg": float(np.percentile(np.concatenate(per_clip), 95))} if per_clip else {}
  return summarise(name, "deg", representation, pairs, per_clip, details=details)


def _columns(space: MotionSpace, channels: Sequence[str]) -> list[int]:
  if not channels:
    raise InputError("no channels to compare")
  try:
    return [space.index(channel) for channel in channels]
  except KeyError as error:
    raise InputError(error.args[0]) from None


def _shortened(channels: Sequence[str]) -> str:
  return ", ".join(channels) if len(channels) <= 3 else f"{channels[0]} ... {channels[-1]}"

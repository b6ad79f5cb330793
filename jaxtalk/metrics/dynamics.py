"""How a motion moves: jitter, blinks, head speed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.metrics.result import MetricResult, bootstrap, check_series, common_fps
from jaxtalk.motion import rotations

BLINK_LEVEL, BLINK_FRAMES = 0.5, 2


def jitter(series: Sequence[np.ndarray], fps: Sequence[Fraction], unit: str, representation: str) -> MetricResult:
  """Mean length of the third difference times fps^3 of (T, C) tracks or (T, V, 3) points, over all frames.

  Args:
    series: one array a clip.
    fps: one rate a clip.
    unit: of the values themselves ("m", "1"); the result is in unit/s^3.
    representation: what the values are.
  """
  rate = common_fps(fps)
  per_clip = [_jerk(values, rate) for values in series]
  return _result("jitter", f"{unit}/s^3", representation, rate, series, per_clip, np.mean, {})


def jitter_ratio(
  predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray], fps: Sequence[Fraction], representation: str
) -> MetricResult:
  """Jitter of predicted motions over that of the true ones, clip by clip in the same order; 1 is ideal.

  The interval resamples clips, each with its truth. InputError for clips that do not pair up or truths that never jerk.
  """
  rate = common_fps(fps)
  if not len(predicted) == len(truth) == len(fps):
    raise InputError(f"{len(predicted)} predicted and {len(truth)} true motions do not pair up")
  jerks = [(_jerk(x, rate), _jerk(y, rate)) for x, y in zip(predicted, truth, strict=True)]
  sums = [np.array([[x.sum(), len(x), y.sum(), len(y)]]) for x, y in jerks]
  if min(row[0, 2] for row in sums) <= 0.0:
    raise InputError("a true motion is perfectly smooth: there is no jitter to compare with")

  def ratio(rows: np.ndarray) -> float:
    x, n, y, m = rows.sum(axis=0)
    return float((x / n) / (y / m))

  return _result("jitter ratio", "1", representation, rate, predicted, sums, ratio, {})


def high_frequency_share(track: np.ndarray, fps: Fraction, above_hz: float = 8.0) -> float:
  """Share in [0, 1] of a track's (T,) variance that lies above a frequency; 0 for a track that does not move."""
  x = check_series("track", track)
  power = np.abs(np.fft.rfft((x - x.mean()) * np.hanning(len(x) + 2)[1:-1])) ** 2
  hertz = np.fft.rfftfreq(len(x), 1.0 / float(fps))
  return float(power[hertz > above_hz].sum() / power.sum()) if power.sum() > 1e-20 else 0.0


def blink_spans(eye_blink: np.ndarray) -> np.ndarray:
  """(N, 2) first frame and one past the last of the blinks: stretches above 0.5 of at least two frames."""
  x = check_series("eyeBlink", eye_blink)
  edges = np.flatnonzero(np.diff(np.concatenate([[False], x > BLINK_LEVEL, [False]]).astype(int))).reshape(-1, 2)
  return edges[edges[:, 1] - edges[:, 0] >= BLINK_FRAMES]


def blinks(tracks: Sequence[np.ndarray], fps: Sequence[Fraction]) -> MetricResult:
  """Blinks a minute over (T,) eyeBlink tracks; details: mean duration in ms, and the variation of the intervals."""
  rate = common_fps(fps)
  spans = [blink_spans(track) for track in tracks]
  minutes = np.array([len(track) / float(rate) / 60.0 for track in tracks])
  durations = np.concatenate([np.diff(s, axis=1)[:, 0] for s in spans]) * 1000.0 / float(rate)
  intervals = np.concatenate([np.diff(s[:, 0]) for s in spans]) / float(rate)
  details = {"n_blinks": float(len(durations))}
  if len(durations):
    details["duration_ms"] = float(durations.mean())
  if len(intervals) > 1:
    details["interval_cv"] = float(intervals.std() / intervals.mean())
  counts = [np.array([[len(s), m]]) for s, m in zip(spans, minutes, strict=True)]
  return _result(
    "blink rate", "1/min", "eyeBlink", rate, tracks, counts, lambda c: c[:, 0].sum() / c[:, 1].sum(), details
  )


def angular_speed(ypr: np.ndarray, fps: Fraction) -> np.ndarray:
  """(T - 1,) speed in rad/s of (T, 3) yaw, pitch, roll: the angle of the rotation between frames, times fps."""
  matrices = rotations.matrix_from_ypr(check_series("head angles", ypr, 2))
  between = np.swapaxes(matrices[:-1], -1, -2) @ matrices[1:]
  return np.linalg.norm(rotations.axis_angle_from_matrix(between), axis=-1) * float(fps)


def head_motion(tracks: Sequence[np.ndarray], fps: Sequence[Fraction]) -> MetricResult:
  """Mean angular speed of the head in deg/s over (T, 3) yaw, pitch, roll in radians; details: peaks and spreads."""
  rate = common_fps(fps)
  speeds = [np.rad2deg(angular_speed(track, rate)) for track in tracks]
  if any(not len(s) for s in speeds):
    raise InputError("head motion needs at least two frames a clip")
  pooled, angles = np.concatenate(speeds), np.rad2deg(np.concatenate([np.asarray(t, np.float64) for t in tracks]))
  details = {"p95_deg_s": float(np.percentile(pooled, 95)), "max_deg_s": float(pooled.max())}
  details |= {f"std_{name}_deg": float(s) for name, s in zip(("yaw", "pitch", "roll"), angles.std(axis=0), strict=True)}
  return _result("head speed", "deg/s", "head yaw, pitch, roll", rate, tracks, speeds, np.mean, details)


def _jerk(values: np.ndarray, rate: Fraction) -> np.ndarray:
  """Lengths of the third differences times fps^3, flat."""
  x = check_series("motion", values, np.ndim(values))
  if len(x) < 4 or x.ndim < 2:
    raise InputError(f"jitter needs (T, C) or (T, V, 3) with at least 4 frames, not {x.shape}")
  return np.linalg.norm(np.diff(x, n=3, axis=0), axis=-1).ravel() * float(rate) ** 3


def _result(name, unit, representation, fps, tracks, per_clip, statistic, details) -> MetricResult:
  return MetricResult(
    name=name,
    value=float(statistic(np.concatenate(per_clip))),
    unit=unit,
    representation=representation,
    fps=fps,
    n_clips=len(tracks),
    n_frames=sum(len(track) for track in tracks),
    ci95=bootstrap(per_clip, statistic),
    details=details,
  )

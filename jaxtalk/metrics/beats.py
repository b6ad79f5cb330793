"""Whether the head or the hands move to the beat of the sound.

A figure depends on which beats are averaged over, on sigma and on how beats are found, and published ones differ in
all three: AIST++ (Li et al. 2021) averages over kinematic beats, SAiD (Park and Cho 2023) over audio beats with sigma
0.1 s, EMAGE (Liu et al. 2024) takes sigma 0.3 s and minima of order 7. Every result says what it used.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import scipy.ndimage
import scipy.signal

from jaxtalk.core import InputError
from jaxtalk.metrics.result import MetricResult, bootstrap, check_series, common_fps

_HOP, _WINDOW = 0.01, 0.025  # seconds, of the onset strength
_NEAR, _WIDE, _DELTA = 3, 10, 0.07  # an onset: highest within 30 ms, and this far above the mean of 100 ms around


def kinematic_beats(series: np.ndarray, fps: Fraction, order: int = 7) -> np.ndarray:
  """(N,) seconds at which a motion (T, C) or (T, V, 3) is slowest: local minima of its mean speed.

  Speed is the mean absolute change of channels, or the mean length of the change of points, from a frame to the next;
  it is known between two frames, at ``(i + 1) / fps``. A minimum is below all of ``order`` neighbours on either side.
  """
  x = check_series("motion", series, np.ndim(series))
  least = 2 * order + 2
  if x.ndim not in (2, 3) or len(x) < least:
    raise InputError(f"beats of order {order} need (T, C) or (T, V, 3) of {least} frames at least, not {x.shape}")
  step = np.diff(x, axis=0)
  speed = np.abs(step).mean(axis=1) if x.ndim == 2 else np.linalg.norm(step, axis=-1).mean(axis=1)
  return (scipy.signal.argrelmin(speed, order=order)[0] + 1) / float(fps)


def audio_beats(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
  """(N,) seconds of the onsets of a sound: peaks of its spectral flux.

  The flux is the mean rise in dB of the spectrum from one 25 ms window to the next, every 10 ms, of what lies within
  80 dB of the loudest. An onset is the highest of 30 ms on either side and above the mean of 100 ms by 7 % of the
  clip's highest. Its time is where the rise is: between the middles of the two windows.
  """
  x = check_series("waveform", waveform)
  size, hop = round(_WINDOW * sample_rate), round(_HOP * sample_rate)
  if len(x) < size + 4 * hop:
    raise InputError(f"{len(x) / sample_rate:.3f} s of sound are too short for onsets")
  windows = np.lib.stride_tricks.sliding_window_view(x, size)[::hop] * np.hanning(size)
  power = np.square(np.abs(np.fft.rfft(windows, axis=-1)))
  level = 10.0 * np.log10(np.maximum(power, power.max() * 1e-8 + 1e-20))
  flux = np.maximum(np.diff(level, axis=0), 0.0).mean(axis=1)
  flux = flux / max(flux.max(), 1e-9)
  around = np.convolve(np.pad(flux, _WIDE, mode="edge"), np.full(2 * _WIDE + 1, 1 / (2 * _WIDE + 1)), "valid")
  highest = scipy.ndimage.maximum_filter1d(flux, 2 * _NEAR + 1)
  peaks = np.flatnonzero((flux == highest) & (flux > around + _DELTA))
  return ((peaks + 0.5) * hop + 0.5 * size) / sample_rate


def beat_alignment(
  motion_beats: Sequence[np.ndarray],
  sound_beats: Sequence[np.ndarray],
  fps: Sequence[Fraction],
  frames: Sequence[int],
  *,
  over: str = "audio",
  sigma: float = 0.1,
  order: int = 7,
) -> MetricResult:
  """Mean over beats ``b`` of ``exp(-d^2 / (2 sigma^2))``, ``d`` the distance to the nearest beat of the other kind.

  Args:
    motion_beats: (N_i,) seconds a clip, from `kinematic_beats`.
    sound_beats: (M_i,) seconds a clip, from `audio_beats` or a score.
    fps: of each clip's motion.
    frames: of each clip.
    over: which beats are averaged over, "audio" or "kinematic"; one without any of the other kind counts as 0.
    sigma: seconds.
    order: of the minima; only repeated in the result.

  Raises:
    InputError: clips that do not pair up, another ``over``, no beat in any clip.
  """
  if over not in ("audio", "kinematic") or sigma <= 0:
    raise InputError(f"beats are averaged over audio or kinematic ones with sigma > 0, not {over!r} with {sigma}")
  rate = common_fps(fps)
  if not len(motion_beats) == len(sound_beats) == len(fps) == len(frames):
    raise InputError(f"{len(motion_beats)} motions and {len(sound_beats)} sounds do not pair up")
  counted, others = (sound_beats, motion_beats) if over == "audio" else (motion_beats, sound_beats)
  per_clip = [_nearness(np.asarray(a), np.asarray(b), sigma) for a, b in zip(counted, others, strict=True)]
  pooled = np.concatenate(per_clip)
  if not len(pooled):
    raise InputError(f"no clip has {over} beats")
  return MetricResult(
    name="beat alignment",
    value=float(pooled.mean()),
    unit="1",
    representation=f"B={over}, sigma={sigma:g} s, order={order}",
    fps=rate,
    n_clips=len(per_clip),
    n_frames=sum(frames),
    ci95=bootstrap(per_clip, lambda values: float(values.mean())),
    details={
      "n_audio_beats": float(sum(map(len, sound_beats))),
      "n_kinematic_beats": float(sum(map(len, motion_beats))),
    },
    macro=float(np.mean([values.mean() for values in per_clip if len(values)])),
  )


def _nearness(beats: np.ndarray, others: np.ndarray, sigma: float) -> np.ndarray:
  if not len(others):
    return np.zeros(len(beats))
  nearest = np.abs(beats[:, None] - others[None]).min(axis=1) if len(beats) else np.zeros(0)
  return np.exp(-np.square(nearest) / (2.0 * sigma**2))

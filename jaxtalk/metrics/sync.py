"""Lips against sound, without weights: closures and lags from known phones, and correlation with loudness.

Frame i is taken at its middle, ``(i + 0.5) / fps``. A positive lag means that the mouth is late. People notice errors
beyond about -125 to +45 ms (audio late to audio early; ITU-R BT.1359).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jaxtalk.core import InputError, Phone
from jaxtalk.metrics.result import MetricResult, bootstrap, check_series, common_fps
from jaxtalk.speech import phones as ph

WINDOW = 0.120  # seconds around a bilabial's centre in which the lips must meet
CLOSED = 0.10  # share of the clip's 95th percentile below which a gap counts as closed
VOWEL_WINDOW = 0.080
ENERGY_RATE = Fraction(25)
_TIE = 0.01  # gaps that differ by less than this share of the 95th percentile are the same


@dataclasses.dataclass(frozen=True)
class MouthTrack:
  """The lip gap of one clip: ``gap`` (T,) in any unit of length, at ``fps``, and the ``phones`` that are said."""

  gap: np.ndarray
  fps: Fraction
  phones: Sequence[Phone]
  representation: str = "inner-lip gap"


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
  """(T,) distance between the inner-lip midpoints, 62 and 66, of (T, 68 or 70, 2 or 3) landmarks."""
  points = check_series("landmarks", landmarks, ndim=3)
  if points.shape[1] not in (68, 70):
    raise InputError(f"landmarks have {points.shape[1]} points: expected 68 or 70")
  return np.linalg.norm(points[:, 62] - points[:, 66], axis=-1)


def closures(track: MouthTrack) -> tuple[np.ndarray, np.ndarray]:
  """Lag in seconds (N,) and relative gap (N,) of the N bilabials of a clip.

  The lag is the time of the smallest gap within +-120 ms of the phone's centre, less that centre; where several frames
  tie, the middle of the run of them that is nearest to the centre. The relative gap is the smallest gap over the clip's
  95th percentile. A bilabial whose window holds no frame is skipped.
  """
  gap, times, scale = _checked(track)
  lags, gaps = [], []
  for phone in track.phones:
    if ph.is_silence(phone.symbol) or not ph.is_bilabial(phone.symbol):
      continue
    centre = 0.5 * (phone.start + phone.end)
    inside = np.flatnonzero(np.abs(times - centre) <= WINDOW)
    if len(inside):
      lags.append(_time_of_minimum(gap, times, inside, centre, _TIE * scale) - centre)
      gaps.append(gap[inside].min() / scale)
  return np.array(lags), np.array(gaps)


def closure_rate(tracks: Sequence[MouthTrack]) -> MetricResult:
  """Share of bilabials at which the lips meet: smallest gap below 10 % of the clip's 95th percentile."""
  closed = [(closures(track)[1] < CLOSED).astype(np.float64) for track in tracks]
  return _pooled("bilabial closure rate", "1", tracks, closed, np.mean, {"n_bilabials": float(sum(map(len, closed)))})


def onset_lag(tracks: Sequence[MouthTrack]) -> MetricResult:
  """Median lag of the bilabials, in milliseconds."""
  lags = [1000.0 * closures(track)[0] for track in tracks]
  pooled = np.concatenate(lags) if lags else np.zeros(0)
  return _pooled("viseme-onset lag", "ms", tracks, lags, np.median, _spread(pooled))


def vowel_lag(tracks: Sequence[MouthTrack]) -> MetricResult:
  """Median over clips of the lag, within +-80 ms, at which the mouth best follows the vowels' target curve.

  The target is 1 in open vowels, 0.65 in mid, 0.35 in close ones, 0.15 in other consonants, 0 in bilabials and
  silence; the lag is the argmax of the Pearson correlation on a grid of 5 ms. A clip without vowels is refused.
  """
  lags = [np.array([1000.0 * _vowel_lag(track)]) for track in tracks]
  return _pooled("vowel lag", "ms", tracks, lags, np.median, _spread(np.concatenate(lags) if lags else np.zeros(0)))


def audio_mouth_correlation(
  tracks: Sequence[MouthTrack], waveforms: Sequence[np.ndarray], sample_rates: Sequence[int]
) -> MetricResult:
  """Median over clips of Pearson's r between smoothed log-energy at 25 Hz and the lip gap, at its best lag.

  Energy is in dB per 40 ms, not lower than 40 dB below the loudest frame, smoothed over three frames; the best lag is
  searched in +-5 frames. ``details`` holds the median r at lag 0 and the median best lag (positive: mouth late).
  """
  if not len(tracks) == len(waveforms) == len(sample_rates):
    raise InputError(f"{len(tracks)} tracks, {len(waveforms)} waveforms and {len(sample_rates)} rates do not pair up")
  rows = [_correlations(*item) for item in zip(tracks, waveforms, sample_rates, strict=True)]
  best = [np.array([row.max()]) for row in rows]
  middle = len(rows[0]) // 2 if rows else 0
  details = {
    "r_at_lag_0": float(np.median([row[middle] for row in rows])) if rows else 0.0,
    "best_lag_ms": float(np.median([40.0 * (row.argmax() - middle) for row in rows])) if rows else 0.0,
  }
  return _pooled("audio-mouth correlation", "1", tracks, best, np.median, details)


def _checked(track: MouthTrack) -> tuple[np.ndarray, np.ndarray, float]:
  """Gap, frame times and the 95th percentile of a clip that can be measured."""
  gap = check_series("lip gap", track.gap)
  if not track.phones:
    raise InputError("the clip has no phones: sync against phones cannot be measured")
  duration, frame = max(p.end for p in track.phones), 1.0 / float(track.fps)
  if abs(len(gap) * frame - duration) > 3.0 * frame + 1e-9:
    raise InputError(f"{len(gap)} frames at {track.fps} fps do not fit phones that end at {duration:.3f} s: wrong fps?")
  scale = float(np.percentile(gap, 95))
  if scale <= 0.0:
    raise InputError("the lip gap never opens: there is no scale to measure closures against")
  return gap, (np.arange(len(gap)) + 0.5) * frame, scale


def _time_of_minimum(gap: np.ndarray, times: np.ndarray, inside: np.ndarray, centre: float, tie: float) -> float:
  tied = inside[gap[inside] <= gap[inside].min() + tie]
  runs = np.split(tied, np.flatnonzero(np.diff(tied) > 1) + 1)
  middles = np.array([times[run].mean() for run in runs])
  return float(middles[np.abs(middles - centre).argmin()])


def _openness(symbol: str) -> float:
  if ph.is_silence(symbol) or ph.is_bilabial(symbol):
    return 0.0
  if not ph.is_vowel(symbol):
    return 0.15
  return {"aa": 1.0, "E": 0.65, "O": 0.65, "RR": 0.5, "I": 0.35, "U": 0.35}[ph.viseme(symbol)]


def _vowel_lag(track: MouthTrack) -> float:
  gap, times, _ = _checked(track)
  if not any(not ph.is_silence(p.symbol) and ph.is_vowel(p.symbol) for p in track.phones):
    raise InputError("the clip has no vowels: their lag cannot be measured")
  grid = np.arange(times[0] + VOWEL_WINDOW, times[-1] - VOWEL_WINDOW, 0.005)
  if len(grid) < 20:
    raise InputError(f"{len(gap)} frames are too few to measure the lag of vowels: 0.3 s at least")
  starts = np.array([p.start for p in track.phones])
  levels = np.array([_openness(p.symbol) for p in track.phones])
  target = levels[np.clip(np.searchsorted(starts, grid, side="right") - 1, 0, len(levels) - 1)]
  shifts = np.arange(-16, 17) * 0.005
  scores = [_pearson(np.interp(grid + shift, times, gap), target) for shift in shifts]
  return float(shifts[int(np.argmax(scores))])


def _correlations(track: MouthTrack, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
  """(11,) r at lags -5 .. 5 frames of 25 Hz."""
  gap = check_series("lip gap", track.gap)
  sound = check_series("waveform", waveform)
  if abs(len(gap) / float(track.fps) - len(sound) / sample_rate) > 3.0 / float(track.fps):
    raise InputError(f"{len(gap)} frames at {track.fps} fps and {len(sound) / sample_rate:.3f} s of sound: wrong fps?")
  energy = log_energy(sound, sample_rate)
  times = (np.arange(len(energy)) + 0.5) / float(ENERGY_RATE)
  mouth = np.interp(times, (np.arange(len(gap)) + 0.5) / float(track.fps), gap)
  if len(energy) < 16:
    raise InputError("correlation needs at least 0.64 s")
  return np.array([_pearson(*_shifted(energy, mouth, lag)) for lag in range(-5, 6)])


def log_energy(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
  """(N,) level in dB of each 40 ms, floored 40 dB below the loudest, smoothed over three frames."""
  edges = np.round(np.arange(0, len(waveform) * 25 // sample_rate + 1) * sample_rate / 25).astype(int)
  power = np.concatenate([[0.0], np.cumsum(np.asarray(waveform, np.float64) ** 2)])
  level = 10.0 * np.log10(np.diff(power[edges]) / np.maximum(np.diff(edges), 1) + 1e-12)
  level = np.maximum(level, level.max(initial=-120.0) - 40.0)
  return np.convolve(np.pad(level, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid") if len(level) else level


def _shifted(energy: np.ndarray, mouth: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
  """Energy at n paired with the mouth at n + lag."""
  return (energy[: len(energy) - lag], mouth[lag:]) if lag >= 0 else (energy[-lag:], mouth[:lag])


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
  x, y = x - x.mean(), y - y.mean()
  scale = np.sqrt((x @ x) * (y @ y))
  return float(x @ y / scale) if scale > 0.0 else 0.0


def _spread(pooled: np.ndarray) -> dict[str, float]:
  if not len(pooled):
    return {}
  q1, q3 = np.percentile(pooled, [25, 75])
  return {"q1": float(q1), "q3": float(q3), "iqr": float(q3 - q1), "p95_abs": float(np.percentile(np.abs(pooled), 95))}


def _pooled(name, unit, tracks, per_clip, statistic, details) -> MetricResult:
  fps = common_fps([track.fps for track in tracks])
  pooled = np.concatenate(per_clip)
  if not len(pooled):
    raise InputError(f"{name}: no clip has a phone that it is measured on")
  return MetricResult(
    name=name,
    value=float(statistic(pooled)),
    unit=unit,
    representation=tracks[0].representation,
    fps=fps,
    n_clips=len(tracks),
    n_frames=sum(len(track.gap) for track in tracks),
    ci95=bootstrap(per_clip, statistic),
    details=details,
  )

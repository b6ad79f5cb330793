"""Loudness, pitch and a handful of spectral bands of any waveform, one value per video frame.

This is what a mouth can follow when nothing but the sound is known (a recording without phones), and what brows and
head follow always. NumPy and soxr only: importing it costs nothing, and a minute of speech takes about a second.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import soxr

RATE = 16_000  # everything is analysed at this rate
HOP = 160  # 10 ms
WINDOW = 640  # 40 ms
F0_MIN, F0_MAX = 60.0, 600.0  # Hz: from a man's creak to a small child's squeal
FLOOR_DB = -80.0  # quieter than this is written as this
BANDS = {  # Hz; what moves in them when the mouth does
  "low": (200.0, 900.0),  # first formant of open vowels: jaw
  "mid": (900.0, 2600.0),  # second formant: spread or rounded lips, tongue
  "high": (2600.0, 4500.0),  # upper formants, /sh/
  "fricative": (4500.0, 8000.0),  # /s f th/: teeth nearly closed
}


@dataclasses.dataclass(frozen=True)
class Features:
  """What is heard in each frame; every field is (T,) float32, taken at the middle of the frame.

  Attributes:
    loudness_db: level in dB re full scale, smoothed over 50 ms, not below ``FLOOR_DB``.
    f0_hz: fundamental frequency, 0 where unvoiced.
    periodicity: [0, 1], 1 is a perfectly periodic sound; a soft voicing decision.
    low_db, mid_db, high_db, fricative_db: level in each of ``BANDS``, dB re full scale.
    centroid_hz: centre of gravity of the spectrum; 0 in silence.
  """

  loudness_db: np.ndarray
  f0_hz: np.ndarray
  periodicity: np.ndarray
  low_db: np.ndarray
  mid_db: np.ndarray
  high_db: np.ndarray
  fricative_db: np.ndarray
  centroid_hz: np.ndarray

  @property
  def voiced(self) -> np.ndarray:
    """(T,) bool."""
    return self.f0_hz > 0


def features(waveform: np.ndarray, sample_rate: int, fps: Fraction | float, num_frames: int) -> Features:
  """Features of ``num_frames`` frames at ``fps``; frames beyond the end of the sound are silent.

  Args:
    waveform: (S,) float in [-1, 1], mono.
    sample_rate: Hz.
    fps: frames a second, rational or not.
    num_frames: T.
  """
  signal = np.asarray(waveform, np.float32)
  if sample_rate != RATE:
    signal = soxr.resample(signal, sample_rate, RATE)
  frames = _frames(signal)
  power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), 1024)) ** 2
  # Parseval for a Hann window: mean square of the frame, so that a full-scale sine reads -3 dB.
  power *= 2.0 / (1024 * WINDOW * 0.375)
  hertz = np.fft.rfftfreq(1024, 1 / RATE)
  audible = hertz >= 60.0
  f0, periodicity = track_f0(signal, RATE, HOP / RATE)
  total = power[:, audible].sum(1)
  columns = {
    "loudness_db": _db(_smooth(total, 5)),
    "periodicity": periodicity,
    "centroid_hz": np.where(total > 1e-9, (power * hertz)[:, audible].sum(1) / np.maximum(total, 1e-12), 0.0),
  }
  for name, (low, high) in BANDS.items():
    columns[f"{name}_db"] = _db(power[:, (hertz >= low) & (hertz < high)].sum(1))
  times = (np.arange(num_frames) + 0.5) / float(fps)
  grid = np.arange(len(frames)) * (HOP / RATE)
  quiet = {"periodicity": 0.0, "centroid_hz": 0.0}
  sampled = {k: _sample(times, grid, v, quiet.get(k, FLOOR_DB)) for k, v in columns.items()}
  nearest = np.minimum(np.rint(times * RATE / HOP).astype(int), len(f0) - 1)
  f0_at = np.where(times <= grid[-1], f0[nearest], 0.0).astype(np.float32)  # never interpolate across voicing
  return Features(f0_hz=f0_at, **sampled)


def track_f0(waveform: np.ndarray, sample_rate: int, hop: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
  """Fundamental frequency by YIN (de Cheveigne & Kawahara 2002, JASA 111:1917-1930), median-filtered over 50 ms.

  Args:
    waveform: (S,) float, mono.
    sample_rate: Hz.
    hop: seconds between values; value i is at ``i * hop``.

  Returns:
    f0 (F,) float32 in Hz, 0 where unvoiced; periodicity (F,) float32 in [0, 1].
  """
  window, max_lag = int(0.025 * sample_rate), int(sample_rate / F0_MIN) + 2
  frames = _frames(waveform, window + max_lag, round(hop * sample_rate))
  difference = _cumulative_difference(frames, window, max_lag)
  min_lag = int(sample_rate / F0_MAX)
  lag, dip = _first_dip(difference, min_lag, threshold=0.15)
  level = np.sqrt(np.mean(frames**2, axis=1))
  loud = level > max(1e-4, 0.03 * float(np.quantile(level, 0.95)))
  f0 = np.where((dip < 0.3) & loud, sample_rate / lag, 0.0)
  return _median_voiced(f0).astype(np.float32), np.clip(1 - dip, 0, 1).astype(np.float32) * loud


def _cumulative_difference(frames: np.ndarray, window: int, max_lag: int) -> np.ndarray:
  """YIN's cumulative-mean-normalised difference function, (F, max_lag); step 3 of the paper."""
  size = 1 << (frames.shape[1] + window - 1).bit_length()
  head = np.fft.rfft(frames[:, :window], size)
  cross = np.fft.irfft(np.conj(head) * np.fft.rfft(frames, size), size)[:, :max_lag]
  energy = np.cumsum(np.pad(frames.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
  moving = energy[:, window : window + max_lag] - energy[:, :max_lag]
  difference = np.maximum(moving[:, :1] + moving - 2 * cross, 0.0)
  mean = np.cumsum(difference[:, 1:], axis=1) / np.arange(1, max_lag)
  return np.concatenate([np.ones((len(frames), 1)), difference[:, 1:] / np.maximum(mean, 1e-12)], axis=1)


def _first_dip(difference: np.ndarray, min_lag: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
  """Lag (fractional) and depth of the first local minimum below the threshold, else of the deepest one."""
  d = difference[:, min_lag:-1]
  local = (d <= difference[:, min_lag - 1 : -2]) & (d < difference[:, min_lag + 1 :])
  good = local & (d < threshold)
  index = np.where(good.any(1), good.argmax(1), np.where(local, d, np.inf).argmin(1)) + min_lag
  rows = np.arange(len(d))
  a, b, c = (difference[rows, index + k] for k in (-1, 0, 1))
  curve = a - 2 * b + c
  shift = np.where(curve > 1e-12, 0.5 * (a - c) / np.maximum(curve, 1e-12), 0.0)  # parabola through three points
  return index + np.clip(shift, -0.5, 0.5), b


def _frames(signal: np.ndarray, window: int = WINDOW, hop: int = HOP) -> np.ndarray:
  """(F, window) frames centred at ``i * hop``; the ends are padded with silence."""
  padded = np.pad(signal, (window // 2, window - window // 2))
  return np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]


def _db(power: np.ndarray) -> np.ndarray:
  return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def _smooth(x: np.ndarray, width: int) -> np.ndarray:
  kernel = np.hanning(width + 2)[1:-1]
  return np.convolve(np.pad(x, width // 2, mode="edge"), kernel / kernel.sum(), mode="valid")


def _median_voiced(f0: np.ndarray) -> np.ndarray:
  """Median of five over voiced neighbours; an isolated voiced value among unvoiced ones is dropped."""
  around = np.lib.stride_tricks.sliding_window_view(np.pad(f0, 2), 5)
  voiced = around > 0
  count = voiced.sum(1)
  ranked = np.sort(np.where(voiced, around, np.inf), axis=1)
  median = ranked[np.arange(len(f0)), np.maximum(count - 1, 0) // 2]
  return np.where((f0 > 0) & (count >= 3), median, 0.0)


def _sample(times: np.ndarray, grid: np.ndarray, values: np.ndarray, beyond: float) -> np.ndarray:
  return np.interp(times, grid, values, right=beyond).astype(np.float32)

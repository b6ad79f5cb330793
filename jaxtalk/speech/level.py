"""Speech at one level, without clipping."""

from __future__ import annotations

import numpy as np

TARGET_DB = -23.0  # dBFS, RMS of the parts where somebody speaks
PEAK = 0.95


def normalise(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
  """(S,) float32 with the active level at ``TARGET_DB``, or as near as peaks below ``PEAK`` allow; silence stays."""
  block = max(1, sample_rate // 50)
  whole = waveform[: len(waveform) // block * block].astype(np.float64)
  power = np.mean(whole.reshape(-1, block) ** 2, axis=1) if len(whole) else np.zeros(1)
  active = power[power > power.max() * 1e-3]  # within 30 dB of the loudest 20 ms
  if not len(active):
    return waveform.astype(np.float32)
  gain = 10 ** (TARGET_DB / 20) / np.sqrt(active.mean())
  gain = min(gain, PEAK / float(np.abs(waveform).max()))
  return (waveform * gain).astype(np.float32)

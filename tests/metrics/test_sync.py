from fractions import Fraction

import numpy as np
import pytest

from jaxtalk.core import InputError, Phone
from jaxtalk.metrics import sync
from jaxtalk.metrics.sync import MouthTrack

FPS = Fraction(25)
PHONES = (
  Phone("SIL", 0.0, 0.5),
  Phone("B", 0.5, 0.6),
  Phone("AA1", 0.6, 1.0),
  Phone("M", 1.0, 1.1),
  Phone("IY1", 1.1, 1.5),
  Phone("P", 1.5, 1.6),
  Phone("AA1", 1.6, 2.0),
)


def _gap(delay=0.0, fps=FPS, floor=0.0):
  """A gap that falls linearly to ``floor`` at each bilabial's centre, shifted by ``delay``."""
  t = (np.arange(round(2.0 * fps)) + 0.5) / float(fps)
  centres = np.array([0.55, 1.05, 1.55]) + delay
  return np.maximum(np.minimum(np.abs(t[:, None] - centres).min(axis=1) / 0.1, 1.0), floor)


def test_lip_gap_is_the_distance_of_62_and_66():
  points = np.zeros((5, 70, 3))
  points[:, 62] = [0.0, 0.003, 0.004]
  np.testing.assert_allclose(sync.lip_gap(points), 0.005)


@pytest.mark.parametrize("frames", [-2, 0, 1, 2])
def test_a_shift_by_frames_is_a_lag(frames):
  fps = Fraction(100)  # bilabial centres lie between two frames, so two frames tie and their middle counts
  result = sync.onset_lag([MouthTrack(_gap(frames / 100, fps), fps, PHONES)])
  assert result.value == pytest.approx(10.0 * frames, abs=1e-6)
  assert result.details["iqr"] == pytest.approx(0.0, abs=1e-6) and result.unit == "ms"


def test_plateau_counts_with_its_middle_and_other_closures_do_not_interfere():
  t = (np.arange(200) + 0.5) / 100
  gap = np.ones(200)
  gap[(t > 0.50) & (t < 0.62)] = 0.0  # centre 0.56, phone centre 0.55
  gap[(t > 0.64) & (t < 0.66)] = 0.0  # another closure in the same window
  lags, gaps = sync.closures(MouthTrack(gap, Fraction(100), PHONES[:2] + (Phone("AA1", 0.6, 2.0),)))
  np.testing.assert_allclose(lags, [0.01], atol=1e-9)
  np.testing.assert_allclose(gaps, [0.0])


def test_closure_rate_counts_open_bilabials():
  fps = Fraction(100)
  half_open = _gap(fps=fps)
  half_open[85:125] = 0.5  # the M never closes
  result = sync.closure_rate([MouthTrack(half_open, fps, PHONES)])
  assert sync.closure_rate([MouthTrack(_gap(fps=fps), fps, PHONES)]).value == 1.0
  assert result.value == pytest.approx(2 / 3) and result.details["n_bilabials"] == 3
  assert sync.closure_rate([MouthTrack(_gap(fps=fps, floor=0.2), fps, PHONES)]).value == 0.0


@pytest.mark.parametrize("delay", [-0.04, 0.0, 0.06])
def test_vowel_lag_of_a_delayed_target(delay):
  fps = Fraction(200)
  t = (np.arange(400) + 0.5) / 200
  levels = {"SIL": 0.0, "B": 0.0, "AA1": 1.0, "M": 0.0, "IY1": 0.35, "P": 0.0}
  gap = np.zeros(400)
  for p in PHONES:
    gap[(t - delay >= p.start) & (t - delay < p.end)] = levels[p.symbol]
  assert sync.vowel_lag([MouthTrack(gap, fps, PHONES)]).value == pytest.approx(1000 * delay, abs=5.0)


def test_correlation_finds_the_lag_of_the_mouth():
  rate, rng = 16000, np.random.default_rng(0)
  level = np.repeat(rng.uniform(-30, 0, 75), 640)
  wave = 10 ** (level / 20) * np.sqrt(2) * np.sin(2 * np.pi * 400 * np.arange(len(level)) / rate)
  energy = sync.log_energy(wave, rate)
  gap = np.roll(energy - energy.min(), 2)
  track = MouthTrack(gap, FPS, (Phone("AA1", 0.0, 3.0),))
  result = sync.audio_mouth_correlation([track], [wave], [rate])
  assert result.value == pytest.approx(1.0, abs=0.02) and result.details["best_lag_ms"] == 80.0
  assert result.details["r_at_lag_0"] < 0.6
  exact = sync.audio_mouth_correlation([MouthTrack(energy - energy.min(), FPS, track.phones)], [wave], [rate])
  assert exact.details["r_at_lag_0"] == pytest.approx(1.0)


def test_log_energy_of_a_sine_is_minus_three_decibels():
  wave = np.sin(2 * np.pi * 250 * np.arange(16000) / 16000)
  np.testing.assert_allclose(sync.log_energy(wave, 16000), -3.0103, atol=1e-3)


def test_interval_over_clips_and_json():
  tracks = [MouthTrack(_gap(d, Fraction(100)), Fraction(100), PHONES) for d in (0.0, 0.01, 0.02, 0.03, 0.04)]
  result = sync.onset_lag(tracks)
  assert result.value == pytest.approx(20.0) and result.ci95[0] < 20 < result.ci95[1]
  assert result.as_dict()["fps"] == [100, 1] and result.n_clips == 5 and result.n_frames == 1000


@pytest.mark.parametrize(
  ("track", "message"),
  [
    (MouthTrack(np.full(50, np.nan), FPS, PHONES), "NaN"),
    (MouthTrack(np.zeros(0), FPS, PHONES), "at least one frame"),
    (MouthTrack(np.ones(50), Fraction(50), PHONES), "wrong fps"),
    (MouthTrack(np.zeros(50), FPS, PHONES), "never opens"),
    (MouthTrack(np.ones(50), FPS, ()), "no phones"),
    (MouthTrack(np.ones(50), FPS, (Phone("AA1", 0.0, 2.0),)), "no clip has a phone"),
  ],
)
def test_refusals(track, message):
  with pytest.raises(InputError, match=message):
    sync.onset_lag([track])


def test_refuses_mixed_rates_and_nothing():
  with pytest.raises(InputError, match="differ in fps"):
    sync.closure_rate([MouthTrack(_gap(), FPS, PHONES), MouthTrack(_gap(fps=Fraction(50)), Fraction(50), PHONES)])
  with pytest.raises(InputError, match="no clips"):
    sync.closure_rate([])

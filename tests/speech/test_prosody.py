"""Prosody: known pitches and levels are read back, at any frame rate."""

from fractions import Fraction

import numpy as np
import pytest

from jaxtalk.speech import prosody


def _tone(hertz, seconds=1.0, rate=24_000, level=0.5, harmonics=8):
  t = np.arange(int(seconds * rate)) / rate
  wave = sum(np.sin(2 * np.pi * hertz * h * t) / h for h in range(1, harmonics + 1))
  return (level * wave / np.abs(wave).max()).astype(np.float32)


@pytest.mark.parametrize("hertz", [75.0, 120.0, 210.0, 263.0, 331.0, 450.0])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_pitch_of_a_tone(hertz, rate):
  found = prosody.features(_tone(hertz, rate=rate), rate, 25, 25).f0_hz
  np.testing.assert_allclose(found[3:-3], hertz, rtol=0.005)


def test_pitch_glide_is_followed():
  t = np.arange(24_000) / 24_000
  hertz = 200 + 150 * t
  wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / 24_000)
  found = prosody.features(wave, 24_000, 50, 50).f0_hz
  np.testing.assert_allclose(found[4:-4], 200 + 150 * (np.arange(50)[4:-4] + 0.5) / 50, rtol=0.02)


def test_noise_and_silence_are_unvoiced():
  noise = 0.1 * np.random.default_rng(0).standard_normal(24_000)
  assert prosody.features(noise, 24_000, 25, 25).voiced.mean() < 0.1
  silent = prosody.features(np.zeros(24_000), 24_000, 25, 25)
  assert not silent.voiced.any()
  np.testing.assert_array_equal(silent.loudness_db, prosody.FLOOR_DB)
  np.testing.assert_array_equal(silent.centroid_hz, 0)


def test_level_of_a_sine_is_its_mean_square():
  wave = _tone(440.0, level=0.1, harmonics=1)
  found = prosody.features(wave, 24_000, 25, 25).loudness_db
  np.testing.assert_allclose(found[2:-2], 20 * np.log10(0.1 / np.sqrt(2)), atol=0.1)


def test_bands_tell_a_vowel_from_a_hiss():
  rng = np.random.default_rng(1)
  hiss = np.diff(np.diff(0.05 * rng.standard_normal(24_002))).astype(np.float32)
  vowel, noise = (prosody.features(w, 24_000, 25, 20) for w in (_tone(250.0), hiss))
  assert (vowel.low_db > vowel.fricative_db + 20).all()
  assert (noise.fricative_db > noise.low_db + 20).all()
  assert (noise.centroid_hz > 4000).all() and (vowel.centroid_hz < 1500).all()


@pytest.mark.parametrize("fps", [25, Fraction(30_000, 1001), 60, 12.5])
def test_any_frame_rate_and_frames_beyond_the_end(fps):
  frames = int(2 * fps)
  found = prosody.features(_tone(200.0, seconds=1.0), 24_000, fps, frames)
  for field in ("loudness_db", "f0_hz", "periodicity", "low_db", "centroid_hz"):
    values = getattr(found, field)
    assert values.shape == (frames,) and values.dtype == np.float32 and np.isfinite(values).all()
  middle = (np.arange(frames) + 0.5) / float(fps)
  assert (found.loudness_db[middle < 0.95] > -20).all()
  np.testing.assert_array_equal(found.loudness_db[middle > 1.06], prosody.FLOOR_DB)
  assert not found.voiced[middle > 1.06].any()


def test_a_very_short_sound_has_features():
  assert prosody.features(_tone(200.0, seconds=0.02), 24_000, 25, 3).loudness_db.shape == (3,)

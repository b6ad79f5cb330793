import dataclasses

import numpy as np
import pytest
from speeches import BOBBY, FPS, VERY, animate, gap, silence, speech

from jaxtalk.metrics import sync


def recording(*args, **kwargs):
  return dataclasses.replace(speech(*args, **kwargs), phones=())


def _tone(level, seconds=0.4, rate=16000, hiss=False, seed=0):
  n = round(seconds * rate)
  if hiss:
    noise = np.random.default_rng(seed).standard_normal(n)
    wave = np.diff(noise, n=2, prepend=[0, 0])
  else:
    wave = sum(np.sin(2 * np.pi * f * np.arange(n) / rate) for f in (250, 500, 750, 1500))
  return level * np.hanning(n + 2)[1:-1] ** 0.25 * wave


def _made(parts, rate=16000):
  quiet = np.zeros(round(0.3 * rate))
  wave = np.concatenate([quiet] + [x for part in parts for x in (part, quiet)])
  return dataclasses.replace(silence(1.0), waveform=wave.astype(np.float32), phones=())


def test_mouth_follows_loudness():
  said = [speech(text, seed) for seed in range(3) for text in (BOBBY, VERY)]
  motions = animate([dataclasses.replace(s, phones=()) for s in said], "audio")
  tracks = [sync.MouthTrack(np.maximum(gap(m), 0), FPS, s.phones) for m, s in zip(motions, said, strict=True)]
  result = sync.audio_mouth_correlation(tracks, [s.waveform for s in said], [s.sample_rate for s in said])
  assert result.value > 0.7 and abs(result.details["best_lag_ms"]) <= 40.0


def test_phones_are_ignored():
  with_phones, without = speech(VERY), recording(VERY)
  audio = animate([with_phones], "audio")[0]
  assert audio.values.tobytes() == animate([without], "audio")[0].values.tobytes()


def test_gain_does_not_matter():
  loud = recording(VERY)
  soft = dataclasses.replace(loud, waveform=loud.waveform * 0.1)
  a, b = animate([loud], "audio")[0], animate([soft], "audio")[0]
  np.testing.assert_allclose(a["jawOpen"], b["jawOpen"], atol=0.03)


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_is_rest(level):
  wave = level * np.random.default_rng(0).standard_normal(48000).astype(np.float32)
  motion = animate([dataclasses.replace(silence(3.0), waveform=wave, phones=())], "audio")[0]
  assert gap(motion).max() < 0.05


def test_pauses_are_closed_vowels_open_and_hiss_shows_the_teeth():
  motion = animate([_made([_tone(0.1), _tone(0.05, hiss=True)])], "audio")[0]
  t = (np.arange(motion.num_frames) + 0.5) / 25
  vowel, hiss = (t > 0.4) & (t < 0.6), (t > 1.1) & (t < 1.3)
  pause = (t < 0.2) | ((t > 0.82) & (t < 0.92)) | (t > 1.55)
  opening = gap(motion)
  assert opening[pause].max() < 0.06 and opening[vowel].mean() > 0.2
  assert motion["jawOpen"][hiss].mean() < 0.5 * motion["jawOpen"][vowel].mean()
  assert motion["mouthLowerDownLeft"][hiss].mean() > 1.5 * motion["mouthLowerDownLeft"][vowel].mean()


def test_a_dip_between_loud_sounds_closes_the_lips():
  n = 16000
  wave = _tone(0.1, 1.0)
  envelope = 1.0 - 0.99 * np.exp(-(((np.arange(n) / n - 0.5) / 0.03) ** 4))
  motion = animate([_made([wave * envelope])], "audio")[0]
  t = (np.arange(motion.num_frames) + 0.5) / 25
  assert gap(motion)[np.abs(t - 0.8) < 0.05].min() < 0.01
  assert gap(motion)[np.abs(t - 0.6) < 0.04].min() > 0.15


def test_other_sample_rates_agree():
  import soxr

  one = recording(VERY)
  other = dataclasses.replace(one, waveform=soxr.resample(one.waveform, 16000, 44100), sample_rate=44100)
  a, b = animate([one], "audio")[0], animate([other], "audio")[0]
  np.testing.assert_allclose(a["jawOpen"], b["jawOpen"][: a.num_frames], atol=0.03)

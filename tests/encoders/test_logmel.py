"""The log-mel front end: filters against librosa, exact times, levels in closed form."""

from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from jaxtalk.encoders.logmel import LogMel, mel_filters, scaled_log


@pytest.mark.parametrize(
  ("bands", "fft", "rate", "low", "high"), [(64, 512, 16000, 60, 7600), (80, 1024, 24000, 0, 12000)]
)
def test_filters_are_those_of_librosa(bands, fft, rate, low, high):
  theirs = librosa.filters.mel(sr=rate, n_fft=fft, n_mels=bands, fmin=low, fmax=high, htk=True, norm=None)
  np.testing.assert_allclose(mel_filters(bands, fft, rate, low, high), theirs, atol=1e-6)


def test_power_is_that_of_librosa_on_the_same_grid():
  # 100 windows a second, hop 160: librosa with center=False and a lead of half a window sees the same samples.
  front = LogMel(fps=Fraction(25), per_frame=4)
  wave = np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1
  ours = np.asarray(front.power(wave[None], 20))[0].reshape(80, 64)
  hann = np.zeros(512)
  hann[:400] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
  lead = np.pad(wave, (200 - 80, 600))
  frames = np.stack([lead[i * 160 : i * 160 + 512] for i in range(80)])
  power = np.abs(np.fft.rfft(frames * hann / hann.sum())) ** 2
  theirs = power @ librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=60, fmax=7600, htk=True, norm=None).T
  np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize(
  "fps", [Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(24)]
)
def test_windows_stay_on_the_motion_frames_for_an_hour(fps):
  front = LogMel(fps=fps, per_frame=2)
  frames = int(3600 * fps)
  exact = [Fraction(2 * j + 1, 4) * 16000 / fps for j in (0, 1, 12345, 2 * frames - 1)]
  got = front.centres(frames)[[0, 1, 12345, 2 * frames - 1]]
  assert [int(x) for x in exact] == list(got)


def test_a_click_is_seen_in_the_frame_that_covers_it_after_ten_minutes():
  fps = Fraction(30000, 1001)
  front = LogMel(fps=fps, per_frame=1, bands=8, window=0.01)
  frames = int(600 * fps)
  wave = np.zeros((1, 600 * 16000), np.float32)
  clicks = [5, 9000, frames - 3]
  for i in clicks:
    wave[0, int((i + Fraction(1, 2)) / fps * 16000)] = 1.0
  loud = np.asarray(jax.jit(front, static_argnums=1)(wave, frames))[0].sum(1)
  assert sorted(np.argsort(loud)[-3:]) == clicks


def test_a_sine_peaks_in_its_band_and_silence_is_minus_one():
  front = LogMel()
  t = np.arange(16000) / 16000
  features = np.asarray(front(jnp.asarray(np.sin(2 * np.pi * 1000 * t), jnp.float32)[None], 25))
  chex.assert_shape(features, (1, 25, 4 * 64))
  chex.assert_tree_all_finite(features)
  band = features[0, 12, :64].argmax()
  edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([60, 7600]) / 700)), 66) / 2595) - 1)
  assert edges[band] < 1000 < edges[band + 2]
  assert 0.7 < features[0, 12].max() < 1.0
  np.testing.assert_allclose(front(jnp.zeros((1, 16000)), 25), -1.0, atol=1e-6)
  np.testing.assert_allclose(scaled_log(jnp.array([0.0, 1.0])), [-1.0, 1.0], atol=1e-6)


def test_padding_and_batch_mates_do_not_change_a_waveform():
  front = LogMel()
  rng = np.random.default_rng(1)
  wave = rng.normal(size=12800).astype(np.float32) * 0.1
  alone = front(wave[None], 20)
  padded = np.stack([np.pad(wave, (0, 6400)), rng.normal(size=19200).astype(np.float32)])
  np.testing.assert_allclose(front(padded, 30)[0, :20], alone[0], atol=1e-5)


def test_bands_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="need a rate above 15200"):
    LogMel(sample_rate=8000)
  with pytest.raises(ValueError, match="per_frame 0"):
    LogMel(per_frame=0)

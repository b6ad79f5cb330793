"""Flicker, drift and who is who: noise of known size, trends of known slope, features of known angles."""

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.metrics import steadiness


def test_jitter_is_the_deviation_of_white_noise_and_blind_to_slow_change():
  rng = np.random.default_rng(0)
  steady = np.full((60, 16, 16, 3), 120.0) + np.arange(60)[:, None, None, None]  # a level a frame
  noisy = np.round(steady + rng.normal(0, 3.0, steady.shape)).astype(np.uint8)
  everywhere = np.ones((16, 16), bool)
  assert steadiness.temporal_jitter(steady.astype(np.uint8), everywhere) == 0.0
  assert steadiness.temporal_jitter(noisy, everywhere) == pytest.approx(3.0, rel=0.03)
  assert np.isnan(steadiness.temporal_jitter(noisy, ~everywhere))


def test_jitter_looks_only_where_and_when_pixels_rest():
  images = np.full((6, 8, 8, 3), 100, np.uint8)
  images[3, :4] = 200
  still = np.ones((4, 8, 8), bool)
  assert steadiness.temporal_jitter(images, still) > 10
  still[:, :4] = False
  assert steadiness.temporal_jitter(images, still) == 0.0
  with pytest.raises(InputError, match="do not fit"):
    steadiness.temporal_jitter(images, still[:2])
  with pytest.raises(InputError, match="three frames"):
    steadiness.temporal_jitter(images[:2], still)


def test_resting_pixels():
  images = np.full((4, 4, 4, 3), 10, np.uint8)
  images[2, 0, 0, 1] = 11
  images[2, 1, 1, 2] = 13
  rest = steadiness.resting_pixels(images)
  assert rest[0, 0] and not rest[1, 1] and rest.sum() == 15


def test_drift_finds_a_slope_and_says_when_there_is_none():
  rng = np.random.default_rng(1)
  t = np.arange(2, 60, 0.25)
  sloping = steadiness.drift(0.9 - 0.1 * t / 60 + rng.normal(0, 0.005, len(t)), t)
  assert sloping.per_minute == pytest.approx(-0.1, abs=0.01) and not sloping.is_zero
  assert sloping.start == pytest.approx(0.9, abs=0.005)


def test_drift_interval_covers_no_trend_under_slow_noise():
  t = np.arange(2, 60, 0.25)
  covered = 0
  for seed in range(200):
    noise = np.random.default_rng(seed).normal(size=len(t) + 7)
    covered += steadiness.drift(np.convolve(noise, np.ones(8) / 8, "valid"), t).is_zero
  assert 0.88 <= covered / 200 <= 0.99  # an interval without the memory would cover half


def test_drift_refuses_what_has_no_trend():
  with pytest.raises(InputError, match="eight"):
    steadiness.drift(np.zeros(5), np.arange(5.0))
  with pytest.raises(InputError, match="rising"):
    steadiness.drift(np.zeros(9), np.zeros(9))


def test_cosines_of_people_and_clips():
  features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
  person, clip = np.array([0, 0, 1, 0]), np.array([0, 0, 1, 2])
  within, between = steadiness.cosines_within_and_between(features, person)
  np.testing.assert_allclose(sorted(within), [np.sqrt(0.5), np.sqrt(0.5), 1.0])
  np.testing.assert_allclose(sorted(between), [0.0, 0.0, np.sqrt(0.5)], atol=1e-12)
  across, _ = steadiness.cosines_within_and_between(features, person, clip)
  np.testing.assert_allclose(across, np.sqrt(0.5))
  with pytest.raises(InputError, match="all 0"):
    steadiness.cosines_within_and_between(np.zeros((2, 3)), person[:2])


def test_separation_of_known_distributions():
  rng = np.random.default_rng(2)
  far = steadiness.separation(rng.normal(0.9, 0.02, 500), rng.normal(0.8, 0.02, 500))
  assert far["auc"] > 0.999 and far["d_prime"] == pytest.approx(5.0, rel=0.1)
  same = steadiness.separation(np.ones(5), np.ones(7))
  assert same["auc"] == 0.5 and same["within_pairs"] == 5 and same["between_p95"] == 1.0
  assert np.isnan(steadiness.separation(np.ones(0), np.ones(3))["auc"])

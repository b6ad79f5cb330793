"""Resampling by each rule in closed form, exact times over hours, padded batches."""

from fractions import Fraction

import jax
import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.encoders import resample as rules
from jaxtalk.encoders.resample import motion_frames

resample = jax.jit(rules.resample, static_argnums=(1, 2))
at_motion_rate = jax.jit(rules.at_motion_rate, static_argnums=(1, 2))


def ramp(frames, width=1):
  return np.arange(frames, dtype=np.float32)[None, :, None] * np.ones((1, 1, width), np.float32)


def test_corners_keep_both_ends():
  np.testing.assert_allclose(resample(ramp(5), 9, "corners")[0, :, 0], np.arange(9) / 2)
  np.testing.assert_allclose(resample(ramp(49), 30, "corners")[0, :, 0], np.arange(30) * 48 / 29, rtol=1e-6)
  np.testing.assert_allclose(resample(ramp(7), 1, "corners")[0, :, 0], [0])


def test_centres_halve_by_pairs_and_clamp_at_the_ends():
  np.testing.assert_allclose(resample(ramp(8), 4, "centres")[0, :, 0], [0.5, 2.5, 4.5, 6.5])
  np.testing.assert_allclose(resample(ramp(2), 4, "centres")[0, :, 0], [0, 0.25, 0.75, 1])


def test_nearest_and_area():
  np.testing.assert_allclose(resample(ramp(5), 8, "nearest")[0, :, 0], [0, 0, 1, 1, 2, 3, 3, 4])
  # Five frames to three: [0, 5/3) touches 0 and 1, [5/3, 10/3) 1, 2 and 3, [10/3, 5) 3 and 4.
  np.testing.assert_allclose(resample(ramp(5), 3, "area")[0, :, 0], [0.5, 2, 3.5])
  np.testing.assert_allclose(resample(ramp(6), 2, "area")[0, :, 0], [1, 4])
  np.testing.assert_allclose(resample(ramp(2), 4, "area")[0, :, 0], [0, 0, 1, 1])


@pytest.mark.parametrize("rule", ["corners", "centres", "nearest"])
def test_rows_of_a_padded_batch_are_those_alone(rule):
  rng = np.random.default_rng(0)
  lengths, wanted = np.array([50, 31, 1]), np.array([60, 37, 2])
  x = rng.normal(size=(3, 50, 4)).astype(np.float32)
  together = resample(x, 60, rule, lengths=lengths, frame_lengths=wanted)
  for row, (n, m) in enumerate(zip(lengths, wanted, strict=True)):
    np.testing.assert_allclose(together[row, :m], resample(x[row : row + 1, :n], int(m), rule)[0], atol=1e-6)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), Fraction(60), Fraction(30000, 1001)])
def test_features_are_read_at_the_middles_of_motion_frames_for_an_hour(fps):
  # Features count themselves, in two digits to base 512 that float32 blends well enough; carries are left out.
  features = motion_frames(3600 * 16_000, 16_000, 50)
  frames = motion_frames(3600 * 16_000, 16_000, fps)
  k = np.arange(features)
  got = np.asarray(at_motion_rate(np.stack([k % 512, k // 512], axis=-1).astype(np.float32)[None], frames, fps))[
    0, ::101
  ]
  exact = [(Fraction(2 * i + 1, 2) / fps * 16_000 - 200) / 320 for i in range(0, frames, 101)]
  kept = np.array([0 <= x < features - 1 and int(x) % 512 != 511 for x in exact])
  assert kept.mean() > 0.99
  np.testing.assert_array_equal(np.round(got[kept, 1]), np.array([int(x) // 512 for x in exact])[kept])
  np.testing.assert_allclose(got[kept, 0], np.array([float(x % 512) for x in exact])[kept], atol=1e-4)


def test_valid_lengths_hold_the_last_feature():
  got = at_motion_rate(ramp(20).repeat(2, 0), 10, 25, lengths=np.array([20, 7]))[:, :, 0]
  np.testing.assert_allclose(got[0], np.arange(10) * 2 + 0.375, rtol=1e-6)
  np.testing.assert_allclose(got[1], np.minimum(np.arange(10) * 2 + 0.375, 6), rtol=1e-6)


def test_motion_frames_are_exact():
  assert motion_frames(16_000 * 36_000, 16_000, Fraction(30_000, 1001)) == round(Fraction(36_000 * 30_000, 1001))
  assert [motion_frames(1066, 16_000, 30, r) for r in ("down", "nearest", "up")] == [1, 2, 2]
  assert motion_frames(16_000, 16_000, 60, "down") == 60


def test_bad_requests_are_refused():
  for call, words in (
    (lambda: rules.resample(ramp(5), 3, "cubic"), "rule of resampling is 'cubic'"),
    (lambda: rules.resample(ramp(5), 0, "corners"), "5 frames cannot be resampled to 0"),
    (lambda: rules.resample(ramp(5), 3, "corners", lengths=np.array([5])), "go together"),
    (lambda: rules.resample(ramp(5), 3, "area", lengths=np.array([5]), frame_lengths=np.array([3])), "'area'"),
    (lambda: motion_frames(1, 1, 25, "floor"), "rounding is 'floor'"),
  ):
    with pytest.raises(InputError, match=words):
      call()

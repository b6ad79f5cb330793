"""Beats, differences between takes and real-time factors: values that can be worked out by hand."""

from fractions import Fraction

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.metrics import beats, speed, variety

FPS = Fraction(25)


def test_kinematic_beats_are_where_a_motion_turns_back():
  t = np.arange(100) / 25
  head = np.sin(2 * np.pi * 0.5 * t)[:, None]  # slowest at 0.5, 1.5, 2.5, 3.5 s
  np.testing.assert_allclose(beats.kinematic_beats(head, FPS), [0.5, 1.5, 2.5, 3.5], atol=0.021)
  points = np.stack([head, 0 * head, 0 * head], axis=-1)
  np.testing.assert_allclose(beats.kinematic_beats(points, FPS), beats.kinematic_beats(head, FPS))


@pytest.mark.parametrize("rate", [16000, 24000])
def test_audio_beats_are_where_sounds_begin(rate):
  t = np.arange(2 * rate) / rate
  clicks = sum(np.exp(-10 * (t - s)) * np.sin(2 * np.pi * 440 * t) * (t >= s) for s in (0.3, 0.8, 1.45))
  noise = 1e-4 * np.random.default_rng(0).normal(size=len(t))
  np.testing.assert_allclose(beats.audio_beats(clicks + noise, rate), [0.3, 0.8, 1.45], atol=0.02)
  assert not len(beats.audio_beats(np.zeros(rate), rate))


def test_alignment_is_a_gaussian_of_the_distance_and_depends_on_what_is_averaged():
  motion, sound = np.array([1.0, 2.0, 3.0]), np.array([1.1, 2.0])
  shared = ([motion], [sound], [FPS], [100])
  audio = beats.beat_alignment(*shared)
  assert audio.value == pytest.approx((np.exp(-0.5) + 1.0) / 2)
  assert audio.representation == "B=audio, sigma=0.1 s, order=7"
  kinematic = beats.beat_alignment(*shared, over="kinematic", sigma=0.5)
  assert kinematic.value == pytest.approx((np.exp(-0.02) + 1.0 + np.exp(-2.0)) / 3)
  assert beats.beat_alignment([np.zeros(0)], [sound], [FPS], [100]).value == 0.0


def test_diversity_of_corners_and_takes():
  corners = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
  result = variety.diversity(corners, "corners")
  assert result.value == pytest.approx((3.0 + 4.0 + 5.0) / 3)
  # Leaving out one leaves a side of 5, 4 or 3: their variance is 2/3, times N - 1.
  assert result.ci95[1] - result.value == pytest.approx(1.96 * np.sqrt(2 * 2 / 3))
  takes = variety.multimodality([corners, np.ones((2, 2))], "corners")
  assert takes.value == pytest.approx((4.0 + 0.0) / 2) and takes.details["fewest_takes"] == 2


def test_statistics_and_spread_of_a_motion():
  square = np.array([[0.0, 2.0], [2.0, 2.0], [0.0, 2.0], [2.0, 2.0]])
  np.testing.assert_allclose(variety.motion_statistics(square), [1.0, 2.0, 1.0, 0.0])
  joints = np.zeros((4, 2, 3))
  joints[:, :, 0], joints[::2, :, 1] = 5.0, 1.0  # half a unit from the mean, two joints
  assert variety.spread_of_positions(joints) == pytest.approx(1.0)


def test_real_time_factor_is_the_median_of_warm_runs():
  result = speed.real_time_factor([0.2, 0.1, 0.3, 0.1, 9.0], 10.0, "sampling", warm_ups=2, cold=40.0)
  assert result.value == pytest.approx(0.02) and result.details["real_time"] == pytest.approx(50.0)
  assert result.details["cold"] == pytest.approx(4.0) and "sampling" in result.representation


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: beats.kinematic_beats(np.zeros((10, 3)), FPS), "16 frames at least"),
    (lambda: beats.audio_beats(np.zeros(100), 16000), "too short"),
    (lambda: beats.audio_beats(np.full(16000, np.nan), 16000), "NaN"),
    (lambda: beats.beat_alignment([np.ones(1)], [np.ones(1)], [FPS], [9], over="both"), "not 'both'"),
    (lambda: beats.beat_alignment([np.ones(1)], [np.zeros(0)], [FPS], [9]), "no clip has audio beats"),
    (lambda: beats.beat_alignment([np.ones(1)], [], [FPS], [9]), "do not pair up"),
    (lambda: variety.diversity(np.ones((1, 3)), "x"), "two at least"),
    (lambda: variety.multimodality([np.ones((1, 3))], "x"), "two at least"),
    (lambda: variety.multimodality([], "x"), "no takes"),
    (lambda: speed.real_time_factor([1.0] * 4, 1.0, "x", warm_ups=2), "5 runs after 2 warm-ups, not 4"),
    (lambda: speed.real_time_factor([1.0] * 5, 1.0, "x", warm_ups=0), "after 0"),
    (lambda: speed.real_time_factor([1.0] * 5, 0.0, "x", warm_ups=2), "positive"),
  ],
)
def test_refusals(call, message):
  with pytest.raises(InputError, match=message):
    call()

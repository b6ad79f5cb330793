from fractions import Fraction

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.metrics import dynamics

FPS = Fraction(25)


def test_jitter_of_a_cubic_is_six_times_its_coefficient():
  t = np.arange(40)[:, None] / 25
  result = dynamics.jitter([0.5 * t**3], [FPS], "1", "track")
  assert result.value == pytest.approx(3.0) and result.unit == "1/s^3"
  points = np.broadcast_to(0.5 * t[:, :, None] ** 3, (40, 4, 3)) * np.array([1.0, 0.0, 0.0])
  assert dynamics.jitter([points], [FPS], "m", "points").value == pytest.approx(3.0)
  assert dynamics.jitter([t**2], [FPS], "1", "track").value == pytest.approx(0.0, abs=1e-9)


def test_high_frequency_share_separates_sines():
  t = np.arange(200) / 25
  assert dynamics.high_frequency_share(np.sin(2 * np.pi * 2 * t), FPS) < 1e-4
  assert dynamics.high_frequency_share(np.sin(2 * np.pi * 11 * t), FPS) > 0.999
  assert dynamics.high_frequency_share(np.ones(200), FPS) == 0.0


def test_blinks_are_counted_and_timed():
  track = np.zeros(25 * 60)
  for start, frames in ((100, 4), (400, 4), (900, 4), (1200, 1)):  # the last is too short to be a blink
    track[start : start + frames] = 0.9
  result = dynamics.blinks([track], [FPS])
  assert result.value == pytest.approx(3.0) and result.unit == "1/min"
  assert result.details["duration_ms"] == pytest.approx(160.0)
  assert result.details["interval_cv"] == pytest.approx(0.25)  # intervals of 12 and 20 s
  assert dynamics.blinks([np.zeros(100)], [FPS]).value == 0.0


def test_angular_speed_of_a_steady_turn_and_of_a_combined_one():
  t = np.arange(50) / 25
  turn = np.stack([0.4 * t, 0.2 + 0 * t, 0 * t], axis=1)
  np.testing.assert_allclose(dynamics.angular_speed(turn, FPS), 0.4, atol=1e-9)
  result = dynamics.head_motion([turn], [FPS])
  assert result.value == pytest.approx(np.rad2deg(0.4)) and result.details["max_deg_s"] == pytest.approx(
    np.rad2deg(0.4)
  )
  assert result.details["std_yaw_deg"] == pytest.approx(np.rad2deg((0.4 * t).std()))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: dynamics.jitter([np.zeros((3, 2))], [FPS], "1", "x"), "at least 4 frames"),
    (lambda: dynamics.jitter([np.full((9, 2), np.inf)], [FPS], "1", "x"), "infinite"),
    (lambda: dynamics.blinks([np.zeros(9), np.zeros(9)], [FPS, Fraction(30)]), "differ in fps"),
    (lambda: dynamics.blinks([], []), "no clips"),
    (lambda: dynamics.head_motion([np.zeros((1, 3))], [FPS]), "two frames"),
    (lambda: dynamics.blink_spans(np.zeros(0)), "at least one frame"),
  ],
)
def test_refusals(call, message):
  with pytest.raises(InputError, match=message):
    call()

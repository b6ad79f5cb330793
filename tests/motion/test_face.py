from fractions import Fraction

import numpy as np
import pytest
from speeches import BOBBY, FPS, VERY, animate, silence, speech

from jaxtalk.core import EMOTIONS, Emotion, MotionStyle
from jaxtalk.metrics import dynamics
from jaxtalk.motion import emotion, eyes, spaces


@pytest.mark.parametrize("label", [e for e in EMOTIONS if e != "neutral"])
def test_emotions_show_their_action_units_and_grow_with_intensity(label):
  said = [speech(VERY)]
  levels = [animate(said, emotion=Emotion(label=label, intensity=i))[0] for i in (0.0, 0.4, 0.9)]
  for channel, weight in emotion.PROTOTYPES[label].upper.items():
    name = channel if channel in spaces.FACE_CHANNELS else channel + "Left"
    if weight >= 0.4:
      low, middle, high = (float(np.median(m[name])) for m in levels)
      assert low + 0.05 < middle < high and high > 0.5 * weight


def test_a_smile_shows_while_the_lips_are_closed_but_less():
  motion = animate([speech(BOBBY)], emotion=Emotion(label="happy", intensity=1.0))[0]
  pressed = motion["mouthPressLeft"] > 0.2
  assert 0.15 < motion["mouthSmileLeft"][pressed].mean() < 0.9 * motion["mouthSmileLeft"][~pressed].mean()


def test_gaze_columns_and_look_weights_agree():
  motion = animate([speech(VERY)])[0]
  left, right = spaces.eye_angles_from_weights(motion.values)
  np.testing.assert_allclose(left, motion.values[:, 55:57], atol=1e-5)
  np.testing.assert_allclose(right, motion.values[:, 58:60], atol=1e-5)


def test_eyes_hold_the_listener_while_the_head_moves():
  motion = animate([silence(30.0)], style=MotionStyle(gaze_aversion=0.0, blink_rate=0.0, head=1.5))[0]
  gaze = motion.values[:, 52:54] + 0.5 * (motion.values[:, 55:57] + motion.values[:, 58:60])
  assert np.rad2deg(motion["headYaw"]).std() > 1.0
  assert np.percentile(np.rad2deg(np.abs(gaze)), 99) < 4.0


def test_aversion_takes_the_share_of_time_that_is_asked():
  motion = animate([silence(300.0)], style=MotionStyle(gaze_aversion=0.4, head=0.0))[0]
  gaze = motion.values[:, 52] + 0.5 * (motion.values[:, 55] + motion.values[:, 58])
  away = (np.abs(gaze) > np.deg2rad(6.0)).mean()
  assert 0.3 < away < 0.5


@pytest.mark.parametrize(("rate", "age"), [(12.0, 12.0), (20.0, 12.0), (12.0, 4.0)])
def test_blinks_come_at_the_rate_and_last_as_blinks_do(rate, age):
  style = MotionStyle(blink_rate=rate)
  motion = animate([silence(600.0)], style=style, age=age)[0]
  result = dynamics.blinks([motion["eyeBlinkLeft"]], [FPS])
  wanted = 60.0 * eyes.blink_rate(style, age, emotion.PROTOTYPES["neutral"])
  assert result.value == pytest.approx(wanted, rel=0.2)
  assert 100 <= result.details["duration_ms"] <= 300 and 0.3 < result.details["interval_cv"] < 1.1


def test_no_blinks_when_none_are_asked():
  motion = animate([silence(60.0)], style=MotionStyle(blink_rate=0.0))[0]
  assert motion["eyeBlinkLeft"].max() < 0.3


def test_blinks_fall_into_pauses_more_often_than_chance():
  said = speech(" ".join([BOBBY, VERY.removeprefix("SIL ")] * 12), 4)
  motion = animate([said], style=MotionStyle(blink_rate=20.0), age=12.0)[0]
  starts = dynamics.blink_spans(motion["eyeBlinkLeft"])[:, 0] / 25
  pauses = np.array([p.start for p in said.phones if p.symbol == "SIL"])
  near = np.abs(starts[:, None] - pauses).min(axis=1) < 0.25
  chance = len(pauses) * 0.5 / said.duration
  assert near.mean() > 1.5 * chance


def test_children_and_the_expressive_move_more():
  said = [speech(VERY, 1)]
  spread = [np.std(animate(said, age=age)[0].values[:, spaces.HEAD]) for age in (4.0, 40.0)]
  assert spread[0] > 1.2 * spread[1]
  still = animate(said, style=MotionStyle(head=0.0))[0].values[:, spaces.HEAD]
  assert np.rad2deg(np.abs(still)).max() < 1.0


def test_nods_follow_accents():
  said = speech(VERY, 2)
  accents = np.array([0.5 * (p.start + p.end) for p in said.phones if p.symbol.endswith("1")])
  at, beside = [], []
  for seed in range(30):
    motion = animate([said], fps=Fraction(50), seed=seed, style=MotionStyle(gaze_aversion=0.0))[0]
    t = (np.arange(motion.num_frames) + 0.5) / 50
    pitch = motion["headPitch"]
    at.append(np.interp(accents, t, pitch).mean())
    beside.append(np.interp(accents - 0.3, t, pitch).mean())
  assert np.rad2deg(np.mean(at) - np.mean(beside)) > 0.4

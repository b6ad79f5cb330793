import numpy as np
import pytest

from jaxtalk.motion import spaces


def test_order_is_live_link():
  names = spaces.ARKIT.channels
  assert len(spaces.ARKIT) == 61 and len(set(names)) == 61
  expected = {
    0: "eyeBlinkLeft",
    7: "eyeBlinkRight",
    14: "jawForward",
    17: "jawOpen",
    18: "mouthClose",
    23: "mouthSmileLeft",
  }
  expected |= {31: "mouthRollLower", 40: "mouthUpperUpRight", 43: "browInnerUp", 46: "cheekPuff", 51: "tongueOut"}
  expected |= {52: "headYaw", 54: "headRoll", 55: "leftEyeYaw", 60: "rightEyeRoll"}
  assert {i: names[i] for i in expected} == expected
  assert names[spaces.FACE][-1] == "tongueOut" and names[spaces.HEAD] == ("headYaw", "headPitch", "headRoll")
  assert names[spaces.RIGHT_EYE] == ("rightEyeYaw", "rightEyePitch", "rightEyeRoll")


def test_looking_left_is_out_for_the_left_eye_and_in_for_the_right():
  eye = np.array([spaces.EYE_LOOK_YAW / 2, 0.0])
  weights = spaces.eye_look_weights(eye, eye)
  assert weights["eyeLookOutLeft"] == pytest.approx(0.5) and weights["eyeLookInRight"] == pytest.approx(0.5)
  assert sum(weights.values()) == pytest.approx(1.0)


def test_eye_weights_round_trip():
  rng = np.random.default_rng(0)
  left, right = rng.uniform(-0.5, 0.5, (2, 20, 2))
  values = np.zeros((20, 61))
  for name, w in spaces.eye_look_weights(left, right).items():
    values[:, spaces.ARKIT.index(name)] = w
  for expected, got in zip((left, right), spaces.eye_angles_from_weights(values), strict=True):
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_unknown_channel_names_the_space():
  with pytest.raises(KeyError, match="arkit"):
    spaces.ARKIT.index("mouthOpen")

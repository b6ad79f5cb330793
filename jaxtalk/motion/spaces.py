"""Motion spaces: what the columns of a motion mean.

``ARKIT`` is the house's own space: the 52 face weights of Apple's ARKit in the order of the Live Link Face app, then
head and eye rotations, 61 channels in all. Weights lie in [0, 1]; angles are radians in the convention of
``motion.rotations`` (yaw about +Y towards the subject's left, pitch about +X downwards, roll about +Z). Eye angles are
relative to the head. Names are lowerCamelCase here and UpperCamelCase in Live Link files.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.core import MotionSpace

_EYE = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")

FACE_CHANNELS: tuple[str, ...] = (
  *(name + "Left" for name in _EYE),
  *(name + "Right" for name in _EYE),
  *("jawForward", "jawLeft", "jawRight", "jawOpen"),
  *("mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight"),
  *("mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight"),
  *("mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight"),
  *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
  *("mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
  *("mouthUpperUpLeft", "mouthUpperUpRight"),
  *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
  *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight"),
  "tongueOut",
)
HEAD_CHANNELS: tuple[str, ...] = ("headYaw", "headPitch", "headRoll")
EYE_CHANNELS: tuple[str, ...] = tuple(
  side + axis for side in ("leftEye", "rightEye") for axis in ("Yaw", "Pitch", "Roll")
)

ARKIT = MotionSpace("arkit", FACE_CHANNELS + HEAD_CHANNELS + EYE_CHANNELS)

FACE = slice(0, 52)
HEAD = slice(52, 55)
LEFT_EYE = slice(55, 58)
RIGHT_EYE = slice(58, 61)

# An eyeLook weight of 1 is this rotation of the eyeball: the house's scale, near the comfortable range of human gaze
# without the head and near what phone face trackers report.
EYE_LOOK_YAW = np.deg2rad(35.0)
EYE_LOOK_PITCH = np.deg2rad(30.0)


def eye_look_weights(left: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
  """The eight eyeLook channels, in [0, 1], of eye rotations.

  Args:
    left, right: (..., 2) yaw and pitch of each eye relative to the head, radians; yaw > 0 looks to the subject's left
      (out for the left eye, in for the right), pitch > 0 looks down.
  """
  weights = {}
  for side, angles in (("Left", np.asarray(left)), ("Right", np.asarray(right))):
    outwards = angles[..., 0] / EYE_LOOK_YAW * (1.0 if side == "Left" else -1.0)
    down = angles[..., 1] / EYE_LOOK_PITCH
    for name, value in (("Out", outwards), ("In", -outwards), ("Down", down), ("Up", -down)):
      weights[f"eyeLook{name}{side}"] = np.clip(value, 0.0, 1.0)
  return weights


def eye_angles_from_weights(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Inverse of ``eye_look_weights`` for (..., 61) values in ``ARKIT``: (..., 2) yaw and pitch of left and right eye."""

  def axis(positive: str, negative: str, scale: float) -> np.ndarray:
    return (values[..., ARKIT.index(positive)] - values[..., ARKIT.index(negative)]) * scale

  left = (
    axis("eyeLookOutLeft", "eyeLookInLeft", EYE_LOOK_YAW),
    axis("eyeLookDownLeft", "eyeLookUpLeft", EYE_LOOK_PITCH),
  )
  right = (
    axis("eyeLookInRight", "eyeLookOutRight", EYE_LOOK_YAW),
    axis("eyeLookDownRight", "eyeLookUpRight", EYE_LOOK_PITCH),
  )
  return np.stack(left, axis=-1), np.stack(right, axis=-1)

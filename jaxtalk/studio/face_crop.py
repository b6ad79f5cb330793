"""Face crops as the FFHQ data set defines them, from landmarks, and the camera that takes such a crop directly.

The crop is a square about a point a tenth of the way from the eyes to the mouth; its axes follow the eyes and the
mouth together, and its half side is twice the distance of the eyes or 1.8 times that from eyes to mouth, whichever is
longer (T. Karras and others, "A Style-Based Generator Architecture for GANs", 2019, whose FFHQ is aligned so).

A rotation, scale and shift of a picture are a turn of the camera about its axis and other intrinsics, so the studio
renders the crop itself: nothing is ever resampled, and landmarks stay exact.
"""

from __future__ import annotations

import dataclasses

import numpy as np

RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
MOUTH_CORNERS = (48, 54)


@dataclasses.dataclass(frozen=True)
class FaceCrop:
  """A square in a picture: ``centre`` (2,) pixels, ``side`` pixels, ``roll`` radians by which its x axis is turned
  from the picture's (positive is clockwise on the screen)."""

  centre: np.ndarray
  side: float
  roll: float


def face_crop(landmarks: np.ndarray) -> FaceCrop:
  """The FFHQ crop about (68 or 70, 2) landmarks in pixels, in the order of 300-W."""
  right, left = landmarks[RIGHT_EYE].mean(0), landmarks[LEFT_EYE].mean(0)
  eyes = 0.5 * (right + left)
  across = left - right
  down = landmarks[list(MOUTH_CORNERS)].mean(0) - eyes
  x_axis = across + np.array([down[1], -down[0]])
  half = max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
  return FaceCrop(centre=eyes + 0.1 * down, side=2 * half, roll=float(np.arctan2(x_axis[1], x_axis[0])))


def crop_camera(k: np.ndarray, rt: np.ndarray, crop: FaceCrop, size: int) -> tuple[np.ndarray, np.ndarray]:
  """K (3, 3) and [R | t] (3, 4) of a camera whose whole picture of ``size`` pixels is the crop of another's picture.

  Args:
    k, rt: the other camera; square pixels without skew, centres at integers.
    crop: a square in its picture, in pixels.
    size: side of the new picture.
  """
  cos, sin = np.cos(crop.roll), np.sin(crop.roll)
  turn = np.array([[cos, sin], [-sin, cos]])
  scale = size / crop.side
  spin = np.eye(3)
  spin[:2, :2] = turn
  inner = np.eye(3)
  inner[0, 0] = inner[1, 1] = k[0, 0] * scale
  inner[:2, 2] = scale * turn @ (k[:2, 2] - crop.centre) + (size - 1) / 2
  return inner, spin @ rt

"""How far a picture's face is from the landmarks that it should have, by the landmark network that ships.

The network (`systems.face_attributes`) was taught on pictures of the studio alone; it sees the FFHQ crop about the
labelled landmarks, moved a little off by nothing. Its own error on the studio's pictures is part of the figure.
"""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from jaxtalk.studio.face_crop import FaceCrop, face_crop
from jaxtalk.systems import face_attributes as fa

_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)


@functools.cache
def _network() -> fa.FaceAttributes:
  return fa.load_face_attributes()


def measure(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
  """(T,) float32 mean distance of the 70 landmarks found from those labelled, over the distance of the eyes' centres.

  Args:
    images: (T, H, W, 3) uint8.
    landmarks: (T, 70, 2) pixels.
  """
  found = find(images, landmarks)
  apart = np.linalg.norm(landmarks[:, _LEFT_EYE].mean(1) - landmarks[:, _RIGHT_EYE].mean(1), axis=-1)
  return (np.linalg.norm(found - landmarks, axis=-1).mean(1) / np.maximum(apart, 1e-6)).astype(np.float32)


def find(images: np.ndarray, about: np.ndarray) -> np.ndarray:
  """(T, 70, 2) pixels of landmarks in pictures, looked for in the crops about ``about`` (T, 70, 2)."""
  crops = [face_crop(points) for points in about]
  cut = np.stack([_cut(image, crop) for image, crop in zip(images, crops, strict=True)])
  found = _network().landmarks(cut)
  return np.stack([_back(points, crop) for points, crop in zip(found, crops, strict=True)])


def _axes(crop: FaceCrop) -> np.ndarray:
  """(2, 2): a pixel of the crop to the right, and one down, in pixels of the picture, as columns."""
  cos, sin = np.cos(crop.roll), np.sin(crop.roll)
  return np.array([[cos, -sin], [sin, cos]]) * (crop.side / fa.SIZE)


def _cut(image: np.ndarray, crop: FaceCrop) -> np.ndarray:
  """(SIZE, SIZE, 3) of a picture; bicubic, and outside the picture its edge goes on."""
  axes = _axes(crop)
  margin = len(image)
  image = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
  start = crop.centre + margin + 0.5 - axes @ np.full(2, fa.SIZE / 2)  # the crop's corner, in PIL's coordinates
  affine = (axes[0, 0], axes[0, 1], start[0], axes[1, 0], axes[1, 1], start[1])
  size = (fa.SIZE, fa.SIZE)
  return np.asarray(Image.fromarray(image).transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC))


def _back(found: np.ndarray, crop: FaceCrop) -> np.ndarray:
  return crop.centre + (found + 0.5 - fa.SIZE / 2) @ _axes(crop).T

"""The pinhole camera: OpenCV axes (x right, y down, z forward), pixel centres at integers."""

from __future__ import annotations

import numpy as np

from jaxtalk.core import Camera

FILM_WIDTH_MM = 36.0  # focal lengths are 35 mm equivalents over the picture's width


def intrinsics(camera: Camera, size: int) -> np.ndarray:
  """K (3, 3) float64 for a square picture."""
  focal = camera.focal_mm / FILM_WIDTH_MM * size
  centre = (size - 1) / 2
  return np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1.0]])


def extrinsics(camera: Camera, target: np.ndarray) -> np.ndarray:
  """World-to-camera [R | t] (3, 4) float64 of a camera that orbits ``target`` (3,) and looks at it."""
  cy, sy = np.cos(camera.yaw), np.sin(camera.yaw)
  cp, sp = np.cos(camera.pitch), np.sin(camera.pitch)
  back = np.array([sy * cp, sp, cy * cp])
  position = target + camera.distance * back
  forward = -back
  right = np.array([cy, 0.0, -sy])
  down = np.cross(forward, right)
  rotation = np.stack([right, down, forward])
  return np.concatenate([rotation, (-rotation @ position)[:, None]], 1)


def project(points: np.ndarray, k: np.ndarray, rt: np.ndarray) -> np.ndarray:
  """(..., 3) world points to (..., 2) pixels."""
  p = points @ rt[:, :3].T + rt[:, 3]
  q = p @ k.T
  return q[..., :2] / q[..., 2:]

"""The pose of a head from points in a picture, and how far two poses are apart.

Points are those of any detector. Where a detector's points lie on a head is learnt from pictures of known pose
(`triangulate`), so that its own idea of where, say, the corner of an eye is does not count as an error of pose; after
that one picture's points give the pose (`pose_from_points`), by the camera that took it and nothing else.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.motion.rotations import cross_matrix, matrix_from_axis_angle

_STEPS = 15  # Gauss-Newton converges in five from a frontal start
_ROBUST = 1.5  # times the median residual: points further off count less (Huber 1964)


def rigid_motion(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """R (3, 3) and t (3,) with ``after ~ before @ R.T + t`` in the least squares (Kabsch 1976), of (N, 3) points."""
  a, b = before.mean(0), after.mean(0)
  u, _, vt = np.linalg.svd((after - b).T @ (before - a))
  mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
  rotation = u @ mirror @ vt
  return rotation, b - rotation @ a


def triangulate(pixels: np.ndarray, k: np.ndarray, poses: np.ndarray) -> np.ndarray:
  """(N, 3) places of points on a rigid body that are seen at ``pixels`` (F, N, 2) under known poses.

  Every view of a point gives two linear equations, scaled to pixels by its depth in a second pass.

  Args:
    k: (3, 3) of the camera, OpenCV axes.
    poses: (F, 3, 4) body to camera.

  Raises:
    InputError: fewer than two views, or shapes that do not belong together.
  """
  if pixels.ndim != 3 or pixels.shape[2] != 2 or len(pixels) != len(poses) or len(pixels) < 2:
    raise InputError(f"points {pixels.shape} of {len(poses)} poses: expected (F, N, 2), F at least 2")
  projection = k @ poses  # (F, 3, 4)
  rows = projection[:, None, :2] - pixels[..., None] * projection[:, None, 2:]  # (F, N, 2, 4)
  depth = np.broadcast_to(poses[:, 2, 3, None], pixels.shape[:2])
  for _ in range(2):
    system = np.moveaxis(rows / depth[..., None, None], 1, 0).reshape(pixels.shape[1], -1, 4)
    found = np.stack([np.linalg.lstsq(a[:, :3], -a[:, 3], rcond=None)[0] for a in system])
    depth = found @ poses[:, 2, :3].T + poses[:, 2, 3]  # (N, F)
    depth = depth.T
  return found


def pose_from_points(pixels: np.ndarray, points: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """R (3, 3) and t (3,), body to camera, of a body whose ``points`` (N, 3) are seen at ``pixels`` (N, 2).

  Least squares in pixels by Gauss-Newton, with Huber's weights; the start is a body that faces the camera, so heads
  that are turned by less than a right angle are found. ``k`` is (3, 3), OpenCV axes; the body's are those of the house.

  Raises:
    InputError: fewer than four points, or values that are not finite.
  """
  if len(pixels) != len(points) or len(pixels) < 4:
    raise InputError(f"{len(pixels)} pixels and {len(points)} points: a pose takes four of each or more")
  if not (np.isfinite(pixels).all() and np.isfinite(points).all()):
    raise InputError("points have NaN or infinite values")
  rotation, shift = _facing(pixels, points, k)
  for _ in range(_STEPS):
    turned = points @ rotation.T
    residual, jacobian = _linearised(turned, turned + shift, pixels, k)
    length = np.linalg.norm(residual, axis=1)
    weight = np.minimum(1.0, _ROBUST * np.median(length) / np.maximum(length, 1e-9))[:, None, None] ** 0.5
    step = np.linalg.lstsq((jacobian * weight).reshape(-1, 6), (residual * weight[..., 0]).ravel(), rcond=None)[0]
    rotation, shift = matrix_from_axis_angle(step[:3]) @ rotation, shift + step[3:]
  return rotation, shift


def _facing(pixels: np.ndarray, points: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The pose of a body that faces the camera and is as large, and where, as its points are."""
  rotation = np.diag([1.0, -1.0, -1.0])
  turned = points @ rotation.T
  depth = k[0, 0] * float(turned[:, :2].std(0).sum() / pixels.std(0).sum())
  centre = (pixels.mean(0) - k[:2, 2]) / k[0, 0] * depth
  return rotation, np.array([*centre, depth]) - turned.mean(0)


def _linearised(turned: np.ndarray, seen: np.ndarray, pixels: np.ndarray, k: np.ndarray):
  """Residuals (N, 2) in pixels and what a small turn and shift (6,) do about them (N, 2, 6)."""
  z = seen[:, 2:]
  at = seen[:, :2] / z * k[0, 0] + k[:2, 2]
  onto = np.zeros((len(seen), 2, 3))
  onto[:, 0, 0] = onto[:, 1, 1] = k[0, 0] / z[:, 0]
  onto[:, :, 2] = -(at - k[:2, 2]) / z
  moves = np.concatenate([-cross_matrix(turned), np.broadcast_to(np.eye(3), (len(seen), 3, 3))], axis=2)
  return pixels - at, onto @ moves


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """(...,) radians of the turn from rotations (..., 3, 3) to others."""
  trace = np.einsum("...ij,...ij->...", a, b)
  # The sine half keeps small angles exact where the cosine is flat.
  sine = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8.0)
  return 2.0 * np.arctan2(sine, np.sqrt(np.maximum(0.0, (trace + 1.0) / 4.0)))

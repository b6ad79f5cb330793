"""Rotations, with one convention for the whole house.

Angles are radians, matrices act on column vectors, axes are right-handed: +X is the subject's left, +Y is up, the face
looks along +Z. Yaw, pitch and roll compose as ``R = Ry(yaw) @ Rx(pitch) @ Rz(roll)``: yaw > 0 turns the face towards
the subject's left, pitch > 0 nods down, roll > 0 tilts the crown towards the subject's right.

Every function takes NumPy or JAX arrays with any leading axes and answers in kind; it may be jitted.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _as_array(x: Any) -> tuple[Any, Any]:
  """The array and its namespace (numpy or jax.numpy), without importing JAX."""
  if not hasattr(x, "__array_namespace__"):
    x = np.asarray(x, dtype=np.float64)
  return x, x.__array_namespace__()


def matrix_from_ypr(ypr: Any) -> Any:
  """(..., 3) yaw, pitch, roll to (..., 3, 3) matrices."""
  ypr, xp = _as_array(ypr)
  (cy, cp, cr), (sy, sp, sr) = (xp.moveaxis(f(ypr), -1, 0) for f in (xp.cos, xp.sin))
  rows = (
    (cy * cr + sy * sp * sr, sy * sp * cr - cy * sr, sy * cp),
    (cp * sr, cp * cr, -sp),
    (cy * sp * sr - sy * cr, sy * sr + cy * sp * cr, cy * cp),
  )
  return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def ypr_from_matrix(matrix: Any) -> Any:
  """(..., 3, 3) to (..., 3) yaw, pitch, roll; pitch lies in [-pi/2, pi/2], and roll is arbitrary at its ends."""
  m, xp = _as_array(matrix)
  yaw = xp.arctan2(m[..., 0, 2], m[..., 2, 2])
  pitch = xp.arctan2(-m[..., 1, 2], xp.hypot(m[..., 0, 2], m[..., 2, 2]))
  roll = xp.arctan2(m[..., 1, 0], m[..., 1, 1])
  return xp.stack([yaw, pitch, roll], axis=-1)


def matrix_from_axis_angle(axis_angle: Any) -> Any:
  """(..., 3) axis times angle to (..., 3, 3), by Rodrigues' formula; exact at zero."""
  aa, xp = _as_array(axis_angle)
  angle2 = (aa * aa).sum(axis=-1)[..., None, None]
  small = angle2 < 1e-8
  safe2 = xp.where(small, 1.0, angle2)
  angle = xp.sqrt(safe2)
  sine = xp.where(small, 1.0 - angle2 / 6.0, xp.sin(angle) / angle)
  cosine = xp.where(small, 0.5 - angle2 / 24.0, (1.0 - xp.cos(angle)) / safe2)
  cross = cross_matrix(aa)
  return xp.broadcast_to(xp.eye(3, dtype=aa.dtype), cross.shape) + sine * cross + cosine * (cross @ cross)


def cross_matrix(vector: Any) -> Any:
  """(..., 3) v to (..., 3, 3) with ``cross_matrix(v) @ w == cross(v, w)``."""
  v, xp = _as_array(vector)
  x, y, z = (v[..., i] for i in range(3))
  zero = xp.zeros_like(x)
  rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
  return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def axis_angle_from_matrix(matrix: Any) -> Any:
  """(..., 3, 3) to (..., 3) axis times angle in [0, pi].

  Goes through the unit quaternion whose largest component is computed first (Shepperd 1978), which is accurate at
  angles near 0 and near pi.
  """
  m, xp = _as_array(matrix)
  xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
  wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
  xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
  # Row k is the quaternion (w, x, y, z) times four times its component k.
  outer = (
    (1 + xx + yy + zz, wx, wy, wz),
    (wx, 1 + xx - yy - zz, xy, xz),
    (wy, xy, 1 - xx + yy - zz, yz),
    (wz, xz, yz, 1 - xx - yy + zz),
  )
  stacked = xp.stack([xp.stack(row, axis=-1) for row in outer], axis=-2)
  best = xp.argmax(xp.stack([outer[k][k] for k in range(4)], axis=-1), axis=-1)
  q = xp.take_along_axis(stacked, best[..., None, None], axis=-2)[..., 0, :]
  q = q / xp.sqrt((q * q).sum(axis=-1, keepdims=True))
  q = xp.where(q[..., :1] < 0, -q, q)
  norm2 = (q[..., 1:] * q[..., 1:]).sum(axis=-1, keepdims=True)
  small = norm2 < 1e-12
  norm = xp.sqrt(xp.where(small, 1.0, norm2))
  scale = xp.where(small, 2.0, 2.0 * xp.arctan2(norm, q[..., :1]) / norm)
  return scale * q[..., 1:]


def axis_angle_from_ypr(ypr: Any) -> Any:
  """(..., 3) yaw, pitch, roll to (..., 3) axis times angle: ``head_aa`` of a motion's head columns."""
  return axis_angle_from_matrix(matrix_from_ypr(ypr))


def ypr_from_axis_angle(axis_angle: Any) -> Any:
  """Inverse of ``axis_angle_from_ypr``."""
  return ypr_from_matrix(matrix_from_axis_angle(axis_angle))


def direction_from_yaw_pitch(yaw_pitch: Any) -> Any:
  """(..., 2) yaw and pitch to the (..., 3) unit vector that +Z is turned to: where an eye or a face looks."""
  yp, xp = _as_array(yaw_pitch)
  yaw, pitch = yp[..., 0], yp[..., 1]
  return xp.stack([xp.sin(yaw) * xp.cos(pitch), -xp.sin(pitch), xp.cos(yaw) * xp.cos(pitch)], axis=-1)

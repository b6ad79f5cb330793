"""Eyeballs: spheres that stay where they are while iris, pupil and cornea move over them.

The vertices of an eyeball do not turn with the gaze; the texture coordinates and the bulge of the cornea do. So what
belongs to the socket (the shadow of the lids, the wet line) stays in place, and looking around costs nothing.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxtalk.studio.mesh import grid_faces

RINGS, SEGMENTS = 15, 26
MAX_ANGLE = np.radians(104)  # the back of the ball is never seen
IRIS_SIN = 0.53  # radius of the iris over that of the ball; children's irises fill more of the lid opening
CORNEA_BULGE = 0.07
NUM = RINGS * SEGMENTS


def sphere() -> tuple[np.ndarray, np.ndarray]:
  """Unit directions (NUM, 3), pole at +Z, and faces (F, 3)."""
  polar = np.linspace(0.02, 1, RINGS)[:, None] * MAX_ANGLE
  around = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)[None]
  x = np.sin(polar) * np.cos(around)
  y = np.sin(polar) * np.sin(around)
  z = np.cos(polar) + 0 * around
  cap = np.array([[0, k, k + 1] for k in range(1, SEGMENTS - 1)])
  faces = np.concatenate([grid_faces(RINGS, SEGMENTS, wrap=True), cap])
  return np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32), faces.astype(np.int32)


def fit(vertices: np.ndarray) -> tuple[np.ndarray, float]:
  """Centre (3,) and radius of the ball that the mesh's own eye vertices (E, 3) lie on."""
  centre = 0.5 * (vertices.min(0) + vertices.max(0))
  # The modelled eye has a cornea, which makes it deeper than wide.
  width = 0.25 * (np.ptp(vertices[:, 0]) + np.ptp(vertices[:, 1]))
  centre[2] = vertices[:, 2].min() + width
  return centre.astype(np.float32), float(width)


def posed(unit: Array, centre: Array, radius: Array, gaze: Array) -> tuple[Array, Array, Array]:
  """Surface, normals and texture coordinates of one eyeball.

  Args:
    unit: (NUM, 3) directions of `sphere`.
    centre: (3,) metres.
    radius: () metres.
    gaze: (3, 3) rotation of the eye in the head.

  Returns:
    (NUM, 3) positions, (NUM, 3) unit normals with the bulge of the cornea, (NUM, 2) coordinates in [-1, 1] in which
    the iris is the disc of radius ``IRIS_SIN`` about 0.
  """
  local = unit @ gaze  # rows are R^T n
  off_axis = jnp.linalg.norm(local[:, :2], axis=-1)
  front = local[:, 2] > 0
  t = jnp.clip(1 - (off_axis / IRIS_SIN) ** 2, 0.0, 1.0) * front
  position = centre[None] + radius * unit * (1 + CORNEA_BULGE * t * t)[:, None]
  # Gradient of the bulge tilts the normal away from the axis.
  slope = 4 * CORNEA_BULGE * t / IRIS_SIN**2
  tilt = jnp.concatenate([local[:, :2] * slope[:, None], jnp.zeros_like(local[:, :1])], -1) @ gaze.T
  normal = unit + tilt
  normal = normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)
  # Azimuthal equidistant beyond the equator, so that the back never folds onto the front.
  angle = jnp.arctan2(off_axis, local[:, 2])
  radial = jnp.where(front, off_axis, 1 + (angle - jnp.pi / 2))
  uv = local[:, :2] / jnp.maximum(off_axis, 1e-6)[:, None] * jnp.minimum(radial, 1.4)[:, None]
  return position, normal, uv

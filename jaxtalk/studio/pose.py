"""One frame of geometry: blendshapes, the turn of the head, eyeballs, normals."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jaxtalk.motion.rotations import axis_angle_from_matrix, matrix_from_ypr
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio import atlas, eyes
from jaxtalk.studio.model import HeadModel

NUM_UNITS = 52
_HEAD = slice(ARKIT.index("headYaw"), ARKIT.index("headYaw") + 3)
_LEFT_EYE = slice(ARKIT.index("leftEyeYaw"), ARKIT.index("leftEyeYaw") + 3)
_RIGHT_EYE = slice(ARKIT.index("rightEyeYaw"), ARKIT.index("rightEyeYaw") + 3)


def _cross(a: Array, b: Array) -> Array:
  ax, ay, az, bx, by, bz = (v[..., i] for v in (a, b) for i in range(3))
  return jnp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def turn_about(points: Array, axis_angle: Array, share: Array) -> Array:
  """Rotates rows (V, 3) by ``share`` (V,) of one rotation (Rodrigues)."""
  angle = jnp.sqrt(jnp.maximum(jnp.sum(axis_angle**2), 1e-12))
  kx, ky, kz = axis_angle / angle
  x, y, z = (points[:, i] for i in range(3))
  sine, rest = jnp.sin(share * angle), 1 - jnp.cos(share * angle)
  cx, cy, cz = ky * z - kz * y, kz * x - kx * z, kx * y - ky * x
  dx, dy, dz = ky * cz - kz * cy, kz * cx - kx * cz, kx * cy - ky * cx
  return jnp.stack([x + sine * cx + rest * dx, y + sine * cy + rest * dy, z + sine * cz + rest * dz], -1)


def _unit(v: Array) -> Array:
  return v / jnp.maximum(jnp.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def gathered_normals(vertices: Array, faces: Array, adjacency: Array) -> Array:
  """Area-weighted vertex normals by gathering each vertex's faces (a scatter would be serial on CPU)."""
  a, b, c = (vertices[faces[:, i]] for i in range(3))
  face_normals = jnp.concatenate([_cross(b - a, c - a), jnp.zeros((1, 3))])
  picked = face_normals[jnp.where(adjacency >= 0, adjacency, faces.shape[0])]
  return _unit(picked.sum(1))


def pose(model: HeadModel, frame: Array) -> tuple[Array, Array, Array, Array]:
  """Places the mesh for one motion frame (61,) of the ARKit space.

  Returns:
    vertices (V, 3) metres, unit normals (V, 3), texture coordinates (V, 2), pupils (2, 3): right, left.
  """
  k = model.units.shape[1]
  first_tail = k + 2 * eyes.NUM
  face = model.rest[:k] + jnp.tensordot(frame[:NUM_UNITS], model.units, 1)
  ball = jnp.asarray(eyes.sphere()[0])
  gaze = matrix_from_ypr(jnp.stack([frame[_LEFT_EYE], frame[_RIGHT_EYE]]))
  left, right = (eyes.posed(ball, model.eye_centre[i], model.eye_radius[i], gaze[i]) for i in range(2))
  still = jnp.concatenate([face, left[0], right[0], model.rest[first_tail:]])

  turn = axis_angle_from_matrix(matrix_from_ypr(frame[_HEAD]))
  vertices = turn_about(still - model.pivot[None], turn, model.turn) + model.pivot[None]
  # Eyes, clothes and hair know their normals; those of the face follow its surface.
  rigid = turn_about(jnp.concatenate([left[1], right[1], model.rest_normals[first_tail:]]), turn, model.turn[k:])
  soft = gathered_normals(vertices[:k], model.faces[: model.num_face_triangles], model.adjacency)
  normals = jnp.concatenate([soft, rigid])

  flip = jnp.array([1.0, -1.0])  # texture rows run down
  eye_uv = [jnp.array(atlas.EYE_AT)[None] + (e[2] * flip[None] / 2.8 + 0.5) * (atlas.BLOCK - 1) for e in (left, right)]
  uv = jnp.concatenate([model.uv[:k], *eye_uv, model.uv[first_tail:]])
  reach = (model.eye_radius * (1 + eyes.CORNEA_BULGE))[:, None] * gaze[:, :, 2] + model.eye_centre
  pupils = turn_about(reach[::-1] - model.pivot[None], turn, jnp.ones(2)) + model.pivot[None]
  return vertices, normals, uv, pupils

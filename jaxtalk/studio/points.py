"""A sketch of a person that moves with the motion: landmarks, the head's axes, and what skin, hair and clothes cover.

It is made of the studio's own vertices without drawing a triangle: where things are in a picture, to tell a network.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxtalk.motion.rotations import axis_angle_from_matrix, matrix_from_ypr
from jaxtalk.motion.spaces import HEAD
from jaxtalk.studio import eyes, landmarks
from jaxtalk.studio.model import GARMENT_VERTICES, HeadModel
from jaxtalk.studio.pose import turn_about

LANDMARKS, ANCHORS = slice(0, landmarks.NUM), slice(landmarks.NUM, landmarks.NUM + 3)
NUM = landmarks.NUM + 3
ANCHOR_REACH = 0.1  # metres from the first anchor, the middle of the head, to the other two, along its x and y axes
COVERS = ("skin", "hair_front", "hair_back", "clothes")
_DENSITY = 1.5  # how quickly a pixel counts as covered by the vertices that fall on it
_EDGE = 0.01  # metres over which hair passes from the front of the head to its back


def kinds(model: HeadModel) -> np.ndarray:
  """(V,) of a person that `studio.model.build` made (host arrays): 0 skin, 1 hair, 2 clothes, -1 a vertex not drawn."""
  used = np.unique(np.asarray(model.faces)[np.asarray(model.face_mask)])
  first_cloth = model.units.shape[1] + 2 * eyes.NUM
  kind = np.zeros(len(model.rest), np.int32)
  kind[first_cloth:] = 2
  kind[first_cloth + GARMENT_VERTICES :] = 1
  drawn = np.zeros(len(kind), bool)
  drawn[used] = True
  return np.where(drawn, kind, -1)


def gather(model: HeadModel, vertices: Array, pupils: Array, frame: Array) -> Array:
  """(`NUM`, 3) metres in the world, landmarks and anchors, of what `studio.pose.pose` placed for a motion frame."""
  rest = jnp.array([[0.0, 0.0, 0.0], [ANCHOR_REACH, 0.0, 0.0], [0.0, ANCHOR_REACH, 0.0]])
  turn = axis_angle_from_matrix(matrix_from_ypr(frame[HEAD]))
  anchors = turn_about(rest - model.pivot[None], turn, jnp.ones(3)) + model.pivot[None]
  return jnp.concatenate([vertices[model.landmarks], pupils, anchors])


def project(world: Array, k: Array, rt: Array) -> Array:
  """(..., 3) world points to (..., 3): x and y in pixels, and the depth in metres behind the origin (+ is farther)."""
  at = jnp.einsum("...j,ij->...i", world, rt[:, :3]) + jnp.broadcast_to(rt[:, 3], world.shape)
  x = at[..., 0] / at[..., 2] * k[0, 0] + k[0, 2]
  y = at[..., 1] / at[..., 2] * k[1, 1] + k[1, 2]
  return jnp.stack([x, y, at[..., 2] - rt[2, 3]], axis=-1)


def cover(kind: Array, projected: Array, middle: Array, size: int, of: int) -> Array:
  """(size, size, 4) uint8, 255 where many vertices fall: `COVERS`. Every vertex is shared by the four nearest pixels.

  Args:
    kind: (V,) of `kinds`.
    projected: (V, 3) of `project`.
    middle: () depth of the middle of the head, which tells the hair before it from that behind.
    size: of the map.
    of: size of the picture in whose pixels the vertices are.
  """
  at = (projected[:, :2] + 0.5) * (size / of) - 0.5
  behind = jax.nn.sigmoid((projected[:, 2] - middle) / _EDGE)
  hair = (kind == 1).astype(jnp.float32)
  parts = jnp.stack([kind == 0, hair * (1 - behind), hair * behind, kind == 2], axis=-1).astype(jnp.float32)
  low = jnp.floor(at).astype(jnp.int32)
  share = at - low
  total = jnp.zeros(((size + 2) * (size + 2), len(COVERS)))
  for dy in (0, 1):
    for dx in (0, 1):
      weight = jnp.where(dx, share[:, 0], 1 - share[:, 0]) * jnp.where(dy, share[:, 1], 1 - share[:, 1])
      x, y = (jnp.clip(low[:, i] + d, -1, size) + 1 for i, d in ((0, dx), (1, dy)))  # a frame takes what is outside
      total = total.at[y * (size + 2) + x].add(parts * weight[:, None])
  inner = total.reshape(size + 2, size + 2, len(COVERS))[1:-1, 1:-1]
  return jnp.round(255 * (1 - jnp.exp(-_DENSITY * inner))).astype(jnp.uint8)

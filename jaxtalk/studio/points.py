"""A person as a few hundred points that move with the motion: landmarks, and samples of skin, hair and clothes.

They are the studio's own mesh, thinned out: where the landmarks and a sketch of a person are in a picture, without
drawing it.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxtalk.motion.rotations import axis_angle_from_matrix, matrix_from_ypr
from jaxtalk.motion.spaces import HEAD
from jaxtalk.studio import eyes, landmarks
from jaxtalk.studio.head import load_asset
from jaxtalk.studio.model import GARMENT_VERTICES, HeadModel
from jaxtalk.studio.pose import turn_about

COUNTS = {"landmarks": landmarks.NUM, "anchors": 3, "skin": 144, "hair": 224, "clothes": 96}
SPANS: dict[str, slice] = {}
for _name, _count in COUNTS.items():
  _first = sum(list(COUNTS.values())[: len(SPANS)])
  SPANS[_name] = slice(_first, _first + _count)
NUM = sum(COUNTS.values())
ANCHOR_REACH = 0.1  # metres from the first anchor, the middle of the head, to the other two, along its x and y axes


@functools.lru_cache(maxsize=1)
def skin_ids() -> np.ndarray:
  """(144,) vertices spread over head, ears and neck: each the farthest from those before it."""
  asset = load_asset()
  base = asset.base[: asset.num_vertices]
  among = np.flatnonzero((asset.part == 0) & (base[:, 1] > base[asset.landmarks[8], 1] - 0.8))
  at = base[among]
  chosen = [int(np.argmax(at[:, 2]))]
  distance = np.linalg.norm(at - at[chosen[0]], axis=1)
  while len(chosen) < COUNTS["skin"]:
    chosen.append(int(np.argmax(distance)))
    distance = np.minimum(distance, np.linalg.norm(at - at[chosen[-1]], axis=1))
  return among[chosen]


def choose(model: HeadModel) -> np.ndarray:
  """(`NUM` - 5,) vertices of a person that `studio.model.build` made (host arrays): landmarks without pupils, skin, hair,
  clothes."""
  faces = np.asarray(model.faces)[np.asarray(model.face_mask)]
  first_cloth = model.units.shape[1] + 2 * eyes.NUM
  first_hair = first_cloth + GARMENT_VERTICES
  rng = np.random.default_rng(0x9017)

  def some(low: int, high: int, count: int) -> np.ndarray:
    used = np.unique(faces[(faces >= low) & (faces < high)])
    return used[np.sort(rng.permutation(np.resize(np.arange(len(used)), max(count, len(used))))[:count])]

  hair = some(first_hair, len(model.rest), COUNTS["hair"])
  clothes = some(first_cloth, first_hair, COUNTS["clothes"])
  return np.concatenate([model.landmarks, skin_ids(), hair, clothes])


def gather(model: HeadModel, ids: Array, vertices: Array, pupils: Array, frame: Array) -> Array:
  """(`NUM`, 3) metres in the world, in the order of `SPANS`, of what `studio.pose.pose` placed for a motion frame."""
  rest = jnp.array([[0.0, 0.0, 0.0], [ANCHOR_REACH, 0.0, 0.0], [0.0, ANCHOR_REACH, 0.0]])
  turn = axis_angle_from_matrix(matrix_from_ypr(frame[HEAD]))
  anchors = turn_about(rest - model.pivot[None], turn, jnp.ones(3)) + model.pivot[None]
  first = landmarks.NUM - 2
  return jnp.concatenate([vertices[ids[:first]], pupils, anchors, vertices[ids[first:]]])


def project(world: Array, k: Array, rt: Array) -> Array:
  """(..., 3) world points to (..., 3): x and y in pixels, and the depth in metres behind the origin (+ is farther)."""
  at = jnp.einsum("...j,ij->...i", world, rt[:, :3]) + jnp.broadcast_to(rt[:, 3], world.shape)
  x = at[..., 0] / at[..., 2] * k[0, 0] + k[0, 2]
  y = at[..., 1] / at[..., 2] * k[1, 1] + k[1, 2]
  return jnp.stack([x, y, at[..., 2] - rt[2, 3]], axis=-1)

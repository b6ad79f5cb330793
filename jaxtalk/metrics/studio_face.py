"""The studio's head as the place where motions of ARKit weights become points that can be compared in metres.

Points are without head pose. The lips, the upper face and the whole face are masks over the vertices of the shipped
head; they are the same on every person.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from fractions import Fraction

import numpy as np

from jaxtalk.core import InputError, Person
from jaxtalk.metrics.pairs import VertexMask
from jaxtalk.studio import head, regions

MESH = "studio head, no head pose"
KEPT_FACES = 256  # shaped heads in memory, 1.3 MB each


@dataclasses.dataclass(frozen=True)
class StudioFace:
  """A person's face: ``ids`` (N,) rising vertices of the asset, ``neutral`` (N, 3) and ``units`` (52, N, 3) metres."""

  ids: np.ndarray
  neutral: np.ndarray
  units: np.ndarray

  def points(self, weights: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(T, M, 3) float64 positions of vertices ``ids`` of the asset under (T, 52) weights."""
    at = np.searchsorted(self.ids, ids)
    if (at >= len(self.ids)).any() or (self.ids[at] != ids).any():
      raise InputError("a mask names vertices that are not on the studio's face")
    return self.neutral[at] + np.tensordot(np.asarray(weights, np.float64), self.units[:, at].astype(np.float64), 1)

  def landmarks(self, weights: np.ndarray) -> np.ndarray:
    """(T, 68, 3) landmarks."""
    return self.points(weights, head.load_asset().landmarks)


@dataclasses.dataclass(frozen=True)
class FacePair:
  """A predicted and a true motion, (T, 52) weights each, on one face.

  This is a `pairs.PointPair` of mesh points that are made when they are asked for: long clips stay small.
  """

  face: StudioFace
  predicted: np.ndarray
  truth: np.ndarray
  fps: Fraction

  def points(self, mask: VertexMask | None) -> tuple[np.ndarray, np.ndarray]:
    """(T, M, 3) each; no mask is the whole face."""
    ids = self.face.ids if mask is None else mask.indices
    return self.face.points(self.predicted, ids), self.face.points(self.truth, ids)

  def template(self, mask: VertexMask) -> np.ndarray:
    """(M, 3) of the neutral face."""
    return self.face.points(np.zeros((1, self.predicted.shape[1])), mask.indices)[0]


def studio_face(person: Person) -> StudioFace:
  """The face of a person; the same shape is made once."""
  shape = {"seed": person.seed, "age": person.age_years, "gender": person.gender, "ancestry": person.ancestry}
  return _shaped(json.dumps(shape | {"face": dict(person.face)}))


@functools.cache
def masks() -> dict[str, VertexMask]:
  """Masks over the vertices of the asset.

  "lips" is the red of both lips, "lip landmarks" the 20 of 48-67, "upper face" all above the middle of the nose bridge
  without ears, "face" the skin up to the hairline.
  """
  asset = head.load_asset()
  base, body = asset.base[: asset.num_vertices], asset.part == 0
  classes = regions.classify(asset, asset.faces)
  lips = np.unique(asset.faces[np.isin(classes, (regions.LIP_TOP, regions.LIP_BOTTOM))])
  face = body & (asset.mask("face") > 0.5)
  upper = face & (base[:, 1] > base[asset.landmarks[29], 1]) & (asset.mask("ears") < 0.5)
  return {
    "lips": VertexMask.of("studio lips", lips),
    "lip landmarks": VertexMask.of("studio lip landmarks 48-67", asset.landmarks[48:68]),
    "upper face": VertexMask.of("studio upper face", upper),
    "face": VertexMask.of("studio face", face),
  }


@functools.lru_cache(maxsize=KEPT_FACES)
def _shaped(description: str) -> StudioFace:
  """From JSON, because a person's face is a dict, which no cache takes as a key."""
  given = json.loads(description)
  african, asian, european = given["ancestry"]
  person = Person(
    seed=given["seed"],
    age_years=given["age"],
    gender=given["gender"],
    ancestry=(african, asian, european),
    face=given["face"],
    look={},
  )
  shaped, asset = head.shape(person), head.load_asset()
  ids = np.unique(np.concatenate([*(mask.indices for mask in masks().values()), asset.landmarks]))
  return StudioFace(ids, shaped.vertices[ids].astype(np.float64), shaped.units[:, ids])

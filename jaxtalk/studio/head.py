"""The morphable head: from a `Person` to the neutral mesh, its joints and its 52 expression deltas.

Shape follows the MakeHuman construction: base + sum of weight x target, with weights that are products of
piecewise-linear memberships in (ancestry, gender, age, build). Source of the data: see `build_asset`.
"""

from __future__ import annotations

import dataclasses
import functools
from importlib import resources
from typing import Any

import numpy as np

from jaxtalk.core import MissingAssetError, Person
from jaxtalk.studio.landmarks import LOWER_INNER, UPPER_INNER

# Ends of a signed axis in the target names, (negative, positive).
_ENDS = (("-decr", "-incr"), ("-down", "-up"), ("-in", "-out"), ("-concave", "-convex"))


# A lid is thick: its edge, where the landmarks lie, stops a little before the other one.
LID_CONTACT = 1.0


@dataclasses.dataclass(frozen=True)
class Asset:
  """The shipped head, as `build_asset` documents it. K vertices + J joints are the rows of ``base`` and the deltas."""

  base: np.ndarray
  base_index: np.ndarray
  faces: np.ndarray
  part: np.ndarray
  part_names: tuple[str, ...]
  joint_names: tuple[str, ...]
  bone_weights: np.ndarray
  bone_names: tuple[str, ...]
  masks: np.ndarray
  mask_names: tuple[str, ...]
  macro: dict[str, int]
  macro_shift: np.ndarray
  macro_delta: np.ndarray
  local: dict[str, int]
  local_shift: np.ndarray
  local_delta: np.ndarray
  unit: dict[str, int]
  unit_shift: np.ndarray
  unit_delta: np.ndarray
  landmarks: np.ndarray
  scalp: dict[str, np.ndarray]
  garment: dict[str, np.ndarray]

  @property
  def num_vertices(self) -> int:
    return len(self.base_index)

  def bones(self, name: str) -> np.ndarray:
    return self.bone_weights[:, self.bone_names.index(name)]

  def mask(self, name: str) -> np.ndarray:
    """(K,) in [0, 1]."""
    return self.masks[:, self.mask_names.index(name)].astype(np.float32) / 255

  def part_vertices(self, *names: str) -> np.ndarray:
    ids = [self.part_names.index(n) for n in names]
    return np.flatnonzero(np.isin(self.part, ids))


@functools.lru_cache(maxsize=1)
def load_asset() -> Asset:
  """Reads the shipped asset; MissingAssetError if the package was built without it."""
  path = resources.files("jaxtalk.studio") / "assets" / "head.npz"
  try:
    with resources.as_file(path) as file, np.load(file, allow_pickle=False) as data:
      a = {k: data[k] for k in data.files}
  except FileNotFoundError:
    raise MissingAssetError("the head asset jaxtalk/studio/assets/head.npz is missing; reinstall jaxtalk") from None
  quads = a["quads"]
  faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
  kinds = ("macro", "local", "unit")
  targets: dict[str, Any] = {k: {n: i for i, n in enumerate(a[f"{k}_names"].tolist())} for k in kinds}
  targets |= {f"{k}_{what}": a[f"{k}_{what}"] for k in kinds for what in ("shift", "delta")}
  return Asset(
    base=a["base"],
    base_index=a["base_index"],
    faces=faces,
    part=a["part"],
    part_names=tuple(a["part_names"].tolist()),
    joint_names=tuple(a["joint_names"].tolist()),
    bone_weights=a["bone_weights"].astype(np.float32),
    bone_names=tuple(a["bone_names"].tolist()),
    masks=a["masks"],
    mask_names=tuple(a["mask_names"].tolist()),
    landmarks=a["landmarks"],
    scalp={k.removeprefix("scalp_"): a[k] for k in a if k.startswith("scalp_")},
    garment={k.removeprefix("garment_"): a[k] for k in a if k.startswith("garment_")},
    **targets,
  )


@dataclasses.dataclass(frozen=True)
class Head:
  """A person's neutral head in metres; the origin is the middle of the head, between the ears at eye height.

  Attributes:
    vertices: (K, 3) float32.
    units: (52, K, 3) float32, displacement at weight 1 in ARKit order, scaled to this head.
    joints: name -> (3,).
    scale: size of this face against the base mesh (distance eyes to mouth), which also scales the units.
    pivot: (3,) point about which the head turns.
  """

  vertices: np.ndarray
  units: np.ndarray
  joints: dict[str, np.ndarray]
  scale: float
  pivot: np.ndarray


def age_weights(age: float) -> dict[str, float]:
  """Memberships of (baby 1 year, child 10.5, young 25, old 70) on the age axis; they sum to 1.

  Heads grow fast at first: at 3.5 years two fifths of the way from one year to ten are done (head circumference
  reaches 90 % of its adult size at about 5 years; Rollins, Collins and Holden 2010), so the axis is not linear in age.
  """
  baby = float(np.interp(age, (1.0, 3.5, 6.0, 10.5), (1.0, 0.60, 0.36, 0.0)))
  child = float(np.interp(age, (10.5, 25.0), (1.0, 0.0))) - baby
  old = float(np.interp(age, (25.0, 70.0), (0.0, 1.0)))
  return {"baby": baby, "child": child, "young": 1 - baby - child - old, "old": old}


def macro_weights(person: Person) -> dict[str, float]:
  """Weight of each macro target; each family (ancestry x gender x age, universal) sums to 1."""
  ages = {k: v for k, v in age_weights(person.age_years).items() if v > 0}
  # Children differ less by sex than adults, in the face as in the data.
  male = {"male": 0.88, "female": 0.12}[person.gender]
  genders = {"female": 1 - male, "male": male}
  origin = dict(zip(("african", "asian", "caucasian"), person.ancestry, strict=True))
  build = person.face.get("build", 0.0)
  builds = {"min": max(-build, 0.0), "average": 1 - abs(build), "max": max(build, 0.0)}
  out: dict[str, float] = {}
  for age, wa in ages.items():
    for gender, wg in genders.items():
      for name, wo in origin.items():
        out[f"{name}-{gender}-{age}"] = wa * wg * wo
      for weight, wb in builds.items():
        out[f"universal-{gender}-{age}-{weight}weight"] = wa * wg * wb
  return {k: v for k, v in out.items() if v > 0}


def local_weights(person: Person, names: dict[str, int]) -> dict[str, float]:
  """Signed axes of ``person.face`` to one-sided target weights; paired sides differ by the person's asymmetry."""
  rng = np.random.default_rng(np.random.SeedSequence([person.seed, 0xA5]))
  spread = person.face.get("asymmetry", 0.0)
  out: dict[str, float] = {}
  for axis, value in person.face.items():
    if axis in ("build", "asymmetry"):
      continue
    for side in ("", "l-", "r-"):
      w = value + spread * rng.normal()
      stem = side + axis
      ends = [f"{stem}{end[w > 0]}" for end in _ENDS if f"{stem}{end[w > 0]}" in names]
      if ends:
        out[ends[0]] = abs(w)
      elif stem in names and w > 0:
        out[stem] = w
  return out


def _blend(weights: dict[str, float], index: dict[str, int], shift: np.ndarray, delta: np.ndarray) -> np.ndarray:
  ids = [index[n] for n in weights]
  w = np.array(list(weights.values()), np.float32)
  rows = delta[ids].astype(np.float32)
  return np.tensordot(w, rows, 1) + w @ shift[ids]


def _shut_eyes(vertices: np.ndarray, units: np.ndarray, asset: Asset) -> np.ndarray:
  """Scales the blink units so that weight 1 shuts these eyes: large eyes need more than the modelled lids travel."""
  out = units.copy()
  for name, upper, lower in (("eyeBlinkRight", (37, 38), (41, 40)), ("eyeBlinkLeft", (43, 44), (47, 46))):
    unit = asset.unit[name]
    up, low = asset.landmarks[list(upper)], asset.landmarks[list(lower)]
    opening = (vertices[up, 1] - vertices[low, 1]).mean()
    travel = (units[unit, low, 1] - units[unit, up, 1]).mean()
    out[unit] *= np.clip(LID_CONTACT * opening / max(travel, 1e-4), 1.0, 2.2)
  return out


def _close_lips(vertices: np.ndarray, units: np.ndarray, asset: Asset) -> np.ndarray:
  """Brings the lower lip to the upper one: morphs leave lips up to 2 mm apart, and the animator counts on closed ones.

  The lower lip moves the way `mouthClose` moves it, scaled so that its middle meets the middle of the upper lip.
  """
  upper, lower = asset.landmarks[[UPPER_INNER, LOWER_INNER]]
  close = units[asset.unit["mouthClose"]]
  share = np.where(close[:, 1] > 0, np.linalg.norm(close, axis=1), 0) / np.linalg.norm(close[lower])
  return vertices + share[:, None] * (vertices[upper] - vertices[lower])


def shape(person: Person) -> Head:
  """The person's neutral head."""
  asset = load_asset()
  k = asset.num_vertices
  rows = asset.base + _blend(macro_weights(person), asset.macro, asset.macro_shift, asset.macro_delta)
  local = local_weights(person, asset.local)
  own = _blend(local, asset.local, asset.local_shift, asset.local_delta)

  def face_size(r: np.ndarray) -> float:
    eyes = 0.5 * (r[k + asset.joint_names.index("l-eye")] + r[k + asset.joint_names.index("r-eye")])
    return float(np.linalg.norm(eyes - r[asset.landmarks[62]]))

  # Local targets and face units were modelled on the adult base; a small head moves by smaller amounts.
  scale = face_size(rows) / face_size(asset.base)
  rows = rows + scale * own
  joints = {n: rows[k + i] for i, n in enumerate(asset.joint_names)}
  origin = np.array([0.0, 0.5 * (joints["l-eye"][1] + joints["r-eye"][1]), joints["head"][2]], np.float32)
  rows = rows - origin
  joints = {n: rows[k + i].astype(np.float32) for i, n in enumerate(asset.joint_names)}
  units = scale * (asset.unit_delta[:, :k].astype(np.float32) + asset.unit_shift[:, None])
  units = _shut_eyes(rows[:k], units, asset)
  vertices = _close_lips(rows[:k], units, asset)
  pivot = 0.6 * joints["head"] + 0.4 * joints["neck"]
  return Head(vertices=vertices.astype(np.float32), units=units, joints=joints, scale=scale, pivot=pivot)

"""From a person to the arrays that the jitted renderer draws: one mesh of fixed capacity, with materials per vertex.

Order of vertices: the head asset (K), two eyeballs, clothes (padded), hair (padded). Capacities are constants, so all
people share one compiled program.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import scipy.sparse.csgraph

from jaxtalk.core import Person
from jaxtalk.studio import atlas, eyes, garment, hair, regions, scalp
from jaxtalk.studio.garment import GarmentTemplate
from jaxtalk.studio.head import Asset, Head, load_asset, shape
from jaxtalk.studio.mesh import SurfacePart, vertex_normals
from jaxtalk.studio.person import HAIR_COLOURS
from jaxtalk.studio.scalp import ScalpRegion

GARMENT_VERTICES, GARMENT_FACES = 5200, 8200
HAIR_VERTICES, HAIR_FACES = 9400, 13400
MAX_VALENCE = 10
COLLAR_REACH = 0.09  # metres below the top of the clothes within which their inside may be seen
HAIR_PERIOD = 60.0  # strands in the hair block
CLOTH_PERIOD = 0.128  # metres of cloth in the cloth block


Leaf = Any  # a NumPy array on the host, a JAX array on a device or under a trace


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HeadModel:
  """A drawable person. V vertices, F faces, K asset vertices.

  Attributes:
    rest: (V, 3) neutral positions, metres (eyeball rows are placed per frame).
    rest_normals: (V, 3) of clothes and hair; those of the face follow the motion, those of eyes are exact.
    units: (52, K, 3) displacements at weight 1.
    turn: (V,) share of the head's rotation that a vertex follows.
    pivot: (3,) point about which the head turns.
    eye_centre, eye_radius: (2, 3), (2,): left, right.
    adjacency: (K, MAX_VALENCE) faces about each asset vertex, -1 padded.
    uv: (V, 2) texels (eyeball rows are placed per frame).
    gain: (V, 3) colour factor on the lit albedo.
    gloss, shine: (V,) sharpness in [0, 1] and strength of the highlight.
    wrap: (V, 3) how far light wraps around, per channel (a cheap form of subsurface scattering).
    tangent: (V, 3) strand direction, zero elsewhere.
    cavity: (V,) least share of open sky; the mouth is shut when occlusion is measured, and lets light in when open.
    faces: (F, 3); face_mask (F,) drawn; two_sided (F,); face_class (F,) uint8 segmentation class.
    landmarks: (68,) vertex ids.
    atlas: (SIZE, SIZE) uint32.
  """

  rest: Leaf
  rest_normals: Leaf
  units: Leaf
  turn: Leaf
  pivot: Leaf
  eye_centre: Leaf
  eye_radius: Leaf
  adjacency: Leaf
  uv: Leaf
  gain: Leaf
  gloss: Leaf
  shine: Leaf
  wrap: Leaf
  tangent: Leaf
  cavity: Leaf
  faces: Leaf
  face_mask: Leaf
  two_sided: Leaf
  face_class: Leaf
  landmarks: Leaf
  atlas: Leaf

  @property
  def num_face_triangles(self) -> int:
    """Triangles of the head asset, which come first in ``faces``."""
    return self.faces.shape[0] - GARMENT_FACES - HAIR_FACES - 2 * len(eyes.sphere()[1])


# Material by part: gloss, shine, wrap (red, green, blue).
SKIN_WRAP = (0.42, 0.22, 0.16)
MATERIALS = {
  "body": (0.26, 0.10, SKIN_WRAP),
  "teeth_upper": (0.62, 0.32, (0.3, 0.3, 0.3)),
  "teeth_lower": (0.62, 0.32, (0.3, 0.3, 0.3)),
  "tongue": (0.5, 0.22, (0.4, 0.25, 0.2)),
  "lashes_left": (0.1, 0.0, (0.1, 0.1, 0.1)),
  "lashes_right": (0.1, 0.0, (0.1, 0.1, 0.1)),
}
ORAL = ("teeth_upper", "teeth_lower", "tongue")
EYE_MATERIAL = (1.0, 0.8, (0.25, 0.2, 0.18))
HAIR_MATERIAL = (0.3, 0.0, (0.25, 0.22, 0.2))
CLOTH_MATERIAL = (0.1, 0.02, (0.12, 0.12, 0.12))


def adjacency(faces: np.ndarray, num_vertices: int) -> np.ndarray:
  """(num_vertices, MAX_VALENCE) ids of the faces about each vertex, -1 padded."""
  corners = faces.reshape(-1)
  ids = np.repeat(np.arange(len(faces)), 3)
  order = np.argsort(corners, kind="stable")
  corners, ids = corners[order], ids[order]
  start = np.searchsorted(corners, np.arange(num_vertices))
  rank = np.arange(len(corners)) - start[corners]
  out = np.full((num_vertices, MAX_VALENCE), -1, np.int32)
  keep = rank < MAX_VALENCE
  out[corners[keep], rank[keep]] = ids[keep]
  return out


def turn_share(asset: Asset) -> np.ndarray:
  """(K,) share of the head's rotation: all of it above the jaw line, fading out down the neck."""
  neck = 0.75 * asset.bones("neck03") + 0.5 * asset.bones("neck02") + 0.2 * asset.bones("neck01")
  share = np.clip(asset.bones("head") + neck, 0, 1)
  # The data gives parts of the face to many small bones; whatever is not neck or trunk up here is head.
  k = asset.num_vertices
  chin = asset.base[asset.landmarks[8]]
  above = asset.base[:k, 1] > chin[1] + (chin[2] - asset.base[:k, 2]) * 0.42
  trunk = asset.bones("neck03") + asset.bones("neck02") + asset.bones("neck01") < 0.01
  body = asset.part == asset.part_names.index("body")
  return np.where(body & ~(above & trunk), share, 1.0).astype(np.float32)


@functools.lru_cache(maxsize=1)
def shared() -> dict[str, np.ndarray]:
  """What is the same for everybody: faces of the asset, classes, texture coordinates, adjacency."""
  asset = load_asset()
  k = asset.num_vertices
  drawn = ~np.isin(asset.part, [asset.part_names.index("eye_left"), asset.part_names.index("eye_right")])
  # Of the lashes only the upper row is drawn: the lower one reads as eyeliner at any usual resolution.
  lash = np.isin(asset.part, [asset.part_names.index("lashes_left"), asset.part_names.index("lashes_right")])
  drawn &= ~(lash & (asset.base[:k, 1] < asset.base[k + asset.joint_names.index("l-eye"), 1]))
  faces = asset.faces[drawn[asset.faces].all(1)]
  uv = atlas.skin_uv(atlas.base_about_eyes())
  for part, swatch in (("teeth_upper", "teeth"), ("teeth_lower", "teeth"), ("tongue", "tongue")):
    uv[asset.part_vertices(part)] = atlas.swatch_uv(swatch)
  uv[asset.part_vertices("lashes_left", "lashes_right")] = atlas.swatch_uv("lash")
  classes = regions.classify(asset, faces)
  inside = regions.inside_mouth(asset)
  uv[inside & (asset.part == 0)] = atlas.swatch_uv("mouth")
  return {
    "faces": faces,
    "classes": classes,
    "adjacency": adjacency(faces, k),
    "uv": uv,
    "turn": turn_share(asset),
    "inside": inside,
    **_under_clothes(asset, faces),
  }


def _under_clothes(asset: Asset, faces: np.ndarray) -> dict[str, np.ndarray]:
  """Which faces the garment template covers (its face id or -1), and which belong to the trunk at all."""
  ids = {tuple(f): i for i, f in enumerate(asset.garment["body_faces"].tolist())}
  under = np.array([ids.get(tuple(f), -1) for f in faces.tolist()])
  return {"under_garment": under, "trunk": (turn_share(asset)[faces] == 0).all(1)}


def _materials(asset: Asset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  k = asset.num_vertices
  gloss, shine, wrap = np.zeros(k, np.float32), np.zeros(k, np.float32), np.zeros((k, 3), np.float32)
  for name, (g, s, w) in MATERIALS.items():
    ids = asset.part_vertices(name)
    gloss[ids], shine[ids], wrap[ids] = g, s, w
  lips = asset.mask("lips") * (asset.part == 0)
  gloss += lips * 0.22
  shine += lips * 0.10
  inside = shared()["inside"] & (asset.part == 0)
  gloss[inside], shine[inside] = 0.5, 0.12
  return gloss, shine, wrap


def _thin_lashes(vertices: np.ndarray, head: Head, asset: Asset) -> np.ndarray:
  """Vertices with lashes as a fringe: short, and every second tip drawn in towards its root."""
  out = vertices.copy()
  body = asset.part_vertices("body")
  for name, eye in (("lashes_left", "l-eye"), ("lashes_right", "r-eye")):
    ids = asset.part_vertices(name)
    near = body[np.linalg.norm(vertices[body] - head.joints[eye], axis=1) < 0.03 * head.scale]
    distance = np.linalg.norm(vertices[ids][:, None] - vertices[near][None], axis=-1)
    root = vertices[near[distance.argmin(1)]]
    keep = np.where(np.arange(len(ids)) % 2 == 0, 0.42, 0.16)[:, None]
    out[ids] = root + (vertices[ids] - root) * keep
  return out


# Metres on the base mesh: the modelled teeth hide behind the upper lip and pierce a child's cheeks.
TEETH_DOWN, TEETH_BACK, TEETH_NARROW = 0.0022, 0.0015, 0.84
TONGUE_UP = 0.0035
LOWER_TEETH_FOLLOW = 0.86  # share of the jaw's opening, which the face unit overdoes for teeth


def _fit_teeth(head: Head, asset: Asset) -> tuple[np.ndarray, np.ndarray]:
  """Neutral vertices and units with teeth that show under the upper lip and stay inside the cheeks."""
  vertices, units = head.vertices.copy(), head.units.copy()
  lip = head.vertices[asset.landmarks[62]]
  for name in ("teeth_upper", "teeth_lower"):
    ids = asset.part_vertices(name)
    p = vertices[ids]
    p[:, 0] *= TEETH_NARROW
    p[:, 2] = lip[2] + (p[:, 2] - lip[2]) * 0.92 - TEETH_BACK * head.scale
    if name == "teeth_upper":
      p[:, 1] -= TEETH_DOWN * head.scale
    else:
      units[:, ids] *= LOWER_TEETH_FOLLOW
    vertices[ids] = p
  vertices[asset.part_vertices("tongue")] += np.array([0.0, TONGUE_UP, 0.0]) * head.scale
  return vertices, units


def _cavity(asset: Asset) -> np.ndarray:
  """(K,) least openness: inside the mouth it falls off towards the throat."""
  k = asset.num_vertices
  oral = shared()["inside"] | np.isin(asset.part, [asset.part_names.index(n) for n in ORAL])
  depth = asset.base[asset.landmarks[62], 2] - asset.base[:k, 2]
  return np.where(oral, 0.75 * np.exp(-np.maximum(depth - 0.004, 0) / 0.022), 0.0).astype(np.float32)


def _scalp_gain(person: Person, region: ScalpRegion, count: int) -> np.ndarray:
  """(K, 3) factor that tints the scalp under the hair: what shows between strands, and a soft hairline."""
  colour = atlas.to_linear(np.array(HAIR_COLOURS[person.look["hair_colour"]]) / 255)
  ratio = np.clip(colour / atlas.skin_albedo(person.look["skin"]), 0, 1.2)
  return 1 + 0.8 * scalp.under_hair(region, count)[:, None] * (ratio - 1)


def facing_outwards(part: SurfacePart) -> np.ndarray:
  """Faces (F, 3) of clothes, each connected piece wound so that most of it faces away from the neck's axis.

  Sheets (collars, a hood) are drawn from both sides but lit by one normal, which must be the one that is seen.
  """
  a, b, c = (part.vertices[part.faces[:, i]] for i in range(3))
  centre = (a + b + c) / 3
  middle = 0.5 * (part.vertices.min(0) + part.vertices.max(0))
  away = (centre - middle) * np.array([1.0, 0.0, 1.0])
  outward = (np.cross(b - a, c - a) * away).sum(1)
  edges = np.concatenate([part.faces[:, [0, 1]], part.faces[:, [1, 2]]])
  size = len(part.vertices)
  graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(size, size))
  piece = scipy.sparse.csgraph.connected_components(graph, directed=False)[1][part.faces[:, 0]]
  inside_out = np.bincount(piece, outward, minlength=piece.max() + 1) < 0
  return np.where(inside_out[piece][:, None], part.faces[:, ::-1], part.faces)


def _pad(array: np.ndarray, length: int, what: str) -> np.ndarray:
  if len(array) > length:
    raise ValueError(f"{what}: {len(array)} rows exceed the capacity of {length}")
  return np.concatenate([array, np.zeros((length - len(array), *array.shape[1:]), array.dtype)])


def hair_uv(part: SurfacePart) -> np.ndarray:
  """Texels: across the strands wraps within the hair block, along runs from its top to its bottom."""
  u = atlas.WRAP + part.coord[:, 0] % 4096 * (atlas.BLOCK / HAIR_PERIOD)
  uv = np.stack([u, atlas.HAIR_AT[1] + 1 + part.coord[:, 1] * (atlas.BLOCK - 3)], 1).astype(np.float32)
  uv[part.layer > 0.5] = atlas.swatch_uv("trim")  # hair ties
  return uv


def cloth_uv(part: SurfacePart) -> np.ndarray:
  """Texels of cloth: metres around and along, both wrapping within the block."""
  uv = atlas.WRAP * 2 + part.coord * (atlas.BLOCK / CLOTH_PERIOD)
  for layer, swatch in ((1, "trim"), (2, "bib"), (3, "button")):
    uv[np.round(part.layer) == layer] = atlas.swatch_uv(swatch)
  return uv.astype(np.float32)


def build(person: Person) -> HeadModel:
  """Assembles the person; about a quarter of a second of NumPy."""
  asset, head, common = load_asset(), shape(person), shared()
  k = asset.num_vertices
  streams = np.random.SeedSequence([person.seed, 0xBD]).spawn(2)
  vertices, units = _fit_teeth(head, asset)
  vertices = _thin_lashes(vertices, head, asset)
  ball, ball_faces = eyes.sphere()
  fits = [eyes.fit(head.vertices[asset.part_vertices(f"eye_{side}")]) for side in ("left", "right")]
  dressed = garment.dress(
    vertices, GarmentTemplate(**asset.garment), person.look["clothes"], np.random.default_rng(streams[0])
  )
  cloth = dataclasses.replace(dressed.part, faces=facing_outwards(dressed.part))
  region = ScalpRegion(**asset.scalp)
  mane = hair.grow_hair(vertices, region, person.look["hair"], np.random.default_rng(streams[1]), age=person.age_years)

  first_garment = k + 2 * eyes.NUM
  first_hair = first_garment + GARMENT_VERTICES
  face_lists = [
    common["faces"],
    ball_faces + k,
    ball_faces + k + eyes.NUM,
    _pad(cloth.faces + first_garment, GARMENT_FACES, f"clothes {person.look['clothes']}"),
    _pad(mane.faces + first_hair, HAIR_FACES, f"hair {person.look['hair']}"),
  ]
  counts = [len(f) for f in face_lists]
  used = [counts[0], counts[1], counts[2], len(cloth.faces), len(mane.faces)]
  face_mask = np.concatenate([np.arange(c) < u for c, u in zip(counts, used, strict=True)])
  under = common["under_garment"]
  face_mask[: counts[0]] &= ~np.where(under >= 0, dressed.hidden[under], common["trunk"])
  # Only what stands off the body shows its inside: hair that hangs below the eyes, collars.
  hanging = mane.vertices[mane.faces][:, :, 1].min(1) < 0.0
  heights = cloth.vertices[cloth.faces][:, :, 1]
  collar = (heights.max(1) > heights.max() - COLLAR_REACH) & cloth.two_sided
  two_sided = np.concatenate([
    np.isin(common["classes"], [regions.LASH]), np.zeros(counts[1] + counts[2], bool),
    _pad(collar, counts[3], "clothes"), _pad(hanging, counts[4], "hair"),
  ])  # fmt: skip
  face_class = np.concatenate([
    np.where(common["classes"] == regions.LASH, regions.SKIN, common["classes"]),
    np.full(counts[1], regions.EYE_LEFT), np.full(counts[2], regions.EYE_RIGHT),
    np.full(counts[3], regions.CLOTHING), np.full(counts[4], regions.HAIR),
  ]).astype(np.uint8)  # fmt: skip

  def stack(own: np.ndarray, eye, garment_rows: np.ndarray, hair_rows: np.ndarray) -> np.ndarray:
    own = np.asarray(own, np.float32)
    tail = own.shape[1:]
    eye_rows = np.broadcast_to(np.asarray(eye, np.float32), (2 * eyes.NUM, *tail))
    return np.concatenate([
      own, eye_rows,
      _pad(np.asarray(garment_rows, np.float32), GARMENT_VERTICES, "clothes"),
      _pad(np.asarray(hair_rows, np.float32), HAIR_VERTICES, "hair"),
    ])  # fmt: skip

  gloss, shine, wrap = _materials(asset)
  nc, nh = len(cloth.vertices), len(mane.vertices)
  garment_turn = (common["turn"][cloth.bind_index] * cloth.bind_weight).sum(1)
  mane_gain = (mane.shade * (1 + 0.16 * mane.tint))[:, None] * np.ones(3)
  cloth_gain = cloth.shade[:, None] * np.ones(3)
  ones = np.ones(nc, np.float32)
  return HeadModel(
    rest=stack(vertices, 0.0, cloth.vertices, mane.vertices),
    rest_normals=stack(np.zeros_like(vertices), 0.0, vertex_normals(cloth.vertices, cloth.faces), mane.normals),
    units=units,
    turn=stack(common["turn"], 1.0, garment_turn, np.ones(nh)),
    pivot=head.pivot.astype(np.float32),
    eye_centre=np.stack([c for c, _ in fits]),
    eye_radius=np.array([r for _, r in fits], np.float32),
    adjacency=common["adjacency"],
    uv=stack(common["uv"], 0.0, cloth_uv(cloth), hair_uv(mane)),
    gain=stack(_scalp_gain(person, region, k), 1.0, cloth_gain, mane_gain),
    gloss=stack(gloss, EYE_MATERIAL[0], CLOTH_MATERIAL[0] * ones, np.full(nh, HAIR_MATERIAL[0])),
    shine=stack(shine, EYE_MATERIAL[1], CLOTH_MATERIAL[1] * ones, np.full(nh, HAIR_MATERIAL[1])),
    wrap=stack(wrap, EYE_MATERIAL[2], np.tile(CLOTH_MATERIAL[2], (nc, 1)), np.tile(HAIR_MATERIAL[2], (nh, 1))),
    tangent=stack(np.zeros((k, 3)), 0.0, np.zeros((nc, 3)), mane.tangent),
    cavity=stack(_cavity(asset), 0.0, np.zeros(nc), np.zeros(nh)),
    faces=np.concatenate(face_lists).astype(np.int32),
    face_mask=face_mask,
    two_sided=two_sided,
    face_class=face_class,
    landmarks=asset.landmarks.astype(np.int32),
    atlas=atlas.paint(person),
  )

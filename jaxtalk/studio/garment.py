"""Plain clothes for head-and-shoulders pictures, cut from the body's own surface so that they fit every morph.

The template (made once with the asset) is the upper body's surface with two scalar fields on it: height over the
neckline and distance down the arm. Dressing a person lays it on the person, smooths anatomy away, cuts the
neckline exactly along a level of the field and sews on a collar with thickness.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from jaxtalk.core import InputError
from jaxtalk.studio.collars import Loop, hood, polo, rib
from jaxtalk.studio.cutting import border_edges, clip, ordered_loop
from jaxtalk.studio.drape import averaging, even, fix, span
from jaxtalk.studio.mesh import SurfacePart, grid_faces, join, smoothstep, surface_part, unit, vertex_normals
from jaxtalk.studio.trims import Cloth, bib_and_straps, cords, placket

RINGS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class GarmentStyle:
  """Metres on the base mesh.

  Attributes:
    level: where the cloth is cut, above the crew neckline.
    thickness, looseness: of the cloth over the skin at the shoulders, and what is added over chest and arms.
  """

  level: float
  thickness: float = 0.004
  looseness: float = 0.012


GARMENT_STYLES = {
  "tshirt": GarmentStyle(level=-0.012),
  "polo": GarmentStyle(level=-0.006),
  "hoodie": GarmentStyle(level=-0.016, thickness=0.008, looseness=0.02),
  "sweater": GarmentStyle(level=-0.004, thickness=0.007, looseness=0.016),
  "dungarees": GarmentStyle(level=-0.01),
}


@dataclasses.dataclass(frozen=True)
class GarmentTemplate:
  """Arrays that lay a garment on any morph; indices are base mesh vertices until ``reindex``.

  Attributes:
    index: (G,) the body vertex under each template vertex.
    faces: (H, 3) triangles over the G template vertices.
    neck: (G,) metres (on the base mesh) above the plane of a crew neckline, negative below it.
    arm: (G,) distance past the shoulder joint as a share of the upper arm, signed: positive on the left arm.
    chest: (G,) bool, the breasts, which cloth spans instead of following.
    shoulders: (2, R) rings of body vertices around the left and right shoulder joint (their mean is the joint).
    body_faces: (F, 3) the body triangles under the template, for hiding.
    body_neck: (F,) highest ``neck`` of each of those triangles.
  """

  index: np.ndarray
  faces: np.ndarray
  neck: np.ndarray
  arm: np.ndarray
  chest: np.ndarray
  shoulders: np.ndarray
  body_faces: np.ndarray
  body_neck: np.ndarray

  def required_vertices(self) -> np.ndarray:
    """Sorted unique vertex indices that must survive packing."""
    return np.unique(np.concatenate([getattr(self, n).reshape(-1) for n in _INDEX_FIELDS]))

  def reindex(self, index_map: np.ndarray) -> GarmentTemplate:
    """The same template after packing; ``index_map[old]`` is the new index, negative if dropped (an InputError)."""
    changed = {name: index_map[getattr(self, name)] for name in _INDEX_FIELDS}
    for name, value in changed.items():
      if (value < 0).any():
        raise InputError(f"garment {name} needs vertices that the packed mesh drops; keep required_vertices()")
    return dataclasses.replace(self, **changed)

  def arrays(self) -> dict[str, np.ndarray]:
    """For an npz; ``GarmentTemplate(**arrays)`` is the way back."""
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


_INDEX_FIELDS = ("index", "shoulders", "body_faces")


def garment_template(vertices: np.ndarray, faces: np.ndarray, groups: dict[str, np.ndarray]) -> GarmentTemplate:
  """Builds the template from the base mesh; called once, when the asset is made.

  Args:
    vertices: (N, 3) base mesh, metres, Y up, face +Z.
    faces: (F, 3) triangles of the body.
    groups: vertex indices of "joint-l-shoulder", "joint-r-shoulder", "joint-l-elbow", "joint-neck".
  """
  neck = _neck_height(vertices, vertices[groups["joint-neck"]].mean(0))
  shoulder, elbow = (vertices[groups[f"joint-l-{n}"]].mean(0) for n in ("shoulder", "elbow"))
  mirrored = np.concatenate([np.abs(vertices[:, :1]), vertices[:, 1:]], axis=1)
  arm = _down_the_arm(mirrored, shoulder, elbow)
  level = vertices[:, 1] > shoulder[1] - 0.28
  inside = level & (arm < 0.78) & (neck < 0.055) & (mirrored[:, 0] < elbow[0])
  chosen = faces[inside[faces].all(1)]
  index, local = np.unique(chosen, return_inverse=True)
  local = local.reshape(-1, 3)
  chest = _breasts(vertices, chosen, shoulder)[index]
  sign = np.sign(vertices[:, 0])
  upper_body = np.unique(chosen)
  shoulders = []
  for side in (1, -1):
    gap = np.linalg.norm(vertices[upper_body] - shoulder * [side, 1, 1], axis=1)
    shoulders.append(upper_body[np.argsort(gap)[:24]])
  return GarmentTemplate(
    index=index,
    faces=local.astype(np.int32),
    neck=neck[index].astype(np.float32),
    arm=(arm * sign)[index].astype(np.float32),
    chest=chest,
    shoulders=np.stack(shoulders),
    body_faces=chosen,
    body_neck=neck[chosen].max(1).astype(np.float32),
  )


@dataclasses.dataclass(frozen=True)
class _Rings:
  """The rings that prolong waist and sleeves: R vertices after the template's G.

  Attributes:
    loops: the hems, template vertices in order; ``hem`` (R,): the hem vertex each one hangs from; ``ring`` (R,) 1 ..
      RINGS; ``faces``: between hems and rings, over all G + R vertices.
  """

  loops: list[np.ndarray]
  hem: np.ndarray
  ring: np.ndarray
  faces: np.ndarray


def _rings(template: GarmentTemplate) -> _Rings:
  loops = _hems(template.faces, template.neck < 0)
  rim = np.concatenate(loops)
  faces = _prolonged(loops, len(template.index))
  return _Rings(loops, np.tile(rim, RINGS), np.repeat(np.arange(RINGS) + 1, len(rim)), faces)


def _hems(faces: np.ndarray, below: np.ndarray) -> list[np.ndarray]:
  """The border loops of a mesh that run through vertices ``below`` only, each in the order of its faces' edges."""
  border = border_edges(faces)
  border = border[below[border].all(1)]
  following = {int(a): int(b) for a, b in border}
  loops = []
  while following:
    walk = [next(iter(following))]
    while walk[-1] in following:
      walk.append(following.pop(walk[-1]))
    loops.append(np.array(walk[:-1]))
  return loops


def _prolonged(hems: list[np.ndarray], count: int) -> np.ndarray:
  """Faces between the hems and their RINGS rings, which follow the ``count`` body vertices, ring by ring."""
  total, start, faces = sum(map(len, hems)), 0, []
  for loop in hems:
    rows = [loop] + [count + k * total + start + np.arange(len(loop)) for k in range(RINGS)]
    ids = np.stack(rows).reshape(-1)
    faces.append(ids[grid_faces(RINGS + 1, len(loop), wrap=True)])
    start += len(loop)
  return np.concatenate(faces)


def _down_the_arm(vertices: np.ndarray, shoulder: np.ndarray, elbow: np.ndarray) -> np.ndarray:
  """Share of the way from shoulder to elbow, 0 on the trunk: only what lies close to the bone is arm."""
  bone = elbow - shoulder
  along = (vertices - shoulder) @ bone / (bone @ bone)
  apart = np.linalg.norm(vertices - shoulder - along[:, None] * bone, axis=1)
  return np.maximum(along, 0.0) * smoothstep(0.082, 0.062, apart)


def _breasts(vertices: np.ndarray, faces: np.ndarray, shoulder: np.ndarray) -> np.ndarray:
  """(N,) bool: within 9 cm of either nipple of the base mesh, which is where its front is meshed most finely."""
  corners = vertices[faces]
  area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
  x, y, z = corners.mean(1).T
  front = (x > 0.03) & (x < 0.15) & (y < shoulder[1] - 0.05) & (y > shoulder[1] - 0.2) & (z > shoulder[2] + 0.05)
  tip = corners[np.flatnonzero(front)[np.argmin(area[front])]].mean(0)
  return np.minimum(*(np.linalg.norm(vertices - tip * [side, 1, 1], axis=1) for side in (1, -1))) < 0.09


def _neck_height(vertices: np.ndarray, joint: np.ndarray) -> np.ndarray:
  """Metres above a wide cone around the neck whose apex plane passes the notch of the collar bones and the root of the
  neck behind: positive on the neck, ever more negative over the shoulders."""
  axis = unit(np.array([0.0, 1.0, 0.58]))
  offset = vertices - (joint + [0.0, -0.0165, 0.0207])
  height = offset @ axis
  radius = np.linalg.norm(offset - height[:, None] * axis, axis=1)
  return height - 0.8 * np.maximum(radius - 0.05, 0.0)


@dataclasses.dataclass(frozen=True)
class Garment:
  """A dressed person.

  Attributes:
    part: the clothes.
    hidden: (F,) bool over the template's ``body_faces``: triangles that the clothes cover, not to be drawn.
  """

  part: SurfacePart
  hidden: np.ndarray


def dress(body_vertices: np.ndarray, template: GarmentTemplate, style: str, rng: np.random.Generator) -> Garment:
  """Clothes one person in the neutral pose.

  Args:
    body_vertices: (N, 3) the morphed person, indexed as the template is.
    style: a key of ``GARMENT_STYLES``.

  Raises:
    InputError: an unknown style.
  """
  if style not in GARMENT_STYLES:
    raise InputError(f"clothes {style!r} are unknown; choose one of {', '.join(GARMENT_STYLES)}")
  kind = GARMENT_STYLES[style]
  scale = _scale(body_vertices, template)
  skin = body_vertices[template.index].astype(np.float64)
  skin = lower_arms(skin, body_vertices, template)
  rings = _rings(template)
  cloth = _drape(skin, template, rings.loops, kind.thickness * scale, kind.looseness * scale)
  cloth = np.concatenate([cloth, _prolong(cloth, template, rings, scale)])
  index = np.concatenate([template.index, template.index[rings.hem]])
  neck = np.concatenate([template.neck, template.neck[rings.hem]])
  cut = clip(cloth, np.concatenate([template.faces, rings.faces]), neck - kind.level)
  normals = vertex_normals(cut.vertices, cut.faces)
  loop = ordered_loop(cut.faces, cut.on_cut)
  bind_index = index[cut.parents][:, [0, 1, 1]]
  bind_weight = np.stack([1 - cut.share, cut.share, 0 * cut.share], 1)
  around = np.arctan2(cut.vertices[:, 0], cut.vertices[:, 2] - cut.vertices[loop, 2].mean())
  body = surface_part(
    cut.vertices,
    cut.faces,
    normals=normals,
    coord=np.stack([around * 0.15, cut.vertices[:, 1]], 1),
    shade=1 - 0.3 * smoothstep(-0.02, 0.0, cut.field),
    two_sided=True,
    bind_index=bind_index,
    bind_weight=bind_weight,
  )
  edge = Loop.around(cut.vertices[loop], normals[loop], scale)
  pieces = [body] + [_bind(piece, body) for piece in _sewn(style, edge, body, scale, rng)]
  return Garment(part=join(pieces), hidden=template.body_neck < kind.level - 0.012)


def _sewn(style: str, edge: Loop, body: SurfacePart, scale: float, rng: np.random.Generator) -> list[SurfacePart]:
  """Collar and trimmings."""
  cloth = Cloth(body.vertices.astype(np.float64), body.faces, body.normals.astype(np.float64), scale)
  throat = edge.points[len(edge.points) // 2]
  if style == "polo":
    return polo(edge) + placket(cloth, throat, 0.1)
  if style == "hoodie":
    return hood(edge) + cords(cloth, throat, rng)
  if style == "dungarees":
    return rib(edge) + bib_and_straps(cloth, throat[1] - 0.075 * scale)
  return rib(edge, thick=style == "sweater")


def _bind(piece: SurfacePart, cloth: SurfacePart) -> SurfacePart:
  """Lets a sewn-on piece move as the cloth next to it."""
  near = cKDTree(cloth.vertices).query(piece.vertices)[1]
  return dataclasses.replace(piece, bind_index=cloth.bind_index[near], bind_weight=cloth.bind_weight[near])


def _scale(body_vertices: np.ndarray, template: GarmentTemplate) -> float:
  """Shoulder width relative to the base mesh's."""
  left, right = body_vertices[template.shoulders].mean(1)
  return float(np.linalg.norm(left - right) / 0.335)


def lower_arms(skin: np.ndarray, body_vertices: np.ndarray, template: GarmentTemplate) -> np.ndarray:
  """Lets the arms hang: turns them about the shoulder joints, more the farther past the joint."""
  out = skin.copy()
  for side, joint in zip((1, -1), body_vertices[template.shoulders].mean(1), strict=True):
    amount = smoothstep(-0.1, 0.35, template.arm * side) * ((template.arm * side) > 0)
    angle = -side * np.radians(30.0) * amount
    x, y = skin[:, 0] - joint[0], skin[:, 1] - joint[1]
    moved = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1) + joint[:2]
    out[:, :2] = np.where((angle != 0)[:, None], moved, out[:, :2])
  return out


def _drape(
  skin: np.ndarray, template: GarmentTemplate, hems: list[np.ndarray], thickness: float, loose: float
) -> np.ndarray:
  """Offsets the skin by ``thickness``, more (``loose``) below the shoulders, smooths, and keeps outside the skin."""
  faces = template.faces
  normals = vertex_normals(skin, faces)
  below = smoothstep(0.0, -0.16, template.neck)
  offset = thickness + loose * below
  average = averaging(faces, len(skin))
  smooth_offset = skin + normals * offset[:, None]
  for loop in hems:  # the waist is evened out along itself only, so that it does not creep up and in
    if np.abs(template.arm[loop]).mean() > 0.15:
      continue
    average = fix(average, loop)
    smooth_offset[loop] = even(smooth_offset[loop], 4)
  for _ in range(10):
    smooth_offset = 0.3 * smooth_offset + 0.7 * (average @ smooth_offset)
  gap = ((smooth_offset - skin) * normals).sum(1)
  cloth = smooth_offset + normals * np.maximum(0.6 * offset - gap, 0)[:, None]
  cloth = span(cloth, average, template.chest)
  for _ in range(4):
    cloth = 0.5 * cloth + 0.5 * (average @ cloth)
  return cloth


def _prolong(cloth: np.ndarray, template: GarmentTemplate, rings: _Rings, scale: float) -> np.ndarray:
  """Positions (R, 3) of the rings: straight down, out of the picture, evening out the hem on the way."""
  smooth = cloth.copy()
  for loop in rings.loops:
    ring = even(cloth[loop], 8)
    ring[:, 1] = ring[:, 1].mean()
    smooth[loop] = ring
  share = smoothstep(0.0, 3.0, rings.ring)[:, None]
  drop = 0.035 * scale * rings.ring ** (1 + 0.12 * rings.ring)
  down = np.stack([0 * drop, drop, 0 * drop], 1)
  return (1 - share) * cloth[rings.hem] + share * smooth[rings.hem] - down

"""The scalp as a chart: where hair may grow on any morph of the base mesh, and how far the head is from a point.

At build time rays from the middle of the skull hit the base mesh on a grid of directions; each hit is kept as three
vertex indices and barycentric weights. The chart therefore follows every age, ancestry and individual face. Chart
columns run around the head (0 is the front, increasing towards the subject's left), rows run from a pole near the crown
down to the neck.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from jaxtalk.core import InputError
from jaxtalk.studio.mesh import grid_faces, smoothstep, unit, vertex_normals

AROUND = 72
DOWN = 42
POLE_TILT = np.radians(20.0)
LAST_ROW = np.radians(128.0)
REFERENCE_RADIUS = 0.08

# The hairline as (degrees around from the front, degrees down from the pole): forehead, receding temple, sideburn in
# front of the ear, over and behind the ear, nape. Read off pictures of the base mesh.
HAIRLINE = (
  (0, 83), (12, 83.5), (24, 85), (34, 87.5), (42, 90.5), (48, 94), (54, 99), (59, 106), (64, 113), (69, 116), (74, 113),
  (79, 104), (84, 96.5), (92, 92.5), (100, 93.5), (108, 98.5), (114, 106), (120, 112), (130, 117), (150, 120),
  (166, 121.5), (180, 121),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ScalpRegion:
  """Arrays that find the scalp on any morph; indices are base mesh vertices until ``reindex``.

  Attributes:
    index, weight: (DOWN, AROUND, 3) vertices and barycentric weights of the chart.
    hairline: (AROUND,) chart row (fractional) at which hair ends.
    eyes: (2, E) vertices of the left and right eyeball.
    chin, ears: (1,) and (2,) vertices: tip of the chin, middle of each ear's outer rim.
    collide: (C,) body vertices from the face to the shoulders that hair must stay outside of.
    depth: (C,) degrees of arc that each of ``collide`` lies inside the hairline; negative on bare skin.
    collide_faces: (F, 3) triangles over all vertices, those touching ``collide``: for its normals.
  """

  index: np.ndarray
  weight: np.ndarray
  hairline: np.ndarray
  eyes: np.ndarray
  chin: np.ndarray
  ears: np.ndarray
  collide: np.ndarray
  depth: np.ndarray
  collide_faces: np.ndarray

  def required_vertices(self) -> np.ndarray:
    """Sorted unique vertex indices that must survive packing."""
    return np.unique(np.concatenate([getattr(self, n).reshape(-1) for n in _INDEX_FIELDS]))

  def reindex(self, index_map: np.ndarray) -> ScalpRegion:
    """The same region after packing; ``index_map[old]`` is the new index, negative if dropped (an InputError)."""
    changed = {name: index_map[getattr(self, name)] for name in _INDEX_FIELDS}
    for name, value in changed.items():
      if (value < 0).any():
        raise InputError(f"scalp {name} needs vertices that the packed mesh drops; keep required_vertices()")
    return dataclasses.replace(self, **changed)

  def arrays(self) -> dict[str, np.ndarray]:
    """For an npz; ``ScalpRegion(**arrays)`` is the way back."""
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


_INDEX_FIELDS = ("index", "eyes", "chin", "ears", "collide", "collide_faces")


def chart_directions() -> np.ndarray:
  """Unit ray directions (DOWN, AROUND, 3) of the chart."""
  around = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)[None]
  down = np.linspace(0, LAST_ROW, DOWN)[:, None]
  x = np.sin(down) * np.sin(around)
  y = np.cos(down) * np.ones_like(around)
  z = np.sin(down) * np.cos(around)
  c, s = np.cos(POLE_TILT), np.sin(POLE_TILT)
  return np.stack([x, c * y + s * z, c * z - s * y], -1)


def scalp_region(vertices: np.ndarray, faces: np.ndarray, groups: dict[str, np.ndarray]) -> ScalpRegion:
  """Builds the region from the base mesh; called once, when the asset is made.

  Args:
    vertices: (N, 3) the base mesh, any unit, Y up, face +Z.
    faces: (F, 3) triangles of the body.
    groups: vertex indices of "helper-l-eye" and "helper-r-eye".
  """
  eyes = np.stack([groups["helper-l-eye"], groups["helper-r-eye"]])
  eye = vertices[eyes].mean(1)
  unit_length = (eye[0, 0] - eye[1, 0]) / 0.0585
  middle = eye.mean(0)
  high = faces[(vertices[faces][:, :, 1] > middle[1] - 0.14 * unit_length).all(1)]
  used = np.unique(high)
  back = vertices[used, 2][np.abs(vertices[used, 1] - middle[1]) < 0.03 * unit_length].min()
  centre = np.array([0.0, middle[1] + 0.025 * unit_length, 0.5 * (back + middle[2] + 0.02 * unit_length)])
  index, weight = _first_hits(centre, chart_directions().reshape(-1, 3), vertices, high)
  table = np.array(HAIRLINE, float)
  around = np.linspace(0, 360, AROUND, endpoint=False)
  degrees = np.interp(np.minimum(around, 360 - around), table[:, 0], table[:, 1])
  near = np.unique(faces)
  near = near[(vertices[near, 1] > middle[1] - 0.34 * unit_length) & (np.abs(vertices[near, 0]) < 0.26 * unit_length)]
  front = near[(np.abs(vertices[near, 0]) < 0.004 * unit_length) & (vertices[near, 2] > middle[2])]
  profile = front[(vertices[front, 1] < middle[1] - 0.07 * unit_length)]
  profile = profile[vertices[profile, 1] > middle[1] - 0.125 * unit_length]
  depth = _depth(vertices[near] - centre, degrees)
  chart = (vertices[index] * weight[..., None]).sum(1)
  depth[cKDTree(chart).query(vertices[near])[0] > 0.008 * unit_length] = -90.0  # ears
  head = near[np.abs(vertices[near, 1] - middle[1] + 0.015 * unit_length) < 0.03 * unit_length]
  return ScalpRegion(
    index=index.reshape(DOWN, AROUND, 3),
    weight=weight.reshape(DOWN, AROUND, 3).astype(np.float32),
    hairline=(degrees / np.degrees(LAST_ROW) * (DOWN - 1)).astype(np.float32),
    eyes=eyes,
    chin=profile[[np.argmax(vertices[profile, 2])]],
    ears=head[[np.argmax(vertices[head, 0]), np.argmin(vertices[head, 0])]],
    collide=near,
    depth=depth.astype(np.float32),
    collide_faces=faces[np.isin(faces, near).all(1)],
  )


def _depth(offsets: np.ndarray, hairline: np.ndarray) -> np.ndarray:
  """Degrees from each direction up to the hairline (one value per chart column)."""
  c, s = np.cos(POLE_TILT), np.sin(POLE_TILT)
  x, y, z = unit(offsets).T
  pole, front = c * y - s * z, s * y + c * z
  column = (np.arctan2(x, front) % (2 * np.pi)) / (2 * np.pi) * AROUND
  return np.interp(column, np.arange(AROUND + 1), np.append(hairline, hairline[0])) - np.degrees(np.arccos(pole))


def under_hair(region: ScalpRegion, count: int) -> np.ndarray:
  """(count,) share of hair colour to mix into the skin of each vertex: 1 on the scalp, fading out over the hairline, so
  that short or thin hair never shows a bald head or a hard edge. ``count``: vertices of the mesh the region indexes."""
  out = np.zeros(count, np.float32)
  out[region.collide] = smoothstep(-3.0, 3.5, region.depth)
  return out


def _first_hits(
  origin: np.ndarray, directions: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Nearest triangle along each ray (Moeller-Trumbore 1997): its vertices (R, 3) and the hit's barycentrics (R, 3)."""
  a = vertices[faces[:, 0]]
  e1, e2 = vertices[faces[:, 1]] - a, vertices[faces[:, 2]] - a
  s = origin - a
  q = np.cross(s, e1)
  index, weight = np.zeros((len(directions), 3), np.int64), np.zeros((len(directions), 3))
  for row, ray in enumerate(directions):
    h = np.cross(ray, e2)
    det = (e1 * h).sum(1)
    det = np.where(np.abs(det) < 1e-15, 1e-15, det)
    u, v, t = (s * h).sum(1) / det, (q * ray).sum(1) / det, (q * e2).sum(1) / det
    hit = (u > -1e-6) & (v > -1e-6) & (u + v < 1 + 1e-6) & (t > 0)
    best = np.argmin(np.where(hit, t, np.inf))
    index[row], weight[row] = faces[best], (1 - u[best] - v[best], u[best], v[best])
  return index, weight


class Skull:
  """One person's scalp, evaluated: chart positions and normals, landmarks, signed distance.

  Attributes:
    points, normals: (DOWN, AROUND, 3).
    centre: (3,) middle of the skull; ``scale``: size relative to an adult's.
    eyes: (2, 3) left, right; ``chin`` (3,); ``ears`` (2, 3).
  """

  def __init__(self, vertices: np.ndarray, region: ScalpRegion):
    self.region = region
    points = (vertices[region.index].astype(np.float64) * region.weight[..., None]).sum(2)
    smooth = _smooth(points)
    self.normals = _chart_normals(smooth)
    sunken = ((points - smooth) * self.normals).sum(-1)
    beside_ears = np.abs(smooth[..., 0]) > 0.9 * np.abs(smooth[..., 0]).max()
    sunken = np.where(beside_ears, 0.0, np.clip(sunken, 0.0, 0.002))
    self.points = smooth + self.normals * sunken[..., None]
    rows = np.arange(DOWN)[:, None]
    grown = rows <= region.hairline[None]
    self.centre = 0.5 * (self.points[grown].max(0) + self.points[grown].min(0))
    self.scale = float(np.linalg.norm(self.points[grown] - self.centre, axis=1).mean() / REFERENCE_RADIUS)
    self.eyes = vertices[region.eyes].mean(1).astype(np.float64)
    self.chin = vertices[region.chin[0]].astype(np.float64)
    self.ears = vertices[region.ears].astype(np.float64)
    self._build_tree(vertices, rows <= region.hairline[None] + 1)

  def _build_tree(self, vertices: np.ndarray, kept: np.ndarray) -> None:
    """The obstacle: smooth chart points on the scalp, mesh vertices on face, ears, neck and shoulders."""
    body = vertex_normals(vertices.astype(np.float64), self.region.collide_faces)[self.region.collide]
    skin = vertices[self.region.collide].astype(np.float64)
    chart = self.points[kept]
    for ear in self.ears:  # hair slides over an ear as over a smooth bump, it does not follow its folds
      beside = (np.linalg.norm(skin - ear, axis=1) < 0.045 * self.scale) & (np.abs(skin[:, 0]) > 0.75 * abs(ear[0]))
      skin[beside, 0] *= 0.9
      body[beside] = unit((skin[beside] - self.centre) * [1.0, 0.4, 0.5])
    far = cKDTree(chart).query(skin, distance_upper_bound=0.006 * self.scale)[0] > 0.006 * self.scale
    self._positions = np.concatenate([chart, skin[far]])
    self._normals = np.concatenate([self.normals[kept], body[far]])
    self._tree = cKDTree(self._positions)

  def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance (L,) from the skin, positive outside, and the skin's outward normal (L, 3), both approximate."""
    gap, nearest = self._tree.query(points, k=4)
    weight = 1.0 / (gap**2 + (0.002 * self.scale) ** 2)
    weight /= weight.sum(1, keepdims=True)
    normal = unit((self._normals[nearest] * weight[..., None]).sum(1))
    offset = ((points[:, None] - self._positions[nearest]) * self._normals[nearest]).sum(-1)
    return (offset * weight).sum(1), normal

  def at(self, around: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and normals (L, 3) at chart coordinates: columns in [0, AROUND), rows in [0, DOWN - 1]."""
    c0 = np.floor(around).astype(int)
    r0 = np.clip(np.floor(row).astype(int), 0, DOWN - 2)
    fc, fr = (around - c0)[:, None], np.clip(row - r0, 0, 1)[:, None]

    def bilinear(grid: np.ndarray) -> np.ndarray:
      a, b = grid[r0, c0 % AROUND], grid[r0, (c0 + 1) % AROUND]
      c, d = grid[r0 + 1, c0 % AROUND], grid[r0 + 1, (c0 + 1) % AROUND]
      return (a * (1 - fc) + b * fc) * (1 - fr) + (c * (1 - fc) + d * fc) * fr

    return bilinear(self.points), unit(bilinear(self.normals))

  def hairline(self, around: np.ndarray) -> np.ndarray:
    """Chart row of the hairline at columns ``around``."""
    return np.interp(around, np.arange(AROUND + 1), np.append(self.region.hairline, self.region.hairline[0]))


def _smooth(points: np.ndarray) -> np.ndarray:
  """Takes the facets of the mesh (and the root of the ear) out of the chart; the pole stays one point."""
  for _ in range(3):
    around = 0.5 * points + 0.25 * (np.roll(points, 1, 1) + np.roll(points, -1, 1))
    points = around.copy()
    points[1:-1] = 0.5 * around[1:-1] + 0.25 * (around[:-2] + around[2:])
    points[0] = points[1].mean(0)
  return points


def _chart_normals(points: np.ndarray) -> np.ndarray:
  faces = grid_faces(DOWN, AROUND, wrap=True)
  normals = vertex_normals(points.reshape(-1, 3), faces).reshape(points.shape)
  normals[0] = unit(normals[1].mean(0))
  return normals

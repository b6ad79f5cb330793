"""Things that lie on the cloth: bib and straps, a button placket, cords."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from jaxtalk.studio.cutting import border_edges, clip
from jaxtalk.studio.mesh import SurfacePart, curve_tangents, grid_faces, smoothstep, surface_part, unit

FABRIC, TRIM, SECOND, BUTTON = 0.0, 1.0, 2.0, 3.0


class Cloth:
  """A dressed surface to lay things on: vertices (V, 3), faces (F, 3), normals (V, 3)."""

  def __init__(self, vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, scale: float):
    self.vertices, self.faces, self.normals, self.scale = vertices, faces, normals, scale
    self._front = np.flatnonzero(normals[:, 2] > 0.1)
    self._tree = cKDTree(vertices[self._front][:, :2])

  def front(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (L, 3) of the front at (x, y), and normals: inverse-distance mix of the tangent planes nearby."""
    gap, near = self._tree.query(xy, k=6)
    weight = 1 / (gap**2 + 1e-6)
    weight /= weight.sum(1, keepdims=True)
    near = self._front[near]
    normal = unit((self.normals[near] * weight[..., None]).sum(1))
    slope = self.normals[near]
    step = xy[:, None] - self.vertices[near][..., :2]
    height = self.vertices[near][..., 2] - (step * slope[..., :2]).sum(-1) / np.maximum(slope[..., 2], 0.2)
    return np.concatenate([xy, (height * weight).sum(1)[:, None]], 1), normal


def patch(cloth: Cloth, fields: list[np.ndarray], thickness: float, layer: float) -> SurfacePart:
  """The part of the cloth where all fields (V,) are negative, lifted by ``thickness`` and edged down to the cloth."""
  vertices, faces, rest = cloth.vertices, cloth.faces, np.stack(fields, 1)
  carried = np.concatenate([cloth.normals, rest], 1)
  for k in range(len(fields)):
    cut = clip(vertices, faces, carried[:, 3 + k])
    a, b = cut.parents.T
    carried = carried[a] * (1 - cut.share[:, None]) + carried[b] * cut.share[:, None]
    vertices, faces = cut.vertices, cut.faces
  normals = unit(carried[:, :3])
  lifted = vertices + thickness * normals
  border = border_edges(faces)
  n = len(vertices)
  rim, ends = np.unique(border, return_inverse=True)
  i, j = ends.reshape(-1, 2).T + n
  m = len(rim)
  sides = np.concatenate([np.stack([i, i + m, j], 1), np.stack([j, i + m, j + m], 1)])
  everything = np.concatenate([lifted, lifted[rim], vertices[rim] - 0.3 * thickness * normals[rim]])
  faces = np.concatenate([faces, sides])
  return surface_part(
    everything,
    faces,
    coord=everything[:, :2],
    shade=np.concatenate([np.ones(n), np.full(2 * m, 0.72)]),
    two_sided=True,
    layer=layer,
  )


def bib_and_straps(cloth: Cloth, top: float) -> list[SurfacePart]:
  """The upper part of dungarees; ``top``: height of the bib's upper edge."""
  x, y, _ = cloth.vertices.T
  s, thick = cloth.scale, 0.0045 * cloth.scale
  front = -cloth.normals[:, 2] - 0.02
  bib = patch(cloth, [np.abs(x) - 0.088 * s, y - top, front], thick, SECOND)
  band = patch(cloth, [np.abs(x) - 0.092 * s, y - top - 0.002 * s, top - 0.022 * s - y, front], 1.6 * thick, SECOND)
  parts = [bib, band]
  lower_end = np.where(cloth.normals[:, 2] > 0, top - 0.035 * s - y, -1.0)
  for side in (1, -1):
    middle = 0.066 * s + 0.12 * np.clip(y - top, 0, 0.15 * s)
    across = side * x - middle
    parts.append(patch(cloth, [across - 0.019 * s, -across - 0.019 * s, lower_end], 1.9 * thick, SECOND))
    spot, normal = cloth.front(np.array([[side * 0.066 * s, top - 0.012 * s]]))
    parts.append(button(spot[0] + normal[0] * 2.1 * thick, normal[0], 0.009 * s))
  return parts


def button(centre: np.ndarray, normal: np.ndarray, radius: float) -> SurfacePart:
  """A small dome."""
  angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
  a = unit(np.cross(normal, [0.0, 1.0, 0.0]))
  b = np.cross(normal, a)
  ring = np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
  levels = ((1.0, -0.3), (1.0, 0.15), (0.85, 0.3), (0.55, 0.2), (0.02, 0.2))
  vertices = np.concatenate([centre + radius * (r * ring + h * normal) for r, h in levels])
  return surface_part(vertices, grid_faces(len(levels), 14, wrap=True)[:, ::-1], layer=BUTTON, two_sided=True)


def placket(cloth: Cloth, top: np.ndarray, length: float) -> list[SurfacePart]:
  """The buttoned strip below a polo collar; ``top`` (3,): front of the neckline."""
  s = cloth.scale
  across, down = np.meshgrid(
    np.array([-0.015, -0.014, -0.005, 0.005, 0.014, 0.015]) * s, np.linspace(0.006, -length, 9) * s
  )
  xy = np.stack([across.reshape(-1) + top[0], down.reshape(-1) + top[1]], 1)
  points, normals = cloth.front(xy)
  height = np.tile([0.0, 0.0032, 0.0036, 0.0036, 0.0032, 0.0], 9) * s
  strip = surface_part(
    points + normals * height[:, None], grid_faces(9, 6), coord=xy, layer=FABRIC, two_sided=True,
    shade=np.tile([0.6, 0.92, 1.0, 1.0, 0.92, 0.6], 9),
  )  # fmt: skip
  parts = [strip]
  for share in (0.22, 0.62):
    spot, normal = cloth.front(np.array([[top[0], top[1] - share * length * s]]))
    parts.append(button(spot[0] + normal[0] * 0.0042 * s, normal[0], 0.0055 * s))
  return parts


def cords(cloth: Cloth, top: np.ndarray, rng: np.random.Generator) -> list[SurfacePart]:
  """Two hood cords that lie on the chest."""
  parts = []
  for side in (1, -1):
    length = rng.uniform(0.085, 0.11) * cloth.scale
    t = np.linspace(0, 1, 14)
    sway = rng.uniform(-0.012, 0.012) * cloth.scale
    x = top[0] + side * (0.021 + 0.004 * t) * cloth.scale + sway * t**2
    points, normals = cloth.front(np.stack([x, top[1] + 0.004 * cloth.scale - length * t], 1))
    radius = 0.0031 * cloth.scale * (1 + 0.55 * smoothstep(0.86, 0.9, t)) * np.where(t > 0.995, 0.3, 1.0)
    line = points + normals * (0.006 * cloth.scale * (1 - 0.4 * t))[:, None]
    parts.append(_tube(line, normals, radius))
  return parts


def _tube(line: np.ndarray, normals: np.ndarray, radius: np.ndarray) -> SurfacePart:
  side = unit(np.cross(curve_tangents(line), normals))
  angle = np.linspace(0, 2 * np.pi, 7, endpoint=False)
  ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * normals[:, None]
  vertices = line[:, None] + radius[:, None, None] * ring
  return surface_part(
    vertices.reshape(-1, 3),
    grid_faces(len(line), 7, wrap=True),
    normals=ring.reshape(-1, 3),
    layer=TRIM,
    two_sided=True,
  )

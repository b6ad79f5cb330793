"""Growing locks of hair over a skull and turning the curves into surfaces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from jaxtalk.studio.mesh import (
  SurfacePart,
  curve_tangents,
  grid_faces,
  repeat_faces,
  resample,
  smoothstep,
  surface_part,
  unit,
  vertex_normals,
)
from jaxtalk.studio.scalp import AROUND, Skull

STRANDS_PER_METRE = 700.0
GOLDEN = 0.5 * (np.sqrt(5.0) - 1.0)

Field = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def scatter_roots(
  skull: Skull, count: int, rng: np.random.Generator, *, start: float = 0.0, stop: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
  """Evenly spread chart coordinates (columns, rows) of ``count`` roots between two fractions of the way from the pole
  to the hairline: a sunflower spiral with jitter."""
  k = np.arange(count)
  fraction = np.sqrt(start**2 + (stop**2 - start**2) * (k + rng.uniform(0.2, 0.8, count)) / count)
  around = ((k * GOLDEN + rng.uniform(0, 1)) % 1.0) * AROUND + rng.normal(0, 0.25, count)
  around %= AROUND
  return around, fraction * skull.hairline(around)


def grow(
  skull: Skull,
  around: np.ndarray,
  rows: np.ndarray,
  field: Field,
  *,
  lift: np.ndarray,
  steps: int,
  root_depth: float = -0.002,
  hug: float = 0.6,
  inertia: float = 0.5,
  step: float = 0.007,
  rise: float = 0.025,
  spread: float = 0.6,
) -> np.ndarray:
  """Walks each lock along a direction field, outside the head.

  Args:
    field: (points relative to the skull's centre in adult metres (L, 3), skin normals (L, 3), arc length in adult
      metres) -> wanted directions (L, 3).
    lift: (L,) height in adult metres above the skin that a lock settles at, ``rise`` metres from its root.
    hug: how strongly a lock that is above its height is pulled back to it, where the skin faces up or sideways.
    step: metres (adult) per step.
    spread: how steeply a lock leaves the skin.

  Returns:
    (L, steps + 1, 3) curves.
  """
  points, normals = skull.at(around, rows)
  scale = skull.scale
  points = points + normals * (root_depth * scale)
  curves = [points]
  direction = unit(normals * spread + unit(field((points - skull.centre) / scale, normals, 0.0)))
  for k in range(steps):
    arc = (k + 1) * step
    wanted = unit(field((points - skull.centre) / scale, normals, arc))
    direction = unit(inertia * direction + (1 - inertia) * wanted)
    points = points + direction * (step * scale)
    gap, normals = skull.distance(points)
    height = lift * scale * (1 - np.exp(-arc / rise)) + 0.0005 * scale
    error = height - gap
    near = np.exp(-np.maximum(-error, 0) / (0.02 * scale)) * smoothstep(-0.65, -0.1, normals[:, 1])
    points = points + normals * np.where(error > 0, error, hug * near * error)[:, None]
    direction = unit(points - curves[-1])
    curves.append(points)
  return relax(np.stack(curves, axis=1))


def relax(curves: np.ndarray, times: int = 4) -> np.ndarray:
  """Takes kinks out of curves (L, S, 3); the root stays."""
  for _ in range(times):
    inner = 0.5 * curves[:, 1:-1] + 0.25 * (curves[:, :-2] + curves[:, 2:])
    curves = np.concatenate([curves[:, :1], inner, curves[:, -1:]], axis=1)
  return curves


def stop_at(curves: np.ndarray, length: np.ndarray, below: np.ndarray | None = None) -> np.ndarray:
  """Arc length (L,) at which each curve ends: its own ``length``, or where it first gets ``below`` (L, S) > 0."""
  steps = np.linalg.norm(np.diff(curves, axis=1), axis=2)
  arc = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(steps, axis=1)], axis=1)
  stop = np.minimum(length, arc[:, -1])
  if below is not None:
    crossed = below > 0
    first = np.where(crossed.any(1), np.argmax(crossed, axis=1), curves.shape[1] - 1)
    stop = np.minimum(stop, np.take_along_axis(arc, first[:, None], 1)[:, 0])
  return stop


def coil(
  guide: np.ndarray, radius: float, turns: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Winds guides (L, K, 3) into corkscrews of ``turns`` (L,): curves and their outward radial directions, (L, K, 3)."""
  count, points = guide.shape[:2]
  v = np.linspace(0, 1, points)
  tangent = curve_tangents(guide)
  helper = np.where(np.abs(tangent[..., 1:2]) > 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
  a = unit(np.cross(tangent, helper))
  b = np.cross(tangent, a)
  start = rng.uniform(0, 2 * np.pi, (count, 1))
  hand = np.where(rng.uniform(size=count) < 0.5, -1.0, 1.0)
  angle = start + hand[:, None] * 2 * np.pi * turns[:, None] * v[None]
  radial = np.cos(angle)[..., None] * a + np.sin(angle)[..., None] * b
  size = radius * rng.uniform(0.8, 1.2, (count, 1)) * (0.25 + 0.75 * smoothstep(0.0, 0.3, v))[None]
  return guide + size[..., None] * radial, radial


def mass_normal(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
  """Normal of the soft volume that hair makes: of a ball above the skull's centre, of an upright column below it."""
  d = points - centre
  d[..., 1] = np.where(d[..., 1] > 0, d[..., 1], 0.25 * d[..., 1])
  return unit(d)


def ribbons(
  curves: np.ndarray,
  width: np.ndarray,
  outward: np.ndarray,
  *,
  rng: np.random.Generator,
  shade: np.ndarray,
  tip: float = 0.08,
  root: float = 0.7,
  bulge: float = 0.35,
  across: int = 3,
  softness: float = 0.45,
) -> SurfacePart:
  """Tapered cards with a rounded cross-section.

  Args:
    curves: (L, K, 3) from root to tip.
    width: (L,) or (L, K) metres from the middle to the edge.
    outward: (L, K, 3) unit normals of the mass.
    shade: (L, K).
    tip, root: width at the ends as a share of ``width``.
    bulge: how far the edges lie below the middle, as a share of the half width.
    softness: share of ``outward`` in the shading normal, the rest is the lock's own roundness.
  """
  locks, along = curves.shape[:2]
  v = np.linspace(0, 1, along)
  profile = np.minimum(root + (1 - root) * smoothstep(0, 0.35, v), tip + (1 - tip) * smoothstep(1.0, 0.45, v))
  half = (width if width.ndim == 2 else width[:, None]) * profile
  tangent = curve_tangents(curves)
  side = unit(np.cross(outward, tangent))
  normal = unit(np.cross(tangent, side))
  u = np.linspace(-1, 1, across)
  depth = bulge * u**2
  vertices = (
    curves[:, :, None] + (half[..., None] * u)[..., None] * side[:, :, None]
    - (half[..., None] * depth)[..., None] * normal[:, :, None]
  )  # fmt: skip
  round_normal = unit(normal[:, :, None] + (1.1 * u)[None, None, :, None] * side[:, :, None])
  normals = unit((1 - softness) * round_normal + softness * outward[:, :, None])
  strands = rng.uniform(0, 1000, (locks, 1, 1)) + u * width.reshape(locks, -1).max(1)[:, None, None] * (
    STRANDS_PER_METRE
  )
  coord = np.stack(
    [np.broadcast_to(strands, vertices.shape[:3]), np.broadcast_to(v[None, :, None], vertices.shape[:3])], -1
  )
  own_tint = np.asarray(rng.uniform(-1, 1, locks))
  per_vertex = (locks, along, across)
  edge = 1 - 0.18 * u**2
  return surface_part(
    vertices.reshape(-1, 3),
    repeat_faces(grid_faces(along, across), locks, along * across),
    normals=normals.reshape(-1, 3),
    tangent=np.broadcast_to(tangent[:, :, None], vertices.shape).reshape(-1, 3),
    coord=coord.reshape(-1, 2),
    shade=(shade[..., None] * edge).reshape(-1),
    tint=np.broadcast_to(own_tint[:, None, None], per_vertex).reshape(-1),
    two_sided=True,
  )


def cap(
  skull: Skull,
  height: Callable[[np.ndarray, np.ndarray], np.ndarray],
  *,
  rings: int = 12,
  shade: float = 0.5,
  knots: np.ndarray | None = None,
) -> SurfacePart:
  """A closed hair-coloured surface under the locks; its edge sinks into the skin along the hairline.

  Args:
    height: (column (V,), fraction of the way to the hairline (V,)) -> height in adult metres.
    knots: (A, 3) points that the strands run to (the nearest one's); None: they run down from the crown.
  """
  fraction = np.linspace(0.0, 1.0, rings)[:, None] * np.ones((1, AROUND))
  around = np.ones((rings, 1)) * np.arange(AROUND)[None].astype(float)
  column, part = around.reshape(-1), fraction.reshape(-1)
  points, normals = skull.at(column, part * skull.hairline(column))
  lifted = height(column, part) * smoothstep(1.0, 0.88, part) - 0.0015 * smoothstep(0.9, 1.0, part)
  vertices = points + normals * (lifted * skull.scale)[:, None]
  if knots is None:
    tangent = np.cross(np.cross(normals, [0.0, -1.0, 0.02]), normals)
    turn = np.minimum(column, AROUND - column) / AROUND
  else:
    near = knots[np.argmin(np.linalg.norm(vertices[:, None] - knots, axis=2), axis=1)] - vertices
    tangent = near - normals * (near * normals).sum(1, keepdims=True)
    turn = np.arctan2(near[:, 1], near[:, 2]) / (2 * np.pi)
  return surface_part(
    vertices,
    grid_faces(rings, AROUND, wrap=True),
    normals=normals,
    tangent=tangent,
    coord=np.stack([turn * 0.5 * STRANDS_PER_METRE, part], 1),
    shade=shade,
  )


def knobbly_cap(
  skull: Skull,
  height: Callable[[np.ndarray, np.ndarray], np.ndarray],
  knob: float,
  rng: np.random.Generator,
  *,
  rings: int = 40,
  columns: int = 128,
) -> SurfacePart:
  """A mass of tight curls as one surface: rounded knobs with dark furrows between them (Worley 1996 cells).

  Args:
    height: as in ``cap``.
    knob: diameter of a knob, adult metres.
  """
  column = np.tile(np.arange(columns) * AROUND / columns, rings)
  part = np.repeat(np.linspace(0.0, 1.0, rings), columns)
  points, normals = skull.at(column, part * skull.hairline(column))
  base = height(column, part) * smoothstep(1.02, 0.93, part) - 0.0015 * smoothstep(0.95, 1.0, part)
  shell = points + normals * (base * skull.scale)[:, None]
  seeds = _spaced(shell, knob * skull.scale, rng)
  gap, which = cKDTree(seeds).query(shell, k=2)
  inside = np.clip(1 - gap[:, 0] / gap[:, 1], 0, 1)
  dome = np.sqrt(1 - (1 - smoothstep(0.0, 0.75, inside)) ** 2)
  size = rng.uniform(0.7, 1.25, len(seeds))[which[:, 0]]
  swell = 0.55 * knob * (dome * size - 0.5) * smoothstep(1.0, 0.93, part)
  vertices = shell + normals * (swell * skull.scale)[:, None]
  faces = grid_faces(rings, columns, wrap=True)
  own = vertex_normals(vertices, faces)
  about = shell - seeds[which[:, 0]]
  curl = rng.uniform(0, 1000, len(seeds))[which[:, 0]] + gap[:, 0] * STRANDS_PER_METRE
  return surface_part(
    vertices,
    faces,
    normals=unit(0.65 * own + 0.35 * mass_normal(vertices, skull.centre)),
    tangent=unit(np.cross(own, about) + 1e-4 * np.cross(own, [0.3, 1.0, 0.2])),
    coord=np.stack([curl, 0.4 + 0.5 * dome], 1),
    shade=(0.5 + 0.5 * dome) * (0.8 + 0.2 * size),
    tint=rng.uniform(-0.8, 0.8, len(seeds))[which[:, 0]],
  )


def _spaced(points: np.ndarray, spacing: float, rng: np.random.Generator) -> np.ndarray:
  """A random subset of the points, no two nearer than 0.8 ``spacing``."""
  tried = points[rng.permutation(len(points))[:2000]]
  neighbours = cKDTree(tried).query_ball_point(tried, 0.8 * spacing)
  free = np.ones(len(tried), bool)
  chosen = []
  for k in range(len(tried)):
    if free[k]:
      chosen.append(k)
      free[neighbours[k]] = False
  return tried[chosen] + rng.normal(0, 0.1 * spacing, (len(chosen), 3))


def edge_hairs(skull: Skull, count: int, field: Field, rng: np.random.Generator, *, length: float) -> SurfacePart:
  """Fine short hairs that dissolve the edge of the cap into the skin, from temple to temple."""
  around = ((np.arange(count) + rng.uniform(0, 1, count)) / count - 0.5) * 0.42 * AROUND
  sway = rng.normal(0, 0.3, (count, 3))
  around %= AROUND
  rows = skull.hairline(around) * (1 + rng.normal(0.0, 0.012, count))
  curves = grow(
    skull,
    around,
    rows,
    lambda q, n, arc: unit(field(q, n, arc)) + sway,
    lift=rng.uniform(0.0008, 0.003, count),
    steps=3,
    root_depth=-0.0005,
    step=length / 3,
    spread=0.25,
    rise=0.01,
  )
  curves = resample(curves, length * skull.scale * rng.uniform(0.5, 1.0, count), 3)
  width = 0.0011 * skull.scale * rng.uniform(0.7, 1.3, count)
  outward = mass_normal(curves, skull.centre)
  return ribbons(curves, width, outward, rng=rng, shade=np.full((count, 3), 0.75), tip=0.15, across=2, softness=0.9)


def cut_curves(
  skull: Skull,
  curves: np.ndarray,
  table: tuple[tuple[float, float], ...],
  length: np.ndarray,
  rng: np.random.Generator,
  *,
  jitter: float = 0.06,
  points: int = 7,
  shortest: float = 0.018,
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts locks as scissors would, at a height that depends on the direction from the head's axis.

  Args:
    table: rows (azimuth in degrees, 0 front to 180 back; height, 0 at the eyes, -1 at the chin, 1 as far above).
    length: (L,) longest length in adult metres.
    jitter: standard deviation of the height, same unit as the table.
    shortest: locks that would be shorter (adult metres) are left out.

  Returns:
    Curves (M, points, 3) and the rows (M,) of the locks that are left.
  """
  unit_height = skull.eyes[:, 1].mean() - skull.chin[1]
  level = (curves[..., 1] - skull.eyes[:, 1].mean()) / unit_height
  azimuth = np.degrees(np.abs(np.arctan2(curves[..., 0], curves[..., 2] - skull.centre[2])))
  rows = np.array(table, float)
  wanted = np.interp(azimuth, rows[:, 0], rows[:, 1]) + rng.normal(0, jitter, len(curves))[:, None]
  stops = stop_at(curves, length * skull.scale, wanted - level)
  kept = np.flatnonzero(stops > shortest * skull.scale)
  return resample(curves[kept], stops[kept], points), kept

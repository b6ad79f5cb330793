"""What is sewn to the cut of a neckline: ribbed bands, a folded polo collar, a hood."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.studio.mesh import SurfacePart, grid_faces, smoothstep, surface_part, unit

SEGMENTS = 96


@dataclasses.dataclass(frozen=True)
class Loop:
  """A smooth closed neckline of SEGMENTS points, from the nape over the subject's right side and the front (the middle
  of the list) back to the nape.

  Attributes:
    points: (M, 3); ``up`` (M, 3) along the cloth towards the neck; ``out`` (M, 3) away from the skin;
    angle: (M,) radians from the front; ``scale``: size of the person; ``length``: (M,) metres along the loop.
  """

  points: np.ndarray
  up: np.ndarray
  out: np.ndarray
  angle: np.ndarray
  scale: float
  length: np.ndarray

  @classmethod
  def around(cls, points: np.ndarray, normals: np.ndarray, scale: float) -> Loop:
    """From the raw cut: resampled evenly in angle about its middle, and smoothed."""
    middle = 0.5 * (points.max(0) + points.min(0))
    angle = np.arctan2(points[:, 0] - middle[0], points[:, 2] - middle[2])
    order = np.argsort(angle)
    grid = np.linspace(-np.pi, np.pi, SEGMENTS, endpoint=False)

    def periodic(values: np.ndarray) -> np.ndarray:
      columns = [np.interp(grid, angle[order], values[order, d], period=2 * np.pi) for d in range(3)]
      out = np.stack(columns, 1)
      for _ in range(14):
        out = 0.5 * out + 0.25 * (np.roll(out, 1, 0) + np.roll(out, -1, 0))
      return out

    curve, out = periodic(points), unit(periodic(normals))
    along = unit(np.roll(curve, -1, 0) - np.roll(curve, 1, 0))
    up = unit(np.cross(out, along))
    up = np.where((up[:, 1] < 0)[:, None], -up, up)
    steps = np.linalg.norm(np.roll(curve, -1, 0) - curve, axis=1)
    return cls(curve, up, out, grid, scale, np.cumsum(steps) - steps)


# Cross-sections as (up, out) millimetres, from under the cloth over the outside to the inside of the neck.
_BAND = ((-17, 0.2), (-16.5, 1.9), (-13, 2.9), (-6, 3.3), (0, 3.0), (2.2, 1.6), (2.4, -0.4), (0, -2.5), (-6, -4.0))
_THICK = ((-22, 0), (-21, 3.4), (-15, 5.6), (-5, 6.4), (3, 5.6), (7, 3.2), (7.4, 0), (4, -3.0), (-6, -6.0))


def rib(loop: Loop, *, thick: bool = False) -> list[SurfacePart]:
  """A ribbed band: a flat one of a T-shirt or the thick one of a sweater."""
  profile = np.array(_THICK if thick else _BAND) * 0.001
  ribs = 1 - (0.2 if thick else 0.1) * (np.arange(len(loop.points)) % 2)
  return [sweep(loop, profile, layer=1.0, shade=np.repeat(ribs, len(profile)))]


def polo(loop: Loop) -> list[SurfacePart]:
  """A folded collar, open in front, with points."""
  gap = 0.10
  ends = np.exp(-(((np.abs(loop.angle) - gap) / 0.38) ** 2))
  leaf = 24 + 16 * ends
  flat = smoothstep(0.0, 0.7, np.abs(loop.angle) - gap)
  stand = 4 + 11 * flat
  zero = np.zeros_like(leaf)
  rows = [
    (-4 + zero, -3.5 + zero), (stand * 0.6, -3.4 + zero), (stand, -2.0 + zero), (stand + 1.8, 0.6 + zero),
    (stand + 0.6, 3.6 + zero), (0.35 * stand, 6.6 + zero), (-0.45 * leaf, 7.4 - 1.5 * ends), (-leaf, 5.6 - 2 * ends),
    (-leaf + 0.5, 4.0 - 2 * ends), (-0.4 * leaf, 4.4 - 1.0 * ends),
  ]  # fmt: skip
  profile = np.stack([np.stack(r, -1) for r in rows[::-1]], 1) * 0.001
  dark = np.array([0.5, 0.7, 1, 1, 1, 1, 1, 0.85, 0.7, 0.6])
  keep = np.abs(loop.angle) > gap
  # The list runs over the front, so the open part is in its middle: start behind it.
  order = np.roll(np.arange(len(keep)), -int(np.flatnonzero(keep & (loop.angle > 0))[0]))
  order = order[keep[order]]
  return [sweep(loop, profile, layer=1.0, shade=np.tile(dark, len(order)), rows=order)]


def hood(loop: Loop) -> list[SurfacePart]:
  """A hood that lies on the back, and its rolled edge around the neck."""
  back = smoothstep(0.35, 1.0, np.abs(loop.angle) / np.pi)
  thick, drop, rise = 9 + 26 * back, 16 + 62 * back**1.5, 8 + 13 * back
  turn = np.linspace(0, 1, 13)
  profiles = []
  for t, d, r in zip(thick, drop, rise, strict=True):
    up = np.concatenate([[-6, r * 0.2, r * 0.75, r], np.zeros(9)])
    low = np.clip((turn[4:] - turn[4]) / (1 - turn[4]), 0, 1)
    up[4:] = r * np.cos(np.pi * low / 2) - d * np.sin(np.pi * low / 2) ** 2
    out = np.concatenate([[-4, -3.5, -2, 0.2 * t], t * np.sin(np.pi * (0.25 + 0.75 * low)) ** 0.8])
    profiles.append(np.stack([up, out], 1))
  profile = np.array(profiles)[:, ::-1] * 0.001
  dark = np.concatenate([[0.55, 0.7, 0.85, 0.95], np.ones(5), [0.95, 0.75, 0.55, 0.45]])
  return [sweep(loop, profile, layer=0.0, shade=np.tile(dark, len(loop.points)))]


def sweep(
  loop: Loop,
  profile: np.ndarray,
  *,
  layer: float,
  shade: np.ndarray | float = 1.0,
  rows: np.ndarray | None = None,
) -> SurfacePart:
  """A profile (P, 2) or (M, P, 2) of (up, out) metres carried around the loop, or along its points ``rows`` only."""
  profile = np.broadcast_to(profile, (len(loop.points),) + profile.shape[-2:]) * loop.scale
  vertices = loop.points[:, None] + profile[..., :1] * loop.up[:, None] + profile[..., 1:] * loop.out[:, None]
  coord = np.stack([np.broadcast_to(loop.length[:, None], profile.shape[:2]), profile[..., 0]], -1)
  count = profile.shape[1]
  if rows is None:
    faces = np.concatenate([grid_faces(len(vertices), count), _closing(len(vertices), count)])
  else:
    vertices, coord = vertices[rows], coord[rows]
    faces = grid_faces(len(vertices), count)
  return surface_part(
    vertices.reshape(-1, 3), faces, coord=coord.reshape(-1, 2), two_sided=True, layer=layer, shade=shade
  )


def _closing(rows: int, columns: int) -> np.ndarray:
  """Faces that join the last row to the first."""
  faces = grid_faces(2, columns)
  return np.where(faces < columns, faces + (rows - 1) * columns, faces - columns)

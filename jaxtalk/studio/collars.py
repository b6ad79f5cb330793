"""Collars: profiles swept along the cut of a neckline."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.studio.mesh import SurfacePart, grid_faces, surface_part, unit

SEGMENTS = 96


@dataclasses.dataclass(frozen=True)
class Loop:
  """A smooth closed neckline, SEGMENTS points starting at the front and going to the subject's left.

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
    middle = points.mean(0)
    angle = np.arctan2(points[:, 0] - middle[0], points[:, 2] - middle[2])
    order = np.argsort(angle)
    grid = np.linspace(-np.pi, np.pi, SEGMENTS, endpoint=False)

    def periodic(values: np.ndarray) -> np.ndarray:
      columns = [np.interp(grid, angle[order], values[order, d], period=2 * np.pi) for d in range(3)]
      out = np.stack(columns, 1)
      for _ in range(6):
        out = 0.5 * out + 0.25 * (np.roll(out, 1, 0) + np.roll(out, -1, 0))
      return out

    curve, out = periodic(points), unit(periodic(normals))
    along = unit(np.roll(curve, -1, 0) - np.roll(curve, 1, 0))
    up = unit(np.cross(out, along))
    up = np.where((up[:, 1] < 0)[:, None], -up, up)
    steps = np.linalg.norm(np.roll(curve, -1, 0) - curve, axis=1)
    return cls(curve, up, out, grid, scale, np.cumsum(steps) - steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collar:
  """One kind of neckline.

  Attributes:
    level: where the cloth is cut, metres above the crew neckline.
    thickness, looseness: metres of cloth over the skin, at the shoulders and added on the chest.
    kind: "rib", "polo", "hood" or "roll".
  """

  level: float
  thickness: float = 0.004
  looseness: float = 0.012
  kind: str = "rib"


COLLARS = {
  "tshirt": Collar(level=-0.012),
  "polo": Collar(level=-0.004, kind="polo"),
  "hoodie": Collar(level=-0.012, thickness=0.008, looseness=0.02, kind="hood"),
  "sweater": Collar(level=-0.002, thickness=0.007, looseness=0.016),
  "rollneck": Collar(level=0.004, thickness=0.007, looseness=0.016, kind="roll"),
  "dungarees": Collar(level=-0.01),
}

# Cross-sections as (up, out) millimetres, going around from under the cloth over the outside to the inside of the neck.
_RIB = ((-17, 0.2), (-16.5, 1.9), (-13, 2.9), (-6, 3.3), (0, 3.0), (2.2, 1.6), (2.4, -0.4), (0, -2.5), (-6, -4.0))


def sew(collar: Collar, loop: Loop, rng: np.random.Generator) -> list[SurfacePart]:
  """The pieces of a collar."""
  return [sweep(loop, np.array(_RIB) * 0.001, layer=1.0)]


def sweep(loop: Loop, profile: np.ndarray, *, layer: float, shade: np.ndarray | float = 1.0) -> SurfacePart:
  """A profile (P, 2) or (M, P, 2) of (up, out) metres carried around the loop."""
  profile = np.broadcast_to(profile, (len(loop.points),) + profile.shape[-2:]) * loop.scale
  vertices = (
    loop.points[:, None] + profile[..., :1] * loop.up[:, None] + profile[..., 1:] * loop.out[:, None]
  )  # fmt: skip
  count = profile.shape[1]
  coord = np.stack([np.broadcast_to(loop.length[:, None], profile.shape[:2]), profile[..., 0]], -1)
  return surface_part(
    vertices.reshape(-1, 3),
    np.concatenate([grid_faces(len(vertices), count), _closing(len(vertices), count)]),
    coord=coord.reshape(-1, 2),
    two_sided=True,
    layer=layer,
    shade=shade,
  )


def _closing(rows: int, columns: int) -> np.ndarray:
  """Faces that join the last row to the first."""
  faces = grid_faces(2, columns)
  return np.where(faces < columns, faces + (rows - 1) * columns, faces - columns)

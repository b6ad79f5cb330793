"""Hair that falls from the crown or a parting: crops, bobs, long hair; and tight coils that stand off the head."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.studio.locks import cap, coil, cut_curves, grow, mass_normal, ribbons, scatter_roots
from jaxtalk.studio.mesh import SurfacePart, curve_tangents, smoothstep, unit
from jaxtalk.studio.scalp import AROUND, Skull

CROWN = np.array([0.0, 0.085, -0.05])
DOWN = np.array([0.0, -1.0, 0.0])
STEP = 0.007
Table = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fall:
  """Lengths in metres on an adult head; they scale with the person's skull.

  Attributes:
    cut: see ``locks.cut_curves``.
    length: longest lock.
    part: offset of the parting from the middle (+ is the subject's left); None combs from the crown.
    lift: height of the outermost layer over the skin.
    width: half width of a lock.
    locks, points: how many locks, and points along each.
    jitter: irregularity of the cut, in units of ``cut``.
    gravity: share of straight down in the direction of growth away from the root.
    swirl: turn of the whorl at the crown.
    back: how far hair is combed back from a parting.
    messy: each lock's own direction.
    hug: how closely locks follow the head.
    wave, wave_length: amplitude and period of waves along a lock.
    spread: how much locks grow away from the skin at the root (volume at the crown).
  """

  cut: Table
  length: float
  part: float | None = None
  lift: float = 0.012
  width: float = 0.009
  locks: int = 300
  points: int = 7
  jitter: float = 0.06
  gravity: float = 0.5
  swirl: float = 0.25
  back: float = 0.25
  messy: float = 0.12
  hug: float = 0.6
  bulge: float = 0.35
  tip: float = 0.08
  wave: float = 0.0
  wave_length: float = 0.05
  spread: float = 0.6


def comb(fall: Fall, side: np.ndarray, sway: np.ndarray):
  """The direction field of ``Fall`` for locks on ``side`` (L,) of the parting; ``sway`` (L, 3) is each lock's own."""

  def field(q: np.ndarray, normals: np.ndarray, arc: float) -> np.ndarray:
    radial = q - CROWN
    whorl = unit(radial - normals * (radial * normals).sum(1, keepdims=True))
    whorl = unit(whorl + fall.swirl * np.cross(normals, whorl))
    if fall.part is not None:
      aside = np.stack([side, np.full_like(side, -0.2), np.full_like(side, -fall.back)], 1)
      ahead = smoothstep(-0.06, 0.0, q[:, 2])[:, None]
      whorl = unit(ahead * unit(aside) + (1 - ahead) * whorl)
    fallen = fall.gravity * smoothstep(0.0, 0.09, np.full(len(q), arc))[:, None]
    wanted = (1 - fallen) * whorl + fallen * DOWN + fall.messy * sway
    return wanted - 0.8 * normals * np.minimum((wanted * normals).sum(1, keepdims=True), 0)

  return field


def grow_fall(skull: Skull, fall: Fall, rng: np.random.Generator) -> list[SurfacePart]:
  """Cap and locks of a ``Fall``."""
  around, rows = scatter_roots(skull, fall.locks, rng)
  count = len(around)
  roots = (skull.at(around, rows)[0] - skull.centre) / skull.scale
  side = np.where(roots[:, 0] >= (fall.part or 0.0), 1.0, -1.0)
  lift = fall.lift * rng.uniform(0.55, 1.1, count)
  field = comb(fall, side, rng.normal(0, 1, (count, 3)))
  curves = grow(skull, around, rows, field, lift=lift, steps=int(fall.length / STEP) + 1, hug=fall.hug)
  length = fall.length * rng.uniform(0.8, 1.0, count)
  curves = cut_curves(skull, curves, fall.cut, length, rng, jitter=fall.jitter, points=fall.points)
  curves = wavy(curves, fall, skull, rng)
  outward = mass_normal(curves, skull.centre)
  v = np.linspace(0, 1, fall.points)
  height = (lift / fall.lift - 0.55) / 0.55
  shade = (0.72 + 0.28 * height)[:, None] * (0.72 + 0.28 * smoothstep(0.0, 0.4, v))[None]
  width = fall.width * skull.scale * rng.uniform(0.8, 1.25, count)
  locks = ribbons(curves, width, outward, rng=rng, shade=shade, bulge=fall.bulge, tip=fall.tip)
  under = cap(skull, lambda column, part: np.full_like(part, 0.45 * fall.lift))
  return [under, locks]


def wavy(curves: np.ndarray, fall: Fall, skull: Skull, rng: np.random.Generator) -> np.ndarray:
  """Waves across the locks, growing from the root."""
  if not fall.wave:
    return curves
  steps = np.linalg.norm(np.diff(curves, axis=1), axis=2)
  arc = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(steps, axis=1)], axis=1) / skull.scale
  side = unit(np.cross(mass_normal(curves, skull.centre), curve_tangents(curves)))
  phase = rng.uniform(0, 2 * np.pi, len(curves))[:, None] * 0.4 + 2 * np.pi * arc / fall.wave_length
  return curves + (fall.wave * skull.scale * smoothstep(0.01, 0.06, arc) * np.sin(phase))[..., None] * side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coils:
  """Corkscrew curls that stand off the scalp.

  Attributes:
    length: of the curl's axis, metres on an adult head; ``radius`` of the curl; ``turns`` in it.
    width: half width of the ribbon.
    droop: how far gravity bends the axis; ``stray``: each curl's own direction.
    locks, points: how many curls, points along each.
  """

  length: float
  radius: float
  turns: float
  width: float
  droop: float = 0.3
  stray: float = 0.35
  locks: int = 170
  points: int = 16


def grow_coils(skull: Skull, coils: Coils, rng: np.random.Generator) -> list[SurfacePart]:
  """A dark bumpy cap and the curls on it."""
  around, rows = scatter_roots(skull, coils.locks, rng, stop=0.99)
  points, normals = skull.at(around, rows)
  count = len(around)
  hairline = rows / skull.hairline(around)
  reach = coils.length * (1 - 0.45 * smoothstep(0.75, 1.0, hairline)) * rng.uniform(0.75, 1.1, count)
  direction = unit(normals + coils.stray * rng.normal(0, 0.5, (count, 3)))
  v = np.linspace(0, 1, coils.points)
  axis = direction[:, None] * v[None, :, None] + coils.droop * (v**2)[None, :, None] * DOWN
  guide = points[:, None] + axis * (reach * skull.scale)[:, None, None]
  curves, outward = coil(guide, coils.radius * skull.scale, coils.turns, rng)
  gap, push = skull.distance(curves.reshape(-1, 3))
  inside = np.maximum(0.001 * skull.scale - gap, 0)[:, None] * push
  curves = curves + inside.reshape(curves.shape)
  shade = np.broadcast_to(0.5 + 0.5 * smoothstep(0.0, 0.8, v), (count, coils.points))
  soft = unit(0.6 * outward + 0.7 * mass_normal(curves, skull.centre))
  width = coils.width * skull.scale * rng.uniform(0.85, 1.2, count)
  locks = ribbons(curves, width, soft, rng=rng, shade=shade, root=0.9, tip=0.35, bulge=0.3, softness=0.5)
  bumps = rng.uniform(0, 2 * np.pi, 2)

  def height(column: np.ndarray, part: np.ndarray) -> np.ndarray:
    wavy = np.sin(column * 2 * np.pi / AROUND * 17 + bumps[0]) * np.sin(part * 40 + bumps[1])
    return coils.length * (0.5 + 0.08 * wavy)

  return [cap(skull, height, shade=0.45, rings=14), locks]

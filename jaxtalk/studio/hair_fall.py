"""Hair that falls from the crown or a parting: crops, bobs, long hair; and tight coils that stand off the head."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.studio.locks import (
  cap,
  coil,
  cut_curves,
  grow,
  knobbly_cap,
  mass_normal,
  ribbons,
  scatter_roots,
)
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
    layered: 0 where locks all over lie equally high; towards 1 the locks rooted at the parting or the crown cover the
      others, as long hair does.
    behind: how strongly hair beside the neck falls behind the shoulders.
    tuck: how strongly ends below the ears turn in towards the neck.
    curl, pitch: radius of corkscrews along the locks, and metres per turn; 0 is straight.
    wave, wave_length: amplitude and period of waves along a lock.
    spread, rise: how steeply locks leave the skin, and over what length they reach their height.
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
  layered: float = 0.0
  behind: float = 0.0
  tuck: float = 0.0
  curl: float = 0.0
  pitch: float = 0.022
  wave: float = 0.0
  wave_length: float = 0.05
  spread: float = 0.6
  rise: float = 0.025


def comb(fall: Fall, side: np.ndarray, sway: np.ndarray):
  """The direction field of ``Fall`` for locks on ``side`` (L,) of the parting; ``sway`` (L, 3) is each lock's own."""

  def field(q: np.ndarray, normals: np.ndarray, arc: float) -> np.ndarray:
    radial = q - CROWN
    whorl = unit(radial - normals * (radial * normals).sum(1, keepdims=True))
    whorl = unit(whorl + fall.swirl * np.cross(normals, whorl))
    if fall.part is not None:
      fan = fall.back + 0.9 * smoothstep(0.06, -0.03, q[:, 2])  # or hair leaves a gap between temple and crown
      aside = np.stack([side, np.full_like(side, -0.2), -fan], 1)
      ahead = smoothstep(-0.06, 0.0, q[:, 2])[:, None]
      whorl = unit(ahead * unit(aside) + (1 - ahead) * whorl)
    fallen = fall.gravity * smoothstep(0.0, 0.09, np.full(len(q), arc))[:, None]
    wanted = (1 - fallen) * whorl + fallen * DOWN + fall.messy * sway
    inward = np.stack([-q[:, 0], np.zeros(len(q)), -q[:, 2] - 0.02], 1) * smoothstep(-0.045, -0.1, q[:, 1])[:, None]
    if fall.part is not None:  # out of the eyes
      before = (
        smoothstep(0.03, 0.055, q[:, 2]) * smoothstep(0.062, 0.035, np.abs(q[:, 0])) * smoothstep(0.05, 0.02, q[:, 1])
      )
      wanted[:, 0] += 1.5 * side * before
    back = fall.behind * smoothstep(-0.03, -0.09, q[:, 1]) * smoothstep(0.05, 0.02, q[:, 2])
    wanted[:, 2] -= back
    wanted = wanted + fall.tuck * inward / 0.09
    return wanted - 0.8 * normals * np.minimum((wanted * normals).sum(1, keepdims=True), 0)

  return field


def _from_top(roots: np.ndarray, fall: Fall) -> np.ndarray:
  """Metres from each root (L, 3) to the line where the hair divides: the parting and, behind it, the crown."""
  crown = np.linalg.norm(roots - CROWN, axis=1)
  if fall.part is None:
    return crown
  parting = np.hypot(roots[:, 0] - fall.part, np.minimum(roots[:, 2] - CROWN[2], 0))
  return np.where(roots[:, 1] > 0, np.minimum(crown, parting), crown)


def _roots(skull: Skull, fall: Fall, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Chart columns and rows of the roots, and where they are; ``layered`` puts more of them along the dividing line."""
  extra = int(0.55 * fall.layered * fall.locks)
  around, rows = scatter_roots(skull, fall.locks - extra, rng)
  more, more_rows = scatter_roots(skull, 3000, rng, stop=1.0 if fall.part is not None else 0.55)
  spots = (skull.at(more, more_rows)[0] - skull.centre) / skull.scale
  reach = 0.03 if fall.part is not None else 0.045
  near = rng.permutation(np.flatnonzero(_from_top(spots, fall) < reach))[:extra]
  around, rows = np.concatenate([around, more[near]]), np.concatenate([rows, more_rows[near]])
  return around, rows, (skull.at(around, rows)[0] - skull.centre) / skull.scale


def grow_fall(skull: Skull, fall: Fall, rng: np.random.Generator) -> list[SurfacePart]:
  """Cap and locks of a ``Fall``."""
  curves, lift = _fallen(skull, fall, rng)
  curves = wavy(curves, fall, skull, rng)
  outward = mass_normal(curves, skull.centre)
  if fall.curl:
    curves, outward = curled(curves, fall, skull, rng)
  outer = np.clip((lift / fall.lift - 0.45) / 0.6, 0, 1)
  ripening = smoothstep(0.0, 0.4, np.linspace(0, 1, fall.points))
  shade = (0.84 + 0.16 * outer)[:, None] * (0.72 + 0.28 * ripening)[None]
  width = fall.width * skull.scale * rng.uniform(0.8, 1.25, len(curves))
  root = 0.7 - 0.3 * fall.layered
  locks = ribbons(curves, width, outward, rng=rng, shade=shade, bulge=fall.bulge, tip=fall.tip, root=root)

  def height(column: np.ndarray, part: np.ndarray) -> np.ndarray:
    return np.full_like(part, 0.45 * fall.lift)

  if fall.curl:
    return [knobbly_cap(skull, height, 2.4 * fall.curl, rng, rings=26, columns=AROUND), locks]
  return [cap(skull, height), locks]


def _fallen(skull: Skull, fall: Fall, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Locks grown and cut: curves (L, points, 3) and the height (L,) that each settled at."""
  around, rows, roots = _roots(skull, fall, rng)
  count = len(around)
  side = np.where(roots[:, 0] >= (fall.part or 0.0), 1.0, -1.0)
  lower = fall.layered * smoothstep(0.01, 0.075, _from_top(roots, fall))
  lift = fall.lift * (1 - 0.65 * lower) * rng.uniform(0.6 + 0.2 * fall.layered, 1.1, count)
  field = comb(fall, side, rng.normal(0, 1, (count, 3)))
  steps = int(np.clip(fall.length / STEP, 4, 36))
  curves = grow(
    skull, around, rows, field, lift=lift, steps=steps, step=fall.length / steps, hug=fall.hug, spread=fall.spread,
    rise=fall.rise,
  )  # fmt: skip
  length = fall.length * rng.uniform(0.8, 1.0, count)
  curves, kept = cut_curves(skull, curves, fall.cut, length, rng, jitter=fall.jitter, points=fall.points)
  return curves, lift[kept]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Close:
  """Hair cropped to ``height`` metres: a soft mottled surface without locks."""

  height: float


def grow_close(skull: Skull, close: Close, rng: np.random.Generator) -> list[SurfacePart]:
  """The cap alone, finer than under locks."""
  part = cap(skull, lambda column, part: np.full_like(part, close.height), rings=24, shade=0.85)
  return [dataclasses.replace(part, tint=rng.uniform(-0.6, 0.6, len(part.vertices)).astype(np.float32))]


def wavy(curves: np.ndarray, fall: Fall, skull: Skull, rng: np.random.Generator) -> np.ndarray:
  """Waves across the locks, growing from the root."""
  if not fall.wave:
    return curves
  steps = np.linalg.norm(np.diff(curves, axis=1), axis=2)
  arc = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(steps, axis=1)], axis=1) / skull.scale
  side = unit(np.cross(mass_normal(curves, skull.centre), curve_tangents(curves)))
  phase = rng.uniform(0, 2 * np.pi, len(curves))[:, None] * 0.4 + 2 * np.pi * arc / fall.wave_length
  return curves + (fall.wave * skull.scale * smoothstep(0.01, 0.06, arc) * np.sin(phase))[..., None] * side


def curled(curves: np.ndarray, fall: Fall, skull: Skull, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Corkscrews along the locks, kept outside the head, and the normals of their mass."""
  length = np.linalg.norm(np.diff(curves, axis=1), axis=2).sum(1) / skull.scale
  curves, radial = coil(curves, fall.curl * skull.scale, length / fall.pitch, rng)
  gap, push = skull.distance(curves.reshape(-1, 3))
  curves = curves + (np.maximum(0.002 * skull.scale - gap, 0)[:, None] * push).reshape(curves.shape)
  return curves, unit(0.6 * radial + 0.7 * mass_normal(curves, skull.centre))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coils:
  """Corkscrew curls that stand off the scalp.

  Attributes:
    length: of the curl's axis, metres on an adult head; ``radius`` of the curl; ``turns`` in it.
    width: half width of the ribbon.
    knob: diameter of the clumps on the cap.
    base: height of the cap below the curls, from which they start.
    droop: how far gravity bends the axis; ``stray``: each curl's own direction.
    locks, points: how many curls, points along each.
  """

  length: float
  radius: float
  turns: float
  width: float
  base: float = 0.0
  knob: float = 0.014
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
  thin = 1 - 0.6 * smoothstep(0.72, 1.0, hairline)
  reach = coils.length * (0.4 + 0.6 * thin) * rng.uniform(0.8, 1.1, count)
  points = points + normals * (0.85 * coils.base * _rounded(hairline) * skull.scale)[:, None]
  whorl = np.cross(normals, unit(np.cross(normals, CROWN + 1e-3)))
  direction = unit(0.8 * normals + coils.stray * rng.normal(0, 0.6, (count, 3)) - 0.3 * whorl)
  v = np.linspace(0, 1, coils.points)
  axis = direction[:, None] * v[None, :, None] + coils.droop * (v**2)[None, :, None] * DOWN
  guide = points[:, None] + axis * (reach * skull.scale)[:, None, None]
  curves, outward = coil(guide, coils.radius * skull.scale, np.full(count, coils.turns), rng)
  gap, push = skull.distance(curves.reshape(-1, 3))
  inside = np.maximum(0.001 * skull.scale - gap, 0)[:, None] * push
  curves = curves + inside.reshape(curves.shape)
  shade = np.broadcast_to(0.5 + 0.5 * smoothstep(0.0, 0.8, v), (count, coils.points))
  soft = unit(0.6 * outward + 0.7 * mass_normal(curves, skull.centre))
  width = coils.width * skull.scale * rng.uniform(0.85, 1.2, count)
  locks = ribbons(curves, width, soft, rng=rng, shade=shade, root=0.9, tip=0.35, bulge=0.3, softness=0.5)

  def height(column: np.ndarray, part: np.ndarray) -> np.ndarray:
    return (coils.base + 0.35 * coils.length) * _rounded(part)

  return [knobbly_cap(skull, height, coils.knob, rng), locks]


def _rounded(part: np.ndarray) -> np.ndarray:
  """Profile of a round mass: full at the crown, vanishing at the hairline (``part`` 1)."""
  return np.sqrt(np.clip(1 - np.clip(part, 0, 1) ** 5, 0, 1))

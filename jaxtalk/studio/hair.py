"""Hair for one person: a style's locks grown over the person's own skull."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.studio.locks import cap, cut_curves, grow, mass_normal, ribbons, scatter_roots
from jaxtalk.studio.mesh import SurfacePart, join, smoothstep, unit
from jaxtalk.studio.scalp import ScalpRegion, Skull

CROWN = np.array([0.0, 0.085, -0.05])
DOWN_DIRECTION = np.array([0.0, -1.0, 0.0])
Table = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fall:
  """Hair that falls from the crown or from a parting: crops, bobs, long hair.

  Attributes:
    cut: see ``locks.cut_curves``.
    length: longest lock, metres on an adult head.
    part: metres of the parting from the middle (+ is the subject's left); None combs from the crown.
    lift: height of the outermost layer over the skin, metres.
    width: half width of a lock, metres.
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
    wanted = (1 - fallen) * whorl + fallen * DOWN_DIRECTION + fall.messy * sway
    return wanted - 0.8 * normals * np.minimum((wanted * normals).sum(1, keepdims=True), 0)

  return field


def grow_fall(skull: Skull, fall: Fall, rng: np.random.Generator) -> list[SurfacePart]:
  """Cap and locks of a ``Fall``."""
  around, rows = scatter_roots(skull, fall.locks, rng)
  count = len(around)
  roots = (skull.at(around, rows)[0] - skull.centre) / skull.scale
  side = np.where(roots[:, 0] >= (fall.part or 0.0), 1.0, -1.0)
  lift = fall.lift * rng.uniform(0.55, 1.1, count)
  steps = int(fall.length / 0.007) + 1
  curves = grow(
    skull, around, rows, comb(fall, side, rng.normal(0, 1, (count, 3))), lift=lift, steps=steps, hug=fall.hug
  )
  length = fall.length * rng.uniform(0.8, 1.0, count)
  curves = cut_curves(skull, curves, fall.cut, length, rng, jitter=fall.jitter, points=fall.points)
  outward = mass_normal(curves, skull.centre)
  v = np.linspace(0, 1, fall.points)
  height = (lift / fall.lift - 0.55) / 0.55
  shade = (0.72 + 0.28 * height)[:, None] * (0.72 + 0.28 * smoothstep(0.0, 0.4, v))[None]
  width = fall.width * skull.scale * rng.uniform(0.8, 1.25, count)
  locks = ribbons(curves, width, outward, rng=rng, shade=shade, bulge=fall.bulge, tip=fall.tip)
  under = cap(skull, lambda column, part: np.full_like(part, 0.45 * fall.lift))
  return [under, locks]


STYLES = {
  "short": Fall(
    cut=((0, 0.62), (40, 0.5), (55, 0.25), (68, -0.15), (78, 0.4), (100, 0.3), (115, -0.3), (130, -0.6), (180, -0.85)),
    length=0.075, lift=0.012, locks=340, width=0.01, messy=0.08,
  ),
  "bob_bangs": Fall(
    cut=((0, 0.42), (38, 0.36), (48, -0.6), (60, -0.95), (180, -1.05)),
    length=0.3, lift=0.014, gravity=0.8, points=9, locks=280, width=0.011, messy=0.05, hug=0.35, tip=0.3,
  ),
}  # fmt: skip


def grow_hair(
  head_vertices: np.ndarray, scalp: ScalpRegion, style: str, rng: np.random.Generator, *, age: float
) -> SurfacePart:
  """Hair of one style for one person.

  Args:
    head_vertices: (N, 3) the person's neutral vertices, metres, indexed as ``scalp`` is.
    style: a key of ``HAIR_STYLES``.
    rng: draws the locks; the same generator state gives the same hair.
    age: years; children's hair is finer and their locks fewer.

  Raises:
    InputError: an unknown style.
  """
  if style not in STYLES:
    raise InputError(f"hair style {style!r} is unknown; choose one of {', '.join(STYLES)}")
  return join(grow_fall(Skull(head_vertices, scalp), STYLES[style], rng))

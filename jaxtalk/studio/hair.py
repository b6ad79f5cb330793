"""Hair for one person: the table of styles, and growing one of them over the person's own skull."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.studio.hair_fall import Close, Coils, Fall, grow_close, grow_coils, grow_fall
from jaxtalk.studio.hair_gathered import Gathered, grow_gathered
from jaxtalk.studio.mesh import SurfacePart, join
from jaxtalk.studio.scalp import ScalpRegion, Skull

Shape = Fall | Coils | Close | Gathered


@dataclasses.dataclass(frozen=True)
class HairStyle:
  """How a style is made, and on whom it is usual (years; "female", "male")."""

  shape: Shape
  genders: tuple[str, ...]
  ages: tuple[float, float] = (3.0, 80.0)


# Azimuth (degrees from the front) to cutting height (0 eyes, -1 chin): around the ear, down to the nape.
CROP = ((0, 0.62), (40, 0.5), (55, 0.25), (68, -0.15), (78, 0.4), (100, 0.3), (115, -0.3), (130, -0.6), (180, -0.85))
BOB = ((0, 0.42), (32, 0.36), (42, -0.35), (52, -0.8), (60, -0.95), (180, -1.05))
BOB_BANGS = ((0, 0.42), (38, 0.36), (48, -0.6), (60, -0.95), (180, -1.05))
RINGLETS = ((0, 0.72), (40, 0.45), (52, -0.4), (70, -0.8), (180, -1.0))
FRINGE = ((0, 0.42), (45, 0.32), (60, 0.2))
LONG = ((0, 0.42), (32, 0.36), (42, -0.6), (52, -1.7), (75, -1.9), (110, -2.1), (140, -2.3), (180, -2.5))

HAIR_STYLES: dict[str, HairStyle] = {
  "buzz": HairStyle(Close(height=0.0045), ("male",)),
  "short": HairStyle(
    Fall(cut=CROP, length=0.1, locks=290, width=0.0125, messy=0.1, lift=0.014, bulge=0.4, rise=0.02, swirl=0.35),
    ("male", "female")
  ),
  "side_part": HairStyle(
    Fall(cut=CROP, length=0.1, part=0.04, layered=0.6, lift=0.018, locks=300, width=0.0115, messy=0.06,
         back=0.15, rise=0.012, spread=1.2, bulge=0.45), ("male",)
  ),
  "messy": HairStyle(
    Fall(cut=CROP, length=0.1, lift=0.026, locks=300, width=0.012, messy=0.33, hug=0.35, gravity=0.35, swirl=0.5,
         wave=0.004, bulge=0.5, spread=1.0), ("male", "female")
  ),
  "short_curly": HairStyle(
    Coils(length=0.016, radius=0.0065, turns=1.5, width=0.0055, locks=110, points=8, droop=0.2, base=0.008, knob=0.012),
    ("male", "female")
  ),
  "curly": HairStyle(
    Fall(cut=RINGLETS, length=0.13, layered=0.5, lift=0.05,
         locks=148, points=16, width=0.0075, messy=0.2, hug=0.25, gravity=0.55,
         curl=0.0095, pitch=0.052, spread=1.6, rise=0.02, jitter=0.12,
         tip=0.35, bulge=0.25), ("female", "male")
  ),
  "afro": HairStyle(
    Coils(length=0.02, radius=0.0085, turns=1.5, width=0.0075, locks=110, points=8, droop=0.15, base=0.04, knob=0.016),
    ("female", "male")
  ),
  "bob": HairStyle(
    Fall(cut=BOB, length=0.3, part=0.025, layered=1.0, lift=0.018, gravity=0.8, points=9, locks=270,
         width=0.0125, messy=0.05, hug=0.35, tip=0.45, tuck=0.5, rise=0.015, spread=1.0), ("female",)
  ),
  "bob_bangs": HairStyle(
    Fall(cut=BOB_BANGS, length=0.3, layered=1.0, lift=0.016, gravity=0.8, points=9, locks=296, width=0.012,
         messy=0.05, hug=0.35, tip=0.45, tuck=0.5), ("female",)
  ),
  "long": HairStyle(
    Fall(cut=LONG, length=0.42, part=0.0, layered=1.0, behind=0.5, lift=0.015, gravity=0.85, points=12, locks=215,
         width=0.014, messy=0.05, hug=0.3, tip=0.15, wave=0.004, wave_length=0.09, tuck=0.3,
         rise=0.015, spread=1.0), ("female",)
  ),
  "ponytail": HairStyle(
    Gathered(anchors=((0.0, 0.4, -0.9),), tail="tail", tail_length=0.2, tail_radius=0.032,
             fringe=FRINGE), ("female",)
  ),
  "pigtails": HairStyle(
    Gathered(anchors=((0.85, 0.3, -0.4), (-0.85, 0.3, -0.4)), tail="tail", tail_length=0.14, tail_radius=0.025,
             fringe=FRINGE),
    ("female",), (3.0, 13.0)
  ),
  "braids": HairStyle(
    Gathered(anchors=((0.75, -0.3, -0.6), (-0.75, -0.3, -0.6)), tail="plait", tail_length=0.19, tail_radius=0.016,
             fringe=FRINGE),
    ("female",), (4.0, 16.0)
  ),
  "buns": HairStyle(
    Gathered(anchors=((0.62, 0.72, -0.25), (-0.62, 0.72, -0.25)), tail="bun", tail_length=0.0, tail_radius=0.03,
             fringe=FRINGE),
    ("female",), (3.0, 12.0)
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
    age: years; small children's hair is finer.

  Raises:
    InputError: an unknown style.
  """
  if style not in HAIR_STYLES:
    raise InputError(f"hair style {style!r} is unknown; choose one of {', '.join(HAIR_STYLES)}")
  skull = Skull(head_vertices, scalp)
  shape = individual(HAIR_STYLES[style].shape, rng, age)
  if isinstance(shape, Fall):
    return join(grow_fall(skull, shape, rng))
  if isinstance(shape, Coils):
    return join(grow_coils(skull, shape, rng))
  if isinstance(shape, Close):
    return join(grow_close(skull, shape, rng))
  return join(grow_gathered(skull, shape, rng))


def individual(shape: Shape, rng: np.random.Generator, age: float) -> Shape:
  """A style as one person wears it: parting and whorl on either side, longer or shorter, fuller or (small children)
  finer; tied hair with or without a fringe."""
  mirror, longer, fuller = rng.choice([-1.0, 1.0]), rng.uniform(0.9, 1.1), rng.uniform(0.88, 1.12)
  fuller *= float(np.interp(age, (3, 7), (0.85, 1.0)))
  if isinstance(shape, Fall):
    part = None if shape.part is None else mirror * (shape.part + rng.uniform(-0.006, 0.006))
    return dataclasses.replace(
      shape, part=part, swirl=mirror * shape.swirl, length=longer * shape.length, lift=fuller * shape.lift
    )
  if isinstance(shape, Coils):
    return dataclasses.replace(shape, base=fuller * shape.base)
  if isinstance(shape, Close):
    return Close(height=fuller * shape.height)
  fringe = shape.fringe if rng.uniform() < 0.6 else None
  return dataclasses.replace(
    shape, fringe=fringe, tail_length=longer * shape.tail_length, tail_radius=fuller * shape.tail_radius
  )

"""Who is in the picture: attributes drawn from a seed, balanced and plausible together, or pinned by the user.

A person is made of requested attributes (age, gender, ancestry), signed weights of local face morphs (the individual
face) and a look (skin tone, hair, eyes, clothes). Nothing is measured from, or fitted to, a real person.

Skin tones follow the ten swatches of the Monk Skin Tone scale (E. Monk, 2022, CC-BY-4.0), 1 lightest to 10 darkest.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxtalk.core import InputError, Person

ANCESTRIES = ("african", "asian", "european")
MIN_AGE, MAX_AGE = 3.0, 80.0

# Linear-light-friendly sRGB triples; the renderer converts.
SKIN_TONES = (
  (246, 237, 228),
  (243, 231, 219),
  (247, 234, 208),
  (234, 218, 186),
  (215, 189, 150),
  (160, 126, 86),
  (130, 92, 67),
  (96, 65, 52),
  (58, 49, 42),
  (41, 36, 32),
)
HAIR_COLOURS = {
  "black": (22, 18, 17),
  "dark_brown": (46, 30, 22),
  "brown": (80, 52, 34),
  "light_brown": (120, 84, 54),
  "dark_blond": (150, 116, 74),
  "blond": (200, 166, 110),
  "red": (136, 62, 28),
  "grey": (150, 148, 146),
}
EYE_COLOURS = {
  "dark_brown": (46, 26, 14),
  "brown": (88, 52, 24),
  "hazel": (112, 88, 42),
  "green": (84, 112, 70),
  "blue": (74, 116, 158),
  "grey": (110, 122, 132),
}
CLOTHES = ("tshirt", "polo", "sweater", "hoodie", "dungarees")
CLOTHES_COLOURS = {
  "red": (196, 62, 62),
  "coral": (232, 122, 98),
  "mustard": (222, 172, 60),
  "sage": (134, 164, 128),
  "green": (72, 140, 98),
  "teal": (44, 130, 138),
  "sky": (112, 172, 216),
  "navy": (44, 62, 110),
  "lilac": (168, 146, 200),
  "pink": (230, 150, 172),
  "white": (212, 210, 204),
  "grey": (128, 132, 138),
}
GENDERS = {"girl": "female", "woman": "female", "female": "female", "f": "female"}
GENDERS |= {"boy": "male", "man": "male", "male": "male", "m": "male"}

# Hair styles with their weights for (girls/women, boys/men) and for (straight, wavy, tight) hair; see studio.hair.
HAIR_WEIGHTS = {
  "buzz": (0.0, 0.5, (0.4, 0.4, 1.4)),
  "short": (0.15, 1.5, (1, 1, 0.3)),
  "side_part": (0.1, 1.2, (1, 0.8, 0.0)),
  "messy": (0.15, 1.4, (0.8, 1.2, 0.1)),
  "short_curly": (0.3, 1.0, (0.0, 0.5, 2.0)),
  "curly": (0.9, 0.4, (0.1, 0.9, 1.4)),
  "afro": (0.6, 0.5, (0.0, 0.0, 1.6)),
  "bob": (1.2, 0.0, (1, 1, 0.1)),
  "bob_bangs": (1.2, 0.05, (1.2, 0.7, 0.0)),
  "long": (1.3, 0.08, (1.1, 1.1, 0.1)),
  "ponytail": (1.0, 0.0, (1, 1, 0.2)),
  "pigtails": (1.0, 0.0, (1, 1, 0.4)),
  "braids": (0.8, 0.0, (0.8, 0.6, 1.0)),
  "buns": (0.5, 0.0, (0.5, 0.5, 1.4)),
}
CHOICES: Mapping[str, tuple[str, ...]] = {
  "gender": tuple(GENDERS),
  "ancestry": (*ANCESTRIES, "mixed"),
  "hair": tuple(HAIR_WEIGHTS),
  "hair_colour": tuple(HAIR_COLOURS),
  "eye_colour": tuple(EYE_COLOURS),
  "clothes": CLOTHES,
  "clothes_colour": tuple(CLOTHES_COLOURS),
}

# Signed face axes: standard deviation, and the shift that makes small children look their age (times childness).
FACE_AXES: Mapping[str, tuple[float, float]] = {
  "head-scale-horiz": (0.25, -0.05),
  "head-scale-vert": (0.2, 0.0),
  "head-fat": (0.35, -0.05),
  "head-round": (0.25, 0.25),
  "head-oval": (0.2, 0.0),
  "head-diamond": (0.12, 0.0),
  "head-invertedtriangular": (0.15, 0.0),
  "head-back-scale-depth": (0.25, 0.0),
  "forehead-scale-vert": (0.2, 0.0),
  "forehead-nubian": (0.12, 0.0),
  "forehead-temple": (0.3, 0.0),
  "eyebrows-angle": (0.35, 0.0),
  "eye-bag": (0.25, 0.0),
  "eye-corner1": (0.4, 0.0),
  "eye-corner2": (0.4, 0.0),
  "eye-eyefold-angle": (0.35, 0.0),
  "eye-eyefold": (0.3, 0.0),
  "eye-height1": (0.25, 0.25),
  "eye-height2": (0.25, 0.45),
  "eye-height3": (0.25, 0.25),
  "eye-scale": (0.25, 0.95),
  "nose-base": (0.3, 0.1),
  "nose-curve": (0.4, -0.2),
  "nose-flaring": (0.3, -0.25),
  "nose-hump": (0.25, -0.1),
  "nose-nostrils-width": (0.3, -0.25),
  "nose-point": (0.25, 0.25),
  "nose-point-width": (0.4, 0.2),
  "nose-scale-depth": (0.25, 0.0),
  "nose-scale-horiz": (0.3, -0.3),
  "nose-scale-vert": (0.22, -0.15),
  "nose-volume": (0.3, -0.2),
  "nose-width1": (0.35, 0.0),
  "nose-width2": (0.35, -0.25),
  "nose-width3": (0.35, -0.15),
  "ear-flap": (0.2, 0.0),
  "ear-lobe": (0.3, 0.0),
  "ear-scale": (0.25, -0.1),
  "ear-wing": (0.35, -0.1),
  "cheek-bones": (0.35, -0.2),
  "cheek-inner": (0.3, 0.1),
  "cheek-volume": (0.3, 0.12),
  "mouth-angles": (0.2, 0.45),
  "mouth-cupidsbow": (0.4, 0.1),
  "mouth-lowerlip-height": (0.25, 0.05),
  "mouth-lowerlip-volume": (0.3, 0.1),
  "mouth-scale-horiz": (0.25, -0.1),
  "mouth-scale-vert": (0.2, 0.1),
  "mouth-upperlip-height": (0.25, 0.1),
  "mouth-upperlip-volume": (0.3, 0.1),
  "chin-bones": (0.25, -0.1),
  "chin-height": (0.22, -0.1),
  "chin-prominent": (0.25, -0.05),
  "chin-width": (0.3, -0.15),
  "neck-scale-horiz": (0.15, 0.0),
}


def parse_gender(value: str) -> str:
  """ "girl" -> "female"; InputError names the options."""
  try:
    return GENDERS[value.lower()]
  except KeyError:
    raise InputError(f"unknown gender {value!r}; choose one of {', '.join(GENDERS)}") from None


def _choice(name: str, value: str) -> str:
  options = CHOICES[name]
  if value in options:
    return value
  near = difflib.get_close_matches(value, options, 1)
  hint = f"did you mean {near[0]!r}? " if near else ""
  raise InputError(f"unknown {name} {value!r}; {hint}choose one of {', '.join(options)}")


def head_scale(age: float) -> float:
  """Size of the studio head at an age against an adult's: what a camera has to come nearer by."""
  return float(np.interp(age, (3, 6, 10.5, 16), (0.74, 0.80, 0.90, 1.0)))


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
  names = list(weights)
  w = np.array([weights[n] for n in names], float)
  return names[rng.choice(len(names), p=w / w.sum())]


def _ancestry(rng: np.random.Generator, request: str | Sequence[float] | None) -> tuple[float, float, float]:
  if request is not None and not isinstance(request, str):
    w = np.asarray(request, float)
    if w.shape != (3,) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
      raise InputError(f"ancestry needs three weights for {', '.join(ANCESTRIES)}, got {tuple(request)}")
    w = w / w.sum()
    return (float(w[0]), float(w[1]), float(w[2]))
  main, second = rng.permutation(3)[:2]
  mixed = rng.random() < 0.4
  share = rng.uniform(0.5, 0.8) if mixed else rng.uniform(0.88, 1.0)
  if request is not None:
    kind = _choice("ancestry", request)
    if kind == "mixed":
      share = 0.5 + 0.3 * (share % 0.5) * 2
    else:
      main = ANCESTRIES.index(kind)
      second = (main + 1 + int(second) % 2) % 3
      share = 0.9 + 0.1 * (share % 0.5) * 2
  w = np.zeros(3)
  w[main], w[second] = share, 1 - share
  return (float(w[0]), float(w[1]), float(w[2]))


def _skin_tone(rng: np.random.Generator, ancestry: Sequence[float]) -> int:
  centre = np.dot(ancestry, (7.4, 4.3, 2.6))
  spread = np.dot(ancestry, (1.2, 1.0, 0.9))
  return int(np.clip(round(rng.normal(centre, spread)), 1, 10))


def _colours(rng: np.random.Generator, ancestry: Sequence[float], age: float) -> tuple[str, str]:
  """Hair and eye colour: light ones only with European ancestry; children are fairer; grey comes with age."""
  light = max(ancestry[2] - 0.5, 0) / 0.5
  young = 1.5 if age < 10 else 1.0
  hair = {"black": 0.2 + 1.6 * (1 - light), "dark_brown": 0.9, "brown": 0.2 + 1.0 * light, "light_brown": 0.9 * light}
  hair |= {"dark_blond": 0.8 * light, "blond": 0.7 * young * light, "red": 0.22 * light}
  if age > 50:
    hair = {"grey": (age - 50) / 15, **{k: v * 0.3 for k, v in hair.items()}}
  eyes = {"dark_brown": 0.3 + 1.8 * (1 - light), "brown": 0.7, "hazel": 0.4 * light, "green": 0.35 * light}
  eyes |= {"blue": 1.0 * light, "grey": 0.25 * light}
  return _pick(rng, hair), _pick(rng, eyes)


def _hair_style(rng: np.random.Generator, gender: str, ancestry: Sequence[float], age: float) -> str:
  column = 0 if gender == "female" else 1
  texture = np.array([0.3 * ancestry[2] + 0.9 * ancestry[1], 0.7 * ancestry[2] + 0.1 * ancestry[1], ancestry[0]])
  weights = {}
  for name, (girl, boy, by_texture) in HAIR_WEIGHTS.items():
    weights[name] = (girl, boy)[column] * float(np.dot(texture, by_texture))
  if age > 14:
    weights["pigtails"] = weights["braids"] = weights["buns"] = 0.0
  return _pick(rng, weights)


def childness(age: float) -> float:
  """1 at 3 years, 0 from 16: how much of the small-child proportions to add to the macro shape."""
  return float(np.clip((16 - age) / 13, 0, 1))


def _face(rng: np.random.Generator, age: float) -> dict[str, float]:
  k = childness(age)
  amount = 1.0 if age >= 12 else 0.85
  face = {}
  for name, (std, shift) in FACE_AXES.items():
    face[name] = round(float(np.clip(amount * std * rng.normal() + k * shift, -1.0, 1.0)), 4)
  face["build"] = round(float(np.clip(0.25 * rng.normal(), -0.7, 0.7)), 4)
  face["asymmetry"] = round(float(rng.uniform(0.02, 0.1)), 4)
  return face


def sample_person(
  seed: int,
  *,
  age: float | None = None,
  gender: str | None = None,
  ancestry: str | Sequence[float] | None = None,
  skin: int | None = None,
  hair: str | None = None,
  hair_colour: str | None = None,
  eye_colour: str | None = None,
  freckles: float | None = None,
  clothes: str | None = None,
  clothes_colour: str | None = None,
) -> Person:
  """A person from a seed; an attribute that is given is pinned and leaves the other draws as they were.

  Args:
    seed: identity; different seeds are different people.
    age: years, 3 to 80; drawn from 3-12 if None.
    gender: see ``CHOICES["gender"]``.
    ancestry: a name of ``CHOICES["ancestry"]`` or three weights (african, asian, european).
    skin: 1 (lightest) to 10 (darkest).
    hair, hair_colour, eye_colour, clothes, clothes_colour: names of ``CHOICES``.
    freckles: [0, 1].

  Raises:
    InputError: an unknown name or a value out of range; the message lists the options.
  """
  if age is not None and not MIN_AGE <= age <= MAX_AGE:
    raise InputError(f"age {age:g} is out of range; give {MIN_AGE:g} to {MAX_AGE:g} years")
  if skin is not None and not 1 <= skin <= 10:
    raise InputError(f"skin tone {skin} is out of range; give 1 (lightest) to 10 (darkest)")
  if freckles is not None and not 0 <= freckles <= 1:
    raise InputError(f"freckles {freckles:g} is out of range; give 0 to 1")
  # One stream an attribute: pinning one must not move the others.
  names = ("age", "gender", "ancestry", "face", "skin", "colours", "hair", "freckles", "clothes", "brows")
  streams = np.random.SeedSequence([seed, 0x9E27]).spawn(len(names))
  rng = {n: np.random.default_rng(s) for n, s in zip(names, streams, strict=True)}
  drawn_age = int(rng["age"].integers(30, 130)) / 10
  years = drawn_age if age is None else float(age)
  drawn_gender = ("female", "male")[int(rng["gender"].integers(2))]
  sex = drawn_gender if gender is None else parse_gender(gender)
  origin = _ancestry(rng["ancestry"], ancestry)
  drawn_hair, drawn_eyes = _colours(rng["colours"], origin, years)
  tone = _skin_tone(rng["skin"], origin) if skin is None else int(skin)
  drawn_freckles = float(rng["freckles"].random() ** 3) * float(np.clip((5 - tone) / 3, 0, 1))
  style = _hair_style(rng["hair"], sex, origin, years)
  clothes_rng = rng["clothes"]
  drawn_clothes = CLOTHES[int(clothes_rng.choice(len(CLOTHES), p=(0.34, 0.14, 0.2, 0.2, 0.12)))]
  drawn_clothes_colour = _pick(clothes_rng, dict.fromkeys(CLOTHES_COLOURS, 1.0))
  look = {
    "skin": tone,
    "hair": style if hair is None else _choice("hair", hair),
    "hair_colour": drawn_hair if hair_colour is None else _choice("hair_colour", hair_colour),
    "eye_colour": drawn_eyes if eye_colour is None else _choice("eye_colour", eye_colour),
    "freckles": round(drawn_freckles if freckles is None else float(freckles), 3),
    "brow_thickness": round(float(rng["brows"].uniform(0.75, 1.25) * (1.12 if sex == "male" else 0.95)), 3),
    "clothes": drawn_clothes if clothes is None else _choice("clothes", clothes),
    "clothes_colour": drawn_clothes_colour if clothes_colour is None else _choice("clothes_colour", clothes_colour),
  }
  face = _face(rng["face"], years)
  return Person(seed=seed, age_years=years, gender=sex, ancestry=origin, face=face, look=look)

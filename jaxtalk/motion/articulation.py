"""Coarticulated articulator tracks from phones.

Every phone has a target for each articulator and a dominance: how much it insists. At a time the tracks are averages
of the targets weighted by dominances that fade with distance from the phone, with reaches of their own ahead (speakers
prepare rounding early) and behind; this is the model of Cohen & Massaro (Modeling coarticulation in synthetic visual
speech, 1993) with Gaussian flanks, which are smooth where theirs have a cusp. Fast speech shortens the reach, less
than in proportion, so that short vowels undershoot as they do in people (Lindblom 1963).

Averages never quite reach a target, which is fine for vowels and wrong for lips that must meet. So /p b m/ (and the
lower lip of /f v/) are laid over the average as constrictions with a plateau, at least one frame long at any fps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxtalk.core import Phone
from jaxtalk.motion import curves
from jaxtalk.motion.mouth import ARTICULATORS
from jaxtalk.speech import phones as ph

# Reach of a phone's influence in seconds at a normal rate: (ahead of its core, behind it).
REACH = {
  "gap": (0.055, 0.055),
  "jaw": (0.075, 0.080),
  "pucker": (0.140, 0.090),
  "funnel": (0.120, 0.085),
  "spread": (0.090, 0.085),
  "upper": (0.060, 0.060),
  "lower": (0.060, 0.060),
  "tuck": (0.050, 0.050),
  "press": (0.050, 0.050),
  "tongue": (0.050, 0.045),
  "forward": (0.080, 0.080),
}
NORMAL_PHONE = 0.085  # seconds; the mean phone of unhurried speech
_CHUNK, _FAR = 512, 1.5  # frames blended at a time; seconds beyond which a phone is not felt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
  """Targets of one mouth shape; ``gap`` and ``jaw`` in units of jawOpen, the rest weights.

  ``lips``, ``teeth`` and ``body`` are dominances: of the lip articulators, of jaw height, of the tongue.
  """

  gap: float
  jaw: float
  pucker: float = 0.0
  funnel: float = 0.0
  spread: float = 0.0
  upper: float = 0.0
  lower: float = 0.0
  tuck: float = 0.0
  press: float = 0.0
  tongue: float = 0.0
  forward: float = 0.0
  lips: float = 1.0
  teeth: float = 1.0
  body: float = 1.0


SHAPES: dict[str, Shape] = {
  "rest": Shape(gap=0.012, jaw=0.015, lips=0.7, teeth=0.7, body=0.5),
  "AA": Shape(gap=0.48, jaw=0.48, upper=0.10, lower=0.08, teeth=1.3),
  "AE": Shape(gap=0.44, jaw=0.42, spread=0.35, upper=0.18, lower=0.15, teeth=1.2),
  "AH": Shape(gap=0.32, jaw=0.31, upper=0.08, lower=0.08),
  "AO": Shape(gap=0.38, jaw=0.38, pucker=0.22, funnel=0.42, lips=1.2, teeth=1.1),
  "EH": Shape(gap=0.30, jaw=0.28, spread=0.30, upper=0.14, lower=0.14),
  "IH": Shape(gap=0.19, jaw=0.16, spread=0.35, upper=0.14, lower=0.16),
  "IY": Shape(gap=0.13, jaw=0.07, spread=0.70, upper=0.20, lower=0.22, lips=1.2),
  "ER": Shape(gap=0.15, jaw=0.14, pucker=0.25, funnel=0.25, lower=0.10),
  "UH": Shape(gap=0.16, jaw=0.15, pucker=0.38, funnel=0.36),
  "UW": Shape(gap=0.105, jaw=0.10, pucker=0.72, funnel=0.34, lips=1.5),
  "OW": Shape(gap=0.28, jaw=0.26, pucker=0.36, funnel=0.48, lips=1.3),
  "schwa": Shape(gap=0.16, jaw=0.14, upper=0.06, lower=0.06, lips=0.5, teeth=0.5),
  "W": Shape(gap=0.060, jaw=0.08, pucker=0.85, funnel=0.24, lips=1.9),
  "Y": Shape(gap=0.11, jaw=0.07, spread=0.50, upper=0.12, lower=0.14, lips=0.7),
  "R": Shape(gap=0.11, jaw=0.10, pucker=0.30, funnel=0.32, lower=0.08, lips=1.1, teeth=0.8),
  "L": Shape(gap=0.17, jaw=0.13, upper=0.10, lower=0.08, tongue=0.22, lips=0.5, teeth=0.7, body=2.0),
  "T": Shape(gap=0.12, jaw=0.06, spread=0.20, upper=0.12, lower=0.14, tongue=0.14, lips=0.6, teeth=1.2, body=1.5),
  "N": Shape(gap=0.13, jaw=0.08, spread=0.15, upper=0.10, lower=0.10, tongue=0.16, lips=0.5, teeth=1.0, body=1.5),
  "S": Shape(gap=0.12, jaw=0.03, spread=0.40, upper=0.24, lower=0.34, forward=0.12, lips=1.0, teeth=2.2),
  "SH": Shape(gap=0.16, jaw=0.04, pucker=0.25, funnel=0.50, upper=0.10, lower=0.30, forward=0.18, lips=1.5, teeth=2.2),
  "TH": Shape(gap=0.15, jaw=0.10, upper=0.12, lower=0.10, tongue=0.50, lips=0.8, teeth=1.4, body=3.0),
  "F": Shape(gap=0.050, jaw=0.09, upper=0.06, tuck=0.25, lips=1.8, teeth=1.5),
  "K": Shape(gap=0.15, jaw=0.12, upper=0.06, lower=0.06, lips=0.35, teeth=0.6),
  "HH": Shape(gap=0.18, jaw=0.16, upper=0.06, lower=0.06, lips=0.2, teeth=0.2),
  "P": Shape(gap=0.030, jaw=0.06, lips=1.2, teeth=0.9),
}

_OWN = ("AA", "AE", "AH", "AO", "EH", "IH", "IY", "ER", "UH", "UW", "W", "Y", "R", "L", "K", "HH")
_ARPABET_SHAPES: dict[str, tuple[str, ...]] = {
  **{name: (name,) for name in _OWN},
  **dict.fromkeys(("P", "B", "M", "EM"), ("P",)),
  **dict.fromkeys(("F", "V"), ("F",)),
  **dict.fromkeys(("TH", "DH"), ("TH",)),
  **dict.fromkeys(("T", "D", "DX"), ("T",)),
  **dict.fromkeys(("N", "EN"), ("N",)),
  **dict.fromkeys(("S", "Z"), ("S",)),
  **dict.fromkeys(("SH", "ZH", "CH", "JH"), ("SH",)),
  **dict.fromkeys(("G", "NG", "Q"), ("K",)),
  **{"EL": ("L",), "AX": ("schwa",), "AXR": ("ER",), "IX": ("IH",), "UX": ("UW",)},
  **{"AW": ("AA", "UH"), "AY": ("AA", "IY"), "EY": ("EH", "IY"), "OW": ("OW", "UW"), "OY": ("AO", "IY")},
}
_ORDER = ("rest", "P", "F", "TH", "T", "K", "SH", "S", "N", "R", "AA", "EH", "IY", "OW", "UW")
_VISEME_SHAPES = dict(zip(ph.VISEMES, _ORDER, strict=True))


def shapes_of(symbol: str) -> tuple[str, ...]:
  """Names of the shapes that a phone (ARPABET or IPA) passes through: one, or two for a diphthong."""
  if ph.is_silence(symbol):
    return ("rest",)
  if symbol == "AH0":
    return ("schwa",)
  if ph.is_arpabet(symbol):
    return _ARPABET_SHAPES[ph.base(symbol)]
  shapes = tuple(_VISEME_SHAPES[v] for v in ph.visemes(symbol))
  if shapes == ("K",) and ph.manner(symbol) == "fricative":
    return ("HH",)
  return ("UW",) if shapes == ("IY",) and ph.is_rounded(symbol) else shapes


@dataclasses.dataclass(frozen=True)
class Segments:
  """Phones cut into shapes: (N,) arrays of times, targets (N, A) and dominances (N, A), and the reach factor (N,)."""

  start: np.ndarray
  end: np.ndarray
  targets: np.ndarray
  dominance: np.ndarray
  reach: np.ndarray


_GROUP = {"jaw": "teeth", "forward": "teeth", "tongue": "body"}


def segments(phones: Sequence[Phone], opening: float) -> Segments:
  """Cuts phones into shape segments; ``opening`` scales the vowels' jaw and gap (style, age)."""
  rows: list[tuple[float, float, Shape, float]] = []
  for phone in phones:
    names = shapes_of(phone.symbol)
    stress = ph.stress(phone.symbol)
    size = opening * {0: 0.85, 1: 1.08, 2: 1.0}.get(1 if stress is None else stress, 1.0)
    # The first half of a diphthong lasts a little longer; the parts of anything longer are equal.
    parts = np.array([0.0, 0.55, 1.0]) if len(names) == 2 else np.linspace(0.0, 1.0, len(names) + 1)
    cuts = phone.start + (phone.end - phone.start) * parts
    for name, begin, stop in zip(names, cuts[:-1], cuts[1:], strict=True):
      rows.append((begin, stop, SHAPES[name], size if ph.is_vowel(phone.symbol) else 1.0))
  start, end = (np.array([row[i] for row in rows], np.float64) for i in (0, 1))
  targets = np.array([[getattr(shape, a) for a in ARTICULATORS] for _, _, shape, _ in rows])
  sizes = np.array([size for *_, size in rows])
  targets[:, :2] *= sizes[:, None]
  dominance = np.array([[getattr(shape, _GROUP.get(a, "lips")) for a in ARTICULATORS] for _, _, shape, _ in rows])
  return Segments(start, end, targets, dominance, _reach_factors(end - start))


def _reach_factors(lengths: np.ndarray) -> np.ndarray:
  """(N,) factors of the reach by local speech rate: the mean of three neighbours, pauses counted as normal."""
  usual = np.minimum(lengths, 2.0 * NORMAL_PHONE)
  local = np.convolve(np.pad(usual, 1, mode="edge"), np.ones(3) / 3.0, mode="valid")
  return np.clip((local / NORMAL_PHONE) ** 0.6, 0.65, 1.35)


def blend(t: np.ndarray, seg: Segments) -> dict[str, np.ndarray]:
  """Articulator tracks (T,) as dominance-weighted averages of the targets."""
  parts = []
  for chunk in np.split(t, range(_CHUNK, len(t), _CHUNK)):
    first = max(0, int(np.searchsorted(seg.end, chunk[0] - _FAR)) - 1)
    last = int(np.searchsorted(seg.start, chunk[-1] + _FAR)) + 1
    near = Segments(**{k: v[first:last] for k, v in vars(seg).items()})
    parts.append(_blend(chunk, near))
  return dict(zip(ARTICULATORS, np.concatenate(parts, axis=1), strict=True))


def _blend(t: np.ndarray, seg: Segments) -> np.ndarray:
  """(A, T) tracks of a stretch of time from the segments around it."""
  length = seg.end - seg.start
  centre = 0.5 * (seg.start + seg.end)
  # The core, where dominance is full: a fifth of a short phone, all but the edges of a long one.
  half_core = np.maximum(0.1 * length, 0.5 * length - 0.07)
  distance = t[:, None] - centre[None, :]
  outside = np.maximum(np.abs(distance) - half_core[None, :], 0.0)
  tracks = []
  for a, name in enumerate(ARTICULATORS):
    ahead, behind = REACH[name]
    reach = np.where(distance < 0, ahead, behind) * seg.reach[None, :]
    log_weight = -((outside / reach) ** 2) + np.log(seg.dominance[:, a])[None, :]
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    tracks.append((weight @ seg.targets[:, a]) / weight.sum(axis=1))
  return np.stack(tracks)


@dataclasses.dataclass(frozen=True)
class Constriction:
  """A gesture that must be reached: times of its plateau and the lengths of the ways in and out, (N,) each."""

  start: np.ndarray
  end: np.ndarray
  rise: np.ndarray
  fall: np.ndarray

  def __call__(self, t: np.ndarray) -> np.ndarray:
    """(T,) in [0, 1], 1 on the plateaus."""
    return curves.pulses(t, self.start - self.rise, self.rise, self.end - self.start, self.fall)


def constriction(phones: Sequence[Phone], kind: str, frame: float) -> Constriction:
  """Plateaus for the phones of a ``kind``: "bilabial" or "labiodental".

  The plateau covers 70 % of a nasal or fricative and the 62 % of a stop that comes before its burst, and never less
  than 1.02 frames, so that a frame's centre always falls into it.
  """
  chosen = ph.is_bilabial if kind == "bilabial" else ph.is_labiodental
  kept = [p for p in phones if not ph.is_silence(p.symbol) and chosen(p.symbol)]
  start = np.array([p.start for p in kept])
  length = np.array([p.end - p.start for p in kept])
  stop = np.array([ph.manner(p.symbol) == "stop" for p in kept], bool)
  centre = start + np.where(stop, 0.45, 0.5) * length
  half = 0.5 * np.clip(np.where(stop, 0.62, 0.70) * length, 1.02 * frame, 0.25)
  way = np.clip(0.45 * length + 0.03, 0.05, 0.09)
  return Constriction(centre - half, centre + half, way, way)

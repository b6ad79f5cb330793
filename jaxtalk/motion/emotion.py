"""Emotions on the face: prototypes in ARKit weights.

The prototypes follow EMFACS (Friesen & Ekman 1983): happy is AU 6 + 12, sad 1 + 4 + 15, angry 4 + 5 + 7 + 23, surprised
1 + 2 + 5 + 26, fearful 1 + 2 + 4 + 5 + 7 + 20, disgusted 9 + 10 + 15. The upper face carries them whole; the lower face
is softened while somebody speaks and fades where the lips must meet.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import EMOTIONS, Emotion, InputError
from jaxtalk.motion import curves, mouth
from jaxtalk.motion.cues import Cues


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prototype:
  """One emotion at full intensity.

  Attributes:
    upper: channel -> weight on brows, lids, cheeks and nose; a name without Left/Right means both.
    lower: the same around the mouth.
    gap: how far the lips part at rest, in units of jawOpen.
    head: (yaw, pitch, roll) radians of the head's usual posture.
    gaze: pitch in radians that is added to where the eyes like to look when they avert.
    energy: factor on head movement, accents and speed.
    blinks: factor on the rate of blinks.
    frowns: share of the accents that the brows mark by coming down instead of going up.
  """

  upper: dict[str, float] = dataclasses.field(default_factory=dict)
  lower: dict[str, float] = dataclasses.field(default_factory=dict)
  gap: float = 0.0
  head: tuple[float, float, float] = (0.0, 0.0, 0.0)
  gaze: float = 0.0
  energy: float = 1.0
  blinks: float = 1.0
  frowns: float = 0.12


PROTOTYPES: dict[str, Prototype] = {
  "neutral": Prototype(),
  "happy": Prototype(
    upper={"cheekSquint": 0.80, "eyeSquint": 0.40, "browOuterUp": 0.15, "browInnerUp": 0.12},
    lower={"mouthSmile": 0.72, "mouthDimple": 0.12, "mouthUpperUp": 0.14},
    gap=0.03,
    head=(0.0, -0.03, 0.04),
    energy=1.35,
  ),
  "sad": Prototype(
    upper={"browInnerUp": 0.85, "browDown": 0.22, "eyeSquint": 0.12, "eyeBlink": 0.14},
    lower={"mouthFrown": 0.70, "mouthShrugLower": 0.25, "mouthRollLower": 0.10},
    head=(0.0, 0.09, 0.05),
    gaze=0.12,
    energy=0.6,
    blinks=1.1,
  ),
  "angry": Prototype(
    upper={"browDown": 1.0, "eyeSquint": 0.40, "eyeWide": 0.30, "noseSneer": 0.45},
    lower={"mouthPress": 0.30, "mouthFrown": 0.32, "jawForward": 0.12, "mouthLowerDown": 0.10},
    head=(0.0, 0.06, 0.0),
    energy=1.3,
    blinks=0.7,
    frowns=0.9,
  ),
  "surprised": Prototype(
    upper={"browInnerUp": 0.95, "browOuterUp": 0.95, "eyeWide": 0.90},
    gap=0.12,
    head=(0.0, -0.06, 0.0),
    energy=1.1,
    blinks=0.6,
  ),
  "fearful": Prototype(
    upper={"browInnerUp": 0.95, "browOuterUp": 0.30, "browDown": 0.30, "eyeWide": 0.70, "eyeSquint": 0.10},
    lower={"mouthStretch": 0.60, "mouthFrown": 0.20},
    gap=0.05,
    head=(0.0, -0.05, 0.0),
    energy=0.9,
    blinks=1.3,
  ),
  "disgusted": Prototype(
    upper={"noseSneer": 0.95, "browDown": 0.60, "cheekSquint": 0.40, "eyeSquint": 0.45},
    lower={"mouthUpperUp": 0.40, "mouthFrown": 0.38, "mouthShrugLower": 0.18},
    head=(0.06, -0.04, 0.03),
    energy=0.9,
    frowns=0.6,
  ),
}


def prototype(emotion: Emotion) -> Prototype:
  """The prototype of an emotion; InputError for a label or an intensity that does not exist."""
  if emotion.label not in PROTOTYPES:
    raise InputError(f"unknown emotion {emotion.label!r}: use one of {', '.join(EMOTIONS)}")
  if not 0.0 <= emotion.intensity <= 1.0:
    raise InputError(f"emotion intensity {emotion.intensity} is not in [0, 1]")
  return PROTOTYPES[emotion.label]


def envelope(t: np.ndarray, cues: Cues, emotion: Emotion, seed: int) -> np.ndarray:
  """(T,) intensity over time: comes in, swells a little with accents, wanders, and lets go a little at the end."""
  rng = curves.generator(seed, "emotion")
  level = 0.55 + 0.45 * curves.step(t, rng.uniform(-0.2, 0.1), rng.uniform(0.5, 0.9))
  level -= 0.15 * curves.step(t, cues.duration - 0.7, 0.9)
  level += 0.12 * curves.pulses(t, cues.accents - 0.25, 0.3, 0.1, 0.5, cues.strengths)
  return np.clip(emotion.intensity * level * (1.0 + 0.06 * curves.noise(t, rng, 1.5)), 0.0, 1.0)


def add_emotion(
  values: np.ndarray, emotion: Emotion, level: np.ndarray, speaking: np.ndarray, closed: np.ndarray
) -> np.ndarray:
  """Adds an emotion to ``values`` (T, 61) in place and answers the (T,) lip gap that it asks for at rest.

  Args:
    values: motion being built.
    emotion: label and intensity.
    level: (T,) from ``envelope``.
    speaking: (T,) in [0, 1].
    closed: (T,) in [0, 1], 1 where lips (or lip and teeth) must meet.
  """
  proto = prototype(emotion)
  for channel, weight in proto.upper.items():
    mouth.add(values, channel, weight * level)
  lower = level * (1.0 - 0.20 * speaking) * (1.0 - 0.35 * closed)
  for channel, weight in proto.lower.items():
    mouth.add(values, channel, weight * lower)
  return proto.gap * level * (1.0 - 0.6 * speaking)

"""The voice of one synthetic person: drawn from the norms of age and gender, coloured by emotion."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import EMOTIONS, Emotion, InputError, Person
from jaxtalk.speech.norms import VoiceNorm, voice_norm

_STREAM = 0x564F4943  # "VOIC": keeps the draws apart from those of other rooms with the same seed


@dataclasses.dataclass(frozen=True)
class Speaker:
  """How somebody sounds.

  Attributes:
    f0_hz: median fundamental frequency.
    f0_range: factor on the excursions of ln f0 around the median; 1 is the lively adult of the built-in voice.
    tract_cm: vocal-tract length.
    rate: articulation rate; 1 is an adult's.
    unsteadiness: see ``norms.VoiceNorm``.
    breath: factor on the noise between the harmonics.
    tilt_db: change of level from 0.5 to 4 kHz; positive is brighter, more pressed.
  """

  f0_hz: float
  f0_range: float
  tract_cm: float
  rate: float
  unsteadiness: float
  breath: float
  tilt_db: float


# Change at intensity 1: (f0, f0 range, rate) as factors and tilt in dB. Directions after Banse & Scherer 1996 (J. Pers.
# Soc. Psychol. 70:614-636) and Juslin & Laukka 2003 (Psychol. Bull. 129:770-814): joy, anger, fear and surprise are
# high, fast and bright, sadness is low, slow, flat and dull. Sizes are mild, so that a median stays in its band.
_EMOTION = {
  "neutral": (1.00, 1.00, 1.00, 0.0),
  "happy": (1.06, 1.25, 1.05, 2.0),
  "sad": (0.94, 0.65, 0.86, -4.0),
  "angry": (1.03, 1.20, 1.08, 4.0),
  "surprised": (1.07, 1.40, 1.02, 1.5),
  "fearful": (1.06, 0.90, 1.10, 0.5),
  "disgusted": (0.96, 0.90, 0.90, 0.0),
}


def speaker_of(person: Person, emotion: Emotion) -> Speaker:
  """The person's own voice: the same seed, age and gender give the same voice whatever is said.

  Between people of one age, pitch varies by +-8 %, vocal-tract length by about 3 % (1 s.d.) and tempo by about 5 %;
  longer tracts go with lower voices, as bodies do. The median f0 stays inside the norm's band in every emotion.
  """
  norm = voice_norm(person.age_years, person.gender)
  rng = np.random.default_rng(np.random.SeedSequence([person.seed, _STREAM]))
  size, pitch, tempo, breath = np.clip(rng.standard_normal(4), -2, 2)
  f0_factor, range_factor, rate_factor, tilt = _coloured(emotion)
  own = 0.04 * np.clip(0.8 * pitch - 0.6 * size, -2, 2)
  return Speaker(
    f0_hz=_inside(norm, norm.f0_hz * np.exp(own) * f0_factor),
    f0_range=(1.0 + 0.15 * norm.unsteadiness) * range_factor,
    tract_cm=float(norm.tract_cm * np.exp(0.03 * size)),
    rate=float(norm.rate * np.exp(0.05 * tempo) * rate_factor),
    unsteadiness=norm.unsteadiness,
    breath=float(np.exp(0.3 * breath + 0.4 * norm.unsteadiness)),
    tilt_db=tilt,
  )


def _coloured(emotion: Emotion) -> tuple[float, float, float, float]:
  """The emotion's change, scaled by its intensity: factors geometrically, decibels linearly."""
  if emotion.label not in _EMOTION:
    raise InputError(f"emotion {emotion.label!r} is not one of {', '.join(EMOTIONS)}")
  f0, spread, rate, tilt = _EMOTION[emotion.label]
  x = float(np.clip(emotion.intensity, 0.0, 1.0))
  return f0**x, spread**x, rate**x, tilt * x


def _inside(norm: VoiceNorm, f0: float) -> float:
  margin = 0.015 * norm.f0_hz  # an estimator's own error
  return float(np.clip(f0, norm.f0_low_hz + margin, norm.f0_high_hz - margin))

"""What voices of a given age and gender are like: pitch, vocal-tract length, tempo, steadiness.

The curves below are piecewise linear between rounded anchor points. They follow these sources:

Pitch (f0 of running speech and vowels)
- Eguchi & Hirsh 1969, Acta Otolaryngologica Suppl. 257, 1-51: about 300 Hz at three years, falling; the spread within
  one child falls as well and reaches the adult's at about eleven.
- Sorenson 1989, J. Communication Disorders 22:115-123: six to ten years, 281 Hz (girls) and 262 Hz (boys), the
  difference not significant.
- Lee, Potamianos & Narayanan 1999, JASA 105:1455-1468 (436 children of 5 to 17): the boys' drop lies between 12 and 15.
- Hillenbrand, Getty, Clark & Wheeler 1995, JASA 97:3099-3111: ten to twelve years about 237 Hz, women 220, men 131.
- Vorperian et al. 2019, JASA 146:3255-3274: 4 to 20 years; f0 of the sexes parts from seven on.

Vocal-tract length (formants go with its inverse)
- Fitch & Giedd 1999, JASA 106:1511-1522 (MRI, 2 to 25 years): no difference of the sexes before puberty.
- Vorperian et al. 2005, JASA 117:338-350 and 2009, JASA 125:1666-1678 (imaging, birth to 19 years): how it grows.
- Vorperian & Kent 2007, JSLHR 50:1510-1545 (14 studies): boys' formants lie lower from four on, clearly from eight on;
  hence the small difference kept here. The level is set so that formants of 10- to 12-year-olds lie about 10 % above
  women's and men's about 14 % below, as in Hillenbrand et al. 1995.

Tempo and steadiness
- Mahr, Soriano, Rathouz & Hustad 2021, JSLHR 64 (570 children): median articulation rate 2.7 syllables a second at
  three years, 3.3 at eight, adult-like at about ten.
- Lee et al. 1999: durations, pitch and formants vary more from one repetition to the next the younger the child; the
  adults' spread is reached at about twelve.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import InputError

AGE_MIN, AGE_MAX = 3.0, 80.0
BAND = 0.10  # half-width of the f0 band, about one standard deviation between speakers of one age

# age -> (girl or woman, boy or man)
_F0_HZ = {
  3: (300, 298),
  4: (292, 288),
  5: (285, 279),
  6: (276, 268),
  8: (264, 256),
  10: (248, 244),
  11: (241, 238),
  12: (234, 226),
  13: (227, 196),
  14: (222, 166),
  15: (218, 146),
  16: (215, 133),
  18: (212, 125),
  25: (210, 122),
  50: (200, 118),
  80: (188, 128),
}
_TRACT_CM = {
  3: (10.80, 10.90),
  4: (11.15, 11.25),
  5: (11.45, 11.60),
  6: (11.70, 11.90),
  8: (12.15, 12.40),
  10: (12.55, 12.80),
  11: (12.75, 13.05),
  12: (13.00, 13.45),
  13: (13.30, 14.05),
  14: (13.55, 14.75),
  15: (13.75, 15.40),
  16: (13.90, 15.90),
  18: (14.10, 16.35),
  80: (14.10, 16.35),
}
_RATE = {3: 0.79, 4: 0.84, 5: 0.88, 6: 0.91, 8: 0.97, 10: 1.0, 60: 1.0, 80: 0.9}  # articulation rate, adult = 1
_UNSTEADINESS = {3: 1.0, 5: 0.7, 8: 0.4, 11: 0.15, 12: 0.1, 60: 0.1, 80: 0.25}  # 0 is a machine, 1 a three-year-old


@dataclasses.dataclass(frozen=True)
class VoiceNorm:
  """The typical voice of an age and a gender.

  Attributes:
    f0_hz: median fundamental frequency of running speech.
    f0_low_hz, f0_high_hz: the band that a speaker's median should lie in.
    tract_cm: vocal-tract length, glottis to lips.
    rate: articulation rate, 1 is an adult's.
    unsteadiness: how much durations and pitch vary beyond what the words ask for; 0 to 1 (a three-year-old).
  """

  f0_hz: float
  f0_low_hz: float
  f0_high_hz: float
  tract_cm: float
  rate: float
  unsteadiness: float


def voice_norm(age_years: float, gender: str) -> VoiceNorm:
  """Norm of an age (3 to 80 years) and "female" or "male"; InputError outside of these."""
  if not AGE_MIN <= age_years <= AGE_MAX:  # also true for NaN
    raise InputError(f"age {age_years:g} is outside {AGE_MIN:g} to {AGE_MAX:g} years")
  if gender not in ("female", "male"):
    raise InputError(f"gender {gender!r} of a voice is neither 'female' nor 'male'")
  column = 0 if gender == "female" else 1
  f0 = _at(age_years, {age: pair[column] for age, pair in _F0_HZ.items()})
  return VoiceNorm(
    f0_hz=f0,
    f0_low_hz=f0 * (1 - BAND),
    f0_high_hz=f0 * (1 + BAND),
    tract_cm=_at(age_years, {age: pair[column] for age, pair in _TRACT_CM.items()}),
    rate=_at(age_years, _RATE),
    unsteadiness=_at(age_years, _UNSTEADINESS),
  )


def _at(age: float, table: dict[int, float]) -> float:
  return float(np.interp(age, list(table), list(table.values())))

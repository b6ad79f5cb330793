"""Clip specs for voices: everything that a voice does not hear is left at its defaults."""

from fractions import Fraction

from jaxtalk.core import ClipSpec, Emotion, MotionStyle, Person, Scene

NEUTRAL = Emotion()


def make_spec(
  text, *, age=6.0, gender="female", seed=1, person_seed=None, emotion=NEUTRAL, voice="hibari", language="en"
):
  person = Person(
    seed=seed if person_seed is None else person_seed,
    age_years=age,
    gender=gender,
    ancestry=(0.0, 0.0, 1.0),
    face={},
    look={},
  )
  return ClipSpec(
    index=0,
    seed=seed,
    text=text,
    audio=None,
    voice=voice,
    language=language,
    person=person,
    emotion=emotion,
    style=MotionStyle(),
    scene=Scene(),
    fps=Fraction(25),
  )

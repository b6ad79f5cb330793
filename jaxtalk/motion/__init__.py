"""Motion spaces, rotations, animators and exchange formats."""

from __future__ import annotations

from collections.abc import Callable

from jaxtalk.core import Animator, InputError

ANIMATORS = ("auto", "procedural", "audio")


def make_animator(name: str) -> Animator:
  """An animator by name; InputError for a name that does not exist.

  "procedural" needs phones; "audio" follows nothing but the sound's energy and spectrum; "auto" decides for each clip:
  procedural where phones are known, audio where they are not.
  """
  from jaxtalk.motion import audio_driven, procedural

  makers: dict[str, Callable[[], Animator]] = {
    "auto": audio_driven.AutoAnimator,
    "procedural": procedural.ProceduralAnimator,
    "audio": audio_driven.AudioAnimator,
  }
  if name not in makers:
    raise InputError(f"unknown animator {name!r}: use one of {', '.join(ANIMATORS)}")
  return makers[name]()

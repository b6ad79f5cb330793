"""Motion spaces, rotations, animators and exchange formats."""

from __future__ import annotations

from collections.abc import Callable

from jaxtalk.core import Animator, InputError

ANIMATORS = ("procedural", "audio")


def make_animator(name: str) -> Animator:
  """An animator by name; InputError for a name that does not exist.

  "procedural" needs phones; "audio" follows nothing but the sound's energy and spectrum. The learned one is
  `systems.motion_flow_stream.MotionFlowAnimator`.
  """
  from jaxtalk.motion import audio_driven, procedural

  makers: dict[str, Callable[[], Animator]] = {
    "procedural": procedural.ProceduralAnimator,
    "audio": audio_driven.AudioAnimator,
  }
  if name not in makers:
    raise InputError(f"unknown animator {name!r}: use one of {', '.join(ANIMATORS)}")
  return makers[name]()

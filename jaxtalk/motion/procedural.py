"""The procedural animator: phones in, a talking face out. Baseline, teacher and ground truth of the house."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jaxtalk.core import InputError, Motion, Phone, Speech
from jaxtalk.motion import articulation, cues, performance
from jaxtalk.motion.performance import Manner, MouthPlan


class ProceduralAnimator(performance.OneByOne):
  """Animates speech whose phones are known; see ``articulation`` for the mouth and ``performance`` for the rest."""

  def animate_one(self, speech: Speech, fps: Fraction, manner: Manner) -> Motion:
    """The motion of one speech."""
    return animate_one(speech, fps, manner)


def animate_one(speech: Speech, fps: Fraction, manner: Manner) -> Motion:
  """The motion of one speech with phones."""
  if not speech.phones:
    raise InputError("the procedural animator needs phones: use the animator 'audio' for a recording without them")
  t = performance.frame_times(performance.num_frames(speech, fps), fps)
  heard = cues.from_phones(speech)
  return performance.perform(t, plan_mouth(t, speech.phones, heard, manner, fps), heard, manner, fps)


def plan_mouth(t: np.ndarray, phones: Sequence[Phone], heard: cues.Cues, manner: Manner, fps: Fraction) -> MouthPlan:
  """Coarticulated tracks with closures, opened by loudness."""
  frame = 1.0 / float(fps)
  tracks = articulation.blend(t, articulation.segments(phones, manner.style.articulation))
  loud = 0.82 + 0.36 * heard.loudness_at(t)
  for name in ("gap", "jaw"):
    tracks[name] = tracks[name] * loud
  for name in ("pucker", "funnel", "spread", "upper", "lower"):
    tracks[name] = tracks[name] * min(manner.style.articulation, 1.25)
  lips = articulation.constriction(phones, "bilabial", frame)(t)
  tuck = articulation.constriction(phones, "labiodental", frame)(t)
  return MouthPlan(tracks=tracks, lips=lips, tuck=tuck * (1.0 - lips))

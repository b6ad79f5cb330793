"""From mouth tracks and cues to a whole face: what every procedural animator shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jaxtalk.core import Emotion, InputError, Motion, MotionStyle, Speech
from jaxtalk.motion import curves, emotion, eyes, head, mouth, spaces
from jaxtalk.motion.cues import Cues

TUCK_GAP = 0.055  # under the upper lip, where the lower lip touches the teeth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manner:
  """How one clip is performed: emotion, style, age in years, and the seed of everything that is drawn."""

  emotion: Emotion
  style: MotionStyle
  age: float
  seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class MouthPlan:
  """What the mouth does: articulator tracks (T,) and where it must be shut.

  Attributes:
    tracks: articulator -> (T,), before closures.
    lips: (T,) in [0, 1], 1 where the lips must meet.
    tuck: (T,) in [0, 1], 1 where the lower lip must touch the upper teeth.
  """

  tracks: dict[str, np.ndarray]
  lips: np.ndarray
  tuck: np.ndarray


def num_frames(speech: Speech, fps: Fraction) -> int:
  """Frames of a clip: the duration rounded to whole frames, at least one."""
  return max(1, round(speech.duration * fps))


def frame_times(count: int, fps: Fraction) -> np.ndarray:
  """(T,) middles of the frames in seconds."""
  return (np.arange(count) + 0.5) / float(fps)


class OneByOne:
  """Base of animators (`core.Animator`) that make each motion by itself: they bring ``animate_one``."""

  def animate_one(self, speech: Speech, fps: Fraction, manner: Manner) -> Motion:
    """The motion of one speech."""
    raise NotImplementedError

  def animate(
    self,
    speeches: Sequence[Speech],
    *,
    fps: Fraction,
    seeds: Sequence[int],
    emotions: Sequence[Emotion],
    styles: Sequence[MotionStyle],
    ages: Sequence[float],
  ) -> list[Motion]:
    """One motion in ``spaces.ARKIT`` for each speech, in order; InputError for columns of other lengths, no sound."""
    for column in (seeds, emotions, styles, ages):
      if len(column) != len(speeches):
        raise InputError(f"animate got {len(speeches)} speeches and {len(column)} seeds, emotions, styles or ages")
    for i, speech in enumerate(speeches):
      if not len(speech.waveform):
        raise InputError(f"speech {i} is empty: there is nothing to animate")
      if not np.isfinite(speech.waveform).all():
        raise InputError(f"speech {i} has samples that are NaN or infinite: repair the recording")
    columns = zip(speeches, seeds, emotions, styles, ages, strict=True)
    return [self.animate_one(s, fps, Manner(seed=k, emotion=e, style=m, age=a)) for s, k, e, m, a in columns]


def perform(t: np.ndarray, plan: MouthPlan, cues: Cues, manner: Manner, fps: Fraction) -> Motion:
  """The whole face for a mouth plan.

  Args:
    t: (T,) middles of the frames, seconds.
    plan: what the mouth does.
    cues: what face and head react to.
    manner: emotion, style, age, seed.
    fps: of the motion.
  """
  values = np.zeros((len(t), len(spaces.ARKIT)))
  proto = emotion.prototype(manner.emotion)
  level = emotion.envelope(t, cues, manner.emotion, manner.seed)
  speaking = cues.speaking(t)

  times, targets, away = eyes.gaze_targets(cues, manner.style, proto, manner.seed)
  follow = eyes.head_share(t, times, np.where(away[:, None], targets, 0.0))
  head.add_head(values, t, cues, manner.style, proto, level, follow, manner.age, manner.seed)
  eyes.add_eyes(values, t, eyes.gaze_curve(t, times, targets), manner.seed)
  _add_accents(values, t, cues, manner)
  parted = emotion.add_emotion(values, manner.emotion, level, speaking, np.maximum(plan.lips, plan.tuck))
  _move_mouth(values, plan, parted, manner)
  large = np.linalg.norm(np.diff(targets, axis=0, prepend=targets[:1]), axis=1) > np.deg2rad(8.0)
  rate = eyes.blink_rate(manner.style, manner.age, proto)
  eyes.add_blinks(values, t, eyes.blink_times(cues, rate, times[large], manner.seed), manner.seed)
  values[:, spaces.FACE] = np.clip(values[:, spaces.FACE], 0.0, 1.0)
  return Motion(values=values.astype(np.float32), fps=fps, space=spaces.ARKIT)


def _move_mouth(values: np.ndarray, plan: MouthPlan, parted: np.ndarray, manner: Manner) -> None:
  """Writes the mouth channels: gestures first, then the jaw and the closure that give the planned gap."""
  tracks = dict(plan.tracks)
  tracks["press"] = tracks["press"] + plan.lips**2
  tracks["tuck"] = np.maximum(tracks["tuck"], plan.tuck)
  shut = 1.0 - plan.lips
  gap = (tracks["gap"] + parted) * shut
  # A tucked lip leaves no more than the slit under the upper lip that shows the teeth.
  gap = gap * (1.0 - plan.tuck) + np.minimum(gap, TUCK_GAP) * plan.tuck
  jaw = (tracks["jaw"] + 0.8 * parted) * (1.0 - 0.25 * plan.lips)
  mouth.add_articulation(values, tracks)
  mouth.add_asymmetry(values, manner.style.asymmetry)
  mouth.solve_gap(values, np.clip(jaw, 0.0, 0.9), gap)


def _add_accents(values: np.ndarray, t: np.ndarray, cues: Cues, manner: Manner) -> None:
  """Brows on accents, cheeks with loudness, and small idle movement."""
  rng = curves.generator(manner.seed, "brows")
  amount = manner.style.expressiveness * head.liveliness(manner.age)
  for name, track in _brow_accents(t, cues, manner, rng).items():
    idle = 0.02 + 0.025 * np.clip(curves.noise(t, rng, 1.3), -0.8, 2.0)
    mouth.add(values, name, amount * track + idle)
  mouth.add(values, "eyeSquint", 0.04 + 0.03 * np.clip(curves.noise(t, rng, 1.7), -1.0, 2.0))
  mouth.add(values, "cheekSquint", 0.12 * amount * np.interp(t, cues.times, curves.smooth(cues.loudness, 0.01, 0.15)))


def _brow_accents(t: np.ndarray, cues: Cues, manner: Manner, rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Raised brows, or frowns, that hold through some of the accented syllables."""
  count = len(cues.accents)
  chosen = rng.uniform(size=count) < 0.10 + 0.30 * cues.strengths
  height = chosen * rng.uniform(0.10, 0.34, count) * (0.5 + 0.5 * cues.strengths)
  length, hold = rng.uniform(0.14, 0.24, count), rng.uniform(0.05, 0.3, count)
  frown = rng.uniform(size=count) < emotion.prototype(manner.emotion).frowns

  def waves(heights: np.ndarray) -> np.ndarray:
    return curves.pulses(t, cues.accents - 1.1 * length, length, hold, 1.5 * length, heights)

  raised = waves(height * ~frown)
  return {"browInnerUp": raised, "browOuterUp": 0.8 * raised, "browDown": 0.8 * waves(height * frown)}

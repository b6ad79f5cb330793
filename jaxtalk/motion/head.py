"""Head motion: posture, slow sway, phrase drift, nods on accents, breathing.

Head motion of speakers follows the voice: nods fall on stressed syllables and posture shifts on phrase boundaries
(Hadar et al. 1983; Graf et al. 2002). Amplitudes are those of lively children in conversation, at ``style.head`` 1.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.core import MotionStyle
from jaxtalk.motion import curves, spaces
from jaxtalk.motion.cues import Cues
from jaxtalk.motion.emotion import Prototype

MAX_SPEED = np.deg2rad(90.0)  # at ``style.head`` 1 nothing is faster; typical peaks are half of it
MAX_ANGLE = np.deg2rad(np.array([24.0, 18.0, 14.0]))
_SWAY = np.deg2rad(np.array([1.9, 1.3, 1.3]))
_DRIFT = np.deg2rad(np.array([3.2, 1.7, 2.0]))


def liveliness(age: float) -> float:
  """Factor of movement by age: three-year-olds move most, adults least."""
  return float(np.interp(age, [3.0, 8.0, 14.0, 30.0], [1.3, 1.1, 0.9, 0.75]))


def add_head(
  values: np.ndarray,
  t: np.ndarray,
  cues: Cues,
  style: MotionStyle,
  proto: Prototype,
  level: np.ndarray,
  follow: np.ndarray,
  age: float,
  seed: int,
) -> None:
  """Sets the head's yaw, pitch and roll in ``values`` (T, 61), in place.

  Args:
    values: motion being built.
    t: (T,) seconds.
    cues: accents and phrases.
    style: ``head`` scales everything.
    proto: emotion; its posture comes in with ``level`` (T,), its energy scales movement.
    follow: (T, 2) the head's share of gaze shifts, from ``eyes.head_share``.
    age: years.
    seed: of the clip.
  """
  amount = style.head * liveliness(age) * (1.0 + (proto.energy - 1.0) * float(np.mean(level)))
  motion = amount * (_sway(t, seed) + _drift(t, cues, seed) + _nods(t, cues, seed))
  motion += level[:, None] * np.array(proto.head)
  # Those who turn to look aside also bend their heads a little towards it.
  motion += style.head * np.stack([follow[:, 0], follow[:, 1], -0.25 * follow[:, 0]], axis=1)
  motion[:, 1] += _breathing(t, age, seed)
  values[:, spaces.HEAD] = _limit(motion)


def _limit(motion: np.ndarray) -> np.ndarray:
  """Bends large angles softly below ``MAX_ANGLE``; never raises the speed."""
  return MAX_ANGLE * np.tanh(motion / MAX_ANGLE)


def _sway(t: np.ndarray, seed: int) -> np.ndarray:
  rng = curves.generator(seed, "sway")
  slow = np.stack([curves.noise(t, rng, 2.2) for _ in range(3)], axis=1)
  quick = np.stack([curves.noise(t, rng, 0.7) for _ in range(3)], axis=1)
  return _SWAY * (0.85 * slow + 0.18 * quick)


def _drift(t: np.ndarray, cues: Cues, seed: int) -> np.ndarray:
  """A new posture for every phrase, and now and then within a long one."""
  rng = curves.generator(seed, "drift")
  extra = np.cumsum(rng.uniform(1.2, 2.6, int(cues.duration) + 2))
  times = np.sort(np.concatenate([[0.0], cues.phrases, extra[extra < cues.duration]]))
  times = times[np.diff(times, prepend=-1.0) > 0.5]
  levels = _DRIFT * np.clip(rng.standard_normal((len(times), 3)), -1.8, 1.8)
  return curves.stairs(t, times - 0.25, levels, rng.uniform(0.7, 1.2, len(times)))


def _nods(t: np.ndarray, cues: Cues, seed: int) -> np.ndarray:
  """Nods that are lowest at accented vowels, with a small lift before, and a little yaw and roll."""
  rng = curves.generator(seed, "nods")
  chosen = rng.uniform(size=len(cues.accents)) < 0.35 + 0.5 * cues.strengths
  apart = np.diff(cues.accents, prepend=-1.0) > 0.22
  size = np.deg2rad(rng.uniform(1.2, 3.6, len(chosen))) * (0.4 + 0.6 * cues.strengths) * (chosen & apart)
  rise = rng.uniform(0.17, 0.24, len(chosen))
  side = rng.normal(0.0, 0.35, (2, len(chosen)))

  def dips(height: np.ndarray) -> np.ndarray:
    return curves.pulses(t, cues.accents - rise, rise, 0.02, 1.6 * rise, height, add=True)

  lift = curves.pulses(t, cues.accents - 2.1 * rise, rise, 0.0, rise, 0.3 * size, add=True)
  return np.stack([dips(size * side[0]), dips(size) - lift, dips(size * side[1])], axis=1)


def _breathing(t: np.ndarray, age: float, seed: int) -> np.ndarray:
  """Quiet breathing: 0.4 Hz at three years, 0.25 Hz in adults; a quarter of a degree."""
  rate = float(np.interp(age, [3.0, 18.0], [0.40, 0.25]))
  phase = curves.generator(seed, "breath").uniform(0.0, 2.0 * np.pi)
  return np.deg2rad(0.25) * np.sin(2.0 * np.pi * rate * t + phase)

"""Blinks, gaze and lids.

Gaze is planned in the world (where the listener is), and the eyes are what is left after the head has turned: they
counter-rotate, so that somebody who nods keeps eye contact. The listener is straight ahead of the resting head.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.core import MotionStyle
from jaxtalk.motion import curves, mouth, spaces
from jaxtalk.motion.cues import Cues
from jaxtalk.motion.emotion import Prototype

MAX_EYE_YAW, MAX_EYE_PITCH = np.deg2rad(32.0), np.deg2rad(25.0)
AVERSION_SECONDS = 0.9
_CLOSING, _SHUT, _OPENING = 0.085, 0.05, 0.17  # seconds; about 180 ms at half height


def blink_rate(style: MotionStyle, age: float, proto: Prototype) -> float:
  """Blinks a second: the style's at age 12, less in younger children, more in adults (Zametkin et al. 1979)."""
  return style.blink_rate / 60.0 * float(np.interp(age, [3.0, 12.0, 20.0], [0.75, 1.0, 1.4])) * proto.blinks


def blink_times(cues: Cues, rate: float, shifts: np.ndarray, seed: int) -> np.ndarray:
  """Starts of blinks: a renewal process with lognormal intervals, drawn to phrase ends and to large gaze shifts."""
  rng = curves.generator(seed, "blinks")
  if rate <= 0.0:
    return np.zeros(0)
  mean, spread = 1.0 / rate, 0.55
  count = int(np.ceil(3.0 * cues.duration * rate)) + 4
  intervals = mean * np.exp(spread * rng.standard_normal(count) - spread**2 / 2.0)
  times = np.cumsum(intervals) - rng.uniform() * intervals[0]
  magnets = np.sort(np.concatenate([cues.pauses[:, 0] + 0.03, shifts]))
  if len(magnets):
    nearest = magnets[np.abs(times[:, None] - magnets[None]).argmin(axis=1)]
    drawn = (np.abs(nearest - times) < 0.5) & (rng.uniform(size=count) < 0.7)
    times = np.where(drawn, nearest, times)
  times = np.sort(times[times < cues.duration])
  gaps = np.diff(times, prepend=-1.0)
  return times[gaps > 0.45]


def add_blinks(values: np.ndarray, t: np.ndarray, times: np.ndarray, seed: int) -> None:
  """Adds blinks to ``eyeBlinkLeft/Right`` in place; a closed lid stays at 1 whatever else squints or droops."""
  rng = curves.generator(seed, "blink shapes")
  pace = rng.uniform(0.88, 1.2, len(times))
  depth = rng.uniform(0.94, 1.0, len(times))
  lids = curves.pulses(t, times, pace * _CLOSING, pace * _SHUT, pace * _OPENING, depth)
  for side in ("Left", "Right"):
    column = values[:, spaces.ARKIT.index("eyeBlink" + side)]
    column += lids * (1.0 - np.clip(column, 0.0, 1.0))
    # Wide eyes and squints give way to the lid that comes down.
    for name, share in (("eyeWide", 1.0), ("eyeSquint", 0.4)):
      values[:, spaces.ARKIT.index(name + side)] *= 1.0 - share * lids


def gaze_targets(
  cues: Cues, style: MotionStyle, proto: Prototype, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Plans where to look.

  Returns:
    times (N,), targets (N, 2) yaw and pitch in radians in the world, and away (N,) bool. Contact is broken into small
    shifts over the listener's face; aversions prefer to begin in pauses and at phrase starts.
  """
  rng = curves.generator(seed, "gaze")
  share = float(np.clip(style.gaze_aversion, 0.0, 0.9))
  anchors = np.concatenate([cues.pauses[:, 0], cues.phrases])
  times, targets, away = [0.0], [_face_point(rng)], [False]
  averted = bool(rng.uniform() < 0.5 * share)
  now = 0.0
  if averted:
    targets, away = [_aside(rng, proto)], [True]
  mean_contact = AVERSION_SECONDS * (1.0 - share) / share if share > 0.0 else np.inf
  while now < cues.duration:
    mean = AVERSION_SECONDS if averted else mean_contact
    length = max(0.35, rng.gamma(3.0, mean / 3.0)) if np.isfinite(mean) else cues.duration + 1.0
    end = now + length
    if not averted and len(anchors):
      near = anchors[np.abs(anchors - end).argmin()]
      end = near if abs(near - end) < 0.4 and near > now + 0.3 else end
    for time in _fixations(rng, now, min(end, cues.duration), averted):
      times.append(time)
      targets.append(targets[-1] + rng.normal(0.0, 0.02, 2) if averted else _face_point(rng))
      away.append(averted)
    averted, now = not averted, end
    if now < cues.duration:
      times.append(now)
      targets.append(_aside(rng, proto) if averted else _face_point(rng))
      away.append(averted)
  return np.array(times), np.array(targets), np.array(away)


def _fixations(rng: np.random.Generator, start: float, end: float, averted: bool) -> np.ndarray:
  """Times of the small saccades inside one look."""
  lengths = rng.gamma(3.0, (0.55 if averted else 0.75) / 3.0, size=int((end - start) * 8) + 1)
  times = start + np.cumsum(np.maximum(lengths, 0.18))
  return times[times < end - 0.18]


def _face_point(rng: np.random.Generator) -> np.ndarray:
  """A point of the listener's face (eyes, mostly), as seen from a metre away."""
  return np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.008, 0.03), rng.normal(0.0, 0.012)])


def _aside(rng: np.random.Generator, proto: Prototype) -> np.ndarray:
  """A place beside the listener; up to the side while thinking, down when sad."""
  yaw = rng.choice([-1.0, 1.0]) * np.deg2rad(rng.uniform(9.0, 24.0))
  pitch = np.deg2rad(rng.choice([-1.0, 1.0], p=[0.45, 0.55]) * rng.uniform(2.0, 10.0))
  return np.array([yaw, pitch + proto.gaze])


def gaze_curve(t: np.ndarray, times: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """(T, 2) gaze with saccades that last 21 ms and 2.2 ms more for every degree (Bahill et al. 1975)."""
  size = np.rad2deg(np.linalg.norm(np.diff(targets, axis=0, prepend=targets[:1]), axis=1))
  return curves.stairs(t, times, targets, 0.021 + 0.0022 * size)


def head_share(t: np.ndarray, times: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """(T, 2) what the head adds to gaze: a third of each aside, a little later and much slower than the eyes."""
  size = np.linalg.norm(np.diff(targets, axis=0, prepend=targets[:1]), axis=1)
  return curves.stairs(t, times + 0.04, 0.32 * targets, 0.30 + 0.9 * size)


def add_eyes(values: np.ndarray, t: np.ndarray, gaze: np.ndarray, seed: int) -> None:
  """Sets eye rotations and eyeLook weights from (T, 2) gaze in the world and the head's columns, in place."""
  rng = curves.generator(seed, "vergence")
  head = values[:, spaces.HEAD]
  relative = gaze - head[:, :2]
  drift = 0.0035 * np.stack([curves.noise(t, rng, 0.35), curves.noise(t, rng, 0.35)], axis=1)
  relative = np.clip(relative + drift, [-MAX_EYE_YAW, -MAX_EYE_PITCH], [MAX_EYE_YAW, MAX_EYE_PITCH])
  vergence = 0.02  # half the angle between eyes 60 mm apart that meet 1.5 m ahead
  left, right = relative - [vergence, 0.0], relative + [vergence, 0.0]
  values[:, spaces.LEFT_EYE][:, :2] = left
  values[:, spaces.RIGHT_EYE][:, :2] = right
  for name, weight in spaces.eye_look_weights(left, right).items():
    values[:, spaces.ARKIT.index(name)] = weight
  # The upper lid rides on the eyeball: it comes down as the eye does, and goes up with it.
  mouth.add(values, "eyeBlink", 0.10 * np.clip(relative[:, 1] / spaces.EYE_LOOK_PITCH, 0.0, 1.0))
  mouth.add(values, "eyeWide", 0.25 * np.clip(-relative[:, 1] / spaces.EYE_LOOK_PITCH, 0.0, 1.0))

"""Takes for `talking_portrait`: who says what under which light, never seen in training, and what renderers make of it.

People, sentences, emotions, cameras, light and backgrounds come from the plan of the quick start with a seed of its
own; motions are those of the default animator, with a blink added about every 1.2 seconds, for clips of a few seconds
have too few to be counted. Every person appears in several clips under other lights.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.clips.command import make_animator_of, make_voice_of
from jaxtalk.clips.plan import Plan
from jaxtalk.core import ClipSpec, Motion, Person, Renderer, Speech
from jaxtalk.data.performances import join
from jaxtalk.metrics import head_pose
from jaxtalk.motion import eyes
from jaxtalk.motion.rotations import matrix_from_axis_angle
from jaxtalk.motion.spaces import ARKIT, HEAD
from jaxtalk.studio.person import head_scale

BLINK_EVERY = 1.2  # seconds
CALIBRATION_TURNS = tuple((yaw, pitch) for pitch in (0, -12, 12) for yaw in (0, -20, 20, -10, 10))  # degrees
SHUT_TURNS = ((0, 0), (-20, 0), (20, 0), (0, -12), (0, 12))
_SKULL = (27, 28, 29, 30, 31, 35, 36, 39, 42, 45)  # landmarks that turn with the head and do not move on it
_BLINKS = tuple(ARKIT.index("eyeBlink" + side) for side in ("Left", "Right"))
_MOUTH = [i for i, name in enumerate(ARKIT.channels) if name.startswith(("jaw", "mouth"))]


@dataclasses.dataclass(frozen=True)
class Take:
  """What is asked of a renderer: a motion of ``spec``'s person in its scene."""

  spec: ClipSpec
  motion: Motion

  def blink_label(self) -> np.ndarray:
    """(T,) mean of both lids."""
    return np.asarray(self.motion.values)[:, list(_BLINKS)].mean(1)

  def rotations(self, labels: dict[str, np.ndarray]) -> np.ndarray:
    """(T, 3, 3) head to camera, exact."""
    return np.einsum("tij,tjk->tik", labels["cam_Rt"][:, :, :3], matrix_from_axis_angle(labels["head_aa"]))


@dataclasses.dataclass(frozen=True)
class Film:
  """What a renderer made of a take: ``images`` (T, H, W, 3) uint8 and the labels of all frames."""

  images: np.ndarray
  labels: dict[str, np.ndarray]


def quickstart(seed: int, clips: int, size: int) -> Any:
  """The config of the quick start for so many clips."""
  file = Path(__file__).resolve().parent.parent / "configs" / "quickstart.py"
  spec = importlib.util.spec_from_file_location("quickstart", file)
  if spec is None or spec.loader is None:
    raise ImportError(str(file))
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config()
  config.seed, config.num_clips, config.size = seed, clips, size
  return config


class Studio:
  """Makes takes; the voice and the animator are loaded once.

  Args:
    seed: of the plan.
    people, clips: so many people, and so many clips of each.
    size: pixels.
  """

  def __init__(self, seed: int, people: int, clips: int, size: int, extras: int):
    config = quickstart(seed, people * clips + extras, size)
    self._plan, self._people, self._clips = Plan(config), people, clips
    self._voice, self._animator = make_voice_of(config), make_animator_of(config)

  def takes(self, seconds: float) -> list[Take]:
    """All takes, a person's after one another, cut to ``seconds``."""
    out = []
    for i in range(self._people * self._clips):
      spec = with_person(self._plan[i], self._plan[i // self._clips * self._clips].person)
      motion = self._animate(spec, self._voice.speak(spec))
      values = np.array(motion.values, np.float64)[: round(seconds * spec.fps)]
      out.append(Take(spec, with_blinks(values, spec)))
    return out

  def long_take(self, seconds: float) -> Take:
    """The first person speaking for so long, sentence after sentence."""
    said: list[Speech] = []
    while not said or sum(s.duration + 0.3 for s in said) < seconds:
      said.append(self._voice.speak(self._plan[len(said) % len(self._plan)]))
    motion = self._animate(self._plan[0], join(said, [0.3] * (len(said) - 1)))
    values = np.array(motion.values, np.float64)[: round(seconds * motion.fps)]
    return Take(self._plan[0], with_blinks(values, self._plan[0]))

  def portraits(self, count: int, frames: np.ndarray, each: int) -> Iterator[Take]:
    """``count`` further people, each in ``each`` of the motion frames (N, 61), drawn."""
    for i in range(count):
      spec = self._plan[self._people * self._clips + i]
      drawn = np.random.default_rng(spec.seed).choice(len(frames), each, replace=False)
      yield Take(spec, Motion(values=frames[drawn], fps=spec.fps, space=ARKIT))

  def _animate(self, spec: ClipSpec, speech: Speech) -> Motion:
    (motion,) = self._animator.animate(
      [speech], fps=spec.fps, seeds=[spec.seed], emotions=[spec.emotion], styles=[spec.style],
      ages=[spec.person.age_years],
    )  # fmt: skip
    return motion


def with_person(spec: ClipSpec, person: Person) -> ClipSpec:
  """A clip with another person, whom the camera takes as large as the one it was planned for."""
  camera = spec.scene.camera
  nearer = head_scale(person.age_years) / head_scale(spec.person.age_years)
  camera = dataclasses.replace(camera, distance=camera.distance * nearer)
  return dataclasses.replace(spec, person=person, scene=dataclasses.replace(spec.scene, camera=camera))


def with_blinks(values: np.ndarray, spec: ClipSpec) -> Motion:
  """The motion (T, 61) with blinks of the house's shape added."""
  t = (np.arange(len(values)) + 0.5) / float(spec.fps)
  times = np.arange(0.5, max(0.51, t[-1] - 0.4), BLINK_EVERY)
  times = times + np.random.default_rng(spec.seed).uniform(-0.2, 0.2, len(times))
  eyes.add_blinks(values, t, times, spec.seed)
  return Motion(values=values.astype(np.float32), fps=spec.fps, space=ARKIT)


def calibration(spec: ClipSpec) -> Take:
  """A face at rest in known poses, then with shut eyes: see ``CALIBRATION_TURNS`` and ``SHUT_TURNS``."""
  values = np.zeros((len(CALIBRATION_TURNS) + len(SHUT_TURNS), len(ARKIT)), np.float32)
  values[:, HEAD.start : HEAD.start + 2] = np.radians(CALIBRATION_TURNS + SHUT_TURNS)
  values[len(CALIBRATION_TURNS) :, list(_BLINKS)] = 1.0
  return Take(spec, Motion(values=values, fps=Fraction(25), space=ARKIT))


def mouth_only(take: Take) -> Take:
  """The same speech with everything but jaw and mouth held as in the first frame."""
  values = np.repeat(np.asarray(take.motion.values)[:1], take.motion.num_frames, axis=0)
  values[:, _MOUTH] = np.asarray(take.motion.values)[:, _MOUTH]
  return dataclasses.replace(take, motion=dataclasses.replace(take.motion, values=values))


def film(renderer: Renderer, take: Take, every: int = 1) -> Film:
  """The whole take; of its frames only every so many are kept."""
  parts = list(_thinned(renderer, take, every))
  k = parts[0][1].pop("K")
  for _, labels in parts[1:]:
    labels.pop("K")
  joined = {name: np.concatenate([labels[name] for _, labels in parts]) for name in parts[0][1]}
  return Film(np.concatenate([images for images, _ in parts]), joined | {"K": k})


def _thinned(renderer: Renderer, take: Take, every: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
  first = 0
  for part in renderer.render(take.motion, take.spec.person, take.spec.scene, seed=take.spec.seed):
    kept = slice(-first % every, None, every)
    labels = {name: value if name == "K" else value[kept] for name, value in part.labels.items()}
    yield part.images[kept], labels
    first += len(part.images)


def body_poses(labels: dict[str, np.ndarray]) -> np.ndarray:
  """(T, 3, 4) to the camera from the head as it stands in frame 0, from the exact landmarks of a skull at rest."""
  skull = labels["lm3d_m"][:, list(_SKULL)].astype(np.float64)
  out = []
  for points, rt in zip(skull, labels["cam_Rt"], strict=True):
    rotation, shift = head_pose.rigid_motion(skull[0], points)
    out.append(np.concatenate([rt[:, :3] @ rotation, (rt[:, :3] @ shift + rt[:, 3])[:, None]], axis=1))
  return np.stack(out)

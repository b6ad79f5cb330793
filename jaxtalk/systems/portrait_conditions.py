"""What the talking portrait is told: identity as a latent, everything else as one vector of numbers.

A person's face shape is drawn from normal distributions (`studio.person.FACE_AXES`); standardised, it is the latent z,
so that a seed, a person and a latent are the same thing. The condition c is what is said about person, place and
motion: `NAMES` has a name for each of its numbers. Angles are those that the camera sees, in radians.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.core import Person, Scene
from jaxtalk.motion.rotations import matrix_from_ypr, ypr_from_matrix
from jaxtalk.motion.spaces import FACE_CHANNELS, HEAD, LEFT_EYE, RIGHT_EYE
from jaxtalk.studio.lighting import ENVIRONMENTS, direction
from jaxtalk.studio.person import (
  ANCESTRIES,
  CLOTHES,
  CLOTHES_COLOURS,
  EYE_COLOURS,
  FACE_AXES,
  HAIR_COLOURS,
  HAIR_WEIGHTS,
  SKIN_TONES,
  childness,
)

Z_DIM = 64
_TO_OPENCV = np.diag([1.0, -1.0, -1.0])  # x right, y up, z towards the camera -> OpenCV axes
_RGB = ("red", "green", "blue")
PERSON_NAMES = (
  "childness", "log_age", "female", *(f"ancestry_{n}" for n in ANCESTRIES), "skin_tone", *(f"skin_{n}" for n in _RGB),
  *(f"hair_{n}" for n in HAIR_WEIGHTS), *(f"hair_colour_{n}" for n in _RGB), *(f"eye_colour_{n}" for n in _RGB),
  "freckles", "brow_thickness", *(f"clothes_{n}" for n in CLOTHES), *(f"clothes_colour_{n}" for n in _RGB),
)  # fmt: skip
SCENE_NAMES = (
  "camera_yaw", "camera_pitch", "camera_distance", "camera_focal", *(f"key_{n}" for n in "xyz"),
  *(f"key_{n}" for n in _RGB), *(f"environment_{n}" for n in ENVIRONMENTS),
)  # fmt: skip
MOTION_NAMES = (
  *FACE_CHANNELS, "head_yaw", "head_pitch", "head_roll", *(f"head_x_{n}" for n in "xyz"),
  *(f"head_z_{n}" for n in "xyz"), *(f"{side}_eye_{n}" for side in ("left", "right") for n in ("yaw", "pitch")),
)  # fmt: skip
NAMES = (*PERSON_NAMES, *SCENE_NAMES, *MOTION_NAMES)
C_DIM = len(NAMES)
# Choices among names, and freckles from 0 to 1, are in range whatever they are; however rare, they were learnt from.
CHOICES = frozenset(
  ["freckles"]
  + [f"hair_{name}" for name in HAIR_WEIGHTS]
  + [f"clothes_{name}" for name in CLOTHES]
  + [f"environment_{name}" for name in ENVIRONMENTS]
)


def latent(person: Person) -> np.ndarray:
  """(Z_DIM,) float32, spread like N(0, I) over the people of `studio.person.sample_person`."""
  k, amount = childness(person.age_years), 1.0 if person.age_years >= 12 else 0.85
  shape = [(person.face.get(name, shift * k) - shift * k) / (amount * std) for name, (std, shift) in FACE_AXES.items()]
  shape.append(person.face.get("build", 0.0) / 0.25)
  rest = np.random.default_rng(np.random.SeedSequence([person.seed, 0x1A7])).standard_normal(Z_DIM - len(shape))
  return np.concatenate([shape, rest]).astype(np.float32)


def person_numbers(person: Person) -> np.ndarray:
  """Numbers (len(PERSON_NAMES),) of who is shown."""
  look = person.look

  def one_hot(name: str, options) -> list[float]:
    return [float(look[name] == option) for option in options]

  def colour(rgb) -> list[float]:
    return [(value / 255) ** 2.2 for value in rgb]

  return np.array([
    childness(person.age_years), np.log(person.age_years), float(person.gender == "female"), *person.ancestry,
    look["skin"], *colour(SKIN_TONES[look["skin"] - 1]), *one_hot("hair", HAIR_WEIGHTS),
    *colour(HAIR_COLOURS[look["hair_colour"]]), *colour(EYE_COLOURS[look["eye_colour"]]), look["freckles"],
    look["brow_thickness"], *one_hot("clothes", CLOTHES), *colour(CLOTHES_COLOURS[look["clothes_colour"]]),
  ])  # fmt: skip


def scene_numbers(scene: Scene, rt: np.ndarray) -> np.ndarray:
  """Numbers (len(SCENE_NAMES),) of camera and light; ``rt`` (3, 4) is world to OpenCV camera."""
  camera, light = scene.camera, scene.light
  key = _TO_OPENCV @ rt[:, :3] @ direction(light.key_yaw, light.key_pitch)
  return np.array([
    camera.yaw, camera.pitch, camera.distance, camera.focal_mm / 100, *key,
    *(light.key_intensity * np.asarray(light.key_colour)),
    *(light.environment_intensity * float(light.environment == name) for name in ENVIRONMENTS),
  ])  # fmt: skip


def motion_numbers(frames: np.ndarray, rt: np.ndarray) -> np.ndarray:
  """Numbers (T, len(MOTION_NAMES)) of motion frames (T, 61) of the ARKit space, the head as the camera sees it."""
  seen = np.einsum("ij,tjk->tik", _TO_OPENCV @ rt[:, :3], np.asarray(matrix_from_ypr(frames[:, HEAD].astype(float))))
  angles = np.asarray(ypr_from_matrix(seen))
  eyes = [frames[:, LEFT_EYE][:, :2], frames[:, RIGHT_EYE][:, :2]]
  return np.concatenate([frames[:, : len(FACE_CHANNELS)], angles, seen[:, :, 0], seen[:, :, 2], *eyes], axis=1)


def conditions(person: Person, scene: Scene, frames: np.ndarray, rt: np.ndarray) -> np.ndarray:
  """(T, C_DIM) float32 of a clip's frames (T, 61), not standardised."""
  still = np.concatenate([person_numbers(person), scene_numbers(scene, rt)])
  moving = motion_numbers(frames, rt)
  return np.concatenate([np.broadcast_to(still, (len(moving), len(still))), moving], axis=1).astype(np.float32)

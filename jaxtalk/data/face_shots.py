"""What is drawn for a picture of the face set: expression, pose, gaze, light and backdrop, each from its own stream."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import Camera, Light, Person
from jaxtalk.motion.rotations import matrix_from_ypr, ypr_from_matrix
from jaxtalk.motion.spaces import ARKIT, HEAD, LEFT_EYE, RIGHT_EYE, eye_look_weights
from jaxtalk.studio.lighting import ENVIRONMENTS, direction
from jaxtalk.studio.person import head_scale

MAX_YAW, MAX_PITCH, MAX_ROLL = 25.0, 15.0, 5.0  # degrees, of the head in the picture
BACKDROPS = {"plain": 0.55, "playroom": 0.15, "garden": 0.15, "lights": 0.15}
_TO_OPENCV = np.diag([1.0, -1.0, -1.0])  # x right, y up, z towards the camera -> OpenCV axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceShot:
  """One picture of a person before it is taken.

  Attributes:
    frame: (61,) motion frame of the ARKit space.
    camera: where it stands; the crop is found later.
    roll: degrees by which the crop is turned away from the upright face.
    strengths: of the expression, by the name they have in ``attributes.npz``.
  """

  frame: np.ndarray
  camera: Camera
  roll: float
  strengths: dict[str, float]


def _bell(rng: np.random.Generator, limit: float) -> float:
  """In [-limit, limit], most often near 0."""
  return limit * (2 * float(rng.beta(2, 2)) - 1)


def _sometimes(rng: np.random.Generator, share: float, low: float, high: float) -> float:
  """Uniform in [low, high] in a share of the draws, else 0. Always uses two draws."""
  on, value = rng.random() < share, float(rng.uniform(low, high))
  return value if on else 0.0


def _expression(rng: np.random.Generator) -> dict[str, float]:
  """The strengths that are told as attributes, each in [0, 1] (``brow_raise`` in [-1, 1])."""
  smile, jaw = _sometimes(rng, 0.65, 0.1, 1.0), _sometimes(rng, 0.5, 0.04, 0.6)
  pucker, frown = _sometimes(rng, 0.12, 0.3, 0.9), _sometimes(rng, 0.25, 0.2, 0.8)
  up, down = _sometimes(rng, 0.35, 0.15, 1.0), _sometimes(rng, 0.18, 0.2, 0.9)
  half, shut = _sometimes(rng, 0.18, 0.15, 0.85), _sometimes(rng, 0.07, 0.85, 1.0)
  pucker = 0.0 if smile > 0 else pucker
  blink = shut or half or float(rng.uniform(0.0, 0.1))
  return {
    "smile": smile,
    "jaw_open": jaw,
    "pucker": pucker,
    "frown": 0.0 if smile > 0 or pucker > 0 else frown,
    "brow_raise": up if up > 0 else -down,
    "blink": blink,
  }


def _channels(e: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
  """ARKit weights of an expression; a name that ends in * is both sides, a little uneven."""
  up, down = max(e["brow_raise"], 0.0), max(-e["brow_raise"], 0.0)
  show_teeth, wide = float(rng.uniform(0, 1)), _sometimes(rng, 0.12, 0.2, 0.8)
  open_eyes = 1 - e["blink"]
  weights = {
    "mouthSmile*": 0.8 * e["smile"], "cheekSquint*": 0.55 * e["smile"], "mouthUpperUp*": 0.3 * e["smile"] * show_teeth,
    "eyeSquint*": 0.25 * e["smile"] * open_eyes, "mouthFrown*": 0.8 * e["frown"], "browDown*": down,
    "browOuterUp*": 0.9 * up, "eyeBlink*": e["blink"], "eyeWide*": wide * open_eyes,
  }  # fmt: skip
  out = {"jawOpen": e["jaw_open"], "mouthPucker": e["pucker"], "browInnerUp": 0.9 * up}
  for name, weight in weights.items():
    lean = 1 + 0.08 * float(np.clip(rng.normal(), -2, 2)) * (name != "eyeBlink*")
    out[name[:-1] + "Left"], out[name[:-1] + "Right"] = weight * lean, weight * (2 - lean)
  return {name: float(np.clip(value, 0, 1)) for name, value in out.items()}


def head_angles(head: np.ndarray, rt: np.ndarray) -> np.ndarray:
  """Yaw, pitch, roll (3,) radians of a head in a camera's picture, in the house's convention.

  Args:
    head: (3,) yaw, pitch, roll in the world.
    rt: (3, 4) world to OpenCV camera.
  """
  return ypr_from_matrix(_TO_OPENCV @ rt[:, :3] @ matrix_from_ypr(head))


def _pose(rng: np.random.Generator, age: float) -> tuple[Camera, np.ndarray, float]:
  """A camera, the head's angles in the world, and the crop's roll in degrees: two ways to look at a face sideways."""
  yaw, pitch = np.radians(_bell(rng, MAX_YAW)), np.radians(_bell(rng, MAX_PITCH))
  share = rng.uniform(0.2, 0.9, 2)  # what the camera's place makes of it; the head's turn makes the rest
  camera = Camera(
    yaw=-float(share[0] * yaw), pitch=float(share[1] * pitch), distance=float(rng.uniform(0.8, 1.3)) * head_scale(age)
  )
  head = np.array([(1 - share[0]) * yaw, (1 - share[1]) * pitch, np.radians(_bell(rng, 8.0))])
  return camera, head, _bell(rng, MAX_ROLL)


def _gaze(rng: np.random.Generator, camera: Camera, head: np.ndarray) -> np.ndarray:
  """Yaw and pitch (2,) of both eyes relative to the head, radians: into the camera more often than not."""
  to_camera = np.array([
    np.sin(camera.yaw) * np.cos(camera.pitch), np.sin(camera.pitch), np.cos(camera.yaw) * np.cos(camera.pitch)
  ])  # fmt: skip
  x, y, z = matrix_from_ypr(head).T @ to_camera
  at_camera = np.array([np.arctan2(x, z), -np.arcsin(np.clip(y, -1, 1))])
  elsewhere = np.radians([_bell(rng, 28.0), _bell(rng, 14.0)])
  look = at_camera if rng.random() < 0.6 else at_camera * 0.4 + elsewhere
  return np.clip(look, -np.radians([28, 18]), np.radians([28, 18]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """Where a person is: pictures share it by twos, since to see where light falls costs as much as a picture.

  Attributes:
    light: in the world.
    backdrop: kind, see `studio.backdrop`, and its seed.
    facts: what was drawn, by the name it has in ``attributes.npz``.
  """

  light: Light
  backdrop: str
  backdrop_seed: int
  facts: dict[str, float | str]


def draw_setting(seed: int, group: int, number: int) -> Setting:
  """Setting ``number`` of person number ``group``."""
  rng = np.random.default_rng(np.random.SeedSequence([seed, group, number, 0x5E7]))
  warmth, environment = _bell(rng, 1.0), str(rng.choice(list(ENVIRONMENTS)))
  light = Light(
    key_yaw=np.radians(_bell(rng, 80.0)), key_pitch=np.radians(rng.uniform(0.0, 60.0)),
    key_intensity=float(rng.uniform(0.5, 1.25)), environment_intensity=float(rng.uniform(0.65, 1.1)),
    key_colour=(1.0 + 0.05 * warmth, 0.96 - 0.02 * warmth, 0.92 - 0.16 * warmth), environment=environment,
  )  # fmt: skip
  kind = str(rng.choice(list(BACKDROPS), p=list(BACKDROPS.values())))
  facts: dict[str, float | str] = {
    "light_intensity": light.key_intensity, "light_warmth": warmth, "environment": environment,
    "environment_intensity": light.environment_intensity, "backdrop": kind,
  }  # fmt: skip
  return Setting(light=light, backdrop=kind, backdrop_seed=int(rng.integers(2**31)), facts=facts)


def light_angles(light: Light, rt: np.ndarray) -> tuple[float, float]:
  """Azimuth (+ from the right of the picture) and elevation (+ from above) of the key light as a camera sees it."""
  x, y, z = _TO_OPENCV @ rt[:, :3] @ direction(light.key_yaw, light.key_pitch)
  return float(np.arctan2(x, z)), float(np.arcsin(np.clip(y, -1, 1)))


def draw_shot(seed: int, index: int, person: Person) -> FaceShot:
  """Picture ``index`` of a set's seed; it depends on nothing else but the person's age."""
  streams = np.random.SeedSequence([seed, index, 0xFACE]).spawn(3)
  expression, pose, gaze = (np.random.default_rng(s) for s in streams)
  strengths = _expression(expression)
  camera, head, roll = _pose(pose, person.age_years)
  look = _gaze(gaze, camera, head)
  frame = np.zeros(len(ARKIT), np.float32)
  for name, value in (_channels(strengths, expression) | eye_look_weights(look, look)).items():
    frame[ARKIT.index(name)] = value
  frame[HEAD], frame[LEFT_EYE], frame[RIGHT_EYE] = head, (*look, 0.0), (*look, 0.0)
  return FaceShot(frame=frame, camera=camera, roll=roll, strengths=strengths)

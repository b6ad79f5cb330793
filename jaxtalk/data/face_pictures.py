"""Pictures of one person of the face set: built once, then taken from many cameras under many lights.

The camera of a picture is the one whose whole field is the aligned crop, so nothing is warped; pictures are rendered
larger and averaged down. A person costs about 0.7 s of one core to build and to see the sky, a picture 0.1 s.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtalk.core import Person
from jaxtalk.data.face_shots import FaceShot, Setting, draw_setting, draw_shot, head_angles, light_angles
from jaxtalk.motion.spaces import HEAD, LEFT_EYE
from jaxtalk.studio import backdrop, camera, lighting, model, renderer
from jaxtalk.studio.face_crop import crop_camera, face_crop
from jaxtalk.studio.person import sample_person
from jaxtalk.studio.pose import pose

PER_PERSON = 8  # pictures of a person
PER_SETTING = 2  # of them under one light in one place
OVERSAMPLE = 2  # pictures are rendered so much larger, with 2 x 2 samples a pixel
GENDERS = ("girl", "boy")


@dataclasses.dataclass(frozen=True)
class Face:
  """A picture (size, size, 3) uint8 and its row of ``attributes.npz``."""

  image: np.ndarray
  attributes: Mapping[str, Any]


def person_of(seed: int, group: int) -> Person:
  """Person number ``group`` of a set: girls and boys by turns, two and two of one age."""
  age_rng = np.random.default_rng(np.random.SeedSequence([seed, group // 2, 0xA6E]))
  who = np.random.SeedSequence([seed, group, 0x1D]).generate_state(1, np.uint32)[0]
  return sample_person(int(who), gender=GENDERS[group % 2], age=int(age_rng.integers(30, 130)) / 10)


def members(group: int) -> range:
  """Numbers of the pictures of a person: girls have the even ones, boys the odd ones."""
  first = group // 2 * 2 * PER_PERSON + group % 2
  return range(first, first + 2 * PER_PERSON, 2)


@functools.lru_cache(maxsize=4)
def _programs(size: int):
  """Jitted: landmarks (N, 70, 3) of frames, sums of occlusion by direction, and pictures (N, size, size, 3)."""

  def points(model, frame):
    vertices, _, _, pupils = pose(model, frame)
    return jnp.concatenate([vertices[model.landmarks], pupils])

  def landmarks(model, frames):
    return lax.map(lambda frame: points(model, frame), frames)

  def pictures(model, shots, frames):
    out = lax.map(lambda x: renderer.render_frame(model, x[0], x[1], size=size, maps=()), (shots, frames))
    return {name: out[name] for name in ("images", "lm3d_m", "visible")}

  return jax.jit(landmarks), jax.jit(lighting.measure_occlusion), jax.jit(pictures)


def _occlusions(model: Any, host_model: Any, rigs: Sequence[lighting.LightRig], measure: Callable) -> list:
  """What light reaches whom: the sky is measured once a person, the key light once a setting.

  Half of the studio's directions are looked from: small pictures show no more.
  """
  rest, sky, key = renderer.rest_frame(), slice(0, lighting.SKY_DIRECTIONS, 2), slice(lighting.SKY_DIRECTIONS, None, 2)

  def look(rig: lighting.LightRig, which: slice) -> np.ndarray:
    directions, counts = lighting.probes(rig, 1)
    return jax.device_get(measure(model, rest, directions[which], 2 * counts[which]))

  open_sky = look(rigs[0], sky)
  return [lighting.soften(host_model, np.stack([*open_sky[:2], look(rig, key)[2]])) for rig in rigs]


def _aligned(points: np.ndarray, shot: FaceShot, size: int) -> tuple[np.ndarray, np.ndarray]:
  """K and [R | t] of the camera that takes the aligned picture."""

  k, rt = camera.intrinsics(shot.camera, size), camera.extrinsics(shot.camera, renderer.TARGET)
  crop = face_crop(camera.project(points.astype(np.float64), k, rt))
  return crop_camera(k, rt, dataclasses.replace(crop, roll=crop.roll + np.radians(shot.roll)), size)


def make_person_faces(seed: int, group: int, size: int) -> list[Face]:
  """The pictures of person number ``group`` of a set, in the order of `members`."""
  person, large = person_of(seed, group), size * OVERSAMPLE
  host_model = model.build(person)
  device_model = jax.device_put(host_model)
  locate, measure, take = _programs(large)
  settings = [draw_setting(seed, group, number) for number in range(PER_PERSON // PER_SETTING)]
  rigs = [lighting.rig(setting.light) for setting in settings]
  occlusions = _occlusions(device_model, host_model, rigs, measure)
  rooms = [backdrop.paint(setting.backdrop, large, setting.backdrop_seed) for setting in settings]
  shots = [draw_shot(seed, index, person) for index in members(group)]
  frames = np.stack([shot.frame for shot in shots])
  placed = jax.device_get(locate(device_model, frames))
  cameras = [_aligned(points, shot, large) for points, shot in zip(placed, shots, strict=True)]
  constants = []
  for i, (k, rt) in enumerate(cameras):
    place = i // PER_SETTING
    room = rooms[place][:, :: 1 if i % PER_SETTING == 0 else -1]  # the same room, but for the flip
    constants.append(
      renderer.Shot(
        k=k.astype(np.float32),
        rt=rt.astype(np.float32),
        lights=rigs[place],
        occlusion=occlusions[place],
        background=room,
      )
    )
  out = jax.device_get(take(device_model, jax.tree.map(lambda *x: np.stack(x), *constants), frames))
  faces = []
  for i, (shot, (k, rt)) in enumerate(zip(shots, cameras, strict=True)):
    world = out["lm3d_m"][i].astype(np.float64)
    at = (camera.project(world, k, rt) + 0.5) / OVERSAMPLE - 0.5
    row = _attributes(person, shot, settings[i // PER_SETTING], rt, world)
    faces.append(Face(box_shrink(out["images"][i], size), row | {"landmarks": at, "visible": out["visible"][i]}))
  return faces


def box_shrink(image: np.ndarray, size: int) -> np.ndarray:
  """A picture (S, S, C) uint8 made smaller by averaging whole blocks; S is a multiple of ``size``."""
  factor = image.shape[0] // size
  blocks = image.reshape(size, factor, size, factor, image.shape[2]).astype(np.float32)
  return np.round(blocks.mean((1, 3))).astype(np.uint8)


def eye_aspect_ratio(points: np.ndarray) -> float:
  """Height over width of the lid openings, mean of both eyes, of (70, 2 or 3) landmarks (Soukupova & Cech 2016)."""
  ratios = []
  for first in (36, 42):
    p = points[first : first + 6]
    heights = np.linalg.norm(p[1] - p[5]) + np.linalg.norm(p[2] - p[4])
    ratios.append(heights / (2 * np.linalg.norm(p[0] - p[3])))
  return float(np.mean(ratios))


def mouth_opening(points: np.ndarray) -> float:
  """Gap of the inner lips over the distance of the eyes' centres, of (70, 2 or 3) landmarks."""
  apart = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
  return float(np.linalg.norm(points[62] - points[66]) / apart)


def _attributes(person: Person, shot: FaceShot, setting: Setting, rt: np.ndarray, world: np.ndarray) -> dict[str, Any]:
  """One row: person, picture, and what is measured on the exact 3-D landmarks, so that no pose distorts it."""
  yaw, pitch, roll = np.degrees(head_angles(shot.frame[HEAD].astype(np.float64), rt))
  azimuth, elevation = np.degrees(light_angles(setting.light, rt))
  look = person.look
  return {
    "identity": person.seed,
    "age": person.age_years,
    "gender": GENDERS.index("girl" if person.gender == "female" else "boy"),
    "ancestry": np.array(person.ancestry),
    **{name: look[name] for name in ("skin", "freckles", "hair", "hair_colour", "eye_colour")},
    **{name: look[name] for name in ("clothes", "clothes_colour")},
    "yaw": yaw,
    "pitch": pitch,
    "roll": roll,
    "gaze_yaw": np.degrees(shot.frame[LEFT_EYE][0]),
    "gaze_pitch": np.degrees(shot.frame[LEFT_EYE][1]),
    **shot.strengths,
    "light_azimuth": azimuth,
    "light_elevation": elevation,
    **setting.facts,
    "eye_aspect_ratio": eye_aspect_ratio(world),
    "mouth_opening": mouth_opening(world),
  }

"""The studio's portrait set: synthetic children talking, one frame at a time, with everything that was asked for.

What the talking portrait learns from. Every picture is four channels, the person on black and the matte, taken with a
clip's own cameras and lights (head and shoulders), so that a network that draws it can take the studio's place. Half of
the frames are out of performances of spoken sentences, half are drawn wider than people talk, so that controls are
known one by one. Set and shards depend on the seed alone; a run that is cut off goes on with the next shard.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax

from jaxtalk.core import Camera, InputError, Light, Person, Scene
from jaxtalk.data.face_shots import draw_shot
from jaxtalk.data.performances import PerformanceSet
from jaxtalk.data.spoken import SpokenSet
from jaxtalk.motion import codes
from jaxtalk.motion.spaces import HEAD
from jaxtalk.runtime import num_cores, use_compilation_cache
from jaxtalk.studio import camera, lighting, model, points, renderer, scenes
from jaxtalk.studio.person import sample_person
from jaxtalk.studio.pose import pose
from jaxtalk.systems import portrait_conditions as pc

VERSION = 2  # raise it when pictures or conditions change, so that sets are made anew
PER_PERSON, PER_SCENE = 14, 7  # pictures of a person, and of them under one light
PER_SHARD = 25  # people
OLDER = 0.1  # share of people from 13 to 60 years, the others are 3 to 12
_WIDER = np.radians([6.0, 4.0, 3.0])  # standard deviation of what is added to the head's angles
_SIZES = (32, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class PortraitSet:
  """``people`` people of a seed in pictures of ``size`` pixels."""

  people: int
  size: int
  seed: int

  def __post_init__(self):
    if self.people < 1 or self.size not in _SIZES:
      raise InputError(f"portrait set: {self.people} people of {self.size} pixels; at least 1, of {_SIZES}")

  def load(self, folder: Path, say: Callable[[str], None] = print) -> dict[str, np.ndarray]:
    """The columns of the whole set, from ``folder`` or made now (about one second of a core a person).

    Returns:
      ``image`` (N, S, S, 4) uint8: sRGB on black, and the matte; ``z`` (N, Z_DIM) and ``c`` (N, C_DIM) float32 of
      `systems.portrait_conditions`; ``points`` (N, P, 3) float32 and ``cover`` (N, S, S, 4) uint8 of `studio.points`;
      ``identity`` (N,) int64; ``frame`` (N, 61) float32.
    """
    home = folder / f"portraits_{self.size}_{self.seed}_v{VERSION}"
    firsts = range(0, self.people, PER_SHARD)
    missing = [i for i in firsts if not self._shard(home, i).exists()]
    if missing:
      say(
        f"training data: taking pictures of {self.people} synthetic people, about {self.people / 60:.0f} core minutes"
      )
      try:
        home.mkdir(parents=True, exist_ok=True)
      except OSError as error:
        raise InputError(f"cannot write the training data to {home}: {error.strerror}") from error
      acted = home / "frames.npy"
      if not acted.exists():
        _write(acted, lambda file: np.save(file, acted_frames(self.seed, home)))
      for done, _ in enumerate(self._make(home, missing), start=len(firsts) - len(missing) + 1):
        say(f"training data: {min(done * PER_SHARD, self.people)} of {self.people} people")
    parts = [_read(self._shard(home, i)) for i in firsts]
    return {name: np.concatenate([part[name] for part in parts])[: self.people * PER_PERSON] for name in parts[0]}

  def _shard(self, home: Path, first: int) -> Path:
    return home / f"people_{first:06d}.npz"

  def _make(self, home: Path, firsts: list[int]) -> Iterator[None]:
    work = functools.partial(_make_shard, home, self.size, self.seed)
    if jax.default_backend() != "cpu" or num_cores() < 2 or len(firsts) == 1:
      yield from map(work, firsts)
      return
    context = multiprocessing.get_context("spawn")  # JAX does not survive a fork
    with concurrent.futures.ProcessPoolExecutor(num_cores(), mp_context=context, initializer=_start_worker) as pool:
      yield from pool.map(work, firsts)


def acted_frames(seed: int, folder: Path) -> np.ndarray:
  """(N, 61) float32 frames of performances of spoken sentences, ten a second, in any order."""
  speeches = SpokenSet(count=60, seed=seed + 11).load(folder)
  acted = PerformanceSet(speeches, count=120, seed=seed + 12)
  return np.concatenate([codes.decode(acted[i].codes[::5].astype(np.float32)) for i in range(len(acted))])


def _start_worker() -> None:
  """One process makes one person at a time on one core; the others have the other cores."""
  os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
  use_compilation_cache()


def _make_shard(home: Path, size: int, seed: int, first: int) -> None:
  acted = np.load(home / "frames.npy", allow_pickle=False)
  people = [make_person(seed, number, size, acted) for number in range(first, first + PER_SHARD)]
  columns = {name: np.concatenate([person[name] for person in people]) for name in people[0]}
  _write(home / f"people_{first:06d}.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **columns))


def _write(path: Path, save: Callable[[Any], None]) -> None:
  """Under another name first, so that no half file is ever read."""
  part = path.with_suffix(".part")
  try:
    with part.open("wb") as file:
      save(file)
    part.replace(path)
  except OSError as error:
    raise InputError(f"cannot write the training data to {path}: {error.strerror}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as shard:
    return dict(shard)


def draw_person(seed: int, number: int) -> Person:
  """Person ``number`` of a set: any look, girls and boys alike."""
  rng = np.random.default_rng(np.random.SeedSequence([seed, number, 0x90A]))
  older, teen, child = rng.random() < OLDER, rng.uniform(13, 60), rng.uniform(3, 12.9)
  return sample_person(int(rng.integers(2**31)), age=round(float(teen if older else child), 1))


def draw_scene(rng: np.random.Generator, age: float, size: int) -> Scene:
  """Camera and light as clips have them, the light now and then from further round; half of the pictures show the face
  alone, from nearer."""
  view = scenes.draw_camera(rng, age)
  nearness = (scenes.FRAMINGS["face"] if rng.random() < 0.5 else 1.0) * rng.uniform(0.92, 1.08)
  _, environment = scenes.draw_surroundings(rng)
  light, colour = scenes.draw_light(rng, environment)
  turn = {name: np.radians(view[name]) * rng.uniform(0.6, 1.4) for name in ("yaw", "pitch")}
  angles = {name: np.radians(float(light[name])) * rng.uniform(0.5, 1.3) for name in ("key_yaw", "key_pitch")}
  strength = {name: float(light[name]) * rng.uniform(0.8, 1.1) for name in ("key_intensity", "environment_intensity")}
  return Scene(
    camera=Camera(distance=view["distance"] * nearness, focal_mm=view["focal_mm"], **turn),
    light=Light(environment=environment, key_colour=colour, **angles, **strength),
    size=size,
  )


def draw_frames(rng: np.random.Generator, number: int, person: Person, acted: np.ndarray) -> np.ndarray:
  """(PER_PERSON, 61): acted frames and freely drawn ones by turns, the heads turned a little further."""
  frames = acted[rng.integers(len(acted), size=PER_PERSON)].copy()
  for i in range(1, PER_PERSON, 2):
    drawn = draw_shot(int(rng.integers(2**31)), number, person).frame
    lips = rng.random() < 0.5  # the mouth of one frame and the rest of another
    frames[i, 14 : HEAD.start] = frames[i, 14 : HEAD.start] if lips else drawn[14 : HEAD.start]
    frames[i, :14], frames[i, HEAD.start :] = drawn[:14], drawn[HEAD.start :]
  frames[:, HEAD] += _WIDER * np.clip(rng.standard_normal((PER_PERSON, 3)), -2, 2)
  return frames.astype(np.float32)


def sketch(head: Any, kind: Any, frame: Any, k: Any, rt: Any, size: int) -> tuple[jax.Array, jax.Array]:
  """Projected points (P, 3) and cover (size, size, 4) of a person in a motion frame, as a camera sees them."""
  vertices, _, _, pupils = pose(head, frame)
  placed = points.project(points.gather(head, vertices, pupils, frame), k, rt)
  middle = placed[points.ANCHORS][0, 2]
  return placed, points.cover(kind, points.project(vertices, k, rt), middle, size, size)


@functools.lru_cache(maxsize=4)
def _programs(size: int):
  """Jitted: sums of occlusion by direction, and pictures with mattes and points."""

  def take(head, kind, shots, frames):
    def one(x):
      shot, frame = x
      out = renderer.render_frame(head, shot, frame, size=size, maps=("matte",))
      return out["images"], out["matte"], *sketch(head, kind, frame, shot.k, shot.rt, size)

    return lax.map(one, (shots, frames))

  return jax.jit(lighting.measure_occlusion), jax.jit(take)


def make_person(seed: int, number: int, size: int, acted: np.ndarray) -> dict[str, np.ndarray]:
  """The columns of one person's pictures; see `PortraitSet.load`."""
  person = draw_person(seed, number)
  rng = np.random.default_rng(np.random.SeedSequence([seed, number, 0x5CE]))
  places = [draw_scene(rng, person.age_years, size) for _ in range(PER_PERSON // PER_SCENE)]
  frames = draw_frames(rng, number, person, acted)
  host = model.build(person)
  head, kind = jax.device_put(host), points.kinds(host)
  measure, take = _programs(size)
  black = np.zeros((size, size, 3), np.float32)
  shots, told = [], []
  for i, place in enumerate(places):
    rig = lighting.rig(place.light)
    sums = jax.device_get(measure(head, renderer.rest_frame(), *lighting.probes(rig, 1)))
    k, rt = camera.intrinsics(place.camera, size), camera.extrinsics(place.camera, renderer.TARGET)
    shot = renderer.Shot(
      k=k.astype(np.float32), rt=rt.astype(np.float32), background=black, lights=rig,
      occlusion=lighting.soften(host, sums),
    )  # fmt: skip
    shots += [shot] * PER_SCENE
    told.append(pc.conditions(person, place, frames[i * PER_SCENE : (i + 1) * PER_SCENE], rt))
  out = jax.device_get(take(head, kind, jax.tree.map(lambda *x: np.stack(x), *shots), frames))
  images, mattes, placed, cover = out
  return {
    "image": np.concatenate([images, mattes[..., None]], axis=-1),
    "z": np.broadcast_to(pc.latent(person), (PER_PERSON, pc.Z_DIM)),
    "c": np.concatenate(told),
    "points": placed,
    "cover": cover,
    "identity": np.full(PER_PERSON, person.seed),
    "frame": frames,
  }

"""The talking portrait as a `core.Renderer`: motion in, StyleGAN2's pictures out, with the labels they were asked for.

Labels are those of the condition: exact for the studio's person in the same pose and camera, which is what the network
was told to draw. How far its picture is from them is measured on every frame by a landmark network that had no part in
its training (`systems.face_attributes`), and goes with the labels.

Frames are rows: those of several clips fill one batch (`render_clips`), which is spread over all local devices.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxtalk.core import CLIP_ERRORS, Frames, InputError, Motion, Person, RenderJob, Scene
from jaxtalk.kernels.modulated_conv import choice
from jaxtalk.motion.rotations import axis_angle_from_ypr
from jaxtalk.motion.spaces import HEAD, LEFT_EYE, RIGHT_EYE
from jaxtalk.studio import backdrop, camera, points, shading
from jaxtalk.studio.model import build
from jaxtalk.studio.pose import pose
from jaxtalk.studio.refusals import arkit_frames, check_size
from jaxtalk.studio.renderer import TARGET
from jaxtalk.stylegan2.networks import Generator
from jaxtalk.systems import face_landmark_error
from jaxtalk.systems import portrait_conditions as pc
from jaxtalk.systems import talking_portrait as tp

BATCH = 16  # pictures at a time on each device
_HALF_RES = 4  # resolutions in bfloat16 where the device has it


@dataclasses.dataclass(frozen=True)
class _Told:
  """A clip before it is painted: rows for the network, labels, and the background (S, S, 3) in 0 to 255."""

  rows: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]
  background: np.ndarray
  size: int


class TalkingPortraitRenderer:
  """A `core.Renderer` with the weights that ship, or with a file of ``configs/talking_portrait.py``.

  Args:
    weights: a .safetensors; empty is the one that ships.
    maps: dense labels; there are none.
    devices: how many local devices share the frames; None for all.
    domain: of `talking_portrait.DOMAINS`. In the other one (docs/portrait_domains.md) nobody knows the background: the
      network draws it too, and the scene's is not used.

  Raises:
    InputError: a file of something else, a domain that it has not learnt, or a dense label is asked for.
    MissingAssetError: no such file.
  """

  def __init__(
    self, weights: str = "", maps: Sequence[str] = (), devices: int | None = None, domain: str = tp.DOMAINS[0]
  ):
    if maps:
      raise InputError(f"config.outputs.{maps[0]}: config.renderer=stylegan2 has no such label, studio has")
    choice.choose("auto")
    portrait = tp.load(weights or None)
    tp.check_domain(portrait, domain)
    accelerated = jax.default_backend() != "cpu"
    half = {"dtype": jnp.bfloat16, "num_half_res": _HALF_RES} if accelerated else {}
    self._portrait, self._module = portrait, portrait.module.clone(**half)
    self._devices, self._domain = devices, domain
    self._told_of: set[str] = set()
    self._placed = jax.device_put(portrait.variables, NamedSharding(self.mesh(), P()))

  def mesh(self) -> Mesh:
    devices = jax.local_devices()[: self._devices]
    return jax.make_mesh((len(devices),), ("data",), (jax.sharding.AxisType.Auto,), devices=devices)

  @property
  def resolution(self) -> int:
    """Pixels that the network draws; other sizes are scaled from it."""
    return self._module.img_resolution

  def render(self, motion: Motion, person: Person, scene: Scene, *, seed: int) -> Iterator[Frames]:
    """Yields the clip in chunks.

    Raises:
      InputError: a motion that is not in the ARKit space or not finite, or a size that is odd or out of range.
    """
    for _, frames in self.render_clips([(motion, person, scene, seed)]):
      if isinstance(frames, Exception):
        raise frames
      yield frames

  def render_clips(self, jobs: Iterable[RenderJob]) -> Iterator[tuple[int, Frames | Exception]]:
    """As `core.ClipsRenderer`: every batch but the last of a size is full."""
    mesh = self.mesh()
    step = BATCH * mesh.size
    waiting: list[tuple[int, _Told]] = []

    def ready(size: int) -> bool:  # a batch is, or no more rows of the size that waits will come
      return waiting[0][1].size != size or sum(len(told.labels["head_aa"]) for _, told in waiting) >= step

    for number, job in enumerate(jobs):
      try:
        told = self._tell(*job)
      except CLIP_ERRORS as error:
        while waiting:
          yield from self._batch(waiting, step, mesh)
        yield number, error
        continue
      waiting.append((number, told))
      while waiting and ready(told.size):
        yield from self._batch(waiting, step, mesh)
    while waiting:
      yield from self._batch(waiting, step, mesh)

  def _batch(self, waiting: list[tuple[int, _Told]], step: int, mesh: Mesh) -> Iterator[tuple[int, Frames]]:
    """Paints the first ``step`` rows that wait, or all of their size, and takes them off the list."""
    parts: list[tuple[int, _Told]] = []
    room, size = step, waiting[0][1].size
    while waiting and room and waiting[0][1].size == size:
      number, told = waiting.pop(0)
      head, tail = _split(told, room)
      parts.append((number, head))
      room -= len(head.labels["head_aa"])
      if tail is not None:
        waiting.insert(0, (number, tail))
    images = self._paint([told for _, told in parts], step, size, mesh)
    at = 0
    for number, told in parts:
      count = len(told.labels["head_aa"])
      own = images[at : at + count]
      labels = {**told.labels, "lm_error": face_landmark_error.measure(own, told.labels["lm2d_px"])}
      at += count
      yield number, Frames(images=own, labels=labels)

  def _paint(self, parts: list[_Told], step: int, size: int, mesh: Mesh) -> np.ndarray:
    rows = {name: np.concatenate([told.rows[name] for told in parts]) for name in parts[0].rows}
    counts = [len(told.labels["head_aa"]) for told in parts]
    backgrounds = np.stack([told.background for told in parts])
    which = np.repeat(np.arange(len(parts)), counts)
    total = len(which)
    padded = np.minimum(np.arange(step), total - 1)
    rows = {name: column[padded] for name, column in rows.items()}
    spread = NamedSharding(mesh, P("data"))
    program = _program(self._module, mesh, size, self._domain == tp.DOMAINS[0])
    # The shape of the backgrounds must not depend on how many clips share the batch.
    rows["background"] = backgrounds[which[padded]] if len(parts) > 1 else backgrounds
    if len(parts) == 1:
      rows["background"] = np.broadcast_to(backgrounds, (step, *backgrounds.shape[1:]))
    return np.asarray(jax.device_get(program(self._placed, jax.device_put(rows, spread))))[:total]

  def _tell(self, motion: Motion, person: Person, scene: Scene, seed: int) -> _Told:
    """A clip as conditions and labels."""
    frames = arkit_frames(motion, "the talking portrait")
    check_size(scene.size)
    k, rt = camera.intrinsics(scene.camera, scene.size), camera.extrinsics(scene.camera, TARGET)
    host = build(person)
    placed = _geometry(host, frames, k, rt, scene.size, self.resolution)
    labels, clipped = self._portrait.standardise(pc.conditions(person, scene, frames, rt), self._domain)
    self._warn(clipped)
    z = np.broadcast_to(pc.latent(person), (len(frames), pc.Z_DIM))
    linear = backdrop.paint(scene.background, scene.size, seed)
    return _Told(
      rows={"z": z, "label": labels, "points": placed["points"], "cover": placed["cover"]},
      labels=_labels(frames, placed, k, rt),
      background=np.asarray(shading.encode([jnp.asarray(linear[..., c]) for c in range(3)])),
      size=scene.size,
    )

  def _warn(self, clipped: Mapping[str, float]) -> None:
    """Says once of each condition that it was out of reach."""
    new = {name: excess for name, excess in clipped.items() if name not in self._told_of}
    if new:
      self._told_of |= set(new)
      worst = ", ".join(sorted(new, key=lambda name: -new[name])[:4])
      more = f" and {len(new) - 4} more" if len(new) > 4 else ""
      print(
        f"config.renderer=stylegan2: out of what the network was trained on, drawn as far as it goes: {worst}{more}",
        file=sys.stderr,
      )


def _split(told: _Told, count: int) -> tuple[_Told, _Told | None]:
  """The first ``count`` frames of a clip, and the rest if there is one."""
  total = len(told.labels["head_aa"])
  if total <= count:
    return told, None

  def cut(part: slice) -> _Told:
    rows = {name: column[part] for name, column in told.rows.items()}
    labels = {name: value if name == "K" else value[part] for name, value in told.labels.items()}
    return dataclasses.replace(told, rows=rows, labels=labels)

  return cut(slice(0, count)), cut(slice(count, None))


@functools.lru_cache(maxsize=8)
def _program(module: Generator, mesh: Mesh, size: int, with_background: bool):
  """Jitted (variables, rows) -> pictures (N, size, size, 3) uint8, rows spread over the mesh."""

  def local(variables, rows):
    painted = tp.paint(module, variables, rows, size)
    if size != module.img_resolution:
      painted = jax.image.resize(painted, (len(painted), size, size, tp.CHANNELS), "cubic")
    if not with_background:
      painted = painted.at[..., 3].set(1.0)
    return tp.composite(painted, rows["background"].astype(jnp.float32))

  specs = (P(), P("data"))
  return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P("data"), check_vma=False))


@functools.lru_cache(maxsize=8)
def _geometry_program(size: int, resolution: int):
  """Jitted: landmarks, which of them face the camera, the extent of the head in pixels, and the sketch."""

  def one(model, kind, k, rt, frame):
    vertices, normals, _, pupils = pose(model, frame)
    world = points.gather(model, vertices, pupils, frame)
    placed, all_placed = points.project(world, k, rt), points.project(vertices, k, rt)
    cover = points.cover(kind, all_placed, placed[points.ANCHORS][0, 2], resolution, size)
    eye = -(rt[:, :3] * rt[:, 3:]).sum(0)
    landmarks = world[points.LANDMARKS]
    ahead = landmarks[68:] - model.pivot[None]
    facing = jnp.concatenate([normals[model.landmarks], ahead / jnp.linalg.norm(ahead, axis=1, keepdims=True)])
    solid = model.turn[: model.units.shape[1]] > 0.95
    pixel = all_placed[: model.units.shape[1], :2]
    low = jnp.min(jnp.where(solid[:, None], pixel, jnp.inf), 0)
    high = jnp.max(jnp.where(solid[:, None], pixel, -jnp.inf), 0)
    towards = (facing * (eye[None] - landmarks)).sum(1) > 0
    labels = {"world": landmarks, "facing": towards, "low": low, "high": high}
    return labels | {"points": placed, "cover": cover}

  return jax.jit(lambda model, kind, k, rt, frames: lax.map(lambda f: one(model, kind, k, rt, f), frames))


_CHUNK = 64  # frames of one call, so that clips of all lengths share a program


def _geometry(host: Any, frames: np.ndarray, k: np.ndarray, rt: np.ndarray, size: int, resolution: int) -> dict:
  """What the pose says of every frame (T, ...)."""
  small = [x.astype(np.float32) for x in (k, rt)]
  kind, model = points.kinds(host), jax.device_put(host)
  program = _geometry_program(size, resolution)
  parts = []
  for start in range(0, len(frames), _CHUNK):
    part = frames[start : start + _CHUNK]
    padded = np.concatenate([part, np.repeat(part[-1:], _CHUNK - len(part), 0)])
    out = jax.device_get(program(model, kind, *small, padded))
    parts.append({name: value[: len(part)] for name, value in out.items()})
  placed = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  low, high = (np.clip(placed.pop(name), 0, size - 1) for name in ("low", "high"))
  return placed | {"bbox_px": np.concatenate([low, high - low], axis=1)}


def _labels(frames: np.ndarray, placed: Mapping[str, np.ndarray], k: np.ndarray, rt: np.ndarray) -> dict:
  """The labels of `core.Frames`; a landmark counts as visible if its surface faces the camera inside the picture."""
  world = placed["world"]
  at = camera.project(world.astype(np.float64), k, rt)
  inside = ((at >= -0.5) & (at <= 2 * k[0, 2] + 0.5)).all(-1)
  return {
    "lm2d_px": at.astype(np.float32),
    "lm3d_m": world,
    "visible": placed["facing"] & inside,
    "bbox_px": placed["bbox_px"],
    "head_aa": np.asarray(axis_angle_from_ypr(frames[:, HEAD]), np.float32),
    "gaze": np.stack([frames[:, LEFT_EYE][:, :2], frames[:, RIGHT_EYE][:, :2]], axis=1),
    "K": k,
    "cam_Rt": np.broadcast_to(rt, (len(frames), 3, 4)).copy(),
  }

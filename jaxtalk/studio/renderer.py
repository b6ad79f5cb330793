"""The studio as a `Renderer`: motion in, pictures and exact labels out, in chunks; one program for all people.

Per frame: pose the mesh, light its vertices, find which triangle each sample sees (2 x 2 samples a pixel), shade one
point per surface and pixel with one texture gather, mix, tone-map. Labels come from the same triangles and the same
camera, so they are exact by construction. Frames are spread over all local devices with `shard_map`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxtalk.core import Frames, InputError, Motion, Person, Scene
from jaxtalk.motion.rotations import axis_angle_from_ypr
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio import backdrop, camera, fragments, lighting, raster, shading
from jaxtalk.studio.model import HeadModel, Leaf, build
from jaxtalk.studio.pose import pose
from jaxtalk.studio.refusals import arkit_frames, check_size

SAMPLES = 2  # along each side of a pixel
MORE_POINTS = 0.15  # further points to shade, beyond one a pixel, as a share of the pixels
CHUNK = 64  # frames of a call over all devices, at most eight on each
TARGET = np.array([0.0, -0.036, 0.02])  # metres: what the camera looks at, a little below the eyes
VISIBLE_WITHIN = 0.006  # metres behind the nearest surface at which a landmark still counts as seen
LABEL_MAPS = ("segmentation", "depth", "normals", "matte")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shot:
  """What stays the same over a clip: the camera in samples and metres, the background, the light."""

  k: Leaf
  rt: Leaf
  background: Leaf
  lights: lighting.LightRig
  occlusion: lighting.Occlusion


def _to_samples(points: Array, shot: Shot) -> Array:
  """World points (V, 3) to (V, 3): sample x, sample y, 1 / depth."""
  px, py, pz = (points[:, i] for i in range(3))
  x, y, z = (r[0] * px + r[1] * py + r[2] * pz + r[3] for r in shot.rt)
  inverse = 1.0 / jnp.where(z > 0.05, z, -1.0)
  # The centre of pixel 0 lies between samples 0 .. SAMPLES - 1.
  offset = (SAMPLES - 1) / 2
  column = (x * inverse * shot.k[0, 0] + shot.k[0, 2]) * SAMPLES + offset
  row = (y * inverse * shot.k[1, 1] + shot.k[1, 2]) * SAMPLES + offset
  return jnp.stack([column, row, inverse], -1)


def render_frame(model: HeadModel, shot: Shot, frame: Array, *, size: int, maps: tuple[str, ...]) -> dict[str, Array]:
  """One picture (size, size, 3) uint8 with its labels, from one motion frame (61,)."""
  n = size * SAMPLES
  on = jnp.isfinite(frame[0])  # always true, and XLA does not know it; see `raster.once`
  vertices, normals, uv, pupils = raster.once(on, pose, model, frame)
  eye = -(shot.rt[:, :3] * shot.rt[:, 3:]).sum(0)

  def project(vertices, normals):
    lit, gleam = lighting.light_vertices(model, shot.lights, shot.occlusion, vertices, normals, eye)
    return lit, gleam, _to_samples(vertices, shot)

  lit, gleam, screen = raster.once(on, project, vertices, normals)
  ids, inverse = raster.visible_surface(
    screen, model.faces, model.face_mask, height=n, width=n, face_two_sided=model.two_sided
  )
  points = fragments.find(ids, inverse, model.face_class, factor=SAMPLES, budget=int(size * size * MORE_POINTS))
  columns = (*uv.T, *lit, *normals.T, model.gloss, model.shine, gleam)
  half = eye / jnp.linalg.norm(eye) + shot.lights.key_direction
  half = half / jnp.linalg.norm(half)

  def colour(columns, points):
    at, weights = fragments.corners(screen, model.faces, points.ids, points.x, points.y)
    values = raster.once(on, lambda c: tuple(fragments.interpolate(t, at, weights) for t in c), columns)
    return shading.shade(values, model.atlas, shot.lights, half)

  channels = raster.once(on, colour, columns, points)
  background = (shot.background[..., c].reshape(-1) for c in range(3))
  pixels = [fragments.mix(c, b, points).reshape(size, size) for c, b in zip(channels, background, strict=True)]
  out = {"images": shading.encode(pixels)}
  if "matte" in maps:
    nothing = jnp.zeros(size * size)
    matte = fragments.mix(jnp.ones_like(points.share), nothing, points).reshape(size, size)
    out["matte"] = jnp.round(255 * jnp.clip(matte, 0, 1)).astype(jnp.uint8)
  out |= raster.once(on, functools.partial(_maps, model, shot, maps=maps), ids, screen, normals)

  out["lm3d_m"] = jnp.concatenate([vertices[model.landmarks], pupils])
  at = _to_samples(out["lm3d_m"], shot)
  out["visible"] = _visible(at, inverse, n)
  solid = (model.turn[: model.units.shape[1]] > 0.95)[:, None]
  pixel = (screen[: model.units.shape[1], :2] - (SAMPLES - 1) / 2) / SAMPLES
  low = jnp.clip(jnp.min(jnp.where(solid, pixel, jnp.inf), 0), 0, size - 1)
  high = jnp.clip(jnp.max(jnp.where(solid, pixel, -jnp.inf), 0), 0, size - 1)
  out["bbox_px"] = jnp.concatenate([low, high - low])
  return out


def _maps(model: HeadModel, shot: Shot, ids: Array, screen: Array, normals: Array, *, maps: tuple[str, ...]) -> dict:
  """Dense labels at pixel centres, from the face of the sample to the lower right of each."""
  own = ids[SAMPLES // 2 :: SAMPLES, SAMPLES // 2 :: SAMPLES]
  y, x = (t.astype(jnp.float32) * SAMPLES + (SAMPLES - 1) / 2 for t in jnp.indices(own.shape))
  covered = own >= 0
  out = {}
  if "segmentation" in maps:
    out["segmentation"] = jnp.where(covered, model.face_class[jnp.maximum(own, 0)], 0).astype(jnp.uint8)
  if "depth" in maps or "normals" in maps:
    # The pixel's centre may lie just outside the face: continue its plane, half a sample at most.
    at, weights = fragments.corners(screen, model.faces, own, x, y, slack=1.0)
  if "depth" in maps:
    inverse = fragments.interpolate(screen[:, 2], at, weights)
    out["depth"] = jnp.where(covered, 1.0 / jnp.maximum(inverse, 1e-6), 0.0)
  if "normals" in maps:
    columns = (normals[:, 0], normals[:, 1], normals[:, 2])
    on = jnp.isfinite(shot.k[0, 0])
    world = raster.once(on, lambda c: tuple(fragments.interpolate(t, at, weights) for t in c), columns)
    length = jnp.sqrt(jnp.maximum(sum(c * c for c in world), 1e-12))
    facing = [sum(shot.rt[r, i] * world[i] for i in range(3)) / length for r in range(3)]
    out["normals"] = jnp.where(covered[..., None], jnp.stack(facing, -1), 0.0)
  return out


def _visible(at: Array, inverse_depth: Array, n: int) -> Array:
  """(70,) whether nothing lies clearly in front of a landmark, at any of the 3 x 3 samples around it."""
  centre = jnp.round(at[:, :2]).astype(jnp.int32)
  inside = jnp.all((centre >= 0) & (centre < n), -1)
  limit = 1.0 / (1.0 / jnp.maximum(at[:, 2], 1e-6) - VISIBLE_WITHIN)
  hits = []
  for dy in (-1, 0, 1):
    for dx in (-1, 0, 1):
      row, column = jnp.clip(centre[:, 1] + dy, 0, n - 1), jnp.clip(centre[:, 0] + dx, 0, n - 1)
      hits.append(inverse_depth[row, column] <= limit)
  return inside & jnp.any(jnp.stack(hits), 0)


@functools.lru_cache(maxsize=8)
def _program(mesh: Mesh, size: int, maps: tuple[str, ...]):
  """Jitted (model, shot, frames (N, 61)) -> labels with leading N, frames spread over the mesh."""

  def local(model, shot, frames):
    return lax.map(lambda f: render_frame(model, shot, f, size=size, maps=maps), frames)

  spread = jax.shard_map(local, mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=P("data"), check_vma=False)
  return jax.jit(spread)


@functools.lru_cache(maxsize=8)
def _occlusion_program(mesh: Mesh):
  """Jitted (model, frame, directions, counts) -> (devices, 3, V) partial sums, directions spread over the mesh."""

  def local(model, frame, directions, counts):
    return lighting.measure_occlusion(model, frame, directions, counts)[None]

  specs = (P(), P(), P("data"), P("data"))
  return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P("data"), check_vma=False))


def rest_frame() -> np.ndarray:
  """Slightly open mouth: the pose in which occlusion is measured."""
  frame = np.zeros(len(ARKIT), np.float32)
  frame[ARKIT.index("jawOpen")] = 0.18
  return frame


@dataclasses.dataclass(frozen=True)
class StudioRenderer:
  """The built-in parametric head (a `core.Renderer`).

  Attributes:
    maps: dense labels to make, of ``LABEL_MAPS``.
    devices: how many local devices share the frames; None for all.
  """

  maps: tuple[str, ...] = ()
  devices: int | None = None

  def __post_init__(self):
    unknown = set(self.maps) - set(LABEL_MAPS)
    if unknown:
      raise InputError(f"unknown label map {sorted(unknown)[0]!r}; choose of {', '.join(LABEL_MAPS)}")

  def mesh(self) -> Mesh:
    devices = jax.local_devices()[: self.devices]
    return jax.make_mesh((len(devices),), ("data",), (jax.sharding.AxisType.Auto,), devices=devices)

  def shot(self, model: HeadModel, scene: Scene, seed: int) -> tuple[Shot, np.ndarray, np.ndarray]:
    """The clip's constants, with K and [R | t] in float64."""
    k, rt = camera.intrinsics(scene.camera, scene.size), camera.extrinsics(scene.camera, TARGET)
    lights = lighting.rig(scene.light)
    mesh = self.mesh()
    probes = lighting.probes(lights, mesh.size)
    sums = jax.device_get(_occlusion_program(mesh)(model, rest_frame(), *probes)).sum(0)
    background = backdrop.paint(scene.background, scene.size, seed)
    shot = Shot(
      k=k.astype(np.float32), rt=rt.astype(np.float32), background=background, lights=lights,
      occlusion=lighting.soften(jax.device_get(model), sums),
    )  # fmt: skip
    return shot, k, rt

  def render(self, motion: Motion, person: Person, scene: Scene, *, seed: int) -> Iterator[Frames]:
    """Yields the clip in chunks.

    Raises:
      InputError: a motion that is not in the ARKit space or not finite, or a size that is odd or out of range.
    """
    values = arkit_frames(motion, "the studio")
    check_size(scene.size)
    mesh = self.mesh()
    replicated, spread = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    model = jax.device_put(build(person), replicated)
    shot, k, rt = self.shot(model, scene, seed)
    shot = jax.device_put(shot, replicated)
    program = _program(mesh, scene.size, tuple(self.maps))
    step = mesh.size * int(np.clip(CHUNK // mesh.size, 1, 8))
    for start in range(0, len(values), step):
      part = values[start : start + step]
      padded = np.concatenate([part, np.repeat(part[-1:], step - len(part), 0)])
      out = jax.device_get(program(model, shot, jax.device_put(padded, spread)))
      yield _frames({name: array[: len(part)] for name, array in out.items()}, part, k, rt)


def _frames(out: dict[str, np.ndarray], values: np.ndarray, k: np.ndarray, rt: np.ndarray) -> Frames:
  """Device outputs plus the labels that need no device."""
  t = len(values)
  head = ARKIT.index("headYaw")
  left, right = ARKIT.index("leftEyeYaw"), ARKIT.index("rightEyeYaw")
  labels = dict(out)
  images = labels.pop("images")
  labels["lm2d_px"] = camera.project(labels["lm3d_m"].astype(np.float64), k, rt).astype(np.float32)
  labels["head_aa"] = np.asarray(axis_angle_from_ypr(values[:, head : head + 3]), np.float32)
  labels["gaze"] = np.stack([values[:, left : left + 2], values[:, right : right + 2]], 1)
  labels["K"] = k
  labels["cam_Rt"] = np.broadcast_to(rt, (t, 3, 4)).copy()
  return Frames(images=images, labels=labels)

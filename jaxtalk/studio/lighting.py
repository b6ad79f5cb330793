"""Light on vertices: one key light with soft shadows, an environment with occlusion, a rim, and hair highlights.

Shadows and occlusion are found once a clip, on the resting person, by looking at the mesh from many directions with
the rasteriser: a vertex keeps its share of open sky and of visible key light while it moves. That is exact for the
part that matters (hair on forehead, chin on neck, lids on eyeballs, the hollow of the ears) and costs nothing a frame.

Hair: J. Kajiya and T. Kay, "Rendering fur with three dimensional textures" (SIGGRAPH 1989). Sky visibility from depth
maps: J. Hasselgren and others call it ambient occlusion by shadow mapping; the idea is as old as hemicubes.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxtalk.core import InputError, Light
from jaxtalk.studio.model import HeadModel, Leaf
from jaxtalk.studio.pose import pose
from jaxtalk.studio.raster import visible_surface

GRID = 144  # samples across a shadow map
REACH = 0.36  # metres from the head's middle that a shadow map sees
BIAS = 0.0028  # metres off the surface at which occlusion is looked up
SKY_DIRECTIONS, KEY_DIRECTIONS = 32, 10
KEY_RADIUS = 0.22  # radians: the key is a soft box, not a point

# sky, ground, fill colour (linear) with fill direction (yaw, pitch), rim colour with its yaw.
ENVIRONMENTS = {
  "studio": ((0.46, 0.48, 0.52), (0.30, 0.27, 0.25), (0.30, 0.31, 0.34), (-0.9, 0.1), (0.55, 0.56, 0.6), 2.5),
  "window": ((0.40, 0.44, 0.52), (0.27, 0.24, 0.21), (0.34, 0.38, 0.46), (-1.1, 0.2), (0.40, 0.45, 0.55), -2.4),
  "warm": ((0.48, 0.43, 0.37), (0.31, 0.25, 0.20), (0.36, 0.29, 0.22), (-0.8, 0.0), (0.70, 0.52, 0.34), 2.3),
  "garden": ((0.46, 0.56, 0.68), (0.25, 0.30, 0.17), (0.28, 0.31, 0.25), (-0.7, -0.1), (0.75, 0.72, 0.55), -2.5),
  "evening": ((0.30, 0.28, 0.40), (0.22, 0.17, 0.17), (0.38, 0.26, 0.22), (-1.0, 0.1), (0.85, 0.50, 0.28), 2.4),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LightRig:
  """A `core.Light` as arrays; directions point to the light, colours are linear."""

  key_direction: Leaf
  key_colour: Leaf
  sky: Leaf
  ground: Leaf
  fill_direction: Leaf
  fill_colour: Leaf
  rim_direction: Leaf
  rim_colour: Leaf


def direction(yaw: float, pitch: float) -> np.ndarray:
  """Unit vector (3,) towards (yaw to the subject's left, pitch up)."""
  return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], np.float32)


def rig(light: Light) -> LightRig:
  """Raises InputError for an unknown environment."""
  if light.environment not in ENVIRONMENTS:
    raise InputError(f"unknown environment {light.environment!r}; choose one of {', '.join(ENVIRONMENTS)}")
  sky, ground, fill, (fill_yaw, fill_pitch), rim, rim_yaw = ENVIRONMENTS[light.environment]
  side = np.sign(light.key_yaw) or 1.0
  e = light.environment_intensity
  return LightRig(
    key_direction=direction(light.key_yaw, light.key_pitch),
    key_colour=np.float32(1.12 * light.key_intensity) * np.array(light.key_colour, np.float32),
    sky=np.array(sky, np.float32) * e,
    ground=np.array(ground, np.float32) * e,
    fill_direction=direction(side * fill_yaw, fill_pitch),
    fill_colour=np.array(fill, np.float32) * e,
    rim_direction=direction(-side * abs(rim_yaw), 0.45),
    rim_colour=np.array(rim, np.float32) * e,
  )


def sphere_points(count: int) -> np.ndarray:
  """(count, 3) evenly spread directions (Fibonacci lattice)."""
  i = np.arange(count) + 0.5
  z = 1 - 2 * i / count
  angle = np.pi * (1 + 5**0.5) * i
  r = np.sqrt(1 - z * z)
  return np.stack([r * np.cos(angle), z, r * np.sin(angle)], 1).astype(np.float32)


def _frame(d: Array) -> Array:
  """(3, 3) rows right, up, d for a view along -d."""
  helper = jnp.where(jnp.abs(d[1]) > 0.9, jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0]))
  right = jnp.cross(helper, d)
  right = right / jnp.linalg.norm(right)
  return jnp.stack([right, jnp.cross(d, right), d])


def seen_from(vertices: Array, normals: Array, faces: Array, mask: Array, two_sided: Array, d: Array) -> Array:
  """(V,) in [0, 1]: how much of each vertex's neighbourhood is seen from far away in direction ``d``."""
  axes = _frame(d)
  scale = GRID / (2 * REACH)

  def to_screen(p: Array) -> Array:
    q = p @ axes.T
    return jnp.stack([q[:, 0] * scale + GRID / 2, GRID / 2 - q[:, 1] * scale, q[:, 2] + 10.0], 1)

  screen = to_screen(vertices)
  # From far away depth itself is linear over the screen; it is 0 where nothing is.
  _, depth = visible_surface(screen, faces, mask, height=GRID, width=GRID, face_two_sided=two_sided)
  probe = to_screen(vertices + normals * BIAS + d[None] * BIAS)
  base = jnp.floor(probe[:, :2]).astype(jnp.int32)
  fraction = probe[:, :2] - base
  total = jnp.zeros(len(vertices))
  for dy in (0, 1):
    for dx in (0, 1):
      column, row = (jnp.clip(base[:, i] + o, 0, GRID - 1) for i, o in ((0, dx), (1, dy)))
      wx, wy = (jnp.abs(1 - o - fraction[:, i]) for i, o in ((0, dx), (1, dy)))
      total += wx * wy * (depth[row, column] <= probe[:, 2])
  return total


def probes(lights: LightRig, multiple: int) -> tuple[np.ndarray, np.ndarray]:
  """Directions (D, 3) to look from and what each counts for (D, 2): sky, key. D is a multiple of ``multiple``."""
  sky = sphere_points(SKY_DIRECTIONS)
  d = np.asarray(lights.key_direction)
  right = np.cross([0.0, 1.0, 0.0] if abs(d[1]) < 0.9 else [1.0, 0.0, 0.0], d)
  right /= np.linalg.norm(right)
  i = np.arange(KEY_DIRECTIONS)
  radius, turn = KEY_RADIUS * np.sqrt((i + 0.5) / KEY_DIRECTIONS), i * 2.399963
  key = d + radius[:, None] * (np.cos(turn)[:, None] * right + np.sin(turn)[:, None] * np.cross(d, right))
  key /= np.linalg.norm(key, axis=1, keepdims=True)
  padding = -(SKY_DIRECTIONS + KEY_DIRECTIONS) % multiple
  directions = np.concatenate([sky, key, np.tile(d, (padding, 1))]).astype(np.float32)
  counts = np.zeros((len(directions), 2), np.float32)
  counts[:SKY_DIRECTIONS, 0] = 0.65 + 0.35 * sky[:, 1]
  counts[SKY_DIRECTIONS : SKY_DIRECTIONS + KEY_DIRECTIONS, 1] = 1 / KEY_DIRECTIONS
  return directions, counts


def measure_occlusion(model: HeadModel, rest_frame: Array, directions: Array, counts: Array) -> Array:
  """Sums over directions for each vertex of the resting person (3, V): open sky, whole sky, visible key light."""
  vertices, normals, _, _ = pose(model, rest_frame)

  def add(total, probe):
    d, count = probe
    seen = seen_from(vertices, normals, model.faces, model.face_mask, model.two_sided, d)
    # A surface sees the sky in proportion to the cosine; the wrap keeps strands and thin parts alive.
    facing = jnp.maximum(normals @ d + 0.15, 0.0) * count[0]
    return total + jnp.stack([facing * seen, facing, seen * count[1]]), None

  return lax.scan(add, jnp.zeros((3, len(vertices))), (directions, counts))[0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Occlusion:
  """What reaches each vertex, per channel (V, 3): ``shade`` of the key light, ``openness`` to the sky."""

  shade: Leaf
  openness: Leaf


def soften(model: HeadModel, sums: np.ndarray) -> Occlusion:
  """The sums (3, V) of `measure_occlusion` as light: shadows on skin have red edges."""
  open_sky, whole_sky, key_share = sums
  sky_share = open_sky / np.maximum(whole_sky, 1e-6)
  wrap = np.asarray(model.wrap)
  # Light that scatters under the skin leaks into the shadow's edge, red farthest; light that bounces between skin and
  # skin keeps its red.
  shade = np.maximum(key_share, 0)[:, None] ** (1 - 0.9 * wrap)
  openness = np.maximum(sky_share, np.asarray(model.cavity))[:, None] ** (1.25 - wrap)
  return Occlusion(shade=shade.astype(np.float32), openness=openness.astype(np.float32))


Columns = tuple[Array, Array, Array]


def dot(a: Columns, b: Columns) -> Array:
  """Of vectors given by column; rows of three would make XLA on CPU fall back to tiny matrix products."""
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def light_vertices(
  model: HeadModel, lights: LightRig, occlusion: Occlusion, vertices: Array, normals: Array, eye: Array
) -> tuple[Columns, Array]:
  """Light that each vertex's albedo reflects (three times (V,)), and a highlight to add to it (V,)."""
  n = (normals[:, 0], normals[:, 1], normals[:, 2])
  to_eye = (eye[0] - vertices[:, 0], eye[1] - vertices[:, 1], eye[2] - vertices[:, 2])
  near = lax.rsqrt(dot(to_eye, to_eye))
  to_eye = (to_eye[0] * near, to_eye[1] * near, to_eye[2] * near)
  key, fill_from, rim_from = (tuple(d) for d in (lights.key_direction, lights.fill_direction, lights.rim_direction))
  cosine = dot(n, key)
  up = 0.5 + 0.5 * n[1]
  fill = jnp.clip(0.7 * dot(n, fill_from) + 0.3, 0.0, 1.0)
  grazing = (1 - jnp.clip(dot(n, to_eye), 0.0, 1.0)) ** 3
  rim = grazing * jnp.clip(dot(n, rim_from) + 0.25, 0.0, 1.0) * occlusion.openness[:, 1]

  def channel(c: int) -> Array:
    wrap = model.wrap[:, c]
    diffuse = jnp.clip((cosine + wrap) / (1 + wrap), 0.0, 1.0) * occlusion.shade[:, c] * lights.key_colour[c]
    ambient = lights.ground[c] + (lights.sky[c] - lights.ground[c]) * up + fill * lights.fill_colour[c]
    return (diffuse + ambient * occlusion.openness[:, c] + rim * lights.rim_colour[c]) * model.gain[:, c]

  half = (to_eye[0] + key[0], to_eye[1] + key[1], to_eye[2] + key[2])
  tangent = (model.tangent[:, 0], model.tangent[:, 1], model.tangent[:, 2])
  strand = jnp.clip(1 - dot(tangent, half) ** 2 / dot(half, half), 0.0, 1.0)
  gleam = (0.05 * strand**18 + 0.05 * strand**90) * jnp.clip(cosine + 0.3, 0, 1) * occlusion.shade[:, 1]
  is_hair = dot(tangent, tangent) > 0.5
  return (channel(0), channel(1), channel(2)), jnp.where(is_hair, gleam * model.gain[:, 0], 0.0)

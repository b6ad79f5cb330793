"""Maps that follow the face: what a generator is shown of where things are in its picture.

StyleGAN2 adds noise to its features, which stays on the screen while a head moves through it. Here it is given, in the
place of noise, a drawing that moves with the head: soft lines of brows, lids, nose, inner lips and jaw, the areas of
lips, open mouth, open eyes and irises, what skin, hair and clothes cover, and waves that are fixed to the head (as the
input of StyleGAN3 is to its frame: Karras et al. 2021, section 3.1). All of it is made of projected points
(`studio.points`), smoothly, so that a small motion changes it a little.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxtalk.studio.points import ANCHOR_REACH, ANCHORS, COVERS, LANDMARKS

# Landmarks of each soft line (iBUG numbering); a line that is closed ends where it began.
LINES: dict[str, tuple[tuple[int, ...], ...]] = {
  "jaw": (tuple(range(17)),),
  "brows": (tuple(range(17, 22)), tuple(range(22, 27))),
  "nose": (tuple(range(27, 31)), tuple(range(31, 36))),
  "upper_lids": ((36, 37, 38, 39), (42, 43, 44, 45)),
  "lower_lids": ((39, 40, 41, 36), (45, 46, 47, 42)),
  "upper_inner_lip": ((60, 61, 62, 63, 64),),
  "lower_inner_lip": ((64, 65, 66, 67, 60),),
}
AREAS: dict[str, tuple[tuple[int, ...], ...]] = {
  "lips": (tuple(range(48, 60)),),
  "mouth": (tuple(range(60, 68)),),
  "eyes": (tuple(range(36, 42)), tuple(range(42, 48))),
}
_IRIS = 0.21  # radius over the distance of an eye's corners
_CLOSING = 0.02  # radius, as a share of the picture, of gaps between vertices that are closed
LINE_WIDTH = 0.009  # standard deviation as a share of the picture
_WAVES = 12  # directions of waves, each a sine and a cosine
_LONGEST, _SHORTEST = 0.25, 0.012  # metres, of waves
NUM = len(LINES) + len(AREAS) + 1 + len(COVERS) + 2 + 2 * _WAVES


def draw(points: Array, cover: Array, of: int) -> Array:
  """(N, S, S, NUM) maps, about -1 to 1 (places in the plane of the head: -2 to 2).

  Args:
    points: (N, P, 3) of `studio.points.project`: x, y pixels and depth.
    cover: (N, S, S, 4) uint8 of `studio.points.cover`.
    of: size of the picture in whose pixels the points are.
  """
  at = (points[..., :2] + 0.5) / of  # 0 to 1 over the picture
  size = cover.shape[1]
  axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
  face = at[:, LANDMARKS]
  areas = {name: _areas(face, parts, axis) for name, parts in AREAS.items()}
  channels = [_lines(face, parts, axis) for parts in LINES.values()]
  channels += [*areas.values(), _irises(face, axis) * areas["eyes"]]
  covered = _closed(cover.astype(jnp.float32) / 255, round(_CLOSING * size))
  return jnp.concatenate([jnp.stack(channels, -1), covered, _waves(at[:, ANCHORS], axis)], -1)


def pyramid(points: Array, cover: Array, of: int, smallest: int = 4) -> dict[int, Array]:
  """Maps by size: that of the cover, half of it ... smallest; the smaller ones are means of the largest."""
  maps = {cover.shape[1]: draw(points, cover, of)}
  size = cover.shape[1]
  while size > smallest:
    maps[size // 2], size = mean(maps[size], 2), size // 2
  return maps


def mean(x: Array, factor: int) -> Array:
  """(N, H, W, C) means of blocks."""
  n, height, width, channels = x.shape
  return x.reshape(n, height // factor, factor, width // factor, factor, channels).mean((2, 4))


def _lines(at: Array, parts: tuple[tuple[int, ...], ...], axis: Array) -> Array:
  """(N, S, S): 1 on the polylines through landmarks, falling off like a Gaussian."""
  nearest = jnp.full((len(at), len(axis), len(axis)), 1e3)
  for part in parts:
    for a, b in zip(part[:-1], part[1:], strict=True):
      nearest = jnp.minimum(nearest, _squared_distance(at[:, a], at[:, b], axis))
  return jnp.exp(nearest / (-2 * LINE_WIDTH**2))


def _squared_distance(a: Array, b: Array, axis: Array) -> Array:
  """(N, S, S) squared distance of pixels to segments from a to b, (N, 2) each."""
  x, y = axis[None, None, :] - a[:, 0, None, None], axis[None, :, None] - a[:, 1, None, None]
  dx, dy = (b - a)[:, 0, None, None], (b - a)[:, 1, None, None]
  along = jnp.clip((x * dx + y * dy) / (dx * dx + dy * dy + 1e-9), 0.0, 1.0)
  return jnp.square(x - along * dx) + jnp.square(y - along * dy)


def _areas(at: Array, parts: tuple[tuple[int, ...], ...], axis: Array) -> Array:
  """(N, S, S): 1 inside the polygons, 0 outside, 1/2 on their edges: a signed distance, softly cut off."""
  total = jnp.zeros((len(at), len(axis), len(axis)))
  for part in parts:
    nearest, inside = jnp.full_like(total, 1e3), jnp.zeros(total.shape, bool)
    for i, j in zip(part, (*part[1:], part[0]), strict=True):
      a, b = at[:, i], at[:, j]
      nearest = jnp.minimum(nearest, _squared_distance(a, b, axis))
      inside ^= _crosses(a, b, axis)
    distance = jnp.sqrt(nearest) * jnp.where(inside, 1.0, -1.0)
    total = total + jax.nn.sigmoid(distance / (0.35 * LINE_WIDTH))
  return total


def _crosses(a: Array, b: Array, axis: Array) -> Array:
  """(N, S, S) bool: a ray to the right of a pixel crosses the segment from a to b, (N, 2) each."""
  x, y = axis[None, None, :], axis[None, :, None]
  (ax, ay), (bx, by) = ((p[:, 0, None, None], p[:, 1, None, None]) for p in (a, b))
  level = (ay > y) != (by > y)
  return level & (x < ax + (y - ay) / jnp.where(ay == by, 1.0, by - ay) * (bx - ax))


def _irises(face: Array, axis: Array) -> Array:
  """(N, S, S): discs about the pupils, as large as eyes of that width have them."""
  discs = []
  for pupil, corners in ((68, (36, 39)), (69, (42, 45))):
    radius = _IRIS * jnp.linalg.norm(face[:, corners[0]] - face[:, corners[1]], axis=-1)
    distance = jnp.sqrt(_squared_distance(face[:, pupil], face[:, pupil], axis))
    discs.append(jax.nn.sigmoid((radius[:, None, None] - distance) / (0.35 * LINE_WIDTH)))
  return discs[0] + discs[1]


def _closed(x: Array, radius: int) -> Array:
  """(N, H, W, C) with gaps of up to twice ``radius`` pixels filled, edges where they were (morphological closing)."""
  for pool, outside in ((jnp.maximum, -1.0), (jnp.minimum, 2.0)):
    for axis in (1, 2):
      widths = [(radius, radius) if i == axis else (0, 0) for i in range(4)]
      padded = jnp.pad(x, widths, constant_values=outside)  # by shifts: windowed reductions are slow on CPU
      parts = [jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i in range(2 * radius + 1)]
      x = functools.reduce(pool, parts)
  return jnp.minimum(2 * x, 1.0)  # one vertex is enough


@functools.lru_cache(maxsize=1)
def _wave_vectors() -> tuple[np.ndarray, np.ndarray]:
  """(W, 2) waves in radians a metre, and their lengths in metres: golden-angle directions, lengths falling evenly."""
  lengths = np.geomspace(_LONGEST, _SHORTEST, _WAVES)
  angles = np.arange(_WAVES) * np.pi * (3 - np.sqrt(5))
  directions = np.stack([np.cos(angles), np.sin(angles)], 1)
  return (2 * np.pi / lengths[:, None] * directions).astype(np.float32), lengths.astype(np.float32)


def _waves(anchors: Array, axis: Array) -> Array:
  """(N, S, S, 2 + 2 W): place in the plane of the head, in head widths, and waves over it."""
  columns = (anchors[:, 1:] - anchors[:, :1]) / ANCHOR_REACH  # (N, 2 axes, xy): picture widths a metre
  det = columns[:, 0, 0] * columns[:, 1, 1] - columns[:, 0, 1] * columns[:, 1, 0]
  # Seen from the side a head has no width: the plane is kept from collapsing at 72 degrees.
  size = jnp.sqrt(jnp.square(columns).sum((1, 2)) / 2)
  det = jnp.where(det < 0, -1.0, 1.0) * jnp.maximum(jnp.abs(det), 0.3 * jnp.square(size))
  dx = axis[None, None, :] - anchors[:, 0, 0, None, None]
  dy = axis[None, :, None] - anchors[:, 0, 1, None, None]
  u = (columns[:, 1, 1, None, None] * dx - columns[:, 1, 0, None, None] * dy) / det[:, None, None]
  v = (columns[:, 0, 0, None, None] * dy - columns[:, 0, 1, None, None] * dx) / det[:, None, None]
  vectors, lengths = _wave_vectors()
  phase = u[..., None] * vectors[:, 0][None, None, None] + v[..., None] * vectors[:, 1][None, None, None]
  pixel = 1.0 / (size * len(axis))  # metres
  # A wave shorter than four pixels would only alias.
  seen = jnp.clip(lengths[None] / pixel[:, None] / 2 - 1, 0.0, 1.0)[:, None, None]
  place = jnp.clip(jnp.stack([u, v], -1) / 0.15, -2.0, 2.0)
  return jnp.concatenate([place, jnp.sin(phase) * seen, jnp.cos(phase) * seen], -1)

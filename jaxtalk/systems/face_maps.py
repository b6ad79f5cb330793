"""Maps that follow the face: what a generator is shown of where things are in its picture.

StyleGAN2 adds noise to its features, which stays on the screen while a head moves through it. Here it is given, in the
place of noise, a drawing that moves with the head: soft lines of brows, lids, irises, nose, lips and jaw, the open
mouth and the open eyes, what skin, hair and clothes cover, and waves that are fixed to the head (as the input of
StyleGAN3 is to its frame: Karras et al. 2021, section 3.1). All of it is made of projected points (`studio.points`),
smoothly, so that a small motion changes it a little.
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
  "outer_lips": ((*range(48, 60), 48),),
  "upper_inner_lip": ((60, 61, 62, 63, 64),),
  "lower_inner_lip": ((64, 65, 66, 67, 60),),
}
OPENINGS: dict[str, tuple[tuple[int, ...], ...]] = {
  "mouth": (tuple(range(60, 68)),),
  "eyes": (tuple(range(36, 42)), tuple(range(42, 48))),
}
LINE_WIDTH, PUPIL_WIDTH = 0.009, 0.011  # standard deviations as shares of the picture
_WAVES = 12  # directions of waves, each a sine and a cosine
_LONGEST, _SHORTEST = 0.25, 0.012  # metres, of waves
NUM = len(LINES) + 1 + len(OPENINGS) + len(COVERS) + 2 + 2 * _WAVES


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
  channels = [_lines(face, parts, axis) for parts in LINES.values()]
  channels.append(_spots(face[:, 68:70], axis))
  channels += [_openings(face, parts, axis) for parts in OPENINGS.values()]
  covered = cover.astype(jnp.float32) / 255
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


def _spots(at: Array, axis: Array) -> Array:
  x, y = _bells(at, axis, PUPIL_WIDTH)
  return jnp.einsum("npy,npx->nyx", y, x)


def _bells(at: Array, axis: Array, width: float) -> tuple[Array, Array]:
  """Gaussians (N, P, S) about the x and the y of points (N, P, 2)."""
  x, y = (jnp.square(axis[None, None] - at[..., i, None]) for i in (0, 1))
  return jnp.exp(x / (-2 * width**2)), jnp.exp(y / (-2 * width**2))


def _openings(at: Array, parts: tuple[tuple[int, ...], ...], axis: Array) -> Array:
  """(N, S, S): 1 well inside the polygons, 0 outside: how far inside all their edges a pixel is, softly."""
  total = jnp.zeros((len(at), len(axis), len(axis)))
  for part in parts:
    inside = jnp.full_like(total, 1e3)
    for a, b in zip(part, (*part[1:], part[0]), strict=True):  # the order of iBUG is clockwise on the screen
      dx, dy = ((at[:, b] - at[:, a])[:, i, None, None] for i in (0, 1))
      x, y = axis[None, None, :] - at[:, a, 0, None, None], axis[None, :, None] - at[:, a, 1, None, None]
      inside = jnp.minimum(inside, (dx * y - dy * x) / jnp.sqrt(dx * dx + dy * dy + 1e-9))
    total = total + jax.nn.sigmoid(inside / (0.5 * LINE_WIDTH))
  return total


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

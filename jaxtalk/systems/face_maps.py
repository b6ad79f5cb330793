"""Maps that follow the face: what a generator is shown of where things are in its picture.

StyleGAN2 adds noise to its features, which stays on the screen while a head moves through it. Here it is given, in the
place of noise, a drawing that moves with the head: soft lines of brows, lids, irises, nose, lips and jaw, the open
mouth and the open eyes, clouds of points on skin, hair and clothes, and waves that are fixed to the head (as the input
of StyleGAN3 is to its frame: Karras et al. 2021, section 3.1). All of it is made of a few hundred projected points
(`studio.points`), smoothly, so that a small motion changes it a little.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxtalk.studio.points import ANCHOR_REACH, SPANS

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
CLOUDS = ("skin", "hair_front", "hair_back", "clothes")
LINE_WIDTH, PUPIL_WIDTH, CLOUD_WIDTH = 0.009, 0.011, 0.016  # standard deviations as shares of the picture
_WAVES = 12  # directions of waves, each a sine and a cosine
_LONGEST, _SHORTEST = 0.25, 0.012  # metres, of waves
NUM = len(LINES) + 1 + len(OPENINGS) + len(CLOUDS) + 2 + 2 * _WAVES


def draw(points: Array, size: int, of: int) -> Array:
  """(N, size, size, NUM) maps, about -1 to 1, of projected points.

  Args:
    points: (N, P, 3) of `studio.points.project`: x, y pixels and depth.
    size: of the maps.
    of: size of the picture in whose pixels the points are.
  """
  at = (points[..., :2] + 0.5) / of  # 0 to 1 over the picture
  axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
  face = at[:, SPANS["landmarks"]]
  channels = [_lines(face, parts, axis) for parts in LINES.values()]
  channels.append(_spots(face[:, 68:70], axis))
  channels += [_openings(face, parts, axis) for parts in OPENINGS.values()]
  channels += _clouds(at, points[..., 2], axis)
  return jnp.concatenate([jnp.stack(channels, -1), _waves(at[:, SPANS["anchors"]], axis)], -1)


def pyramid(points: Array, size: int, smallest: int = 4) -> dict[int, Array]:
  """Maps by size: size, size / 2 ... smallest; the smaller ones are means of the largest."""
  maps = {size: draw(points, size, size)}
  while size > smallest:
    x, size = maps[size], size // 2
    maps[size] = x.reshape(len(x), size, 2, size, 2, x.shape[-1]).mean((2, 4))
  return maps


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
  x, y = (jnp.exp(jnp.square(axis - at[..., i, None]) / (-2 * PUPIL_WIDTH**2)) for i in (0, 1))
  return jnp.einsum("npy,npx->nyx", y, x)


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


def _clouds(at: Array, depth: Array, axis: Array) -> list[Array]:
  """Densities of points, saturating at 1; hair in front of the middle of the head and behind it apart."""
  middle = depth[:, SPANS["anchors"]][:, :1]

  def cloud(name: str, weight: Array | None) -> Array:
    p = at[:, SPANS[name]]
    x, y = (jnp.exp(jnp.square(axis - p[..., i, None]) / (-2 * CLOUD_WIDTH**2)) for i in (0, 1))
    y = y if weight is None else y * weight[..., None]
    return 1 - jnp.exp(-jnp.einsum("npy,npx->nyx", y, x))

  behind = jax.nn.sigmoid((depth[:, SPANS["hair"]] - middle) / 0.01)
  return [cloud("skin", None), cloud("hair", 1 - behind), cloud("hair", behind), cloud("clothes", None)]


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

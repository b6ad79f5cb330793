"""Colour of samples: attribute planes to values, one texture gather, highlights, averaging, tone curve.

Everything is one array per channel ("structure of arrays"): rows of three or twelve floats make XLA on CPU fall back
to tiny matrix products and strided copies, which cost several times the arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxtalk.studio import atlas
from jaxtalk.studio.lighting import LightRig

# Order of the attributes: texture u v, reflected light r g b, normal x y z, gloss, shine, gleam, 1/depth.
ATTRIBUTES = 12
LIT, NORMAL, INVERSE_DEPTH = slice(2, 5), slice(5, 8), 11


def staged(on: Array, stage: Callable, *args):
  """``stage(*args)`` behind a conditional that XLA cannot fuse through; ``on`` is a traced True.

  Without it XLA:CPU recomputes the gathers of one stage inside every consumer of the next: seven times slower, seen
  with jax 0.10.2 (`optimization_barrier` does not stop it).
  """
  empty = functools.partial(jax.tree.map, lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(stage, *args))
  return lax.cond(on, lambda a: stage(*a), lambda a: empty(), args)


def sample_planes(planes: Array, ids: Array, x: Array, y: Array) -> tuple[Array, ...]:
  """Values (one array like ``ids`` per attribute) of planes (F, A, 3) at samples; meaningless where ``ids`` < 0."""
  safe = jnp.maximum(ids, 0)
  rows = [planes[:, a][safe] for a in range(planes.shape[1])]
  return tuple(r[..., 0] * x + r[..., 1] * y + r[..., 2] for r in rows)


def texels(packed: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
  """Linear albedo at atlas coordinates; those beyond ``WRAP`` repeat within a block."""
  start = atlas.CLOTH_AT
  u = jnp.where(u >= atlas.WRAP, start[0] + u % atlas.BLOCK, u)
  v = jnp.where(v >= atlas.WRAP, start[1] + v % atlas.BLOCK, v)
  column, row = (jnp.clip(t.astype(jnp.int32), 0, atlas.SIZE - 1) for t in (u, v))
  word = packed.reshape(-1)[row * atlas.SIZE + column]
  red, green, blue = (((word >> s) & 255).astype(jnp.float32) * (1 / 255) for s in (0, 8, 16))
  return red * red, green * green, blue * blue


def shade(
  values: tuple[Array, ...], ids: Array, packed: Array, lights: LightRig, half: Array, background: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
  """Linear colour of samples (red, green, blue), background where ``ids`` < 0.

  Highlights are Blinn-Phong (exponential form), sharper ones brighter; ``half`` (3,) is the half vector of the view.
  """
  u, v, *lit, nx, ny, nz, gloss, shine, gleam, _ = values
  albedo = texels(packed, u, v)
  cosine = (nx * half[0] + ny * half[1] + nz * half[2]) * lax.rsqrt(nx * nx + ny * ny + nz * nz + 1e-9)
  power = jnp.exp2(3.0 + 6.5 * gloss)
  blinn = jnp.exp(power * (jnp.clip(cosine, 0.0, 1.0) - 1)) * (1 + power / 40)
  # A wet eye mirrors the soft box itself: a disc with a crisp edge.
  mirror = 3 * jnp.clip((cosine - 0.985) / 0.005, 0.0, 1.0)
  shadowed = jnp.clip(lit[1], 0.0, 1.0)
  highlight = shine * jnp.where(gloss > 0.95, mirror, blinn) * shadowed + gleam
  colour = (a * light + highlight * key for a, light, key in zip(albedo, lit, lights.key_colour * 0.6, strict=True))
  red, green, blue = (jnp.where(ids >= 0, c, b) for c, b in zip(colour, background, strict=True))
  return red, green, blue


def tone_map(linear: Array) -> Array:
  """Linear light to sRGB in [0, 1], with a soft shoulder above 0.72 instead of a clip."""
  knee = 0.72
  over = jnp.maximum(linear - knee, 0.0)
  x = jnp.where(linear > knee, knee + (1 - knee) * (1 - jnp.exp(-over / (1 - knee))), jnp.maximum(linear, 0.0))
  return jnp.where(x <= 0.0031308, 12.92 * x, 1.055 * jnp.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)


def resolve(channels: tuple[Array, ...], factor: int) -> Array:
  """Averages ``factor`` x ``factor`` samples a pixel, tone-maps, and packs (H, W, 3) uint8."""

  def average(c: Array) -> Array:
    return sum(c[i::factor, j::factor] for i in range(factor) for j in range(factor)) / factor**2

  pixels = [jnp.round(jnp.clip(tone_map(average(c)), 0.0, 1.0) * 255).astype(jnp.uint8) for c in channels]
  return jnp.stack(pixels, -1)

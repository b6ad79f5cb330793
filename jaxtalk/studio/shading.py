"""Colour of points: one texture gather, reflected light, highlights, tone curve.

Everything is one array per channel ("structure of arrays"): rows of three or twelve floats make XLA on CPU fall back
to tiny matrix products and strided copies, which cost several times the arithmetic.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxtalk.studio import atlas
from jaxtalk.studio.lighting import LightRig

KNEE = 0.72  # linear light above which the curve bends instead of clipping
BRIGHTEST = 4.0


def texels(packed: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
  """Linear albedo at atlas coordinates; those beyond ``WRAP`` repeat within a block."""
  start = atlas.CLOTH_AT
  u = jnp.where(u >= atlas.WRAP, start[0] + u % atlas.BLOCK, u)
  v = jnp.where(v >= atlas.WRAP, start[1] + v % atlas.BLOCK, v)
  column, row = (jnp.clip(t.astype(jnp.int32), 0, atlas.SIZE - 1) for t in (u, v))
  word = packed.reshape(-1)[row * atlas.SIZE + column]
  red, green, blue = (((word >> s) & 255).astype(jnp.float32) * (1 / 255) for s in (0, 8, 16))
  return red * red, green * green, blue * blue


def shade(values: tuple[Array, ...], packed: Array, lights: LightRig, half: Array) -> tuple[Array, Array, Array]:
  """Linear colour (red, green, blue) of points from their texture u v, light r g b, normal x y z, gloss, shine, gleam.

  Highlights are Blinn-Phong (exponential form), sharper ones brighter; ``half`` (3,) is the half vector of the view.
  """
  u, v, *lit, nx, ny, nz, gloss, shine, gleam = values
  albedo = texels(packed, u, v)
  cosine = (nx * half[0] + ny * half[1] + nz * half[2]) * lax.rsqrt(nx * nx + ny * ny + nz * nz + 1e-9)
  power = jnp.exp2(3.0 + 6.5 * gloss)
  blinn = jnp.exp(power * (jnp.clip(cosine, 0.0, 1.0) - 1)) * (1 + power / 40)
  # A wet eye mirrors the soft box itself: a disc with a crisp edge.
  mirror = 3 * jnp.clip((cosine - 0.985) / 0.005, 0.0, 1.0)
  shadowed = jnp.clip(lit[1], 0.0, 1.0)
  highlight = shine * jnp.where(gloss > 0.95, mirror, blinn) * shadowed + gleam
  red, green, blue = (a * c + highlight * k for a, c, k in zip(albedo, lit, lights.key_colour * 0.6, strict=True))
  return red, green, blue


@functools.lru_cache(maxsize=1)
def encoding_table() -> np.ndarray:
  """(8192,) uint8 over the square root of linear light up to ``BRIGHTEST``: sRGB, a soft shoulder above ``KNEE``."""
  linear = BRIGHTEST * np.linspace(0, 1, 8192) ** 2
  over = np.maximum(linear - KNEE, 0.0)
  x = np.where(linear > KNEE, KNEE + (1 - KNEE) * (1 - np.exp(-over / (1 - KNEE))), linear)
  encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)
  return np.round(np.clip(encoded, 0, 1) * 255).astype(np.uint8)


def encode(channels: list[Array]) -> Array:
  """Linear (H, W) channels to a tone-mapped (H, W, 3) uint8 picture."""
  # By table: a power and an exponential for every value would cost more than all the shading.
  table = jnp.asarray(encoding_table())
  levels = len(encoding_table()) - 1

  def look_up(c: Array) -> Array:
    place = jnp.sqrt(jnp.clip(c * (1 / BRIGHTEST), 0.0, 1.0)) * levels
    return table[jnp.round(place).astype(jnp.int32)]

  return jnp.stack([look_up(c) for c in channels], -1)

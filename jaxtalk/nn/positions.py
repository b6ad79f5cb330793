"""Sinusoids for positions and times (Vaswani et al. 2017, arXiv 1706.03762, sec. 3.5)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def sinusoid(positions: jax.Array, width: int, base: float = 10_000.0) -> jax.Array:
  """(...,) integers or floats to (..., width): sine and cosine take turns, sine first.

  Args:
    positions: any numbers; for times in [0, 1] scale them first.
    width: even.
    base: ratio of the longest to the shortest period.
  """
  positions = jnp.asarray(positions, jnp.float32)[..., None]
  rates = (base ** (-np.arange(0, width, 2) / width)).astype(np.float32)
  angles = positions * rates.reshape(*[1] * (positions.ndim - 1), -1)
  return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*angles.shape[:-1], width)

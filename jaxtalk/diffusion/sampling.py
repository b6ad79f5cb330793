"""The sampling loop."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError
from jaxtalk.diffusion.samplers import Plan


def sample(
  predict_x0: Callable[[jax.Array, jax.Array], jax.Array], plan: Plan, x: jax.Array, noise: jax.Array | None = None
) -> jax.Array:
  """Runs a sampler's rows in one ``lax.scan``.

  Args:
    predict_x0: ``(x (B, ...), t (B,)) -> x0 (B, ...)``; see `guidance.guided` and `predictions.convert`.
    plan: from `samplers`; only its number of rows is static, so one compiled program serves every sampler and
      schedule of that length.
    x: (B, ...) start noise at the plan's first level.
    noise: where fresh noise comes from: a key (row i draws from ``fold_in(key, i)``), an array (R, B, ...) with one
      entry for each row, or None for a plan that adds none.

  Returns:
    (B, ...) at the level after the last row.
  """
  if noise is None and isinstance(plan.noise, np.ndarray) and plan.noise.any():
    raise InputError("this sampler adds fresh noise: give a key or an array of noise")
  draw = _noise_source(noise, len(plan), x)

  def step(carry, row):
    x, before = carry
    index, p = row
    x0 = predict_x0(x, jnp.full(x.shape[:1], p.times))
    x = p.keep * x + p.data * x0 + p.past * before
    if draw is not None:
      x = x + p.noise * draw(index)
    return (x, x0), None

  rows = (jnp.arange(len(plan)), jax.tree.map(lambda column: _column(column, x.dtype), plan))
  (x, _), _ = jax.lax.scan(step, (x, jnp.zeros_like(x)), rows)
  return x


def _column(column, dtype):
  """Integer times stay integers."""
  return jnp.asarray(column) if jnp.issubdtype(column.dtype, jnp.integer) else jnp.asarray(column, dtype)


def _noise_source(noise: jax.Array | None, rows: int, x: jax.Array) -> Callable[[jax.Array], jax.Array] | None:
  if noise is None:
    return None
  if jnp.issubdtype(noise.dtype, jax.dtypes.prng_key):
    return lambda index: jax.random.normal(jax.random.fold_in(noise, index), x.shape, x.dtype)
  if noise.shape != (rows, *x.shape):
    raise InputError(f"noise {noise.shape} does not fit {rows} rows of {x.shape}")
  stored = jnp.asarray(noise)
  return lambda index: stored[index]

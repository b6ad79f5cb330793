"""Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) over several conditions with one scale each.

All branches go through the network in one batch: a call of B clips and C conditions is one call of (C + 1) B clips.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError

Mode = Literal["incremental", "independent", "independent_in_place"]
Keep = Mapping[str, jax.Array]
Predict = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guidance:
  """Which conditions are strengthened, and how their effects are told apart.

  With u the estimate without any of them, d(c) that with more of them, and scales s:

  incremental            u + s1 (d(c1) - u) + s2 (d(c1, c2) - d(c1)) + ...    the order matters
  independent            u + s1 (d(c1) - u) + s2 (d(c2) - u) + ...
  independent_in_place   each difference is taken against the estimate guided so far, not against u: not a sum of
                         effects, but what DiffPoseTalk's sampler computes for more than one condition

  Attributes:
    conditions: names in order; none is no guidance.
    mode: see above.
  """

  conditions: tuple[str, ...] = ()
  mode: Mode = "incremental"

  def __post_init__(self):
    if self.mode not in ("incremental", "independent", "independent_in_place"):
      raise InputError(f"no guidance mode {self.mode!r}: incremental, independent or independent_in_place")
    if len(set(self.conditions)) < len(self.conditions):
      raise InputError(f"guidance names a condition twice: {', '.join(self.conditions)}")

  @property
  def branches(self) -> np.ndarray:
    """(1 + C, C) bool: the conditions that each branch keeps; the first keeps none."""
    count = len(self.conditions)
    kept = np.tri(count, dtype=bool) if self.mode == "incremental" else np.eye(count, dtype=bool)
    return np.concatenate([np.zeros((1, count), bool), kept])

  def keep(self, batch: int) -> dict[str, jax.Array]:
    """Name -> (K B,) bool for K branches of B clips after each other: whether the condition is kept."""
    return {name: jnp.repeat(jnp.asarray(self.branches[:, i]), batch) for i, name in enumerate(self.conditions)}

  def combine(self, estimates: jax.Array, scales: Sequence[float | jax.Array]) -> jax.Array:
    """(1 + C, ...) estimates of the branches to the guided one (...)."""
    if len(scales) != len(self.conditions):
      raise InputError(f"guidance over {len(self.conditions)} conditions needs as many scales, not {len(scales)}")
    result = estimates[0]
    for i, scale in enumerate(scales):
      base = {"incremental": estimates[i], "independent": estimates[0], "independent_in_place": result}[self.mode]
      result = result + scale * (estimates[i + 1] - base)
    return result


def guided(
  predict: Callable[[jax.Array, jax.Array, Keep], jax.Array],
  guidance: Guidance,
  scales: Sequence[float | jax.Array],
  adjust: Callable[[jax.Array], jax.Array] | None = None,
) -> Predict:
  """A predictor ``(x (B, ...), t (B,)) -> x0`` from one that can drop conditions.

  Args:
    predict: called once with ``(x (K B, ...), t (K B,), keep)``, K branches after each other (row ``k B + b`` is clip
      b), ``keep`` a (K B,) bool for each guided condition. Conditions themselves it repeats K times (``jnp.tile``).
    guidance: K - 1 conditions.
    scales: one for each; numbers or traced scalars. 0 ignores a condition, 1 is the plain conditional estimate.
    adjust: applied to the estimates (K B, ...) before they are combined, such as `dynamic_threshold`.
  """
  count = len(guidance.branches)

  def predict_guided(x: jax.Array, t: jax.Array) -> jax.Array:
    batch = x.shape[0]
    estimates = predict(jnp.concatenate([x] * count), jnp.concatenate([t] * count), guidance.keep(batch))
    estimates = estimates if adjust is None else adjust(estimates)
    return guidance.combine(estimates.reshape(count, batch, *estimates.shape[1:]), scales)

  return predict_guided


def dynamic_threshold(x0: jax.Array, quantile: float, smallest: float, largest: float) -> jax.Array:
  """Clips every clip of (B, ...) at the quantile of its absolute values, which is first clipped itself.

  After Saharia et al. 2022 (arXiv 2205.11487, sec. 2.3), without their division by the threshold.
  """
  size = jnp.abs(x0.reshape(x0.shape[0], -1))
  limit = jnp.clip(jnp.quantile(size, quantile, axis=1), smallest, largest)
  limit = limit.reshape(-1, *[1] * (x0.ndim - 1))
  return jnp.clip(x0, -limit, limit)

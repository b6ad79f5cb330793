"""Motion from the denoiser of DiffPoseTalk: one window by any sampler, guided; `diffposetalk_windows` does the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxtalk.core import InputError
from jaxtalk.diffusion import Guidance, Plan, guided, sample
from jaxtalk.diffusion.guidance import Predict, dynamic_threshold
from jaxtalk.systems.diffposetalk_networks import Denoiser

SCALES = {"audio": 1.15, "style": 3.0}  # the official defaults


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
  """What a window is made from; see `diffposetalk_networks.Denoiser` for each. None is null or start."""

  shape: jax.Array
  audio: jax.Array | None = None
  style: jax.Array | None = None
  prev_motion: jax.Array | None = None
  prev_audio: jax.Array | None = None
  indicator: jax.Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold:
  """Dynamic threshold of the estimates, before guidance; see `guidance.dynamic_threshold`. Officially off.

  Attributes:
    quantile: of absolute values over a clip's window.
    smallest: lower limit of the threshold, in standard deviations of the motion.
    largest: upper limit.
  """

  quantile: float = 0.99
  smallest: float = 1.0
  largest: float = 4.0


def predictor(
  module: Denoiser,
  variables: dict,
  conditions: Conditions,
  length: int,
  guidance: Guidance,
  scales: Sequence[float | jax.Array],
  threshold: Threshold | None = None,
) -> Predict:
  """``(x (N, L, d), t (N,)) -> x0 (N, L, d)``, L = ``length``; all branches of the guidance in one call of the network.

  A condition that is not guided stays in every branch.
  """
  unknown = set(guidance.conditions) - {"audio", "style"}
  if unknown:
    raise InputError(f"guidance is over audio and style, not {', '.join(sorted(unknown))}")
  count = len(guidance.branches)
  tiled = jax.tree.map(lambda c: jnp.concatenate([c] * count), conditions)
  previous, rows = module.previous, len(tiled.shape)
  keep_all = guidance.keep(len(conditions.shape))
  weights = {"params": variables["params"]}
  # Speech stays the same while the motion changes, so what the layers take from it is computed here, before the loop.
  heard = module.apply(weights, rows, length, tiled.audio, tiled.prev_audio, keep_all, method="hear")

  def predict(x: jax.Array, t: jax.Array, keep) -> jax.Array:
    c = tiled
    out = module.apply(weights, x, None, c.shape, c.style, c.prev_motion, None, t, c.indicator, keep=keep, heard=heard)
    return jnp.asarray(out)[:, previous:]

  adjust = None
  if threshold is not None:
    adjust = lambda x0: dynamic_threshold(x0, **dataclasses.asdict(threshold))  # noqa: E731
  return guided(predict, guidance, scales, adjust)


def sample_window(
  module: Denoiser,
  variables: dict,
  conditions: Conditions,
  plan: Plan,
  x: jax.Array,
  noise: jax.Array | None = None,
  *,
  guidance: Guidance | None = None,
  scales: Sequence[float | jax.Array] | None = None,
  threshold: Threshold | None = None,
) -> jax.Array:
  """One window of motion.

  Args:
    module: the denoiser.
    variables: its variables.
    conditions: of N clips.
    plan: rows of a sampler over the denoiser's schedule, e.g. ``ddpm(diffposetalk.schedule("cosine", 500).levels())``.
    x: (N, L, d) start noise.
    noise: key or (R, N, L, d), see `diffusion.sample`.
    guidance: None is the official default, incremental over audio, then style.
    scales: one for each guided condition; None are the official defaults 1.15 and 3.
    threshold: None is none.

  Returns:
    (N, L, d) normalised motion.
  """
  guidance = Guidance(conditions=("audio", "style")) if guidance is None else guidance
  scales = [SCALES[name] for name in guidance.conditions] if scales is None else scales
  return sample(predictor(module, variables, conditions, x.shape[1], guidance, scales, threshold), plan, x, noise)

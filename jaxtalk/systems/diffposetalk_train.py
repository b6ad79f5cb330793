"""How DiffPoseTalk's networks are taught: noise and dropped conditions for the denoiser, contrast for styles."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.diffusion.schedules import Schedule
from jaxtalk.systems.diffposetalk_networks import Denoiser
from jaxtalk.systems.diffposetalk_sample import Conditions


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
  """The random part of an example.

  Attributes:
    t: (N,) int32 diffusion time, 1 to T.
    noise: (N, L, d).
    drop: (N,) in [0, 1): above `STYLE_DROPPED` the style is dropped, above `AUDIO_DROPPED` the audio too.
  """

  t: jax.Array
  noise: jax.Array
  drop: jax.Array


STYLE_DROPPED, AUDIO_DROPPED = 0.55, 0.9


def draw(rng: jax.Array, shape: tuple[int, int, int], steps: int) -> Draw:
  """Draws for (N, L, d) examples of a schedule with ``steps`` times."""
  times, noise, drop = jax.random.split(rng, 3)
  return Draw(
    t=jax.random.randint(times, shape[:1], 1, steps + 1),
    noise=jax.random.normal(noise, shape),
    drop=jax.random.uniform(drop, shape[:1]),
  )


def denoise(
  module: Denoiser,
  variables: dict[str, Any],
  motion: jax.Array,
  conditions: Conditions,
  drawn: Draw,
  schedule: Schedule,
  dropout: jax.Array | None = None,
) -> jax.Array:
  """The training forward: noise is put on clean motion (N, L, d), and the denoiser's estimate (N, P + L, d) returned.

  Args:
    module: the denoiser.
    variables: its variables.
    motion: normalised; frames that do not count are zero.
    conditions: the speech, style and so on that go with it.
    drawn: see `draw`.
    schedule: of the diffusion.
    dropout: key of dropped activations; None drops none.
  """
  alpha, sigma = (_at(table, drawn.t) for table in (schedule.alphas, schedule.sigmas))
  c = conditions
  keep = {"style": drawn.drop <= STYLE_DROPPED, "audio": drawn.drop <= AUDIO_DROPPED}
  out = module.apply(
    {"params": variables["params"]},
    alpha * motion + sigma * drawn.noise,
    c.audio,
    c.shape,
    c.style,
    c.prev_motion,
    c.prev_audio,
    drawn.t,
    c.indicator,
    keep=keep,
    deterministic=dropout is None,
    rngs=None if dropout is None else {"dropout": dropout},
  )
  return jnp.asarray(out)


def nt_xent(a: jax.Array, b: jax.Array, temperature: float = 0.1) -> jax.Array:
  """Normalised temperature-scaled cross entropy (Chen et al. 2020, arXiv 2002.05709, eq. 1).

  Args:
    a: (N, W), one vector of each of N clips.
    b: (N, W), another of the same clips in the same order.
    temperature: of the softmax.

  Returns:
    () mean over all 2 N vectors: each should find its partner among the 2 N - 1 others.
  """
  z = jnp.concatenate([a, b])
  z = z * jax.lax.rsqrt(jnp.maximum(jnp.square(z).sum(-1, keepdims=True), 1e-16))
  count = len(z)
  scores = jnp.where(jnp.eye(count, dtype=bool), -jnp.inf, z @ z.T / temperature)
  partner = (jnp.arange(count) + count // 2) % count
  return -jax.nn.log_softmax(scores)[jnp.arange(count), partner].mean()


def _at(table: np.ndarray, t: jax.Array) -> jax.Array:
  """(N, 1, 1) float32 values of a table at times."""
  return jnp.asarray(table, jnp.float32)[t][:, None, None]

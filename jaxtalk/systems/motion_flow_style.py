"""The style reader: from a motion clip to the speaking style that it shows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxtalk.data.performances import STYLE_RANGES
from jaxtalk.motion import codes
from jaxtalk.systems.speech_motion import taps


class StyleReader(nn.Module):
  """Normalised codes (B, T, 49) at 50 a second to styles (B, 6); any T.

  Dilated convolutions whose mean, deviation and largest value over time are read: style is how much and how often, not
  when.

  Attributes:
    width: channels.
    layers: blocks, each reaching twice as far as the one before.
  """

  width: int = 64
  layers: int = 4

  @nn.compact
  def __call__(self, frames: jax.Array) -> jax.Array:
    x = jnp.concatenate([frames, 10.0 * jnp.diff(frames, axis=1, append=frames[:, -1:])], axis=-1)
    x = nn.Dense(self.width, name="in")(x)
    for i in range(self.layers):
      y = nn.gelu(nn.Dense(self.width, name=f"time_{i}")(taps(nn.LayerNorm(name=f"norm_{i}")(x), 2**i)))
      x = x + nn.Dense(self.width, name=f"mix_{i}")(y)
    spread = jnp.sqrt(jnp.square(x - x.mean(1, keepdims=True)).mean(1) + 1e-6)
    pooled = jnp.concatenate([x.mean(1), spread, x.max(1)], axis=-1)
    y = nn.gelu(nn.Dense(self.width, name="read")(nn.LayerNorm(name="norm_out")(pooled)))
    return nn.Dense(len(STYLE_RANGES), name="out")(y)

  def init_shapes(self) -> Any:
    """Shapes of the parameters."""
    return jax.eval_shape(lambda: self.init(jax.random.key(0), jnp.zeros((1, 8, len(codes.CHANNELS))))["params"])

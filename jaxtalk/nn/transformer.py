"""Transformer layers in the original, post-normalised form (Vaswani et al. 2017), with GELU."""

from __future__ import annotations

import jax
import numpy as np
from flax import linen as nn

from jaxtalk.nn.attention import Attention

_EPSILON = 1e-5  # of layer norms


class PostNormLayer(nn.Module):
  """Self-attention, cross-attention where there is a memory, and a two-layer perceptron; each added, then normalised.

  Attributes:
    heads: of the attentions.
    hidden: width inside the perceptron.
    dropout: share that is dropped in training: of attention weights, of each branch's result, inside the perceptron.
  """

  heads: int
  hidden: int
  dropout: float = 0.0

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    memory: jax.Array | None = None,
    *,
    mask: jax.Array | np.ndarray | None = None,
    memory_mask: jax.Array | np.ndarray | None = None,
    deterministic: bool = True,
  ) -> jax.Array:
    """(B, Q, W) and memory (B, K, M) to (B, Q, W); masks as in `attention.attention_weights`."""

    def drop(y: jax.Array) -> jax.Array:
      return nn.Dropout(self.dropout)(y, deterministic=deterministic)

    def attend(name: str, source: jax.Array, allowed: jax.Array | np.ndarray | None) -> jax.Array:
      attention = Attention(self.heads, self.dropout, name=name)
      return drop(attention(x, source, allowed, deterministic=deterministic))

    x = layer_norm("norm_self")(x + attend("self_attention", x, mask))
    if memory is not None:
      x = layer_norm("norm_cross")(x + attend("cross_attention", memory, memory_mask))
    y = drop(nn.gelu(nn.Dense(self.hidden, name="up")(x), approximate=False))
    return layer_norm("norm_out")(x + drop(nn.Dense(x.shape[-1], name="down")(y)))


def layer_norm(name: str | None = None) -> nn.LayerNorm:
  """The norm of these layers; variances are computed in two passes, for float32's sake."""
  return nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False, name=name)

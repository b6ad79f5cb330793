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
    dropout: share of activations that are dropped in training: results of attentions and perceptron, and inside it.
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
    """(B, Q, W) and memory (B, K, M) to (B, Q, W); masks as in `attention.attend`."""

    def drop(y: jax.Array) -> jax.Array:
      return nn.Dropout(self.dropout)(y, deterministic=deterministic)

    x = _norm("norm_self")(x + drop(Attention(self.heads, name="self_attention")(x, x, mask)))
    if memory is not None:
      y = Attention(self.heads, name="cross_attention")(x, memory, memory_mask)
      x = _norm("norm_cross")(x + drop(y))
    y = drop(nn.gelu(nn.Dense(self.hidden, name="up")(x), approximate=False))
    return _norm("norm_out")(x + drop(nn.Dense(x.shape[-1], name="down")(y)))


def _norm(name: str) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False, name=name)

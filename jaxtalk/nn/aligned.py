"""Transformer layers whose tokens each see one entry of the memory, their own: cross-attention without attention.

Under ``alignment_mask(K, K, 1, leading=1)`` token 1 + i may see memory entry i alone. The softmax over one key is 1
whatever the query, so its cross-attention is a projection of that entry: it does not depend on the token at all, and
in a loop that calls the layer many times with the same memory (sampling) it is computed once. Only the leading token,
which sees everything, still attends. Parameters, their names and all numbers are those of `transformer.PostNormLayer`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from jaxtalk.nn.attention import Attention, attention_weights
from jaxtalk.nn.transformer import layer_norm


@struct.dataclass
class Heard:
  """What a layer needs of a memory (B, K, M), for tokens of width W in H heads.

  Attributes:
    key: (B, K, H, W / H) for the leading token.
    value: (B, K, H, W / H).
    aligned: (B, K, W) cross-attention of the K tokens after it.
  """

  key: jax.Array
  value: jax.Array
  aligned: jax.Array


class AlignedAttention(nn.Module):
  """Like `attention.Attention` with that mask, in two halves.

  Attributes:
    width: W of the tokens.
    heads: number of heads; divides W.
    dropout: share of attention weights that are dropped in training.
  """

  width: int
  heads: int
  dropout: float = 0.0

  def setup(self):
    self.query, self.key = nn.Dense(self.width), nn.Dense(self.width)
    self.value, self.out = nn.Dense(self.width), nn.Dense(self.width)
    self.drop = nn.Dropout(self.dropout)

  def hear(self, memory: jax.Array) -> Heard:
    """Everything that follows from the memory alone."""
    value = self.value(memory)
    return Heard(self._split(self.key(memory)), self._split(value), self.out(value))

  def __call__(self, x: jax.Array, heard: Heard, *, deterministic: bool = True) -> jax.Array:
    """Tokens (B, 1 + K, W), the leading one first, to (B, 1 + K, W)."""
    weights = attention_weights(self._split(self.query(x[:, :1])), heard.key)
    weights = self.drop(weights, deterministic=deterministic)
    leading = jnp.einsum("bhqk,bkhd->bqhd", weights, heard.value).reshape(x[:, :1].shape)
    if deterministic:
      return jnp.concatenate([self.out(leading), heard.aligned], axis=1)
    kept = self.drop(jnp.ones((*heard.value.shape[:3], 1), x.dtype), deterministic=False)  # each token's one weight
    aligned = (kept * heard.value).reshape(heard.aligned.shape)
    return self.out(jnp.concatenate([leading, aligned], axis=1))

  def _split(self, x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:-1], self.heads, self.width // self.heads)


class AlignedLayer(nn.Module):
  """`transformer.PostNormLayer` with this cross-attention.

  Attributes:
    width: W of the tokens.
    heads: of the attentions.
    hidden: width inside the perceptron.
    dropout: share that is dropped in training.
  """

  width: int
  heads: int
  hidden: int
  dropout: float = 0.0

  def setup(self):
    self.self_attention = Attention(self.heads, self.dropout)
    self.cross_attention = AlignedAttention(self.width, self.heads, self.dropout)
    self.norm_self, self.norm_cross, self.norm_out = layer_norm(), layer_norm(), layer_norm()
    self.up, self.down = nn.Dense(self.hidden), nn.Dense(self.width)
    self.drop = nn.Dropout(self.dropout)

  def hear(self, memory: jax.Array) -> Heard:
    """See `AlignedAttention.hear`."""
    return self.cross_attention.hear(memory)

  def __call__(self, x: jax.Array, heard: Heard, *, deterministic: bool = True) -> jax.Array:
    """(B, 1 + K, W) to the same."""

    def drop(y: jax.Array) -> jax.Array:
      return self.drop(y, deterministic=deterministic)

    x = self.norm_self(x + drop(self.self_attention(x, x, deterministic=deterministic)))
    x = self.norm_cross(x + drop(self.cross_attention(x, heard, deterministic=deterministic)))
    y = drop(nn.gelu(self.up(x), approximate=False))
    return self.norm_out(x + drop(self.down(y)))

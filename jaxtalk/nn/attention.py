"""Attention with masks that say which memory a query may see."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def alignment_mask(queries: int, memory: int, width: int, leading: int = 0) -> np.ndarray:
  """(leading + queries, memory) bool, true where allowed: query i sees memory i and ``width - 1`` on either side.

  Args:
    queries: number of aligned queries.
    memory: number of memory entries.
    width: 1 is a diagonal.
    leading: queries in front of the aligned ones, which see everything.
  """
  near = np.abs(np.arange(queries)[:, None] - np.arange(memory)[None]) < width
  return np.concatenate([np.ones((leading, memory), bool), near])


def attention_weights(query: jax.Array, key: jax.Array, mask: jax.Array | np.ndarray | None = None) -> jax.Array:
  """Softmax of scaled products, computed in float32.

  Args:
    query: (B, Q, H, D).
    key: (B, K, H, D).
    mask: true where allowed; (Q, K) or (B, Q, K). Every query must be allowed something.

  Returns:
    (B, H, Q, K) in the type of ``query``.
  """
  scores = jnp.einsum("bqhd,bkhd->bhqk", query * query.shape[-1] ** -0.5, key).astype(jnp.float32)
  if mask is not None:
    mask = jnp.asarray(mask).reshape(-1, 1, *mask.shape[-2:])
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
  return jax.nn.softmax(scores).astype(query.dtype)


class Attention(nn.Module):
  """Multi-head attention of ``x`` (B, Q, W) to ``memory`` (B, K, M), result (B, Q, W).

  Attributes:
    heads: number of heads; divides W.
    dropout: share of attention weights that are dropped in training.
  """

  heads: int
  dropout: float = 0.0

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    memory: jax.Array,
    mask: jax.Array | np.ndarray | None = None,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    width = x.shape[-1]

    def split(name: str, source: jax.Array) -> jax.Array:
      return nn.Dense(width, name=name)(source).reshape(*source.shape[:-1], self.heads, width // self.heads)

    weights = attention_weights(split("query", x), split("key", memory), mask)
    weights = nn.Dropout(self.dropout)(weights, deterministic=deterministic)
    y = jnp.einsum("bhqk,bkhd->bqhd", weights, split("value", memory))
    return nn.Dense(width, name="out")(y.reshape(x.shape))

"""The transformer of wav2vec 2.0, HuBERT and WavLM.

Sources: wav2vec 2.0 (Baevski et al. 2020), HuBERT (Hsu et al. 2021), WavLM (Chen et al. 2022, section III-A for the
gated relative position bias). Parameter names follow the published files; dense kernels are [in, out].
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxtalk.encoders.speech_config import SpeechConfig
from jaxtalk.encoders.speech_front import activate

_MASKED = -1e9  # added to scores of padding: finite, so that a row without any valid frame stays finite


def distance_buckets(distance: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
  """Bucket of a key at a distance (key - query, in frames).

  Half of the buckets are for keys after the query. Of each half, the first half holds one distance a bucket, the rest
  grows logarithmically up to ``max_distance``, beyond which all distances share the last bucket.
  """
  half = buckets // 2
  exact = half // 2
  away = np.abs(distance)
  octaves = np.log(np.maximum(away, 1) / np.float32(exact)) / np.float32(np.log(max_distance / exact))
  coarse = np.minimum(exact + (octaves * (half - exact)).astype(np.int64), half - 1)
  return np.where(distance > 0, half, 0) + np.where(away < exact, away, coarse)


class WeightNormConv(nn.Module):
  """A convolution over time whose kernel has one gain for each kernel position: ``weight_g * weight_v / |weight_v|``.

  The norm is over all channels at a position. The length stays: with an even kernel, one frame more of the zeros around
  the input is on the left.
  """

  width: int
  kernel_size: int
  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (self.kernel_size, x.shape[-1] // self.groups, self.width)
    v = self.param("weight_v", nn.initializers.normal(2 * (self.kernel_size * self.width) ** -0.5), shape)
    g = self.param("weight_g", lambda _: jnp.sqrt(jnp.square(v).sum((1, 2))))
    bias = self.param("bias", nn.initializers.zeros, (self.width,))
    kernel = v * (g / jnp.sqrt(jnp.square(v).sum((1, 2))))[:, None, None]
    self.sow("intermediates", "kernel", kernel)
    y = jax.lax.conv_general_dilated(
      x,
      kernel.astype(self.dtype),
      window_strides=(1,),
      padding=[(self.kernel_size // 2, (self.kernel_size - 1) // 2)],
      dimension_numbers=("NWC", "WIO", "NWC"),
      feature_group_count=self.groups,
    )
    return y + bias.astype(self.dtype)[None, None, :]


class PositionConv(nn.Module):
  """Relative positions by convolution: (B, T, D) to what is to be added to it."""

  config: SpeechConfig
  dtype: Any

  def setup(self):
    c = self.config
    self.conv = WeightNormConv(c.width, c.position_kernel, c.position_groups, self.dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    return activate(self.config.conv_activation, self.conv(x))


class Attention(nn.Module):
  """Self-attention over (B, T, D); with ``position_bias`` it is gated by the query, as in WavLM.

  Probabilities (B, heads, T, T) are sown as ``intermediates/.../probabilities``. ``owns_positions`` is true in the
  first layer of WavLM, whose table serves all layers.
  """

  config: SpeechConfig
  owns_positions: bool
  dtype: Any

  def setup(self):
    c = self.config
    self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Dense(c.width, dtype=self.dtype) for _ in range(4))
    self.dropout = nn.Dropout(c.attention_dropout)
    if c.family == "wavlm":
      self.gru_rel_pos_const = self.param("gru_rel_pos_const", nn.initializers.ones, (1, c.heads, 1, 1))
      self.gru_rel_pos_linear = nn.Dense(8, dtype=self.dtype)
    if self.owns_positions:
      self.rel_attn_embed = nn.Embed(c.buckets, c.heads)

  def position_bias(self, frames: int) -> jax.Array:
    """(heads, T, T) float32: what the distance from query to key adds to scores, before the gate."""
    c = self.config
    buckets = distance_buckets(np.arange(1 - frames, frames), c.buckets, c.max_distance)
    by_distance = self.rel_attn_embed(jnp.asarray(buckets)).astype(jnp.float32).T
    step = jnp.arange(frames)
    return by_distance[:, step[None, :] - step[:, None] + frames - 1]

  def _gate(self, x: jax.Array) -> jax.Array:
    """(B, heads, T, 1) float32 factor of the position bias, from each head's share of the input."""
    b, t, _ = x.shape
    out = self.gru_rel_pos_linear(x.reshape(b, t, self.config.heads, -1)).astype(jnp.float32)
    gates = jax.nn.sigmoid(out.reshape(b, t, -1, 2, 4).sum(-1)).transpose(0, 2, 1, 3)
    update, reset = gates[..., :1], gates[..., 1:]
    const = jnp.broadcast_to(self.gru_rel_pos_const, reset.shape)
    return update * (reset * const - 1.0) + 2.0

  def __call__(self, x: jax.Array, score_bias: jax.Array, position_bias: jax.Array | None, train: bool) -> jax.Array:
    """``score_bias`` (B, 1, 1, T) float32 is added to all scores: `_MASKED` at padding."""
    b, t, width = x.shape
    heads = self.config.heads
    q, k, v = (part(x).reshape(b, t, heads, -1) for part in (self.q_proj, self.k_proj, self.v_proj))
    q = q * np.asarray((width // heads) ** -0.5, x.dtype)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32) + score_bias
    if position_bias is not None:
      scores = scores + self._gate(x) * position_bias[None]
    probabilities = jax.nn.softmax(scores, axis=-1)
    self.sow("intermediates", "probabilities", probabilities)
    weights = self.dropout(probabilities, deterministic=not train).astype(self.dtype)
    return self.out_proj(jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, t, width))


class FeedForward(nn.Module):
  """Dense, activation, dense."""

  config: SpeechConfig
  dtype: Any

  def setup(self):
    self.intermediate_dense = nn.Dense(self.config.hidden, dtype=self.dtype)
    self.output_dense = nn.Dense(self.config.width, dtype=self.dtype)
    self.inner_dropout = nn.Dropout(self.config.hidden_dropout)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = activate(self.config.activation, self.intermediate_dense(x))
    return self.output_dense(self.inner_dropout(x, deterministic=not train))


class Layer(nn.Module):
  """One transformer layer, norms before or after its two parts."""

  config: SpeechConfig
  owns_positions: bool
  dtype: Any

  def setup(self):
    c = self.config
    self.attention = Attention(c, self.owns_positions, self.dtype)
    self.layer_norm, self.final_layer_norm = (
      nn.LayerNorm(c.eps, use_fast_variance=False, dtype=self.dtype) for _ in range(2)
    )
    self.feed_forward = FeedForward(c, self.dtype)
    self.dropout = nn.Dropout(c.dropout)

  def position_bias(self, frames: int) -> jax.Array:
    """See `Attention.position_bias`."""
    return self.attention.position_bias(frames)

  def __call__(self, x: jax.Array, score_bias: jax.Array, position_bias: jax.Array | None, train: bool) -> jax.Array:
    def attend(x):
      return self.dropout(self.attention(x, score_bias, position_bias, train), deterministic=not train)

    def feed(x):
      return self.dropout(self.feed_forward(x, train), deterministic=not train)

    if self.config.pre_norm:
      x = x + attend(self.layer_norm(x))
      return x + feed(self.final_layer_norm(x))
    x = self.layer_norm(x + attend(x))
    return self.final_layer_norm(x + feed(x))


class Transformer(nn.Module):
  """Projected features (B, T, D) to the input of the first layer and the outputs of all layers."""

  config: SpeechConfig
  dtype: Any

  def setup(self):
    c = self.config
    self.pos_conv_embed = PositionConv(c, self.dtype)
    self.layer_norm = nn.LayerNorm(c.eps, use_fast_variance=False, dtype=self.dtype)
    self.layers = [Layer(c, c.family == "wavlm" and i == 0, self.dtype) for i in range(c.layers)]
    self.dropout = nn.Dropout(c.dropout)

  def __call__(self, x: jax.Array, valid: jax.Array, train: bool) -> list[jax.Array]:
    """``valid`` is (B, T) bool. The last of the ``layers + 1`` states is normalised in the pre-norm variant, too."""
    c = self.config
    x = jnp.where(valid[:, :, None], x, jnp.zeros((), x.dtype))
    x = x + self.pos_conv_embed(x)
    x = x if c.pre_norm else self.layer_norm(x)
    states = [self.dropout(x, deterministic=not train)]
    score_bias = jnp.where(valid, 0.0, _MASKED)[:, None, None, :]
    position_bias = self.layers[0].position_bias(x.shape[1]) if c.family == "wavlm" else None
    for layer in self.layers:
      out = layer(states[-1], score_bias, position_bias, train)
      states.append(self._maybe_skipped(states[-1], out) if train and c.layer_drop > 0 else out)
    if c.pre_norm:
      states[-1] = self.layer_norm(states[-1])
    return states

  def _maybe_skipped(self, before: jax.Array, after: jax.Array) -> jax.Array:
    """Layer drop (Fan et al. 2020): the whole batch skips the layer."""
    keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.config.layer_drop)
    return jnp.where(keep, after, before)

"""From waveforms to the input of a speech transformer: strided convolutions and a projection (wav2vec 2.0, section 2).

Parameter names follow the published files (``feature_extractor.conv_layers.0.conv.weight`` is
``params["feature_extractor"]["conv_layers_0"]["conv"]["kernel"]``), kernels are [width, in, out].
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxtalk.encoders.speech_config import SpeechConfig

_CONV_EPS = 1e-5  # of norms in the convolution stack, whatever the config says for the others


def activate(name: str, x: jax.Array) -> jax.Array:
  """The activation of a published config; "gelu" is the exact one."""
  if name == "relu":
    return jax.nn.relu(x)
  if name == "gelu_new":
    return jax.nn.gelu(x, approximate=True)
  return 0.5 * x * (1 + jax.lax.erf(x * np.asarray(np.sqrt(0.5), x.dtype)))  # erf is cheaper than jax.nn.gelu's erfc


def time_mask(lengths: jax.Array, frames: int) -> jax.Array:
  """(B,) lengths to (B, frames) bool, true where valid."""
  return jnp.arange(frames)[None, :] < lengths[:, None]


class StridedConv(nn.Module):
  """A convolution over time without padding: (B, T, I) to (B, (T - kernel_size) // stride + 1, O)."""

  width: int
  kernel_size: int
  stride: int
  use_bias: bool
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (self.kernel_size, x.shape[-1], self.width)
    kernel = self.param("kernel", nn.initializers.he_normal(), shape)
    y = jax.lax.conv_general_dilated(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      window_strides=(self.stride,),
      padding="VALID",
      dimension_numbers=("NWC", "WIO", "NWC"),
    )
    if self.use_bias:
      y = y + self.param("bias", nn.initializers.zeros, (self.width,)).astype(self.dtype)[None, None, :]
    return y


class TimeNorm(nn.Module):
  """Each channel to mean 0 and variance 1 over time: the group norm, with a group a channel, of the base models.

  The published models take padding into the statistics, so that batch mates change each other. With ``valid`` only
  valid frames count, and a padded waveform gives what it gives alone.
  """

  @nn.compact
  def __call__(self, x: jax.Array, valid: jax.Array | None) -> jax.Array:
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
    bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
    wide = x.astype(jnp.float32)
    weight = jnp.ones((*x.shape[:2], 1)) if valid is None else valid[:, :, None].astype(jnp.float32)
    weight = weight / jnp.maximum(weight.sum(1, keepdims=True), 1.0)
    mean = (wide * weight).sum(1, keepdims=True)
    variance = (jnp.square(wide - mean) * weight).sum(1, keepdims=True)
    gain = jax.lax.rsqrt(variance + _CONV_EPS) * scale[None, None, :]
    return ((wide - mean) * gain + bias[None, None, :]).astype(x.dtype)


class ConvLayer(nn.Module):
  """Convolution, norm (``norm`` is "group", "layer" or ""), activation."""

  config: SpeechConfig
  index: int
  norm: str
  dtype: Any

  def setup(self):
    c = self.config
    size, stride = c.conv_kernels[self.index], c.conv_strides[self.index]
    self.conv = StridedConv(c.conv_widths[self.index], size, stride, c.conv_bias, self.dtype)
    if self.norm == "group":
      self.layer_norm: Any = TimeNorm()
    elif self.norm == "layer":
      self.layer_norm = nn.LayerNorm(_CONV_EPS, use_fast_variance=False, dtype=self.dtype)

  def __call__(self, x: jax.Array, lengths: jax.Array, masked: bool) -> tuple[jax.Array, jax.Array]:
    c = self.config
    lengths = jnp.maximum(0, (lengths - c.conv_kernels[self.index]) // c.conv_strides[self.index] + 1)
    x = self.conv(x)
    if self.norm == "group":
      x = self.layer_norm(x, time_mask(lengths, x.shape[1]) if masked else None)
    elif self.norm == "layer":
      x = self.layer_norm(x)
    return activate(c.conv_activation, x), lengths


class ConvStack(nn.Module):
  """Waveforms (B, S) to convolution features (B, T, C), with ``T = config.frames(S)``."""

  config: SpeechConfig
  dtype: Any

  def setup(self):
    group = self.config.conv_norm == "group"
    norms = ["group" if group and i == 0 else "" if group else "layer" for i in range(len(self.config.conv_widths))]
    self.conv_layers = [ConvLayer(self.config, i, norm, self.dtype) for i, norm in enumerate(norms)]

  def __call__(self, waveform: jax.Array, lengths: jax.Array, masked: bool) -> tuple[jax.Array, jax.Array]:
    """Features and their valid frames (B,), from valid samples (B,); ``masked`` keeps padding out of statistics."""
    x = waveform[:, :, None]
    for layer in self.conv_layers:
      x, lengths = layer(x, lengths, masked)
    return x, lengths


class Projection(nn.Module):
  """Convolution features (B, T, C) to the width of the transformer."""

  config: SpeechConfig
  dtype: Any

  def setup(self):
    if self.config.projection_norm:
      self.layer_norm = nn.LayerNorm(self.config.eps, use_fast_variance=False, dtype=self.dtype)
    self.projection = nn.Dense(self.config.width, dtype=self.dtype)
    self.dropout = nn.Dropout(self.config.projection_dropout)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = self.layer_norm(x) if self.config.projection_norm else x
    return self.dropout(self.projection(x), deterministic=not train)

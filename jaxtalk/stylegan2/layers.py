"""Layers of StyleGAN2 (Karras et al. 2020) with equalised learning rates (Karras et al. 2018, section 4.1).

Weights are stored as drawn from a unit normal and scaled where they are used. Names are the official ones, so that a
tree of parameters is a snapshot's state with its names split at the dots.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxtalk.core import InputError
from jaxtalk.kernels.modulated_conv import modulated_conv
from jaxtalk.stylegan2 import ops

NoiseMode = Literal["const", "random", "none"]
Taps = tuple[float, ...]

_NORMAL = nn.initializers.normal(1.0)


class Dense(nn.Module):
  """``act(x @ W + b)``: (..., I) to (..., features), with W and b learning at ``lr_multiplier`` of the usual rate."""

  features: int
  use_bias: bool = True
  activation: str = "linear"
  lr_multiplier: float = 1.0
  bias_init: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = x.shape[-1]
    weight = self.param("weight", nn.initializers.normal(1.0 / self.lr_multiplier), (width, self.features))
    x = jnp.matmul(x, weight * (self.lr_multiplier / np.sqrt(width)), precision=lax.Precision.HIGHEST)
    bias = None
    if self.use_bias:
      bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,)) * self.lr_multiplier
    return ops.bias_act(x, bias, act=self.activation)


class Conv(nn.Module):
  """Convolution, bias, activation: (N, H, W, I) to (N, H * up / down, W * up / down, features)."""

  features: int
  kernel_size: int
  use_bias: bool = True
  activation: str = "linear"
  up: int = 1
  down: int = 1
  resample_filter: Taps = ops.DEFAULT_TAPS
  conv_clamp: float | None = None

  @nn.compact
  def __call__(self, x: jax.Array, gain: float = 1.0) -> jax.Array:
    """``gain`` multiplies the activation's own and the clamp."""
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    weight = self.param("weight", _NORMAL, shape) * (1 / np.sqrt(np.prod(shape[:3])))
    bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
    x = ops.conv2d_resample(
      x,
      weight,
      ops.setup_filter(self.resample_filter),
      up=self.up,
      down=self.down,
      padding=self.kernel_size // 2,
      flip_weight=self.up == 1,
    )
    return _activate(x, bias, self.activation, self.conv_clamp, gain)


class SynthesisLayer(nn.Module):
  """Modulated convolution, noise, bias, activation; the style comes from a code through an affine map."""

  in_features: int
  features: int
  resolution: int
  kernel_size: int = 3
  up: int = 1
  use_noise: bool = True
  activation: str = "lrelu"
  resample_filter: Taps = ops.DEFAULT_TAPS
  conv_clamp: float | None = None

  def setup(self) -> None:
    self.affine = Dense(self.in_features, bias_init=1.0)
    shape = (self.kernel_size, self.kernel_size, self.in_features, self.features)
    self.weight = self.param("weight", _NORMAL, shape)
    self.bias = self.param("bias", nn.initializers.zeros, (self.features,))
    if self.use_noise:
      self.noise_strength = self.param("noise_strength", nn.initializers.zeros, ())
      self.noise_const = self.variable("buffers", "noise_const", self._draw_noise)

  def _draw_noise(self) -> jax.Array:
    return jax.random.normal(self.make_rng("params"), (self.resolution, self.resolution))

  def style(self, w: jax.Array) -> jax.Array:
    """Codes (N, w_dim) to one scale for each input channel (N, in_features)."""
    return self.affine(w)

  def __call__(self, x: jax.Array, style: jax.Array, noise_mode: NoiseMode = "const", gain: float = 1.0) -> jax.Array:
    """(N, H, W, I) and style (N, I) to (N, H * up, W * up, features)."""
    noise = self._noise(x.shape[0], noise_mode) if self.use_noise else None
    return modulated_conv(
      x,
      self.weight,
      style,
      up=self.up,
      noise=noise,
      resample_filter=self.resample_filter,
      bias=self.bias,
      activation=self.activation,
      gain=ops.activation_gain(self.activation) * gain,
      clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
    )

  def _noise(self, n: int, mode: NoiseMode) -> jax.Array | None:
    if mode == "none":
      return None
    if mode == "const":
      return self.noise_const.value[None, :, :, None] * self.noise_strength
    return jax.random.normal(self.make_rng("noise"), (n, self.resolution, self.resolution, 1)) * self.noise_strength


class ToImage(nn.Module):
  """Features to image channels by a modulated 1x1 convolution without demodulation (officially "toRGB")."""

  in_features: int
  features: int
  kernel_size: int = 1
  conv_clamp: float | None = None

  def setup(self) -> None:
    self.affine = Dense(self.in_features, bias_init=1.0)
    shape = (self.kernel_size, self.kernel_size, self.in_features, self.features)
    self.weight = self.param("weight", _NORMAL, shape)
    self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

  def style(self, w: jax.Array) -> jax.Array:
    """Codes (N, w_dim) to one scale for each input channel (N, in_features), before the equalised learning rate."""
    return self.affine(w)

  def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
    """(N, H, W, I) and style (N, I) to (N, H, W, features)."""
    style = style * (1 / np.sqrt(np.prod(self.weight.shape[:3])))
    return modulated_conv(x, self.weight, style, demodulate=False, bias=self.bias, clamp=self.conv_clamp)


class MappingNetwork(nn.Module):
  """Latent and label to a code: (N, z_dim), (N, c_dim) to (N, w_dim), both inputs normalised first.

  Attributes:
    z_dim: 0 where only the label is mapped (in the discriminator).
    c_dim: 0 where there are no labels.
    w_dim: of the code.
    num_layers: dense layers.
    embed_features: of the label; None is w_dim.
    layer_features: of the layers between; None is w_dim.
    activation, lr_multiplier: of the layers.
    track_average: keep the buffer ``w_avg``.
  """

  z_dim: int
  c_dim: int
  w_dim: int
  num_layers: int = 8
  embed_features: int | None = None
  layer_features: int | None = None
  activation: str = "lrelu"
  lr_multiplier: float = 0.01
  track_average: bool = True

  def setup(self) -> None:
    if self.c_dim:
      self.embed = Dense(self.w_dim if self.embed_features is None else self.embed_features)
    width = self.w_dim if self.layer_features is None else self.layer_features
    widths = [width] * (self.num_layers - 1) + [self.w_dim]
    self.layers = [
      Dense(n, activation=self.activation, lr_multiplier=self.lr_multiplier, name=f"fc{i}")
      for i, n in enumerate(widths)
    ]
    if self.track_average:
      self.w_avg = self.variable("buffers", "w_avg", jnp.zeros, (self.w_dim,))

  def __call__(self, z: jax.Array | None, c: jax.Array | None) -> jax.Array:
    """Codes (N, w_dim) without truncation.

    Raises:
      InputError: a latent or a label of another size than the network's.
    """
    parts = []
    if self.z_dim:
      if z is None or z.ndim != 2 or z.shape[1] != self.z_dim:
        raise InputError(f"latents must be (N, {self.z_dim}) for this network, not {_shape(z)}")
      parts.append(ops.normalize_2nd_moment(jnp.asarray(z, jnp.float32)))
    check_labels(c, self.c_dim, z)
    if self.c_dim:
      parts.append(ops.normalize_2nd_moment(self.embed(jnp.asarray(c, jnp.float32))))
    x = jnp.concatenate(parts, axis=1)
    for layer in self.layers:
      x = layer(x)
    return x


def check_labels(c: jax.Array | None, c_dim: int, batch: jax.Array | None) -> None:
  """Labels are (N, c_dim), or None or (N, 0) where the network has none.

  Raises:
    InputError: anything else, or another N than ``batch`` has.
  """
  if c is None and not c_dim:
    return
  n = None if batch is None else batch.shape[0]
  if c is None or c.ndim != 2 or c.shape[1] != c_dim or (n is not None and c.shape[0] != n):
    wanted = f"({'N' if n is None else n}, {c_dim})" + ("" if c_dim else " or None: this network has no labels")
    raise InputError(f"labels must be {wanted}, not {_shape(c)}")


def _shape(x: jax.Array | None) -> str:
  return "None" if x is None else str(tuple(x.shape))


def _activate(x: jax.Array, bias: jax.Array | None, act: str, clamp: float | None, gain: float) -> jax.Array:
  clamp = None if clamp is None else clamp * gain
  return ops.bias_act(x, bias, act=act, gain=ops.activation_gain(act) * gain, clamp=clamp)

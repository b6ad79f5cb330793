"""Small operations of StyleGAN2 (Karras et al. 2020) on NHWC images, HWIO kernels and dense kernels [in, out]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxtalk.core import InputError
from jaxtalk.kernels import activation
from jaxtalk.kernels.activation import ACTIVATIONS
from jaxtalk.kernels.resample import (
  DEFAULT_TAPS,
  conv2d_resample,
  downsample2d,
  filter2d,
  setup_filter,
  upfirdn2d,
  upsample2d,
)

__all__ = [
  "DEFAULT_TAPS",
  "activation_gain",
  "bias_act",
  "conv2d_resample",
  "downsample2d",
  "filter2d",
  "minibatch_stddev",
  "normalize_2nd_moment",
  "setup_filter",
  "upfirdn2d",
  "upsample2d",
]


def activation_gain(act: str) -> float:
  """The gain that keeps the variance of unit normal input roughly at one.

  Raises:
    InputError: unknown activation.
  """
  if act not in ACTIVATIONS:
    raise InputError(f"activation {act!r} is unknown; StyleGAN2 has {', '.join(ACTIVATIONS)}")
  return float(ACTIVATIONS[act][1])


def bias_act(
  x: jax.Array,
  b: jax.Array | None = None,
  *,
  act: str = "linear",
  alpha: float = 0.2,
  gain: float | None = None,
  clamp: float | None = None,
  axis: int = -1,
) -> jax.Array:
  """``clip(gain * act(x + b), -clamp, clamp)``, the bias along ``axis``; the shape and dtype of ``x``.

  Args:
    x: any shape.
    b: (x.shape[axis],) or None.
    act: linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus or swish.
    alpha: slope of lrelu below zero.
    gain: None is `activation_gain`.
    clamp: None does not clip.
    axis: of the bias.
  """
  gain = activation_gain(act) if gain is None else gain
  return activation.bias_act(x, b, act=act, alpha=alpha, gain=gain, clamp=clamp, axis=axis)


def normalize_2nd_moment(x: jax.Array, axis: int = -1) -> jax.Array:
  """``x`` divided by the root of its mean square along ``axis``."""
  return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=axis, keepdims=True) + 1e-8)


def minibatch_stddev(x: jax.Array, group_size: int | None, num_channels: int) -> jax.Array:
  """(N, H, W, C) to (N, H, W, C + num_channels): how much each group of samples differs, as constant channels.

  Groups are strided: with g samples a group, sample i belongs to group i mod (N / g) (Karras et al. 2018, section 3).

  Args:
    x: features.
    group_size: samples in a group, at most N; None is the whole batch.
    num_channels: statistics a group; must divide C.

  Raises:
    InputError: N is not a multiple of the group size.
  """
  n, height, width, channels = x.shape
  group = n if group_size is None else min(group_size, n)
  if n % group:
    raise InputError(f"a batch of {n} does not divide into the discriminator's groups of {group}; use a multiple")
  y = x.reshape(group, n // group, height, width, num_channels, channels // num_channels)
  y = y - jnp.mean(y, axis=0, keepdims=True)
  y = jnp.sqrt(jnp.mean(jnp.square(y), axis=0) + 1e-8)
  y = jnp.mean(y, axis=(1, 2, 4))  # (N / group, num_channels)
  y = jnp.tile(y, (group, 1))[:, None, None, :]
  return jnp.concatenate([x, jnp.broadcast_to(y, (n, height, width, num_channels)).astype(x.dtype)], axis=-1)

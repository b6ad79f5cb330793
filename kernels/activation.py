"""Bias, activation, gain and clamp, as StyleGAN2 applies them after every convolution."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS: dict[str, tuple[Callable[[jax.Array, float], jax.Array], float]] = {
  "linear": (lambda x, _: x, 1.0),
  "relu": (lambda x, _: jnp.maximum(x, 0), np.sqrt(2)),
  "lrelu": (lambda x, alpha: jnp.where(x > 0, x, x * alpha), np.sqrt(2)),
  "tanh": (lambda x, _: jnp.tanh(x), 1.0),
  "sigmoid": (lambda x, _: jax.nn.sigmoid(x), 1.0),
  "elu": (lambda x, _: jax.nn.elu(x), 1.0),
  "selu": (lambda x, _: jax.nn.selu(x), 1.0),
  "softplus": (lambda x, _: jax.nn.softplus(x), 1.0),
  "swish": (lambda x, _: jax.nn.sigmoid(x) * x, np.sqrt(2)),
}
"""Functions of (x, alpha), and the gain that keeps the variance of unit normal input roughly at one."""


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
    gain: None is that of `ACTIVATIONS`.
    clamp: None does not clip.
    axis: of the bias.
  """
  gain = float(ACTIVATIONS[act][1]) if gain is None else gain
  if b is not None:
    shape = [1] * x.ndim
    shape[axis] = b.shape[0]
    x = x + b.astype(x.dtype).reshape(shape)
  x = ACTIVATIONS[act][0](x, alpha)
  x = x * np.asarray(gain, x.dtype) if gain != 1 else x
  return x if clamp is None else jnp.clip(x, -clamp, clamp)

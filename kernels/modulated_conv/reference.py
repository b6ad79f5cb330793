"""Two forms of the modulated convolution in plain JAX; equal up to rounding.

`grouped` is the definition: kernels of every sample, the batch folded into groups. `scaled` never builds them: it
scales the input channels, convolves with the shared kernel and scales the output channels, which every backend likes
better.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtalk.kernels.resample import conv2d_resample

_EPSILON = 1e-8


def grouped(
  x: jax.Array, weight: jax.Array, styles: jax.Array, up: int, down: int, demodulate: bool, f: np.ndarray | None
) -> jax.Array:
  """The definition, as one convolution with N groups; shapes as in `modulated_conv`."""
  (n, height, width, channels), (kernel, _, _, out) = x.shape, weight.shape
  weight, styles = _in_range(x, weight, styles, demodulate)
  w = weight[None] * styles[:, None, None, :, None]
  if demodulate:
    w = w * lax.rsqrt(jnp.sum(jnp.square(w), axis=(1, 2, 3), keepdims=True) + _EPSILON)
  w = jnp.moveaxis(w, 0, 3).reshape(kernel, kernel, channels, n * out)
  x = jnp.moveaxis(x, 0, 2).reshape(1, height, width, n * channels)
  y = conv2d_resample(x, w.astype(x.dtype), f, up=up, down=down, padding=kernel // 2, groups=n, flip_weight=up == 1)
  return jnp.moveaxis(y.reshape(*y.shape[1:3], n, out), 2, 0)


def scaled(
  x: jax.Array, weight: jax.Array, styles: jax.Array, up: int, down: int, demodulate: bool, f: np.ndarray | None
) -> jax.Array:
  """Scale, convolve, scale; shapes as in `modulated_conv`."""
  kernel = weight.shape[0]
  weight, styles = _in_range(x, weight, styles, demodulate)
  x = x * styles[:, None, None, :].astype(x.dtype)
  y = conv2d_resample(x, weight, f, up=up, down=down, padding=kernel // 2, flip_weight=up == 1)
  return y * demodulation(weight, styles)[:, None, None, :].astype(y.dtype) if demodulate else y


def demodulation(weight: jax.Array, styles: jax.Array) -> jax.Array:
  """Factors (N, O) that give every output channel of every sample unit expected variance."""
  energy = jnp.sum(jnp.square(weight), axis=(0, 1))
  return lax.rsqrt(jnp.matmul(jnp.square(styles), energy, precision=lax.Precision.HIGHEST) + _EPSILON)


def _in_range(x: jax.Array, weight: jax.Array, styles: jax.Array, demodulate: bool) -> tuple[jax.Array, jax.Array]:
  """In half precision, kernel and styles divided by their peaks: demodulation takes the factors out again."""
  if x.dtype == jnp.float32 or not demodulate:
    return weight, styles
  peak = jnp.max(jnp.abs(weight), axis=(0, 1, 2), keepdims=True) * np.float32(np.sqrt(np.prod(weight.shape[:3])))
  return weight / peak, styles / jnp.max(jnp.abs(styles), axis=1, keepdims=True)

"""The fused layer with its derivatives: forward one kernel, backward kernels too, or plain JAX; both differentiable.

The backward pass keeps the layer's output, not its input to the activation: where the output's sign tells the slope of
a leaky ReLU, neither the convolution nor its result is computed or stored a second time. R1 and path length
differentiate the gradient once more; the output that is kept then carries derivatives through the layer's own rule.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtalk.kernels.modulated_conv import choice, linear, packing, reference, tpu
from jaxtalk.kernels.resample import conv2d_resample


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is known of a layer when it is traced.

  Attributes:
    up: 1 or 2.
    demodulate: as in `modulated_conv`.
    taps: the FIR filter, row by row.
    slope: of the leaky ReLU; 1 is linear.
    gain, clamp: as in `modulated_conv`.
    simulate: off a TPU, run the kernels in Pallas' interpreter instead of plain JAX.
  """

  up: int
  demodulate: bool
  taps: tuple[tuple[float, ...], ...]
  slope: float
  gain: float
  clamp: float | None
  simulate: bool = True

  @property
  def filter(self) -> np.ndarray:
    return np.asarray(self.taps, np.float32)

  def geometry(self, x: jax.Array, weight: jax.Array) -> linear.Geometry:
    """Of a layer of images (N, H, W, I) and kernels (3, 3, I, O)."""
    size, channels = (x.shape[1], x.shape[2]), (weight.shape[2], weight.shape[3])
    return linear.Geometry(self.up, self.taps, size, channels, self.simulate)


def refusal(x: jax.Array, weight: jax.Array, settings: Settings) -> str | None:
  """Why the kernel cannot do this layer, or None if it can."""
  if weight.shape[:2] != (3, 3):
    return f"kernels of {weight.shape[0]}x{weight.shape[1]}"
  if x.dtype not in (jnp.float32, jnp.bfloat16):
    return f"{x.dtype} features"
  if len(settings.taps) > 4:
    return f"filters of {len(settings.taps)} taps"
  if settings.slope <= 0 or settings.gain <= 0:
    return "activations without an inverse"
  if choice.device_kind().startswith("TPU"):
    return settings.geometry(x, weight).refusal(x.dtype)
  return None


def layer(
  settings: Settings, x: jax.Array, weight: jax.Array, styles: jax.Array, bias: jax.Array, noise: jax.Array | None
) -> jax.Array:
  """``clip(act(conv * demodulation + noise + bias) * gain, -clamp, clamp)`` in one kernel.

  Args:
    settings: the layer's.
    x: (N, H, W, I) float32 or bfloat16.
    weight: (3, 3, I, O) float32.
    styles: (N, I) float32.
    bias: (O,) float32.
    noise: (N or 1, H * up, W * up) float32, or None.

  Returns:
    (N, H * up, W * up, O) in the dtype of ``x``.
  """
  geometry = settings.geometry(x, weight)
  y = _fused(
    settings, geometry, packing.pack(x, geometry.blocks.inner), *_scaled(settings, weight, styles, bias, noise)
  )
  return packing.unpack(y, geometry.blocks.outer)


def plain(settings: Settings, x, weight, styles, bias, noise) -> jax.Array:
  """The layer without a kernel; arguments as of `layer`."""
  return _plain(settings, x, *_scaled(settings, weight, styles, bias, noise))


def _scaled(settings: Settings, weight, styles, bias, noise):
  """Weight, styles, and what is added to their sums, with demodulation and gain: the activation passes factors on."""
  n, gain = len(styles), np.float32(settings.gain)
  scales = reference.demodulation(weight, styles) if settings.demodulate else jnp.ones((n, weight.shape[3]))
  return weight, styles, scales * gain, bias * gain, None if noise is None else noise * gain


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _fused(settings: Settings, geometry: linear.Geometry, x, weight, styles, scales, bias, noise) -> jax.Array:
  """``clip(act(conv + noise + bias), -clamp, clamp)`` of blocks of pixels."""

  def kernel(interpret, x, weight, styles, scales, bias, noise):
    epilogue = tpu.Epilogue(settings.slope, settings.clamp)
    how = {"blocks": geometry.blocks, "epilogue": epilogue, "tile": geometry.tile, "interpret": interpret}
    return tpu.conv_blocks(x, linear.matrices(geometry, weight[None]), styles, scales, bias, noise, **how)

  def by_xla(x, *rest):
    x = packing.unpack(x, geometry.blocks.inner)
    return packing.pack(_plain(settings, x, *rest), geometry.blocks.outer)

  batched = (True, False, True, True, False, noise is not None and len(noise) == len(x) > 1)
  return geometry.run(kernel, by_xla, batched, x, weight, styles, scales, bias, noise)


def _plain(settings: Settings, x, weight, styles, scales, bias, noise) -> jax.Array:
  x, up = x * styles[:, None, None, :].astype(x.dtype), settings.up
  y = conv2d_resample(x, weight, settings.filter, up=up, padding=1, flip_weight=up == 1)
  y = y * scales[:, None, None, :].astype(y.dtype)
  y = y if noise is None else y + noise[..., None].astype(y.dtype)
  y = y + bias.astype(y.dtype)[None, None, None]
  y = jnp.where(y > 0, y, y * settings.slope)
  return y if settings.clamp is None else jnp.clip(y, -settings.clamp, settings.clamp)


def _fused_forward(settings: Settings, geometry: linear.Geometry, *args):
  y = _fused(settings, geometry, *args)
  return y, (*args, y)


def _fused_backward(settings: Settings, geometry: linear.Geometry, saved, g: jax.Array):
  x, weight, styles, scales, bias, noise, y = saved
  g = g.astype(jnp.float32) * jnp.where(y > 0, np.float32(1), np.float32(settings.slope))
  if settings.clamp is not None:
    g = jnp.where(jnp.abs(y) < settings.clamp, g, 0.0)
  g_x, g_weight, g_styles, g_scales = linear.pull(geometry, x, (weight[None], styles, scales), g.astype(x.dtype))
  g_bias = jnp.sum(jnp.sum(g, axis=(0, 1, 2)).reshape(-1, len(bias)), axis=0)
  g_noise = None
  if noise is not None:
    over = g if len(noise) > 1 else jnp.sum(g, axis=0, keepdims=True)
    ones = jnp.ones((len(over), len(bias), 1))
    g_noise = _pointwise(over, ones, geometry.blocks.outer)[..., 0]
  return g_x, g_weight[0], g_styles, g_scales, g_bias, g_noise


_fused.defvjp(_fused_forward, _fused_backward)


def pointwise(x: jax.Array, weight: jax.Array, styles: jax.Array) -> jax.Array:
  """A modulated 1x1 convolution without demodulation on blocks of pixels, so that it reads them as a kernel left them.

  Args:
    x: (N, H, W, I).
    weight: (1, 1, I, O) float32.
    styles: (N, I) float32.

  Returns:
    (N, H, W, O) in the dtype of ``x``.
  """
  size, channels = (x.shape[1], x.shape[2]), (weight.shape[2],) * 2
  block = packing.blocks_for(channels, 1, size).inner
  return _pointwise(packing.pack(x, block), weight[0, 0][None] * styles[:, :, None], block)


def _pointwise(x: jax.Array, kernel: jax.Array, block: tuple[int, int]) -> jax.Array:
  """Blocks (N, h, w, lanes) with kernels (N, I, O) to (N, H, W, O)."""
  (n, h, w, _), (p, q), channels, highest = x.shape, block, kernel.shape[2], lax.Precision.HIGHEST
  kernel = jnp.einsum("ab,nio->naibo", jnp.eye(p * q), kernel).reshape(n, -1, p, q, channels).astype(x.dtype)
  y = jnp.einsum("nhwi,niabo->nohabw", x, kernel, precision=highest)
  # Columns fall into place by a product with zeros and ones: few colours are laid out as planes, whose columns lie in
  # lanes, and to interleave those by a transpose a TPU takes three times as long and eight times the memory traffic.
  place = jax.nn.one_hot(jnp.arange(w * q).reshape(w, q), w * q, dtype=x.dtype)
  y = jnp.einsum("nohabw,wbv->nohav", y, place, precision=highest)
  return jnp.moveaxis(y.reshape(n, channels, h * p, w * q), 1, 3)

"""The fused layer with its derivatives: forward one kernel, backward plain JAX that can be differentiated again.

The backward pass keeps the layer's output, not its input to the activation: leaky ReLU with a gain can be undone, so
neither the convolution nor its result is computed or stored a second time. R1 and path length differentiate the
gradient once more; the output that is kept then carries derivatives through the kernel's own rule.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jaxtalk.kernels.modulated_conv import choice, packing, reference, tiles, tpu
from jaxtalk.kernels.resample import conv2d_resample

BATCH_AXES = ("data", "fsdp")  # of a mesh; the batch is split over those that it has


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is known when the layer is traced; ``taps`` is the FIR filter, row by row."""

  up: int
  demodulate: bool
  taps: tuple[tuple[float, ...], ...]
  slope: float
  gain: float
  clamp: float | None

  @property
  def filter(self) -> np.ndarray:
    return np.asarray(self.taps, np.float32)


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
  return None


def refusal_on_tpu(x: jax.Array, weight: jax.Array, settings: Settings) -> str | None:
  """Why a TPU runs this layer as plain JAX although the kernel could do it elsewhere, or None."""
  blocks = _blocks(x, weight, settings)
  return tpu.limits(blocks, x.shape[2] // blocks.inner[1], x.dtype)


def _blocks(x: jax.Array, weight: jax.Array, settings: Settings) -> packing.Blocks:
  return packing.blocks_for((weight.shape[2], weight.shape[3]), settings.up, (x.shape[1], x.shape[2]), settings.filter)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
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
  return _over_batch(functools.partial(_forward, settings), x, weight, styles, bias, noise)


def _forward(settings: Settings, x, weight, styles, bias, noise) -> jax.Array:
  args = (x, weight, styles, bias, noise)
  on_tpu = functools.partial(_kernel, settings, False)
  if refusal_on_tpu(x, weight, settings):
    on_tpu = functools.partial(plain, settings)
  return lax.platform_dependent(*args, tpu=on_tpu, default=functools.partial(_kernel, settings, True))


def _kernel(settings: Settings, interpret: bool, x, weight, styles, bias, noise) -> jax.Array:
  blocks = _blocks(x, weight, settings)
  scales = reference.demodulation(weight, styles) if settings.demodulate else jnp.ones((x.shape[0], weight.shape[3]))
  y = tpu.conv_blocks(
    packing.pack(x, blocks.inner),
    packing.block_kernel(weight, settings.filter, blocks),
    styles,
    scales * settings.gain,
    bias * settings.gain,
    None if noise is None else noise * settings.gain,
    blocks=blocks,
    epilogue=tpu.Epilogue(settings.slope, settings.clamp),
    tile=tiles.lookup(choice.device_kind(), choice.size_name(x.shape[1] * settings.up, blocks.channels, settings.up)),
    interpret=interpret,
  )
  return packing.unpack(y, blocks.outer)


def plain(settings: Settings, x, weight, styles, bias, noise) -> jax.Array:
  """The layer without a kernel; arguments as of `layer`."""
  y = reference.scaled(x, weight, styles, settings.up, 1, settings.demodulate, settings.filter)
  y = y if noise is None else y + noise[..., None].astype(y.dtype)
  y = (y + bias.astype(y.dtype)[None, None, None]) * np.asarray(settings.gain, y.dtype)
  y = jnp.where(y > 0, y, y * settings.slope)
  return y if settings.clamp is None else jnp.clip(y, -settings.clamp, settings.clamp)


def _layer_forward(settings: Settings, *args):
  y = layer(settings, *args)
  return y, (*args, y)


def _layer_backward(settings: Settings, saved, g: jax.Array):
  x, weight, styles, bias, noise, y = saved
  f32 = jnp.float32
  slope = jnp.where(y > 0, 1.0, settings.slope).astype(f32) * np.float32(settings.gain)
  g = g.astype(f32) * slope
  if settings.clamp is not None:
    g = jnp.where(jnp.abs(y) < settings.clamp, g, 0.0)
  scales = reference.demodulation(weight, styles) if settings.demodulate else None

  def linear(x, weight, styles):
    x = x * styles[:, None, None, :].astype(x.dtype)
    up = settings.up
    return conv2d_resample(x, weight, settings.filter, up=up, padding=1, flip_weight=up == 1)

  _, pull = jax.vjp(linear, x, weight, styles)
  g_conv = g if scales is None else g * scales[:, None, None, :]
  g_x, g_weight, g_styles = pull(g_conv.astype(x.dtype))
  if scales is not None:
    sums = y.astype(f32) / slope - bias[None, None, None, :]
    sums = sums if noise is None else sums - noise[..., None]
    g_scales = jnp.sum(g * sums, axis=(1, 2)) / scales
    _, pull = jax.vjp(reference.demodulation, weight, styles)
    more_weight, more_styles = pull(g_scales)
    g_weight, g_styles = g_weight + more_weight, g_styles + more_styles
  g_noise = None
  if noise is not None:
    g_noise = jnp.sum(g, axis=3)
    g_noise = jnp.sum(g_noise, axis=0, keepdims=True) if noise.shape[0] == 1 else g_noise
  return g_x, g_weight, g_styles, jnp.sum(g, axis=(0, 1, 2)), g_noise


layer.defvjp(_layer_forward, _layer_backward)


def _over_batch(run, x, weight, styles, bias, noise):
  """``run`` on every device's part of the batch: the compiler cannot split a kernel by itself."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1 or mesh.manual_axes:
    return run(x, weight, styles, bias, noise)
  axes: tuple[str, ...] = ()
  for axis in BATCH_AXES:
    if axis in mesh.axis_names and x.shape[0] % (mesh.shape[axis] * int(np.prod([mesh.shape[a] for a in axes]))) == 0:
      axes += (axis,)
  batch, whole = PartitionSpec(axes or None), PartitionSpec()
  noise_spec = batch if noise is not None and noise.shape[0] == x.shape[0] > 1 else whole
  run = jax.shard_map(run, in_specs=(batch, whole, batch, whole, noise_spec), out_specs=batch, check_vma=False)
  return run(x, weight, styles, bias, noise)


def pointwise(x: jax.Array, weight: jax.Array, styles: jax.Array) -> jax.Array:
  """A modulated 1x1 convolution without demodulation on blocks of pixels, so that it reads them as a kernel left them.

  Args:
    x: (N, H, W, I).
    weight: (1, 1, I, O) float32.
    styles: (N, I) float32.

  Returns:
    (N, H, W, O) in the dtype of ``x``.
  """
  channels = weight.shape[2], weight.shape[3]
  block = packing.blocks_for((channels[0], channels[0]), 1, (x.shape[1], x.shape[2])).inner
  blocks, (p, q), highest = packing.pack(x, block), block, lax.Precision.HIGHEST
  (n, h, w, _), pixels = blocks.shape, p * q
  kernel = weight[0, 0][None] * styles[:, :, None]
  kernel = jnp.einsum("ab,nio->naibo", jnp.eye(pixels), kernel).reshape(n, -1, p, q, channels[1]).astype(x.dtype)
  y = jnp.einsum("nhwi,niabo->nohabw", blocks, kernel, precision=highest)
  # Columns fall into place by a product with zeros and ones: few colours are laid out as planes, whose columns lie in
  # lanes, and to interleave those by a transpose a TPU takes three times as long and eight times the memory traffic.
  place = jax.nn.one_hot(jnp.arange(w * q).reshape(w, q), w * q, dtype=x.dtype)
  y = jnp.einsum("nohabw,wbv->nohav", y, place, precision=highest)
  return jnp.moveaxis(y.reshape(n, channels[1], h * p, w * q), 1, 3)

"""The modulated convolution: one name, several implementations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtalk.kernels.activation import bias_act
from jaxtalk.kernels.modulated_conv import choice, fused, reference
from jaxtalk.kernels.modulated_conv.choice import Implementation
from jaxtalk.kernels.modulated_conv.packing import LANES
from jaxtalk.kernels.resample import DEFAULT_TAPS, setup_filter

_SLOPES = {"linear": 1.0, "lrelu": 0.2}  # activations that the kernel applies itself


def modulated_conv(
  x: jax.Array,
  weight: jax.Array,
  styles: jax.Array,
  *,
  up: int = 1,
  down: int = 1,
  demodulate: bool = True,
  noise: jax.Array | None = None,
  resample_filter: Sequence[float] | np.ndarray | None = DEFAULT_TAPS,
  bias: jax.Array | None = None,
  activation: str = "linear",
  gain: float = 1.0,
  clamp: float | None = None,
  implementation: Implementation = "auto",
) -> jax.Array:
  """Convolution whose kernel a style scales per sample and input channel (Karras et al. 2020, section 2.2).

  The kernel of sample n is ``weight[..., i, o] * styles[n, i]``, divided by its norm over everything but ``o`` if
  ``demodulate``. Padding keeps the size (times ``up``, by ``down``). Then ``clip(gain * act(y + noise + bias))``.

  Args:
    x: (N, H, W, I), float32 or a half precision.
    weight: (k, k, I, O), k odd. With ``up`` > 1 it is convolved with, not correlated: the official files store such
      kernels mirrored.
    styles: (N, I) float32.
    up, down: resampling with ``resample_filter`` before and after.
    demodulate: give output channels unit expected variance.
    noise: added to the result of the convolution; broadcasts against it.
    resample_filter: taps, or a filter from `setup_filter` of two dimensions; None is the identity.
    bias: (O,) or None.
    activation: one of `jaxtalk.kernels.activation.ACTIVATIONS`.
    gain: multiplies the activation.
    clamp: limit of the result; None is no limit.
    implementation: "xla" scales input and output channels around one shared convolution; "grouped" is the reference;
      "pallas" is one fused kernel (run on the host where there is no TPU); "auto" is what `choice.choose` set, by
      default the kernel on TPUs for layers where it is shown to be faster, with or without derivatives, else "xla".

  Returns:
    (N, H * up // down, W * up // down, O) in the dtype of ``x``.

  Raises:
    ValueError: an unknown implementation, or shapes that do not belong together.
  """
  if implementation not in choice.IMPLEMENTATIONS:
    raise ValueError(f"modulated_conv has implementations {', '.join(choice.IMPLEMENTATIONS)}, not {implementation!r}")
  if x.ndim != 4 or weight.ndim != 4 or styles.shape != (x.shape[0], weight.shape[2]) or x.shape[3] != weight.shape[2]:
    raise ValueError(
      f"modulated_conv wants x (N, H, W, I), weight (k, k, I, O), styles (N, I), "
      f"not {x.shape}, {weight.shape}, {styles.shape}"
    )
  f = None if resample_filter is None else setup_filter(resample_filter, normalize=np.ndim(resample_filter) == 1)

  def by_xla(x, weight, styles, bias, noise, form=reference.scaled):
    y = form(x, weight, styles, up, down, demodulate, f)
    y = y if noise is None else y + noise.astype(y.dtype)
    return bias_act(y, bias, act=activation, gain=gain, clamp=clamp)

  args = (x, weight, styles, bias, noise)
  wanted = choice.chosen() if implementation == "auto" else implementation
  if wanted == "grouped":
    return by_xla(*args, form=reference.grouped)
  if wanted == "xla" or (wanted == "auto" and not _worth_it(x, weight, up)):
    return by_xla(*args)
  if weight.shape[:2] == (1, 1) and up == down == 1 and not demodulate and noise is None:

    def on_blocks(x, weight, styles, bias, _):
      return bias_act(fused.pointwise(x, weight, styles), bias, act=activation, gain=gain, clamp=clamp)

    always = wanted == "pallas" or _worth_it(x, weight, up, training=True)
    return on_blocks(*args) if always else _where_proven(on_blocks, by_xla, *args)
  settings = fused.Settings(
    up, demodulate, _taps(f), _SLOPES.get(activation, 1.0), gain, clamp, simulate=wanted == "pallas"
  )
  reason = fused.refusal(x, weight, settings)
  if down != 1 or up > 2:
    reason = "resampling other than up by 2"
  elif activation not in _SLOPES:
    reason = f"activation {activation}"
  elif noise is not None and _plane(noise, x, up) is None:
    reason = "noise that differs between channels"
  if reason:
    choice.say_once(f"the kernel does not do {reason}; XLA does")
    return by_xla(*args)

  def by_kernel(x, weight, styles, bias, noise):
    bias = jnp.zeros(weight.shape[3], jnp.float32) if bias is None else bias.astype(jnp.float32)
    noise = None if noise is None else _plane(noise, x, up)
    return fused.layer(settings, x, weight.astype(jnp.float32), styles.astype(jnp.float32), bias, noise)

  if wanted == "pallas" or _worth_it(x, weight, up, training=True):
    return by_kernel(*args)
  return _where_proven(by_kernel, by_xla, *args)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _where_proven(on_tpu: Callable, by_xla: Callable, *args) -> jax.Array:
  """The kernel on a TPU; XLA everywhere else, and where derivatives are taken, if with them it is not shown ahead."""
  return lax.platform_dependent(*args, tpu=on_tpu, default=by_xla)


_where_proven.defvjp(
  lambda _, by_xla, *args: jax.vjp(by_xla, *args),
  lambda _on_tpu, _by_xla, pull, g: pull(g),
)


def _worth_it(x: jax.Array, weight: jax.Array, up: int, training: bool = False) -> bool:
  """Whether the kernel is ahead; for a 1x1 convolution, whether it left the pixels that this one reads in blocks."""
  channels = weight.shape[2], weight.shape[3]
  if weight.shape[0] == 1:
    channels = channels[0], channels[0]
    if channels[0] >= LANES:
      return False
  return choice.faster_on_tpu(x.shape[1], x.shape[2], channels, up, x.dtype.name, training)


def _taps(f: np.ndarray | None) -> tuple[tuple[float, ...], ...]:
  f = np.ones((1, 1), np.float32) if f is None else f
  f = np.outer(f, f) if f.ndim == 1 else f
  return tuple(tuple(map(float, row)) for row in f)


def _plane(noise: jax.Array | None, x: jax.Array, up: int) -> jax.Array | None:
  """Noise that is the same for all channels as (N or 1, H', W') float32; None for any other."""
  if noise is None or noise.ndim > 4:
    return None
  noise = noise.reshape((1,) * (4 - noise.ndim) + noise.shape)
  if noise.shape[3] != 1 or noise.shape[0] not in (1, x.shape[0]):
    return None
  size = x.shape[1] * up, x.shape[2] * up
  return jnp.broadcast_to(noise[..., 0], (noise.shape[0], *size)).astype(jnp.float32)

"""Upsampling, FIR filtering and downsampling of images, alone and around a convolution.

The operations of StyleGAN2 (Karras et al. 2020, appendix B) on NHWC images. Filters are known when a program is traced:
a rank-one filter (all the usual ones) runs as two passes of one dimension.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtalk.kernels.conv2d import conv2d
from jaxtalk.kernels.device import device_kind

Pads = tuple[int, int, int, int]  # left, right, top, bottom
DEFAULT_TAPS = (1.0, 3.0, 3.0, 1.0)


def setup_filter(
  taps: Sequence[float] | np.ndarray | None,
  *,
  normalize: bool = True,
  flip_filter: bool = False,
  gain: float = 1.0,
  separable: bool | None = None,
) -> np.ndarray:
  """A float32 filter: (n, n), or (n,) where it is to act along both axes in turn.

  Args:
    taps: one or two dimensions; None is the identity. Fewer than eight of one dimension become their outer product.
    normalize: divide by the sum.
    flip_filter: mirror it.
    gain: what a constant image is multiplied by.
    separable: keep one dimension (default: from eight taps).

  Raises:
    ValueError: no taps, or more than two dimensions.
  """
  f = np.asarray(1.0 if taps is None else taps, np.float32)
  if f.ndim > 2 or not f.size:
    raise ValueError(f"a filter has one or two dimensions and at least one tap, not shape {f.shape}")
  f = f.reshape(1) if f.ndim == 0 else f
  if f.ndim == 1 and not (len(f) >= 8 if separable is None else separable):
    f = np.outer(f, f)
  f = f / f.sum() if normalize else f
  f = f[(slice(None, None, -1),) * f.ndim] if flip_filter else f
  return (f * gain ** (f.ndim / 2)).astype(np.float32)


def upfirdn2d(
  x: jax.Array,
  f: np.ndarray | None,
  *,
  up: int | tuple[int, int] = 1,
  down: int | tuple[int, int] = 1,
  padding: int | Sequence[int] = 0,
  flip_filter: bool = False,
  gain: float = 1.0,
) -> jax.Array:
  """Inserts zeros, pads, filters and keeps every ``down``-th sample of images (N, H, W, C).

  Args:
    x: images.
    f: from `setup_filter`; None is the identity.
    up, down: factors, one or (x, y). Zeros come after each sample.
    padding: in samples after upsampling: one, (x, y) or (left, right, top, bottom); negative crops.
    flip_filter: correlate instead of convolve.
    gain: multiplies the result.

  Reverse mode works to any order, forward mode only with a filter that is not of rank one.
  """
  (up_x, up_y), (down_x, down_y), pads = _pair(up), _pair(down), as_pads(padding)
  fy, fx, full = _split(f, flip_filter, gain)
  if full is not None:
    return _general(x, full, (up_y, up_x), (down_y, down_x), ((pads[2], pads[3]), (pads[0], pads[1])))
  x = _along(x, 2, fx, up_x, down_x, pads[:2])
  return _along(x, 1, fy, up_y, down_y, pads[2:])


def filter2d(x: jax.Array, f: np.ndarray | None, *, padding: int | Sequence[int] = 0, flip_filter=False, gain=1.0):
  """`upfirdn2d` that keeps the size of (N, H, W, C)."""
  width, height = filter_size(f)
  pads = (width // 2, (width - 1) // 2, height // 2, (height - 1) // 2)
  return upfirdn2d(x, f, padding=add_pads(padding, pads), flip_filter=flip_filter, gain=gain)


def upsample2d(
  x: jax.Array, f: np.ndarray | None, *, up=2, padding: int | Sequence[int] = 0, flip_filter=False, gain=1.0
):
  """`upfirdn2d` that multiplies the size of (N, H, W, C) and keeps its brightness."""
  (up_x, up_y), pads = _pair(up), up_pads(f, up)
  return upfirdn2d(x, f, up=up, padding=add_pads(padding, pads), flip_filter=flip_filter, gain=gain * up_x * up_y)


def downsample2d(
  x: jax.Array, f: np.ndarray | None, *, down=2, padding: int | Sequence[int] = 0, flip_filter=False, gain=1.0
):
  """`upfirdn2d` that divides the size of (N, H, W, C)."""
  return upfirdn2d(x, f, down=down, padding=add_pads(padding, down_pads(f, down)), flip_filter=flip_filter, gain=gain)


def conv2d_resample(
  x: jax.Array,
  w: jax.Array,
  f: np.ndarray | None = None,
  *,
  up: int = 1,
  down: int = 1,
  padding: int | Sequence[int] = 0,
  groups: int = 1,
  flip_weight: bool = True,
  flip_filter: bool = False,
) -> jax.Array:
  """Upsamples with ``f``, convolves, downsamples with ``f``: (N, H, W, I), (kh, kw, I // groups, O) to (N, H', W', O).

  Computed in the cheapest equal order: strides and dilation inside the convolution, filters at the smaller size.

  Args:
    x, w: images and kernel.
    f: from `setup_filter`; None is the identity.
    up, down: factors.
    padding: as in `upfirdn2d`, on the upsampled grid.
    groups: blocks of channels that do not mix.
    flip_weight: True correlates with ``w`` (the usual layer), False convolves (kernels that are stored mirrored).
    flip_filter: correlate with ``f`` instead of convolving.
  """
  kernel = (w if flip_weight else w[::-1, ::-1]).astype(x.dtype)
  pads = as_pads(padding)
  pads = add_pads(pads, up_pads(f, up)) if up > 1 else pads
  pads = add_pads(pads, down_pads(f, down)) if down > 1 else pads
  size = w.shape[0]
  if size == 1 and up == 1:
    return conv2d(
      upfirdn2d(x, f if down > 1 else None, down=down, padding=pads, flip_filter=flip_filter), kernel, groups=groups
    )
  if up > 1:
    reach = size - 1
    x = conv2d(x, kernel, padding=((reach, reach),) * 2, lhs_dilation=up, groups=groups)
    rest = add_pads(pads, (-reach, up - 1 - reach, -reach, up - 1 - reach))
    x = upfirdn2d(x, f, padding=rest, flip_filter=flip_filter, gain=up * up)
    return upfirdn2d(x, f, down=down, flip_filter=flip_filter) if down > 1 else x
  if down > 1:
    x = upfirdn2d(x, f, padding=pads, flip_filter=flip_filter)
    return conv2d(x, kernel, stride=down, groups=groups)
  if min(pads) < 0:
    x, pads = upfirdn2d(x, None, padding=pads), (0, 0, 0, 0)
  return conv2d(x, kernel, padding=((pads[2], pads[3]), (pads[0], pads[1])), groups=groups)


def as_pads(padding: int | Sequence[int]) -> Pads:
  """One number, (x, y) or (left, right, top, bottom) as the last."""
  values = (padding,) if isinstance(padding, int) else tuple(padding)
  if len(values) == 1:
    values *= 2
  if len(values) == 2:
    values = (values[0], values[0], values[1], values[1])
  left, right, top, bottom = values
  return left, right, top, bottom


def add_pads(a: int | Sequence[int], b: int | Sequence[int]) -> Pads:
  """Padding that does both."""
  p, q = as_pads(a), as_pads(b)
  return p[0] + q[0], p[1] + q[1], p[2] + q[2], p[3] + q[3]


def filter_size(f: np.ndarray | None) -> tuple[int, int]:
  """Taps along x and along y."""
  return (1, 1) if f is None else (f.shape[-1], f.shape[0])


def up_pads(f: np.ndarray | None, up: int | tuple[int, int]) -> Pads:
  """Padding with which upsampling multiplies the size and does not move the picture."""
  (width, height), (x, y) = filter_size(f), _pair(up)
  return (width + x - 1) // 2, (width - x) // 2, (height + y - 1) // 2, (height - y) // 2


def down_pads(f: np.ndarray | None, down: int | tuple[int, int]) -> Pads:
  """Padding with which downsampling divides the size and does not move the picture."""
  (width, height), (x, y) = filter_size(f), _pair(down)
  return (width - x + 1) // 2, (width - x) // 2, (height - y + 1) // 2, (height - y) // 2


def _pair(factor: int | tuple[int, int]) -> tuple[int, int]:
  return (factor, factor) if isinstance(factor, int) else (factor[0], factor[1])


def _split(f: np.ndarray | None, flip: bool, gain: float) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Correlation taps along y and x with the gain in them; or, where the filter has no such form, the whole filter."""
  if f is None:
    return np.full(1, gain), np.ones(1), None
  f = np.asarray(f, np.float64)
  f = f if flip else f[(slice(None, None, -1),) * f.ndim]
  if f.ndim == 1:
    return f * gain, f, None
  peak = np.unravel_index(np.abs(f).argmax(), f.shape)
  fy, fx = f[:, peak[1]], f[peak[0]] / f[peak]
  if np.abs(np.outer(fy, fx) - f).max() > 1e-7 * np.abs(f).max():
    return fy, fx, f * gain
  balance = np.sqrt(np.abs(fx.sum() / fy.sum())) if fx.sum() and fy.sum() else 1.0
  return fy * balance * gain, fx / balance, None


@dataclasses.dataclass(frozen=True)
class _Pass:
  """Along one axis of ``size`` samples: output j is the sum over k of taps[k] * upsampled[j * down + k - pads[0]]."""

  axis: int
  size: int
  taps: tuple[float, ...]
  up: int
  down: int
  pads: tuple[int, int]

  @property
  def output(self) -> int:
    return (self.size * self.up + sum(self.pads) - len(self.taps)) // self.down + 1

  @property
  def transposed(self) -> _Pass:
    """The pass whose matrix is this one's transpose: gradients of any order are passes too."""
    left = len(self.taps) - 1 - self.pads[0]
    right = (self.size - 1) * self.up + len(self.taps) - self.output * self.down - left
    return _Pass(self.axis, self.output, self.taps[::-1], self.down, self.up, (left, right))


def _along(x: jax.Array, axis: int, taps: np.ndarray, up: int, down: int, pads: Sequence[int]) -> jax.Array:
  return _filter(_Pass(axis, x.shape[axis], tuple(map(float, taps)), up, down, (pads[0], pads[1])), x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _filter(geometry: _Pass, x: jax.Array) -> jax.Array:
  """The pass in slices, one set for each phase of the upsampled grid; a gradient as JAX writes it is slower."""
  axis, up, size = geometry.axis, geometry.up, geometry.output
  phases = [_phase(geometry, x, p) for p in range(min(up, size))]
  if up == 1:
    return phases[0]
  longest = phases[0].shape[axis]
  phases = [_pad_or_crop(y, axis, 0, longest) for y in phases]
  shape = list(x.shape)
  shape[axis] = longest * len(phases)
  return lax.slice_in_dim(jnp.stack(phases, axis=axis + 1).reshape(shape), 0, size, axis=axis)


def _filter_forward(geometry: _Pass, x: jax.Array) -> tuple[jax.Array, None]:
  return _filter(geometry, x), None


def _filter_backward(geometry: _Pass, _: None, g: jax.Array) -> tuple[jax.Array]:
  return (_filter(geometry.transposed, g),)


_filter.defvjp(_filter_forward, _filter_backward)


def _phase(geometry: _Pass, x: jax.Array, phase: int) -> jax.Array:
  """Outputs phase, phase + up, phase + 2 up, ... of a pass."""
  axis, taps, up, step = geometry.axis, geometry.taps, geometry.up, geometry.down
  size = -(-(geometry.output - phase) // up)
  start = phase * step - geometry.pads[0]
  used = [(k, (start + k) // up) for k in range(len(taps)) if (start + k) % up == 0 and taps[k]]
  if not used:
    return jnp.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
  # On tpu7x the first of groups of ``step`` samples: its compiler (libtpu 0.0.42 to 0.0.49) aborts where slices with a
  # stride are fused.
  grouped = step > 1 and device_kind() == "TPU7x"
  reach = size * step if grouped else (size - 1) * step + 1
  first, last = min(at for _, at in used), max(at for _, at in used) + reach
  x = _pad_or_crop(x, axis, first, last)
  parts = [
    lax.slice_in_dim(x, at - first, at - first + reach, stride=1 if grouped else step, axis=axis) for _, at in used
  ]
  if grouped:
    shape = (*x.shape[:axis], size, step, *x.shape[axis + 1 :])
    parts = [lax.index_in_dim(part.reshape(shape), 0, axis + 1, keepdims=False) for part in parts]
  return sum(part * np.asarray(taps[k], x.dtype) for part, (k, _) in zip(parts, used, strict=True))


def _pad_or_crop(x: jax.Array, axis: int, first: int, last: int) -> jax.Array:
  """Samples first to last - 1 along an axis, zeros outside."""
  if (first, last) == (0, x.shape[axis]):
    return x
  config = [(0, 0, 0)] * x.ndim
  config[axis] = (-first, last - x.shape[axis], 0)
  return lax.pad(x, jnp.zeros((), x.dtype), config)


def _general(x: jax.Array, f: np.ndarray, up: tuple[int, int], down: tuple[int, int], pads) -> jax.Array:
  """A filter that does not factor, as a depthwise convolution."""
  inserted = [(a, b + u - 1, u - 1) for (a, b), u in zip(pads, up, strict=True)]  # zeros come after the last sample too
  config = [(0, 0, 0), *inserted, (0, 0, 0)]
  x = lax.pad(x, jnp.zeros((), x.dtype), config)
  kernel = jnp.asarray(np.tile(f[:, :, None, None], (1, 1, 1, x.shape[-1])), x.dtype)
  return lax.conv_general_dilated(
    x,
    kernel,
    down,
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
    precision=lax.Precision.HIGHEST,
  )

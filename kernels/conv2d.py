"""The one place where two-dimensional convolutions happen, so that a rule that is fast on a backend serves all layers.

A convolution, its cotangent for the images and its cotangent for the kernel are three maps, linear in two arguments
each, and the derivatives of any one are the other two. They are written as such here: derivatives of every order (R1
and path length need the second) stay inside the three, and each can be put in the form in which a backend is fast.
That matters on XLA:CPU: gradients as JAX writes them are brought into a fast form only outside of conditionals and
loops, and for the kernel of a strided or dilated convolution never (measured: up to 60 times slower).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Padding = Sequence[tuple[int, int]]
_PRECISION = lax.Precision.HIGHEST  # float32 is computed as float32: no bfloat16 or TF32 passes
_LAYOUT = ("NHWC", "HWIO", "NHWC")


@dataclasses.dataclass(frozen=True)
class _Geometry:
  """Sizes (height, width) and what lies between input and output pixels."""

  image: tuple[int, int]
  kernel: tuple[int, int]
  stride: int
  dilation: int
  padding: tuple[tuple[int, int], ...]

  @property
  def output(self) -> tuple[int, ...]:
    return tuple(
      ((n - 1) * self.dilation + 1 + a + b - k) // self.stride + 1
      for n, k, (a, b) in zip(self.image, self.kernel, self.padding, strict=True)
    )

  @property
  def unused(self) -> tuple[int, ...]:
    """Last rows and columns of the padded input that no output sees."""
    return tuple(
      ((n - 1) * self.dilation + 1 + a + b - k) % self.stride
      for n, k, (a, b) in zip(self.image, self.kernel, self.padding, strict=True)
    )


def conv2d(
  x: jax.Array,
  w: jax.Array,
  *,
  stride: int = 1,
  padding: Padding = ((0, 0), (0, 0)),
  lhs_dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """Correlation of images (N, H, W, I) with a kernel (kh, kw, I // groups, O): (N, H', W', O) in the dtype of ``x``.

  Reverse mode works to any order; forward mode only with ``groups`` above 1 or kernels of one pixel.

  Args:
    x: images.
    w: kernel, not mirrored: output pixel p sees input pixel p + tap.
    stride: of the output.
    padding: zeros ((top, bottom), (left, right)) around the dilated input, not negative.
    lhs_dilation: 2 puts one zero between neighbouring input pixels (a transposed convolution).
    groups: blocks of channels that do not mix.
  """
  w = w.astype(x.dtype)
  pads = tuple((int(a), int(b)) for a, b in padding)
  geometry = _Geometry((x.shape[1], x.shape[2]), (w.shape[0], w.shape[1]), stride, lhs_dilation, pads)
  if groups > 1:
    return _xla_conv(geometry, x, w, groups)
  if geometry.kernel == (1, 1) and stride == lhs_dilation == 1 and not any(map(any, pads)):
    return lax.dot_general(x, w[0, 0], (((3,), (0,)), ((), ())), precision=_PRECISION)
  return _conv(geometry, x, w)


# --- The three maps. G is a geometry, x images (N, H, W, I), w a kernel (kh, kw, I, O), y outputs (N, H', W', O).


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(g: _Geometry, x: jax.Array, w: jax.Array) -> jax.Array:
  return _xla_conv(g, x, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _image_cotangent(g: _Geometry, w: jax.Array, y: jax.Array) -> jax.Array:
  """What `_conv` sends back to its images: a convolution with the mirrored kernel, stride and dilation exchanged."""
  pads = tuple((k - 1 - a, k - 1 - b + rest) for k, (a, b), rest in zip(g.kernel, g.padding, g.unused, strict=True))
  # Negative padding crops; `lax` takes it after dilation, which is what is meant.
  back = _Geometry(g.output, g.kernel, g.dilation, g.stride, pads)  # type: ignore[arg-type]
  return _xla_conv(back, y, jnp.swapaxes(w[::-1, ::-1], 2, 3))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_cotangent(g: _Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
  """What `_conv` sends back to its kernel: every tap is a product of images and outputs that are shifted by it."""

  def xla(x, y):
    w = jax.ShapeDtypeStruct((*g.kernel, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda w: _xla_conv(g, x, w), w)(y)[0]

  return lax.platform_dependent(x, y, cpu=functools.partial(_kernel_cotangent_on_cpu, g), default=xla)


_conv.defvjp(
  lambda g, x, w: (_conv(g, x, w), (x, w)),
  lambda g, saved, y: (_image_cotangent(g, saved[1], y), _kernel_cotangent(g, saved[0], y)),
)
_image_cotangent.defvjp(
  lambda g, w, y: (_image_cotangent(g, w, y), (w, y)),
  lambda g, saved, x: (_kernel_cotangent(g, x, saved[1]), _conv(g, x, saved[0])),
)
_kernel_cotangent.defvjp(
  lambda g, x, y: (_kernel_cotangent(g, x, y), (x, y)),
  lambda g, saved, w: (_image_cotangent(g, w, saved[1]), _conv(g, saved[0], w)),
)


def _xla_conv(g: _Geometry, x: jax.Array, w: jax.Array, groups: int = 1) -> jax.Array:
  return lax.conv_general_dilated(
    x,
    w,
    (g.stride, g.stride),
    g.padding,
    lhs_dilation=(g.dilation, g.dilation),
    dimension_numbers=_LAYOUT,
    feature_group_count=groups,
    precision=_PRECISION,
  )


def _kernel_cotangent_on_cpu(g: _Geometry, x: jax.Array, y: jax.Array) -> jax.Array:
  """As convolutions in the one layout that XLA:CPU hands to its library, with neither stride nor dilation."""
  if g.dilation > 1:  # the same products seen from the other side: now ``y`` is the large image, taps run backwards
    pads = tuple((k - 1 - a, k - 1 - b) for k, (a, b) in zip(g.kernel, g.padding, strict=True))
    other = _Geometry(g.output, g.kernel, g.dilation, 1, pads)  # type: ignore[arg-type]
    return jnp.swapaxes(_kernel_cotangent_on_cpu(other, y, x), 2, 3)[::-1, ::-1]
  rest = g.unused
  x = lax.pad(
    x,
    jnp.zeros((), x.dtype),
    [(0, 0, 0), *((a, b - r, 0) for (a, b), r in zip(g.padding, rest, strict=True)), (0, 0, 0)],
  )
  x, y = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(y, (1, 2, 0, 3))
  s = g.stride
  rows = []
  for a in range(min(s, g.kernel[0])):
    parts = [_taps_of_phase(x[:, a::s, b::s], y, g, (a, b)) for b in range(min(s, g.kernel[1]))]
    rows.append(_interleave(parts, 1))
  return _interleave(rows, 0)


def _taps_of_phase(x: jax.Array, y: jax.Array, g: _Geometry, phase: tuple[int, int]) -> jax.Array:
  """Taps phase, phase + stride, … of the kernel: x (I, h, w, N), y (H', W', N, O) to (taps, taps, I, O)."""
  taps = [-(-(k - p) // g.stride) for k, p in zip(g.kernel, phase, strict=True)]
  x = x[:, : y.shape[0] + taps[0] - 1, : y.shape[1] + taps[1] - 1]
  w = lax.conv_general_dilated(x, y, (1, 1), "VALID", dimension_numbers=_LAYOUT, precision=_PRECISION)
  return jnp.transpose(w, (1, 2, 0, 3))


def _interleave(parts: list[jax.Array], axis: int) -> jax.Array:
  """Phases back in order: parts[i] holds elements i, i + len(parts), … along the axis."""
  if len(parts) == 1:
    return parts[0]
  size = sum(p.shape[axis] for p in parts)
  slices = [lax.index_in_dim(parts[i % len(parts)], i // len(parts), axis) for i in range(size)]
  return jnp.concatenate(slices, axis)

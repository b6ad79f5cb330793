"""The convolution of the fused layer without what follows it, as three linear maps whose derivatives are each other.

Images are blocks of pixels here (see packing): between two layers blocks stay as they are, while to lay pixels out and
back would take a TPU longer than to convolve them.

A sample's convolution is linear in its image and in its kernel, which is the shared one times styles and scales. What
it sends back to the image and to the kernel are the two other maps. Written as such, derivatives of every order (R1 and
path length need the second) stay among the three, and each of them is a kernel on a TPU.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jaxtalk.kernels.modulated_conv import choice, packing, tiles, tpu, tpu_grad
from jaxtalk.kernels.resample import conv2d_resample

BATCH_AXES = ("data", "fsdp")  # of a mesh; the batch is split over those that it has


@dataclasses.dataclass(frozen=True)
class Geometry:
  """What is known when a layer is traced.

  Attributes:
    up: 1 or 2.
    taps: the FIR filter, row by row.
    size: (height, width) of the input.
    channels: in and out.
    simulate: off a TPU, run the kernels in Pallas' interpreter instead of plain JAX.
  """

  up: int
  taps: tuple[tuple[float, ...], ...]
  size: tuple[int, int]
  channels: tuple[int, int]
  simulate: bool

  @property
  def filter(self) -> np.ndarray:
    return np.asarray(self.taps, np.float32)

  @property
  def blocks(self) -> packing.Blocks:
    return packing.blocks_for(self.channels, self.up, self.size, self.filter)

  @property
  def tile(self) -> tiles.Tile:
    return tiles.lookup(choice.device_kind(), choice.size_name(self.size[0] * self.up, self.channels, self.up))

  def refusal(self, dtype: jnp.dtype) -> str | None:
    """Why a TPU does not run this in its kernel, or None."""
    blocks = self.blocks
    return tpu.limits(blocks, self.size[1] // blocks.inner[1], dtype)

  @property
  def filter_in_kernel(self) -> bool:
    """Whether a filter is part of the matrices; the cotangents of such are not made by kernels."""
    return self.up == 2 and not self.blocks.taps

  def run(self, kernel: Callable, plain: Callable, batched: tuple[bool, ...], *args: jax.Array | None) -> jax.Array:
    """``kernel(interpret, *args)`` or ``plain(*args)``, whichever is meant for the platform, on every device's samples.

    ``batched`` says of each argument whether it has one entry for each sample, as the first always has.
    """
    on_tpu = functools.partial(kernel, False)
    if self.refusal(args[0].dtype):
      on_tpu = plain
    elsewhere = functools.partial(kernel, True) if self.simulate else plain
    choose = functools.partial(lax.platform_dependent, tpu=on_tpu, default=elsewhere)
    return over_batch(choose, batched, *args)


def over_batch(run: Callable, batched: tuple[bool, ...], *args: jax.Array | None) -> jax.Array:
  """``run`` on every device's part of the batch: the compiler cannot split a kernel by itself."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1 or mesh.manual_axes:
    return run(*args)
  axes: tuple[str, ...] = ()
  for axis in BATCH_AXES:
    if axis in mesh.axis_names and len(args[0]) % (mesh.shape[axis] * int(np.prod([mesh.shape[a] for a in axes]))) == 0:
      axes += (axis,)
  batch, whole = PartitionSpec(axes or None), PartitionSpec()
  specs = tuple(batch if b else whole for b in batched)
  return jax.shard_map(run, in_specs=specs, out_specs=batch, check_vma=False)(*args)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def conv(geometry: Geometry, x: jax.Array, weight: jax.Array, styles: jax.Array, scales: jax.Array) -> jax.Array:
  """The convolution of every sample with ``weight * styles * scales``.

  Args:
    geometry: what is known.
    x: (N, h, w, input lanes) float32 or bfloat16.
    weight: (N or 1, 3, 3, I, O) float32; convolved with, not correlated, where ``up`` is 2.
    styles: (N, I) float32.
    scales: (N, O) float32.

  Returns:
    (N, h * region rows, w * region columns, output lanes) in the dtype of ``x``.
  """
  each = (True, len(weight) > 1, True, True)
  return geometry.run(functools.partial(_conv_kernel, geometry), _plain(geometry), each, x, weight, styles, scales)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def image_cotangent(geometry: Geometry, g: jax.Array, weight: jax.Array, styles: jax.Array, scales: jax.Array):
  """What `conv` sends back to its images: from the shape of its result to that of its images."""
  each = (True, len(weight) > 1, True, True)

  def plain(g, weight, styles, scales):
    x = packing.pack(jnp.zeros((len(g), *geometry.size, geometry.channels[0]), g.dtype), geometry.blocks.inner)
    return jax.vjp(lambda x: _plain(geometry)(x, weight, styles, scales), x)[1](g)[0]

  if geometry.filter_in_kernel:
    return plain(g, weight, styles, scales)
  return geometry.run(functools.partial(_image_kernel, geometry), plain, each, g, weight, styles, scales)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def kernel_cotangent(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
  """What the convolution of each sample sends back to its whole kernel: (N, 3, 3, I, O) float32."""

  def plain(x, g):
    (i, o), ones = geometry.channels, jnp.ones
    weight = jnp.zeros((len(x), 3, 3, i, o), jnp.float32)
    run = functools.partial(_plain(geometry), styles=ones((len(x), i)), scales=ones((len(x), o)))
    return jax.vjp(lambda w: run(x, w), weight)[1](g)[0]

  if geometry.filter_in_kernel:
    return plain(x, g)
  return geometry.run(functools.partial(_kernel_kernel, geometry), plain, (True, True), x, g)


def _of_factors(geometry: Geometry, x, g, weight, styles, scales):
  """Cotangents of weight, styles and scales from that of each sample's kernel."""
  whole = kernel_cotangent(geometry, x, g)
  of_weight = jnp.einsum("nyxio,ni,no->nyxio", whole, styles, scales)
  return (
    of_weight if len(weight) > 1 else jnp.sum(of_weight, axis=0, keepdims=True),
    jnp.sum(whole * (weight * scales[:, None, None, None, :]), axis=(1, 2, 4)),
    jnp.sum(whole * (weight * styles[:, None, None, :, None]), axis=(1, 2, 3)),
  )


def pull(geometry: Geometry, x: jax.Array, factors: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, ...]:
  """What `conv` of ``x`` and factors (weight, styles, scales) sends back to all four."""
  return image_cotangent(geometry, g, *factors), *_of_factors(geometry, x, g, *factors)


def _image_backward(geometry: Geometry, saved, x: jax.Array):
  g, *factors = saved
  return conv(geometry, x, *factors), *_of_factors(geometry, x, g, *factors)


def _kernel_backward(geometry: Geometry, saved, weight: jax.Array):
  x, g = saved
  ones = jnp.ones((len(x), geometry.channels[0])), jnp.ones((len(x), geometry.channels[1]))
  return image_cotangent(geometry, g, weight, *ones), conv(geometry, x, weight, *ones)


conv.defvjp(
  lambda geometry, *args: (conv(geometry, *args), args),
  lambda geometry, saved, g: pull(geometry, saved[0], saved[1:], g),
)
image_cotangent.defvjp(lambda geometry, *args: (image_cotangent(geometry, *args), args), _image_backward)
kernel_cotangent.defvjp(lambda geometry, *args: (kernel_cotangent(geometry, *args), args), _kernel_backward)


# --- As kernels on blocks of pixels, and in plain JAX.


def matrices(geometry: Geometry, weight: jax.Array, blocks: packing.Blocks | None = None) -> jax.Array:
  """Kernels (N or 1, 3, 3, I, O) as the matrices of `packing.block_kernel`."""
  blocks = blocks or geometry.blocks
  return jax.vmap(lambda w: packing.block_kernel(w, geometry.filter, blocks))(weight)


def _conv_kernel(geometry: Geometry, interpret: bool, x, weight, styles, scales, blocks=None) -> jax.Array:
  blocks = blocks or geometry.blocks
  kernel, bias = matrices(geometry, weight, blocks), jnp.zeros(blocks.channels[1])
  settings = {"blocks": blocks, "epilogue": tpu.Epilogue(), "tile": geometry.tile, "interpret": interpret}
  return tpu.conv_blocks(x, kernel, styles, scales, bias, None, **settings)


def _image_kernel(geometry: Geometry, interpret: bool, g, weight, styles, scales) -> jax.Array:
  if geometry.up == 1:  # the same with the mirrored kernel
    mirrored = jnp.swapaxes(weight[:, ::-1, ::-1], 3, 4)
    back = dataclasses.replace(geometry.blocks, channels=geometry.channels[::-1])
    return _conv_kernel(geometry, interpret, g, mirrored, scales, styles, back)
  settings = {"blocks": geometry.blocks, "tile": geometry.tile, "interpret": interpret}
  return tpu_grad.image_cotangent_of_up(g, matrices(geometry, weight), styles, scales, **settings)


def _kernel_kernel(geometry: Geometry, interpret: bool, x, g) -> jax.Array:
  y = tpu_grad.kernel_cotangent(x, g, blocks=geometry.blocks, tile=geometry.tile, interpret=interpret)
  weight = jax.ShapeDtypeStruct((len(x), 3, 3, *geometry.channels), jnp.float32)
  return jax.linear_transpose(functools.partial(matrices, geometry), weight)(y)[0]


def _plain(geometry: Geometry) -> Callable:
  def one(x, weight, styles, scales):
    x, up = x[None] * styles[None, None, None].astype(x.dtype), geometry.up
    y = conv2d_resample(x, weight, geometry.filter, up=up, padding=1, flip_weight=up == 1)
    return y[0] * scales[None, None].astype(x.dtype)

  def run(x, weight, styles, scales):
    each, x = len(weight) > 1 or len(x) == 1, packing.unpack(x, geometry.blocks.inner)
    y = jax.vmap(one, in_axes=(0, 0 if each else None, 0, 0))(x, weight if each else weight[0], styles, scales)
    return packing.pack(y, geometry.blocks.outer)

  return run

"""The generator of StyleGAN2 (Karras et al. 2020) in Flax Linen, with every option that official snapshots use.

``variables`` is ``{"params": tree, "buffers": tree}`` under the official names: ``params["synthesis"]["b8"]["conv0"]``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxtalk.core import InputError
from jaxtalk.stylegan2 import ops
from jaxtalk.stylegan2.discriminator import Discriminator, discriminator_layer_order
from jaxtalk.stylegan2.layers import Conv, MappingNetwork, NoiseMode, SynthesisLayer, Taps, ToImage
from jaxtalk.stylegan2.sizes import block_dtype, check_architecture, features_at, resolutions

__all__ = ["Discriminator", "Generator", "discriminator_layer_order", "update_w_avg"]

Styles = Mapping[str, jax.Array]
Maps = Mapping[int, jax.Array]


class SynthesisBlock(nn.Module):
  """One resolution: up to two modulated convolutions and, where asked for, an image.

  Attributes:
    in_features: of the block below; 0 at 4x4, which starts from a learned constant.
    features: of this block.
    resolution: in pixels.
    img_channels: of the image.
    architecture: skip, resnet or orig.
    has_image: whether this block makes an image.
    layer: options of the modulated convolutions.
    dtype: of the features; images stay float32.
    map_features: channels of the map that is mixed into the features before the last convolution; 0 is no map.
  """

  in_features: int
  features: int
  resolution: int
  img_channels: int
  architecture: str
  has_image: bool
  kernel_size: int = 3
  use_noise: bool = True
  activation: str = "lrelu"
  resample_filter: Taps = ops.DEFAULT_TAPS
  conv_clamp: float | None = None
  dtype: Any = jnp.float32
  map_features: int = 0

  def setup(self) -> None:
    clamp, taps = self.conv_clamp, self.resample_filter
    if self.map_features:
      self.frommap = Conv(self.features, kernel_size=1, conv_clamp=clamp)
    if self.in_features:
      self.conv0 = self._layer(self.in_features, up=2)
    else:
      self.const = self.param("const", nn.initializers.normal(1.0), (4, 4, self.features))
    self.conv1 = self._layer(self.features, up=1)
    if self.has_image:
      self.torgb = ToImage(self.features, self.img_channels, conv_clamp=clamp)
    if self.in_features and self.architecture == "resnet":
      self.skip = Conv(self.features, kernel_size=1, use_bias=False, up=2, resample_filter=taps)

  def _layer(self, in_features: int, up: int) -> SynthesisLayer:
    return SynthesisLayer(
      in_features,
      self.features,
      self.resolution,
      kernel_size=self.kernel_size,
      up=up,
      use_noise=self.use_noise,
      activation=self.activation,
      resample_filter=self.resample_filter,
      conv_clamp=self.conv_clamp,
    )

  def layers(self) -> dict[str, SynthesisLayer | ToImage]:
    """Everything that takes a style, in the order in which it takes codes."""
    convs: dict[str, SynthesisLayer | ToImage] = {"conv0": self.conv0} if self.in_features else {}
    convs["conv1"] = self.conv1
    return convs | ({"torgb": self.torgb} if self.has_image else {})

  def styles(self, ws: jax.Array) -> dict[str, jax.Array]:
    """Codes (N, one or more, w_dim), of which layer i takes the i-th, to (N, channels) for each layer."""
    return {name: layer.style(ws[:, i]) for i, (name, layer) in enumerate(self.layers().items())}

  def __call__(
    self,
    x: jax.Array | None,
    img: jax.Array | None,
    styles: Styles,
    noise_mode: NoiseMode,
    maps: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Features (N, H/2, W/2, I) and image of the block below to those of this block; maps are (N, H, W, K)."""
    if x is None:
      n = styles["conv1"].shape[0]
      x = jnp.broadcast_to(self.const[None], (n, *self.const.shape))
    x = x.astype(self.dtype)
    if not self.in_features:
      x = self.conv1(self._with_map(x, maps), styles["conv1"], noise_mode)
    elif self.architecture == "resnet":
      shortcut = self.skip(x, gain=math.sqrt(0.5))
      x = self._with_map(self.conv0(x, styles["conv0"], noise_mode), maps)
      x = self.conv1(x, styles["conv1"], noise_mode, gain=math.sqrt(0.5)) + shortcut
    else:
      x = self._with_map(self.conv0(x, styles["conv0"], noise_mode), maps)
      x = self.conv1(x, styles["conv1"], noise_mode)
    if img is not None:
      img = ops.upsample2d(img, ops.setup_filter(self.resample_filter))
    if self.has_image:
      y = self.torgb(x, styles["torgb"]).astype(jnp.float32)
      img = y if img is None else img + y
    return x, img

  def _with_map(self, x: jax.Array, maps: jax.Array | None) -> jax.Array:
    return x if maps is None else x + self.frommap(maps.astype(x.dtype))


class Synthesis(nn.Module):
  """Codes or styles to images; the attributes are the `Generator`'s."""

  w_dim: int
  img_resolution: int
  img_channels: int
  channel_base: int
  channel_max: int
  num_half_res: int
  architecture: str
  kernel_size: int
  use_noise: bool
  activation: str
  resample_filter: Taps
  conv_clamp: float | None
  dtype: Any
  remat: bool
  map_features: int = 0

  def setup(self) -> None:
    check_architecture(self.architecture)
    block = nn.remat(SynthesisBlock, static_argnums=(4,)) if self.remat else SynthesisBlock
    sizes = resolutions(self.img_resolution)
    self.blocks = [
      block(
        in_features=0 if r == 4 else features_at(r // 2, self.channel_base, self.channel_max),
        features=features_at(r, self.channel_base, self.channel_max),
        resolution=r,
        img_channels=self.img_channels,
        architecture=self.architecture,
        has_image=self.architecture == "skip" or r == self.img_resolution,
        kernel_size=self.kernel_size,
        use_noise=self.use_noise,
        activation=self.activation,
        resample_filter=self.resample_filter,
        conv_clamp=self.conv_clamp,
        dtype=block_dtype(r, self.img_resolution, self.num_half_res, self.dtype),
        map_features=self.map_features,
        name=f"b{r}",
      )
      for r in sizes
    ]

  def styles(self, ws: jax.Array) -> dict[str, jax.Array]:
    """Codes (N, num_ws, w_dim) to {"b8.conv0": (N, channels), ...}: the space S of Wu et al. 2021 (StyleSpace)."""
    check_codes(ws, self.img_resolution, self.w_dim)
    ws, at = jnp.asarray(ws, jnp.float32), 0
    found: dict[str, jax.Array] = {}
    for block in self.blocks:
      found |= {f"b{block.resolution}.{name}": s for name, s in block.styles(ws[:, at:]).items()}
      at += 2 if block.in_features else 1  # an image takes the code of the next block's first convolution
    return found

  def __call__(
    self,
    ws: jax.Array | None,
    noise_mode: NoiseMode = "const",
    styles: Styles | None = None,
    maps: Maps | None = None,
  ) -> jax.Array:
    if noise_mode not in ("const", "random", "none"):
      raise InputError(f"noise_mode is const, random or none, not {noise_mode!r}")
    wanted = self._complete(ws, styles or {})
    if self.map_features and (maps is None or any(r not in maps for r in resolutions(self.img_resolution))):
      raise InputError(f"this generator takes maps (N, r, r, {self.map_features}) at every resolution r")
    if maps is not None and not self.map_features:
      raise InputError("this generator takes no maps")
    x = img = None
    for block in self.blocks:
      own = {name: wanted[f"b{block.resolution}.{name}"] for name in block.layers()}
      x, img = block(x, img, own, noise_mode, None if maps is None else maps[block.resolution])
    assert img is not None
    return img

  def _complete(self, ws: jax.Array | None, edited: Styles) -> dict[str, jax.Array]:
    """Styles of all layers: the edited ones as given, the others from the codes."""
    names = [f"b{block.resolution}.{name}" for block in self.blocks for name in block.layers()]
    unknown = sorted(set(edited) - set(names))
    if unknown:
      raise InputError(f"no layer {unknown[0]!r} takes a style; there are {', '.join(names)}")
    if ws is None and len(edited) < len(names):
      raise InputError(f"without codes, styles of all {len(names)} layers are needed; there are {len(edited)}")
    return (self.styles(ws) if ws is not None else {}) | dict(edited)


class Generator(nn.Module):
  """Latents (and labels) to images.

  Attributes:
    z_dim, c_dim, w_dim: sizes of latent, label (0: none) and code.
    img_resolution: a power of two, at least 4.
    img_channels: of the image.
    mapping_layers, embed_features, layer_features, mapping_activation, lr_multiplier: of the mapping network.
    w_avg_beta: how slowly the average code follows in training (`update_w_avg`).
    channel_base, channel_max: block r has ``min(channel_base // r, channel_max)`` channels.
    num_half_res: how many of the top resolutions compute in ``dtype`` (never 4x4).
    conv_clamp: limit of every convolution's output; None is no limit.
    architecture: skip, resnet or orig.
    kernel_size, use_noise, activation, resample_filter: of the modulated convolutions.
    dtype: of the top ``num_half_res`` resolutions, such as bfloat16; codes, styles and images stay float32.
    remat: recompute blocks in the backward pass instead of storing their features.
    map_features: channels of maps, which join the features of every block in the place of noise; 0 is the official
      network. A map is a drawing of what the picture shall show where (see `systems.face_maps`).
  """

  z_dim: int
  c_dim: int
  w_dim: int
  img_resolution: int
  img_channels: int
  mapping_layers: int = 8
  embed_features: int | None = None
  layer_features: int | None = None
  mapping_activation: str = "lrelu"
  lr_multiplier: float = 0.01
  w_avg_beta: float = 0.995
  channel_base: int = 32768
  channel_max: int = 512
  num_half_res: int = 0
  conv_clamp: float | None = None
  architecture: str = "skip"
  kernel_size: int = 3
  use_noise: bool = True
  activation: str = "lrelu"
  resample_filter: Taps = ops.DEFAULT_TAPS
  dtype: Any = jnp.float32
  remat: bool = False
  map_features: int = 0

  @property
  def num_ws(self) -> int:
    """How many codes an image takes."""
    return num_ws(self.img_resolution)

  def setup(self) -> None:
    self._mapping = MappingNetwork(
      self.z_dim,
      self.c_dim,
      self.w_dim,
      num_layers=self.mapping_layers,
      embed_features=self.embed_features,
      layer_features=self.layer_features,
      activation=self.mapping_activation,
      lr_multiplier=self.lr_multiplier,
      name="mapping",
    )
    self._synthesis = Synthesis(
      self.w_dim,
      self.img_resolution,
      self.img_channels,
      self.channel_base,
      self.channel_max,
      self.num_half_res,
      self.architecture,
      self.kernel_size,
      self.use_noise,
      self.activation,
      self.resample_filter,
      self.conv_clamp,
      self.dtype,
      self.remat,
      self.map_features,
      name="synthesis",
    )

  def __call__(
    self,
    z: jax.Array,
    c: jax.Array | None = None,
    truncation_psi: float | jax.Array = 1.0,
    truncation_cutoff: int | None = None,
    noise_mode: NoiseMode = "const",
    maps: Maps | None = None,
  ) -> jax.Array:
    """Latents (N, z_dim) and labels (N, c_dim) to images (N, H, W, C) float32, about [-1, 1], not clipped.

    Args:
      z: unit normal.
      c: None where the network has no labels.
      truncation_psi: 1 draws from the whole distribution, 0 only the average.
      truncation_cutoff: truncates only the first so many codes; None is all.
      noise_mode: const (stored), random (from the ``noise`` stream of random numbers) or none.
      maps: (N, r, r, map_features) for each resolution r, where the network has them.

    Raises:
      InputError: shapes that are not this network's.
    """
    return self.synthesis(self.mapping(z, c, truncation_psi, truncation_cutoff), noise_mode, maps=maps)

  def mapping(
    self,
    z: jax.Array,
    c: jax.Array | None = None,
    truncation_psi: float | jax.Array = 1.0,
    truncation_cutoff: int | None = None,
  ) -> jax.Array:
    """Latents (N, z_dim) and labels (N, c_dim) to codes (N, num_ws, w_dim); no side effect on the average code."""
    w = self._mapping(z, c)
    ws = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, self.w_dim))
    if isinstance(truncation_psi, int | float) and truncation_psi == 1:
      return ws
    average = self._mapping.w_avg.value[None, None]
    truncated = average + truncation_psi * (ws - average)
    if truncation_cutoff is None:
      return truncated
    return jnp.where(jnp.arange(self.num_ws)[None, :, None] < truncation_cutoff, truncated, ws)

  def synthesis(
    self,
    ws: jax.Array | None,
    noise_mode: NoiseMode = "const",
    styles: Styles | None = None,
    maps: Maps | None = None,
  ) -> jax.Array:
    """Codes (N, num_ws, w_dim) to images (N, H, W, C) float32.

    Args:
      ws: None where ``styles`` has every layer.
      noise_mode: const, random or none.
      styles: (N, channels) by layer name, instead of what the codes give (see `styles`).
      maps: as in ``__call__``.
    """
    return self._synthesis(ws, noise_mode, styles, maps)

  def styles(self, ws: jax.Array) -> dict[str, jax.Array]:
    """Codes (N, num_ws, w_dim) to the styles of all layers, (N, channels) by name: "b4.conv1", "b4.torgb", ..."""
    return self._synthesis.styles(ws)


def num_ws(img_resolution: int) -> int:
  """Codes that a generator of this resolution takes."""
  return 2 * (img_resolution.bit_length() - 1) - 2


def update_w_avg(buffers: Mapping[str, Any], w: jax.Array, beta: float) -> dict[str, Any]:
  """Buffers whose average code moved towards the mean of codes (N, w_dim) by 1 - beta; nothing is changed in place."""
  mapping = dict(buffers["mapping"])
  mean = jnp.mean(w, axis=0)
  mapping["w_avg"] = mean + beta * (mapping["w_avg"] - mean)
  return {**buffers, "mapping": mapping}


def check_codes(ws: jax.Array, img_resolution: int, w_dim: int) -> None:
  """Raises `InputError` unless codes are (N, num_ws, w_dim)."""
  wanted = (num_ws(img_resolution), w_dim)
  if ws.ndim != 3 or ws.shape[1:] != wanted:
    raise InputError(f"codes must be (N, {wanted[0]}, {wanted[1]}) for this network, not {tuple(ws.shape)}")

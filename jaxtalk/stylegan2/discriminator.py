"""The discriminator of StyleGAN2 (Karras et al. 2020) in Flax Linen; names are the official ones."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxtalk.core import InputError
from jaxtalk.stylegan2 import ops
from jaxtalk.stylegan2.layers import Conv, Dense, MappingNetwork, Taps, check_labels
from jaxtalk.stylegan2.sizes import block_dtype, check_architecture, features_at, resolutions


class DiscriminatorBlock(nn.Module):
  """One resolution: two convolutions, the second at half the size.

  Attributes:
    features, out_features: at this resolution and at half of it.
    has_image: whether features of the image are added here.
    architecture, activation, resample_filter, conv_clamp: as in the `Discriminator`.
    dtype: of the features; images stay float32.
  """

  features: int
  out_features: int
  has_image: bool
  architecture: str = "resnet"
  activation: str = "lrelu"
  resample_filter: Taps = ops.DEFAULT_TAPS
  conv_clamp: float | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array | None, img: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """Features (N, H, W, features) and image to (N, H/2, W/2, out_features) and the smaller image, if used below."""
    act, clamp, taps = self.activation, self.conv_clamp, self.resample_filter
    if self.has_image:
      assert img is not None
      y = Conv(self.features, 1, activation=act, conv_clamp=clamp, name="fromrgb")(img.astype(self.dtype))
      x = y if x is None else x.astype(self.dtype) + y
      img = ops.downsample2d(img, ops.setup_filter(taps)) if self.architecture == "skip" else None
    assert x is not None
    x, out = x.astype(self.dtype), self.out_features
    conv0 = Conv(self.features, 3, activation=act, conv_clamp=clamp, name="conv0")
    conv1 = Conv(out, 3, activation=act, down=2, resample_filter=taps, conv_clamp=clamp, name="conv1")
    if self.architecture != "resnet":
      return conv1(conv0(x)), img
    skip = Conv(out, 1, use_bias=False, down=2, resample_filter=taps, name="skip")
    shortcut = skip(x, gain=math.sqrt(0.5))
    return conv1(conv0(x), gain=math.sqrt(0.5)) + shortcut, img


class DiscriminatorEpilogue(nn.Module):
  """The end at 4x4: batch statistics, one convolution, two dense layers; float32.

  Attributes:
    features: at 4x4.
    out_features: of the result: 1, or the width of the mapped label.
    architecture, mbstd_group_size, mbstd_num_channels, activation, conv_clamp: as in the `Discriminator`.
  """

  features: int
  out_features: int
  architecture: str = "resnet"
  mbstd_group_size: int | None = 4
  mbstd_num_channels: int = 1
  activation: str = "lrelu"
  conv_clamp: float | None = None

  @nn.compact
  def __call__(self, x: jax.Array, img: jax.Array | None) -> jax.Array:
    """Features (N, 4, 4, features) and, if the architecture is skip, the image to (N, out_features)."""
    x = x.astype(jnp.float32)
    if img is not None:
      x = x + Conv(self.features, kernel_size=1, activation=self.activation, name="fromrgb")(img)
    if self.mbstd_num_channels:
      x = ops.minibatch_stddev(x, self.mbstd_group_size, self.mbstd_num_channels)
    x = Conv(self.features, kernel_size=3, activation=self.activation, conv_clamp=self.conv_clamp, name="conv")(x)
    x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)  # official weights expect C, H, W
    x = Dense(self.features, activation=self.activation, name="fc")(x)
    return Dense(self.out_features, name="out")(x)


class Discriminator(nn.Module):
  """Images (and labels) to logits: positive is "real".

  Attributes:
    c_dim: size of the label; 0 is none.
    img_resolution: a power of two, at least 4.
    img_channels: of the image.
    architecture: resnet, skip or orig.
    channel_base, channel_max: block r has ``min(channel_base // r, channel_max)`` channels.
    num_half_res: how many of the top resolutions compute in ``dtype`` (never 4x4).
    conv_clamp: limit of every convolution's output; None is no limit.
    cmap_dim: width of the mapped label; None is the channels at 4x4.
    activation, resample_filter: of the blocks.
    epilogue_activation: of the layers at 4x4.
    mapping_layers, embed_features, layer_features, mapping_activation, lr_multiplier: of the label's mapping network.
    mbstd_group_size: samples that are compared with each other; None is the whole batch.
    mbstd_num_channels: statistics a group; 0 leaves them out.
    dtype: of the top ``num_half_res`` resolutions, such as bfloat16; the end at 4x4 stays float32.
    remat: recompute blocks in the backward pass instead of storing their features.
  """

  c_dim: int
  img_resolution: int
  img_channels: int
  architecture: str = "resnet"
  channel_base: int = 32768
  channel_max: int = 512
  num_half_res: int = 0
  conv_clamp: float | None = None
  cmap_dim: int | None = None
  activation: str = "lrelu"
  resample_filter: Taps = ops.DEFAULT_TAPS
  epilogue_activation: str = "lrelu"
  mapping_layers: int = 8
  embed_features: int | None = None
  layer_features: int | None = None
  mapping_activation: str = "lrelu"
  lr_multiplier: float = 0.01
  mbstd_group_size: int | None = 4
  mbstd_num_channels: int = 1
  dtype: Any = jnp.float32
  remat: bool = False

  @property
  def label_features(self) -> int:
    """Width of the mapped label; 0 without labels."""
    if not self.c_dim:
      return 0
    return features_at(4, self.channel_base, self.channel_max) if self.cmap_dim is None else self.cmap_dim

  def setup(self) -> None:
    check_architecture(self.architecture)
    block = nn.remat(DiscriminatorBlock) if self.remat else DiscriminatorBlock
    sizes = resolutions(self.img_resolution)[:0:-1]
    if not sizes:
      raise InputError("a discriminator starts at 8x8: 4x4 images leave it no block")
    self.blocks = [
      block(
        features=features_at(r, self.channel_base, self.channel_max),
        out_features=features_at(r // 2, self.channel_base, self.channel_max),
        has_image=self.architecture == "skip" or r == self.img_resolution,
        architecture=self.architecture,
        activation=self.activation,
        resample_filter=self.resample_filter,
        conv_clamp=self.conv_clamp,
        dtype=block_dtype(r, self.img_resolution, self.num_half_res, self.dtype),
        name=f"b{r}",
      )
      for r in sizes
    ]
    self.epilogue = DiscriminatorEpilogue(
      features_at(4, self.channel_base, self.channel_max),
      self.label_features or 1,
      architecture=self.architecture,
      mbstd_group_size=self.mbstd_group_size,
      mbstd_num_channels=self.mbstd_num_channels,
      activation=self.epilogue_activation,
      conv_clamp=self.conv_clamp,
      name="b4",
    )
    if self.c_dim:
      self._mapping = MappingNetwork(
        0,
        self.c_dim,
        self.label_features,
        num_layers=self.mapping_layers,
        embed_features=self.embed_features,
        layer_features=self.layer_features,
        activation=self.mapping_activation,
        lr_multiplier=self.lr_multiplier,
        track_average=False,
        name="mapping",
      )

  def __call__(self, images: jax.Array, c: jax.Array | None = None) -> jax.Array:
    """Images (N, H, W, C) in [-1, 1] and labels (N, c_dim) to logits (N, 1).

    Raises:
      InputError: images or labels of another shape, or a batch that does not divide into groups.
    """
    wanted = (self.img_resolution, self.img_resolution, self.img_channels)
    if images.ndim != 4 or images.shape[1:] != wanted:
      raise InputError(f"images must be (N, {', '.join(map(str, wanted))}) for this network, not {tuple(images.shape)}")
    check_labels(c, self.c_dim, images)
    x, img = self.blocks[0](None, jnp.asarray(images, jnp.float32))
    for block in self.blocks[1:]:
      x, img = block(x, img)
    x = self.epilogue(x, img)
    if c is None or not self.c_dim:
      return x
    return jnp.sum(x * self.mapping(c), axis=1, keepdims=True) / math.sqrt(self.label_features)

  def mapping(self, c: jax.Array) -> jax.Array:
    """Labels (N, c_dim) to what the epilogue is projected on, (N, label_features)."""
    return self._mapping(None, c)


def discriminator_layer_order(module: Discriminator) -> list[str]:
  """Names of the convolutions above 4x4 in order of creation ("b64.fromrgb", ...): freezing starts from the first."""
  order = []
  for r in resolutions(module.img_resolution)[:0:-1]:
    from_image = ["fromrgb"] if module.architecture == "skip" or r == module.img_resolution else []
    names = [*from_image, "conv0", "conv1", *(["skip"] if module.architecture == "resnet" else [])]
    order += [f"b{r}.{name}" for name in names]
  return order

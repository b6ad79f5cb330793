"""Sizes that follow from a network's options."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxtalk.core import InputError

ARCHITECTURES = ("skip", "resnet", "orig")


def resolutions(img_resolution: int) -> list[int]:
  """4, 8, ... up to the image.

  Raises:
    InputError: not a power of two, or below 4.
  """
  if img_resolution < 4 or img_resolution & (img_resolution - 1):
    raise InputError(f"img_resolution must be a power of two and at least 4, not {img_resolution}")
  return [1 << i for i in range(2, img_resolution.bit_length())]


def features_at(resolution: int, channel_base: int, channel_max: int) -> int:
  """Channels of the block at a resolution."""
  return min(channel_base // resolution, channel_max)


def block_dtype(resolution: int, img_resolution: int, num_half_res: int, dtype: Any) -> Any:
  """``dtype`` in the top ``num_half_res`` resolutions from 8 up, else float32."""
  lowest = max((img_resolution << 1) >> num_half_res, 8)
  return dtype if resolution >= lowest else jnp.float32


def check_architecture(architecture: str) -> None:
  """Raises `InputError` unless a network can be built this way."""
  if architecture not in ARCHITECTURES:
    raise InputError(f"architecture is {', '.join(ARCHITECTURES)}, not {architecture!r}")

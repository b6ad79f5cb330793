"""Pictures on their way into a network: checked, and in batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxtalk.core import InputError


def check_images(images: np.ndarray) -> np.ndarray:
  """(N, H, W, 3) uint8; grey pictures get three channels. InputError for anything else."""
  x = np.asarray(images)
  if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.dtype != np.uint8 or not x.size:
    raise InputError(f"pictures are {x.shape} {x.dtype}: expected (N, H, W, 3 or 1) uint8 and at least one")
  return np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x


def in_batches(function: Callable[[np.ndarray], Any], images: np.ndarray, size: int) -> np.ndarray:
  """``function`` of all pictures, ``size`` at a time; the last batch is filled up, so that one program serves all."""
  x = check_images(images)
  return np.concatenate([np.asarray(function(batch))[:count] for batch, count in _filled(x, size)])


def _filled(x: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
  for start in range(0, len(x), size):
    part = x[start : start + size]
    yield np.pad(part, ((0, size - len(part)), *[(0, 0)] * (x.ndim - 1)), mode="edge"), len(part)

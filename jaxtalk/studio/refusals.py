"""What no renderer of the studio's heads can draw."""

from __future__ import annotations

import numpy as np

from jaxtalk.core import InputError, Motion
from jaxtalk.motion.spaces import ARKIT

SIZES = range(32, 2050, 2)  # pixels of a picture's side; video wants them even


def arkit_frames(motion: Motion, who: str) -> np.ndarray:
  """(T, 61) float32 frames of a motion; InputError if it is of another space or not finite, ``who`` says that."""
  if motion.space.channels != ARKIT.channels:
    raise InputError(f"{who} moves by {ARKIT.name!r}, not by motion space {motion.space.name!r}")
  frames = np.asarray(motion.values, np.float32)
  if not np.isfinite(frames).all():
    raise InputError("motion has NaN or infinite values; nothing was rendered")
  return frames


def check_size(size: int) -> None:
  """Raises `InputError` unless pictures can have this size."""
  if size not in SIZES:
    raise InputError(f"size {size} must be even and between {SIZES[0]} and {SIZES[-1]}")

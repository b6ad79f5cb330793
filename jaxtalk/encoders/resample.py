"""Features from one frame rate to another, exactly.

Where an output frame lies between two input frames is a ratio of whole numbers, so it is computed in whole numbers:
nothing drifts in any length, at 30000/1001 fps neither. The rules are those that published systems use:

  "corners"  linear; first and last frames lie on each other (``align_corners``): FaceFormer, EmoTalk, SAiD, UniTalker
  "centres"  linear; the two rows of frames cover the same span (not ``align_corners``): DiffPoseTalk, from 2 L to L
  "nearest"  the frame at or before the same share of the length, not blended: KeyFace
  "area"     the mean of all frames that an output frame touches (adaptive average pooling): ARTalk's scales

They only know the two lengths. `at_motion_rate` knows time: it reads features at the middles of motion frames, so that
the offset of a front end's window and a clip's rounded length shift nothing; use it where no checkpoint fixes the rule.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError

RULES = ("corners", "centres", "nearest", "area")


def motion_frames(samples: int, sample_rate: int, fps: Fraction | int, rounding: str = "nearest") -> int:
  """Motion frames of a waveform, exactly.

  Args:
    samples: length of the waveform.
    sample_rate: Hz.
    fps: of the motion.
    rounding: "nearest" (halves to even; as our animators do), "down" (SAiD, FaceFormer) or "up".
  """
  exact = Fraction(samples) * Fraction(fps) / sample_rate
  if rounding == "nearest":
    return round(exact)
  if rounding not in ("down", "up"):
    raise InputError(f"rounding is {rounding!r}, not 'nearest', 'down' or 'up'")
  return exact.__floor__() if rounding == "down" else exact.__ceil__()


def resample(
  x: jax.Array,
  frames: int,
  rule: str,
  *,
  lengths: jax.Array | None = None,
  frame_lengths: jax.Array | None = None,
) -> jax.Array:
  """Features (B, S, D) to (B, frames, D).

  Args:
    x: features.
    frames: of the result.
    rule: one of `RULES`.
    lengths, frame_lengths: (B,) int, in a padded batch: valid frames of ``x`` and of the result; row b of the result is
      then that of its valid part alone, and what lies past ``frame_lengths[b]`` is without meaning. Not for "area".

  Raises:
    InputError: an unknown rule, no frames, only one of the two lengths, or a batch too long for 32 bits.
  """
  if rule not in RULES:
    raise InputError(f"rule of resampling is {rule!r}, not one of {', '.join(RULES)}")
  if frames < 1 or x.shape[1] < 1:
    raise InputError(f"{x.shape[1]} frames cannot be resampled to {frames}")
  if (lengths is None) != (frame_lengths is None):
    raise InputError("lengths and frame_lengths go together")
  if lengths is None or frame_lengths is None:
    index, weight = _area(x.shape[1], frames) if rule == "area" else _taps(x.shape[1], frames, rule)
    return _blend(x, jnp.asarray(index), jnp.asarray(weight))
  if rule == "area":
    raise InputError("rule 'area' does not know padded batches; resample their rows one by one")
  if 2 * frames * x.shape[1] >= 2**31:
    raise InputError(f"{x.shape[1]} to {frames} frames with lengths is too long; resample the rows one by one")
  index, weight = jax.vmap(functools.partial(_linear, jnp.arange(frames, dtype=jnp.int32), rule=rule))(
    lengths.astype(jnp.int32), frame_lengths.astype(jnp.int32)
  )
  return jax.vmap(lambda row, i, w: _blend(row[None], i, w)[0])(x, index, weight)


def at_motion_rate(
  x: jax.Array,
  frames: int,
  fps: Fraction | int,
  *,
  sample_rate: int = 16_000,
  hop: int = 320,
  reach: int = 400,
  lengths: jax.Array | None = None,
) -> jax.Array:
  """Features (B, S, D) read linearly at the middles of motion frames: (B, frames, D).

  Feature k belongs to the middle of what its front end sees, sample ``k * hop + reach / 2``; motion frame i to the time
  ``(i + 1/2) / fps``. Before the first and after the last feature they stay as they are.

  Args:
    x: features.
    frames: of the result, e.g. from `motion_frames`.
    fps: of the motion.
    sample_rate, hop, reach: of the front end, in Hz and samples; see `SpeechConfig`.
    lengths: (B,) int valid frames of ``x`` in a padded batch.
  """
  fps = Fraction(fps)
  middles = (2 * np.arange(frames, dtype=np.int64) + 1) * sample_rate * fps.denominator - reach * fps.numerator
  step = 2 * fps.numerator * hop
  left = np.maximum(middles, 0) // step
  weight = ((np.maximum(middles, 0) - left * step) / step).astype(np.float32)
  last = np.full((x.shape[0], 1), x.shape[1] - 1) if lengths is None else jnp.maximum(lengths[:, None] - 1, 0)
  pairs = jnp.asarray(np.stack([left, left + 1], axis=-1), jnp.int32)
  index = jnp.minimum(pairs[None], jnp.asarray(last, jnp.int32)[:, :, None])
  weights = jnp.asarray(np.stack([1 - weight, weight], axis=-1))
  return jax.vmap(lambda row, i: _blend(row[None], i, weights)[0])(x, index)


def _linear(i: Any, source: Any, target: Any, rule: str) -> tuple[Any, Any]:
  """Index (T, 2) and weight (T, 2) of the frames that outputs ``i`` (T,) blend; lengths may be traced numbers."""
  xp = np if isinstance(i, np.ndarray) else jnp
  if rule == "corners":
    above, below = i * (source - 1), xp.maximum(target - 1, 1)
  elif rule == "centres":
    above, below = xp.maximum((2 * i + 1) * source - target, 0), 2 * xp.maximum(target, 1)
  else:
    above, below = i * source, xp.maximum(target, 1)
  left = above // below
  weight = (above - left * below) / below if rule != "nearest" else xp.zeros(i.shape)
  index = xp.clip(xp.stack([left, left + 1], axis=-1), 0, xp.maximum(source - 1, 0))
  return index, xp.stack([1 - weight, weight], axis=-1).astype(np.float32)


def _taps(source: int, target: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
  return _linear(np.arange(target, dtype=np.int64), source, target, rule)


def _area(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
  i = np.arange(target, dtype=np.int64)
  first, end = i * source // target, -((-(i + 1) * source) // target)
  tap = np.arange((end - first).max())
  index = np.minimum(first[:, None] + tap[None, :], source - 1)
  inside = tap[None, :] < (end - first)[:, None]
  return index, (inside / (end - first)[:, None]).astype(np.float32)


def _blend(x: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
  """Sums of frames of (B, S, D) at index (T, K) with weight (T, K): (B, T, D)."""
  weight = weight.astype(x.dtype)
  parts = [x[:, index[:, k]] * weight[None, :, k, None] for k in range(index.shape[1])]
  return functools.reduce(jnp.add, parts)

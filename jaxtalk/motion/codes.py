"""Motion codes: the house's motion space in coordinates that a network can hit.

In ARKit weights a closed mouth is ``jawOpen`` and ``mouthClose`` cancelling each other: two channels that are each a
little wrong leave the lips open. Here the lip gap is a channel of its own, as its square root, so that errors near zero
shrink when it is squared again. The eight eyeLook weights follow from the eyes' angles and are left out; the eyes' two
angles are those of the gaze in the world, which stays where it is while the head moves. ``decode`` puts it all back.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.core import InputError, Motion
from jaxtalk.motion import mouth, spaces
from jaxtalk.motion.spaces import ARKIT

_WEIGHTS = tuple(c for c in spaces.FACE_CHANNELS if not c.startswith("eyeLook") and c != "mouthClose")
CHANNELS: tuple[str, ...] = (*_WEIGHTS, "lipGap", *spaces.HEAD_CHANNELS, "gazeYaw", "gazePitch")
GAP = CHANNELS.index("lipGap")

_COLUMNS = np.array([ARKIT.index(c) for c in _WEIGHTS])
_FACE, _HEAD, _GAZE = slice(0, len(_WEIGHTS)), slice(GAP + 1, GAP + 4), slice(GAP + 4, GAP + 6)
_JAW, _CLOSE = ARKIT.index("jawOpen"), ARKIT.index("mouthClose")
_VERGENCE = 0.02  # radians: half the angle between eyes that meet 1.5 m ahead


def encode(values: np.ndarray) -> np.ndarray:
  """(T, 61) in ``spaces.ARKIT`` to (T, 49) codes in the order of ``CHANNELS``.

  Lost are vergence, the roll of the eyes and eyeLook weights that contradict the eyes' angles.
  """
  values = np.asarray(values, np.float64)
  if values.ndim != 2 or values.shape[1] != len(ARKIT):
    raise InputError(f"a motion code is made of (T, {len(ARKIT)}) ARKit channels, not {values.shape}")
  gap = np.sqrt(np.maximum(mouth.lip_gap(values), 0.0))
  head = values[:, spaces.HEAD]
  gaze = (values[:, spaces.LEFT_EYE] + values[:, spaces.RIGHT_EYE])[:, :2] / 2.0 + head[:, :2]
  return np.concatenate([values[:, _COLUMNS], gap[:, None], head, gaze], axis=1)


def decode(codes: np.ndarray) -> np.ndarray:
  """(T, 49) codes to (T, 61) in ``spaces.ARKIT``; frame by frame, weights clipped to [0, 1].

  ``mouthClose`` is what leaves the code's lip gap open; where the jaw gives less than that, it opens further.
  """
  codes = np.asarray(codes, np.float64)
  if codes.ndim != 2 or codes.shape[1] != len(CHANNELS):
    raise InputError(f"motion codes have {len(CHANNELS)} channels, not {codes.shape}")
  values = np.zeros((len(codes), len(ARKIT)))
  values[:, _COLUMNS] = np.clip(codes[:, _FACE], 0.0, 1.0)
  surplus = mouth.lip_gap(values) - np.square(np.maximum(codes[:, GAP], 0.0))
  values[:, _CLOSE] = np.clip(surplus, 0.0, 1.0)
  values[:, _JAW] = np.clip(values[:, _JAW] + np.maximum(-surplus, 0.0), 0.0, 1.0)
  values[:, spaces.HEAD] = head = codes[:, _HEAD]
  eyes = np.clip(codes[:, _GAZE] - head[:, :2], *_eye_limits())
  left, right = eyes - [_VERGENCE, 0.0], eyes + [_VERGENCE, 0.0]
  values[:, spaces.LEFT_EYE][:, :2], values[:, spaces.RIGHT_EYE][:, :2] = left, right
  for name, weight in spaces.eye_look_weights(left, right).items():
    values[:, ARKIT.index(name)] = weight
  return values.astype(np.float32)


def from_motion(motion: Motion) -> np.ndarray:
  """(T, 49) codes of a motion in ``spaces.ARKIT``; InputError for another space or numbers that are not finite."""
  if motion.space.channels != ARKIT.channels:
    raise InputError(f"motion in space {motion.space.name!r} has no codes: convert it to {ARKIT.name!r} first")
  if not np.isfinite(motion.values).all():
    raise InputError("the motion has values that are NaN or infinite")
  return encode(motion.values)


def _eye_limits() -> tuple[np.ndarray, np.ndarray]:
  from jaxtalk.motion import eyes

  limit = np.array([eyes.MAX_EYE_YAW, eyes.MAX_EYE_PITCH])
  return -limit, limit

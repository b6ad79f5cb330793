"""Recordings of any length through a speech encoder, with few compiled shapes and bounded memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxtalk.core import InputError
from jaxtalk.encoders.speech_config import SpeechConfig
from jaxtalk.encoders.wav2vec2 import SpeechEncoder
from jaxtalk.encoders.whisper import WhisperConfig, WhisperEncoder

Config = SpeechConfig | WhisperConfig
Encoder = SpeechEncoder | WhisperEncoder

_VARIANCE_FLOOR = 1e-7  # published: keeps silence from becoming noise


def normalised(waveform: np.ndarray) -> np.ndarray:
  """(S,) waveform to mean 0 and variance 1, float32: ``(x - mean) / sqrt(variance + 1e-7)``; silence stays silent."""
  wide = waveform.astype(np.float64)
  return ((wide - wide.mean()) / np.sqrt(wide.var() + _VARIANCE_FLOOR)).astype(np.float32)


def bucket(samples: int, config: Config) -> int:
  """The smallest of a few lengths that holds so many samples: eight for each doubling, so at most an eighth is padding.

  A function that is compiled for each length it meets then compiles a few dozen times at most. Whisper has one length.
  """
  if isinstance(config, WhisperConfig):
    return config.samples
  frames = max(config.frames(samples + config.hop - 1), 50)  # at least a second
  step = 1 << max(0, (frames - 1).bit_length() - 4)
  return (-(-frames // step) * step - 1) * config.hop + config.reach


def prepare(
  waveforms: Sequence[np.ndarray], config: Config, samples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Recordings as the batch that a speech encoder takes.

  Args:
    waveforms: (S_i,) float arrays at ``config.sample_rate``, in [-1, 1].
    config: says whether each is normalised over its own length.
    samples: length of the batch; None is the `bucket` of the longest.

  Returns:
    waveform: (B, samples) float32, zero after the end of each.
    mask: (B, samples) bool, true at samples.

  Raises:
    InputError: nothing to encode, or a recording that is no vector of finite numbers, is shorter than one frame, or
      longer than ``samples``; it is named by its index.
  """
  waves = [_checked(i, np.asarray(wave), config) for i, wave in enumerate(waveforms)]
  if not waves:
    raise InputError("there is no recording to encode")
  longest = max(len(wave) for wave in waves)
  samples = bucket(longest, config) if samples is None else samples
  if longest > samples:
    raise InputError(f"a recording of {longest} samples does not fit into a batch of {samples}")
  lengths = np.array([len(wave) for wave in waves])
  padded = [np.pad(normalised(wave) if config.normalise else wave, (0, samples - len(wave))) for wave in waves]
  return np.stack(padded), np.arange(samples)[None, :] < lengths[:, None]


def encode(
  module: Encoder,
  variables: Mapping[str, Any],
  waveforms: Sequence[np.ndarray],
  *,
  layer: int = -1,
  batch: int = 4,
  window: float | None = 20.0,
  context: float = 4.0,
) -> list[np.ndarray]:
  """Hidden states of recordings of any length, each (T_i, D) float32 with ``T_i = config.frames(S_i)``.

  Recordings longer than ``window`` are encoded in windows of one shape, so that memory is bounded; a frame then sees at
  least ``context`` seconds on either side instead of everything, and the group norm of base models a window instead of
  the recording. Shorter ones are exact.

  Args:
    module, variables: from `load_pretrained`.
    waveforms: (S_i,) float arrays at the encoder's rate, in [-1, 1]; see `prepare`.
    layer: which hidden state: 0 is the input of the first layer, -1 the output of the last.
    batch: recordings or windows that are encoded at once.
    window, context: seconds; ``window`` None never cuts.

  Raises:
    InputError: see `prepare`; a layer that is not there; a window not longer than twice its context.
  """
  config = module.config
  if not -config.layers - 1 <= layer <= config.layers:
    raise InputError(f"layer {layer} of {config.layers + 1} hidden states")
  size, margin = (math.inf, 0) if window is None else (_frames(config, window), _frames(config, context))
  if size <= 2 * margin:
    raise InputError(f"windows of {window} s must be longer than twice their context of {context} s")
  out = []
  short = [i for i, wave in enumerate(waveforms) if config.frames(len(wave)) <= size]
  states = _encode_short(module, variables, [waveforms[i] for i in short], layer, batch)
  whole = dict(zip(short, states, strict=True))
  for i, wave in enumerate(waveforms):
    wave = _checked(i, np.asarray(wave), config)
    out.append(whole[i] if i in whole else _encode_long(module, variables, wave, layer, batch, int(size), margin))
  return out


def _encode_short(
  module: Encoder,
  variables: Mapping[str, Any],
  waves: Sequence[np.ndarray],
  layer: int,
  batch: int,
) -> list[np.ndarray]:
  """Shortest first, so that those of one batch are about as long."""
  order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
  out: dict[int, np.ndarray] = {}
  for start in range(0, len(order), batch):
    group = order[start : start + batch]
    rows = [waves[i] for i in group]
    waveform, mask = prepare(rows + rows[-1:] * (_power_of_two(len(rows)) - len(rows)), module.config)
    states = np.asarray(_jitted(module, layer)(variables, waveform, mask))
    for i, row in zip(group, states, strict=False):
      out[i] = row[: module.config.frames(len(waves[i]))]
  return [out[i] for i in range(len(waves))]


def _encode_long(
  module: Encoder,
  variables: Mapping[str, Any],
  wave: np.ndarray,
  layer: int,
  batch: int,
  size: int,
  margin: int,
) -> np.ndarray:
  """In windows of ``size`` frames; all but the outermost ``margin`` frames of each are kept."""
  config = module.config
  wave = normalised(wave) if config.normalise else wave
  total, inner = config.frames(len(wave)), size - 2 * margin
  starts = [min(first, total - size) for first in range(0, total - 2 * margin, inner)]
  length = (size - 1) * config.hop + config.reach
  cut = np.stack([wave[s * config.hop :][:length] for s in starts])
  states = np.empty((total, config.width), np.float32)
  for at in range(0, len(starts), batch):
    rows = cut[at : at + batch]
    rows = np.concatenate([rows, np.repeat(rows[-1:], min(batch, len(starts)) - len(rows), axis=0)])
    found = np.asarray(_jitted(module, layer)(variables, rows, np.ones(rows.shape, bool)))
    for start, window in zip(starts[at : at + batch], found, strict=False):
      first = 0 if start == 0 else margin
      states[start + first : start + size] = window[first:size]
  return states


@functools.lru_cache(maxsize=8)
def _jitted(module: Encoder, layer: int):
  def state(variables: Mapping[str, Any], waveform: jax.Array, mask: jax.Array) -> jax.Array:
    states: Any = module.apply(variables, waveform, mask)
    return states.hidden_states[layer]

  return jax.jit(state)


def _frames(config: Config, seconds: float) -> int:
  return round(seconds * config.sample_rate / config.hop)


def _power_of_two(n: int) -> int:
  return 1 << (n - 1).bit_length()


def _checked(index: int, wave: np.ndarray, config: Config) -> np.ndarray:
  if wave.ndim != 1 or not np.issubdtype(wave.dtype, np.floating):
    raise InputError(f"recording {index} is {wave.dtype} {wave.shape}; it must be a float vector in [-1, 1]")
  if len(wave) < config.reach:
    raise InputError(f"recording {index} has {len(wave)} samples, the encoder needs {config.reach}; pad with silence")
  if not np.isfinite(wave).all():
    raise InputError(f"recording {index} has samples that are not finite numbers")
  return wave.astype(np.float32)

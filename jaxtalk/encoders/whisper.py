"""Whisper's encoder (Radford et al. 2022): waveforms to the hidden states of all layers.

  module, variables = load_pretrained("whisper-small/")
  waveform, mask = prepare([first, second], module.config)
  out = module.apply(variables, waveform, mask)

Whisper hears 30 seconds, always: what is shorter ends in silence, which the network hears as well. So a recording gives
the same in every batch, and a second costs as much as thirty. Frame k lies at sample ``320 k``: for
`resample.at_motion_rate` its ``reach`` is 0. Only the encoder is built; a checkpoint's decoder is left aside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxtalk.core import InputError
from jaxtalk.encoders.speech_config import ACTIVATIONS, checked_value
from jaxtalk.encoders.speech_front import activate
from jaxtalk.encoders.wav2vec2 import SpeechStates, check_waveform

_WINDOW, _HOP = 400, 160  # samples of the short-time spectra
_KEYS = {  # of config.json, to our fields
  "d_model": "width",
  "encoder_layers": "layers",
  "encoder_attention_heads": "heads",
  "encoder_ffn_dim": "hidden",
  "num_mel_bins": "bands",
  "max_source_positions": "positions",
  "activation_function": "activation",
  "dropout": "dropout",
  "attention_dropout": "attention_dropout",
  "activation_dropout": "hidden_dropout",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhisperConfig:
  """Sizes; the defaults are those of the smallest published model.

  Attributes:
    width, layers, heads, hidden: of the transformer; ``hidden`` is the inner width of the feed-forward part.
    bands: mel bands, 80 or (large-v3) 128.
    positions: frames that the network takes, 1500 for 30 s.
    activation: of the feed-forward part.
    dropout, attention_dropout, hidden_dropout: rates while training.
  """

  width: int = 384
  layers: int = 4
  heads: int = 6
  hidden: int = 1536
  bands: int = 80
  positions: int = 1500
  activation: str = "gelu"
  dropout: float = 0.0
  attention_dropout: float = 0.0
  hidden_dropout: float = 0.0
  sample_rate: int = dataclasses.field(default=16_000, init=False)
  normalise: bool = dataclasses.field(default=False, init=False)
  hop: int = dataclasses.field(default=2 * _HOP, init=False)
  reach: int = dataclasses.field(default=_HOP, init=False)

  def __post_init__(self):
    if min(self.width, self.layers, self.heads, self.hidden, self.bands, self.positions) < 1:
      raise InputError("sizes of Whisper's encoder must be positive")
    if self.width % self.heads or self.width % 2:
      raise InputError(f"d_model {self.width} is not even or no multiple of encoder_attention_heads {self.heads}")
    if self.activation not in ACTIVATIONS:
      raise InputError(f"activation {self.activation!r} is not one of {', '.join(ACTIVATIONS)}")

  @property
  def samples(self) -> int:
    """Samples that the network hears: 480 000."""
    return self.positions * self.hop

  def frames(self, samples: int) -> int:
    """Frames that a waveform of so many samples fills."""
    return (samples // _HOP + 1) // 2


def read_config(config: Mapping[str, Any]) -> WhisperConfig:
  """The configuration that a ``config.json`` describes; InputError names a value of the wrong kind."""
  return WhisperConfig(
    **{
      name: checked_value(key, getattr(WhisperConfig, name), config[key])
      for key, name in _KEYS.items()
      if key in config
    }
  )


class WhisperEncoder(nn.Module):
  """Whisper's encoder; see the module's docstring. Made by `pretrained.load_pretrained`.

  Attributes:
    config: sizes.
    dtype: of computation; spectra, scores, parameters and results are float32.
  """

  config: WhisperConfig
  dtype: Any = jnp.float32

  def setup(self):
    c = self.config
    self.conv1 = nn.Conv(c.width, (3,), padding=1, dtype=self.dtype)
    self.conv2 = nn.Conv(c.width, (3,), strides=2, padding=1, dtype=self.dtype)
    self.embed_positions = nn.Embed(c.positions, c.width, embedding_init=lambda *_: jnp.asarray(sinusoids(c)))
    self.layers = [Layer(c, self.dtype) for _ in range(c.layers)]
    self.layer_norm = nn.LayerNorm(1e-5, use_fast_variance=False, dtype=self.dtype)
    self.dropout = nn.Dropout(c.dropout)

  def __call__(self, waveform: jax.Array, mask: jax.Array | None = None, *, train: bool = False) -> SpeechStates:
    """All hidden states (B, positions, D) of a batch; the last is normalised.

    Args:
      waveform: (B, S) float at 16 kHz in [-1, 1], S at most ``config.samples``.
      mask: (B, S) bool, true at samples, false at padding, which is at the end of a row; None is all true.
      train: whether dropout is on; it needs ``rngs={"dropout": key}``.

    Raises:
      InputError: a waveform or a mask of another shape, too short for a frame, or longer than the network hears.
    """
    c = self.config
    check_waveform(c.reach, waveform, mask)
    if waveform.shape[1] > c.samples:
      raise InputError(f"Whisper hears {c.samples} samples at once, not {waveform.shape[1]}: cut, or take encode()")
    mask = jnp.ones(waveform.shape, bool) if mask is None else mask.astype(bool)
    x = log_mel(jnp.where(mask, waveform, 0.0), c).astype(self.dtype)
    x = nn.gelu(self.conv2(nn.gelu(self.conv1(x), approximate=False)), approximate=False)
    x = x + self.embed_positions.embedding.astype(self.dtype)[None]
    states = [self.dropout(x, deterministic=not train)]
    for layer in self.layers:
      states.append(layer(states[-1], train))
    states[-1] = self.layer_norm(states[-1])
    lengths = (mask.sum(1, dtype=jnp.int32) // _HOP + 1) // 2
    return SpeechStates([state.astype(jnp.float32) for state in states], lengths)


class Attention(nn.Module):
  """Self-attention over (B, T, D); the keys have no bias."""

  config: WhisperConfig
  dtype: Any

  def setup(self):
    width = self.config.width
    self.q_proj, self.v_proj, self.out_proj = (nn.Dense(width, dtype=self.dtype) for _ in range(3))
    self.k_proj = nn.Dense(width, use_bias=False, dtype=self.dtype)
    self.dropout = nn.Dropout(self.config.attention_dropout)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    b, t, width = x.shape
    heads = self.config.heads
    q, k, v = (part(x).reshape(b, t, heads, -1) for part in (self.q_proj, self.k_proj, self.v_proj))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32) * (width // heads) ** -0.5
    weights = self.dropout(jax.nn.softmax(scores, axis=-1), deterministic=not train).astype(self.dtype)
    return self.out_proj(jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, t, width))


class Layer(nn.Module):
  """Attention and feed-forward part, each after a norm."""

  config: WhisperConfig
  dtype: Any

  def setup(self):
    c = self.config
    self.self_attn = Attention(c, self.dtype)
    self.self_attn_layer_norm, self.final_layer_norm = (
      nn.LayerNorm(1e-5, use_fast_variance=False, dtype=self.dtype) for _ in range(2)
    )
    self.fc1, self.fc2 = nn.Dense(c.hidden, dtype=self.dtype), nn.Dense(c.width, dtype=self.dtype)
    self.dropout, self.inner_dropout = nn.Dropout(c.dropout), nn.Dropout(c.hidden_dropout)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), train), deterministic=not train)
    y = activate(self.config.activation, self.fc1(self.final_layer_norm(x)))
    y = self.fc2(self.inner_dropout(y, deterministic=not train))
    return x + self.dropout(y, deterministic=not train)


def log_mel(waveform: jax.Array, config: WhisperConfig) -> jax.Array:
  """(B, S) waveforms to (B, 2 positions, bands) float32, as published.

  Power of 25 ms Hann windows every 10 ms, mirrored at both ends, in Slaney's mel bands; its decimal logarithm, no
  lower than 8 below the clip's highest, plus 4, over 4.
  """
  x = jnp.pad(waveform.astype(jnp.float32), ((0, 0), (0, config.samples - waveform.shape[1])))
  x = jnp.pad(x, ((0, 0), (_WINDOW // 2, _WINDOW // 2)), mode="reflect")
  index = _HOP * np.arange(2 * config.positions)[:, None] + np.arange(_WINDOW)[None]  # without the last, 3001st window
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
  power = jnp.square(jnp.abs(jnp.fft.rfft(x[:, index] * jnp.asarray(hann, jnp.float32)[None, None])))
  level = jnp.log10(jnp.maximum(power @ jnp.asarray(slaney_filters(config.bands).T, jnp.float32), 1e-10))
  return (jnp.maximum(level, level.max((1, 2), keepdims=True) - 8.0) + 4.0) / 4.0


def slaney_filters(bands: int) -> np.ndarray:
  """(bands, 201) float64 triangles of unit area from 0 to 8 kHz, even on Slaney's mel scale.

  That scale is linear up to 1 kHz (3 mel in 200 Hz), and logarithmic above (27 mel for a factor of 6.4).
  """
  top = 15.0 + 27.0 * np.log(8.0) / np.log(6.4)
  mel = np.linspace(0.0, top, bands + 2)
  edges = np.where(mel < 15.0, 200.0 / 3.0 * mel, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0)))
  hz = np.linspace(0.0, 8000.0, _WINDOW // 2 + 1)
  rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
  fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
  return np.maximum(np.minimum(rise, fall), 0.0) * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def sinusoids(config: WhisperConfig) -> np.ndarray:
  """(positions, width) float32: sines, then cosines, of wavelengths from 2 pi to 20 000 pi."""
  half = config.width // 2
  rates = np.exp(-np.log(10_000.0) / max(half - 1, 1) * np.arange(half))
  angle = np.arange(config.positions)[:, None] * rates[None]
  return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)

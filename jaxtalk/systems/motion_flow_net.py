"""The network of the motion flow: speech, manner and history in, motion out in as many steps as one likes.

A diffusion transformer (adaptive layer norms, Peebles and Xie 2023, arXiv 2212.09748) over tokens of 40 ms: some of
history, whose motion is known, then those to be made. It estimates clean motion from noisy motion as a shortcut model
does (Frans et al. 2024, arXiv 2410.12557): besides the time of the flow it is told the length of the step that it is
asked for, and, as in guidance distillation (Meng et al. 2023, arXiv 2210.03142), the guidance weights.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxtalk.encoders.logmel import LogMel
from jaxtalk.motion import codes
from jaxtalk.nn.attention import attention_weights
from jaxtalk.nn.positions import sinusoid
from jaxtalk.systems.speech_motion import taps

FPS = Fraction(50)  # of motion codes
SUBFRAMES = 2  # of a token: the transformer runs at 25 tokens a second
TOKEN_WIDTH = SUBFRAMES * len(codes.CHANNELS)
SAMPLE_RATE = 16_000
FRAME_SAMPLES = 320  # 16 kHz / 50
TOKEN_SAMPLES = SUBFRAMES * FRAME_SAMPLES
FRONT_END = LogMel(sample_rate=SAMPLE_RATE, fps=FPS, per_frame=2)
GUIDED = ("audio", "manner")

# What the audio encoder is also asked for directly, so that it learns to hear from every example.
MOUTH = tuple(
  codes.CHANNELS.index(name)
  for name in ("jawOpen", "lipGap", "mouthPucker", "mouthFunnel", "mouthRollLower", "mouthStretchLeft", "tongueOut")
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
  """What motion is made for; B windows of P tokens of history and L tokens to be made.

  Attributes:
    manner: (B, M) see `motion_flow.manner_vector`.
    history: (B, P, TOKEN_WIDTH) normalised codes of the tokens before.
    known: (B, P) bool, false where there is no history (the clip begins later).
    length: (B,) int32, how many of the L tokens there are; later ones are padding.
    keep: condition of ``GUIDED`` -> (B,) bool, false to leave it out.
  """

  manner: jax.Array
  history: jax.Array
  known: jax.Array
  length: jax.Array
  keep: dict[str, jax.Array]


class AudioEncoder(nn.Module):
  """Features (B, T, F) at 50 a second to (B, T, width); dilated convolutions as in `speech_motion`."""

  width: int
  dilations: tuple[int, ...]

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    x = nn.Dense(self.width, name="in")(features)
    for i, dilation in enumerate(self.dilations):
      y = nn.gelu(nn.Dense(self.width, name=f"time_{i}")(taps(nn.LayerNorm(name=f"norm_{i}")(x), dilation)))
      x = x + nn.Dense(self.width, name=f"mix_{i}")(y)
    return nn.LayerNorm(name="norm_out")(x)


class Block(nn.Module):
  """Self-attention with learned relative positions, then a perceptron; both modulated by ``condition`` (B, C)."""

  width: int
  heads: int

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array, mask: jax.Array) -> jax.Array:
    """(B, N, width); mask (B, N) true for tokens that exist."""
    parts = nn.Dense(6 * self.width, kernel_init=nn.initializers.zeros, name="modulate")(nn.silu(condition))
    shift_a, scale_a, gate_a, shift_b, scale_b, gate_b = jnp.split(parts[:, None], 6, axis=-1)
    y = _norm(x) * (1.0 + scale_a) + shift_a
    x = x + gate_a * self._attend(y, mask)
    y = _norm(x) * (1.0 + scale_b) + shift_b
    y = nn.Dense(self.width, name="down")(nn.gelu(nn.Dense(4 * self.width, name="up")(y)))
    return x + gate_b * y

  def _attend(self, x: jax.Array, mask: jax.Array) -> jax.Array:
    batch, length, _ = x.shape
    split = nn.Dense(3 * self.width, name="qkv")(x).reshape(batch, length, 3, self.heads, self.width // self.heads)
    query, key, value = split[:, :, 0], split[:, :, 1], split[:, :, 2]
    query, key = (_turn(y) for y in (query, key))
    weights = attention_weights(query, key, jnp.broadcast_to(mask[:, None], (batch, length, length)))
    y = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape)
    return nn.Dense(self.width, name="out")(y)


class MotionFlowNet(nn.Module):
  """Estimates clean motion; see the module's docstring.

  Attributes:
    width: channels of the transformer.
    layers: of the transformer.
    heads: of its attention.
    audio_width: channels of the audio encoder.
    audio_dilations: of its blocks, in frames of 20 ms.
  """

  width: int = 128
  layers: int = 5
  heads: int = 4
  audio_width: int = 96
  audio_dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)

  def setup(self):
    self.encoder = AudioEncoder(self.audio_width, self.audio_dilations)
    self.hear_mouth = nn.Dense(len(MOUTH))
    self.audio_in = nn.Dense(self.width)
    self.motion_in = nn.Dense(self.width)
    self.no_audio = self.param("no_audio", nn.initializers.normal(0.02), (self.width,))
    self.no_manner = self.param("no_manner", nn.initializers.normal(0.02), (self.width,))
    self.roles = self.param("roles", nn.initializers.normal(0.02), (2, self.width))
    self.manner_in = nn.Sequential([nn.Dense(self.width), nn.silu, nn.Dense(self.width)])
    self.flow_in = nn.Sequential([nn.Dense(self.width), nn.silu, nn.Dense(self.width)])
    self.blocks = [Block(self.width, self.heads, name=f"block_{i}") for i in range(self.layers)]
    self.last_modulate = nn.Dense(2 * self.width, kernel_init=nn.initializers.zeros)
    self.motion_out = nn.Dense(TOKEN_WIDTH)

  def __call__(self, x: jax.Array, flow: jax.Array, conditions: Conditions, features: jax.Array):
    """Everything once: the estimate (B, L, TOKEN_WIDTH) of `estimate`, and what `mouth` says."""
    heard = self.listen(features)
    return self.estimate(x, flow, conditions, heard), self.mouth(heard)

  def listen(self, features: jax.Array) -> jax.Array:
    """Features (B, 2 N, F) to heard speech (B, N, 2 * audio_width); the same for all steps of a sampler."""
    heard = self.encoder(features)
    return heard.reshape(heard.shape[0], -1, SUBFRAMES * self.audio_width)

  def mouth(self, heard: jax.Array) -> jax.Array:
    """What the audio alone says of ``MOUTH``: (B, N, 2 * audio_width) to (B, 2 N, 7) normalised codes."""
    return self.hear_mouth(heard.reshape(heard.shape[0], -1, self.audio_width))

  def estimate(self, x: jax.Array, flow: jax.Array, conditions: Conditions, heard: jax.Array) -> jax.Array:
    """Clean codes, as the step that is asked for wants them.

    Args:
      x: (B, L, TOKEN_WIDTH) noisy codes.
      flow: (B, 4) time from 1 (noise) to 0, length of the step (0: infinitely short), guidance weights of ``GUIDED``.
      conditions: see there.
      heard: (B, P + L, 2 * audio_width) from `listen`.

    Returns:
      (B, L, TOKEN_WIDTH) x0, such that ``(x - x0) / time`` is the mean velocity over the step.
    """
    c, past = conditions, conditions.history.shape[1]
    audio = jnp.where(c.keep["audio"][:, None, None], self.audio_in(heard), self.no_audio[None, None])
    roles = jnp.repeat(self.roles, np.array([past, x.shape[1]]), axis=0, total_repeat_length=past + x.shape[1])
    tokens = self.motion_in(jnp.concatenate([c.history, x], axis=1)) + audio + roles[None]
    manner = jnp.where(c.keep["manner"][:, None], self.manner_in(c.manner), self.no_manner[None])
    told = self.flow_in(_waves(flow, self.width)) + manner
    mask = jnp.concatenate(
      [
        c.known,
        jnp.arange(x.shape[1])[None] < c.length[:, None],
      ],
      axis=1,
    )
    for block in self.blocks:
      tokens = block(tokens, told, mask)
    shift, scale = jnp.split(self.last_modulate(nn.silu(told))[:, None], 2, axis=-1)
    return self.motion_out(_norm(tokens[:, past:]) * (1.0 + scale) + shift)


def _waves(flow: jax.Array, width: int) -> jax.Array:
  """(B, 4) time, step and guidance weights to sinusoids (B, width), a quarter for each."""
  scales = (1000.0, 1000.0, 100.0, 100.0)
  return jnp.concatenate([sinusoid(flow[:, i] * scale, width // 4) for i, scale in enumerate(scales)], axis=-1)


def _norm(x: jax.Array) -> jax.Array:
  """Layer norm without parameters: scale and shift come from the condition."""
  mean = x.mean(-1, keepdims=True)
  return (x - mean) * jax.lax.rsqrt(jnp.square(x - mean).mean(-1, keepdims=True) + 1e-6)


def _turn(x: jax.Array) -> jax.Array:
  """Rotary positions (Su et al. 2021, arXiv 2104.09864) on (B, N, H, D)."""
  length, half = x.shape[1], x.shape[3] // 2
  angles = np.arange(length)[:, None] * (100.0 ** (-np.arange(half) / half))[None]
  cos, sin = (jnp.asarray(f(angles), x.dtype)[None, :, None] for f in (np.cos, np.sin))
  a, b = x[..., :half], x[..., half:]
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

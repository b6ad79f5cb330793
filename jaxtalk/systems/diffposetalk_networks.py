"""DiffPoseTalk's two networks: the motion denoiser and the style encoder (Sun et al. 2024, arXiv 2310.00434).

Letters: N clips, L frames of the window, P frames before it, d motion channels, F width of audio features, S width of
a style vector. Motion is normalised, see `diffposetalk_motion`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxtalk.core import InputError
from jaxtalk.nn.aligned import AlignedLayer, Heard
from jaxtalk.nn.attention import alignment_mask
from jaxtalk.nn.positions import sinusoid
from jaxtalk.nn.transformer import PostNormLayer

Positions = Literal["learned", "sinusoid", "shared"]

SHAPE_WIDTH = 100


class Denoiser(nn.Module):
  """Clean motion from noisy motion, speech, face shape, style and the motion before.

  A transformer over one person token (shape, style and diffusion time), P previous and L noisy frames, which sees the
  speech through an alignment mask: frame i sees the audio of frame i, or a few around it; the person token sees all.

  Attributes:
    motion_width: d.
    style_width: S.
    audio_width: of the speech encoder's states, which `map_audio` brings to ``width``.
    width: of all tokens; F is the same.
    heads: of every attention.
    layers: number of layers.
    mlp_ratio: width inside the perceptrons over ``width``.
    frames: L, the largest.
    previous: P.
    align_width: 1 for a diagonal mask; w adds ``w - 1`` neighbours on either side.
    positions: "learned"; "sinusoid" by place; "shared" adds one row of the sinusoid, that of the number of tokens, to
      all of them, which is what the official code computes (an indexing slip) and its weights expect.
    indicator: whether every motion token carries a channel that says if the frame counts.
    dropout: in training.
    shortcut: with ``align_width`` 1 a frame sees one frame of speech, and its cross-attention is a projection of that;
      False computes the same numbers through the mask, as the official code does. See `nn.aligned`.
  """

  motion_width: int = 54
  style_width: int = 128
  audio_width: int = 768
  width: int = 512
  heads: int = 8
  layers: int = 8
  mlp_ratio: int = 4
  frames: int = 100
  previous: int = 10
  align_width: int = 1
  positions: Positions = "learned"
  indicator: bool = True
  dropout: float = 0.1
  shortcut: bool = True

  def setup(self):
    small = nn.initializers.normal(1.0)
    self.audio_map = nn.Dense(self.width)
    self.person = nn.Dense(self.width)
    self.motion = nn.Dense(self.width)
    self.time_in, self.time_out = nn.Dense(self.width), nn.Dense(self.width)
    self.blocks = [self._layer(f"layer_{i}") for i in range(self.layers)]
    self.head_in, self.head_out = nn.Dense(self.width // 2), nn.Dense(self.motion_width)
    self.start_motion = self.param("start_motion", small, (self.previous, self.motion_width))
    self.start_audio = self.param("start_audio", small, (self.previous, self.width))
    self.null_style = self.param("null_style", small, (self.style_width,))
    self.null_audio = self.param("null_audio", small, (self.width,))
    if self.positions == "learned":
      tokens = 1 + self.previous + self.frames
      self.place = self.param("place", nn.initializers.normal(0.02), (tokens, self.width))

  def __call__(
    self,
    noisy_motion: jax.Array,
    audio: jax.Array | None,
    shape: jax.Array,
    style: jax.Array | None,
    prev_motion: jax.Array | None,
    prev_audio: jax.Array | None,
    t: jax.Array,
    indicator: jax.Array | None,
    *,
    keep: Mapping[str, jax.Array] | None = None,
    heard: Sequence[Heard | jax.Array] | None = None,
    deterministic: bool = True,
  ) -> jax.Array:
    """Estimate of the clean motion.

    Args:
      noisy_motion: (N, L, d).
      audio: (N, L, F) from `map_audio`; None is the learned null condition.
      shape: (N, 100), normalised.
      style: (N, S); None is the learned null condition.
      prev_motion: (N, P, d); None is the learned start of a recording.
      prev_audio: (N, P, F); None is the learned start.
      t: (N,) diffusion time, 0 is clean.
      indicator: (N, L), 1 where a frame counts and 0 in padding; None is all ones.
      keep: "audio" and "style" to (N,) bool; false puts the null condition in place of that clip's.
      heard: from `hear`, so that it is computed once for many calls; ``audio`` and ``prev_audio`` are not read then.
      deterministic: false drops activations, drawn from the rng "dropout".

    Returns:
      (N, P + L, d): the previous frames, then those of the window.

    Raises:
      InputError: a width or length that does not fit the network; it is named.
    """
    n, length, _ = noisy_motion.shape
    self._check(
      n,
      length,
      noisy_motion=(noisy_motion, length, self.motion_width),
      prev_motion=(prev_motion, self.previous, self.motion_width),
      shape=(shape, 0, SHAPE_WIDTH),
      style=(style, 0, self.style_width),
    )
    style = _choose(style, _rows(self.null_style, n), (keep or {}).get("style"))
    tokens = self._tokens(noisy_motion, shape, style, prev_motion, t, indicator)
    seen = alignment_mask(self.previous + length, self.previous + length, self.align_width, leading=1)
    for block, speech in zip(self.blocks, heard or self.hear(n, length, audio, prev_audio, keep), strict=True):
      masks = {} if isinstance(speech, Heard) else {"memory_mask": seen}
      tokens = block(tokens, speech, **masks, deterministic=deterministic)
    return self.head_out(nn.gelu(self.head_in(tokens[:, 1:]), approximate=False))

  def hear(
    self,
    n: int,
    length: int,
    audio: jax.Array | None,
    prev_audio: jax.Array | None,
    keep: Mapping[str, jax.Array] | None = None,
  ) -> list[Heard | jax.Array]:
    """What each layer takes from the speech of ``n`` windows of ``length`` frames; arguments as above."""
    self._check(n, length, audio=(audio, length, self.width), prev_audio=(prev_audio, self.previous, self.width))
    null = jnp.repeat(_rows(self.null_audio[None], n), length, axis=1)
    audio = _choose(audio, null, (keep or {}).get("audio"))
    memory = jnp.concatenate([_rows(self.start_audio, n) if prev_audio is None else prev_audio, audio], axis=1)
    return [block.hear(memory) if isinstance(block, AlignedLayer) else memory for block in self.blocks]

  def map_audio(self, states: jax.Array) -> jax.Array:
    """States of the speech encoder at the motion rate (N, T, audio_width) to audio features (N, T, F)."""
    return self.audio_map(states)

  def time_embedding(self, t: jax.Array) -> jax.Array:
    """(N,) diffusion times to (N, width)."""
    return self.time_out(nn.gelu(self.time_in(sinusoid(t, self.width)), approximate=False))

  def initialise(self, n: int = 1) -> jax.Array:
    """Touches every parameter, for ``module.init(rng, method="initialise")``."""
    self.map_audio(jnp.zeros((n, 1, self.audio_width)))
    motion = jnp.zeros((n, self.frames, self.motion_width))
    shape = jnp.zeros((n, SHAPE_WIDTH))
    return self(motion, None, shape, None, None, None, jnp.ones((n,), jnp.int32), None)

  def _layer(self, name: str) -> Any:
    hidden = self.mlp_ratio * self.width
    if self.shortcut and self.align_width == 1:
      return AlignedLayer(self.width, self.heads, hidden, self.dropout, name=name)
    return PostNormLayer(self.heads, hidden, self.dropout, name=name)

  def _tokens(self, noisy_motion, shape, style, prev_motion, t, indicator):
    """(N, 1 + P + L, width)."""
    n, length, _ = noisy_motion.shape
    person = self.person(jnp.concatenate([shape, style], axis=-1)) + self.time_embedding(t)
    before = _rows(self.start_motion, n) if prev_motion is None else prev_motion
    motion = jnp.concatenate([before, noisy_motion], axis=1)
    if self.indicator:
      counts = jnp.ones((n, length)) if indicator is None else indicator
      counts = jnp.pad(counts, ((0, 0), (self.previous, 0)))  # the official network tells previous frames as 0
      motion = jnp.concatenate([motion, counts[..., None].astype(motion.dtype)], axis=-1)
    tokens = jnp.concatenate([person[:, None], self.motion(motion)], axis=1)
    if self.positions == "learned":
      return tokens + self.place[None, : tokens.shape[1]]
    return tokens + sinusoidal_rows(tokens.shape[1], self.width, shared=self.positions == "shared")

  def _check(self, n: int, length: int, **given: tuple[jax.Array | None, int, int]) -> None:
    """Each argument is given with its frames (0 is no such axis) and its width."""
    if length > self.frames:
      raise InputError(f"a window of {length} frames is too long: this denoiser takes {self.frames}")
    for name, (x, frames, width) in given.items():
      wanted = (n, frames, width) if frames else (n, width)
      if x is not None and x.shape != wanted:
        raise InputError(f"{name} is {x.shape}, but this denoiser takes {wanted}")


class StyleEncoder(nn.Module):
  """How somebody speaks, from a clip of motion: a transformer whose result is averaged over time.

  Attributes:
    motion_width: d.
    width: of tokens and of the style vector.
    heads: of every attention.
    layers: number of layers.
    mlp_ratio: width inside the perceptrons over ``width``.
    positions: "shared" as the official weights expect (the vector then does not depend on the order of frames), or
      "sinusoid".
    dropout: in training.
  """

  motion_width: int = 54
  width: int = 128
  heads: int = 4
  layers: int = 4
  mlp_ratio: int = 4
  positions: Positions = "shared"
  dropout: float = 0.1

  @nn.compact
  def __call__(self, motion: jax.Array, *, deterministic: bool = True) -> jax.Array:
    """(N, T, d) normalised motion of any length to (N, width)."""
    if motion.ndim != 3 or motion.shape[-1] != self.motion_width:
      raise InputError(f"motion is {motion.shape}, but this style encoder takes (N, T, {self.motion_width})")
    x = nn.Dense(self.width, name="motion")(motion)
    x = x + sinusoidal_rows(x.shape[1], self.width, shared=self.positions == "shared")
    for i in range(self.layers):
      layer = PostNormLayer(self.heads, self.mlp_ratio * self.width, self.dropout, name=f"layer_{i}")
      x = layer(x, deterministic=deterministic)
    return x.mean(1)


def sinusoidal_rows(length: int, width: int, *, shared: bool) -> jax.Array:
  """(1, length, width) sinusoids of places 0 to length - 1; ``shared`` is row ``length`` alone, (1, 1, width)."""
  return sinusoid(jnp.array([length]) if shared else jnp.arange(length), width)[None]


def _choose(given: jax.Array | None, null: jax.Array, keep: jax.Array | None) -> jax.Array:
  """A condition, or the null one where there is none or where ``keep`` (N,) is false."""
  if given is None or keep is None:
    return null if given is None else given
  return jnp.where(keep.reshape(-1, *[1] * (null.ndim - 1)), given, null)


def _rows(learned: jax.Array, n: int) -> jax.Array:
  """A learned array, once for each clip."""
  return jnp.broadcast_to(learned[None], (n, *learned.shape))

"""wav2vec 2.0, HuBERT and WavLM: waveforms to the hidden states of all layers.

  module, variables = load_pretrained("facebook-hubert-base-ls960/")
  waveform, mask = prepare([first, second], module.config)      # normalised and padded
  out = module.apply(variables, waveform, mask)
  out.last, out.hidden_states[6], out.frame_mask

One module serves the three families in their base form (group norm over time, norms after) and large form (layer norms,
norms before). The parameter tree keeps the published names. Float32 results equal the published models'; on a GPU that
needs ``jax.default_matmul_precision("float32")``. ``dtype=jnp.bfloat16`` computes in half the memory, with statistics,
scores and softmax still in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from jaxtalk.core import InputError
from jaxtalk.encoders.speech_config import SpeechConfig
from jaxtalk.encoders.speech_front import ConvStack, Projection, time_mask
from jaxtalk.encoders.speech_layers import Transformer

Resampler = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


@struct.dataclass
class SpeechStates:
  """What a speech encoder hears.

  Attributes:
    hidden_states: ``layers + 1`` arrays (B, T, D) float32: the input of the first layer, then the output of each.
    lengths: (B,) int32 valid frames; what lies past them is without meaning.
  """

  hidden_states: list[jax.Array]
  lengths: jax.Array

  @property
  def last(self) -> jax.Array:
    """(B, T, D) output of the last layer."""
    return self.hidden_states[-1]

  @property
  def frame_mask(self) -> jax.Array:
    """(B, T) bool, true at valid frames."""
    return time_mask(self.lengths, self.last.shape[1])


class SpeechEncoder(nn.Module):
  """A speech encoder; see the module's docstring. Made by `pretrained.load_pretrained`.

  Attributes:
    config: sizes and variant.
    dtype: of computation; parameters and results are float32.
    masked_statistics: whether a mask keeps padding out of the group norm over time, so that a waveform gives the same
      alone and in a padded batch. False is what the published base models do, in which padding leaks.
    mask_embedding: whether there is the vector ``masked_spec_embed`` that ``masked_frames`` needs.
  """

  config: SpeechConfig
  dtype: Any = jnp.float32
  masked_statistics: bool = True
  mask_embedding: bool = True

  def setup(self):
    self.feature_extractor = ConvStack(self.config, self.dtype)
    self.feature_projection = Projection(self.config, self.dtype)
    self.encoder = Transformer(self.config, self.dtype)
    if self.mask_embedding:
      self.masked_spec_embed = self.param("masked_spec_embed", nn.initializers.uniform(1.0), (self.config.width,))

  def __call__(
    self,
    waveform: jax.Array,
    mask: jax.Array | None = None,
    *,
    resample: Resampler | None = None,
    masked_frames: jax.Array | None = None,
    train: bool = False,
  ) -> SpeechStates:
    """All hidden states of a batch.

    Args:
      waveform: (B, S) float, at ``config.sample_rate`` and normalised if ``config.normalise``: see `batches.prepare`.
      mask: (B, S) bool, true at samples, false at padding, which is at the end of a row; None is all true.
      resample: called with convolution features (B, T, C) and their valid frames (B,), returns the same at another
        rate, so that the transformer runs at the motion's: ``lambda x, n: (resample(x, 60, "corners"), 0 * n + 60)``.
      masked_frames: (B, T) bool frames to hide from the transformer (SpecAugment while fine-tuning).
      train: whether dropout and layer drop are on; they need ``rngs={"dropout": key}``.

    Raises:
      InputError: a waveform or a mask of another shape, or one too short for a frame.
    """
    features, lengths = self.features(waveform, mask)
    if resample is not None:
      features, lengths = resample(features, lengths)
    return self.encode(features, lengths, masked_frames=masked_frames, train=train)

  def features(self, waveform: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Convolution features (B, T, C), before norm and projection, and valid frames (B,) int32. Errors as above."""
    check_waveform(self.config.reach, waveform, mask)
    if mask is None:
      lengths = jnp.full(waveform.shape[0], waveform.shape[1], jnp.int32)
    else:
      lengths = mask.astype(bool).sum(1, dtype=jnp.int32)
    masked = self.masked_statistics and mask is not None
    return self.feature_extractor(jnp.asarray(waveform, self.dtype), lengths, masked)

  def encode(
    self,
    features: jax.Array,
    lengths: jax.Array,
    *,
    masked_frames: jax.Array | None = None,
    train: bool = False,
  ) -> SpeechStates:
    """Hidden states of convolution features (B, T, C) with ``lengths`` (B,) valid frames; arguments as above."""
    x = self.feature_projection(features, train)
    if masked_frames is not None:
      if not self.mask_embedding:
        raise InputError("this checkpoint has no masked_spec_embed, so no frames can be hidden")
      x = jnp.where(masked_frames[:, :, None], self.masked_spec_embed.astype(x.dtype)[None, None, :], x)
    states = self.encoder(x, time_mask(lengths, x.shape[1]), train)
    return SpeechStates([state.astype(jnp.float32) for state in states], lengths)


def check_waveform(reach: int, waveform: jax.Array, mask: jax.Array | None) -> None:
  """InputError unless these are float (B, S), S at least ``reach``, and a mask of that shape or None."""
  if waveform.ndim != 2 or not jnp.issubdtype(waveform.dtype, jnp.floating):
    raise InputError(f"waveform is {waveform.dtype} {waveform.shape}; a speech encoder takes float (batch, samples)")
  if waveform.shape[1] < reach:
    raise InputError(
      f"{waveform.shape[1]} samples are too short for a speech encoder, which needs {reach} for one frame; "
      "pad with silence"
    )
  if mask is not None and mask.shape != waveform.shape:
    raise InputError(f"mask is {mask.shape}, the waveform {waveform.shape}; they must be the same")

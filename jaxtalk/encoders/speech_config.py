"""What a speech encoder of the wav2vec 2.0 family is made of, and the ``config.json`` that says so."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jaxtalk.core import InputError

FAMILIES = ("wav2vec2", "hubert", "wavlm")
ACTIVATIONS = ("gelu", "gelu_new", "relu")
_SWITCHES_UNKNOWN = {  # options of the format that would change the network in ways that are not built here
  "add_adapter": "an adapter after the transformer",
  "adapter_attn_dim": "language adapters in every layer",
  "conv_pos_batch_norm": "batch norm in place of weight norm in the positional convolution",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechConfig:
  """Sizes and variants; the defaults are those of the published base models, which config files may leave out.

  Attributes:
    family: "wav2vec2", "hubert" or "wavlm"; only WavLM has relative positions.
    width, layers, heads, hidden: of the transformer; ``hidden`` is the inner width of the feed-forward part.
    conv_widths, conv_kernels, conv_strides: of the convolutions over the waveform.
    conv_bias: whether they have biases.
    conv_norm: "group" (one norm over time in each channel of the first convolution) or "layer" (over the channels of
      every convolution).
    pre_norm: norms before attention and feed-forward, and one at the end ("stable layer norm"); else after them.
    projection_norm: whether a layer norm precedes the projection from convolutions to transformer.
    position_kernel, position_groups: of the positional convolution.
    eps: of the layer norms of projection and transformer.
    activation, conv_activation: "gelu", "gelu_new" or "relu", in the feed-forward part and in the convolutions.
    buckets, max_distance: of WavLM's relative positions, distance in frames.
    dropout, attention_dropout, hidden_dropout, projection_dropout, layer_drop: rates while training: of residual
      branches, attention probabilities, inside the feed-forward part, of the projection, of whole layers.
    sample_rate: Hz.
    normalise: whether waveforms are to be brought to mean 0 and variance 1 (some WavLM models want them as they are).
  """

  family: str
  width: int = 768
  layers: int = 12
  heads: int = 12
  hidden: int = 3072
  conv_widths: tuple[int, ...] = (512,) * 7
  conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
  conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
  conv_bias: bool = False
  conv_norm: str = "group"
  pre_norm: bool = False
  projection_norm: bool = True
  position_kernel: int = 128
  position_groups: int = 16
  eps: float = 1e-5
  activation: str = "gelu"
  conv_activation: str = "gelu"
  buckets: int = 320
  max_distance: int = 800
  dropout: float = 0.1
  attention_dropout: float = 0.1
  hidden_dropout: float = 0.1
  projection_dropout: float = 0.0
  layer_drop: float = 0.1
  sample_rate: int = 16_000
  normalise: bool = True

  def __post_init__(self):
    if self.family not in FAMILIES:
      raise InputError(f"family is {self.family!r}, not one of {', '.join(FAMILIES)}")
    if not len(self.conv_widths) == len(self.conv_kernels) == len(self.conv_strides) >= 1:
      raise InputError("conv_dim, conv_kernel and conv_stride must be lists of one length")
    sizes = (self.width, self.heads, self.hidden, self.position_kernel, *self.conv_widths, *self.conv_kernels)
    if min(*sizes, *self.conv_strides, self.position_groups, self.layers) < 1:
      raise InputError("sizes of a speech encoder must be positive")
    if self.width % self.heads or self.width % self.position_groups:
      raise InputError(
        f"hidden_size {self.width} is not a multiple of both num_attention_heads {self.heads} and "
        f"num_conv_pos_embedding_groups {self.position_groups}"
      )
    if self.conv_norm not in ("group", "layer"):
      raise InputError(f"feat_extract_norm is {self.conv_norm!r}, not 'group' or 'layer'")
    for name in (self.activation, self.conv_activation):
      if name not in ACTIVATIONS:
        raise InputError(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    if self.family == "wavlm" and (self.buckets < 4 or self.max_distance <= self.buckets // 4):
      raise InputError(f"num_buckets {self.buckets} and max_bucket_distance {self.max_distance} do not go together")

  @property
  def hop(self) -> int:
    """Samples from one frame to the next: 320 (50 frames a second) in all published models."""
    return math.prod(self.conv_strides)

  @property
  def reach(self) -> int:
    """Samples that one frame sees: 400 in all published models; frame k sees ``[k * hop, k * hop + reach)``."""
    reach = 1
    for kernel, stride in zip(reversed(self.conv_kernels), reversed(self.conv_strides), strict=True):
      reach = (reach - 1) * stride + kernel
    return reach

  def frames(self, samples: int) -> int:
    """Frames of a waveform of so many samples; 0 if it is shorter than `reach`."""
    return max(0, (samples - self.reach) // self.hop + 1)


_KEYS = {  # of config.json, to our fields
  "hidden_size": "width",
  "num_hidden_layers": "layers",
  "num_attention_heads": "heads",
  "intermediate_size": "hidden",
  "conv_dim": "conv_widths",
  "conv_kernel": "conv_kernels",
  "conv_stride": "conv_strides",
  "conv_bias": "conv_bias",
  "feat_extract_norm": "conv_norm",
  "do_stable_layer_norm": "pre_norm",
  "feat_proj_layer_norm": "projection_norm",
  "num_conv_pos_embeddings": "position_kernel",
  "num_conv_pos_embedding_groups": "position_groups",
  "layer_norm_eps": "eps",
  "hidden_act": "activation",
  "feat_extract_activation": "conv_activation",
  "num_buckets": "buckets",
  "max_bucket_distance": "max_distance",
  "hidden_dropout": "dropout",
  "attention_dropout": "attention_dropout",
  "activation_dropout": "hidden_dropout",
  "feat_proj_dropout": "projection_dropout",
  "layerdrop": "layer_drop",
}


def read_config(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> SpeechConfig:
  """The configuration that ``config.json`` and ``preprocessor_config.json`` (may be empty) describe.

  Raises:
    InputError: another architecture, an option that is not built here, or a value of the wrong kind; keys are named.
  """
  family = config.get("model_type")
  if family not in FAMILIES:
    raise InputError(f"model_type is {family!r}; this reads {', '.join(FAMILIES)}, whisper")
  for key, what in _SWITCHES_UNKNOWN.items():
    if config.get(key):
      raise InputError(f"{key} is {config[key]!r}: {what} is not supported")
  fields: dict[str, Any] = {
    name: checked_value(key, getattr(SpeechConfig, name), config[key]) for key, name in _KEYS.items() if key in config
  }
  if "sampling_rate" in preprocessor:
    fields["sample_rate"] = checked_value("sampling_rate", 16_000, preprocessor["sampling_rate"])
  if "do_normalize" in preprocessor:
    fields["normalise"] = checked_value("do_normalize", True, preprocessor["do_normalize"])
  return SpeechConfig(family=family, **fields)


def write_config(config: SpeechConfig) -> tuple[dict[str, Any], dict[str, Any]]:
  """The inverse of `read_config`: contents of ``config.json`` and ``preprocessor_config.json``."""
  values = dataclasses.asdict(config)
  keys = {key: values[name] for key, name in _KEYS.items() if config.family == "wavlm" or "bucket" not in key}
  main = {"model_type": config.family, "num_feat_extract_layers": len(config.conv_widths), **keys}
  return main, {"sampling_rate": config.sample_rate, "do_normalize": config.normalise, "feature_size": 1}


def checked_value(key: str, default: Any, value: Any) -> Any:
  """A value of config.json in the kind of our field's default: lists as tuples, whole numbers as they are.

  InputError names the key of a value of another kind.
  """
  if isinstance(default, tuple):
    if isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
      return tuple(value)
  elif isinstance(default, float):
    if isinstance(value, int | float) and not isinstance(value, bool):
      return float(value)
  elif type(value) is type(default):
    return value
  raise InputError(f"{key} is {value!r}; expected something like {default!r}")

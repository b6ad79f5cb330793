"""Speech motion: a small learned animator for recordings whose phones nobody knows.

A log-mel front end and a stack of dilated temporal convolutions (the residual form of WaveNet, van den Oord et al.
2016, without its causality) regress the mouth plan of the house's procedural animator: eleven articulator tracks and
how much lips and tuck are closed. It was taught by that animator on the built-in voice (`speech_motion_task`). Plan to
face weights, upper face, gaze, head and blinks are those of `motion.performance`, so emotion, style and age act as they
do everywhere. It is deterministic: how a mouth moves on average, not one of the ways it may move.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxtalk.core import MissingAssetError, Motion, Speech
from jaxtalk.data.spoken import at_rate
from jaxtalk.encoders.logmel import LogMel
from jaxtalk.motion import cues, curves, mouth, performance
from jaxtalk.motion.performance import Manner, MouthPlan
from jaxtalk.speech.level import normalise

OUTPUTS = (*mouth.ARTICULATORS, "lips", "tuck closed")
FPS = Fraction(50)  # of the network; motions of any rate are read from its curves
FRONT_END = LogMel(sample_rate=16_000, fps=FPS, per_frame=2)
FRAME_SAMPLES = 320  # 16 kHz / 50
WEIGHTS = Path(__file__).parent / "weights" / "speech_motion.safetensors"

_CHUNK, _CONTEXT = 512, 32  # frames; the context is longer than the network's reach, so chunks join without a seam
_SHUT = (0.25, 0.60)  # predicted closure between which lips go from "as planned" to shut; chosen on validation data


class SpeechMotionNet(nn.Module):
  """Features (B, T, F) to raw outputs (B, T, 13): tracks as they are, the two closures as logits.

  Attributes:
    width: channels.
    dilations: of the blocks, in frames; each block sees two taps on either side, ``2 * dilation`` frames away.
  """

  width: int = 96
  dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    x = nn.Dense(self.width, name="in")(features)
    for i, dilation in enumerate(self.dilations):
      y = taps(nn.LayerNorm(name=f"norm_{i}")(x), dilation)
      y = nn.gelu(nn.Dense(self.width, name=f"time_{i}")(y))
      x = x + nn.Dense(self.width, name=f"mix_{i}")(y)
    out = nn.Dense(len(OUTPUTS), kernel_init=nn.initializers.zeros, name="out")  # starts at rest
    return out(nn.LayerNorm(name="norm_out")(x))


def taps(x: jax.Array, dilation: int) -> jax.Array:
  """(B, T, C) to (B, T, 5 C): frames t - 2d, t - d, t, t + d, t + 2d; zeros outside.

  A convolution written as one matrix product, which CPUs do faster than a dilated convolution.
  """
  length, reach = x.shape[1], 2 * dilation
  padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
  return jnp.concatenate([padded[:, k * dilation : k * dilation + length] for k in range(5)], axis=-1)


def split_outputs(raw: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(..., 13) raw outputs to tracks (..., 11) and closure logits (..., 2)."""
  return raw[..., :-2], raw[..., -2:]


@dataclasses.dataclass(frozen=True)
class Curves:
  """What the network hears: ``values`` (T, 13) in the order of ``OUTPUTS`` at ``FPS``, closures in [0, 1]."""

  values: np.ndarray

  def plan(self, t: np.ndarray, articulation: float) -> MouthPlan:
    """The mouth plan at times (T,), made larger or smaller by the style's articulation."""
    grid = (np.arange(len(self.values)) + 0.5) / float(FPS)
    at = {name: np.interp(t, grid, self.values[:, i]) for i, name in enumerate(OUTPUTS)}
    lips, tuck = (curves.step(at.pop(name), _SHUT[0], _SHUT[1] - _SHUT[0]) for name in OUTPUTS[-2:])
    tracks = {name: np.maximum(track, 0.0) for name, track in at.items()}
    for name in ("gap", "jaw"):
      tracks[name] = tracks[name] * articulation
    for name in ("pucker", "funnel", "spread", "upper", "lower"):
      tracks[name] = tracks[name] * min(articulation, 1.25)
    return MouthPlan(tracks=tracks, lips=lips, tuck=tuck * (1.0 - lips))


@functools.cache
def _forward(width: int, dilations: tuple[int, ...]):
  """Jitted ``(params, waveform (1, S)) -> (_CHUNK, 13)``: one shape for all lengths of speech, compiled once."""
  net, frames = SpeechMotionNet(width=width, dilations=dilations), _CHUNK + 2 * _CONTEXT

  def forward(params: Mapping[str, Any], waveform: jax.Array) -> jax.Array:
    tracks, closed = split_outputs(jnp.asarray(net.apply({"params": params}, FRONT_END(waveform, frames))))
    values = jnp.concatenate([tracks, jax.nn.sigmoid(closed)], axis=-1)
    return values[0, _CONTEXT:-_CONTEXT]

  return jax.jit(forward)


def hear(params: Mapping[str, Any], speech: Speech, net: SpeechMotionNet) -> Curves:
  """The network's curves for one speech of any length, in chunks of ten seconds that overlap by its reach."""
  wave = normalise(at_rate(speech, FRONT_END.sample_rate), FRONT_END.sample_rate)
  frames = max(1, -(-len(wave) // FRAME_SAMPLES))
  chunks = -(-frames // _CHUNK)
  wave = np.pad(wave, (_CONTEXT * FRAME_SAMPLES, (chunks * _CHUNK + _CONTEXT) * FRAME_SAMPLES - len(wave)))
  forward = _forward(net.width, net.dilations)
  size, step = (_CHUNK + 2 * _CONTEXT) * FRAME_SAMPLES, _CHUNK * FRAME_SAMPLES
  values = [np.asarray(forward(params, wave[None, i * step : i * step + size])) for i in range(chunks)]
  return Curves(np.concatenate(values)[:frames])


class SpeechMotionAnimator(performance.OneByOne):
  """Animates recordings with the learned mouth; phones are ignored.

  Args:
    weights: a file written by `save_weights`; None is the one that ships.

  Raises:
    MissingAssetError: the file is not there.
  """

  def __init__(self, weights: Path | None = None):
    self._net, self._params = load_weights(weights or WEIGHTS)

  def animate_one(self, speech: Speech, fps: Fraction, manner: Manner) -> Motion:
    """The motion of one recording."""
    t = performance.frame_times(performance.num_frames(speech, fps), fps)
    plan = hear(self._params, speech, self._net).plan(t, manner.style.articulation)
    return performance.perform(t, plan, cues.from_audio(speech), manner, fps)


def save_weights(path: Path, params: Mapping[str, Any], net: SpeechMotionNet, facts: Mapping[str, Any]) -> None:
  """Writes parameters as float16 safetensors with the network's sizes and ``facts`` (JSON) in the header."""
  from safetensors.numpy import save_file

  arrays = {name: np.asarray(x, np.float16) for name, x in traverse_util.flatten_dict(dict(params), sep="/").items()}
  sizes = {"width": net.width, "dilations": list(net.dilations), "outputs": list(OUTPUTS)}
  path.parent.mkdir(parents=True, exist_ok=True)
  save_file(
    arrays, path, metadata={"system": "speech_motion", "net": json.dumps(sizes), "facts": json.dumps(dict(facts))}
  )


def load_weights(path: Path) -> tuple[SpeechMotionNet, dict[str, Any]]:
  """The network and its float32 parameters from a file of `save_weights`."""
  from safetensors import safe_open

  if not path.is_file():
    raise MissingAssetError(
      f"no speech-motion weights at {path}: train them with train.py, or use the animator 'audio'"
    )
  with safe_open(path, framework="numpy") as file:
    sizes = json.loads((file.metadata() or {}).get("net", "{}"))
    if sizes.get("outputs") != list(OUTPUTS):
      raise MissingAssetError(f"{path} does not hold weights of this speech-motion network: train it again")
    arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
  net = SpeechMotionNet(width=sizes["width"], dilations=tuple(sizes["dilations"]))
  return net, traverse_util.unflatten_dict(arrays, sep="/")

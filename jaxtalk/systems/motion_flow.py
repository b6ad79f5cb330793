"""The motion flow: the house's learned animator. Any voice in; face, gaze and head out, in 1 to 50 steps.

It works on motion codes (`motion.codes`) at 50 frames a second, in windows of two seconds that continue the motion
before (as DiffPoseTalk's do, Sun et al. 2024), so that clips may be of any length and speech may arrive bit by bit (see
`motion_flow_stream`). One file holds the networks, their sizes and the scale of the codes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtalk.core import EMOTIONS, InputError, MissingAssetError, MotionStyle
from jaxtalk.data.performances import STYLE_RANGES
from jaxtalk.diffusion import euler, flow_levels, sample
from jaxtalk.encoders.logmel import scaled_log
from jaxtalk.motion import codes
from jaxtalk.motion.performance import Manner
from jaxtalk.systems import motion_flow_net as net
from jaxtalk.systems.motion_flow_style import StyleReader

WEIGHTS = Path(__file__).parent / "weights" / "motion_flow.safetensors"
STEPS = (1, 2, 4, 8, 50)
PAST, LENGTH, AHEAD = 12, 58, 8  # tokens of 40 ms: history, the most to be made at once, those made only to be dropped
MANNER_WIDTH = len(STYLE_RANGES) + 1 + len(EMOTIONS) - 1

_AGES = (3.0, 60.0)
_WHITE = 0.1  # share of white noise in slow noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionFlow:
  """A trained motion flow.

  Attributes:
    net: the network.
    reader: tells the style of a motion.
    params: ``{"flow": ..., "style": ...}``, parameters of both.
    mean, scale: (49,) of the codes.
    facts: what the weights were learnt from.
  """

  net: net.MotionFlowNet
  reader: StyleReader
  params: Mapping[str, Any]
  mean: np.ndarray
  scale: np.ndarray
  facts: Mapping[str, Any]

  def normalise(self, frames: np.ndarray) -> np.ndarray:
    """(2 N, 49) codes to tokens (N, TOKEN_WIDTH) of mean 0 and deviation 1."""
    return ((frames - self.mean) / self.scale).astype(np.float32).reshape(-1, net.TOKEN_WIDTH)

  def restore(self, tokens: np.ndarray) -> np.ndarray:
    """Inverse of `normalise`."""
    return np.asarray(tokens, np.float64).reshape(-1, len(codes.CHANNELS)) * self.scale + self.mean

  def style_of(self, frames: np.ndarray) -> MotionStyle:
    """The speaking style of (T, 49) codes at 50 a second, as the style reader sees it; T of some seconds."""
    if len(frames) < 2:
      raise InputError("a style takes a motion of some seconds; this one has less than two frames")
    tokens = ((frames - self.mean) / self.scale).astype(np.float32)
    read = np.asarray(self.reader.apply({"params": self.params["style"]}, tokens[None]))[0]
    return style_from_vector(read)


def manner_vector(manner: Manner) -> np.ndarray:
  """(MANNER_WIDTH,) float32: style, age (logarithm) and emotion by intensity, each about in [-1, 1].

  Style and age beyond what was trained on count as the nearest that was.
  """
  age = np.log(np.clip(manner.age, *_AGES) / _AGES[0]) / np.log(_AGES[1] / _AGES[0]) * 2.0 - 1.0
  feels = [manner.emotion.intensity * (manner.emotion.label == label) for label in EMOTIONS if label != "neutral"]
  return np.array([*style_vector(manner.style), age, *feels], np.float32)


def style_vector(style: MotionStyle) -> np.ndarray:
  """(6,) float32, the fields of a style from -1 (least that was trained on) to 1 (most)."""
  ends = STYLE_RANGES.items()
  return np.array([np.clip(2.0 * (getattr(style, k) - a) / (b - a) - 1.0, -1.0, 1.0) for k, (a, b) in ends], np.float32)


def style_from_vector(vector: np.ndarray) -> MotionStyle:
  """Inverse of `style_vector`; what lies beyond the ends is clipped."""
  if np.shape(vector) != (len(STYLE_RANGES),):
    raise InputError(f"a style vector of the motion flow has {len(STYLE_RANGES)} numbers, not {np.shape(vector)}")
  unit = (np.clip(np.asarray(vector, np.float64), -1.0, 1.0) + 1.0) / 2.0
  return MotionStyle(**{k: float(a + u * (b - a)) for u, (k, (a, b)) in zip(unit, STYLE_RANGES.items(), strict=True)})


def features(waveform: jax.Array) -> jax.Array:
  """(B, N * TOKEN_SAMPLES) at 16 kHz to (B, 2 N, F) log-mel features."""
  frames = waveform.shape[1] // net.FRAME_SAMPLES
  power = net.FRONT_END.power(waveform, frames)
  return scaled_log(power).reshape(*power.shape[:2], -1)


def colour(white: jax.Array | np.ndarray) -> jax.Array:
  """(B, LENGTH, TOKEN_WIDTH) white noise to the noise of the flow: of variance 1, but slow where motion is slow.

  What a head does for seconds would hide in the mean of hundreds of white numbers, which few steps cannot find; noise
  that is itself slow says it in every frame (after Ge et al. 2023, arXiv 2305.10474). Lips keep white noise.
  """
  frames = white.reshape(len(white), -1, len(codes.CHANNELS))
  parts = [
    frames[..., group] if mix is None else jnp.einsum("ts,bsc->btc", mix, frames[..., group])
    for group, mix in _colours()
  ]
  order = np.argsort(np.concatenate([group for group, _ in _colours()]))
  return jnp.concatenate(parts, axis=-1)[..., order].reshape(white.shape)


@functools.cache
def _colours() -> tuple[tuple[np.ndarray, np.ndarray | None], ...]:
  """Columns of the codes and the (T, T) matrix that their noise is multiplied by, None where it stays white."""
  seconds = np.array([_noise_seconds(name) for name in codes.CHANNELS])
  t = np.arange(LENGTH * net.SUBFRAMES) / float(net.FPS)
  groups: list[tuple[np.ndarray, np.ndarray | None]] = []
  for width in np.unique(seconds):
    mix = None
    if width > 0:
      smooth = np.exp(-0.5 * ((t[:, None] - t[None]) / width) ** 2)
      smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
      mix = np.sqrt(1.0 - _WHITE**2) * smooth + _WHITE * np.eye(len(t))
      mix = (mix / np.linalg.norm(mix, axis=1, keepdims=True)).astype(np.float32)
    groups.append((np.flatnonzero(seconds == width), mix))
  return tuple(groups)


def _noise_seconds(channel: str) -> float:
  """How long the noise of a channel lasts: about as long as what the channel does."""
  if channel.startswith("head"):
    return 0.4
  if channel.startswith(("brow", "cheek", "nose", "eyeSquint", "eyeWide", "mouthSmile", "mouthFrown")):
    return 0.2
  return 0.08 if channel.startswith(("gaze", "eyeBlink")) else 0.0


def flow_input(time: jax.Array, step: jax.Array | float, weights: Sequence[jax.Array | float]) -> jax.Array:
  """(B,) times and what else the network is told, as (B, 4)."""
  columns = [jnp.broadcast_to(jnp.asarray(x, jnp.float32), time.shape) for x in (time, step, *weights)]
  return jnp.stack(columns, axis=-1)


def step_size(steps: int) -> float:
  """What the network is told for a sampler of so many steps: from 16 on the steps count as infinitely short."""
  return 1.0 / steps if steps <= 8 else 0.0


@functools.partial(jax.jit, static_argnames=("module", "steps"))
def sample_window(
  module: net.MotionFlowNet,
  params: Mapping[str, Any],
  waveform: jax.Array,
  conditions: net.Conditions,
  start: jax.Array,
  guidance: jax.Array,
  steps: int,
) -> jax.Array:
  """Motion of B windows, one ``lax.scan`` over the steps; the speech is heard once.

  Args:
    module: the network.
    params: its parameters.
    waveform: (B, (P + L) * TOKEN_SAMPLES) at 16 kHz, history included.
    conditions: manner and history.
    start: (B, L, TOKEN_WIDTH) noise, see `colour`.
    guidance: (2,) weights of ``GUIDED``; 1 is as learnt.
    steps: of Euler's method.

  Returns:
    (B, L, TOKEN_WIDTH) normalised codes.
  """
  variables = {"params": params}
  heard = module.apply(variables, features(waveform), method="listen")

  def predict(x: jax.Array, time: jax.Array) -> jax.Array:
    told = flow_input(time, step_size(steps), (guidance[0], guidance[1]))
    return jnp.asarray(module.apply(variables, x, told, conditions, heard, method="estimate"))

  levels = flow_levels(steps, shift=1.0 if step_size(steps) else 3.0)  # short steps are taken where motion is decided
  return sample(predict, euler(levels), start)


def save(path: Path, flow: MotionFlow) -> None:
  """Writes everything as one float16 safetensors file with sizes, scales and facts (JSON) in its header."""
  from safetensors.numpy import save_file

  flat = traverse_util.flatten_dict(jax.tree.map(lambda x: np.asarray(x, np.float16), dict(flow.params)), sep="/")
  header = {
    "system": "motion_flow",
    "net": json.dumps(_sizes(flow.net)),
    "reader": json.dumps(_sizes(flow.reader)),
    "channels": json.dumps(codes.CHANNELS),
    "facts": json.dumps(dict(flow.facts)),
  }
  arrays = {**flat, "mean": np.asarray(flow.mean, np.float32), "scale": np.asarray(flow.scale, np.float32)}
  path.parent.mkdir(parents=True, exist_ok=True)
  save_file(arrays, path, metadata=header)


def load(path: Path | None = None) -> MotionFlow:
  """The motion flow in a file of `save`; None is the one that ships.

  Raises:
    MissingAssetError: no such file, or of something else; tensors that are missing or left over are named.
  """
  from safetensors import SafetensorError, safe_open

  path = path or WEIGHTS
  if not path.is_file():
    raise MissingAssetError(f"no motion-flow weights at {path}: train them with configs/motion_flow.py")
  try:
    with safe_open(path, framework="numpy") as file:
      header = file.metadata() or {}
      arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
  except SafetensorError as error:
    raise MissingAssetError(f"{path} is damaged or no safetensors file ({error})") from error
  if header.get("system") != "motion_flow" or json.loads(header["channels"]) != list(codes.CHANNELS):
    raise MissingAssetError(f"{path} does not hold weights of this motion flow: train them again")
  mean, scale = arrays.pop("mean"), arrays.pop("scale")
  sizes = json.loads(header["net"])
  module = net.MotionFlowNet(**{**sizes, "audio_dilations": tuple(sizes["audio_dilations"])})
  reader = StyleReader(**json.loads(header["reader"]))
  params = traverse_util.unflatten_dict(arrays, sep="/")
  _check(path, params, {"flow": init_flow(module), "style": reader.init_shapes()})
  return MotionFlow(
    net=module, reader=reader, params=params, mean=mean, scale=scale, facts=json.loads(header.get("facts", "{}"))
  )


def init_flow(module: net.MotionFlowNet) -> Any:
  """Shapes of the network's parameters."""
  return jax.eval_shape(lambda: module.init(jax.random.key(0), *example(1))["params"])


def example(batch: int) -> tuple[jax.Array, jax.Array, net.Conditions, jax.Array]:
  """Arguments of the network of the right shapes, all zero."""
  bands = net.FRONT_END.per_frame * net.FRONT_END.bands
  conditions = net.Conditions(
    manner=jnp.zeros((batch, MANNER_WIDTH)),
    history=jnp.zeros((batch, PAST, net.TOKEN_WIDTH)),
    known=jnp.ones((batch, PAST), bool),
    length=jnp.full(batch, LENGTH, jnp.int32),
    keep={name: jnp.ones(batch, bool) for name in net.GUIDED},
  )
  x, flow = jnp.zeros((batch, LENGTH, net.TOKEN_WIDTH)), jnp.zeros((batch, 4))
  return x, flow, conditions, jnp.zeros((batch, net.SUBFRAMES * (PAST + LENGTH), bands))


def _sizes(module: Any) -> dict[str, Any]:
  names = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
  return {name: getattr(module, name) for name in names}


def _check(path: Path, params: Mapping[str, Any], shapes: Any) -> None:
  """Refuses parameters of another network, by name."""
  have = {k: v.shape for k, v in traverse_util.flatten_dict(dict(params), sep="/").items()}
  want = {k: v.shape for k, v in traverse_util.flatten_dict(shapes, sep="/").items()}
  wrong = [f"missing {k}" for k in sorted(want.keys() - have.keys())]
  wrong += [f"left over {k}" for k in sorted(have.keys() - want.keys())]
  wrong += [f"{k} is {have[k]}, not {want[k]}" for k in sorted(have.keys() & want.keys()) if have[k] != want[k]]
  if wrong:
    raise MissingAssetError(f"{path} does not fit its own sizes: {'; '.join(wrong)}")

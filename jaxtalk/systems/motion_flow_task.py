"""How the motion flow is taught: procedural performances of many voices, and its own longer steps from shorter ones.

A batch is divided. Half of it learns the plain flow (Lipman et al. 2022, arXiv 2210.02747): clean motion from noisy
motion, with conditions dropped now and then. A quarter learns what guidance would make of that (Meng et al. 2023, arXiv
2210.03142), and a quarter that one step of length d goes where two of d / 2 go (Frans et al. 2024, arXiv 2410.12557,
eq. 5). The audio encoder is also asked for the mouth directly, and a second network learns to tell styles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxtalk.core import InputError
from jaxtalk.data import sound_augment
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.data.performances import STYLE_RANGES, PerformanceSet
from jaxtalk.encoders.logmel import scaled_log
from jaxtalk.motion import codes
from jaxtalk.systems import motion_flow as mf
from jaxtalk.systems import motion_flow_net as net
from jaxtalk.systems import speech_motion as sm
from jaxtalk.systems.motion_flow_eval import HeldOut, make_mix
from jaxtalk.systems.motion_flow_style import StyleReader
from jaxtalk.training.optimizer import make_optimizer
from jaxtalk.training.task import TrainState, create_state, gradient_update

STYLE_FRAMES = 400  # eight seconds
_WINDOW = mf.PAST + mf.LENGTH
_DROP_AUDIO, _DROP_MANNER = 0.08, 0.10
_MOUTH_WEIGHT = {"lipGap": 4.0, "jawOpen": 3.0, "mouthPucker": 2.0, "mouthFunnel": 2.0, "mouthRollLower": 2.0}
# Heads and gazes move slowly: over many frames their noise averages out, so what they do is decided near time 1. Half
# of the times lie above 0.75 (Esser et al. 2024, arXiv 2403.03206, sec. 5.3.2, for the same reason).
_SHIFT = 3.0
_HISTORY_NOISE = 0.05  # so that small faults of one window do not grow in the next


class WindowSource:
  """Windows out of performances, with eight seconds of the same for the style reader."""

  def __init__(self, performances: PerformanceSet, mean: np.ndarray, scale: np.ndarray):
    self._performances, self._mean, self._scale = performances, mean, scale

  def __len__(self) -> int:
    return len(self._performances)

  def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``waveform`` (S,), ``tokens`` (P + L, TOKEN_WIDTH), ``exists`` (P + L,) bool, ``length`` (), ``manner`` (M,) and
    ``clip`` (400, 49), all of one performance; what does not exist is zero."""
    performance = self._performances[index]
    frames = ((np.asarray(performance.codes, np.float32) - self._mean) / self._scale).astype(np.float32)
    total = len(frames) // net.SUBFRAMES
    # From before the beginning, so that some windows have no history or only a little.
    first = int(rng.integers(-mf.PAST, max(1, total - mf.LENGTH // 2)))
    if rng.uniform() < 0.1:
      first = -mf.PAST
    length = mf.LENGTH if rng.uniform() < 0.7 else int(rng.integers(mf.AHEAD + 2, mf.LENGTH))
    place = first + np.arange(_WINDOW)
    exists = (place >= 0) & (place < total)
    tokens = frames[: total * net.SUBFRAMES].reshape(total, -1)[np.clip(place, 0, total - 1)] * exists[:, None]
    return {
      "waveform": _cut(performance.waveform, first * net.TOKEN_SAMPLES, _WINDOW * net.TOKEN_SAMPLES),
      "tokens": tokens.astype(np.float32),
      "exists": exists,
      "length": np.int32(length),
      "manner": mf.manner_vector(performance.manner),
      "clip": _clip(frames, rng),
    }


def _cut(waveform: np.ndarray, start: int, size: int) -> np.ndarray:
  """``size`` samples from ``start``, which may lie before the beginning; silence outside."""
  kept = waveform[max(0, start) : max(0, start + size)]
  before = min(size, max(0, -start))
  return np.pad(kept, (before, size - before - len(kept))).astype(np.float32)


def _clip(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  start = int(rng.integers(max(1, len(frames) - STYLE_FRAMES + 1)))
  cut = frames[start : start + STYLE_FRAMES]
  return np.pad(cut, ((0, STYLE_FRAMES - len(cut)), (0, 0)), mode="wrap" if len(cut) < STYLE_FRAMES else "edge")


class MotionFlowTask:
  """A `training.task.Task`; see configs/motion_flow.py for the fields."""

  sharding_rules = (
    (r"(qkv|up|modulate)/kernel$", (None, "model")),
    (r"(out|down)/kernel$", ("model", None)),
  )

  def __init__(self, config: ConfigDict):
    if config.train.batch_size % 4:
      raise InputError(f"config.train.batch_size is {config.train.batch_size}: it must be a multiple of 4")
    self.config = config
    model = config.model
    self.net = net.MotionFlowNet(
      width=model.width,
      layers=model.layers,
      heads=model.heads,
      audio_width=model.audio_width,
      audio_dilations=tuple(model.audio_dilations),
    )
    self.reader = StyleReader(width=model.style_width)
    self.optimizer = make_optimizer(config.optimizer, config.train.steps)
    self._scales = np.zeros(len(codes.CHANNELS)), np.ones(len(codes.CHANNELS))
    self._held_out: HeldOut | None = None
    self._folder = Path()

  def init(self, rng: jax.Array) -> TrainState:
    flow, style = jax.random.split(rng)
    params = {
      "flow": self.net.init(flow, *mf.example(1))["params"],
      "style": self.reader.init(style, jnp.zeros((1, 8, len(codes.CHANNELS))))["params"],
    }
    return create_state(params, self.optimizer, rng)

  def warm_start(self, state: TrainState) -> tuple[TrainState, Sequence[str]]:
    """Ears that `speech_motion` trained, where the config names its weights."""
    if not self.config.init_audio:
      return state, ()
    path = sm.WEIGHTS if self.config.init_audio == "speech_motion" else Path(self.config.init_audio)
    other, heard = sm.load_weights(path)
    ears = {name: value for name, value in heard.items() if name != "out"}
    if (other.width, other.dilations) != (self.net.audio_width, self.net.audio_dilations):
      raise InputError(
        f"config.init_audio: {path} has width {other.width} and dilations {other.dilations}, "
        f"config.model.audio_width and audio_dilations ask for {self.net.audio_width} and {self.net.audio_dilations}"
      )
    chex.assert_trees_all_equal_shapes(dict(state.params["flow"]["encoder"]), ears)

    def with_ears(params):
      return {**params, "flow": {**params["flow"], "encoder": jax.tree.map(jnp.asarray, ears)}}

    warm = dataclasses.replace(state, params=with_ears(state.params), ema=with_ears(state.ema))
    return warm, (f"audio encoder from {path}: {len(jax.tree.leaves(ears))} tensors copied",)

  def update(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Mapping[str, jax.Array]]:
    train = self.config.train
    return gradient_update(
      state, batch, self._loss, self.optimizer, ema_decay=train.ema_decay, accumulate=train.accumulate
    )

  def _loss(self, params, batch, rng):
    keys = jax.random.split(rng, 6)
    past, exists = mf.PAST, batch["exists"]
    there = exists & (jnp.arange(_WINDOW)[None] < past + batch["length"][:, None])
    power = net.FRONT_END.power(batch["waveform"], net.SUBFRAMES * _WINDOW)
    power = _disturb(power, keys[0]) * jnp.repeat(there, net.SUBFRAMES, axis=1)[:, :, None, None]
    features = scaled_log(power).reshape(*power.shape[:2], -1)
    clean = batch["tokens"][:, past:]
    history = batch["tokens"][:, :past] + _HISTORY_NOISE * jax.random.normal(keys[1], batch["tokens"][:, :past].shape)
    keep = _drops(keys[2], len(clean))
    conditions = net.Conditions(
      manner=batch["manner"], history=history, known=exists[:, :past], length=batch["length"], keep=keep
    )
    noise = mf.colour(jax.random.normal(keys[3], clean.shape))
    flow, x, target = self._targets(params["flow"], clean, noise, conditions, features, keys[4])
    made, mouth = self.net.apply({"params": params["flow"]}, x, flow, conditions, features)
    counts = there[:, past:, None] / jnp.maximum(there[:, past:].mean(), 0.1)
    weight = counts / (0.5 + flow[:, :1, None])
    parts = {"value": (weight * self._squares(made - target)).mean()}
    parts["speed"] = (weight[:, 1:] * self._squares(_speed(made) - _speed(target))).mean()
    heard = batch["tokens"].reshape(len(clean), -1, len(codes.CHANNELS))[..., np.array(net.MOUTH)]
    frames = jnp.repeat(there, net.SUBFRAMES, axis=1)[..., None]
    parts["mouth"] = (frames * (jnp.square(mouth - heard) + 4.0 * _frame_speed(mouth - heard))).mean()
    style = jnp.asarray(self.reader.apply({"params": params["style"]}, batch["clip"]))
    parts["style"] = jnp.square(style - batch["manner"][:, : len(STYLE_RANGES)]).mean()
    loss = parts["value"] + parts["speed"] + 0.5 * parts["mouth"] + parts["style"]
    return loss, parts

  def _targets(self, params, clean, noise, conditions, features, rng):
    """Flow inputs (B, 4), noisy codes and what should be made of them: the last quarters by the network itself."""
    quarter = len(clean) // 4
    keys = jax.random.split(rng, 4)
    time = jax.random.uniform(keys[0], (len(clean),), minval=0.01)
    time = _SHIFT * time / (1.0 + (_SHIFT - 1.0) * time)
    step = 2.0 ** -jax.random.randint(keys[1], (len(clean),), 0, 4).astype(jnp.float32)  # 1, 1/2, 1/4, 1/8
    on_grid = step * (1.0 + jnp.floor(jax.random.uniform(keys[2], (len(clean),)) / step))
    rows = jnp.arange(len(clean)) // quarter  # 0 and 1: plain, 2: guided, 3: longer steps
    time, step = jnp.where(rows == 3, on_grid, time), jnp.where(rows == 3, step, 0.0)
    weights = jnp.exp(jax.random.uniform(keys[3], (len(clean), 2), minval=np.log(0.7), maxval=np.log(3.0)))
    # Usual weights are where most clips are made.
    weights = jnp.where((rows[:, None] >= 2) & (jnp.arange(len(clean))[:, None] % 2 == 0), weights, 1.0)
    x = (1.0 - time[:, None, None]) * clean + time[:, None, None] * noise
    flow = jnp.concatenate([time[:, None], step[:, None], weights], axis=1)

    variables = {"params": jax.lax.stop_gradient(params)}
    half = slice(2 * quarter, None)
    heard = self.net.apply(variables, features[half], method="listen")
    ask = _Asked(self.net, variables, jax.tree.map(lambda a: a[half], conditions), heard, quarter)
    guided = ask.guided(x[2 * quarter : 3 * quarter], flow[2 * quarter : 3 * quarter], clean[2 * quarter : 3 * quarter])
    longer = ask.longer(x[3 * quarter :], flow[3 * quarter :])
    target = jnp.concatenate([clean[: 2 * quarter], guided, longer])
    return flow, x, jax.lax.stop_gradient(target)

  def _squares(self, error):
    """Squared errors (B, N, TOKEN_WIDTH) with the mouth counted more."""
    weight = np.array([_MOUTH_WEIGHT.get(name, 1.0) for name in codes.CHANNELS], np.float32)
    return jnp.square(error) * np.tile(weight / weight.mean(), net.SUBFRAMES)[None, None]

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    size = self.config.train.batch_size
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
      "waveform": ((_WINDOW * net.TOKEN_SAMPLES,), jnp.float32),
      "tokens": ((_WINDOW, net.TOKEN_WIDTH), jnp.float32),
      "exists": ((_WINDOW,), jnp.bool),
      "length": ((), jnp.int32),
      "manner": ((mf.MANNER_WIDTH,), jnp.float32),
      "clip": ((STYLE_FRAMES, len(codes.CHANNELS)), jnp.float32),
    }
    return {name: jax.ShapeDtypeStruct((size, *shape), dtype) for name, (shape, dtype) in shapes.items()}

  def train_batches(self, folder: Path) -> ShuffledBatches:
    data = self.config.data
    self._folder = Path(data.folder) if data.folder else folder
    speeches = make_mix(data).load(self._folder)
    performances = PerformanceSet(speeches, data.performances, data.seed, folder=self._folder).prepare()
    self._scales = _scales(performances)
    source = WindowSource(performances, *self._scales)
    process = (jax.process_index(), jax.process_count())
    return ShuffledBatches(source, self.config.train.batch_size, self.config.train.seed, process)

  def evaluate(self, state: TrainState) -> Mapping[str, float | np.ndarray]:
    """On voices that training never hears, against the procedural truth; see `motion_flow_eval.HeldOut`."""
    if self._held_out is None:
      self._held_out = HeldOut(self.config.data, self._folder)
    return self._held_out.measure(self._trained(state, {}))

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    path = folder / "motion_flow.safetensors"
    figures = {k: round(float(x), 4) for k, x in self.evaluate(state).items() if np.ndim(x) == 0}
    mf.save(path, self._trained(state, {"steps": int(state.step), **figures}))
    return [path]

  def _trained(self, state: TrainState, facts: Mapping[str, Any]) -> mf.MotionFlow:
    mean, scale = self._scales
    return mf.MotionFlow(
      net=self.net, reader=self.reader, params=jax.device_get(state.ema), mean=mean, scale=scale, facts=facts
    )


class _Asked:
  """The network's own answers for the rows that learn from them: a quarter guided, a quarter with longer steps."""

  def __init__(self, module, variables, conditions, heard, quarter):
    self._net, self._variables, self._quarter = module, variables, quarter
    self._conditions, self._heard = conditions, heard

  def _estimate(self, x, flow, part, keep=None):
    conditions = jax.tree.map(lambda a: a[part], self._conditions)
    if keep is not None:
      conditions = dataclasses.replace(conditions, keep=keep)
    return self._net.apply(self._variables, x, flow, conditions, self._heard[part], method="estimate")

  def guided(self, x, flow, clean):
    """Clean motion moved along what each condition changes, by its weight less one."""
    part, q = slice(0, self._quarter), self._quarter
    plain = jnp.concatenate([flow[:, :2], jnp.ones((q, 2))], axis=1)
    all_, none = jnp.ones(q, bool), jnp.zeros(q, bool)
    full = self._estimate(x, plain, part, {"audio": all_, "manner": all_})
    deaf = self._estimate(x, plain, part, {"audio": none, "manner": all_})
    bland = self._estimate(x, plain, part, {"audio": all_, "manner": none})
    more = flow[:, 2:] - 1.0
    return clean + more[:, :1, None] * (full - deaf) + more[:, 1:, None] * (full - bland)

  def longer(self, x, flow):
    """Where two steps of half the length end, as the estimate of one step."""
    part = slice(self._quarter, None)
    time, step = flow[:, :1, None], flow[:, 1:2, None]
    half = jnp.where(flow[:, 1:2] > 0.2, flow[:, 1:2] / 2.0, 0.0)  # steps below 1/8 count as infinitely short
    first = self._velocity(x, jnp.concatenate([flow[:, :1], half, flow[:, 2:]], axis=1), part)
    then = x - first * step / 2.0
    later = jnp.concatenate([flow[:, :1] - flow[:, 1:2] / 2.0, half, flow[:, 2:]], axis=1)
    second = self._velocity(then, later, part)
    return x - time * (first + second) / 2.0

  def _velocity(self, x, flow, part):
    return (x - self._estimate(x, flow, part)) / flow[:, :1, None]


def _disturb(power: jax.Array, rng: jax.Array) -> jax.Array:
  """Half of the examples as another room would have it, half as rough as recordings get."""
  keys = jax.random.split(rng)
  rows = jnp.arange(len(power))[:, None, None, None] % 2 == 0
  return jnp.where(rows, sound_augment.augment(power, keys[0]), sound_augment.rough(power, keys[1]))


def _drops(rng: jax.Array, count: int) -> dict[str, jax.Array]:
  """Conditions of the plain half are dropped now and then; the others, which learn from the network, keep theirs."""
  plain = jnp.arange(count) // (count // 4) < 2
  u = jax.random.uniform(rng, (2, count))
  return {"audio": ~plain | (u[0] >= _DROP_AUDIO), "manner": ~plain | (u[1] >= _DROP_MANNER)}


def _speed(tokens: jax.Array) -> jax.Array:
  """Three times the change from token to token."""
  return 3.0 * jnp.diff(tokens, axis=1)


def _frame_speed(frames: jax.Array) -> jax.Array:
  """Squared change from frame to frame, (B, T, C); 0 in the last."""
  return jnp.square(jnp.diff(frames, axis=1, append=frames[:, -1:]))


def _scales(performances: PerformanceSet, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation of each channel over some performances; channels that hardly move keep a floor."""
  some = np.concatenate([performances[i].codes for i in range(min(count, len(performances)))]).astype(np.float64)
  return some.mean(axis=0), np.maximum(some.std(axis=0), 0.01)

"""How the speech-motion network is taught: the built-in voice in, the procedural animator's mouth plan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxtalk.core import Emotion, MotionStyle, Speech
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.data.sound_augment import augment
from jaxtalk.data.spoken import SpokenSet
from jaxtalk.encoders.logmel import scaled_log
from jaxtalk.motion import cues, performance, procedural
from jaxtalk.systems import speech_motion as sm
from jaxtalk.systems.speech_motion import FPS, FRAME_SAMPLES, FRONT_END, OUTPUTS
from jaxtalk.training.optimizer import make_optimizer
from jaxtalk.training.task import TrainState, create_state, gradient_update

_TEACHER_FPS = Fraction(25)  # closures are held for one frame of this rate
_SCALE, _SPEED = 0.08, 0.02  # typical size of the tracks and of their change from frame to frame


def teacher_curves(speech: Speech) -> np.ndarray:
  """(T, 13) float32 at ``FPS`` in the order of ``OUTPUTS``: the procedural mouth plan of a speech with phones."""
  t = performance.frame_times(-(-len(speech.waveform) // FRAME_SAMPLES), FPS)
  manner = performance.Manner(emotion=Emotion(), style=MotionStyle(), age=8.0, seed=0)
  plan = procedural.plan_mouth(t, speech.phones, cues.from_phones(speech), manner, _TEACHER_FPS)
  columns = [plan.tracks[name] for name in OUTPUTS[:-2]] + [plan.lips, plan.tuck]
  return np.stack(columns, axis=1).astype(np.float32)


class SpeechSource:
  """Random crops of utterances and what the mouth does in them; short utterances end in silence."""

  def __init__(self, speeches: Sequence[Speech], frames: int):
    self._speeches, self._frames = speeches, frames
    self._curves: dict[int, np.ndarray] = {}

  def __len__(self) -> int:
    return len(self._speeches)

  def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``waveform`` (frames * 320,) and ``curves`` (frames, 13), float32."""
    speech = self._speeches[index]
    if index not in self._curves:
      self._curves[index] = teacher_curves(speech)
    curves, frames = self._curves[index], self._frames
    start = int(rng.integers(max(1, len(curves) - frames + 1)))
    cut = curves[start : start + frames]
    wave = speech.waveform[start * FRAME_SAMPLES : (start + frames) * FRAME_SAMPLES]
    return {
      "waveform": np.pad(wave, (0, frames * FRAME_SAMPLES - len(wave))).astype(np.float32),
      "curves": np.pad(cut, ((0, frames - len(cut)), (0, 0)), mode="edge"),
    }


class SpeechMotionTask:
  """A `training.task.Task`; see configs/speech_motion.py for the fields."""

  sharding_rules = ((r"time_\d+/kernel$", (None, "model")), (r"mix_\d+/kernel$", ("model", None)))

  def __init__(self, config: ConfigDict):
    self.config = config
    self.net = sm.SpeechMotionNet(width=config.model.width, dilations=tuple(config.model.dilations))
    self.optimizer = make_optimizer(config.optimizer, config.train.steps)
    self._held_out: list[tuple[Speech, np.ndarray]] = []
    self._folder = Path()

  def init(self, rng: jax.Array) -> TrainState:
    features = jnp.zeros((1, 8, FRONT_END.per_frame * FRONT_END.bands))
    return create_state(self.net.init(rng, features)["params"], self.optimizer, rng)

  def update(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Mapping[str, jax.Array]]:
    train = self.config.train
    return gradient_update(
      state, batch, self._loss, self.optimizer, ema_decay=train.ema_decay, accumulate=train.accumulate
    )

  def _loss(self, params, batch, rng):
    frames = self.config.data.crop_frames
    power = augment(FRONT_END.power(batch["waveform"], frames), rng)
    features = scaled_log(power).reshape(power.shape[0], frames, -1)
    tracks, logits = sm.split_outputs(jnp.asarray(self.net.apply({"params": params}, features)))
    wanted, closed = sm.split_outputs(batch["curves"])
    value = jnp.square((tracks - wanted) / _SCALE).mean()
    speed = jnp.square((jnp.diff(tracks, axis=1) - jnp.diff(wanted, axis=1)) / _SPEED).mean()
    shut = optax.sigmoid_binary_cross_entropy(logits, closed).mean()
    return value + 0.3 * speed + 4.0 * shut, {"value": value, "speed": speed, "shut": shut}

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    size, frames = self.config.train.batch_size, self.config.data.crop_frames
    return {
      "waveform": jax.ShapeDtypeStruct((size, frames * FRAME_SAMPLES), jnp.float32),
      "curves": jax.ShapeDtypeStruct((size, frames, len(OUTPUTS)), jnp.float32),
    }

  def train_batches(self, folder: Path) -> ShuffledBatches:
    data = self.config.data
    self._folder = folder
    spoken = SpokenSet(count=data.utterances, seed=data.seed, ages=tuple(data.ages), without=tuple(data.held_out_ages))
    source = SpeechSource(spoken.load(folder), data.crop_frames)
    process = (jax.process_index(), jax.process_count())
    return ShuffledBatches(source, self.config.train.batch_size, self.config.train.seed, process)

  def evaluate(self, state: TrainState) -> Mapping[str, float]:
    """On sentences and ages that training never sees: correlations over all frames, and how closures are found."""
    if not self._held_out:
      data = self.config.data
      spoken = SpokenSet(count=data.held_out_utterances, seed=data.seed + 1, only=tuple(data.held_out_ages))
      self._held_out = [(speech, teacher_curves(speech)) for speech in spoken.load(self._folder)]
    params = jax.device_get(state.ema)
    heard = [sm.hear(params, speech, self.net).values for speech, _ in self._held_out]
    return compare(np.concatenate(heard), np.concatenate([wanted for _, wanted in self._held_out]))

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    path = folder / "speech_motion.safetensors"
    facts = {"steps": int(state.step), **{name: round(float(x), 4) for name, x in self.evaluate(state).items()}}
    sm.save_weights(path, jax.device_get(state.ema), self.net, facts)
    return [path]


def compare(heard: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
  """Curves (T, 13) against the teacher's.

  Returns ``mae`` of the tracks, Pearson's r of gap and jaw, and for lips that are shut (above 0.5 after the teacher's
  and the network's curves have been read as the animator reads them) the share of frames found and rightly found.
  """
  tracks, truth = heard[:, :-2], wanted[:, :-2]
  gap, jaw, lips = (OUTPUTS.index(name) for name in ("gap", "jaw", "lips"))
  low, high = sm._SHUT
  said, shut = heard[:, lips] > (low + high) / 2, wanted[:, lips] > 0.5
  return {
    "mae": float(np.abs(tracks - truth).mean()),
    "gap_r": float(np.corrcoef(heard[:, gap], wanted[:, gap])[0, 1]),
    "jaw_r": float(np.corrcoef(heard[:, jaw], wanted[:, jaw])[0, 1]),
    "shut_recall": float((said & shut).sum() / max(1, shut.sum())),
    "shut_precision": float((said & shut).sum() / max(1, said.sum())),
  }

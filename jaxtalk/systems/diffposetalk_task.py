"""Training of DiffPoseTalk's denoiser, with its speech encoder, on pairs of consecutive windows.

As released, but for three things. Whether a window ends early (truncation) is drawn for each example, not for a batch.
Features of the previous frames come from the same hearing as those of the window after them, as they do when motion is
generated. The speech encoder's own masking of frames (SpecAugment) is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxtalk import runtime
from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.data.motion_lmdb import FRAME
from jaxtalk.encoders.freezing import trainable_mask
from jaxtalk.encoders.pretrained import load_pretrained, save_pretrained
from jaxtalk.encoders.resample import resample
from jaxtalk.systems.diffposetalk_data import Recordings, WindowPairs, held_out
from jaxtalk.systems.diffposetalk_files import DENOISER, SPEECH, STATS, load_network, network_id, save_network
from jaxtalk.systems.diffposetalk_loss import VERTEX_TERMS, LossWeights, motion_losses
from jaxtalk.systems.diffposetalk_motion import Stats
from jaxtalk.systems.diffposetalk_networks import Denoiser, StyleEncoder
from jaxtalk.systems.diffposetalk_official import schedule
from jaxtalk.systems.diffposetalk_sample import Conditions
from jaxtalk.systems.diffposetalk_style_task import open_data, statistics
from jaxtalk.systems.diffposetalk_train import denoise, draw
from jaxtalk.systems.flame import Flame, read_flame
from jaxtalk.training.optimizer import make_optimizer
from jaxtalk.training.task import TrainState, create_state, gradient_update

REACH = 80  # samples that the speech encoder hears beyond its last hop


class DenoiserTask:
  """A `training.task.Task` and `WarmStart`; see configs/diffposetalk.py for the fields."""

  sharding_rules = ((r"(up|query|key|value)/kernel$", (None, "model")), (r"(down|out)/kernel$", ("model", None)))

  def __init__(self, config: ConfigDict):
    self.config = config
    m = config.model
    for name, what in (("speech_encoder", "a folder of HuBERT or wav2vec 2.0"), ("style_encoder", "what :style wrote")):
      if not m[name]:
        raise MissingAssetError(f"the denoiser needs --config.model.{name}: {what}")
    speech, variables = load_pretrained(m.speech_encoder)
    self.speech, self._pretrained = speech, jax.device_get(variables["params"])
    self.style, self._style_variables, _ = load_network(Path(m.style_encoder), StyleEncoder)
    if self.style.motion_width != (54 if m.head else 51):
      raise InputError(f"{m.style_encoder} takes {self.style.motion_width} channels: set config.model.head as it was")
    self.net = Denoiser(
      motion_width=self.style.motion_width,
      style_width=self.style.width,
      audio_width=speech.config.width,
      width=m.width,
      heads=m.heads,
      layers=m.layers,
      frames=config.data.frames,
      previous=m.previous,
      align_width=m.align_width,
      dropout=m.dropout,
    )
    self.schedule = schedule(config.diffusion.schedule, config.diffusion.steps)
    self.weights = LossWeights(**config.loss.to_dict())
    self._learns = _learning(self._pretrained, tuple(m.frozen))
    self.optimizer = optax.partition(
      {"learns": make_optimizer(config.optimizer, config.train.steps), "still": optax.set_to_zero()}, self._labels
    )
    self.flame = self._read_flame()
    self._stats: Stats | None = None
    self._held_out: dict[str, np.ndarray] = {}

  def init(self, rng: jax.Array) -> TrainState:
    """The speech encoder starts from zeros, which `warm_start` replaces: weights are no part of a program."""
    speech = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._pretrained)
    params = {"denoiser": self.net.init(rng, method="initialise")["params"], "speech": speech}
    return create_state(params, self.optimizer, rng)

  def warm_start(self, state: TrainState) -> tuple[TrainState, Sequence[str]]:
    state = dataclasses.replace(
      state,
      params={**state.params, "speech": self._pretrained},
      ema={**state.ema, "speech": jax.tree.map(np.copy, self._pretrained)},
    )
    sizes = jax.tree.map(lambda x, learns: x.size if learns else 0, self._pretrained, self._learns)
    learning = sum(jax.tree.leaves(sizes))
    return state, [f"speech encoder of {self.config.model.speech_encoder}; {learning:,} of its parameters learn"]

  def update(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Mapping[str, jax.Array]]:
    train = self.config.train
    return gradient_update(
      state, batch, self._loss, self.optimizer, ema_decay=train.ema_decay, accumulate=train.accumulate
    )

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    size, frames = self.config.train.batch_size, 2 * self.net.frames
    shapes = {"waveform": (frames * FRAME,), "motion": (frames, self.net.motion_width), "shape": (100,)}
    return {name: jax.ShapeDtypeStruct((size, *shape), jnp.float32) for name, shape in shapes.items()}

  def train_batches(self, folder: Path) -> ShuffledBatches:
    train, head, frames = self.config.train, self.config.model.head, 2 * self.net.frames
    database = open_data(self.config)
    recordings = Recordings(database, "train", frames)
    self._stats = stats = statistics(self.config, recordings, folder)
    others = WindowPairs(Recordings(database, self.config.data.held_out, frames), stats, head=head)
    self._held_out = held_out(others, self.config.data.held_out_count)
    process = (jax.process_index(), jax.process_count())
    return ShuffledBatches(WindowPairs(recordings, stats, head=head), train.batch_size, train.seed, process)

  def evaluate(self, state: TrainState) -> Mapping[str, float]:
    """The losses on recordings that training never sees, at fixed draws, without dropout."""

    def losses(params, batch):
      return self._losses(params, batch, jax.random.key(1), train=False)

    terms = jax.jit(losses, compiler_options=runtime.compiler_options())(state.ema, self._held_out)
    return {"loss": float(self.weights.total(terms)), **{name: float(x) for name, x in terms.items()}}

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    assert self._stats is not None
    params = jax.device_get(state.ema)
    facts = {
      "steps": int(state.step),
      "schedule": self.config.diffusion.schedule,
      "diffusion_steps": self.config.diffusion.steps,
      "style_encoder": network_id(self._style_variables["params"]),
    }
    save_network(folder / DENOISER, self.net, params["denoiser"], facts)
    save_pretrained(folder / SPEECH, self.speech, {"params": params["speech"]})
    self._stats.write(folder / STATS)
    return [folder / DENOISER, folder / SPEECH, folder / STATS]

  def _loss(self, params, batch, rng):
    terms = self._losses(params, batch, rng, train=True)
    return self.weights.total(terms), terms

  def _losses(self, params, batch, rng, *, train: bool) -> dict[str, jax.Array]:
    """Means over both windows; the transition between them belongs to the second."""
    ends, first, second, drops = jax.random.split(rng, 4)
    shares = self.config.data.truncate if train else (0.0, 0.0)
    count = truncation(ends, shares, len(batch["motion"]), self.net.frames)
    drop = (None, None, None) if not train else tuple(jax.random.split(drops, 3))
    windows = jnp.split(batch["motion"], 2, axis=1)
    styles = [jax.lax.stop_gradient(self.style.apply(self._style_variables, w)) for w in windows]
    audio, before = self._hear(params, batch["waveform"], count, drop[0])
    previous = windows[0][:, -self.net.previous :]
    terms = [
      self._window(params, batch["shape"], windows[0], count[0], audio[0], styles[1], None, None, (first, drop[1])),
      self._window(
        params, batch["shape"], windows[1], count[1], audio[1], styles[0], previous, before, (second, drop[2])
      ),
    ]
    both = {name: (value + terms[1][name]) / 2 for name, value in terms[0].items()}
    return {**terms[1], **both}  # with the transition

  def _window(self, params, shape, motion, count, audio, style, previous, before, keys) -> dict[str, jax.Array]:
    counts = (jnp.arange(self.net.frames)[None] < count[:, None]).astype(motion.dtype)
    motion = motion * counts[..., None]
    conditions = Conditions(
      shape=shape, audio=audio, style=style, prev_motion=previous, prev_audio=before, indicator=counts
    )
    drawn = draw(keys[0], motion.shape, self.schedule.steps)
    guess = denoise(self.net, {"params": params["denoiser"]}, motion, conditions, drawn, self.schedule, keys[1])
    face = None if self.flame is None else self.flame.vertices
    assert self._stats is not None
    return motion_losses(guess, motion, previous, shape, self._stats, face, indicator=counts)

  def _hear(self, params, waveform, count, drop) -> tuple[list[jax.Array], jax.Array]:
    """Features of both windows as their ends are cut, and of the frames before the second.

    The first window that ends early is heard as a recording that ends there; the second after the whole first one.
    """
    frames, total = self.net.frames, waveform.shape[1]
    place = jnp.arange(total)[None]
    one = jnp.where(count[0][:, None] < frames, count[0][:, None], 2 * frames) * FRAME
    two = (frames + count[1])[:, None] * FRAME
    wave = jnp.concatenate([jnp.where(place < one, waveform, 0.0), jnp.where(place < two, waveform, 0.0)])
    # A cut recording is padded with silence to whole windows, which the encoder hears; beyond, there is nothing.
    heard = jnp.concatenate([jnp.where(one < frames * FRAME, frames * FRAME, total), jnp.full_like(two, total)])
    for _ in range(2):  # as `diffposetalk_windows.pad_to_grid`
      wave = jnp.pad(wave, ((0, 0), (REACH // 4, REACH // 4)), mode="reflect")
    mask = jnp.arange(wave.shape[1])[None] < heard + REACH
    speech = jax.tree.map(lambda x, learns: x if learns else jax.lax.stop_gradient(x), params["speech"], self._learns)
    rngs = None if drop is None else {"dropout": drop}
    states: Any = self.speech.apply({"params": speech}, wave, mask, train=drop is not None, rngs=rngs)
    mapped = self.net.apply(
      {"params": params["denoiser"]}, resample(states.last[:, : 4 * frames], 2 * frames, "centres"), method="map_audio"
    )
    cut, context = jnp.split(jnp.asarray(mapped), 2)
    before = jax.lax.stop_gradient(context[:, frames - self.net.previous : frames])
    return [cut[:, :frames], context[:, frames:]], before

  def _labels(self, params) -> dict[str, Any]:
    labels = lambda learns: "learns" if learns else "still"  # noqa: E731
    return {
      "denoiser": jax.tree.map(lambda _: "learns", params["denoiser"]),
      "speech": jax.tree.map(labels, self._learns),
    }

  def _read_flame(self) -> Flame | None:
    if self.config.data.flame:
      return read_flame(Path(self.config.data.flame))
    asked = [name for name in VERTEX_TERMS if getattr(self.weights, name)]
    if asked:
      raise MissingAssetError(
        "the losses on vertices need your FLAME model, --config.data.flame=generic_model.pkl; without one set "
        + " ".join(f"--config.loss.{name}=0" for name in asked)
      )
    return None


def truncation(rng: jax.Array, shares: Sequence[float], count: int, frames: int) -> jax.Array:
  """(2, count) frames that count in each example's two windows: all, or, in a share of them, 1 to ``frames`` - 1."""
  which, where = jax.random.split(rng)
  ends = jax.random.randint(where, (2, count), 1, frames)
  return jnp.where(jax.random.uniform(which, (2, count)) < jnp.asarray(shares)[:, None], ends, frames)


def _learning(params: Mapping[str, Any], frozen: tuple[str, ...]) -> dict[str, Any]:
  """True where a parameter of the speech encoder learns; ("all",) freezes it whole."""
  if frozen == ("all",):
    return jax.tree.map(lambda _: False, dict(params))
  return trainable_mask(params, frozen)

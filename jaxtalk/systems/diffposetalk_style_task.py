"""Training of DiffPoseTalk's style encoder: crops of one clip are alike, those of different people are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxtalk import runtime
from jaxtalk.core import MissingAssetError
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.data.motion_lmdb import MotionDatabase
from jaxtalk.systems.diffposetalk_data import Recordings, StylePairs, held_out, measure
from jaxtalk.systems.diffposetalk_files import STATS, save_network
from jaxtalk.systems.diffposetalk_motion import Stats
from jaxtalk.systems.diffposetalk_networks import StyleEncoder
from jaxtalk.systems.diffposetalk_train import nt_xent
from jaxtalk.training.optimizer import make_optimizer
from jaxtalk.training.task import TrainState, create_state, gradient_update


def open_data(config: ConfigDict) -> MotionDatabase:
  """The database of a config's ``data.path``."""
  if not config.data.path:
    raise MissingAssetError(
      "DiffPoseTalk trains on your own data: give a folder in its LMDB layout, --config.data.path=FOLDER"
    )
  return MotionDatabase(Path(config.data.path))


def statistics(config: ConfigDict, recordings: Recordings, folder: Path) -> Stats:
  """From ``data.stats`` or the data's own ``stats_train.npz``; where there is none, measured once and kept."""
  path = Path(config.data.stats) if config.data.stats else recordings.database.folder / STATS
  if config.data.stats or path.is_file():
    return Stats.read(path)
  if not (folder / STATS).is_file():
    measure(recordings).write(folder / STATS)
  return Stats.read(folder / STATS)


class StyleTask:
  """A `training.task.Task`; see configs/diffposetalk.py for the fields.

  A global batch is contrasted as a whole, whatever the mesh.
  """

  sharding_rules = ()

  def __init__(self, config: ConfigDict):
    self.config = config
    m = config.model
    self.net = StyleEncoder(
      motion_width=54 if m.head else 51,
      width=m.width,
      heads=m.heads,
      layers=m.layers,
      positions=m.positions,
      dropout=m.dropout,
    )
    self.optimizer = make_optimizer(config.optimizer, config.train.steps)
    self._stats: Stats | None = None
    self._held_out: dict[str, np.ndarray] = {}

  def init(self, rng: jax.Array) -> TrainState:
    motion = jnp.zeros((1, 2, self.net.motion_width))
    return create_state(self.net.init(rng, motion)["params"], self.optimizer, rng)

  def update(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Mapping[str, jax.Array]]:
    return gradient_update(state, batch, self._loss, self.optimizer, ema_decay=self.config.train.ema_decay)

  def _loss(self, params, batch, rng):
    a, b = self._vectors(params, batch, rng)
    return nt_xent(a, b, self.config.loss.temperature), {"found": _found(a, b)}

  def _vectors(self, params, batch, rng):
    """Both crops in one call, so that they are dropped independently."""
    motion = jnp.concatenate([batch["first"], batch["second"]])
    rngs = None if rng is None else {"dropout": rng}
    vectors = self.net.apply({"params": params}, motion, deterministic=rng is None, rngs=rngs)
    return jnp.split(jnp.asarray(vectors), 2)

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    shape = (self.config.train.batch_size, self.config.data.frames, self.net.motion_width)
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name in ("first", "second")}

  def train_batches(self, folder: Path) -> ShuffledBatches:
    train, frames = self.config.train, self.config.data.frames
    database, total = open_data(self.config), frames * 2 + frames // 10
    recordings = Recordings(database, "train", total)
    self._stats = statistics(self.config, recordings, folder)
    pairs = [
      StylePairs(r, self._stats, frames, head=self.config.model.head)
      for r in (recordings, Recordings(database, self.config.data.held_out, total))
    ]
    self._held_out = held_out(pairs[1], self.config.data.held_out_count)
    process = (jax.process_index(), jax.process_count())
    return ShuffledBatches(pairs[0], train.batch_size, train.seed, process)

  def evaluate(self, state: TrainState) -> Mapping[str, float]:
    """On people that training never sees: the loss, and how often a crop's nearest is its partner."""

    def measures(params, batch):
      a, b = self._vectors(params, batch, None)
      return {"loss": nt_xent(a, b, self.config.loss.temperature), "found": _found(a, b)}

    values = jax.jit(measures, compiler_options=runtime.compiler_options())(state.ema, self._held_out)
    return {name: float(value) for name, value in values.items()}

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    assert self._stats is not None
    path = folder / "style_encoder.safetensors"
    save_network(path, self.net, jax.device_get(state.ema), {"steps": int(state.step), **self.evaluate(state)})
    self._stats.write(folder / STATS)
    return [path, folder / STATS]


def _found(a: jax.Array, b: jax.Array) -> jax.Array:
  """Share of vectors (N, W) whose nearest by angle among the others' partners is their own."""
  a, b = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
  return (jnp.argmax(a @ b.T, axis=1) == jnp.arange(len(a))).mean()

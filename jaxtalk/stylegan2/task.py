"""StyleGAN2 as a task for train.py; see configs/stylegan2.py for the fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxtalk.cli import nearest
from jaxtalk.core import InputError
from jaxtalk.data.image_folder import ImageBatches
from jaxtalk.kernels.modulated_conv import choice
from jaxtalk.metrics.extractors import Extractor, make_extractor
from jaxtalk.metrics.image_quality import evaluate_images
from jaxtalk.stylegan2 import album
from jaxtalk.stylegan2.augment import pipe_named
from jaxtalk.stylegan2.losses import Losses
from jaxtalk.stylegan2.networks import Discriminator, Generator, discriminator_layer_order
from jaxtalk.stylegan2.phases import Phases, Settings, make_optimizer, make_paired_optimizer
from jaxtalk.stylegan2.store import save_network
from jaxtalk.stylegan2.training_data import STUDIO_SHAPE, Pairs, Pictures, check_pairs, open_pictures
from jaxtalk.stylegan2.transfer import load_start, start_from
from jaxtalk.training.task import Stage, TrainState

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_CHUNK = 32  # pictures drawn at a time in evaluations


class StyleGAN2Task:
  """A `training.task.StagedTask` and `WarmStart`.

  The state's ``params`` are {"G", "D"}, ``ema`` is the average generator, whose buffers are G's.

  Raises:
    InputError: pictures, labels and config do not fit together.
  """

  sharding_rules = ()

  def __init__(self, config: ConfigDict):
    self.config = config
    _check(config)
    self._pictures = open_pictures(config, folder=None)
    self._paired = config.loss.paired_weight > 0
    self._pairs: Pairs | None = None
    if self._paired and self._pictures is not None:
      check_pairs(self._pictures)
    c_dim, channels = STUDIO_SHAPE if self._pictures is None else (self._pictures.c_dim, self._pictures.channels)
    self.generator, self.discriminator = make_networks(
      config, c_dim if config.model.networks == "conditional" else 0, channels
    )
    self.phases = make_phases(config, self.generator, self.discriminator)
    self._extractor: Extractor | None = make_extractor(config.eval.extractor) if config.eval.extractor else None
    self._draw = jax.jit(self._samples, static_argnums=4)
    self._shown_reals = False

  def init(self, rng: jax.Array) -> TrainState:
    g, d = self.generator, self.discriminator
    keys = jax.random.split(rng, 3)
    c = jnp.zeros((1, g.c_dim))
    images = jnp.zeros((1, g.img_resolution, g.img_resolution, g.img_channels))
    variables = g.init(keys[0], jnp.zeros((1, g.z_dim)), c), d.init(keys[1], images, c)
    return self.phases.init(keys[2], *variables, self.config.augment.p)

  def stages(self) -> Sequence[Stage]:
    return self.phases.stages()

  def warm_start(self, state: TrainState) -> tuple[TrainState, Sequence[str]]:
    """Copies what fits from ``config.init``."""
    if not self.config.init:
      return state, []
    return start_from(state, load_start(self.config.init), self.config.init)

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    g, size = self.generator, self.config.train.batch_size
    pairs = {
      "pair_z": jax.ShapeDtypeStruct((size, g.z_dim), jnp.float32),
      "pair_centres": jax.ShapeDtypeStruct((size, 3, 2), jnp.float32),
    }
    return {
      "image": jax.ShapeDtypeStruct((size, g.img_resolution, g.img_resolution, g.img_channels), jnp.uint8),
      "label": jax.ShapeDtypeStruct((size, g.c_dim), jnp.float32),
      "gen_label": jax.ShapeDtypeStruct((size, 4, g.c_dim), jnp.float32),
      **(pairs if self._paired else {}),
    }

  def train_batches(self, folder: Path) -> ImageBatches:
    train = self.config.train
    if self._pictures is None:
      self._pictures = open_pictures(self.config, folder)
    if self._paired and self._pairs is None:
      self._pairs = Pairs(self._data, self.generator.z_dim, train.seed)
    place = jax.process_index(), jax.process_count()
    return ImageBatches(self._data, train.batch_size, train.seed, place, extras=self._pairs)

  def evaluate(self, state: TrainState) -> Mapping[str, float | np.ndarray]:
    """A sheet of samples, and their Frechet distance to all training pictures if an extractor is set."""
    side, count = self.config.eval.grid, self.config.eval.samples
    results: dict[str, float | np.ndarray] = {"samples": tiles(np.concatenate(list(self._fakes(state, side**2))), side)}
    if not self._shown_reals:
      some = np.random.default_rng(1).integers(len(self._data), size=side**2)
      results["reals"], self._shown_reals = tiles(np.stack([self._data.image(int(i)) for i in some]), side), True
    if self._pairs is not None:
      results["pairs"] = self._drawn_pairs(state, side)
    if self._extractor is not None:
      fakes = self._fakes(state, count, varied=True)
      for result in evaluate_images(self._data, fakes, self._extractor, ("frechet",)):
        results[result.name] = float(result.value)
    return results

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    """The average generator in the format to ship, both networks in full to go on from, and a sheet of samples."""
    state = jax.device_get(state)
    buffers = {"buffers": state.extra["G_buffers"]}
    g_ema, g, d, sheet = (folder / n for n in ("G_ema.safetensors", "G.safetensors", "D.safetensors", "samples.png"))
    facts = self._facts(state)
    save_network(g_ema, self.generator, {"params": state.ema, **buffers}, facts, self.config.export_dtype)
    save_network(g, self.generator, {"params": state.params["G"], **buffers}, facts)
    save_network(d, self.discriminator, {"params": state.params["D"]}, facts)
    side = self.config.eval.grid
    images = np.concatenate(list(self._fakes(state, side**2)))
    rows = [list(images[i : i + side]) for i in range(0, side**2, side)]
    tile = max(64, self.generator.img_resolution)
    album.write_png(sheet, album.sheet(rows, title=f"{facts['kimg']} thousand pictures, psi 1", tile=tile))
    return [g_ema, g, d, sheet]

  @property
  def _data(self) -> Pictures:
    assert self._pictures is not None, "train_batches opens the studio's pictures"
    return self._pictures

  def _fakes(self, state: TrainState, count: int, varied: bool = False) -> Iterator[np.ndarray]:
    """Samples of the average generator (n, H, W, C) uint8, the same latents each time; labels as in the data.

    ``varied``: noise differs from picture to picture, as the metrics want it; else the pictures go from label to label.
    """
    labels = self._data.labels
    rng = np.random.default_rng(int(varied))
    z = rng.standard_normal((count, self.generator.z_dim)).astype(np.float32)
    c = labels[rng.integers(len(labels), size=count)]
    if not varied:
      c = c[np.lexsort(c.T)[::-1]] if c.shape[1] else c
    variables = jax.device_get({"params": state.ema, "buffers": state.extra["G_buffers"]})
    for start in range(0, count, _CHUNK):
      rows = np.arange(start, start + _CHUNK) % count  # the last chunk is filled up: one compiled shape
      images = self._draw(variables, z[rows], c[rows], start, "random" if varied else "const")
      yield np.asarray(images)[: count - start]

  def _drawn_pairs(self, state: TrainState, side: int) -> np.ndarray:
    """Pictures and, below them, what the average generator draws from their labels."""
    assert self._pairs is not None
    rng = np.random.default_rng(2)
    rows = rng.integers(len(self._data), size=_CHUNK)
    variables = jax.device_get({"params": state.ema, "buffers": state.extra["G_buffers"]})
    z, labels = self._pairs(rows, rng)["pair_z"], self._data.labels[rows]
    fakes = np.asarray(self._draw(variables, z, labels, 0, "const"))
    reals = np.stack([self._data.image(int(i)) for i in rows])
    side = min(side, _CHUNK)
    count = _CHUNK // side * side
    both = np.stack([x[:count].reshape(-1, side, *x.shape[1:]) for x in (reals, fakes)], axis=1)
    return tiles(both.reshape(-1, *reals.shape[1:]), side)

  def _samples(self, variables, z, c, seed, noise_mode):
    keys = {"noise": jax.random.key(seed)}
    images = jnp.asarray(self.generator.apply(variables, z, c, noise_mode=noise_mode, rngs=keys))
    return jnp.rint(jnp.clip(127.5 * (images + 1), 0, 255)).astype(jnp.uint8)

  def _facts(self, state: TrainState) -> dict[str, Any]:
    """For the files' headers; of places on this machine, only the names."""
    fields = json.loads(self.config.to_json_best_effort())
    fields["data"]["path"], fields["init"] = Path(self.config.data.path).name, Path(self.config.init).name
    facts = {
      "source": "trained with jaxtalk, train.py --config=configs/stylegan2.py",
      "trained_on": fields["data"]["path"] or "synthetic children of jaxtalk's studio",
      "pictures": len(self._data),
      "steps": int(state.step),
      "kimg": round(int(state.extra["images"]) / 1000, 1),
      "config": fields,
    }
    if fields["init"]:
      facts |= {"started_from": fields["init"], "licence": "that of the weights it started from applies"}
    return facts


def make_networks(config: ConfigDict, c_dim: int, channels: int) -> tuple[Generator, Discriminator]:
  """Generator and discriminator of a config, which also says what convolutions they are traced with."""
  choice.choose(config.kernels.modulated_conv)
  choice.say_once(choice.describe())
  model = config.model
  common: dict[str, Any] = {
    "c_dim": c_dim,
    "img_resolution": config.data.resolution,
    "img_channels": channels,
    "channel_base": model.channel_base,
    "channel_max": model.channel_max,
    "num_half_res": model.num_half_res if model.dtype != "float32" else 0,
    "conv_clamp": model.conv_clamp or None,
    "dtype": _DTYPES[model.dtype],
    "remat": model.remat,
  }
  generator = Generator(
    z_dim=model.z_dim, w_dim=model.w_dim, mapping_layers=model.mapping_layers, use_noise=model.use_noise, **common
  )
  return generator, Discriminator(architecture=model.d_architecture, mbstd_group_size=model.mbstd_group, **common)


def make_phases(config: ConfigDict, generator: Generator, discriminator: Discriminator) -> Phases:
  """The update that a config asks for."""
  train, loss, ada, optimizer = config.train, config.loss, config.augment, config.optimizer
  layers = discriminator_layer_order(discriminator)
  if not 0 <= train.freeze_d <= len(layers):
    raise InputError(f"config.train.freeze_d={train.freeze_d}: this discriminator has {len(layers)} layers to freeze")
  losses = Losses(
    generator=generator,
    discriminator=discriminator,
    mixing=loss.mixing_prob > 0,
    r1_gamma=loss.r1_gamma,
    pl_weight=loss.pl_weight,
    paired_weight=loss.paired_weight,
    w_avg_beta=generator.w_avg_beta,
  )
  settings = Settings(
    batch_size=train.batch_size,
    accumulate=train.accumulate,
    mixing_prob=loss.mixing_prob,
    pl_every=loss.pl_every if loss.pl_weight > 0 else 0,
    r1_every=loss.r1_every if loss.r1_gamma > 0 else 0,
    ema_kimg=train.ema_kimg,
    ema_ramp=train.ema_ramp,
    pipe=pipe_named(ada.pipe) if ada.mode != "noaug" else None,
    ada_target=ada.target if ada.mode == "ada" else None,
    ada_kimg=ada.kimg,
    paired=loss.paired_weight > 0,
    adversarial_start=-(-int(loss.paired_only_kimg * 1000) // train.batch_size) if loss.paired_weight > 0 else 0,
    frozen=tuple(layers[: train.freeze_d]),
  )
  every = {"G": loss.pl_every, "D": loss.r1_every}
  optimizers = {name: make_optimizer(optimizer.lr, (0.0, optimizer.b2), optimizer.eps, n) for name, n in every.items()}
  if loss.paired_weight > 0:
    optimizers["pair"] = make_paired_optimizer(optimizer.paired_lr, optimizer.paired_mapping_boost)
  return Phases(losses, settings, optimizers)


def tiles(images: np.ndarray, columns: int) -> np.ndarray:
  """(N, H, W, 1 or 3) uint8 to one picture (rows * H, columns * W, 3)."""
  rows = len(images) // columns
  images = np.broadcast_to(images[: rows * columns], (rows * columns, *images.shape[1:3], 3))
  height, width = images.shape[1:3]
  grid = images.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
  return np.ascontiguousarray(grid.reshape(rows * height, columns * width, 3))


def _check(config: ConfigDict) -> None:
  """Fields that only make sense together."""
  train, model, ada = config.train, config.model, config.augment
  _known("model.networks", model.networks, ("plain", "conditional", "pair"))
  _known("model.dtype", model.dtype, tuple(_DTYPES))
  _known("kernels.modulated_conv", config.kernels.modulated_conv, choice.IMPLEMENTATIONS)
  _known("augment.mode", ada.mode, ("ada", "fixed", "noaug"))
  if (model.networks == "pair") != (config.data.only_label >= 0):
    raise InputError(
      "a network of a pair learns one class: config.model.networks=pair goes with config.data.only_label=0 (girls) or 1"
    )
  if train.accumulate < 1 or train.batch_size < 1 or train.batch_size % train.accumulate:
    raise InputError(
      f"config.train.batch_size {train.batch_size} does not split into config.train.accumulate {train.accumulate} parts"
    )
  size, group = train.batch_size // train.accumulate, model.mbstd_group
  if group < 1 or size % min(size, group):
    raise InputError(f"config.model.mbstd_group {group} does not divide the {size} pictures that pass at a time")
  if config.loss.r1_every < 1 or config.loss.pl_every < 1:
    raise InputError("config.loss.r1_every and pl_every must be at least 1; r1_gamma=0 and pl_weight=0 switch them off")

  if config.loss.paired_weight < 0 or config.loss.paired_only_kimg < 0:
    raise InputError("config.loss.paired_weight and paired_only_kimg must be at least 0")


def _known(field: str, value: str, names: Sequence[str]) -> None:
  if value not in names:
    raise InputError(f"config.{field} is {value!r}{nearest(value, names)}; known: {', '.join(names)}")

"""The second domain of the talking portrait: unlabelled pictures that share the latents and conditions of the studio's
(our own system; the scheme is that of ConfigNet: Kowalski et al., ECCV 2020).

One generator draws both domains; the last number of a label tells which, and moves the codes of all layers
(`talking_portrait.codes`). Studio pictures teach it control, as ever. In the other domain a discriminator that sees no
labels asks for pictures like those of the user, and a reader, which learns on disguised studio pictures to tell points,
angles and openings from a picture of any style, asks the drawn ones for what the conditions said. Only RGB counts
there: photographs have a background that nobody knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxtalk.core import InputError
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.data.image_folder import ImageSet, open_images
from jaxtalk.stylegan2.networks import Discriminator, Generator
from jaxtalk.stylegan2.phases import make_optimizer, make_paired_optimizer
from jaxtalk.systems.talking_portrait_reader import FaceReader, disguise, misread, readings
from jaxtalk.training.task import Batches, Stage, TrainState

Batch = Mapping[str, jax.Array]
Report = dict[str, jax.Array]


class OtherDomain:
  """Networks, stages and data of the second stream.

  Its entries in a state: params "D_other" and "R", opt_state of both and "G_other", the generator's steps here, which
  are apart from the studio's so that neither drowns the other.

  Args:
    config: as in configs/talking_portrait.py.
    generator: the one of both domains.
    schedule: learning rate of the generator by update.
    studio: batch -> (N, R, R, 4), the studio's pictures in [-1, 1].
    paint: (generator's variables, batch) -> (N, R, R, 4), its drawings.
  """

  def __init__(
    self,
    config: ConfigDict,
    generator: Generator,
    schedule: optax.Schedule,
    studio: Callable[[Batch], jax.Array],
    paint: Callable[[Mapping[str, Any], Batch], jax.Array],
  ):
    self.config, self.generator, self._studio, self._paint = config, generator, studio, paint
    model, optimizer, start = config.model, config.optimizer, config.loss.other_start
    self.discriminator = Discriminator(
      c_dim=0,
      img_resolution=generator.img_resolution,
      img_channels=3,
      channel_base=model.d_channel_base,
      channel_max=model.channel_max,
      mbstd_group_size=model.mbstd_group,
      conv_clamp=generator.conv_clamp,
      dtype=generator.dtype,
      num_half_res=generator.num_half_res,
    )
    self.reader = FaceReader(generator.img_resolution, model.d_channel_base, model.channel_max)
    self._optimizers = {
      "G_other": make_paired_optimizer(
        lambda count: optimizer.other_share * schedule(count + start), optimizer.mapping_boost
      ),
      "D_other": make_optimizer(optimizer.d_lr, (0.0, 0.99), 1e-8, config.loss.r1_every),
      "R": optax.adam(optimizer.reader_lr),
    }
    self._drawings = jax.jit(self._bytes)

  def init(self, rng: jax.Array, g: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and states of optimisers at the start, beside a generator's parameters."""
    keys = jax.random.split(rng)
    picture = jnp.zeros((1, self.reader.img_resolution, self.reader.img_resolution, 3))
    params = {
      "D_other": self.discriminator.init(keys[0], picture)["params"],
      "R": self.reader.init(keys[1], picture)["params"],
    }
    targets = {"G_other": g, **params}
    return params, {name: optimizer.init(targets[name]) for name, optimizer in self._optimizers.items()}

  def stages(self) -> Sequence[Stage]:
    """The parts of an update; the reader learns from the first one on."""
    loss = self.config.loss
    return [
      Stage("R", self.read),
      Stage("G_other", self.draw, start=loss.other_start),
      Stage("D_other", self.judge, start=loss.other_start),
      Stage("Dreg_other", self.regularise, every=loss.r1_every, start=loss.other_start),
    ]

  def read(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The reader learns on disguised studio pictures."""
    disguised = disguise(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 1), self._studio(batch))

    def loss(r):
      value = misread(self._read(r, disguised), self._readings(batch)).mean()
      return value, {"loss_R": value}

    return self._step(state, "R", "R", loss)

  def draw(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The generator fools the other domain's discriminator, and the reader finds in it what was asked for."""
    weights = self.config.loss

    def loss(g):
      painted = self.painted(g, state, batch)
      fooled = jax.nn.softplus(-self._judge(state.params["D_other"], painted)).mean()
      control = misread(self._read(state.params["R"], painted), self._readings(batch)).mean()
      total = weights.other_weight * fooled + weights.control_weight * control
      return total, {"loss_G_other": fooled, "loss_control": control}

    return self._step(state, "G_other", "G", loss)

  def judge(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The discriminator's logistic loss; it is told nothing of conditions."""
    fake, real = self.painted(state.params["G"], state, batch), _unlabelled(batch)

    def loss(d):
      on_fake, on_real = (self._judge(d, x) for x in (fake, real))
      value = (jax.nn.softplus(on_fake) + jax.nn.softplus(-on_real)).mean()
      signs = {"sign_other_real": jnp.sign(on_real).mean(), "sign_other_fake": jnp.sign(on_fake).mean()}
      return value, {"loss_D_other": value, **signs}

    return self._step(state, "D_other", "D_other", loss)

  def regularise(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """R1, which counts as often as it is left out."""
    weights = self.config.loss

    def penalty(d):
      slopes = jax.grad(lambda real: self._judge(d, real).sum())(_unlabelled(batch))
      value = jnp.square(slopes).sum((1, 2, 3)).mean()
      return value * (weights.r1_gamma / 2 * weights.r1_every), {"r1_other": value}

    return self._step(state, "D_other", "D_other", penalty)

  def drawings(self, variables: Mapping[str, Any], rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N, R, R, 3) uint8 of conditions in the other domain; ``rows`` is a batch."""
    return np.asarray(self._drawings(variables, dict(rows)))

  def _bytes(self, variables: Mapping[str, Any], rows: Batch) -> jax.Array:
    return jnp.round(jnp.clip(self._other(variables, rows) * 127.5 + 127.5, 0.0, 255.0)).astype(jnp.uint8)

  def painted(self, g: Mapping[str, Any], state: TrainState, batch: Batch) -> jax.Array:
    """(N, R, R, 3) drawings of a batch's conditions in the other domain."""
    return self._other({"params": g, "buffers": state.extra["G_buffers"]}, batch)

  def _other(self, variables: Mapping[str, Any], batch: Batch) -> jax.Array:
    return self._paint(variables, {**batch, "label": in_other(batch["label"])})[..., :3]

  def _judge(self, d: Mapping[str, Any], pictures: jax.Array) -> jax.Array:
    return jnp.asarray(self.discriminator.apply({"params": d}, pictures))[:, 0]

  def _read(self, r: Mapping[str, Any], pictures: jax.Array) -> jax.Array:
    return jnp.asarray(self.reader.apply({"params": r}, pictures))

  def _readings(self, batch: Batch) -> jax.Array:
    return readings(batch["label"], batch["points"], self.config.data.size)

  def _step(self, state: TrainState, optimizer: str, network: str, loss) -> tuple[TrainState, Report]:
    grads, report = jax.grad(loss, has_aux=True)(state.params[network])
    updates, opt_state = self._optimizers[optimizer].update(grads, state.opt_state[optimizer])
    return dataclasses.replace(
      state,
      params={**state.params, network: optax.apply_updates(state.params[network], updates)},
      opt_state={**state.opt_state, optimizer: opt_state},
    ), report | {f"grad_norm_{optimizer}": optax.tree.norm(grads)}

  # --- Data.

  def batch_spec(self) -> dict[str, jax.ShapeDtypeStruct]:
    """``other``, the unlabelled pictures of a batch."""
    size, count = self.generator.img_resolution, self.config.train.batch_size
    return {"other": jax.ShapeDtypeStruct((count, size, size, 3), jnp.uint8)}

  def open(self) -> ImageSet:
    """The user's pictures; InputError names what is wrong with them."""
    path = self.config.data.other_path
    try:
      images = open_images(path, resolution=self.generator.img_resolution)
    except InputError as error:
      raise InputError(f"config.data.other_path: {error}") from error
    if images.channels != 3:
      raise InputError(f"config.data.other_path={path} holds grey pictures: convert them to RGB")
    return images

  def batches(self, images: ImageSet, first: Batches) -> TwoStreams:
    """Labelled batches with unlabelled pictures added."""
    train = self.config.train
    process = jax.process_index(), jax.process_count()
    return TwoStreams(first, ShuffledBatches(_Unlabelled(images), train.batch_size, train.seed + 1, process))


class TwoStreams:
  """Batches with the entries of both; the streams go on at their own lengths."""

  def __init__(self, first: Batches, second: Batches):
    self._first, self._second = first, second

  def __next__(self) -> dict[str, np.ndarray]:
    return {**next(self._first), **next(self._second)}

  def get_state(self) -> dict[str, Any]:
    """Both positions, as JSON."""
    return {"first": self._first.get_state(), "second": self._second.get_state()}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position; InputError for one of a run without the second stream."""
    if set(state) != {"first", "second"}:
      raise InputError("the checkpoint is of a run without other_path: give another --workdir, and it as --config.init")
    self._first.set_state(state["first"])
    self._second.set_state(state["second"])


class _Unlabelled:
  def __init__(self, images: ImageSet):
    self._images = images

  def __len__(self) -> int:
    return len(self._images)

  def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    del rng
    return {"other": self._images.image(index)}


def in_other(labels: jax.Array) -> jax.Array:
  """Labels (N, C_DIM + 1) with the flag of the other domain."""
  return jnp.concatenate([labels[:, :-1], jnp.ones_like(labels[:, :1])], axis=1)


def check(config: ConfigDict) -> None:
  """Raises `InputError` unless the second stream's numbers are in range."""
  loss, optimizer = config.loss, config.optimizer
  if loss.other_weight <= 0 or loss.control_weight < 0 or loss.other_start < 0:
    raise InputError("config.loss: other_weight above 0, control_weight and other_start at least 0")
  if optimizer.other_share <= 0 or optimizer.reader_lr <= 0:
    raise InputError("config.optimizer: other_share and reader_lr must be above 0")


def _unlabelled(batch: Batch) -> jax.Array:
  return batch["other"].astype(jnp.float32) / 127.5 - 1

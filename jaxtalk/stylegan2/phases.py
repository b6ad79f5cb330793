"""One update of StyleGAN2 as stages: both losses, their lazy regularisers, averages and strength of augmentation.

Order and arithmetic follow the official training (stylegan2-ada-pytorch): every phase has fresh latents and labels and
its own step of the network's optimiser, a lazy phase counts ``every`` times, and both kinds share one Adam.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from jaxtalk.stylegan2.augment import AugmentPipe, adjust_p, augment
from jaxtalk.stylegan2.losses import Draws, Losses, Params, Report, Statistics
from jaxtalk.training.task import Stage, TrainState

Batch = Mapping[str, jax.Array]
Gradients = tuple[Params, TrainState, Report]

ADA_EVERY = 4  # updates between adjustments of the augmentation
_INFINITY = 1e5  # what an infinite gradient counts as


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How an update goes, besides the losses.

  Attributes:
    batch_size: images an update.
    accumulate: micro-batches an update; their gradients are summed.
    mixing_prob: how often a micro-batch mixes styles.
    pl_every, r1_every: updates between the lazy phases; 0 leaves a phase out.
    pl_shrink: the path length is measured on one image in so many.
    ema_kimg: half-life of the average generator in thousand images.
    ema_ramp: at most this share of the images seen so far is its half-life; 0 is no such limit.
    pipe: transforms of the augmentation; None is no augmentation.
    ada_target: mean sign of D(real) that the augmentation aims at; None keeps its strength.
    ada_kimg: thousand images in which the strength may go from 0 to 1.
    paired: whether the generator is taught single pictures as well (`paired`), with an optimiser of its own.
    adversarial_start: the update in which the discriminator comes in; before, there are only single pictures.
    frozen: layers of the discriminator ("b64.conv0") that do not learn.
  """

  batch_size: int
  accumulate: int = 1
  mixing_prob: float = 0.9
  pl_every: int = 4
  r1_every: int = 16
  pl_shrink: int = 2
  ema_kimg: float = 10.0
  ema_ramp: float = 0.0
  pipe: AugmentPipe | None = None
  ada_target: float | None = None
  ada_kimg: float = 500.0
  paired: bool = False
  adversarial_start: int = 0
  frozen: tuple[str, ...] = ()


def make_optimizer(lr: float, betas: tuple[float, float], eps: float, every: int) -> optax.GradientTransformation:
  """Adam for a network with a lazy phase each ``every`` updates: that many more steps, so each is as much smaller."""
  q = every / (every + 1)
  return optax.adam(lr * q, b1=betas[0] ** q, b2=betas[1] ** q, eps=eps)


def make_paired_optimizer(lr: float | optax.Schedule, mapping_boost: float) -> optax.GradientTransformation:
  """Adam with momentum, whose steps on the mapping network are larger: its layers are made to learn a hundred times
  slower than others, which would leave hardly a trace of the labels in the codes."""

  def boost(updates: Params, state: optax.EmptyState, params: Params | None = None) -> tuple[Params, optax.EmptyState]:
    del params
    return {**updates, "mapping": _times(updates["mapping"], mapping_boost)}, state

  faster = optax.GradientTransformation(lambda params: optax.EmptyState(), boost)
  return optax.chain(optax.adam(lr, b1=0.9, b2=0.99, eps=1e-8), faster)


@dataclasses.dataclass(frozen=True)
class Phases:
  """The phases of an update. Each gives gradients as its optimiser gets them, the state with newer statistics (but the
  old parameters), and per-sample reports; draws have the micro-batch as first axis.

  Attributes:
    losses: for one micro-batch; its ``augment`` is set here.
    settings: everything else.
    optimizers: "G", "D" and, for single pictures, "pair".
  """

  losses: Losses
  settings: Settings
  optimizers: Mapping[str, optax.GradientTransformation]

  def init(self, rng: jax.Array, g: Mapping[str, Any], d: Mapping[str, Any], p: float) -> TrainState:
    """The state at step 0 from both networks' variables and the augmentation strength to begin with."""
    params = {"G": g["params"], "D": d["params"]}
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      ema=jax.tree.map(jnp.copy, g["params"]),
      opt_state={name: optimizer.init(params[_network(name)]) for name, optimizer in self.optimizers.items()},
      rng=rng,
      extra={
        "G_buffers": g["buffers"],
        "pl_mean": jnp.zeros(()),
        "images": jnp.zeros((), jnp.int32),
        "augment_p": jnp.asarray(p, jnp.float32),
        "signs": jnp.zeros((2,)),  # sum and number of signs of D(real) since the last adjustment
      },
    )

  def stages(self) -> list[Stage]:
    """What the loop compiles and runs."""
    rows = (
      ("Gmain", "G", self.g_main, 1),
      ("Greg", "G", self.g_regularise, self.settings.pl_every),
      ("Dmain", "D", self.d_main, 1),
      ("Dreg", "D", self.d_regularise, self.settings.r1_every),
    )
    stages = [
      Stage(name, self._stage(index, network, phase), every, self.settings.adversarial_start)
      for index, (name, network, phase, every) in enumerate(rows)
      if every
    ]
    if self.settings.paired:
      stages.append(Stage("Gpair", self._stage(len(rows), "pair", self.g_paired)))
    return [*stages, Stage("finish", self.finish)]

  # --- The phases.

  def g_main(self, state: TrainState, batch: Batch, draws: Draws) -> Gradients:
    """The generator's loss."""
    losses, d = self._losses(state), state.params["D"]

    def one(stats, part, draws):
      return losses.g_main(state.params["G"], d, stats, draws, part["gen_label"][:, 0])

    return self._accumulate(state, batch, draws, "G", one)

  def g_regularise(self, state: TrainState, batch: Batch, draws: Draws) -> Gradients:
    """The path-length penalty, on a part of the images."""
    losses, shrink = self._losses(state), self.settings.pl_shrink

    def one(stats, part, draws):
      return losses.g_regularise(state.params["G"], stats, draws, part["gen_label"][:, 1][::shrink])

    grads, state, report = self._accumulate(state, batch, draws, "G", one)
    return _times(grads, self.settings.pl_every), state, report

  def g_paired(self, state: TrainState, batch: Batch, draws: Draws) -> Gradients:
    """The distance to single pictures."""

    def one(stats, part, draws):
      pairs = part["pair_z"], _real(part), part["pair_centres"]
      return self.losses.g_paired(state.params["G"], stats, draws, part["label"], pairs)

    return self._accumulate(state, batch, draws, "G", one)

  def d_main(self, state: TrainState, batch: Batch, draws: Draws) -> Gradients:
    """The discriminator's loss."""
    losses, g, d = self._losses(state), state.params["G"], state.params["D"]

    def one(stats, part, draws):
      c = part["gen_label"][:, 2]
      ws, stats = losses.codes(g, stats, draws, c)
      fake = losses.paint(g, stats, ws, draws)
      grads, report = losses.d_main(d, fake, _real(part), draws, c, part["label"])
      return grads, stats, report

    grads, state, report = self._accumulate(state, batch, draws, "D", one)
    return grads, _count_signs(state, report["scores_real"]), report

  def d_regularise(self, state: TrainState, batch: Batch, draws: Draws) -> Gradients:
    """R1."""
    losses, d = self._losses(state), state.params["D"]

    def one(stats, part, draws):
      grads, report = losses.d_regularise(d, _real(part), draws, part["label"])
      return grads, stats, report

    grads, state, report = self._accumulate(state, batch, draws, "D", one)
    state = _count_signs(state, report.pop("scores_real_reg"))
    return _times(grads, self.settings.r1_every), state, report

  def finish(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The average generator, the augmentation's strength, and the counts."""
    settings, extra = self.settings, dict(state.extra)
    ramp = extra["images"] * settings.ema_ramp if settings.ema_ramp else jnp.inf
    half_life = jnp.clip(ramp, 1e-8, max(settings.ema_kimg * 1000, 1e-8))
    beta = 0.5 ** (settings.batch_size / half_life)
    ema = jax.tree.map(lambda old, new: new + (old - new) * beta, state.ema, state.params["G"])
    extra["images"] = extra["images"] + settings.batch_size
    metrics = {}
    if settings.pipe is not None:
      metrics["augment_p"] = 1.0 * extra["augment_p"]  # not the state's own array, which the next update uses up
    if settings.pipe is not None and settings.ada_target is not None:
      extra["augment_p"], extra["signs"] = self._adjust(state)
    return dataclasses.replace(state, step=state.step + 1, ema=ema, extra=extra), metrics

  # --- What they share.

  def step(self, state: TrainState, optimizer: str, grads: Params) -> TrainState:
    """One step of an optimiser on its network, frozen layers left out; gradients that are not finite are replaced (the
    losses say so and stop the run)."""
    network = _network(optimizer)
    if network == "D":
      grads = self._freeze(grads)
    grads = jax.tree.map(lambda x: jnp.nan_to_num(x, nan=0.0, posinf=_INFINITY, neginf=-_INFINITY), grads)
    updates, opt_state = self.optimizers[optimizer].update(grads, state.opt_state[optimizer])
    params = optax.apply_updates(state.params[network], updates)
    return dataclasses.replace(
      state,
      params={**state.params, network: params},
      opt_state={**state.opt_state, optimizer: opt_state},
    )

  def draws(self, state: TrainState, phase: int) -> Draws:
    """All random numbers of a phase, from the run's key, the update and the phase alone; (micro-batches, ...)."""
    g, settings = self.losses.generator, self.settings
    parts, size = settings.accumulate, settings.batch_size // settings.accumulate
    keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), phase), 6)
    if phase == 1:
      size = -(-size // settings.pl_shrink)
    mixes = jax.random.uniform(keys[2], (parts,)) < settings.mixing_prob
    cutoff = jax.random.randint(keys[3], (parts,), 1, g.num_ws)
    picture = (parts, size, g.img_resolution, g.img_resolution, g.img_channels)
    return Draws(
      z=_spread(jax.random.normal(keys[0], (parts, size, g.z_dim))),
      z_mix=_spread(jax.random.normal(keys[1], (parts, size, g.z_dim))),
      cutoff=jnp.where(mixes, cutoff, g.num_ws),
      noise=jax.random.split(keys[4], parts),
      augment=jax.random.split(keys[5], (parts, 2)),
      directions=_spread(jax.random.normal(jax.random.fold_in(keys[0], 1), picture)) if phase == 1 else None,
    )

  def _stage(self, index: int, optimizer: str, phase: Callable[[TrainState, Batch, Draws], Gradients]) -> Any:
    def run(state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
      grads, state, report = phase(state, batch, self.draws(state, index))
      metrics = {name: value.mean() for name, value in report.items()}
      if "scores_real" in report and self.settings.ada_target is not None:
        metrics["signs_real"] = jnp.sign(report["scores_real"]).mean()
      return self.step(state, optimizer, grads), metrics

    return run

  def _losses(self, state: TrainState) -> Losses:
    pipe, p = self.settings.pipe, state.extra["augment_p"]
    if pipe is None:
      return self.losses
    return dataclasses.replace(self.losses, augment=lambda images, key: augment(images, key, p, pipe))

  def _accumulate(self, state: TrainState, batch: Batch, draws: Draws, network: str, one: Callable) -> Gradients:
    """Sums ``one(statistics, part of the batch, its draws) -> (gradients, statistics, report)`` over micro-batches."""
    stats = Statistics(buffers=state.extra["G_buffers"], pl_mean=state.extra["pl_mean"])
    parts = self.settings.accumulate
    # Example i goes to part i % parts, so that on a mesh every part is spread over all devices without moving data.
    slices = {
      name: jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0) for name, x in batch.items()
    }
    if parts == 1:
      grads, stats, report = one(stats, *jax.tree.map(lambda x: x[0], (slices, draws)))
    else:

      def body(carry, xs):
        total, stats = carry
        grads, stats, report = one(stats, *xs)
        return (jax.tree.map(jnp.add, total, grads), stats), report

      start = (jax.tree.map(jnp.zeros_like, state.params[network]), stats)
      (grads, stats), report = jax.lax.scan(body, start, (slices, draws))
      report = {name: value.reshape(-1) for name, value in report.items()}
    extra = {**state.extra, "G_buffers": stats.buffers, "pl_mean": stats.pl_mean}
    return grads, dataclasses.replace(state, extra=extra), report

  def _freeze(self, grads: Params) -> Params:
    """Frozen layers get no gradient, which to Adam without momentum means that they stay."""
    frozen = dict(grads)
    for name in self.settings.frozen:
      block, layer = name.split(".")
      frozen[block] = {**frozen[block], layer: jax.tree.map(jnp.zeros_like, frozen[block][layer])}
    return frozen

  def _adjust(self, state: TrainState) -> tuple[jax.Array, jax.Array]:
    """Strength and signs after an update: adjusted in every fourth, when counting starts again."""
    settings, p, signs = self.settings, state.extra["augment_p"], state.extra["signs"]
    assert settings.ada_target is not None
    mean = signs[0] / jnp.maximum(signs[1], 1.0)
    new = adjust_p(p, mean, settings.batch_size, ADA_EVERY, settings.ada_target, settings.ada_kimg)
    due = (state.step + 1) % ADA_EVERY == 0
    return jnp.where(due, new, p), jnp.where(due, 0.0, signs)


def _network(optimizer: str) -> str:
  return "D" if optimizer == "D" else "G"


def _real(part: Batch) -> jax.Array:
  """Bytes to [-1, 1]."""
  image = part["image"]
  return image.astype(jnp.float32) / 127.5 - 1 if image.dtype == jnp.uint8 else image


def _count_signs(state: TrainState, logits: jax.Array) -> TrainState:
  signs = state.extra["signs"] + jnp.stack([jnp.sign(logits).sum(), jnp.asarray(logits.size, jnp.float32)])
  return dataclasses.replace(state, extra={**state.extra, "signs": signs})


def _times(grads: Params, factor: float) -> Params:
  return jax.tree.map(lambda x: x * factor, grads)


def _spread(x: jax.Array) -> jax.Array:
  """(micro-batches, N, ...) with N over all devices: latents decide where the generator's work is done."""
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec(None, ("data", "fsdp")))

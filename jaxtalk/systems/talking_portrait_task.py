"""How the talking portrait is taught: to draw the studio's picture of the same condition, then to fool a discriminator.

First only single pictures are drawn again (`stylegan2.paired_loss`), which gives control and identity in few pictures;
then a discriminator with the projection on the same condition (Miyato and Koyama 2018, as in the official network)
comes in beside them and makes textures. Gradient penalties are lazy (Karras et al. 2020, appendix B).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxtalk.core import InputError
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.data.portraits import PortraitSet
from jaxtalk.kernels.modulated_conv import choice
from jaxtalk.studio import points
from jaxtalk.stylegan2.networks import Discriminator, update_w_avg
from jaxtalk.stylegan2.paired_loss import pyramid_l1
from jaxtalk.stylegan2.phases import make_optimizer, make_paired_optimizer
from jaxtalk.stylegan2.task import tiles
from jaxtalk.stylegan2.transfer import load_start, start_from
from jaxtalk.systems import face_maps
from jaxtalk.systems import portrait_conditions as pc
from jaxtalk.systems import talking_portrait as tp
from jaxtalk.systems import talking_portrait_domains as domains
from jaxtalk.training.task import Batches, Stage, TrainState

Batch = Mapping[str, jax.Array]
Report = dict[str, jax.Array]
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_GREY = 128.0  # background of sheets
_LEAST_SCALE = 0.05  # of a condition's standardisation: rare channels are not blown up
_FOCUS_WIDTH = 0.35  # of the spots on eyes and mouth that count more, over the distance of the eyes
# Landmarks that the middle of eyes and mouth are the means of.
_EDGES = (slice(36, 42), slice(42, 48), slice(48, 68))


class PortraitSource:
  """Pictures of a `PortraitSet` with standardised labels, by index."""

  def __init__(self, columns: Mapping[str, np.ndarray], mean: np.ndarray, scale: np.ndarray):
    labels, _ = tp.standardise(columns["c"], mean, scale)
    self._columns = {name: columns[name] for name in ("image", "z", "points", "cover")} | {"label": labels}

  def __len__(self) -> int:
    return len(self._columns["image"])

  def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``image`` (S, S, 4) uint8, ``z``, ``label``, ``points`` and ``cover``."""
    del rng
    return {name: column[index] for name, column in self._columns.items()}

  def rows(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """A batch of them."""
    return {name: column[indices] for name, column in self._columns.items()}


class TalkingPortraitTask:
  """A `training.task.StagedTask` and `WarmStart`; see configs/talking_portrait.py for the fields."""

  sharding_rules = ()

  def __init__(self, config: ConfigDict):
    _check(config)
    choice.choose(config.kernels.modulated_conv)
    choice.say_once(choice.describe())
    self.config, model = config, config.model
    half = model.num_half_res if model.dtype != "float32" else 0
    self.generator = tp.make_generator(
      resolution=model.resolution,
      w_dim=model.w_dim,
      mapping_layers=model.mapping_layers,
      channel_base=model.channel_base,
      channel_max=model.channel_max,
      conv_clamp=model.conv_clamp or None,
      dtype=_DTYPES[model.dtype],
      num_half_res=half,
    )
    self.discriminator = Discriminator(
      c_dim=self.generator.c_dim,
      img_resolution=model.resolution,
      img_channels=tp.CHANNELS,
      channel_base=model.d_channel_base,
      channel_max=model.channel_max,
      mapping_layers=2,
      mbstd_group_size=model.mbstd_group,
      conv_clamp=model.conv_clamp or None,
      dtype=_DTYPES[model.dtype],
      num_half_res=half,
    )
    optimizer = config.optimizer
    warm, last = optimizer.warmup_steps, max(config.train.steps - optimizer.decay_steps, optimizer.warmup_steps + 1)
    schedule = optax.join_schedules(
      [
        optax.linear_schedule(0.0, optimizer.lr, warm),
        optax.constant_schedule(optimizer.lr),
        optax.cosine_decay_schedule(optimizer.lr, max(config.train.steps - last, 1), alpha=0.02),
      ],
      [warm, last],
    )
    self._g_optimizer = make_paired_optimizer(schedule, optimizer.mapping_boost)
    self._d_optimizer = make_optimizer(optimizer.d_lr, (0.0, 0.99), 1e-8, config.loss.r1_every)
    self._scales = np.zeros(pc.C_DIM, np.float32), np.ones(pc.C_DIM, np.float32)
    self._held_out: PortraitSource | None = None
    self._draw = jax.jit(self._painted)
    two = bool(config.data.other_path)
    self._other = domains.OtherDomain(config, self.generator, schedule, self._real, self._paint) if two else None

  def init(self, rng: jax.Array) -> TrainState:
    keys = jax.random.split(rng, 3)
    g = tp.init_generator(self.generator, keys[0])
    size = self.generator.img_resolution
    image = jnp.zeros((1, size, size, tp.CHANNELS))
    d = self.discriminator.init(keys[1], image, jnp.zeros((1, self.generator.c_dim)))
    params = {"G": g["params"], "D": d["params"]}
    opt_state = {"G": self._g_optimizer.init(params["G"]), "D": self._d_optimizer.init(params["D"])}
    if self._other:
      more, more_state = self._other.init(jax.random.fold_in(rng, 1), g["params"])
      params, opt_state = params | more, opt_state | more_state
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      ema=jax.tree.map(jnp.copy, params["G"]),
      opt_state=opt_state,
      rng=keys[2],
      extra={"G_buffers": g["buffers"]},
    )

  def warm_start(self, state: TrainState) -> tuple[TrainState, Sequence[str]]:
    """Copies what fits from ``config.init``, such as the same network at half the size."""
    if not self.config.init:
      return state, []
    if self.config.init.endswith(".safetensors"):
      found = tp.load(self.config.init).variables
      return start_from(state, {"G": found, "G_ema": found}, self.config.init)
    return start_from(state, load_start(self.config.init), self.config.init)

  def stages(self) -> Sequence[Stage]:
    loss = self.config.loss
    finish = [*(self._other.stages() if self._other else []), Stage("finish", self.finish)]
    if not loss.adversarial_weight:
      return [Stage("pair", self.pair), *finish]
    start = loss.adversarial_start
    adversarial = [
      Stage("G", self.joint, start=start),
      Stage("D", self.judge, start=start),
      Stage("Dreg", self.regularise, every=loss.r1_every, start=start),
    ]
    return [*([Stage("pair", self.pair, stop=start)] if start else []), *adversarial, *finish]

  # --- The stages.

  def pair(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The distance to single pictures."""

    def loss(g):
      painted, buffers = self._codes_and_picture(g, state, batch)
      values = self._distance(painted, batch)
      return values.mean(), (buffers, {"loss_pair": values.mean()})

    return self._g_step(state, loss)

  def joint(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The same, and the discriminator's opinion."""
    weight = self.config.loss.adversarial_weight

    def loss(g):
      painted, buffers = self._codes_and_picture(g, state, batch)
      values = self._distance(painted, batch)
      fooled = jax.nn.softplus(-self._logits(state.params["D"], painted, batch)).mean()
      return values.mean() + weight * fooled, (buffers, {"loss_pair": values.mean(), "loss_G": fooled})

    return self._g_step(state, loss)

  def judge(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The discriminator's logistic loss on pictures of the same conditions."""
    fake, _ = self._codes_and_picture(state.params["G"], state, batch)
    real = self._real(batch)

    def loss(d):
      on_fake, on_real = (self._logits(d, x, batch) for x in (fake, real))
      value = (jax.nn.softplus(on_fake) + jax.nn.softplus(-on_real)).mean()
      return value, {"loss_D": value, "sign_real": jnp.sign(on_real).mean(), "sign_fake": jnp.sign(on_fake).mean()}

    return self._d_step(state, loss)

  def regularise(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """R1, which counts as often as it is left out."""
    loss = self.config.loss

    def total(real, d):
      return self._logits(d, real, batch).sum()

    def penalty(d):
      slopes = jax.grad(total)(self._real(batch), d)
      value = jnp.square(slopes).sum((1, 2, 3)).mean()
      return value * (loss.r1_gamma / 2 * loss.r1_every), {"r1_penalty": value}

    return self._d_step(state, penalty)

  def finish(self, state: TrainState, batch: Batch) -> tuple[TrainState, Report]:
    """The average generator."""
    del batch
    decay = jnp.minimum(self.config.train.ema_decay, (1.0 + state.step) / (10.0 + state.step))
    ema = jax.tree.map(lambda old, new: new + (old - new) * decay, state.ema, state.params["G"])
    return dataclasses.replace(state, step=state.step + 1, ema=ema), {}

  # --- What they share.

  def _codes_and_picture(self, g, state: TrainState, batch: Batch) -> tuple[jax.Array, Mapping[str, Any]]:
    variables = {"params": g, "buffers": state.extra["G_buffers"]}
    painted = self._paint(variables, batch)
    codes = jnp.asarray(self.generator.apply(variables, batch["z"], batch["label"], method="mapping"))
    buffers = update_w_avg(state.extra["G_buffers"], jax.lax.stop_gradient(codes[:, 0]), self.generator.w_avg_beta)
    return painted, buffers

  def _logits(self, d, images: jax.Array, batch: Batch) -> jax.Array:
    """(N,) of pictures of the batch's conditions, positive is real."""
    return jnp.asarray(self.discriminator.apply({"params": d}, images, batch["label"]))[:, 0]

  def _paint(self, variables, rows: Batch) -> jax.Array:
    return tp.paint(self.generator, variables, rows, self.config.data.size)

  def _real(self, batch: Batch) -> jax.Array:
    """(N, R, R, 4) in [-1, 1]: the set's pictures at the network's size."""
    x = batch["image"].astype(jnp.float32) / 127.5 - 1
    factor = x.shape[1] // self.generator.img_resolution
    return face_maps.mean(x, factor) if factor > 1 else x

  def _distance(self, painted: jax.Array, batch: Batch) -> jax.Array:
    """(N,) weighted distance to the pictures."""
    face = (batch["points"][:, points.LANDMARKS, :2] + 0.5) / self.config.data.size
    centres = jnp.stack([face[:, s].mean(1) for s in _EDGES], axis=1)
    # Faces are of many sizes here, and little else tells how far a small mouth is open.
    width = _FOCUS_WIDTH * jnp.linalg.norm(centres[:, 1] - centres[:, 0], axis=-1)
    real, extra = self._real(batch), self.config.loss.focus_weight
    return self.config.loss.paired_weight * pyramid_l1(painted, real, centres, width=width, extra=extra)

  def _g_step(self, state: TrainState, loss) -> tuple[TrainState, Report]:
    grads, (buffers, report) = jax.grad(loss, has_aux=True)(state.params["G"])
    updates, opt_state = self._g_optimizer.update(grads, state.opt_state["G"])
    return dataclasses.replace(
      state,
      params={**state.params, "G": optax.apply_updates(state.params["G"], updates)},
      opt_state={**state.opt_state, "G": opt_state},
      extra={**state.extra, "G_buffers": buffers},
    ), report | {"grad_norm_G": optax.tree.norm(grads)}

  def _d_step(self, state: TrainState, loss) -> tuple[TrainState, Report]:
    grads, report = jax.grad(loss, has_aux=True)(state.params["D"])
    updates, opt_state = self._d_optimizer.update(grads, state.opt_state["D"])
    return dataclasses.replace(
      state,
      params={**state.params, "D": optax.apply_updates(state.params["D"], updates)},
      opt_state={**state.opt_state, "D": opt_state},
    ), report

  # --- Data, evaluation, export.

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    size, n = self.config.data.size, self.config.train.batch_size
    return {
      "image": jax.ShapeDtypeStruct((n, size, size, tp.CHANNELS), jnp.uint8),
      "z": jax.ShapeDtypeStruct((n, pc.Z_DIM), jnp.float32),
      "label": jax.ShapeDtypeStruct((n, self.generator.c_dim), jnp.float32),
      "points": jax.ShapeDtypeStruct((n, points.NUM, 3), jnp.float32),
      "cover": jax.ShapeDtypeStruct((n, size, size, len(points.COVERS)), jnp.uint8),
      **(self._other.batch_spec() if self._other else {}),
    }

  def train_batches(self, folder: Path) -> Batches:
    data, train = self.config.data, self.config.train
    unlabelled = self._other.open() if self._other else None  # first: what is wrong with it shall be said at once
    folder = Path(data.path) if data.path else folder
    columns = PortraitSet(data.people, data.size, data.seed).load(folder)
    self._scales = columns["c"].mean(0), np.maximum(columns["c"].std(0), _LEAST_SCALE)
    held_out = PortraitSet(data.held_out_people, data.size, data.seed + 1).load(folder)
    self._held_out = PortraitSource(held_out, *self._scales)
    source = PortraitSource(columns, *self._scales)
    batches = ShuffledBatches(source, train.batch_size, train.seed, (jax.process_index(), jax.process_count()))
    return self._other.batches(unlabelled, batches) if self._other and unlabelled else batches

  def evaluate(self, state: TrainState) -> Mapping[str, float | np.ndarray]:
    """Distance to pictures of people that were not trained on, and a sheet of them: pictures above, drawn below."""
    assert self._held_out is not None, "train_batches reads the held-out people"
    variables = {"params": state.ema, "buffers": state.extra["G_buffers"]}
    variables = jax.device_get(variables)
    count = min(len(self._held_out), 256)
    order = np.random.default_rng(0).permutation(len(self._held_out))[:count]
    values: list[np.ndarray] = []
    shown: list[np.ndarray] = []
    for start in range(0, count - 31, 32):
      rows = self._held_out.rows(order[start : start + 32])
      real, fake, distance = jax.device_get(self._draw(variables, rows))
      values.append(distance)
      if len(shown) < 2:
        shown += [real[i : i + 8] for i in range(0, 16, 8)] + [fake[i : i + 8] for i in range(0, 16, 8)]
    sheet = np.concatenate([shown[i] for i in (0, 2, 1, 3)])
    report: dict[str, float | np.ndarray] = {"held_out_distance": float(np.mean(values)), "held_out": tiles(sheet, 8)}
    if self._other:  # the same conditions in both domains
      below = self._other.drawings(variables, self._held_out.rows(order[:16]))
      report["other"] = tiles(np.concatenate([shown[2], below[:8], shown[3], below[8:]]), 8)
    return report

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    """The average generator in the format to ship."""
    path = folder / "talking_portrait.safetensors"
    tp.save(path, self.portrait(state))
    return [path]

  def portrait(self, state: TrainState) -> tp.TalkingPortrait:
    """The average generator of a state."""
    variables = jax.device_get({"params": state.ema, "buffers": state.extra["G_buffers"]})
    fields = json.loads(self.config.to_json_best_effort())
    fields["data"].update(path="", other_path="")
    fields["init"] = Path(self.config.init).name
    facts = {
      "source": "trained with jaxtalk, train.py --config=configs/talking_portrait.py",
      "trained_on": "synthetic children of jaxtalk's studio" + (", and pictures of the user's" if self._other else ""),
      "steps": int(state.step),
      "config": fields,
    }
    return tp.TalkingPortrait(self.generator, variables, *self._scales, facts)

  def _painted(self, variables, rows):
    painted = self._paint(variables, rows)
    grey = jnp.full((1, 1, 1, 3), _GREY)
    real = self._real(rows)
    return tp.composite(real, grey), tp.composite(painted, grey), self._distance(painted, rows)


def _check(config: ConfigDict) -> None:
  model, train, loss = config.model, config.train, config.loss
  if config.data.other_path:
    domains.check(config)
  if model.dtype not in _DTYPES:
    raise InputError(f"config.model.dtype is {model.dtype!r}; known: {', '.join(_DTYPES)}")
  if config.data.size % model.resolution:
    raise InputError(f"config.model.resolution={model.resolution} does not divide config.data.size={config.data.size}")
  if train.batch_size % min(train.batch_size, model.mbstd_group):
    raise InputError(f"config.model.mbstd_group {model.mbstd_group} does not divide the batch of {train.batch_size}")
  if loss.adversarial_weight < 0 or loss.adversarial_start < 0 or loss.paired_weight <= 0 or loss.r1_every < 1:
    raise InputError(
      "config.loss: paired_weight above 0, adversarial_weight and _start at least 0, r1_every at least 1"
    )

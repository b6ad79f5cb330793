"""What a system supplies to be trained: the `Task` protocol, its batches, and the ordinary gradient step.

A system whose update has parts that do not run every time (adversarial training with lazy regularisation) supplies a
`StagedTask` instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

Params = Mapping[str, Any]
Metrics = Mapping[str, jax.Array]
Spec = Sequence[str | tuple[str, ...] | None]
LossFn = Callable[[Params, Mapping[str, jax.Array], jax.Array], tuple[jax.Array, Metrics]]


@struct.dataclass
class TrainState:
  """Everything that a run needs to go on, as global arrays; it is what a checkpoint holds.

  Attributes:
    step: () int32, finished updates.
    params: nested dict of float32 arrays; a system with several networks has one entry for each.
    ema: moving average of ``params``, same shapes; what is evaluated and exported.
    opt_state: state of the optimiser, or a dict of them.
    rng: () PRNG key of the run; update ``n`` draws from ``fold_in(rng, n)``, so it never changes.
    extra: other arrays that are carried along (statistics, augmentation strength).
  """

  step: jax.Array
  params: Params
  ema: Params
  opt_state: Any
  rng: jax.Array
  extra: Mapping[str, Any]


class Batches(Protocol):
  """An endless iterator over batches whose position can be saved and set, as JSON.

  Each batch is a dict of NumPy arrays with the part of the global batch that this process feeds.
  """

  def __next__(self) -> Mapping[str, np.ndarray]: ...

  def get_state(self) -> dict[str, Any]: ...

  def set_state(self, state: dict[str, Any]) -> None: ...


class _Common(Protocol):
  """What every kind of task has. ``init`` is pure: the loop compiles it over the mesh.

  Attributes:
    sharding_rules: (regex over a parameter's path, partition spec) pairs, see `sharding.spec_for`; may be empty.
  """

  sharding_rules: Sequence[tuple[str, Spec]]

  def init(self, rng: jax.Array) -> TrainState:
    """The state at step 0; see `create_state`."""
    ...

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """Shapes of the global batch; the first axis is the example."""
    ...

  def train_batches(self, folder: Path) -> Batches:
    """The training data, from its start; ``folder`` is there for caches."""
    ...

  def evaluate(self, state: TrainState) -> Mapping[str, float | np.ndarray]:
    """Metrics on held-out data; an (H, W, 3) uint8 array is a picture to keep."""
    ...

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    """Writes what users load (weights and facts about them) and returns the files."""
    ...


class Task(_Common, Protocol):
  """One system's training, whose update is one pure function."""

  def update(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Metrics]:
    """One step and its scalar metrics; one that is not finite ends the run. See `gradient_update`."""
    ...


@dataclasses.dataclass(frozen=True)
class Stage:
  """A part of an update, compiled by itself.

  Separate programs, because branches in one program would need the memory of all parts at once, and because XLA's CPU
  backend is tens of times slower on gradients of convolutions inside a branch.

  Attributes:
    name: for messages.
    run: pure, (state, batch) -> (state, metrics of this part).
    every: it runs in the updates 0, every, 2 * every ... counted by ``state.step``,
    start: but not before this one,
    stop: and not in this one or later; None is no end.
  """

  name: str
  run: Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Metrics]]
  every: int = 1
  start: int = 0
  stop: int | None = None

  def due(self, step: int) -> bool:
    """Whether it runs in update ``step``."""
    return step >= self.start and (self.stop is None or step < self.stop) and step % self.every == 0


@runtime_checkable
class StagedTask(_Common, Protocol):
  """One system's training, whose update is a row of stages; the last one counts ``state.step`` up."""

  def stages(self) -> Sequence[Stage]:
    """The parts of an update, in order."""
    ...


@runtime_checkable
class WarmStart(Protocol):
  """A task that does not start from random weights alone."""

  def warm_start(self, state: TrainState) -> tuple[TrainState, Sequence[str]]:
    """The state to begin with, from the one that ``init`` made, and lines that say what was done."""
    ...


def create_state(
  params: Params, optimizer: optax.GradientTransformation, rng: jax.Array, extra: Mapping[str, Any] | None = None
) -> TrainState:
  """The state at step 0 of a system with one optimiser."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema=jax.tree.map(jnp.copy, params),  # a copy: the loop donates its buffers
    opt_state=optimizer.init(params),
    rng=rng,
    extra=extra or {},
  )


def gradient_update(
  state: TrainState,
  batch: Mapping[str, jax.Array],
  loss: LossFn,
  optimizer: optax.GradientTransformation,
  *,
  ema_decay: float = 0.999,
  accumulate: int = 1,
) -> tuple[TrainState, Metrics]:
  """One optimiser step on ``loss(params, batch, rng) -> (scalar mean over examples, metrics)``.

  Args:
    state: the state before.
    batch: dict of (B, ...) arrays.
    loss: differentiated with respect to its first argument.
    optimizer: the one whose state is in ``state.opt_state``.
    ema_decay: see `ema_update`.
    accumulate: the batch goes through in this many equal parts, one after the other, to save memory.

  Returns:
    The state after, and the loss's metrics with ``loss`` and ``grad_norm`` added.
  """
  rng = jax.random.fold_in(state.rng, state.step)
  (value, metrics), grads = _value_and_grad(loss, state.params, batch, rng, accumulate)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  after = dataclasses.replace(
    state,
    step=state.step + 1,
    params=params,
    ema=ema_update(state.ema, params, state.step, ema_decay),
    opt_state=opt_state,
  )
  return after, {"loss": value, "grad_norm": optax.tree.norm(grads), **metrics}


def ema_update(ema: Params, params: Params, step: jax.Array, decay: float) -> Params:
  """``d * ema + (1 - d) * params`` with ``d = min(decay, (1 + step) / (10 + step))``.

  The ramp keeps the random start out of the average of short runs.
  """
  d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda old, new: d * old + (1 - d) * new, ema, params)


def _value_and_grad(loss, params, batch, rng, parts):
  """Loss, metrics and gradients, averaged over ``parts`` slices of the batch."""
  value_and_grad = jax.value_and_grad(loss, has_aux=True)
  if parts == 1:
    return value_and_grad(params, batch, rng)

  # Example i goes to part i % parts, so that on a mesh every part is spread over all devices without moving data.
  slices = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), batch)
  _, results = jax.lax.scan(
    lambda i, part: (i + 1, value_and_grad(params, part, jax.random.fold_in(rng, i))), 0, slices
  )
  return jax.tree.map(lambda x: x.mean(0), results)

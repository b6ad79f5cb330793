"""From a task and a mesh to compiled functions: shapes first, then where they lie, then code; arrays come last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from jaxtalk import runtime
from jaxtalk.core import InputError
from jaxtalk.training import sharding
from jaxtalk.training.checkpoints import abstract_like
from jaxtalk.training.task import Batches, Stage, StagedTask, Task, TrainState, WarmStart


class Plan:
  """Shapes, shardings and compiled functions of a task on a mesh; makes no arrays before `init`.

  Attributes:
    state: TrainState of ShapeDtypeStructs with shardings.
    batch: the same for a batch.
  """

  def __init__(self, task: Task | StagedTask, mesh: jax.sharding.Mesh, seed: int):
    self.task, self.mesh = task, mesh
    self._key = jax.random.key(seed)
    shapes = jax.eval_shape(task.init, self._key)
    self.state: TrainState = abstract_like(shapes, sharding.shard_tree(shapes, mesh, task.sharding_rules))
    spread = sharding.batch_sharding(mesh)
    self.batch = {
      name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=spread) for name, x in task.batch_spec().items()
    }
    self.batch_size = next(iter(self.batch.values())).shape[0]
    sharding.check_batch_size(self.batch_size, mesh)
    self._spread = spread

  @property
  def num_params(self) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(self.state.params))

  def summary(self) -> str:
    """Size, batch and mesh in one line."""
    devices = " x ".join(f"{size} {axis}" for axis, size in self.mesh.shape.items())
    kind = self.mesh.devices.flat[0].device_kind
    return f"{self.num_params:,} parameters, batch of {self.batch_size}, mesh {devices} ({kind})"

  @property
  def unit(self) -> str:
    """What an example is called where speeds are shown."""
    return "img" if "image" in self.batch else "examples"

  def init(self) -> tuple[TrainState, Sequence[str]]:
    """The state at step 0, made where it will live, and what there is to say about it."""
    make = jax.jit(self.task.init, out_shardings=_shardings(self.state)).lower(self._key)
    state = make.compile(compiler_options=_once())(self._key)
    if not isinstance(self.task, WarmStart):
      return state, []
    state, notes = self.task.warm_start(state)
    return jax.device_put(state, _shardings(self.state)), notes

  def compile_update(self) -> Update:
    """The task's update, compiled for these shapes only."""
    whole = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())
    places = (_shardings(self.state), whole)
    stages = self.task.stages() if isinstance(self.task, StagedTask) else [Stage("update", self.task.update)]
    lowered = [
      jax.jit(stage.run, donate_argnums=0, out_shardings=places).lower(self.state, self.batch) for stage in stages
    ]
    options = runtime.compiler_options()
    with ThreadPoolExecutor() as threads:
      compiled = threads.map(lambda low: low.compile(compiler_options=options), lowered)
      return Update(list(zip(compiled, stages, strict=True)))

  def feed(self, data: Batches) -> dict[str, jax.Array]:
    """The next batch on the devices; InputError if it is not of the announced shapes."""
    batch = sharding.to_global(next(data), self._spread)
    got = {name: (value.shape, value.dtype) for name, value in batch.items()}
    want = {name: (value.shape, value.dtype) for name, value in self.batch.items()}
    if got != want:
      raise InputError(f"the training data gives batches of {got}, the task announced {want}")
    return batch

  def table(self) -> str:
    """Every parameter with its shape, size and partition, then the batch."""
    leaves = jax.tree_util.tree_leaves_with_path(self.state.params)
    rows = [("parameter", "shape", "size", "partition")]
    rows += [
      (sharding.path_name(path), str(x.shape), f"{math.prod(x.shape):,}", _partition(x.sharding)) for path, x in leaves
    ]
    rows += [("", "", "", ""), ("batch", "shape", "dtype", "partition")]
    rows += [(name, str(x.shape), str(x.dtype), _partition(x.sharding)) for name, x in self.batch.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", self.summary()])


class Update:
  """The compiled stages of an update. Calling it uses up the state that is passed in."""

  def __init__(self, stages: Sequence[tuple[jax.stages.Compiled, Stage]]):
    self._stages = stages

  def __call__(
    self, step: int, state: TrainState, batch: Mapping[str, jax.Array]
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    """State and metrics after update ``step``, which must be ``state.step``; metrics are those of stages that ran."""
    metrics: dict[str, jax.Array] = {}
    for run, stage in self._stages:
      if stage.due(step):
        state, new = run(state, batch)
        metrics |= new
    return state, metrics

  def flops(self) -> float:
    """Operations of one device in an average update, as XLA counts them, once all stages run."""
    lasting = [(run, stage.every) for run, stage in self._stages if stage.stop is None]
    return sum(float((run.cost_analysis() or {}).get("flops", 0.0)) / every for run, every in lasting)


def _once() -> dict[str, str | bool] | None:
  """For a program that runs once: on CPU, optimising it takes four times as long and saves nothing."""
  return {"xla_backend_optimization_level": "0"} if jax.default_backend() == "cpu" else None


def _shardings(tree: Any) -> Any:
  return jax.tree.map(lambda x: x.sharding, tree)


def _partition(placement: jax.sharding.NamedSharding) -> str:
  return "whole" if not any(placement.spec) else str(tuple(placement.spec))

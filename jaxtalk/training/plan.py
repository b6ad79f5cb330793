"""From a task and a mesh to compiled functions: shapes first, then where they lie, then code; arrays come last."""

from __future__ import annotations

import math
from typing import Any

import jax

from jaxtalk.core import InputError
from jaxtalk.training import sharding
from jaxtalk.training.checkpoints import abstract_like
from jaxtalk.training.task import Batches, Task, TrainState


class Plan:
  """Shapes, shardings and compiled functions of a task on a mesh; makes no arrays before `init`.

  Attributes:
    state: TrainState of ShapeDtypeStructs with shardings.
    batch: the same for a batch.
  """

  def __init__(self, task: Task, mesh: jax.sharding.Mesh, seed: int):
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

  def init(self) -> TrainState:
    """The state at step 0, made where it will live."""
    return jax.jit(self.task.init, out_shardings=_shardings(self.state))(self._key)

  def compile_update(self) -> jax.stages.Compiled:
    """``(state, batch) -> (state, metrics)``, compiled for these shapes only; the state passed in is used up."""
    whole = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())
    step = jax.jit(self.task.update, donate_argnums=0, out_shardings=(_shardings(self.state), whole))
    return step.lower(self.state, self.batch).compile()

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


def _shardings(tree: Any) -> Any:
  return jax.tree.map(lambda x: x.sharding, tree)


def _partition(placement: jax.sharding.NamedSharding) -> str:
  return "whole" if not any(placement.spec) else str(tuple(placement.spec))

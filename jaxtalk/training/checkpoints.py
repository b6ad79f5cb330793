"""Saving and restoring a run with Orbax: asynchronous, atomic, onto any mesh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxtalk.cli import one_line
from jaxtalk.core import InputError
from jaxtalk.training.task import TrainState


class Checkpoints:
  """The checkpoints of one run, a folder a step; the last ``keep`` stay. Use as a context manager.

  A checkpoint holds the train state, the position of the training data (JSON, the same on every process) and the
  config it was made with. Saving copies the state to the host and returns; writing goes on in the background, and a
  checkpoint that was not finished is not seen by a later run.
  """

  def __init__(self, folder: Path, *, keep: int, config: Mapping[str, Any]):
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    self.folder = folder
    self._config = dict(config)
    with self._errors_named("open"):
      self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, kind, error, trace) -> None:
    self._manager.close()

  @property
  def latest_step(self) -> int | None:
    """Step of the newest finished checkpoint; None if there is none."""
    return self._manager.latest_step()

  def save(self, step: int, state: TrainState, data_state: Mapping[str, Any]) -> None:
    """Starts to save unless this step is there already; waits for the save before it."""
    if step == self.latest_step:
      return
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(dict(data_state)), meta=ocp.args.JsonSave(self._config)
    )
    with self._errors_named("write"):
      self._manager.save(step, args=items, force=True)

  def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest state and data position, or None if there is none.

    Args:
      like: ShapeDtypeStructs with shardings; the mesh may be another than the one that was saved.

    Raises:
      InputError: the checkpoint is of another model or cannot be read.
    """
    if self.latest_step is None:
      return None
    items = ocp.args.Composite(state=ocp.args.StandardRestore(like), data=ocp.args.JsonRestore())
    with self._errors_named("restore"):
      restored = self._manager.restore(self.latest_step, args=items)
    return restored.state, restored.data

  def reached_preemption(self, step: int) -> bool:
    """Whether all processes of a distributed run agreed to stop at this step (its machines are being taken away)."""
    return jax.process_count() > 1 and self._manager.reached_preemption(step)

  def wait(self) -> None:
    """Returns once everything is on disk."""
    with self._errors_named("write"):
      self._manager.wait_until_finished()

  @contextlib.contextmanager
  def _errors_named(self, verb: str) -> Iterator[None]:
    try:
      yield
    except (OSError, ValueError, KeyError) as error:
      hint = "; a changed model needs another --workdir" if verb == "restore" else ""
      raise InputError(f"cannot {verb} the checkpoints in {self.folder}: {one_line(error)[:300]}{hint}") from error


def newest_state(folder: Path) -> dict[str, Any]:
  """The newest state in a folder of checkpoints as nested dicts of arrays on one device, whatever its shapes are.

  Raises:
    InputError: there is none.
  """
  handlers = {
    "state": ocp.StandardCheckpointHandler(),
    "data": ocp.JsonCheckpointHandler(),
    "meta": ocp.JsonCheckpointHandler(),
  }
  with ocp.CheckpointManager(folder.absolute(), item_handlers=handlers) as manager:
    step = manager.latest_step()
    if step is None:
      raise InputError(f"{folder} holds no finished checkpoint")
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = manager.item_metadata(step)["state"].tree
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)
    return manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))).state


def abstract_like(shapes: Any, shardings: Any) -> Any:
  """Shapes with their shardings: what `Checkpoints.restore` and ahead-of-time compilation take."""
  return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)

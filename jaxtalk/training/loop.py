"""The training loop that every system uses, readable from top to bottom."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxtalk.core import InputError, JaxtalkError
from jaxtalk.training import sharding
from jaxtalk.training.checkpoints import Checkpoints
from jaxtalk.training.plan import Plan
from jaxtalk.training.stop import StopSignal
from jaxtalk.training.task import StagedTask, Task, TrainState
from jaxtalk.training.writers import Progress, make_writers


class TrainingError(JaxtalkError):
  """A run that cannot go on, e.g. a loss that is not a number."""

  exit_code = 1


def train(task: Task | StagedTask, config: ConfigDict, workdir: Path, *, stream: IO[str] | None = None) -> TrainState:
  """Trains until ``config.train.steps``, going on from the newest checkpoint in ``workdir`` if there is one.

  Args:
    task: what to train.
    config: sections ``train`` (steps, batch_size, seed, log_every, eval_every, save_every, keep) and ``mesh``.
    workdir: gets ``config.json``, ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``, ``images/``, ``export/``,
      ``data/``.
    stream: where progress is printed, stdout by default.

  Returns:
    The last state; its ``step`` is smaller than ``config.train.steps`` if SIGTERM or Ctrl-C ended the run early.

  Raises:
    InputError: config, data or checkpoint do not fit.
    TrainingError: a metric is NaN or infinite. The last good checkpoint stays.
  """
  settings = config.train
  mesh = sharding.make_mesh(config.mesh)
  _prepare(workdir, config)
  with contextlib.ExitStack() as stack:
    # --- The mesh, shapes and places of everything, before any array is made; the step is compiled from them once.
    stack.enter_context(jax.set_mesh(mesh))
    plan = Plan(task, mesh, settings.seed)
    checkpoints = stack.enter_context(
      Checkpoints(workdir / "checkpoints", keep=settings.keep, config=json.loads(config.to_json_best_effort()))
    )

    # --- State and data: from the newest checkpoint, or from the seed.
    data = task.train_batches(workdir / "data")
    restored = checkpoints.restore(plan.state)
    notes: Sequence[str] = []
    if restored:
      state, data_state = restored
      data.set_state(data_state)
    else:
      state, notes = plan.init()
    start = int(state.step)
    writers = [stack.enter_context(contextlib.closing(w)) for w in make_writers(workdir, start)]
    progress = stack.enter_context(Progress(start, settings.steps, plan.batch_size, stream, plan.unit))
    progress.say(plan.summary() + (f", going on from step {start}" if start else ""))
    for note in notes:
      progress.say(note)

    progress.pause()
    clock = time.perf_counter()
    update = plan.compile_update()
    progress.say(f"the step is compiled ({time.perf_counter() - clock:.1f} s)")

    # --- Steps. Metrics are looked at one step late, so that the device works while the host makes the next batch.
    progress.resume()
    stop = stack.enter_context(StopSignal())  # only now: before the first step there is nothing to save
    step, pending, window = start, None, []
    while step < settings.steps:
      batch = plan.feed(data)
      state, metrics = update(step, state, batch)
      if pending:
        window.append(_finite(*pending, checkpoints))
      step += 1
      pending = (step, metrics)
      progress.advance(step)

      last = step == settings.steps
      log, evaluate, save = (last or step % every == 0 for every in _intervals(settings))
      ending = bool(stop.requested) or checkpoints.reached_preemption(step)
      if log or evaluate or save or ending:
        window.append(_finite(*pending, checkpoints))
        pending = None
      if log:
        report = progress.report(step, _averages(window))
        _write(writers, step, {f"train/{name}": value for name, value in {**report, **_memory()}.items()})
        window = []
      progress.pause()
      if save or ending:
        checkpoints.save(step, state, data.get_state())
      if evaluate and not ending:
        values, pictures = _split(task.evaluate(state))
        shown = [f"{name} {value:.4g}" for name, value in values.items()] + [f"images/{name}" for name in pictures]
        progress.say(f"step {step}  " + "  ".join(shown))
        _write(writers, step, values, pictures)
      progress.resume()
      if ending:
        break

    # --- The end: everything on disk before we say so.
    checkpoints.wait()
    if step < settings.steps:
      cause = stop.requested or "preemption"
      progress.say(f"stopped by {cause} at step {step}, saved; the same command goes on from there")
      return state
    files = task.export(state, workdir / "export")
    progress.say(f"done: step {step}; {', '.join(map(str, files))}")
    return state


def _prepare(workdir: Path, config: ConfigDict) -> None:
  for name in ("steps", "log_every", "eval_every", "save_every", "keep"):
    if config.train[name] < 1:
      raise InputError(f"config.train.{name} must be at least 1, not {config.train[name]}")
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(json.loads(config.to_json_best_effort()), indent=2) + "\n")
  except OSError as error:
    raise InputError(f"cannot write to --workdir={workdir}: {error.strerror}") from error


def _intervals(settings: ConfigDict) -> tuple[int, int, int]:
  return settings.log_every, settings.eval_every, settings.save_every


def _finite(step: int, metrics: Mapping[str, jax.Array], checkpoints: Checkpoints) -> dict[str, float]:
  """Metrics as floats, once the device has them."""
  values = {name: float(value) for name, value in jax.device_get(metrics).items()}
  bad = [name for name, value in values.items() if not math.isfinite(value)]
  if not bad:
    return values
  checkpoints.wait()
  good = checkpoints.latest_step
  kept = f"the checkpoint of step {good} in {checkpoints.folder} is good" if good else "no checkpoint was saved yet"
  raise TrainingError(f"{bad[0]} is {values[bad[0]]} at step {step}: stopped; {kept}; try a lower config.optimizer.lr")


def _averages(window: Sequence[Mapping[str, float]]) -> dict[str, float]:
  """The mean of every metric over the updates that have it: those of lazy stages are not in all of them."""
  names = dict.fromkeys(name for metrics in window for name in metrics)
  return {name: float(np.mean([metrics[name] for metrics in window if name in metrics])) for name in names}


def _memory() -> dict[str, float]:
  """Most memory that the fullest device of this process had in use so far; nothing where the backend cannot tell."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  peaks = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
  return {"device_memory_gib": max(peaks) / 2**30} if peaks else {}


def _split(results: Mapping[str, float | np.ndarray]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
  """Numbers and pictures of an evaluation, named for the logs."""
  pictures = {name: np.asarray(value) for name, value in results.items() if np.ndim(value) == 3}
  return {f"eval/{name}": float(value) for name, value in results.items() if name not in pictures}, pictures


def _write(writers, step, values, pictures: Mapping[str, np.ndarray] | None = None):
  for writer in writers:
    if values:
      writer.write(step, values)
    for name, picture in (pictures or {}).items():
      writer.picture(step, name, picture)

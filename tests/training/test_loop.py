"""The loop on a toy task: it learns, resumes exactly, scales over devices, and stops the way it should."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
import toy_config

from jaxtalk.core import InputError
from jaxtalk.training import loop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="module")
def compilation_cache(tmp_path_factory):
  """The same toy step is compiled once, not once a run."""
  names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
  before = [getattr(jax.config, f"jax_{name}") for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp("xla")), 0, -1), strict=True):
    jax.config.update(f"jax_{name}", value)
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(f"jax_{name}", value)


def run(workdir, **changes):
  """Trains the toy task with changed fields (``train__steps=5``); returns the last state and the printed text."""
  config = toy_config.get_config()
  for name, value in changes.items():
    section, _, field = name.rpartition("__")
    (config[section] if section else config)[field] = value
  task, text = toy_config.get_task(config), io.StringIO()
  state = loop.train(task, config, workdir, stream=text)
  return state, text.getvalue(), task


def losses(workdir, name="train/loss"):
  lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  return {line["step"]: line[name] for line in lines if name in line}


def test_loss_falls_and_everything_is_written(tmp_path):
  state, text, task = run(tmp_path, train__steps=60, train__eval_every=30)
  curve = losses(tmp_path)
  assert list(curve) == list(range(5, 61, 5))
  assert curve[60] < 0.5 * curve[5]
  assert int(state.step) == 60 and losses(tmp_path, "eval/error")[60] < losses(tmp_path, "eval/error")[30]
  assert json.loads((tmp_path / "export" / "facts.json").read_text()) == {"step": 60}
  assert json.loads((tmp_path / "config.json").read_text())["train"]["steps"] == 60
  assert "step 60/60" in text and "examples/s" in text and "done: step 60" in text


def test_the_step_is_traced_once_for_compiling(tmp_path):
  _, _, task = run(tmp_path, train__steps=30)
  assert task.traces == 1


@pytest.mark.parametrize(
  ("mesh", "noise"), [({"data": 8}, 0.0), ({"data": 2, "fsdp": 4}, 0.0), ({"data": 2, "fsdp": 2, "model": 2}, 0.1)]
)
def test_eight_devices_give_the_losses_of_one(tmp_path, mesh, noise):
  one, _, _ = run(tmp_path / "one", train__log_every=1, noise=noise)
  sizes = {f"mesh__{axis}": size for axis, size in mesh.items()}
  many, _, _ = run(tmp_path / "many", train__log_every=1, noise=noise, **sizes)
  a, b = losses(tmp_path / "one"), losses(tmp_path / "many")
  assert len(a) == 20
  np.testing.assert_allclose([b[step] for step in a], list(a.values()), rtol=1e-5)
  chex.assert_trees_all_close(jax.device_get(many.params), jax.device_get(one.params), atol=1e-5)
  assert len(many.params["down"]["kernel"].sharding.device_set) == 8


def test_resuming_gives_the_same_run_bit_for_bit(tmp_path):
  whole, _, _ = run(tmp_path / "whole", noise=0.1)
  with pytest.raises(loop.TrainingError):
    run(tmp_path / "parts", nan_at=13, noise=0.1)  # dies in step 14, after the checkpoint of step 10
  parts, text, _ = run(tmp_path / "parts", noise=0.1)
  assert "going on from step 10" in text
  chex.assert_trees_all_equal(parts.params, whole.params)
  chex.assert_trees_all_equal(parts.ema, whole.ema)
  chex.assert_trees_all_equal(parts.opt_state, whole.opt_state)
  assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_resuming_on_another_mesh_shape(tmp_path):
  whole, _, _ = run(tmp_path / "whole")
  with pytest.raises(loop.TrainingError):
    run(tmp_path / "parts", nan_at=13, mesh__data=8)
  parts, _, _ = run(tmp_path / "parts", mesh__data=2, mesh__fsdp=2, mesh__model=2)
  assert parts.params["down"]["kernel"].sharding.spec == jax.sharding.PartitionSpec(None, "model")
  chex.assert_trees_all_close(jax.device_get(parts.params), jax.device_get(whole.params), atol=1e-5)


def test_nan_stops_and_the_good_checkpoint_stays(tmp_path):
  with pytest.raises(loop.TrainingError, match=r"is nan at step 14: stopped; the checkpoint of step 10 in .* is good"):
    run(tmp_path, nan_at=13)
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10"]
  assert max(losses(tmp_path)) == 10
  with pytest.raises(loop.TrainingError, match="no checkpoint was saved yet"):
    run(tmp_path / "early", nan_at=2)


def test_a_nan_in_the_very_step_that_would_be_saved_is_not_saved(tmp_path):
  with pytest.raises(loop.TrainingError, match="step 10"):
    run(tmp_path, nan_at=9)
  assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_with_0_and_the_run_goes_on(tmp_path, number):
  command = [sys.executable, "train.py", "--config=tests/training/toy_config.py", f"--workdir={tmp_path}"]
  command += ["--config.train.steps=100000", "--config.pause=0.02", "--config.train.save_every=100000"]
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)}
  process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  for line in process.stdout:
    if line.startswith("step 10/"):
      break
  process.send_signal(number)
  out, err = process.communicate(timeout=60)
  assert process.returncode == 0, err
  assert f"stopped by {signal.Signals(number).name} at step" in out
  saved = int(next((tmp_path / "checkpoints").iterdir()).name)
  assert saved >= 10
  state, text, _ = run(tmp_path, train__steps=saved + 3)
  assert f"going on from step {saved}" in text and int(state.step) == saved + 3


def test_a_finished_run_only_exports(tmp_path):
  run(tmp_path)
  start = time.perf_counter()
  state, text, _ = run(tmp_path)
  assert int(state.step) == 20 and "step 20/20" not in text and "done: step 20" in text
  assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"train__batch_size": 30, "mesh__data": 8}, "batch_size 30 does not split over 8 devices"),
    ({"mesh__data": 16}, "does not fit 8 devices"),
    ({"optimizer__name": "adamm"}, "did you mean 'adam'"),
    ({"optimizer__schedule": "cosin"}, "did you mean 'cosine'"),
    ({"optimizer__warmup_steps": 20}, "0 <= warmup_steps < train.steps"),
    ({"train__steps": 0}, "train.steps"),
    ({"train__log_every": 0}, "config.train.log_every must be at least 1"),
  ],
)
def test_bad_configs_get_one_line(tmp_path, changes, message):
  with pytest.raises(InputError, match=message):
    run(tmp_path, **changes)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
  run(tmp_path)
  with pytest.raises(InputError, match="cannot restore the checkpoints in .* another --workdir"):
    run(tmp_path, width=32, train__steps=30)


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
  (tmp_path / "x").write_text("")
  with pytest.raises(InputError, match="cannot write to --workdir"):
    run(tmp_path / "x")

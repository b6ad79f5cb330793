"""train.py as people call it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOY = "--config=tests/training/toy_config.py"


def train(*words):
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  return subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, env=env, capture_output=True, text=True)


def test_dry_run_prints_the_parameters_and_shapes_and_writes_nothing(tmp_path):
  done = train(TOY, "--dry_run", f"--workdir={tmp_path / 'x'}", "--config.width=48")
  assert done.returncode == 0, done.stderr
  rows = [line.split() for line in done.stdout.splitlines()]
  assert ["down/kernel", "(16,", "48)", "768", "(None,", "'model')"] in rows
  assert ["up/bias", "(8,)", "8", "whole"] in rows
  assert ["x", "(32,", "16)", "float32", "(('data',", "'fsdp'),)"] in rows
  assert f"{16 * 48 + 48 + 48 * 8 + 8:,} parameters" in done.stdout
  assert not (tmp_path / "x").exists()


def test_help_and_mistakes(tmp_path):
  done = train("--help", TOY)
  assert done.returncode == 0 and "--config.noise" in done.stdout and "of dropout" in done.stdout
  done = train(TOY, "--config.train.stps=3")
  assert done.returncode == 2
  assert done.stderr == "train.py: the config has no field 'train.stps', did you mean 'train.steps'?\n"
  (tmp_path / "none.py").write_text("from ml_collections import ConfigDict\nget_config = ConfigDict\n")
  done = train(f"--config={tmp_path / 'none.py'}")
  assert done.returncode == 2 and "is not for train.py" in done.stderr


def test_nan_is_one_line_and_exit_code_1(tmp_path):
  done = train(TOY, f"--workdir={tmp_path}", "--config.nan_at=3", "--config.train.save_every=2")
  assert done.returncode == 1
  assert done.stderr.startswith("train.py: ") and done.stderr.count("\n") == 1
  assert "is nan at step 4" in done.stderr and "checkpoint of step 2" in done.stderr

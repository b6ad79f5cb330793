"""Where numbers and pictures go: JSON lines and PNG always, TensorBoard if it is installed, and the terminal."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Writer(Protocol):
  """Takes scalars and (H, W, 3) uint8 pictures by name."""

  def write(self, step: int, values: Mapping[str, float]) -> None: ...

  def picture(self, step: int, name: str, image: np.ndarray) -> None: ...

  def close(self) -> None: ...


class JsonlWriter:
  """``{"step": n, "name": value, ...}`` a line; those after ``resume_step`` are dropped: they will come again."""

  def __init__(self, path: Path, resume_step: int = 0):
    lines = path.read_text().splitlines() if path.exists() else []
    keep = [line for line in lines if _step_of(line) <= resume_step]
    path.write_text("".join(line + "\n" for line in keep))
    self._file = path.open("a")

  def write(self, step: int, values: Mapping[str, float]) -> None:
    self._file.write(
      json.dumps({"step": step, **{name: float(f"{value:.6g}") for name, value in values.items()}}) + "\n"
    )
    self._file.flush()

  def picture(self, step: int, name: str, image: np.ndarray) -> None:
    """Pictures are not JSON."""

  def close(self) -> None:
    self._file.close()


class PngWriter:
  """Pictures as ``NAME_STEP.png`` in a folder, which is made when the first one comes."""

  def __init__(self, folder: Path):
    self._folder = folder

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Numbers are not pictures."""

  def picture(self, step: int, name: str, image: np.ndarray) -> None:
    self._folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(self._folder / f"{name}_{step:07d}.png")

  def close(self) -> None:
    """Every file is complete already."""


class TensorBoardWriter:
  """Scalars as TensorBoard event files."""

  def __init__(self, folder: Path, resume_step: int = 0):
    from tensorboardX import SummaryWriter  # an extra, looked for by `make_writers`

    self._writer = SummaryWriter(str(folder), purge_step=resume_step + 1 if resume_step else None)

  def write(self, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
      self._writer.add_scalar(name, value, step)

  def picture(self, step: int, name: str, image: np.ndarray) -> None:
    self._writer.add_image(name, image, step, dataformats="HWC")

  def close(self) -> None:
    self._writer.close()


def make_writers(workdir: Path, resume_step: int = 0) -> list[Writer]:
  """``workdir/metrics.jsonl``, ``workdir/images``, and ``workdir/tensorboard`` if tensorboardX can be imported."""
  writers: list[Writer] = [JsonlWriter(workdir / "metrics.jsonl", resume_step), PngWriter(workdir / "images")]
  if importlib.util.find_spec("tensorboardX"):
    writers.append(TensorBoardWriter(workdir / "tensorboard", resume_step))
  return writers


class Progress:
  """Speed and expected end: a bar on a terminal, one line a report otherwise. Use as a context manager.

  ``unit`` is what an example is called. Time between `pause` and `resume` (evaluation, saving) does not count as
  training.
  """

  def __init__(self, start: int, total: int, batch_size: int, stream: IO[str] | None = None, unit: str = "examples"):
    self._stream = stream or sys.stdout
    self._total, self._batch_size, self._unit = total, batch_size, unit
    self._step, self._clock = start, time.perf_counter()
    self._paused_at = 0.0
    self._bar = None
    if self._stream.isatty():
      columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
      )
      self._bar = RichProgress(*columns)
      self._task = self._bar.add_task("", total=total, completed=start)

  def __enter__(self) -> Progress:
    if self._bar:
      self._bar.start()
    return self

  def __exit__(self, kind, error, trace) -> None:
    if self._bar:
      self._bar.stop()

  def advance(self, step: int) -> None:
    """A step is done."""
    if self._bar:
      self._bar.update(self._task, completed=step)

  def report(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
    """Shows the values; returns them with ``steps_per_second`` and ``examples_per_second`` since the last report."""
    now = time.perf_counter()
    rate = (step - self._step) / max(now - self._clock, 1e-9)
    self._step, self._clock = step, now
    speed = {"steps_per_second": rate, "examples_per_second": rate * self._batch_size}
    shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
    text = f"{shown}  {rate:.3g} steps/s  {rate * self._batch_size:.4g} {self._unit}/s"
    if self._bar:
      self._bar.update(self._task, description=text)
    else:
      left = (self._total - step) / max(rate, 1e-9)
      print(f"step {step}/{self._total}  {text}  {_duration(left)} left", file=self._stream, flush=True)
    return {**values, **speed}

  def say(self, text: str) -> None:
    """A line of its own."""
    if self._bar:
      self._bar.console.print(text, highlight=False, markup=False)
    else:
      print(text, file=self._stream, flush=True)

  def pause(self) -> None:
    """The clock stops."""
    self._paused_at = time.perf_counter()

  def resume(self) -> None:
    """The clock goes on."""
    self._clock += time.perf_counter() - self._paused_at


def _duration(seconds: float) -> str:
  minutes, hours = round(seconds / 60), seconds / 3600
  return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{hours:.1f} h"


def _step_of(line: str) -> float:
  """Step of a JSON line; a line cut by a crash counts as never written."""
  try:
    return json.loads(line)["step"]
  except (json.JSONDecodeError, KeyError, TypeError):
    return float("inf")

"""What a person at the terminal sees: a bar on a terminal, one plain line a clip otherwise; and the run's log file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jaxtalk.cli import one_line
from jaxtalk.core import ClipSpec


class ConsoleProgress:
  """Tells a console (default: the standard output) and ``out/run_log.jsonl`` how it goes. A context manager."""

  def __init__(self, out: Path, total: int, console: Console | None = None):
    self._console = console or Console(highlight=False, soft_wrap=True)
    self._total, self._done = total, 0
    self.out = out
    self._log: IO[str] | None = None
    self._bar = Progress(
      TextColumn("{task.description}"),
      BarColumn(),
      MofNCompleteColumn(),
      TextColumn("frames"),
      TimeElapsedColumn(),
      console=self._console,
      transient=True,
      disable=not self._console.is_terminal,
    )
    self._task = self._bar.add_task("getting ready", total=None)
    self.stage_seconds: dict[str, float] = {}
    self.clip_seconds = 0.0

  def __enter__(self) -> Self:
    self._log = open(self.out / "run_log.jsonl", "a", encoding="utf-8")
    self._bar.start()
    return self

  def __exit__(self, *_: object) -> None:
    self._bar.stop()
    if self._log is not None:
      self._log.close()

  def say(self, line: str) -> None:
    """Prints a line (above the bar, if there is one)."""
    self._console.print(escape(line))

  def kept(self, document: dict[str, Any]) -> None:
    self._done += 1
    self.say(f"{document['id']} is there already, unchanged ({self._done}/{self._total})")
    self._record(document["id"], "kept")

  def frames(self, spec: ClipSpec, done: int, total: int) -> None:
    self._bar.update(self._task, description=f"{spec.id} ({spec.index + 1}/{self._total})", completed=done, total=total)

  def finished(self, spec: ClipSpec, document: dict[str, Any], seconds: dict[str, float]) -> None:
    self._done += 1
    for stage, value in seconds.items():
      self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + value
    self.clip_seconds += float(document["frames"] / spec.fps)
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
    self.say(f"{spec.id} ({self._done}/{self._total}): {describe(document)} [{stages} s]")
    self._record(spec.id, "made", seconds={stage: round(value, 3) for stage, value in seconds.items()})

  def failed(self, name: str, error: Exception) -> None:
    self._done += 1
    self.say(f"{name} ({self._done}/{self._total}) FAILED: {one_line(error)}")
    self._record(name, "failed", error=one_line(error))

  def _record(self, name: str, result: str, **facts: Any) -> None:
    """One JSON object a line with the wall-clock time, which is why it is not part of a clip's own files."""
    if self._log is not None:
      now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
      self._log.write(json.dumps({"time": now, "clip": name, "result": result, **facts}) + "\n")
      self._log.flush()


def describe(document: Mapping[str, Any]) -> str:
  """ "6-year-old girl, happy 0.6: 'Hello.', 3.2 s" """
  return f"{who(document)}, {mood(document)}: {words(document)}, {document['speech']['seconds']:.1f} s"


def who(document: Mapping[str, Any]) -> str:
  """ "6-year-old girl" """
  identity = document["identity"]
  age, female = identity["age_years"]["requested"], identity["gender"]["requested"] == "f"
  noun = ("girl" if female else "boy") if age < 18 else ("woman" if female else "man")
  return f"{age:g}-year-old {noun}"


def mood(document: Mapping[str, Any]) -> str:
  """ "happy 0.6", or "neutral" """
  emotion = document["emotion"]
  return emotion["label"] if not emotion["intensity"] else f"{emotion['label']} {emotion['intensity']:.2g}"


def words(document: Mapping[str, Any]) -> str:
  """What is said, in quotation marks, or the name of the recording."""
  speech = document["speech"]
  return f"\u201c{speech['text']}\u201d" if "text" in speech else speech.get("recording_name", "a recording")

"""The main path: a config goes in, finished clips come out.

Three stages work at the same time and hand over through bounded queues: the voice is one or two clips ahead in a
thread of its own, motion and pictures are made here, and a writer thread encodes frames while the next ones render.
A clip that fails is listed and the others go on; what is finished stays, whatever happens later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from jaxtalk.clips.channel import Channel, Stopwatch, ahead
from jaxtalk.clips.plan import Plan
from jaxtalk.clips.writer import ClipWriter
from jaxtalk.core import Animator, ClipSpec, Frames, JaxtalkError, Motion, Renderer, Speech, Voice

# Errors that say something about one clip; OSError (no space left, folder gone) ends the run, others are bugs.
CLIP_ERRORS = (JaxtalkError, ValueError, ArithmeticError)


class Progress(Protocol):
  """Who is told how it goes."""

  def kept(self, document: dict[str, Any]) -> None: ...
  def frames(self, spec: ClipSpec, done: int, total: int) -> None: ...
  def finished(self, spec: ClipSpec, document: dict[str, Any], seconds: dict[str, float]) -> None: ...
  def failed(self, name: str, error: Exception) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
  """The parts that make a clip."""

  voice: Voice
  animator: Animator
  renderer: Renderer


@dataclasses.dataclass
class Outcome:
  """What became of a run: documents of the clips made or kept, errors by clip name, and what ended it early."""

  documents: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  failures: dict[str, Exception] = dataclasses.field(default_factory=dict)
  stopped: OSError | None = None


@dataclasses.dataclass(frozen=True)
class _Kept:
  """A clip that is there already."""

  document: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Failed:
  """A clip that will not be."""

  name: str
  error: Exception


@dataclasses.dataclass(frozen=True)
class _Spoken:
  """A clip on its way; ``seconds`` collects the work of each stage, waiting left out."""

  spec: ClipSpec
  speech: Speech
  seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class _Written:
  """A clip whose last frames are being written; the future is its document."""

  item: _Spoken
  document: Future[dict[str, Any]]


def run(plan: Plan, stages: Stages, writer: ClipWriter, progress: Progress) -> Outcome:
  """Makes all clips of a plan, in order."""
  outcome = Outcome()
  underway: deque[_Kept | _Failed | _Written] = deque()
  with ThreadPoolExecutor(max_workers=1) as pool:
    try:
      for item in ahead(_spoken(plan, stages.voice, writer), depth=2):
        underway.append(_make(item, stages, writer, pool, progress) if isinstance(item, _Spoken) else item)
        if len(underway) > 1:  # the clip before: its last frames were encoded while this one was rendered
          _collect(underway.popleft(), outcome, progress)
      while underway:
        _collect(underway.popleft(), outcome, progress)
    except OSError as error:
      outcome.stopped = error
      for rest in underway:  # made before it was known that no more can be written
        with contextlib.suppress(OSError):
          _collect(rest, outcome, progress)
  return outcome


def _spoken(plan: Plan, voice: Voice, writer: ClipWriter) -> Iterator[_Kept | _Failed | _Spoken]:
  """Resolves each clip and gives it a voice, unless the very same clip is there already."""
  for index in range(len(plan)):
    try:
      spec = plan[index]
      kept = writer.finished(spec)
      if kept is not None:
        yield _Kept(kept)
        continue
      start = time.perf_counter()
      speech = voice.speak(spec)
      yield _Spoken(spec, speech, {"voice": time.perf_counter() - start})
    except CLIP_ERRORS as error:
      yield _Failed(f"clip_{index:09d}", error)


def _make(
  item: _Spoken, stages: Stages, writer: ClipWriter, pool: ThreadPoolExecutor, progress: Progress
) -> _Written | _Failed:
  """Animates and renders a clip while the writer thread encodes it."""
  start = time.perf_counter()
  try:
    motion = animate(stages.animator, item.spec, item.speech)
  except CLIP_ERRORS as error:
    return _Failed(item.spec.id, error)
  item.seconds["motion"] = time.perf_counter() - start
  chunks: Channel[Frames] = Channel(depth=2)
  document = pool.submit(_write, item, writer, motion, chunks)
  _render(item, stages.renderer, motion, chunks, progress)
  return _Written(item, document)


def animate(animator: Animator, spec: ClipSpec, speech: Speech) -> Motion:
  """The motion of one clip."""
  (motion,) = animator.animate(
    [speech],
    fps=spec.fps,
    seeds=[spec.seed],
    emotions=[spec.emotion],
    styles=[spec.style],
    ages=[spec.person.age_years],
  )
  return motion


def _render(item: _Spoken, renderer: Renderer, motion: Motion, chunks: Channel[Frames], progress: Progress) -> None:
  """Feeds the writer until the clip is done or the writer has given up on it."""
  spec, done, seconds = item.spec, 0, 0.0
  start = time.perf_counter()
  try:
    for frames in renderer.render(motion, spec.person, spec.scene, seed=spec.seed):
      seconds += time.perf_counter() - start
      if not chunks.put(frames):
        break
      done += len(frames.images)
      progress.frames(spec, done, motion.num_frames)
      start = time.perf_counter()
    chunks.finish()
  except BaseException as error:
    chunks.finish(error)  # the writer throws its part away and raises the error where it is collected
    if not isinstance(error, CLIP_ERRORS):
      raise
  item.seconds["picture"] = seconds


def _write(item: _Spoken, writer: ClipWriter, motion: Motion, chunks: Channel[Frames]) -> dict[str, Any]:
  waiting = Stopwatch(chunks)
  start = time.perf_counter()
  try:
    return writer.write(item.spec, item.speech, motion, waiting)
  finally:
    chunks.leave()
    item.seconds["write"] = time.perf_counter() - start - waiting.seconds


def _collect(item: _Kept | _Failed | _Written, outcome: Outcome, progress: Progress) -> None:
  """Waits for a clip and notes what became of it."""
  if isinstance(item, _Written):
    try:
      document = item.document.result()
    except CLIP_ERRORS as error:
      item = _Failed(item.item.spec.id, error)
    else:
      outcome.documents.append(document)
      progress.finished(item.item.spec, document, item.item.seconds)
  if isinstance(item, _Kept):
    outcome.documents.append(item.document)
    progress.kept(item.document)
  elif isinstance(item, _Failed):
    outcome.failures[item.name] = item.error
    progress.failed(item.name, item.error)

"""The main path: a config goes in, finished clips come out.

Three stages work at the same time and hand over through bounded queues: the voice is one or two clips ahead in a
thread of its own, motion and pictures are made here, and a writer thread encodes frames while the next ones render.
A renderer that can fills its batches with frames of several clips (`core.ClipsRenderer`).
A clip that fails is listed and the others go on; what is finished stays, whatever happens later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Iterable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from jaxtalk.clips.channel import Channel, Stopwatch, ahead
from jaxtalk.clips.plan import Plan
from jaxtalk.clips.writer import ClipWriter
from jaxtalk.core import (
  CLIP_ERRORS,
  Animator,
  ClipSpec,
  ClipsRenderer,
  Frames,
  Motion,
  Renderer,
  RenderJob,
  Speech,
  Voice,
)


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


@dataclasses.dataclass
class _Underway:
  """A clip that is rendered and written; ``document`` is what comes of it."""

  item: _Spoken
  motion: Motion
  chunks: Channel[Frames]
  document: Future[dict[str, Any]]
  done: int = 0  # frames rendered


def run(plan: Plan, stages: Stages, writer: ClipWriter, progress: Progress) -> Outcome:
  """Makes all clips of a plan, in order."""
  with ThreadPoolExecutor(max_workers=1) as pool:
    floor = _Floor(plan, stages, writer, progress, pool)
    try:
      floor.work()
    except OSError as error:
      floor.stop(error)
    except BaseException as error:
      floor.let_go(error)
      raise
  return floor.outcome


class _Floor:
  """The clips of a run between their voice and their document."""

  def __init__(self, plan: Plan, stages: Stages, writer: ClipWriter, progress: Progress, pool: ThreadPoolExecutor):
    self.outcome = Outcome()
    self._plan, self._stages, self._writer, self._progress, self._pool = plan, stages, writer, progress, pool
    self._line: deque[_Kept | _Failed | _Underway] = deque()  # in the order of the plan
    self._jobs: list[_Underway | None] = []  # by number of the job; None once it is rendered
    self._given_up: set[int] = set()

  def work(self) -> None:
    jobs = Stopwatch(self._make_jobs())
    start, away = time.perf_counter(), 0.0
    for number, part in _pictures(self._stages.renderer, jobs, self._given_up):
      seconds = time.perf_counter() - start - (jobs.seconds - away)
      self._take(number, part, seconds)
      start, away = time.perf_counter(), jobs.seconds
    while self._line:
      self._finish(self._line.popleft())

  def stop(self, error: OSError) -> None:
    """No more can be written: keeps what was made before that was known."""
    self.outcome.stopped = error
    self.let_go(error)
    while self._line:
      with contextlib.suppress(OSError):
        self._finish(self._line.popleft())

  def let_go(self, error: BaseException) -> None:
    """Lets the writer throw away what is not whole, so that nobody waits for it."""
    for clip in self._jobs:
      if clip is not None:
        clip.chunks.finish(error)

  def _make_jobs(self) -> Iterator[RenderJob]:
    """Animates every clip that has a voice, and opens the writer's end of it."""
    for item in ahead(_spoken(self._plan, self._stages.voice, self._writer), depth=2):
      made = self._open(item) if isinstance(item, _Spoken) else item
      self._line.append(made)
      while self._line and not isinstance(self._line[0], _Underway):  # nothing to wait for
        self._finish(self._line.popleft())
      if isinstance(made, _Underway):
        self._jobs.append(made)
        spec = made.item.spec
        yield made.motion, spec.person, spec.scene, spec.seed

  def _open(self, item: _Spoken) -> _Underway | _Failed:
    start = time.perf_counter()
    try:
      motion = animate(self._stages.animator, item.spec, item.speech)
    except CLIP_ERRORS as error:
      return _Failed(item.spec.id, error)
    item.seconds.update(motion=time.perf_counter() - start, picture=0.0)
    chunks: Channel[Frames] = Channel(depth=2)
    return _Underway(item, motion, chunks, self._pool.submit(_write, item, self._writer, motion, chunks))

  def _take(self, number: int, part: Frames | Exception | None, seconds: float) -> None:
    """Hands frames to the writer; None is the end of a clip, an error the end of one that fails."""
    clip = self._jobs[number]
    assert clip is not None, f"the renderer gave frames of job {number} after its end"
    clip.item.seconds["picture"] += seconds
    if isinstance(part, Frames):
      if clip.chunks.put(part):
        clip.done += len(part.images)
        self._progress.frames(clip.item.spec, clip.done, clip.motion.num_frames)
      else:
        self._given_up.add(number)
      return
    clip.chunks.finish(part)  # with an error, the writer throws its part away and raises it where it is collected
    self._jobs[number] = None
    while self._line[0] is not clip:  # of the clip before, the last frames were encoded while this one was rendered
      self._finish(self._line.popleft())

  def _finish(self, item: _Kept | _Failed | _Underway) -> None:
    """Waits for a clip and notes what became of it."""
    if isinstance(item, _Underway):
      try:
        document = item.document.result()
      except CLIP_ERRORS as error:
        item = _Failed(item.item.spec.id, error)
      else:
        self.outcome.documents.append(document)
        self._progress.finished(item.item.spec, document, item.item.seconds)
    if isinstance(item, _Kept):
      self.outcome.documents.append(item.document)
      self._progress.kept(item.document)
    elif isinstance(item, _Failed):
      self.outcome.failures[item.name] = item.error
      self._progress.failed(item.name, item.error)


def _pictures(
  renderer: Renderer, jobs: Iterable[RenderJob], given_up: Set[int]
) -> Iterator[tuple[int, Frames | Exception | None]]:
  """Number of the job and its frames, in order; each job ends with None or with the error that ended it."""
  if isinstance(renderer, ClipsRenderer):
    yield from _ends(renderer.render_clips(jobs))
    return
  for number, (motion, person, scene, seed) in enumerate(jobs):
    try:
      for frames in renderer.render(motion, person, scene, seed=seed):
        yield number, frames
        if number in given_up:
          break
      yield number, None
    except CLIP_ERRORS as error:
      yield number, error


def _ends(parts: Iterable[tuple[int, Frames | Exception]]) -> Iterator[tuple[int, Frames | Exception | None]]:
  """The same, and None after the last frames of each clip that did not fail."""
  open_job: int | None = None
  for number, part in parts:
    if open_job is not None and open_job != number:
      yield open_job, None
    yield number, part
    open_job = number if isinstance(part, Frames) else None
  if open_job is not None:
    yield open_job, None


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


def _write(item: _Spoken, writer: ClipWriter, motion: Motion, chunks: Channel[Frames]) -> dict[str, Any]:
  waiting = Stopwatch(chunks)
  start = time.perf_counter()
  try:
    return writer.write(item.spec, item.speech, motion, waiting)
  finally:
    chunks.leave()
    item.seconds["write"] = time.perf_counter() - start - waiting.seconds

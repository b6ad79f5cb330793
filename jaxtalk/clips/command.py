"""What ``python generate.py`` does once its flags are read: builds the stages, runs them, writes the page, sums up."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ml_collections import ConfigDict

from jaxtalk import runtime
from jaxtalk.cli import config_hash, nearest, one_line
from jaxtalk.clips import folder, marks, pipeline, report
from jaxtalk.clips.plan import Plan
from jaxtalk.clips.progress import ConsoleProgress
from jaxtalk.clips.writer import ClipWriter, Outputs
from jaxtalk.core import Animator, ClipSpec, InputError, JaxtalkError, Renderer, Speech, Voice
from jaxtalk.motion import ANIMATORS, make_animator
from jaxtalk.speech.audio import read_audio
from jaxtalk.speech.voices import make_voice
from jaxtalk.studio.renderer import StudioRenderer

RENDERERS = ("studio", "stylegan2")


class Recording:
  """The voice of a recording: whatever the clip, it says what was recorded. InputError if it cannot be used."""

  def __init__(self, path: str):
    self._speech = read_audio(path)

  def speak(self, spec: ClipSpec) -> Speech:
    return self._speech


def generate(config: ConfigDict, out: Path) -> int:
  """Makes the clips of a config in ``out`` and returns the exit code: 0 all there, 1 some failed, 2 or 3 none is there.

  Raises:
    InputError, MissingAssetError: before anything is made, for a config, a recording or a folder that cannot be used.
  """
  start = time.perf_counter()
  runtime.setup_jax()
  plan = Plan(config)
  outputs = Outputs(**config.outputs.to_dict())
  stages = make_stages(config, outputs)
  writer = ClipWriter(out, outputs, provenance(config))
  try:
    with ConsoleProgress(out, len(plan)) as progress:
      if runtime.cache_is_empty():
        progress.say("The first run on a machine compiles its programs: half a minute or so, once.")
      outcome = pipeline.run(plan, stages, writer, progress)
  finally:
    page = _write_overview(out)  # also after Ctrl-C: what is there can be looked at
  return _sum_up(outcome, progress, len(plan), page, time.perf_counter() - start)


def make_stages(config: ConfigDict, outputs: Outputs) -> pipeline.Stages:
  """The voice, animator and renderer that a config names."""
  return pipeline.Stages(
    renderer=make_renderer_of(config, outputs),
    voice=make_voice_of(config),
    animator=make_animator_of(config),
  )


def make_renderer_of(config: ConfigDict, outputs: Outputs) -> Renderer:
  """The renderer that a config names."""
  if config.renderer not in RENDERERS:
    hint = nearest(config.renderer, RENDERERS)
    raise InputError(f"config.renderer={config.renderer!r}: unknown{hint} (there are: {', '.join(RENDERERS)})")
  if config.renderer == "studio":
    return StudioRenderer(maps=outputs.labels)
  from jaxtalk.systems.talking_portrait_renderer import TalkingPortraitRenderer  # loads flax

  return TalkingPortraitRenderer(config.portrait.weights, maps=outputs.labels, domain=config.portrait.domain)


def make_animator_of(config: ConfigDict) -> Animator:
  """The animator that a config names: the motion flow, or one of `jaxtalk.motion`."""
  learned = config.learned
  if _animator_name(config) == "learned":
    from jaxtalk.systems.motion_flow_stream import MotionFlowAnimator  # loads flax

    weights = Path(learned.weights) if learned.weights else None
    return MotionFlowAnimator(weights, steps=learned.steps, guidance=(learned.speech, learned.manner))
  if config.animator not in ANIMATORS:
    names = ("auto", "learned", *ANIMATORS)
    hint = nearest(config.animator, names)
    raise InputError(f"config.animator={config.animator!r}: unknown{hint} (there are: {', '.join(names)})")
  return make_animator(config.animator)


def _animator_name(config: ConfigDict) -> str:
  return "learned" if config.animator == "auto" else config.animator


def make_voice_of(config: ConfigDict) -> Voice:
  """The voice that a config names, or its recording."""
  return make_voice(config.voice.name) if config.audio is None else Recording(config.audio)


def provenance(config: ConfigDict) -> dict:
  """What made the clips; ``num_clips`` is left out of the config's hash, because no clip depends on it."""
  one = ConfigDict(config.to_dict())
  one.num_clips = 1
  voice = config.voice.name if config.audio is None else "recording"
  animator = _animator_name(config)
  licenses = ["Apache-2.0", "CC0-1.0"]  # this program and its voice; the head's shapes
  renderer = config.renderer
  if renderer == "stylegan2" and config.portrait.weights:  # by content: a file of one name may be trained further
    weights = Path(config.portrait.weights)
    renderer += f":{weights.name}:{marks.file_digest(weights)[:12]}"
    renderer += f":{config.portrait.domain}" * (config.portrait.domain != "studio")
  return {
    "config_sha256": config_hash(one),
    "models": {"voice": voice, "animator": animator, "renderer": renderer},
    "licenses": licenses + ["GPL-3.0-or-later"] * voice.startswith("espeak"),
  }


def _write_overview(out: Path) -> Path | None:
  try:
    documents = folder.write_metadata(out)
    return report.write(out, documents) if documents else None
  except OSError as error:
    print(f"generate.py: no overview: {_reason(error, out)}", file=sys.stderr)
    return None


def _sum_up(outcome: pipeline.Outcome, progress: ConsoleProgress, wanted: int, page: Path | None, wall: float) -> int:
  for name, error in outcome.failures.items():
    print(f"generate.py: {name}: {one_line(error)}", file=sys.stderr)
  there = len(outcome.documents)
  if outcome.stopped is not None:
    reason = _reason(outcome.stopped, progress.out)
    print(f"generate.py: stopped: {reason}; {there} of {wanted} clips are finished", file=sys.stderr)
  speed = f", {wall / progress.clip_seconds:.1f} s for a second of clip" if progress.clip_seconds else ""
  progress.say(f"{there} of {wanted} clips in {progress.out} after {wall:.1f} s{speed}")
  if page is not None:
    progress.say(f"open {page} (pictures: {page.parent / 'contact_sheet.png'})")
  codes = {error.exit_code if isinstance(error, JaxtalkError) else 1 for error in outcome.failures.values()}
  if there == wanted:
    return 0 if page is not None else 1
  return 1 if there or len(codes) != 1 else codes.pop()


def _reason(error: OSError, out: Path) -> str:
  return f"{os.strerror(error.errno) if error.errno else one_line(error)} in {out}"

"""Performances: utterances strung together with pauses and acted by the procedural animator in many manners.

What a motion model learns from. Every performance is drawn from its index, so that a set is the same on every machine;
it is acted when it is first asked for and kept in memory as float16 (about 50 kB each).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxtalk.core import EMOTIONS, Emotion, InputError, MotionStyle, Phone, Speech
from jaxtalk.motion import codes, cues, performance, procedural
from jaxtalk.motion.performance import Manner

FPS = Fraction(50)
_CLOSURE_FPS = Fraction(25)  # closures are held for one frame of this rate
_SHARD = 100
_VERSION = 1  # raise it when the procedural animator changes, so that caches are made anew
_GAPS = (0.05, 1.2)  # seconds of silence between utterances
STYLE_RANGES: dict[str, tuple[float, float]] = {
  "articulation": (0.5, 1.6),
  "expressiveness": (0.0, 2.0),
  "head": (0.2, 1.8),
  "blink_rate": (0.0, 35.0),
  "gaze_aversion": (0.0, 0.7),
  "asymmetry": (-1.0, 1.0),
}


@dataclasses.dataclass(frozen=True)
class Performance:
  """One acted stretch of speech.

  Attributes:
    waveform: (S,) float32.
    codes: (T, 49) float16 motion codes at ``FPS``, T whole frames that the waveform covers.
    manner: how it was acted.
  """

  waveform: np.ndarray
  codes: np.ndarray
  manner: Manner


class PerformanceSet:
  """``count`` performances of ``parts`` utterances each.

  Args:
    speeches: utterances with phones, all of one sample rate.
    count: of performances.
    seed: of what is strung together and how it is acted.
    parts: utterances in one.
    folder: where performances are kept for the next run, in shards; None keeps them in memory only.
  """

  def __init__(self, speeches: Sequence[Speech], count: int, seed: int, parts: int = 3, folder: Path | None = None):
    if not speeches:
      raise ValueError("there are no utterances to act")
    self._speeches, self._count, self._seed, self._parts = speeches, count, seed, parts
    self._folder = None if folder is None else folder / f"performances_{self._digest()}"
    self._made: dict[int, np.ndarray] = {}

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Performance:
    speech, manner = self._plan(index)
    if index not in self._made:
      self._made[index] = act(speech, manner)
    return Performance(speech.waveform, self._made[index], manner)

  def prepare(self, say: Callable[[str], None] = print) -> PerformanceSet:
    """Acts everything now, or reads it from ``folder``; a run that is cut off goes on with the next shard."""
    for first in range(0, self._count, _SHARD):
      span = range(first, min(first + _SHARD, self._count))
      path = None if self._folder is None else self._folder / f"shard_{first:06d}.npz"
      if path is None or not path.exists():
        say(f"training data: acting performances {first + 1} to {span.stop} of {self._count}")
        self._made.update((i, act(*self._plan(i))) for i in span)
        if path is not None:
          _write(path, [self._made[i] for i in span])
      else:
        self._made.update(zip(span, _read(path), strict=True))
    return self

  def _plan(self, index: int) -> tuple[Speech, Manner]:
    rng = np.random.default_rng(np.random.SeedSequence([self._seed, index]))
    chosen = [self._speeches[i] for i in rng.integers(len(self._speeches), size=self._parts)]
    return join(chosen, rng.uniform(*_GAPS, size=self._parts - 1).tolist()), draw_manner(rng)

  def _digest(self) -> str:
    """Changes with everything that the performances depend on."""
    said = hashlib.sha256(json.dumps([_VERSION, self._count, self._seed, self._parts]).encode())
    for speech in self._speeches:
      said.update(json.dumps([len(speech.waveform), *(dataclasses.astuple(p) for p in speech.phones)]).encode())
    return said.hexdigest()[:12]


def draw_manner(rng: np.random.Generator) -> Manner:
  """Any emotion at any intensity, a style from all that the sliders allow, an age from 3 to 60."""
  label = EMOTIONS[rng.integers(len(EMOTIONS))] if rng.uniform() < 0.75 else "neutral"
  intensity = 0.0 if label == "neutral" else float(rng.uniform(0.1, 1.0))
  usual = dataclasses.asdict(MotionStyle())
  # Half of the sliders stay near their usual place: that is where most clips are made.
  style = {
    name: rng.uniform(low, high) if rng.uniform() < 0.5 else usual[name] + 0.15 * (high - low) * rng.uniform(-1, 1)
    for name, (low, high) in STYLE_RANGES.items()
  }
  style = {name: float(np.clip(style[name], *STYLE_RANGES[name])) for name in style}
  age = float(np.exp(rng.uniform(np.log(3.0), np.log(60.0))))
  emotion = Emotion(label=label, intensity=intensity)
  return Manner(emotion=emotion, style=MotionStyle(**style), age=age, seed=int(rng.integers(2**31)))


def join(speeches: Sequence[Speech], gaps: Sequence[float]) -> Speech:
  """One speech out of several of the same rate, with silences of ``gaps`` seconds between them; phones are moved."""
  rate = speeches[0].sample_rate
  pieces: list[np.ndarray] = []
  phones: list[Phone] = []
  length = 0
  for i, speech in enumerate(speeches):
    start = length / rate
    phones += [Phone(p.symbol, p.start + start, p.end + start) for p in speech.phones]
    pieces.append(speech.waveform)
    length += len(speech.waveform)
    if i < len(gaps):
      silence = round(gaps[i] * rate)
      phones.append(Phone("SIL", length / rate, (length + silence) / rate))
      pieces.append(np.zeros(silence, np.float32))
      length += silence
  return Speech(waveform=np.concatenate(pieces).astype(np.float32), sample_rate=rate, phones=tuple(phones))


def act(speech: Speech, manner: Manner) -> np.ndarray:
  """(T, 49) float16 codes of a speech with phones as the procedural animator acts it, at ``FPS``."""
  t = performance.frame_times(max(1, int(speech.duration * FPS)), FPS)
  heard = cues.from_phones(speech)
  plan = procedural.plan_mouth(t, speech.phones, heard, manner, _CLOSURE_FPS)
  motion = performance.perform(t, plan, heard, manner, FPS)
  return codes.from_motion(motion).astype(np.float16)


def _write(path: Path, made: Sequence[np.ndarray]) -> None:
  """Under another name first, so that no half shard is ever read."""
  part = path.with_suffix(".part")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
      np.savez(file, codes=np.concatenate(made), lengths=np.array([len(x) for x in made]))
    part.rename(path)
  except OSError as error:
    raise InputError(f"cannot write the training data to {path}: {error.strerror}") from error


def _read(path: Path) -> list[np.ndarray]:
  with np.load(path, allow_pickle=False) as shard:
    return np.split(shard["codes"], np.cumsum(shard["lengths"])[:-1])

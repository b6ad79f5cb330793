"""A cached set of utterances of the built-in voice, with phones, made once from a seed.

What learns from sound and phones reads this: sentences of `data.sentences`, spoken by people of many ages. `speech_mix`
has more voices and languages in the same kind of cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr

from jaxtalk.core import ClipSpec, Emotion, InputError, MotionStyle, Person, Phone, Scene, Speech
from jaxtalk.data.sentences import sentences

SAMPLE_RATE = 16_000
_SHARD = 100
_VERSION = 1  # raise it when voices or sentences change, so that caches are made anew


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpokenSet:
  """Which utterances there are.

  Attributes:
    count: number of utterances.
    seed: of sentences and speakers.
    ages: (youngest, oldest) in years; drawn evenly on a logarithmic scale.
    without: ages whose neighbourhood of +-``margin`` years never occurs: held out for tests.
    margin: see ``without``.
    only: the ages to draw from instead, if not empty.
  """

  count: int
  seed: int
  ages: tuple[float, float] = (3.0, 60.0)
  without: tuple[float, ...] = ()
  margin: float = 0.5
  only: tuple[float, ...] = ()

  def load(self, folder: Path, say: Callable[[str], None] = print) -> list[Speech]:
    """The utterances at 16 kHz, from the cache in ``folder`` or made now (about 0.3 s each on one core)."""
    texts = sentences(self.seed, self.count)
    return cached(folder, self, self.count, lambda some: [self._speak(i, texts[i]) for i in some], say)

  def _speak(self, index: int, text: str) -> Speech:
    from jaxtalk.speech.voices import make_voice

    person = self._person(index)
    spec = ClipSpec(
      index=index,
      seed=self.seed * 1_000_003 + index,
      text=text,
      audio=None,
      voice="hibari",
      language="en",
      person=person,
      emotion=Emotion(),
      style=MotionStyle(),
      scene=Scene(),
      fps=Fraction(25),
    )
    return dataclasses.replace(make_voice("hibari").speak(spec), meta={"age_years": person.age_years})

  def _person(self, index: int) -> Person:
    rng = np.random.default_rng(np.random.SeedSequence([self.seed, index]))
    age = draw_age(rng, self)
    gender = ("female", "male")[rng.integers(2)]
    seed = int(rng.integers(2**31))
    return Person(seed=seed, age_years=age, gender=gender, ancestry=(0.0, 0.0, 1.0), face={}, look={})


class Ages(Protocol):
  """The ages of a set of speakers; see `SpokenSet`."""

  @property
  def ages(self) -> tuple[float, float]: ...

  @property
  def without(self) -> tuple[float, ...]: ...

  @property
  def margin(self) -> float: ...

  @property
  def only(self) -> tuple[float, ...]: ...


def draw_age(rng: np.random.Generator, recipe: Ages) -> float:
  """One of ``only``, or an age within ``ages``, even on a logarithmic scale, at least ``margin`` from ``without``."""
  if recipe.only:
    return float(recipe.only[rng.integers(len(recipe.only))])
  while True:
    age = float(np.exp(rng.uniform(*np.log(recipe.ages))))
    if all(abs(age - held) >= recipe.margin for held in recipe.without):
      return age


def cached(
  folder: Path,
  recipe: Any,
  count: int,
  speak: Callable[[range], list[Speech]],
  say: Callable[[str], None],
  *,
  version: int = _VERSION,
) -> list[Speech]:
  """Utterances ``range(count)`` at 16 kHz, from the cache in ``folder`` that the dataclass ``recipe`` names.

  A shard is written under another name and renamed, so that a run that is cut off goes on with the next shard.
  """
  name = hashlib.sha256(json.dumps([version, dataclasses.astuple(recipe)]).encode()).hexdigest()[:12]
  path = folder / f"spoken_{name}"
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"cannot write the training data to {path}: {error.strerror}") from error
  speeches: list[Speech] = []
  for first in range(0, count, _SHARD):
    shard = path / f"shard_{first:06d}.npz"
    indices = range(first, min(first + _SHARD, count))
    if not shard.exists():
      say(f"training data: speaking sentences {first + 1} to {indices[-1] + 1} of {count}")
      _write(shard, speak(indices))
    speeches += _read(shard)
  return speeches


def at_rate(speech: Speech, sample_rate: int) -> np.ndarray:
  """(S,) float32 waveform at another rate."""
  if speech.sample_rate == sample_rate:
    return np.asarray(speech.waveform, np.float32)
  return soxr.resample(speech.waveform, speech.sample_rate, sample_rate).astype(np.float32)


def _write(path: Path, speeches: list[Speech]) -> None:
  waves = [np.round(at_rate(s, SAMPLE_RATE) * 32767).clip(-32768, 32767).astype(np.int16) for s in speeches]
  facts = [
    {
      "text": s.text,
      "language": s.language,
      "voice": s.voice,
      "age_years": s.meta["age_years"],
      "phones": [dataclasses.astuple(p) for p in s.phones],
    }
    for s in speeches
  ]
  part = path.with_suffix(".part")
  try:
    with part.open("wb") as file:
      np.savez(
        file,
        samples=np.concatenate(waves),
        lengths=np.array([len(w) for w in waves]),
        facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
      )
      file.flush()
      os.fsync(file.fileno())
    part.rename(path)
  except OSError as error:
    raise InputError(f"cannot write the training data to {path}: {error.strerror}") from error


def _read(path: Path) -> list[Speech]:
  with np.load(path, allow_pickle=False) as shard:
    waves = np.split(shard["samples"], np.cumsum(shard["lengths"])[:-1])
    facts = json.loads(shard["facts"].tobytes())
  return [
    Speech(
      waveform=wave.astype(np.float32) / 32767,
      sample_rate=SAMPLE_RATE,
      text=fact["text"],
      phones=tuple(Phone(*phone) for phone in fact["phones"]),
      language=fact.get("language", "en"),
      voice=fact.get("voice", "hibari"),
      meta={"age_years": fact["age_years"], "voice": fact.get("voice", "hibari")},
    )
    for wave, fact in zip(waves, facts, strict=True)
  ]

"""Speech of many voices with exact phones, to learn motion from: the built-in voice and, where installed, eSpeak NG's.

The built-in voice is natural and knows one language and one kind of speaker; eSpeak NG sounds robotic and brings other
sources, other formants, and the phones of thirty languages. A network that has heard both follows voices that it has
not heard. Some ages, languages and speakers are never trained on, so that this can be measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxtalk.core import EMOTIONS, ClipSpec, Emotion, MissingAssetError, MotionStyle, Person, Scene, Speech
from jaxtalk.data import foreign
from jaxtalk.data.sentences import sentences
from jaxtalk.data.spoken import cached, draw_age

HELD_OUT_AGES = (5.0, 8.0, 11.0, 35.0)
HELD_OUT_LANGUAGES = foreign.HELD_OUT
HELD_OUT_VARIANTS = ("f3", "m3", "m7", "Alicia", "klatt3", "Marco")
# Speakers of eSpeak NG; "" is its own choice for a language. Whispers and toys are left out: nobody closes his lips
# audibly in a whisper.
VARIANTS = tuple(
  ",f1,f2,f4,f5,m1,m2,m4,m5,m6,m8,Andy,Annie,Denis,Diogo,Gene,Lee,Mario,Michael,Reed,aunty,belinda,david,grandma,grandpa"
  ",klatt,klatt2,klatt4,linda,pablo,shelby,steph,travis,victor,zac,croak".split(",")
)
_BUILTIN_VERSION, _ESPEAK_VERSION = 3, 5  # raised when voices, texts or times change, so that caches are made anew
_THREADS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechMix:
  """Which utterances there are.

  Attributes:
    builtin: number of utterances of the built-in voice.
    espeak: number of utterances of eSpeak NG; none, with a line that says so, where it is not installed.
    seed: of texts and speakers.
    ages: (youngest, oldest) in years; drawn evenly on a logarithmic scale.
    without: ages whose neighbourhood of +-``margin`` years never occurs.
    margin: see ``without``.
    only: the ages to draw from instead, if not empty.
    tempo: (slowest, fastest) factor on the speaker's pace; drawn evenly on a logarithmic scale.
    languages: of eSpeak NG, names of `foreign.WORDS`.
    variants: of eSpeak NG.
  """

  builtin: int
  espeak: int
  seed: int
  ages: tuple[float, float] = (3.0, 60.0)
  without: tuple[float, ...] = HELD_OUT_AGES
  margin: float = 0.5
  only: tuple[float, ...] = ()
  tempo: tuple[float, float] = (0.75, 1.4)
  languages: tuple[str, ...] = foreign.LANGUAGES
  variants: tuple[str, ...] = VARIANTS

  def load(self, folder: Path, say: Callable[[str], None] = print) -> list[Speech]:
    """The utterances at 16 kHz, built-in first, from the cache in ``folder`` or made now (about 0.5 s each).

    Each has ``meta`` "age_years" and "voice" ("hibari", "espeak:de+f1").
    """
    texts = sentences(self.seed, self.builtin)
    recipe = dataclasses.replace(self, espeak=0, languages=(), variants=())

    def speak(indices: range) -> list[Speech]:
      with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda i: self._builtin(i, texts[i]), indices))

    return cached(folder, recipe, self.builtin, speak, say, version=_BUILTIN_VERSION) + self._load_espeak(folder, say)

  def _load_espeak(self, folder: Path, say: Callable[[str], None]) -> list[Speech]:
    from jaxtalk.speech.espeak import EspeakVoice

    if not self.espeak:
      return []
    try:
      EspeakVoice("de")
    except MissingAssetError as error:
      say(f"training data: without the {self.espeak} utterances of eSpeak NG: {error}")
      return []
    each = -(-self.espeak // len(self.languages))
    texts = {name: foreign.utterances(name, self.seed, each) for name in self.languages}

    def speak(indices: range) -> list[Speech]:
      names = [self.languages[i % len(self.languages)] for i in indices]
      return self._foreign(indices, names, [texts[n][i // len(texts)] for n, i in zip(names, indices, strict=True)])

    return cached(folder, dataclasses.replace(self, builtin=0), self.espeak, speak, say, version=_ESPEAK_VERSION)

  def _builtin(self, index: int, text: str) -> Speech:
    from jaxtalk.speech.voices import HibariVoice

    rng = np.random.default_rng(np.random.SeedSequence([self.seed, index]))
    spec = self._spec(rng, index, text, "en")
    return _marked(HibariVoice(self._tempo(rng)).speak(spec), spec)

  def _foreign(self, indices: Sequence[int], languages: Sequence[str], texts: Sequence[str]) -> list[Speech]:
    from jaxtalk.speech.espeak import EspeakVoice, speak_all

    jobs = []
    for index, language, text in zip(indices, languages, texts, strict=True):
      rng = np.random.default_rng(np.random.SeedSequence([self.seed, index, 1]))
      spec = self._spec(rng, index, text, language)
      variant = self.variants[rng.integers(len(self.variants))]
      tempo, pitch = self._tempo(rng), int(rng.integers(25, 76))
      jobs.append((EspeakVoice(f"+{variant}", tempo, pitch), spec))  # the language is the clip's
    return [_marked(speech, spec) for speech, (_, spec) in zip(speak_all(jobs), jobs, strict=True)]

  def _tempo(self, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(self.tempo))))

  def _spec(self, rng: np.random.Generator, index: int, text: str, language: str) -> ClipSpec:
    person = Person(
      seed=int(rng.integers(2**31)),
      age_years=draw_age(rng, self),
      gender=("female", "male")[rng.integers(2)],
      ancestry=(0.0, 0.0, 1.0),
      face={},
      look={},
    )
    label = EMOTIONS[rng.integers(len(EMOTIONS))]
    return ClipSpec(
      index=index,
      seed=self.seed * 1_000_003 + index,
      text=text,
      audio=None,
      voice="",
      language=language,
      person=person,
      emotion=Emotion(label=label, intensity=float(rng.uniform(0.0, 1.0))),
      style=MotionStyle(),
      scene=Scene(),
      fps=Fraction(25),
    )


def _marked(speech: Speech, spec: ClipSpec) -> Speech:
  return dataclasses.replace(speech, meta={"age_years": spec.person.age_years})


def held_out(builtin: int, espeak: int, seed: int) -> SpeechMix:
  """Speech of ages, languages and eSpeak NG speakers that a ``SpeechMix`` of another seed never has in training."""
  return SpeechMix(
    builtin=builtin,
    espeak=espeak,
    seed=seed,
    only=HELD_OUT_AGES,
    languages=HELD_OUT_LANGUAGES,
    variants=HELD_OUT_VARIANTS,
  )

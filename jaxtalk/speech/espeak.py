"""The optional voice: eSpeak NG through its C library, over a hundred languages, with exact phone events.

Install it with ``pip install 'jaxtalk[espeak]'``. eSpeak NG is under the GPL (version 3 or later); it is loaded at run
time, in a process of its own, and no part of it is in this package. It sounds robotic, and is exact.

The synthesiser speaks as one man, and with its variant "f1" as a woman. Other ages are made the way a tape does it:
the take is lower and slower than wanted, and is played back faster by the ratio of vocal-tract lengths, which raises
formants by that ratio and brings pitch and tempo to where they should be. Nothing is analysed, so there are no
artefacts, and phone times stay exact (`espeak_times` says what has to be done for that).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr

import jaxtalk
from jaxtalk.core import ClipSpec, InputError, MissingAssetError, Phone, Speech, Word
from jaxtalk.speech import phones as ph
from jaxtalk.speech.espeak_times import placed
from jaxtalk.speech.level import normalise
from jaxtalk.speech.prosody import track_f0
from jaxtalk.speech.speaker import Speaker, speaker_of
from jaxtalk.speech.text import check_text

SAMPLE_RATE = 24_000
# (longest tract for which it is used, tract of the variant, its name): "f1" moves formants by 1.10 on average.
_VARIANTS = ((15.3, 14.9, "+f1"), (float("inf"), 16.35, ""))
LEAD, TAIL = 0.2, 0.25  # s of silence before and after
WORDS_PER_MINUTE = 170  # eSpeak's pace that counts as an adult's
_STREAM = 0x455350  # "ESP"


@dataclasses.dataclass(frozen=True)
class _Take:
  """What was said: waveform at the synthesiser's rate, phones (name, sample), words (position, length, sample)."""

  rate: int
  waveform: np.ndarray
  phones: list[tuple[str, int]]
  words: list[tuple[int, int, int]]


def _ask(requests: Sequence[dict]) -> list[_Take]:
  """Several requests to a fresh process of eSpeak's."""
  if len(requests) > 1 and not hasattr(os, "fork"):
    return [take for request in requests for take in _ask([request])]
  root = str(Path(jaxtalk.__file__).parents[1])
  env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
  command = [sys.executable, "-m", "jaxtalk.speech.espeak_process"]
  done = subprocess.run(command, input=json.dumps(requests).encode(), capture_output=True, env=env, check=False)
  rest, takes = done.stdout, []
  while rest:
    line, _, rest = rest.partition(b"\n")
    reply = json.loads(line)
    if "missing" in reply:
      raise MissingAssetError(reply["missing"])
    if "bad" in reply:
      raise InputError(reply["bad"])
    size = 4 * reply.get("samples", 0)
    wave = np.frombuffer(rest[:size], "<f4")
    takes.append(_Take(reply["rate"], wave, reply.get("phones", []), reply.get("words", [])))
    rest = rest[size:]
  if done.returncode != 0:
    text = requests[len(takes)].get("text", "")
    raise InputError(f"eSpeak NG stopped with status {done.returncode} on the text {text[:40]!r}")
  return takes


class EspeakVoice:
  """eSpeak NG; ``language`` is its name of a language ("de", "fr-fr", "cmn"), "" takes the clip's.

  One of its other speakers may follow, "de+m3" or "+m3"; people of any age are then made of that one. ``tempo`` is a
  factor on the pace; ``pitch``, on eSpeak's scale of 0 to 100, replaces the person's. Raises MissingAssetError when it
  is not installed, InputError for a language that it does not have.
  """

  def __init__(self, language: str = "", tempo: float = 1.0, pitch: int | None = None):
    self._language, _, self._variant = language.partition("+")
    self._tempo, self._pitch = tempo, pitch
    if self._language:
      _ask([{"language": self._language}])

  def speak(self, spec: ClipSpec) -> Speech:
    """Speech of ``spec.text``; phones in ARPABET for English, in IPA otherwise."""
    return speak_all([(self, spec)])[0]

  def plan(self, spec: ClipSpec) -> _Plan:
    """What to ask of eSpeak NG, and what its answer is then made into."""
    language = self._language or spec.language
    text = check_text(spec.text or "", language, child=spec.person.is_child)
    speaker = speaker_of(spec.person, spec.emotion)
    rng = np.random.default_rng(np.random.SeedSequence([spec.seed, _STREAM]))
    tract, variant = next((cm, name) for longest, cm, name in _VARIANTS if speaker.tract_cm <= longest)
    if self._variant:
      tract, variant = _VARIANTS[0 if self._variant.startswith("f") else 1][1], f"+{self._variant}"
    speed = tract / speaker.tract_cm
    rate = speaker.rate * self._tempo
    request = {
      "language": language,
      "variant": variant,
      "text": text,
      "words_per_minute": float(np.clip(WORDS_PER_MINUTE * rate / speed, 80, 450)),
      "spread": float(np.clip(50 * speaker.f0_range, 0, 100)),
      "seed": int(rng.integers(1, 2**31)),
    }
    request |= {"f0_hz": speaker.f0_hz / speed} if self._pitch is None else {"pitch": self._pitch}
    voice = f"espeak:{language}" + (f"+{self._variant}" if self._variant else "")
    return _Plan(request, voice, speed, dataclasses.replace(speaker, rate=rate))


@dataclasses.dataclass(frozen=True)
class _Plan:
  """One utterance to be made; ``speed`` is the tape's."""

  request: dict
  voice: str
  speed: float
  speaker: Speaker


def speak_all(jobs: Sequence[tuple[EspeakVoice, ClipSpec]]) -> list[Speech]:
  """Many utterances, of one voice or several, as ``speak`` makes each, but in a single process of eSpeak's."""
  plans = [voice.plan(spec) for voice, spec in jobs]
  takes = _ask([plan.request for plan in plans])
  return [_speech(plan, take) for plan, take in zip(plans, takes, strict=True)]


def _speech(plan: _Plan, take: _Take) -> Speech:
  """A take as the person would have said it."""
  language, text, speaker = plan.request["language"], plan.request["text"], plan.speaker
  if all(_symbols(name, language) in ([], [ph.SILENCE]) for name, _ in take.phones):
    raise InputError(f"the text {text[:40]!r} has nothing that can be pronounced in {language!r}")
  events = placed(take.waveform, take.rate, take.phones, plan.request["words_per_minute"])
  take = dataclasses.replace(take, phones=events)
  wave = soxr.resample(take.waveform, take.rate * plan.speed, SAMPLE_RATE)
  waveform = normalise(np.pad(wave, (round(LEAD * SAMPLE_RATE), round(TAIL * SAMPLE_RATE))), SAMPLE_RATE)
  duration = len(waveform) / SAMPLE_RATE
  clock = 1 / (take.rate * plan.speed)
  f0, _ = track_f0(waveform, SAMPLE_RATE, hop=0.01)
  return Speech(
    waveform=waveform,
    sample_rate=SAMPLE_RATE,
    text=text,
    phones=tuple(_phones(take, clock, duration, language)),
    words=tuple(_words(take, text, clock, duration)),
    f0_hz=f0,
    f0_hop=0.01,
    language=language,
    voice=plan.voice,
    meta={
      "engine": "espeak-ng",
      "f0_requested_hz": round(speaker.f0_hz, 2),
      "f0_median_hz": round(float(np.median(f0[f0 > 0])), 2) if (f0 > 0).any() else 0.0,
      "vocal_tract_cm": round(speaker.tract_cm, 3),
      "formant_scale": round(plan.speed, 4),
      "rate": round(speaker.rate, 4),
      "phone_times": "synthesiser's events, stops from their closures on",
    },
  )


def _phones(take: _Take, clock: float, duration: float, language: str) -> list[Phone]:
  """Contiguous phones from the starts that the synthesiser reports; ``clock`` is seconds a sample of the take."""
  end = len(take.waveform) * clock + LEAD
  starts = [min(sample * clock + LEAD, end) for _, sample in take.phones]
  pieces = [Phone(ph.SILENCE, 0.0, starts[0] if starts else duration)]
  for (name, _), start, stop in zip(take.phones, starts, [*starts[1:], end], strict=True):
    symbols = _symbols(name, language)
    blip = symbols == [ph.SILENCE] and stop - start < 0.03
    if not symbols or (blip and len(pieces) > 1):
      pieces[-1] = dataclasses.replace(pieces[-1], end=stop)
      continue
    cuts = np.linspace(start, stop, len(symbols) + 1).tolist()
    pieces += [Phone(s, a, b) for s, a, b in zip(symbols, cuts, cuts[1:], strict=False) if b - a > 1e-6]
  pieces.append(Phone(ph.SILENCE, pieces[-1].end, duration))
  out: list[Phone] = []
  for phone in pieces:
    if out and ph.is_silence(phone.symbol) and ph.is_silence(out[-1].symbol):
      out[-1] = Phone(ph.SILENCE, out[-1].start, phone.end)
    else:
      out.append(phone)
  return out


def _symbols(name: str, language: str) -> list[str]:
  """eSpeak's name in our notation: a silence, one phone, or several (English "ɛɹ" is one event); none for a modifier.

  Modifiers ("ʲ" after Russian consonants) are events of their own; their time goes to the phone before.
  """
  if ph.is_silence(name.strip()):
    return [ph.SILENCE]
  try:
    ph.visemes(name)
  except KeyError:
    return []
  return _english(name) if language.split("-")[0].lower() == "en" else [name]


def _english(name: str) -> list[str]:
  """ARPABET of an event, which may hold several sounds ("ɛɹ", "əl", "aɪɚ"): the longest known start, then the rest."""
  for cut in range(len(name), 0, -1):
    try:
      first = ph.ipa_to_arpabet(name[:cut])
    except KeyError:
      continue
    rest = name[cut:].strip("ː")
    return [first, *(_english(rest) if rest else [])]
  return [name]


def _words(take: _Take, text: str, clock: float, duration: float) -> list[Word]:
  """Words and times; a word ends where the next begins or at the silence before it.

  A word may be reported as two ("can", "'t"); they are one here.
  """
  silences = [sample * clock + LEAD for name, sample in take.phones if not name.strip("_: ")]
  spans: list[tuple[int, int, float]] = []  # first and last character, start
  for position, length, sample in take.words:
    whole = re.compile(r"[\w'-]+").match(text, position)
    end = whole.end() if whole else position + length
    if not spans or end > spans[-1][1]:
      spans.append((position, end, sample * clock + LEAD))
  out = []
  for i, (first, last, start) in enumerate(spans):
    until = spans[i + 1][2] if i + 1 < len(spans) else duration
    until = min([s for s in silences if start + 1e-6 < s < until], default=until)
    out.append(Word(text[first:last].strip(" .,;:!?\"'"), start, until))
  return [word for word in out if word.text and word.end > word.start]

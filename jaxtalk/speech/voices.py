"""Voices: text in, ``Speech`` with exact phones out.

``make_voice("hibari")`` is built in; "espeak" and "espeak:<language>" need the extra ``jaxtalk[espeak]``.
"""

from __future__ import annotations

import dataclasses
import difflib

import numpy as np

from jaxtalk.core import ClipSpec, InputError, Phone, Speech, Voice, Word
from jaxtalk.speech import phones as ph
from jaxtalk.speech.alignment import Window, align
from jaxtalk.speech.level import normalise
from jaxtalk.speech.network import FRAME, HOP, SAMPLE_RATE, Network, Vocoded, network, version
from jaxtalk.speech.pronunciation import PAUSES, Phrase, phrases
from jaxtalk.speech.speaker import Speaker, speaker_of
from jaxtalk.speech.text import check_text
from jaxtalk.speech.vocoder import convert, formant_scale, retime, revoice, synthesise

VOICES = ("hibari", "espeak")
_STREAM = 0x53504B  # "SPK": draws of one utterance, apart from other rooms' with the same seed
LEAD, TAIL, BETWEEN = 0.20, 0.25, 0.40  # s of silence kept before, after and between sentences


def make_voice(name: str) -> Voice:
  """The voice of a name: "hibari", "espeak" or "espeak:<language>"; InputError names the nearest one otherwise."""
  kind, _, language = name.partition(":")
  if name == "hibari":
    return HibariVoice()
  if kind == "espeak":
    from jaxtalk.speech.espeak import EspeakVoice

    return EspeakVoice(language)
  near = difflib.get_close_matches(kind, VOICES, n=1, cutoff=0.3)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  raise InputError(f"voice {name!r} is not one of 'hibari', 'espeak', 'espeak:<language>'{hint}")


class HibariVoice:
  """The built-in voice: English, any age from 3 to 80, 24 kHz, phones from the network's own durations.

  Everything depends on the person (who is speaking) and on ``spec.seed`` (this time): the same spec gives the same
  bytes on one machine. ``tempo`` is a factor on the person's pace.
  """

  def __init__(self, tempo: float = 1.0):
    self._tempo = tempo

  def speak(self, spec: ClipSpec) -> Speech:
    """Speech of ``spec.text`` in the voice of ``spec.person``.

    Raises:
      InputError: text that is empty, too long, not English, not fit for a child, or that has nothing to pronounce.
    """
    if spec.language.split("-")[0].lower() != "en":
      raise InputError(f"voice 'hibari' speaks English only, not {spec.language!r}: use voice 'espeak:{spec.language}'")
    text = check_text(spec.text or "", spec.language, child=spec.person.is_child)
    speaker = speaker_of(spec.person, spec.emotion)
    speaker = dataclasses.replace(speaker, rate=speaker.rate * self._tempo)
    rng = np.random.default_rng(np.random.SeedSequence([spec.seed, _STREAM]))
    net = network()
    said = phrases(net.sentences(text), net.vocabulary)
    if not said:
      raise InputError(f"text {text[:40]!r} has nothing that can be pronounced")
    spoken = [_say(net, phrase, speaker, rng, i == 0, i == len(said) - 1) for i, phrase in enumerate(said)]
    return _assemble(text, spec, speaker, spoken, rng)


@dataclasses.dataclass(frozen=True)
class _Spoken:
  """One phrase in its final timing: vocoder frames, phones still as windows (seconds from the phrase's start)."""

  frames: Vocoded
  phrase: Phrase
  windows: list[Window]


def _say(net: Network, phrase: Phrase, speaker: Speaker, rng, first: bool, last: bool) -> _Spoken:
  rate = speaker.rate * np.exp(0.06 * speaker.unsteadiness * np.clip(rng.standard_normal(), -2, 2))
  own = _spans(phrase, net.run(phrase.characters, 1.0)[1])
  frames, ends = net.run(phrase.characters, rate)
  spans = _spans(phrase, ends)
  frames = revoice(frames, _sonorant(phrase, spans, frames.num_frames))
  factors = np.exp(0.12 * speaker.unsteadiness * np.clip(rng.standard_normal(len(spans)), -2, 2))
  factors *= _slower(phrase, spans, factors, np.ptp(own) / rate)
  knots, targets = _retiming(spans, float(frames.num_frames), factors, first, last)
  total = int(np.floor(targets[-1]))
  source = np.interp(np.arange(total), targets, knots)
  windows = _windows(phrase, np.interp(spans, knots, targets) * FRAME, total * FRAME)
  return _Spoken(retime(frames, source, rng), phrase, windows)


def _spans(phrase: Phrase, ends: np.ndarray) -> np.ndarray:
  """(N, 2) start and end of every phone in frames; what lies between is stress marks, blanks and punctuation."""
  # Character c is id c + 1 and begins where id c ends.
  return np.array([(ends[unit.first], ends[unit.last + 1]) for unit in phrase.units], float)


def _sonorant(phrase: Phrase, spans: np.ndarray, num_frames: int) -> np.ndarray:
  """(F,) bool: frames of phones that are sung when one sings."""
  mask = np.zeros(num_frames, bool)
  for unit, (start, stop) in zip(phrase.units, spans.astype(int), strict=True):
    mask[max(0, start) : stop] |= ph.manner(unit.symbol) in ("vowel", "nasal", "liquid", "glide")
  return mask


def _windows(phrase: Phrase, spans: np.ndarray, end: float) -> list[Window]:
  """Where the boundaries around the phones may lie; ``spans`` and ``end`` in seconds."""
  windows = [Window(0.0, spans[0, 0], True)]
  for i in range(1, len(spans)):
    between = phrase.characters[phrase.units[i - 1].last + 1 : phrase.units[i].first]
    windows.append(Window(spans[i - 1, 1], spans[i, 0], any(c in PAUSES for c in between)))
  return [*windows, Window(spans[-1, 1], end, True)]


def _slower(phrase: Phrase, spans: np.ndarray, factors: np.ndarray, wanted: float) -> np.ndarray:
  """(N,) further factors that make the phrase ``wanted`` frames long, speaking from first phone to last.

  On its grid of 25 ms the network cannot slow down short phones by a fifth; this makes up for it. Stops and affricates
  keep their length whatever the factors say: a burst must stay one burst.
  """
  steady = np.array([ph.manner(unit.symbol) not in ("stop", "affricate") for unit in phrase.units])
  lengths = np.diff(spans, axis=1)[:, 0]
  drawn = float((lengths * factors)[steady].sum())
  kept = np.ptp(spans) - lengths[steady].sum()
  extra = np.clip((wanted - kept) / max(drawn, 1.0), 0.7, 1.6)
  return np.where(steady, extra, 1 / factors)


def _retiming(spans: np.ndarray, end: float, factors: np.ndarray, first: bool, last: bool):
  """Old frame positions and their new ones: silences trimmed at both ends, phones drawn out or in by ``factors``."""
  lead = (LEAD if first else BETWEEN / 2) / FRAME
  tail = (TAIL if last else BETWEEN / 2) / FRAME
  knots = np.concatenate([[max(0.0, spans[0, 0] - lead)], spans.ravel(), [min(end, spans[-1, 1] + tail)]])
  stretch = np.ones(len(knots) - 1)
  stretch[1::2] = factors  # every other piece is a phone
  targets = np.concatenate([[0.0], np.cumsum(np.diff(knots) * stretch)])
  return knots, targets


def _assemble(text: str, spec: ClipSpec, speaker: Speaker, spoken: list[_Spoken], rng) -> Speech:
  """Convert and synthesise all phrases as one stretch, then place phones and words."""
  parts = [dataclasses.astuple(s.frames) for s in spoken]
  joined = Vocoded(*(np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)))
  frames = convert(joined, speaker, rng)
  waveform = normalise(synthesise(frames, rng), SAMPLE_RATE)
  phones: list[Phone] = []
  words: list[Word] = []
  offset = 0
  for part in spoken:
    piece = waveform[offset * HOP : (offset + part.frames.num_frames) * HOP]
    aligned = align(piece, SAMPLE_RATE, [u.symbol for u in part.phrase.units], part.windows)
    aligned = [Phone(p.symbol, p.start + offset * FRAME, p.end + offset * FRAME) for p in aligned]
    words += _words(part.phrase, aligned)
    phones += aligned
    offset += part.frames.num_frames
  return Speech(
    waveform=waveform,
    sample_rate=SAMPLE_RATE,
    text=text,
    phones=tuple(_merged(phones)),
    words=tuple(words),
    f0_hz=frames.f0_hz,
    f0_hop=FRAME,
    language=spec.language,
    voice="hibari",
    meta=_facts(speaker, frames),
  )


def _words(phrase: Phrase, aligned: list[Phone]) -> list[Word]:
  spoken = [p for p in aligned if not ph.is_silence(p.symbol)]
  times: dict[int, tuple[float, float]] = {}
  for unit, phone in zip(phrase.units, spoken, strict=True):
    times[unit.word] = (times.get(unit.word, (phone.start, 0.0))[0], phone.end)
  return [Word(phrase.words[i], start, end) for i, (start, end) in sorted(times.items())]


def _merged(phones: list[Phone]) -> list[Phone]:
  """Silences that meet at a sentence boundary become one."""
  out: list[Phone] = []
  for phone in phones:
    if out and ph.is_silence(phone.symbol) and ph.is_silence(out[-1].symbol):
      out[-1] = Phone(ph.SILENCE, out[-1].start, phone.end)
    else:
      out.append(phone)
  return out


def _facts(speaker: Speaker, frames: Vocoded) -> dict[str, float | str]:
  voiced = frames.f0_hz[frames.f0_hz > 0]
  return {
    "engine": f"hibari-tts {version()}",
    "f0_requested_hz": round(speaker.f0_hz, 2),
    "f0_median_hz": round(float(np.median(voiced)), 2) if len(voiced) else 0.0,
    "vocal_tract_cm": round(speaker.tract_cm, 3),
    "formant_scale": round(formant_scale(speaker), 4),
    "rate": round(speaker.rate, 4),
    "phone_times": "network durations refined by energy",
  }

"""How far are our phone boundaries from an independent forced aligner's?

PocketSphinx (its wheel carries an acoustic model of adult American English) aligns the same phones to the waveform;
each word of the utterance is in its dictionary with exactly our pronunciation, so boundaries correspond one to one. Its
frames start every 10 ms and are 25.6 ms long, so the boundary between two of them is taken between their centres.
PocketSphinx itself is good to one or two frames on clear adult speech and less on children's, whom it has never heard:
the figures are the disagreement of two methods, an upper bound of our error. How much of it is the aligner's own is
told by the control: the same sentences from eSpeak NG, whose times are exact because it places the phones itself.

  pip install pocketsphinx espeakng-loader
  python benchmarks/phone_alignment.py [--out benchmarks/results/phone_alignment.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pocketsphinx
import soxr
from voice_bands import SENTENCES, make_spec  # the same sentences and people

from jaxtalk.core import Speech
from jaxtalk.speech import phones as ph
from jaxtalk.speech.espeak import EspeakVoice
from jaxtalk.speech.voices import HibariVoice

RATE = 16_000
FRAME = 0.010
CENTRE = (0.0256 - FRAME) / 2  # from a frame's nominal start to the boundary between it and the one before


def decoder(words: Sequence[str]) -> pocketsphinx.Decoder:
  """An aligner with the wheel's acoustic model, no language model, and these pronunciations as word0, word1 ..."""
  with tempfile.NamedTemporaryFile("w", suffix=".dict") as file:
    file.writelines(f"word{i} {phones}\n" for i, phones in enumerate(words))
    file.flush()
    return pocketsphinx.Decoder(lm=None, dict=file.name, loglevel="FATAL", cmn="batch", bestpath=False)


def forced_alignment(speech: Speech) -> list[tuple[str, float, float]] | None:
  """(phone, start, end) of every phone without silences, or None where the aligner gives up."""
  words = []
  for word in speech.words:
    inside = [p for p in speech.phones if word.start <= 0.5 * (p.start + p.end) < word.end]
    words.append([ph.base(p.symbol) for p in inside if not ph.is_silence(p.symbol)])
  if not all(words):
    return None  # eSpeak joins some short words; the other utterances are enough
  aligner = decoder([" ".join(word) for word in words])
  aligner.set_align_text(" ".join(f"word{i}" for i in range(len(words))))
  pcm = soxr.resample(speech.waveform, speech.sample_rate, RATE)
  raw = (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()
  _decode(aligner, raw)
  if aligner.hyp() is None:
    return None
  aligner.set_alignment()  # the words are placed; now the phones within them
  _decode(aligner, raw)
  found = [
    (phone.name, phone.start * FRAME + CENTRE, (phone.start + phone.duration) * FRAME + CENTRE)
    for word in aligner.get_alignment()
    for phone in word
    if phone.name not in ("SIL", "+NSN+", "+SPN+")
  ]
  return found if [f[0] for f in found] == [p for w in words for p in w] else None


def _decode(aligner: pocketsphinx.Decoder, raw: bytes) -> None:
  aligner.start_utt()
  aligner.process_raw(raw, full_utt=True)
  aligner.end_utt()


def differences(speech: Speech, found: list[tuple[str, float, float]]) -> list[tuple[str, str, float]]:
  """(class before, class after, ours - theirs in seconds) at every boundary between two phones or at a silence."""
  ours = [p for p in speech.phones if not ph.is_silence(p.symbol)]
  out = []
  for i, (a, b) in enumerate(zip(ours, found, strict=True)):
    if i and abs(ours[i - 1].end - a.start) < 1e-6:
      before = ph.manner(ours[i - 1].symbol)
    else:
      before = "silence"
      if i:
        out.append((ph.manner(ours[i - 1].symbol), "silence", ours[i - 1].end - found[i - 1][2]))
    out.append((before, ph.manner(a.symbol), a.start - b[1]))
  return out


def summary(rows: list[tuple[str, str, float]]) -> dict[str, float | int]:
  """Median and 90th percentile of the absolute difference and the median signed one, in milliseconds."""
  ms = 1e3 * np.array([row[2] for row in rows])
  return {
    "boundaries": len(ms),
    "median_abs_ms": round(float(np.median(np.abs(ms))), 1),
    "p90_abs_ms": round(float(np.quantile(np.abs(ms), 0.9)), 1),
    "median_signed_ms": round(float(np.median(ms)), 1),
    "within_20ms": round(float(np.mean(np.abs(ms) <= 20)), 3),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=Path)
  parser.add_argument("--sentences", type=int, default=len(SENTENCES))
  args = parser.parse_args()
  results = {}
  speakers = (
    ("woman of 25", HibariVoice(), 25, "female"),
    ("man of 30", HibariVoice(), 30, "male"),
    ("boy of 11", HibariVoice(), 11, "male"),
    ("girl of 6", HibariVoice(), 6, "female"),
    ("control: eSpeak NG, exact times, woman of 25", EspeakVoice(), 25, "female"),
    ("control: eSpeak NG, exact times, man of 30", EspeakVoice(), 30, "male"),
  )
  for name, voice, age, gender in speakers:
    rows: list[tuple[str, str, float]] = []
    skipped = 0
    for seed, text in enumerate(SENTENCES[: args.sentences]):
      speech = voice.speak(make_spec(text, age, gender, seed))
      found = forced_alignment(speech)
      if found is None:
        skipped += 1
        continue
      rows += differences(speech, found)
    inner = [row for row in rows if "silence" not in row[:2]]
    kinds = sorted({row[:2] for row in inner}, key=lambda kind: -sum(r[:2] == kind for r in inner))
    results[name] = {
      "utterances_skipped": skipped,
      "all": summary(rows),
      "between_phones": summary(inner),
      "by_class": {" to ".join(kind): summary([r for r in inner if r[:2] == kind]) for kind in kinds[:14]},
    }
  report = {"aligner": "pocketsphinx en-us", "speakers": results}
  text = json.dumps(report, indent=2)
  print(text)
  if args.out:
    args.out.write_text(text + "\n")


if __name__ == "__main__":
  main()

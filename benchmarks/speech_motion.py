"""The learned animator against the energy-driven fallback, both against the procedural truth, on held-out speech.

The built-in voice speaks sentences that were not trained on (those of `jaxtalk.clips.sentences`, written by hand, where
training draws from a grammar) at ages that were not trained on. The procedural animator, which knows the phones, is the
truth; the two others hear the waveform only, as it is and as a room or a telephone makes it. With the extra [espeak],
the same sentences also come from that voice, which sounds like nothing in the training set. Correlations are Pearson's
r a clip, averaged; closures and lags are measured on the lip gap of the linear mouth model against the true phones;
"shut without reason" is the share of frames with closed lips where the truth is open. Prints a table and writes
benchmarks/results/speech_motion.json.

  python benchmarks/speech_motion.py [--count=48] [--weights=FILE] [--fps=25] [--picture=FILE.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import soxr

from jaxtalk.clips.sentences import SENTENCES
from jaxtalk.core import Animator, ClipSpec, Emotion, MissingAssetError, Motion, MotionStyle, Person, Scene, Speech
from jaxtalk.metrics import sync
from jaxtalk.motion import make_animator, mouth
from jaxtalk.speech.voices import make_voice
from jaxtalk.systems.speech_motion import SpeechMotionAnimator

AGES = (5.0, 8.0, 11.0, 35.0)  # held_out_ages of configs/speech_motion.py
OUT = Path(__file__).parent / "results" / "speech_motion.json"


def held_out(count: int, name: str = "hibari") -> list[Speech]:
  """``count`` utterances, cycling through sentences, ages and genders."""
  voice = make_voice(name)
  return [voice.speak(_spec(i, SENTENCES[i % len(SENTENCES)], AGES[i % len(AGES)])) for i in range(count)]


def _spec(index: int, text: str, age: float) -> ClipSpec:
  gender = ("female", "male")[index // len(AGES) % 2]
  person = Person(seed=90_000 + index, age_years=age, gender=gender, ancestry=(0.0, 0.0, 1.0), face={}, look={})
  return ClipSpec(
    index=index,
    seed=90_000 + index,
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


def conditions(speeches: Sequence[Speech]) -> dict[str, list[Speech]]:
  """The same speeches as they are, with noise 15 dB below the voice, and through an 8 kHz telephone."""
  return {
    "clean": list(speeches),
    "noise 15 dB": [_changed(s, _noisy(s, i)) for i, s in enumerate(speeches)],
    "telephone": [_changed(s, _telephone(s)) for s in speeches],
  }


def _changed(speech: Speech, waveform: np.ndarray) -> Speech:
  return dataclasses.replace(speech, waveform=waveform.astype(np.float32)[: len(speech.waveform)])


def _noisy(speech: Speech, index: int) -> np.ndarray:
  noise = np.random.default_rng(index).standard_normal(len(speech.waveform))
  active = np.sqrt(np.mean(speech.waveform[np.abs(speech.waveform) > 0.01] ** 2))
  return speech.waveform + noise * active * 10 ** (-15 / 20)


def _telephone(speech: Speech) -> np.ndarray:
  spectrum = np.fft.rfft(soxr.resample(speech.waveform, speech.sample_rate, 8000))
  hz = np.fft.rfftfreq(2 * (len(spectrum) - 1), 1 / 8000)
  narrow = np.fft.irfft(spectrum * ((hz > 300) & (hz < 3400)))
  wide = soxr.resample(narrow, 8000, speech.sample_rate)
  return np.pad(wide, (0, max(0, len(speech.waveform) - len(wide))))


def animate(animator: Animator, speeches: Sequence[Speech], fps: Fraction) -> list[Motion]:
  """Neutral motions with the same seeds for every animator."""
  n = len(speeches)
  return animator.animate(
    speeches, fps=fps, seeds=range(n), emotions=[Emotion()] * n, styles=[MotionStyle()] * n, ages=[8.0] * n
  )


def figures(motions: Sequence[Motion], truth: Sequence[Motion], speeches: Sequence[Speech]) -> dict[str, float]:
  """One row of the table."""
  gaps = [np.maximum(mouth.lip_gap(np.asarray(m.values)), 0.0) for m in motions]
  true = [np.maximum(mouth.lip_gap(np.asarray(m.values)), 0.0) for m in truth]
  fps = motions[0].fps
  what = "lip gap of the linear mouth model"
  tracks = [sync.MouthTrack(gap, fps, s.phones, what) for gap, s in zip(gaps, speeches, strict=True)]
  shut = [(a < 0.1 * np.percentile(a, 95), b < 0.1 * np.percentile(b, 95)) for a, b in zip(gaps, true, strict=True)]
  lag = sync.onset_lag(tracks)
  return {
    "jaw_r": _mean_r([m["jawOpen"] for m in motions], [m["jawOpen"] for m in truth]),
    "gap_r": _mean_r(gaps, true),
    "pucker_r": _mean_r([m["mouthPucker"] for m in motions], [m["mouthPucker"] for m in truth]),
    "closure_rate": sync.closure_rate(tracks).value,
    "shut_without_reason": float(np.mean([(a & ~b).mean() for a, b in shut])),
    "onset_lag_ms": lag.value,
    "jitter": float(np.mean([_jitter(a) for a in gaps]) / np.mean([_jitter(a) for a in true])),
  }


def _mean_r(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
  return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]))


def _jitter(values: np.ndarray) -> float:
  return float(np.abs(np.diff(values, n=3)).mean())


def picture(path: str, speech: Speech, motions: dict[str, Motion]) -> None:
  """jawOpen and lip gap of all animators for one speech."""
  from matplotlib import pyplot as plt

  _, axes = plt.subplots(3, 1, figsize=(16, 9), sharex=True)
  axes[0].plot(np.arange(len(speech.waveform)) / speech.sample_rate, speech.waveform, lw=0.3)
  for phone in speech.phones:
    axes[0].text(phone.start, 0.5, phone.symbol, fontsize=7)
  for name, motion in motions.items():
    t = (np.arange(motion.num_frames) + 0.5) / float(motion.fps)
    axes[1].plot(t, motion["jawOpen"], label=name)
    axes[2].plot(t, mouth.lip_gap(np.asarray(motion.values)), label=name)
  axes[1].set_ylabel("jawOpen")
  axes[2].set_ylabel("lip gap")
  axes[1].legend()
  plt.tight_layout()
  plt.savefig(path, dpi=70)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--count", type=int, default=48)
  parser.add_argument("--weights", type=Path, default=None)
  parser.add_argument("--fps", type=Fraction, default=Fraction(25))
  parser.add_argument("--picture", default="")
  args = parser.parse_args()
  speeches = held_out(args.count)
  truth = animate(make_animator("procedural"), speeches, args.fps)
  learned, fallback = SpeechMotionAnimator(args.weights), make_animator("audio")
  animate(learned, speeches[:1], args.fps)  # compiles

  if args.picture:
    animators = {"learned": learned, "fallback": fallback}
    first = {"truth": truth[0]} | {name: animate(a, speeches[:1], args.fps)[0] for name, a in animators.items()}
    picture(args.picture, speeches[0], first)

  rows = {"truth (knows the phones)": figures(truth, truth, speeches)}
  cases = {name: (heard, truth, speeches) for name, heard in conditions(speeches).items()}
  try:
    other = held_out(args.count, "espeak")
    cases["espeak voice"] = (other, animate(make_animator("procedural"), other, args.fps), other)
  except MissingAssetError as error:
    print(f"without the espeak voice: {error}")
  for condition, (heard, truth, speeches) in cases.items():
    for name, animator in (("learned", learned), ("fallback", fallback)):
      start = time.perf_counter()
      motions = animate(animator, heard, args.fps)
      seconds = time.perf_counter() - start
      row = figures(motions, truth, speeches)
      rows[f"{name}, {condition}"] = row | {"rtf": seconds / sum(s.duration for s in speeches)}
  keys = list(dict.fromkeys(key for row in rows.values() for key in row))
  print(f"{'':28}" + "".join(f"{key:>21}" for key in keys))
  for name, row in rows.items():
    print(f"{name:28}" + "".join(f"{row[key]:>21.3f}" if key in row else " " * 21 for key in keys))
  facts = {"clips": args.count, "fps": str(args.fps), "ages": AGES}
  OUT.parent.mkdir(exist_ok=True)
  OUT.write_text(json.dumps({"facts": facts, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
  main()

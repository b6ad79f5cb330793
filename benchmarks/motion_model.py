"""How well an animator follows voices: held-out ages, rooms and lines, voices and languages that it has never heard.

The procedural animator, which knows the phones, is the truth; the others hear the waveform only. Conditions: the
built-in voice at ages that are not trained on, as it is, with noise 15 and 5 dB below it, through a telephone of 8 kHz,
in a room (RT60 0.5 s, as much reverberation as direct sound), and clipped; eSpeak NG in six languages and with six
speakers that are not trained on; Flite, a family of voices that is not trained on at all (benchmarks/flite_voice.py).
The last two are left out, with a line, where they are not installed.

Figures: closure rate and onset lag of the lip gap against the true phones; r (Pearson, mean over clips) of jawOpen, lip
gap and pucker with the truth; share of frames with shut lips where the truth is open; jitter of the lips over the
truth's; lip vertex distance on the studio's face in mm. Then, on clean speech: what several takes of one sound share
and what not, blinks a minute, speed at the joints of windows against the speed within them over a minute, and the
figures at 1 to 50 steps for an animator that has steps. "mean face" is an animator that never moves: it bounds LVE.

  python benchmarks/motion_model.py [--animator=flow] [--weights=FILE] [--count=24] [--takes=8] [--cache=FOLDER]
      [--out=benchmarks/results/motion_model.json] [--picture=FILE.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import flite_voice
import numpy as np
import soxr

from jaxtalk.clips.sentences import SENTENCES
from jaxtalk.core import Animator, Emotion, Motion, MotionStyle, Person, Speech
from jaxtalk.data import performances, speech_mix
from jaxtalk.metrics import dynamics, sync, variety, vertices
from jaxtalk.metrics.studio_face import MESH, FacePair, masks, studio_face
from jaxtalk.motion import make_animator, mouth, spaces
from jaxtalk.runtime import cache_dir
from jaxtalk.systems import motion_flow, motion_flow_net
from jaxtalk.systems.motion_flow_stream import HOP, MotionFlowAnimator

FPS = Fraction(25)
SEED = 7  # of the speech; training and its evaluation have 0 and 1
BROWS = [i for i, name in enumerate(spaces.FACE_CHANNELS) if name.startswith("brow")]
PERSON = Person(seed=0, age_years=8.0, gender="female", ancestry=(0.0, 0.0, 1.0), face={}, look={})
WINDOW = HOP * motion_flow_net.TOKEN_SAMPLES / motion_flow_net.SAMPLE_RATE  # seconds between joints
Row = dict[str, float]


def noisy(speech: Speech, db: float, seed: int) -> Speech:
  """White noise, ``db`` below the voice where it speaks."""
  wave = speech.waveform
  active = np.sqrt(np.mean(wave[np.abs(wave) > 0.01] ** 2))
  noise = np.random.default_rng(seed).standard_normal(len(wave))
  return _with(speech, wave + noise * active * 10 ** (-db / 20))


def telephone(speech: Speech) -> Speech:
  """300 to 3400 Hz at 8 kHz."""
  narrow = soxr.resample(speech.waveform, speech.sample_rate, 8000)
  spectrum = np.fft.rfft(narrow)
  hz = np.fft.rfftfreq(len(narrow), 1 / 8000)
  wave = np.fft.irfft(spectrum * ((hz > 300) & (hz < 3400)), len(narrow))
  return dataclasses.replace(_with(speech, wave), sample_rate=8000)


def in_a_room(speech: Speech, seed: int) -> Speech:
  """A tail of exponentially decaying noise that holds as much power as the direct sound."""
  rate = speech.sample_rate
  t = np.arange(int(0.6 * rate)) / rate
  tail = np.random.default_rng(seed).standard_normal(len(t)) * np.exp(-6.91 * t / 0.5)
  tail[: int(0.004 * rate)] = 0.0
  tail /= np.sqrt((tail**2).sum())
  tail[0] = 1.0
  size = 1 << (len(t) + len(speech.waveform)).bit_length()
  wave = np.fft.irfft(np.fft.rfft(speech.waveform, size) * np.fft.rfft(tail, size), size)
  return _with(speech, wave[: len(speech.waveform)])


def clipped(speech: Speech) -> Speech:
  """As if recorded 15 dB too loud: the loudest samples are cut off at 0.18 of the peak and filled up to full scale."""
  ceiling = 0.18 * np.abs(speech.waveform).max()
  return _with(speech, np.clip(speech.waveform, -ceiling, ceiling) / ceiling)


def _with(speech: Speech, wave: np.ndarray) -> Speech:
  return dataclasses.replace(speech, waveform=wave.astype(np.float32))


def conditions(count: int, cache: Path) -> dict[str, tuple[list[Speech], list[Speech]]]:
  """(what is heard, what was said) of every condition."""
  mix = speech_mix.held_out(count, count, SEED).load(cache)
  clean, foreign = mix[:count], mix[count:]
  cases: dict[str, Callable[[int, Speech], Speech]] = {
    "clean": lambda i, s: s,
    "noise 15 dB": lambda i, s: noisy(s, 15, i),
    "noise 5 dB": lambda i, s: noisy(s, 5, i),
    "telephone": lambda i, s: telephone(s),
    "room": lambda i, s: in_a_room(s, i),
    "clipped": lambda i, s: clipped(s),
  }
  made = {name: ([change(i, s) for i, s in enumerate(clean)], clean) for name, change in cases.items()}
  if foreign:
    made["espeak, unheard"] = (foreign, foreign)
  if flite_voice.installed():
    names = flite_voice.VOICES
    other = [flite_voice.speak(SENTENCES[i % len(SENTENCES)], names[i % len(names)]) for i in range(count)]
    made["flite"] = (other, other)
  else:
    print("without flite, which is not installed: apt-get install flite")
  return made


class Still:
  """The mean face: no motion at all."""

  def animate(self, speeches: Sequence[Speech], *, fps: Fraction, **_: object) -> list[Motion]:
    lengths = [max(1, round(s.duration * fps)) for s in speeches]
    values = np.zeros(len(spaces.ARKIT), np.float32)
    values[spaces.ARKIT.index("jawOpen")] = 0.1
    return [Motion(values=np.tile(values, (n, 1)), fps=fps, space=spaces.ARKIT) for n in lengths]


def animate(animator: Animator, speeches: Sequence[Speech], seeds: Sequence[int] | None = None) -> list[np.ndarray]:
  """(T, 61) neutral motions of an eight-year-old."""
  n = len(speeches)
  motions = animator.animate(
    speeches,
    fps=FPS,
    seeds=range(n) if seeds is None else seeds,
    emotions=[Emotion()] * n,
    styles=[MotionStyle()] * n,
    ages=[8.0] * n,
  )
  return [np.asarray(m.values, np.float64) for m in motions]


def figures(motions: Sequence[np.ndarray], truth: Sequence[np.ndarray], speeches: Sequence[Speech]) -> Row:
  """One row of the table; ``speeches`` are as they were said."""
  pairs = [(x[: len(y)], y[: len(x)]) for x, y in zip(motions, truth, strict=True)]
  gaps = [(_gap(x), _gap(y)) for x, y in pairs]
  tracks = [sync.MouthTrack(x, FPS, s.phones) for (x, _), s in zip(gaps, speeches, strict=True)]
  shut = [(x < 0.1 * np.percentile(x, 95)) & ~(y < 0.1 * np.percentile(y, 95)) for x, y in gaps]
  faces = [FacePair(studio_face(PERSON), x[:, spaces.FACE], y[:, spaces.FACE], FPS) for x, y in pairs]
  lips = masks()["lip landmarks"]
  jerks = [p.points(lips) for p in faces]
  row = {}
  if all(x.std() > 1e-9 for x, _ in gaps):  # a still mouth neither closes nor lags
    row = {"closures": sync.closure_rate(tracks).value, "lag_ms": sync.onset_lag(tracks).value}
  row |= {
    "jaw_r": _mean_r([(x[:, _AT["jawOpen"]], y[:, _AT["jawOpen"]]) for x, y in pairs]),
    "gap_r": _mean_r(gaps),
    "pucker_r": _mean_r([(x[:, _AT["mouthPucker"]], y[:, _AT["mouthPucker"]]) for x, y in pairs]),
    "shut_without_reason": float(np.mean(np.concatenate(shut))),
    "jitter": dynamics.jitter_ratio([x for x, _ in jerks], [y for _, y in jerks], [FPS] * len(pairs), MESH).value,
    "lve_mm": vertices.lip_vertex_distance(faces, lips, MESH).value,
  }
  return {name: round(value, 4) for name, value in row.items()}


_AT = {name: spaces.ARKIT.index(name) for name in ("jawOpen", "mouthPucker", "eyeBlinkLeft")}


def _gap(values: np.ndarray) -> np.ndarray:
  return np.maximum(mouth.lip_gap(values), 0.0)


def _mean_r(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
  """Pearson's r a clip, averaged; clips in which the truth keeps still do not count, a still motion has 0."""
  scores = [np.corrcoef(x, y)[0, 1] if x.std() > 1e-9 else 0.0 for x, y in pairs if y.std() > 1e-9]
  return float(np.mean(scores))


def takes(animator: Animator, speeches: Sequence[Speech], count: int) -> Row:
  """How far ``count`` takes of one sound are apart: root mean squared difference of a pair, mean over pairs and sounds.

  ``lip_gap`` is relative to the gap's 95th percentile; ``closures`` is the lowest rate of a take.
  """
  rows = []
  for speech in speeches:
    made = animate(animator, [speech] * count, seeds=range(100, 100 + count))
    heads = variety.take_features([np.rad2deg(x[:, spaces.HEAD]) for x in made])
    brows = variety.take_features([x[:, BROWS] for x in made])
    gaps = [_gap(x) for x in made]
    lips = variety.take_features([(x / np.percentile(gaps[0], 95))[:, None] for x in gaps])
    rates = [sync.closure_rate([sync.MouthTrack(x, FPS, speech.phones)]).value for x in gaps]
    distances = [variety.mean_distance(x) for x in (heads, brows, lips)]
    rows.append([*distances, min(rates)])
  names = ("head_deg", "brows", "lip_gap", "lowest_closures")
  return {name: round(float(value), 4) for name, value in zip(names, np.mean(rows, axis=0), strict=True)}


def minute(animator: Animator, speeches: Sequence[Speech]) -> Row:
  """Blinks a minute, and frame-to-frame speeds at window joints against those within windows, over a minute of speech.

  Speeds are lengths of the change of the 52 weights, and of the head's angles in degrees: ``within`` and ``joint`` are
  their means, ``p99`` the 99th percentile within, ``joint_max`` the fastest of some thirty joints.
  """
  needed = int(np.ceil(60.0 / np.mean([s.duration for s in speeches])))
  parts = [speeches[i % len(speeches)] for i in range(needed)]
  values = animate(animator, [performances.join(parts, [0.4] * (needed - 1))])[0]
  row = {"blinks_a_minute": dynamics.blinks([values[:, _AT["eyeBlinkLeft"]]], [FPS]).value}
  changed = np.diff(values, axis=0)
  speeds = {
    "face": np.linalg.norm(changed[:, spaces.FACE], axis=1),
    "head": np.rad2deg(np.linalg.norm(changed[:, spaces.HEAD], axis=1)),
  }
  joints = np.ceil(np.arange(WINDOW, len(changed) / float(FPS), WINDOW) * float(FPS) - 0.5).astype(int) - 1
  for name, speed in speeds.items():
    within = np.delete(speed, joints)
    limit = np.percentile(within, 99)
    row |= {f"{name}_within": within.mean(), f"{name}_joint": speed[joints].mean(), f"{name}_p99": limit}
    row[f"{name}_joint_max"] = speed[joints].max()
  return {name: round(float(value), 5) for name, value in row.items()}


def picture(path: Path, speeches: Sequence[Speech], motions: Mapping[str, Sequence[np.ndarray]]) -> None:
  """Sound with its phones, jawOpen, lip gap, pucker and head pitch of some sentences, one column each."""
  from matplotlib import pyplot as plt

  rows: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jawOpen": lambda x: x[:, _AT["jawOpen"]],
    "lip gap": _gap,
    "mouthPucker": lambda x: x[:, _AT["mouthPucker"]],
    "head pitch (deg)": lambda x: np.rad2deg(x[:, spaces.HEAD][:, 1]),
  }
  _, axes = plt.subplots(1 + len(rows), len(speeches), figsize=(9 * len(speeches), 12), sharex="col", squeeze=False)
  for column, speech in enumerate(speeches):
    top = axes[0, column]
    top.plot(np.arange(len(speech.waveform)) / speech.sample_rate, speech.waveform, lw=0.3, color="0.5")
    for phone in speech.phones:
      top.text(phone.start, 0.0, phone.symbol, fontsize=6)
    top.set_title(f"{speech.voice}: {speech.text}", fontsize=9)
    for axis, (name, read) in zip(axes[1:, column], rows.items(), strict=True):
      for label, made in motions.items():
        t = (np.arange(len(made[column])) + 0.5) / float(FPS)
        axis.plot(t, read(made[column]), label=label, color="k" if label == "truth" else None, lw=1.2)
      axis.set_ylabel(name)
    axes[1, column].legend(fontsize=7)
  plt.tight_layout()
  plt.savefig(path, dpi=60)


def animators(name: str, weights: Path | None) -> dict[str, Animator]:
  """The animator that is measured, and what it is compared with."""
  if name == "flow":
    return {"motion flow, 4 steps": MotionFlowAnimator(weights), "audio": make_animator("audio"), "mean face": Still()}
  return {name: make_animator(name), "mean face": Still()}


def table(rows: Mapping[str, Row]) -> str:
  """Plain text, one line a row."""
  keys = list(next(iter(rows.values())))
  lines = [f"{'':38}" + "".join(f"{key:>20}" for key in keys)]
  for name, row in rows.items():
    lines.append(f"{name:38}" + "".join(f"{row[key]:>20.3f}" if key in row else " " * 20 for key in keys))
  return "\n".join(lines)


def main() -> None:
  """Measures, prints, writes."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--animator", default="flow", help="flow, or a name that generate.py knows")
  parser.add_argument("--weights", type=Path, default=None)
  parser.add_argument("--count", type=int, default=24, help="utterances a condition")
  parser.add_argument("--takes", type=int, default=8)
  parser.add_argument("--cache", type=Path, default=None)
  parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "motion_model.json")
  parser.add_argument("--picture", type=Path, default=None)
  args = parser.parse_args()
  cases = conditions(args.count, args.cache or cache_dir() / "speech")
  measured = animators(args.animator, args.weights)
  first = next(iter(measured))
  truth_of = {id(said): animate(make_animator("procedural"), said) for _, said in cases.values()}
  rows: dict[str, Row] = {}
  for case, (heard, said) in cases.items():
    for name, animator in measured.items():
      if name == first or case in ("clean", "flite"):
        rows[f"{name}, {case}"] = figures(animate(animator, heard), truth_of[id(said)], said)
  clean = cases["clean"][0]
  report = {"facts": {"utterances": args.count, "fps": str(FPS), "ages": speech_mix.HELD_OUT_AGES}, "rows": rows}
  report["takes"] = {
    name: takes(animator, clean[:4], args.takes)
    for name, animator in ({first: measured[first]} | {"truth": make_animator("procedural")}).items()
  }
  report["minute"] = {
    name: minute(animator, clean)
    for name, animator in ({first: measured[first]} | {"truth": make_animator("procedural")}).items()
  }
  if args.animator == "flow":
    truth = truth_of[id(cases["clean"][1])]
    report["steps"] = {
      str(n): figures(animate(MotionFlowAnimator(args.weights, steps=n), clean), truth, clean)
      for n in motion_flow.STEPS
    }
  if args.picture:
    shown = [said[0] for _, said in cases.values()][-3:]
    heard = [case[0][0] for case in cases.values()][-3:]
    made = {name: animate(animator, heard) for name, animator in measured.items() if name != "mean face"}
    picture(args.picture, shown, {"truth": animate(make_animator("procedural"), shown)} | made)
  print(table(rows))
  for part in ("takes", "minute", "steps"):
    if part in report:
      print(f"\n{part}\n{table(report[part])}")
  args.out.parent.mkdir(exist_ok=True)
  args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
  main()

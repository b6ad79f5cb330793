"""Sync of the procedural animator, measured on the labels of the built-in head over 50 sentences.

Every sentence is spoken by the built-in voice of another synthetic person (3 to 12 years), animated at 25 fps, and
posed on that person's head; the lip gap is the distance between landmarks 62 and 66 of the 3-D labels. Prints one JSON
object and writes it to benchmarks/results/motion_sync.json.

  python benchmarks/motion_sync.py [--fps=25] [--out=benchmarks/results/motion_sync.json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxtalk.core import EMOTIONS, ClipSpec, Emotion, Motion, MotionStyle, Person, Scene, Speech
from jaxtalk.metrics import dynamics, sync
from jaxtalk.motion import make_animator
from jaxtalk.motion.spaces import HEAD
from jaxtalk.speech.voices import make_voice
from jaxtalk.studio import head
from jaxtalk.studio.person import sample_person

SENTENCES = (
  "Bobby popped a big purple balloon.",
  "My mommy makes the best apple pie.",
  "Five fluffy puppies play by the pond.",
  "Please bring me my blue pajamas.",
  "The baby bear bumped into a bush.",
  "Maybe the moon is made of milk.",
  "We have a very brave rabbit at home.",
  "Can I feed the fish before bedtime?",
  "Pepper the pony jumps over puddles.",
  "A bumblebee buzzed above my lemonade.",
  "Grandpa plants pumpkins in the spring.",
  "I love to paint with my favorite brush.",
  "The ship moved slowly from the harbor.",
  "Bubbles float up, up, and away!",
  "My best friend Emma found a feather.",
  "The farmer picks plums in the morning.",
  "Every monkey wants a banana for breakfast.",
  "Put the blocks back in the box, please.",
  "A family of foxes lives behind the barn.",
  "Mom baked muffins with blueberries.",
  "The frog jumped from the lily pad.",
  "Papa put the lamp beside my bed.",
  "We built an amazing fort from pillows.",
  "Did the elephant remember my name?",
  "The bus stops in front of the museum.",
  "Vivian plays the violin very well.",
  "A tiny mouse slept under the umbrella.",
  "Sam swam faster than the big fish.",
  "Butterflies visit the flowers above the river.",
  "Please help me button up my vest.",
  "The wolf blew the straw house over.",
  "My bicycle has a bell and a basket.",
  "Maple leaves fall from the tree every autumn.",
  "The pilot waved from the airplane window.",
  "I dropped my popcorn at the movie.",
  "Ben broke the cup, but mom fixed it.",
  "The volcano puffed and rumbled all morning.",
  "Bring the map, and we will find the cave.",
  "Puffins and pelicans paddle in the bay.",
  "My brother plays drums before supper.",
  "Peter Piper picked a peck of peppers.",
  "The lamb followed me home from the farm.",
  "What a beautiful butterfly, look at it move!",
  "A penguin family slipped on the ice.",
  "I may have left my book on the bus.",
  "The snowman melted by the front gate.",
  "Bees make honey from many flowers.",
  "Grandma gave me a soft velvet pillow.",
  "Can robots and puppets be best friends?",
  "The brave pirate buried a map of the bay.",
)


def spec_of(i: int, fps: Fraction) -> ClipSpec:
  """Sentence, person, emotion and style of clip ``i``: every emotion, ages spread over 3 to 12, both genders."""
  age = 3.0 + 9.0 * ((7 * i) % 50) / 49.0
  person = sample_person(1000 + i, age=age, gender="girl" if i % 2 else "boy")
  emotion = Emotion(label=EMOTIONS[i % len(EMOTIONS)], intensity=0.6 if i % len(EMOTIONS) else 0.0)
  shared = {"index": i, "seed": 1000 + i, "audio": None, "voice": "hibari", "language": "en", "scene": Scene()}
  return ClipSpec(text=SENTENCES[i], person=person, emotion=emotion, style=MotionStyle(), fps=fps, **shared)


def lip_landmarks(person: Person, motion: Motion) -> np.ndarray:
  """(T, 68, 3) metres: the 3-D labels before the head's turn, which moves the lips as one."""
  shaped, asset = head.shape(person), head.load_asset()
  still, units = shaped.vertices[asset.landmarks], shaped.units[:, asset.landmarks]
  return still + np.tensordot(np.asarray(motion.values)[:, :52], units, 1)


def animate(name: str, specs: Sequence[ClipSpec], speeches: Sequence[Speech]) -> list[Motion]:
  return make_animator(name).animate(
    speeches,
    fps=specs[0].fps,
    seeds=[s.seed for s in specs],
    emotions=[s.emotion for s in specs],
    styles=[s.style for s in specs],
    ages=[s.person.age_years for s in specs],
  )


def measure(specs: Sequence[ClipSpec], speeches: Sequence[Speech], motions: Sequence[Motion]) -> dict:
  """All figures of one animator."""
  rates = [m.fps for m in motions]
  points = [lip_landmarks(s.person, m) for s, m in zip(specs, motions, strict=True)]
  tracks = [
    sync.MouthTrack(sync.lip_gap(p), m.fps, s.phones, "distance of lm3d_m 62-66")
    for p, m, s in zip(points, motions, speeches, strict=True)
  ]
  lips = [p[:, 48:68] for p in points]
  waves = [s.waveform for s in speeches]
  return {
    "closure_rate": sync.closure_rate(tracks).as_dict(),
    "onset_lag": sync.onset_lag(tracks).as_dict(),
    "vowel_lag": sync.vowel_lag(tracks).as_dict(),
    "audio_mouth": sync.audio_mouth_correlation(tracks, waves, [s.sample_rate for s in speeches]).as_dict(),
    "lip_jitter": dynamics.jitter(lips, rates, "m", "lip landmarks 48-67").as_dict(),
    "blinks": dynamics.blinks([m["eyeBlinkLeft"] for m in motions], rates).as_dict(),
    "head": dynamics.head_motion([m.values[:, HEAD] for m in motions], rates).as_dict(),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--fps", default="25")
  parser.add_argument("--out", default="benchmarks/results/motion_sync.json")
  args = parser.parse_args()
  specs = [spec_of(i, Fraction(args.fps)) for i in range(len(SENTENCES))]
  voice = make_voice("hibari")
  speeches = [voice.speak(spec) for spec in specs]
  results: dict = {"fps": args.fps, "sentences": len(specs), "seconds": sum(s.duration for s in speeches)}
  for name in ("procedural", "audio"):
    start = time.perf_counter()
    motions = animate(name, specs, speeches)
    results[name] = {"seconds_per_clip": (time.perf_counter() - start) / len(specs)}
    results[name] |= measure(specs, speeches, motions)
  Path(args.out).parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps(results, indent=2)
  Path(args.out).write_text(text + "\n", encoding="utf-8")
  print(text)


if __name__ == "__main__":
  main()

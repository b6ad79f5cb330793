"""Pictures to look at: a grid of different children, and a strip of mouth shapes and expressions.

python -m jaxtalk.studio.gallery children OUT.png [--seed N] [--size 320]
python -m jaxtalk.studio.gallery faces OUT.png [--seed N] [--size 320]
"""

from __future__ import annotations

import argparse
from fractions import Fraction

import numpy as np
from PIL import Image, PngImagePlugin

from jaxtalk.core import Camera, Light, Motion, Person, Scene
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio.lighting import ENVIRONMENTS
from jaxtalk.studio.person import head_scale, sample_person
from jaxtalk.studio.renderer import StudioRenderer

BOTH = ("Left", "Right")


def pair(name: str, weight: float) -> dict[str, float]:
  """The same weight on both sides of a channel."""
  return {name + side: weight for side in BOTH}


SMILE = pair("mouthSmile", 0.55) | pair("cheekSquint", 0.3)
FACES: dict[str, dict[str, float]] = {
  "rest": {},
  "AA": {"jawOpen": 0.55},
  "EE": {"jawOpen": 0.18, **pair("mouthStretch", 0.45), **pair("mouthSmile", 0.35)},
  "OO": {"jawOpen": 0.12, "mouthPucker": 0.8, "mouthFunnel": 0.3},
  "M": {"jawOpen": 0.08, "mouthClose": 0.08, **pair("mouthPress", 0.4)},
  "F": {"jawOpen": 0.08, "mouthRollLower": 0.5, **pair("mouthUpperUp", 0.25)},
  "happy": {"jawOpen": 0.15, **pair("mouthSmile", 0.9), **pair("cheekSquint", 0.6), **pair("mouthUpperUp", 0.3)},
  "sad": {"browInnerUp": 0.9, **pair("mouthFrown", 0.7), "mouthShrugLower": 0.3, **pair("eyeLookDown", 0.2)},
  "angry": {**pair("browDown", 0.9), **pair("eyeSquint", 0.4), **pair("mouthPress", 0.5), **pair("noseSneer", 0.4)},
  "surprised": {"jawOpen": 0.4, "browInnerUp": 0.8, **pair("browOuterUp", 0.9), **pair("eyeWide", 0.7)},
  "disgusted": {**pair("noseSneer", 0.9), **pair("mouthUpperUp", 0.5), **pair("browDown", 0.4)},
  "blink": pair("eyeBlink", 1.0),
}


def frame(channels: dict[str, float]) -> np.ndarray:
  """(61,) motion frame from named channels."""
  values = np.zeros(len(ARKIT), np.float32)
  for name, value in channels.items():
    values[ARKIT.index(name)] = value
  return values


def pictures(frames: list[np.ndarray], person: Person, scene: Scene, seed: int) -> list[np.ndarray]:
  """One picture (size, size, 3) a frame."""
  motion = Motion(values=np.stack(frames), fps=Fraction(25), space=ARKIT)
  return [image for chunk in StudioRenderer().render(motion, person, scene, seed=seed) for image in chunk.images]


def children(seed: int, size: int, count: int = 15) -> list[np.ndarray]:
  """Different children, each under another light, some talking."""
  rng = np.random.default_rng(seed)
  moods = (SMILE, {"jawOpen": 0.28} | pair("mouthSmile", 0.35), {"mouthPucker": 0.4, "jawOpen": 0.12}, SMILE)
  out = []
  for i in range(count):
    person = sample_person(1000 * seed + i, gender=("girl", "boy")[i % 2], age=3.5 + 9 * ((i * 7) % count) / count)
    camera = Camera(
      yaw=rng.uniform(-0.35, 0.35), pitch=rng.uniform(-0.05, 0.1), distance=0.94 * head_scale(person.age_years)
    )
    light = Light(key_yaw=rng.choice([-1, 1]) * rng.uniform(0.4, 0.9), environment=tuple(ENVIRONMENTS)[i % 5])
    mood = moods[i % 4] | {"headYaw": rng.uniform(-0.2, 0.2), "headRoll": rng.uniform(-0.08, 0.08)}
    out += pictures([frame(mood)], person, Scene(camera=camera, light=light, size=size), seed=i)
  return out


def faces(seed: int, size: int) -> list[np.ndarray]:
  """One child through mouth shapes and expressions."""
  person = sample_person(seed, age=7)
  scene = Scene(size=size, camera=Camera(distance=0.66), background="plain")
  return pictures([frame(channels) for channels in FACES.values()], person, scene, seed)


def sheet(images: list[np.ndarray], columns: int) -> Image.Image:
  """Images side by side, row by row."""
  height, width = images[0].shape[:2]
  rows = -(-len(images) // columns)
  out = Image.new("RGB", (columns * width, rows * height), "white")
  for i, image in enumerate(images):
    out.paste(Image.fromarray(image), (i % columns * width, i // columns * height))
  return out


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(prog="python -m jaxtalk.studio.gallery", description=__doc__.splitlines()[0])
  parser.add_argument("kind", choices=("children", "faces"))
  parser.add_argument("out")
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--size", type=int, default=320)
  args = parser.parse_args(argv)
  images = children(args.seed, args.size) if args.kind == "children" else faces(args.seed, args.size)
  mark = PngImagePlugin.PngInfo()
  mark.add_text("Comment", "Synthetic: no real person is shown. Made by jaxtalk.")
  sheet(images, 5 if args.kind == "children" else 6).save(args.out, pnginfo=mark)


if __name__ == "__main__":
  main()

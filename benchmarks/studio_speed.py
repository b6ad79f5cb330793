"""Frames a second of the studio on this machine's device, picture and all labels, at several sizes.

A chunk is timed from motion to finished arrays on the host. The first chunk of each size compiles and is reported
apart; of the others the median and the 5-95 % range are printed, one JSON line a size.

  python benchmarks/studio_speed.py [--sizes 256 512] [--chunks=8] [--labels-only]
"""

from __future__ import annotations

import argparse
import json
import time
from fractions import Fraction

import jax
import numpy as np

from jaxtalk.core import Motion, Scene
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio.person import sample_person
from jaxtalk.studio.renderer import LABEL_MAPS, StudioRenderer


def motion(frames: int) -> Motion:
  """A mouth that opens and shuts and a head that turns."""
  t = np.arange(frames) / 25
  values = np.zeros((frames, len(ARKIT)), np.float32)
  values[:, ARKIT.index("jawOpen")] = 0.3 + 0.3 * np.sin(2 * np.pi * 3 * t)
  values[:, ARKIT.index("headYaw")] = 0.4 * np.sin(2 * np.pi * 0.3 * t)
  return Motion(values=values, fps=Fraction(25), space=ARKIT)


def measure(size: int, chunks: int, maps: tuple[str, ...]) -> dict:
  """Seconds a frame over ``chunks`` chunks of one person."""
  renderer = StudioRenderer(maps=maps)
  rates, frames = [], 0
  stream = renderer.render(motion(4096), sample_person(1, age=6.0), Scene(size=size), seed=1)
  start = time.perf_counter()
  for part in stream:
    frames += len(part.images)
    rates.append(len(part.images) / (time.perf_counter() - start))
    if len(rates) == chunks + 1:
      break
    start = time.perf_counter()
  return {
    "device": jax.devices()[0].device_kind,
    "devices": jax.device_count(),
    "size": size,
    "maps": list(maps),
    "first_chunk_s": round(len(part.images) / rates[0], 2),
    "frames_per_s": {
      "median": round(float(np.median(rates[1:])), 2),
      "p5": round(float(np.percentile(rates[1:], 5)), 2),
      "p95": round(float(np.percentile(rates[1:], 95)), 2),
    },
    "frames_timed": frames - len(part.images),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
  parser.add_argument("--chunks", type=int, default=8)
  parser.add_argument("--labels-only", action="store_true", help="without depth, normals and masks")
  args = parser.parse_args()
  for size in args.sizes:
    print(json.dumps(measure(size, args.chunks, () if args.labels_only else LABEL_MAPS)), flush=True)


if __name__ == "__main__":
  main()

"""Ten people say one sentence, frames in time: what the talking portrait draws, the studio's pictures below if asked.

python benchmarks/portrait_grid.py grid.png
python benchmarks/portrait_grid.py grid.png --config.portrait.weights=mine.safetensors --people=4 --studio
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from jaxtalk import cli, runtime
from jaxtalk.clips import command, pipeline
from jaxtalk.clips.plan import Plan
from jaxtalk.clips.writer import Outputs
from jaxtalk.studio.renderer import StudioRenderer

ROOT = Path(__file__).resolve().parents[1]
SENTENCE = "I found a big snail by the blue boat!"


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("out", type=Path)
  parser.add_argument("--people", type=int, default=10)
  parser.add_argument("--frames", type=int, default=10)
  parser.add_argument("--zoom", type=int, default=1, help="how many pixels a pixel is shown as")
  parser.add_argument("--studio", action="store_true", help="a row of the studio's pictures below each")
  args, rest = parser.parse_known_args()
  runtime.setup_jax()
  config, _ = cli.load_config("configs/portrait.py", ROOT)
  overrides = dict(flag.removeprefix("--config.").split("=", 1) for flag in rest)
  cli.override(config, {"text": SENTENCE, "num_clips": str(args.people), "seed": "11", **overrides})
  plan = Plan(config)
  stages = command.make_stages(config, Outputs())
  renderers = [stages.renderer, *([StudioRenderer()] if args.studio else [])]
  rows = []
  for index in range(args.people):
    spec = plan[index]
    speech = stages.voice.speak(spec)
    motion = pipeline.animate(stages.animator, spec, speech)
    shown = np.linspace(0.1, 0.9, args.frames) * motion.num_frames
    for renderer in renderers:
      images = np.concatenate([f.images for f in renderer.render(motion, spec.person, spec.scene, seed=spec.seed)])
      rows.append(np.concatenate(list(images[shown.astype(int)]), axis=1))
    print(f"{spec.person.age_years:g} years, {spec.person.gender}, {spec.emotion.label}", flush=True)
  picture = np.concatenate(rows).repeat(args.zoom, 0).repeat(args.zoom, 1)
  Image.fromarray(picture).save(args.out, comment="Synthetic: no real person is shown. Made by jaxtalk.")


if __name__ == "__main__":
  main()

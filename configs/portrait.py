"""A clip drawn by StyleGAN2: the talking portrait instead of the studio, at its own size and from near.

Cost: half a minute on two cores the first time (JAX compiles), less afterwards.

  python generate.py --config=configs/portrait.py
  python generate.py --config=configs/portrait.py --config.num_clips=10 --config.person.age=5 --out=portraits
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxtalk.cli import load_config


def get_config() -> ConfigDict:
  config, _ = load_config("quickstart.py", Path(__file__).parent)  # the same fields, other values
  config.renderer = "stylegan2"
  config.size = 128
  config.camera.framing = "face"
  return config

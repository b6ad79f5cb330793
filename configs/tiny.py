"""The smallest useful clip, a second of speech at 64 pixels, with every output on: for tests.

Cost: seconds.

  python generate.py --config=configs/tiny.py --out=/tmp/tiny
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxtalk.cli import load_config


def get_config() -> ConfigDict:
  config, _ = load_config("quickstart.py", Path(__file__).parent)  # the same fields, other values
  config.text = "Hi, puppy!"
  config.size = 64
  config.fps = 10
  config.outputs.segmentation = True
  config.outputs.depth = True
  config.outputs.normals = True
  config.outputs.livelink_csv = True
  config.outputs.png_frames = True
  return config

"""Labelled stills of a StyleGAN2 network: portraits, and each with one thing changed in even steps (docs/faces.md).

The argument is a table of the paper (Synthetic Speaking Children, Farooq et al. 2023): full, 324 000 stills, or
validation, 3362. Without it, a few portraits of every factor.

  python generate.py --config=configs/faces.py --out=faces
  python generate.py --config=configs/faces.py:validation --config.snapshot=ffhq.pkl --out=faces
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(table: str = "") -> ConfigDict:
  config = ConfigDict()
  config.seed = 0  # portrait n has seed + n; its z is that of the official tools
  config.snapshot = "demo"  # official .pkl, .safetensors of ours, GIRLS,BOYS, or demo; stills only: it has no motion
  config.classes = placeholder(str)  # of a network with classes, in its order; girl,boy if not given
  config.psi = 0.7  # truncation, above 0 to 1: towards 0 all look alike, 1 is all variety
  config.noise = "const"  # of the network: const, or none

  config.factors = ""  # e.g. base,expressions,blink,colour,ageing,pose,light, or one such as yaw; empty: all of these
  config.subjects = placeholder(int)  # portraits a gender, for every factor; 2 if not given
  config.table = table  # in place of subjects, the numbers of the paper: full or validation
  config.span = 1.0  # size of the steps, above 0 to 1.5: 1 goes from the 5 % to the 95 % point of the network's faces

  config.directions = "auto"  # learnt once from the network's own samples; or a folder or file of learn or sweep
  config.learn = ConfigDict()
  config.learn.count = 2000  # samples to label for that
  config.learn.seed = 1  # of those samples
  config.labeller = ""  # reads faces: empty is the built-in face_attributes; package.module:name or file.py:name
  config.identity = ""  # your embedding of faces, package.module:name or file.py:name; empty: no identity cosine
  config.batch = 8  # pictures at a time

  config.outputs = ConfigDict()
  config.outputs.csv = True  # metadata.csv beside metadata.jsonl
  config.outputs.contact_sheet = True  # contact_sheet.png: the first girl and boy of every factor
  return config


def get_command():
  """What generate.py runs with this config."""
  from jaxtalk.stylegan2.faces import generate  # loads JAX

  return generate

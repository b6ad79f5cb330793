"""A small data set in DiffPoseTalk's LMDB layout, a FLAME-like model and a tiny speech encoder, all made of noise."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from jaxtalk.encoders.pretrained import save_pretrained
from jaxtalk.encoders.speech_config import SpeechConfig
from jaxtalk.encoders.wav2vec2 import SpeechEncoder

SEGMENT, FRAMES = 20, 50


def coefficients(rng, frames=FRAMES):
  """Smooth random motion of one recording: what a record's "coef" holds, over all its frames."""
  steps = {"exp": 50, "pose": 6}
  moving = {name: np.cumsum(rng.normal(size=(frames, n)), axis=0).astype(np.float32) for name, n in steps.items()}
  return {"shape": np.tile(rng.normal(size=(1, 100)), (frames, 1)).astype(np.float32), **moving}


def flac(wave, rate=16_000):
  buffer = io.BytesIO()
  soundfile.write(buffer, wave, rate, format="FLAC", subtype="PCM_16")
  return buffer.getvalue()


def records(people=4, videos=2, seed=0):
  """Key -> value of a whole database, values not pickled yet, and recording -> (coefficients, waveform)."""
  rng = np.random.default_rng(seed)
  values, truth = {"metadata": {"seg_len": SEGMENT}}, {}
  for name in [f"p{i}/{j:03d}" for i in range(people) for j in range(videos)]:
    coef, wave = coefficients(rng), np.round(rng.uniform(-8000, 8000, FRAMES * 640)) / 32768
    truth[name] = coef, wave.astype(np.float32)
    values[f"{name}/metadata"] = {"n_frames": FRAMES}
    for i, start in enumerate(range(0, FRAMES, SEGMENT)):
      part = {field: rows[start : start + SEGMENT] for field, rows in coef.items()}
      audio = flac(wave[start * 640 : (start + SEGMENT) * 640])
      values[f"{name}/{i:03d}"] = {"audio": audio, "coef": part}
  return values, truth


def write(folder: Path, values, splits, protocol=pickle.HIGHEST_PROTOCOL) -> Path:
  """Writes a database; values that are bytes already are stored as they are."""
  lmdb = pytest.importorskip("lmdb")
  folder.mkdir(parents=True)
  with lmdb.open(str(folder), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
    for key, value in values.items():
      data = value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol)
      transaction.put(key.encode(), data)
  for split, names in splits.items():
    (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
  return folder


def database(folder: Path) -> Path:
  """The usual one: three people to train on, one held out."""
  values, truth = records()
  names = list(truth)
  return write(folder, values, {"train": names[:6], "val": names[6:]})


def flame_arrays(vertices=30, seed=0):
  """A model in FLAME's layout, a few centimetres large."""
  rng = np.random.default_rng(seed)
  regressor = rng.uniform(size=(5, vertices)) * (rng.uniform(size=(5, vertices)) < 0.3) + 1e-3 * np.eye(5, vertices)
  weights = rng.uniform(size=(vertices, 5)) ** 3
  return {
    "v_template": rng.normal(size=(vertices, 3)) * 0.05,
    "shapedirs": rng.normal(size=(vertices, 3, 400)) * 1e-3,
    "posedirs": rng.normal(size=(vertices, 3, 36)) * 1e-3,
    "J_regressor": regressor / regressor.sum(1, keepdims=True),
    "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
    "weights": weights / weights.sum(1, keepdims=True),
    "f": rng.integers(0, vertices, size=(40, 3)).astype(np.uint32),
  }


def speech_encoder(folder: Path) -> Path:
  """A HuBERT of two narrow layers on disk."""
  config = SpeechConfig(
    family="hubert",
    width=16,
    layers=2,
    heads=2,
    hidden=16,
    conv_widths=(4,) * 7,
    position_kernel=4,
    position_groups=2,
    **dict.fromkeys(("dropout", "attention_dropout", "hidden_dropout", "layer_drop"), 0.0),
  )
  module, rng = SpeechEncoder(config), np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 800), jnp.float32))
  variables = jax.tree.map(lambda x: 0.3 * rng.normal(size=x.shape).astype(np.float32), shapes)
  save_pretrained(folder, module, variables)
  return folder

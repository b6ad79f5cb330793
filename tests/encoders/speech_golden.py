"""Reads the golden speech encoders: hidden states of the reference implementation on random weights.

The whole set is found through ``JAXTALK_GOLDEN`` (a folder that holds ``speech_encoder/``); without it, the small
subset that is committed in ``tests/golden``. What is in neither is skipped, never passed.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxtalk.encoders import load_pretrained
from jaxtalk.encoders.wav2vec2 import SpeechEncoder

COMMITTED = Path(__file__).parents[1] / "golden" / "speech_encoder"
CASES = ("wav2vec2_group", "wav2vec2_layer", "hubert_group", "hubert_layer", "wavlm_group", "wavlm_layer")


def folder(case: str) -> Path:
  """The folder of a model; skips the test where it is missing."""
  named = os.environ.get("JAXTALK_GOLDEN")
  path = (Path(named) / "speech_encoder" if named else COMMITTED) / case
  if not (path / "model.safetensors").is_file():
    pytest.skip(f"golden speech encoder {case} is not in {path.parent}")
  return path


@functools.cache
def loaded(case: str) -> tuple[SpeechEncoder, dict[str, Any]]:
  """Module and variables."""
  return load_pretrained(folder(case))


@functools.cache
def expected(case: str) -> dict[str, np.ndarray]:
  """All arrays of a model's ``expected.npz``; the committed ones lack some."""
  with np.load(folder(case) / "expected.npz", allow_pickle=False) as data:
    return {key: data[key] for key in data.files}


def stored(case: str, name: str) -> np.ndarray:
  """One array; skips the test where it is not stored."""
  if name not in expected(case):
    pytest.skip(f"{name} of {case} is not in {folder(case)}")
  return expected(case)[name]


def padded(waves: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Waveforms as a zero-padded batch and its mask, as long as the longest."""
  longest = max(map(len, waves))
  mask = np.arange(longest)[None, :] < np.array([len(wave) for wave in waves])[:, None]
  return np.stack([np.pad(wave, (0, longest - len(wave))) for wave in waves]), mask

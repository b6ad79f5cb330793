"""Waveforms to features at the motion rate.

  logmel        log-mel spectra placed on motion frames; the front end of the models that ship
  wav2vec2      wav2vec 2.0, HuBERT and WavLM; `load_pretrained` reads published checkpoints, `prepare` makes batches,
                `encode` takes recordings of any length
  whisper       Whisper's encoder, by the same `load_pretrained`
  resample      features from one frame rate to another, by the rules that published systems use
  freezing      which parameters learn

Names are looked up when they are first used, so that programs can print help before JAX loads.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
  "SpeechConfig": "speech_config",
  "SpeechEncoder": "wav2vec2",
  "SpeechStates": "wav2vec2",
  "at_motion_rate": "resample",
  "encode": "batches",
  "export_encoder": "pretrained",
  "import_encoder": "pretrained",
  "load_pretrained": "pretrained",
  "motion_frames": "resample",
  "prepare": "batches",
  "save_pretrained": "pretrained",
  "trainable_mask": "freezing",
  "WhisperConfig": "whisper",
  "WhisperEncoder": "whisper",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

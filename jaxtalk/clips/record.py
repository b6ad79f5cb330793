"""A clip read back from its folder, as the contact sheet and the page need it."""

from __future__ import annotations

import dataclasses
import wave
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

_INNER_LIPS = (62, 66)  # middle of the upper and of the lower inner lip in the 68-point scheme


@dataclasses.dataclass(frozen=True)
class Record:
  """One clip on disk.

  Attributes:
    document: its JSON.
    folder: where its files are.
    arrays: its npz.
    waveform: (S,) float32.
  """

  document: Mapping[str, Any]
  folder: Path
  arrays: Mapping[str, np.ndarray]
  waveform: np.ndarray

  @property
  def fps(self) -> Fraction:
    return Fraction(*self.document["fps"])

  @property
  def seconds(self) -> float:
    """Length of the picture."""
    return float(self.document["frames"] / self.fps)

  def path(self, suffix: str) -> Path:
    """E.g. ``path(".mp4")``."""
    return self.folder / (self.document["id"] + suffix)

  def channel(self, name: str) -> np.ndarray:
    """(T,) values of a motion channel."""
    return self.arrays["arkit"][:, self.document["channels"].index(name)]

  def mouth_gap_mm(self) -> np.ndarray:
    """(T,) distance between the middles of the inner lips, from the 3-D labels."""
    upper, lower = (self.arrays["lm3d_m"][:, index] for index in _INNER_LIPS)
    return np.linalg.norm(upper - lower, axis=-1) * 1000.0

  def envelope(self, columns: int) -> np.ndarray:
    """(columns, 2) lowest and highest sample in each of so many equal pieces."""
    edges = np.linspace(0, len(self.waveform), columns + 1).astype(int)
    pieces = [self.waveform[a : max(a + 1, b)] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return np.array([(piece.min(), piece.max()) for piece in pieces])


def load(clips: Path, document: Mapping[str, Any]) -> Record:
  """Reads the npz and the sound of a clip in the folder ``clips``."""
  with np.load(clips / document["arrays"]["npz"]) as npz:
    arrays = {name: npz[name] for name in npz.files}
  with wave.open(str(clips / f"{document['id']}.wav")) as sound:
    samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
  return Record(document, clips, arrays, samples.astype(np.float32) / 32768.0)

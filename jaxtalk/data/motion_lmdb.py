"""Speech and face motion from the LMDB layout that DiffPoseTalk published its data in (HDTF-TFHP).

A folder holds ``data.mdb`` and split files (``train.txt``, ``val.txt``, ``test.txt``: a recording's name a line, such
as ``person/003``), often ``stats_train.npz``. Records are pickles of plain data, read by `pickled_arrays`, which runs
nothing:

  metadata              {"seg_len": frames of a segment, officially 100}
  person/003/metadata   {"n_frames": frames of the recording}
  person/003/000 ...    {"audio": bytes of a 16 kHz mono file (FLAC), "coef": {"shape", "exp", "pose": (frames, width)}}

Motion has 25 frames a second. Needs the package ``lmdb`` (``pip install lmdb``).
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.data import pickled_arrays
from jaxtalk.data.pickled_arrays import Array

FPS, SAMPLE_RATE = 25, 16_000
FRAME = SAMPLE_RATE // FPS  # samples
_WIDTHS = {"shape": 100, "exp": 50, "pose": 6}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretch:
  """Consecutive frames of a recording, float32.

  Attributes:
    shape: (T, 100) face shape coefficients.
    expression: (T, 50).
    pose: (T, 6) head rotation and jaw, axis-angle in radians.
    waveform: (640 T,) in [-1, 1]; None if it was not asked for.
  """

  shape: np.ndarray
  expression: np.ndarray
  pose: np.ndarray
  waveform: np.ndarray | None


class MotionDatabase:
  """One such folder, read only.

  Attributes:
    folder: where it is.
    segment: frames of a segment.

  Raises:
    MissingAssetError: the folder or the package lmdb is missing.
    InputError: it is no LMDB database, or one of another layout.
  """

  def __init__(self, folder: Path):
    self.folder = folder
    if not (folder / "data.mdb").is_file():
      raise MissingAssetError(f"{folder}: no data.mdb; it should be a folder in DiffPoseTalk's LMDB layout")
    self._environment = _open(str(folder.resolve()))
    self.segment = self._number("metadata", "seg_len")

  def split(self, name: str) -> list[str]:
    """Names of the recordings in a split file such as "train"."""
    path = self.folder / f"{name}.txt"
    if not path.is_file():
      raise MissingAssetError(f"{path}: no such split file; it has a recording's name (person/003) on each line")
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]

  def frames(self, name: str) -> int:
    """Length of a recording. InputError if its record is missing or damaged."""
    return self._number(f"{name}/metadata", "n_frames")

  def read(self, name: str, start: int, stop: int, *, audio: bool = True) -> Stretch:
    """Frames ``start`` to ``stop`` of a recording.

    Raises:
      InputError: a record that is missing, damaged or too short; it is named.
    """
    parts: dict[str, list[np.ndarray]] = {key: [] for key in (*_WIDTHS, "audio")}
    for index in range(start // self.segment, -(-stop // self.segment)):
      key, offset = f"{name}/{index:03d}", index * self.segment
      first, last = max(start - offset, 0), min(stop - offset, self.segment)
      record = self._record(key)
      for field, rows in _coefficients(key, record).items():
        parts[field].append(_cut(key, field, rows, first, last))
      if audio:
        wave = _waveform(key, record.get("audio"))
        parts["audio"].append(_cut(key, "audio", wave, first * FRAME, last * FRAME))
    joined = {key: np.concatenate(rows).astype(np.float32) for key, rows in parts.items() if rows}
    if not all(np.isfinite(rows).all() for rows in joined.values()):
      raise InputError(f"{name}: frames {start} to {stop} have numbers that are not finite")
    return Stretch(shape=joined["shape"], expression=joined["exp"], pose=joined["pose"], waveform=joined.get("audio"))

  def _record(self, key: str) -> dict[str, Any]:
    import lmdb

    try:
      with self._environment.begin() as transaction:
        data = transaction.get(key.encode())
    except lmdb.Error as error:
      raise InputError(f"{self.folder}: record {key} cannot be read: {error}") from error
    if data is None:
      raise InputError(f"{self.folder}: there is no record {key}")
    try:
      value = pickled_arrays.read(data)
    except InputError as error:
      raise InputError(f"{self.folder}: record {key}: {error}") from error
    if type(value) is not dict:
      raise InputError(f"{self.folder}: record {key} is not a dict, but a {type(value).__name__}")
    return value

  def _number(self, key: str, field: str) -> int:
    value = self._record(key).get(field)
    if type(value) is not int or value < 1:
      raise InputError(f"{self.folder}: record {key} has no {field}; it is not in DiffPoseTalk's layout")
    return value


def usable(database: MotionDatabase, names: Sequence[str], frames: int) -> tuple[dict[str, int], dict[str, str]]:
  """Recordings of at least ``frames`` frames with their lengths, and the others with what is wrong with them."""
  lengths, wrong = {}, {}
  for name in names:
    try:
      count = database.frames(name)
    except InputError as error:
      wrong[name] = str(error)
      continue
    if count < frames:
      wrong[name] = f"{count} frames are fewer than the {frames} of an example"
    else:
      lengths[name] = count
  return lengths, wrong


@functools.cache
def _open(folder: str) -> Any:
  """An environment may be open once in a process only, so it is shared and stays open."""
  try:
    import lmdb
  except ImportError as error:
    raise MissingAssetError(f"{folder}: reading it needs the package lmdb: pip install lmdb") from error
  try:
    return lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
  except lmdb.Error as error:
    raise InputError(f"{folder}: not an LMDB database, or a damaged one: {error}") from error


def _coefficients(key: str, record: dict[str, Any]) -> dict[str, np.ndarray]:
  """Field -> (frames, width); more columns than are used (poses of nine) are left out."""
  found = record.get("coef")
  arrays = {}
  for field, width in _WIDTHS.items():
    value = found.get(field) if type(found) is dict else None
    rows = value.values if isinstance(value, Array) else None
    if rows is None or rows.ndim != 2 or rows.shape[1] < width or rows.dtype.kind != "f":
      raise InputError(f"record {key} has no {field} of {width} columns")
    arrays[field] = rows[:, :width]
  return arrays


def _waveform(key: str, data: Any) -> np.ndarray:
  import soundfile

  if type(data) is not memoryview:
    raise InputError(f"record {key} has no audio")
  try:
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32")
  except soundfile.LibsndfileError as error:
    raise InputError(f"record {key}: its audio cannot be decoded: {error}") from error
  if rate != SAMPLE_RATE or wave.ndim != 1:
    raise InputError(f"record {key}: its audio is {wave.shape} at {rate} Hz, not mono at {SAMPLE_RATE} Hz")
  return wave


def _cut(key: str, field: str, rows: np.ndarray, first: int, last: int) -> np.ndarray:
  if len(rows) < last:
    raise InputError(f"record {key} is too short: {field} has {len(rows)} of {last}")
  return rows[first:last]

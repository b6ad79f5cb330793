"""Where the pictures of an image set come from: a zip, a folder, or a TensorFlow Datasets source.

Each source lists its pictures by name in sorted order, gives the bytes or pixels of one, and its raw labels.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxtalk.core import InputError, MissingAssetError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
LABEL_FILE = "dataset.json"
MAX_FILE_BYTES = 256 * 2**20  # of one picture; more is no picture of a training set
Labels = Mapping[str, Any] | None  # by name, or None

# What Pillow raises for a file that is cut off or not what it says.
BROKEN: tuple[type[Exception], ...] = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError)
BROKEN += (struct.error, zlib.error, Image.DecompressionBombError, zipfile.BadZipFile)


class Source(Protocol):
  """Pictures by name.

  Attributes:
    title: for messages, usually the path.
    names: sorted.
    num_classes: of integer labels if the source knows it, else None.
  """

  title: str
  names: list[str]
  num_classes: int | None

  def picture(self, name: str) -> np.ndarray:
    """(H, W) or (H, W, C) as stored. One of `BROKEN` if it cannot be decoded."""
    ...

  def check(self, name: str) -> tuple[int, int, str]:
    """Width, height and mode, found as cheaply as it can be made sure that the file is whole."""
    ...

  def labels(self) -> Labels:
    """Raw labels by name; InputError if the file that holds them is not valid."""
    ...


def _check_bytes(data: bytes) -> tuple[int, int, str]:
  with Image.open(io.BytesIO(data)) as image:
    found = (*image.size, image.mode)
    if image.format == "PNG":
      image.verify()  # check sums of all chunks, without decoding
      return found
    image.draft("RGB", (1, 1))  # JPEG: an eighth of the size, which still reads the whole file
    image.load()
  return found


def _decode(data: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(data)) as image:
    return np.array(image)


def _parse_labels(text: bytes, where: str) -> Labels:
  try:
    entries = json.loads(text)["labels"]
    if entries is None:
      return None
    return {str(name).replace("\\", "/"): label for name, label in entries}
  except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
    raise InputError(f'{where} must be {{"labels": [[name, label], ...]}} or null: {error!r}') from error


class ZipSource:
  """An official zip, or any zip of pictures."""

  num_classes: int | None = None

  def __init__(self, path: Path):
    self.title = str(path)
    try:
      self._zip = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
      raise InputError(f"{path} cannot be read as a zip of pictures ({error})") from error
    self._sizes = {info.filename: info.file_size for info in self._zip.infolist()}
    self.names = sorted(name for name in self._sizes if name.lower().endswith(SUFFIXES))

  def _read(self, name: str) -> bytes:
    if self._sizes[name] > MAX_FILE_BYTES:
      raise OSError(f"{self._sizes[name]} bytes are too many for a picture")
    return self._zip.read(name)

  def picture(self, name: str) -> np.ndarray:
    return _decode(self._read(name))

  def check(self, name: str) -> tuple[int, int, str]:
    return _check_bytes(self._read(name))

  def labels(self) -> Labels:
    if LABEL_FILE not in self._sizes:
      return None
    return _parse_labels(self._read(LABEL_FILE), f"{self.title}:{LABEL_FILE}")


class FolderSource:
  """A folder of pictures, with sub-folders or without."""

  num_classes: int | None = None

  def __init__(self, path: Path):
    self.title = str(path)
    self._path = path
    files = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    self.names = sorted(file.relative_to(path).as_posix() for file in files)

  def _read(self, name: str) -> bytes:
    file = self._path / name
    if (size := file.stat().st_size) > MAX_FILE_BYTES:
      raise OSError(f"{size} bytes are too many for a picture")
    return file.read_bytes()

  def picture(self, name: str) -> np.ndarray:
    return _decode(self._read(name))

  def check(self, name: str) -> tuple[int, int, str]:
    return _check_bytes(self._read(name))

  def labels(self) -> Labels:
    file = self._path / LABEL_FILE
    return _parse_labels(file.read_bytes(), str(file)) if file.is_file() else None


class TfdsSource:
  """A prepared TensorFlow Datasets data set, read at random without TensorFlow (array_record or parquet files).

  Args:
    name: ``name[/config][:version][:split]``, e.g. ``cifar10`` or ``lsun/cat:train[:10%]``; the split is train.
    data_dir: where data sets lie; None is the library's own place.
  """

  def __init__(self, name: str, data_dir: str | None = None):
    try:
      import tensorflow_datasets as tfds
    except ImportError as error:
      raise MissingAssetError(
        f"tfds:{name} needs two packages that are not installed: pip install tensorflow-datasets array-record"
      ) from error
    self.title = f"tfds:{name}"
    dataset, split = _split_name(name)
    hint = f'import tensorflow_datasets as t; t.builder("{dataset}", file_format="array_record").download_and_prepare()'
    try:
      builder = tfds.builder(dataset, data_dir=data_dir, try_gcs=False, file_format="array_record")
      if not builder.is_prepared():
        raise MissingAssetError(f"{self.title} is not on this machine; fetch it once with python -c '{hint}'")
      self._items = builder.as_data_source(split=split)
    except (tfds.core.DatasetNotFoundError, ValueError, NotImplementedError) as error:
      raise InputError(f"{self.title} cannot be read: {str(error).splitlines()[0]}") from error
    features = builder.info.features or {}
    if "image" not in features:
      raise InputError(f"{self.title} has no feature 'image'; it has {', '.join(features)}")
    self._labelled = "label" in features
    self.num_classes: int | None = getattr(features["label"], "num_classes", None) if self._labelled else None
    self.names = [f"{i:08d}" for i in range(len(self._items))]
    self._seen: dict[str, int] = {}  # labels of pictures that were read: an item is decoded as a whole

  def picture(self, name: str) -> np.ndarray:
    item = self._items[int(name)]
    if self._labelled:
      self._seen[name] = int(item["label"])
    pixels = np.asarray(item["image"])
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels

  def check(self, name: str) -> tuple[int, int, str]:
    pixels = self.picture(name)
    mode = {2: "L", 3: "RGB"}.get(pixels.ndim if pixels.ndim == 2 else pixels.shape[2], str(pixels.shape))
    return pixels.shape[1], pixels.shape[0], mode

  def labels(self) -> Labels:
    if not self._labelled:
      return None
    for name in self.names:
      if name not in self._seen:
        self.picture(name)
    return self._seen


def _split_name(name: str) -> tuple[str, str]:
  """``lsun/cat:1.2.3:test`` to what to build, with its version, and the split."""
  dataset, *rest = name.split(":")
  if rest and rest[0][:1].isdigit():
    dataset += ":" + rest.pop(0)
  return dataset, ":".join(rest) or "train"


def open_source(path: str | Path) -> Source:
  """The source that a path means; InputError if there is none."""
  if str(path).startswith("tfds:"):
    return TfdsSource(str(path).removeprefix("tfds:"))
  place = Path(path).expanduser()
  if place.is_dir():
    return FolderSource(place)
  if not place.exists():
    raise InputError(f"there is no image set at {path}; give a zip, a folder of pictures, or tfds:NAME")
  return ZipSource(place)

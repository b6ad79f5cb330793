"""Square pictures with labels for training generators, as the official StyleGAN2 reader gives them.

An image set is a zip or folder of pictures with an optional ``dataset.json``, or ``tfds:NAME``. Pictures are sorted by
name; integer labels become one-hot rows, lists of numbers stay as they are. ``max_size`` and mirrored copies follow
the official reader number for number, so runs and metrics see the same pictures in the same order.

The file that holds a set is looked through once when it is opened: a broken picture is named, left out and counted;
pictures that do not fit together are an error. Sets that fit into ``CACHE_BYTES`` are decoded once and kept.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxtalk.core import InputError
from jaxtalk.data.image_batches import ImageBatches, SamplerOrder
from jaxtalk.data.image_files import BROKEN, Source, open_source
from jaxtalk.runtime import num_cores

__all__ = ["ImageBatches", "ImageSet", "SamplerOrder", "open_images"]

CACHE_BYTES = 2 * 2**30  # decoded pictures kept in memory
CHANNELS = {"L": 1, "RGB": 3}
MAX_CLASSES = 10_000


@dataclasses.dataclass(frozen=True)
class LabelTable:
  """Labels of all good pictures: ``values`` (N, width) float32, or (N,) classes of which one-hot rows are made."""

  values: np.ndarray
  width: int

  def rows(self, index: np.ndarray) -> np.ndarray:
    """(len(index), width) float32."""
    picked = self.values[index]
    if picked.ndim == 2:
      return picked
    rows = np.zeros((len(picked), self.width), np.float32)
    rows[np.arange(len(picked)), picked] = 1
    return rows


class ImageSet:
  """Pictures (resolution, resolution, channels) uint8 by index, and their labels. Made by `open_images`.

  Attributes:
    resolution, channels: of every picture.
    c_dim: length of a label; 0 without labels.
    skipped: names of pictures that could not be decoded.
    raw_index: (N,) index among all good pictures.
    flipped: (N,) whether the picture is mirrored.
    labels: (N, c_dim) float32.
    title: where it comes from, for messages.
  """

  def __init__(
    self, source: Source, names: Sequence[str], labels: LabelTable, shape: tuple[int, int], skipped: Sequence[str]
  ):
    self._source, self._names, self._labels = source, names, labels
    self.resolution, self.channels = shape
    self.skipped = list(skipped)
    self.title = source.title
    self.raw_index = np.arange(len(names))
    self.flipped = np.zeros(len(names), bool)
    keep = len(names) * self.resolution**2 * self.channels <= CACHE_BYTES
    self._cache: dict[int, np.ndarray] | None = {} if keep else None

  def __len__(self) -> int:
    return len(self.raw_index)

  @property
  def c_dim(self) -> int:
    return self._labels.width

  @property
  def labels(self) -> np.ndarray:
    return self._labels.rows(self.raw_index)

  def name(self, index: int) -> str:
    """The file of a picture."""
    return self._names[self.raw_index[index]]

  def image(self, index: int) -> np.ndarray:
    """(resolution, resolution, channels) uint8; InputError if the file has broken since the set was opened."""
    pixels = self._pixels(int(self.raw_index[index]))
    return pixels[:, ::-1] if self.flipped[index] else pixels

  def label(self, index: int) -> np.ndarray:
    """(c_dim,) float32."""
    return self._labels.rows(self.raw_index[[index]])[0]

  def limit(self, max_size: int, seed: int) -> None:
    """Keeps ``max_size`` pictures drawn with ``seed``, in their order."""
    if max_size < 1:
      raise InputError(f"image set {self.title}: max_size={max_size} must be at least 1")
    if len(self) > max_size:
      order = self.raw_index.copy()
      np.random.RandomState(seed % 2**31).shuffle(order)
      self.raw_index = np.sort(order[:max_size])
      self.flipped = np.zeros(max_size, bool)

  def mirror(self) -> None:
    """Adds a mirrored copy of every picture after the others."""
    self.raw_index = np.tile(self.raw_index, 2)
    self.flipped = np.concatenate([self.flipped, ~self.flipped])

  def _pixels(self, raw: int) -> np.ndarray:
    if self._cache is not None and raw in self._cache:
      return self._cache[raw]
    name = self._names[raw]
    try:
      pixels = _fit(self._source.picture(name), self.resolution)
    except BROKEN as error:
      raise InputError(f"{self.title}: {name} cannot be decoded ({error}); remove or repair it") from error
    if self._cache is not None:
      self._cache[raw] = pixels
    return pixels


def _fit(pixels: np.ndarray, size: int) -> np.ndarray:
  """(size, size, C): as it is, or the middle square averaged down."""
  height, width = pixels.shape[:2]
  if (height, width) != (size, size):
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    pixels = np.asarray(square.resize((size, size), Image.Resampling.BOX))
  return pixels.reshape(size, size, -1)


def open_images(
  path: str | Path,
  *,
  resolution: int | None = None,
  use_labels: bool = False,
  xflip: bool = False,
  max_size: int | None = None,
  seed: int = 0,
) -> ImageSet:
  """Opens an image set.

  Args:
    path: a zip, a folder, or ``tfds:name[/config][:split]``.
    resolution: power of two. None takes the pictures' own size, which must be one. Pictures of other sizes, at least
      as large, are cut to the middle square and averaged down (a box filter: Lanczos costs a point of FID).
    use_labels: needs labels; else every label is empty.
    xflip: adds mirrored copies.
    max_size: keep so many pictures, drawn with ``seed``, before mirroring.
    seed: see ``max_size``.

  Raises:
    InputError: nothing there, no pictures, sizes or channels that differ or are not allowed, labels that do not fit.
    MissingAssetError: ``tfds:`` without its packages or its data.
  """
  source = open_source(path)
  if not source.names:
    raise InputError(f"{source.title} has no pictures (.png, .jpg, .webp, .bmp)")
  found, broken = _look_through(source)
  if broken:
    shown = ", ".join(broken[:3]) + (" ..." if len(broken) > 3 else "")
    warnings.warn(f"{source.title}: left out {len(broken)} of {len(source.names)}, broken: {shown}", stacklevel=2)
  if not found:
    raise InputError(f"{source.title}: none of its {len(source.names)} pictures can be decoded")
  shape = _common_shape(source.title, found, resolution)
  names = list(found)
  labels = _labels(source, names) if use_labels else LabelTable(np.zeros((len(names), 0), np.float32), 0)
  images = ImageSet(source, names, labels, shape, broken)
  if max_size is not None:
    images.limit(max_size, seed)
  if xflip:
    images.mirror()
  return images


def _look_through(source: Source) -> tuple[dict[str, tuple[int, int, str]], list[str]]:
  """Width, height and mode of every good picture by name, and the names of the broken ones."""

  def check(name: str) -> tuple[int, int, str] | None:
    try:
      return source.check(name)
    except BROKEN:
      return None

  with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
    checked = dict(zip(source.names, pool.map(check, source.names, chunksize=64), strict=True))
  found = {name: facts for name, facts in checked.items() if facts is not None}
  return found, [name for name, facts in checked.items() if facts is None]


def _common_shape(title: str, found: dict[str, tuple[int, int, str]], resolution: int | None) -> tuple[int, int]:
  """Resolution and channels of the set, or the InputError that says which picture is in the way."""
  if resolution is not None and not _is_size(resolution):
    raise InputError(f"resolution={resolution} must be a power of two, at least 4")
  modes = Counter(mode for _, _, mode in found.values())
  usual = modes.most_common(1)[0][0]
  for name, (_, _, mode) in found.items():
    if mode not in CHANNELS:
      raise InputError(f"{title}: {name} has mode {mode}; convert the pictures to RGB or grey (8 bit)")
    if mode != usual:
      raise InputError(f"{title}: {name} is {mode}, most others are {usual}; convert the pictures to one of them")
  sizes = Counter((width, height) for width, height, _ in found.values())
  width, height = sizes.most_common(1)[0][0]
  if resolution is None:
    advice = "resize the pictures, or give a resolution to cut and resize them when they are read"
    if len(sizes) > 1:
      odd = next(name for name, (w, h, _) in found.items() if (w, h) != (width, height))
      own = "x".join(map(str, found[odd][:2]))
      raise InputError(f"{title}: {odd} is {own}, most others are {width}x{height}; {advice}")
    if width != height or not _is_size(width):
      raise InputError(f"{title}: pictures are {width}x{height}, not square with a power of two; {advice}")
    return width, CHANNELS[usual]
  for name, (w, h, _) in found.items():
    if min(w, h) < resolution:
      raise InputError(f"{title}: {name} is {w}x{h}, smaller than resolution={resolution}; give a smaller resolution")
  return resolution, CHANNELS[usual]


def _is_size(value: int) -> bool:
  return value >= 4 and value & (value - 1) == 0


def _labels(source: Source, names: Sequence[str]) -> LabelTable:
  """Labels of ``names``; the number of classes is that of the whole set."""
  raw = source.labels()
  if raw is None:
    raise InputError(f"{source.title} has no labels (dataset.json); train without labels, or add them")
  missing = [name for name in source.names if name not in raw]
  if missing:
    raise InputError(f"{source.title}: dataset.json has no label for {missing[0]} ({len(missing)} are missing)")
  table = _table(source.title, [raw[name] for name in source.names], source.num_classes)
  return dataclasses.replace(table, values=table.values[np.isin(source.names, names)])


def _table(title: str, labels: list[Any], num_classes: int | None) -> LabelTable:
  if all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
    low, high = min(labels), max(labels)
    if low < 0:
      raise InputError(f"{title}: class {low} is negative; classes count from 0")
    if high >= MAX_CLASSES:
      raise InputError(f"{title}: class {high} is too large; number the classes 0, 1, 2 ...")
    return LabelTable(np.array(labels, np.int64), max(num_classes or 0, high + 1))
  try:
    vectors = np.array(labels, np.float32)
  except (ValueError, TypeError):
    vectors = np.zeros(0, np.float32)
  if vectors.ndim != 2 or not np.isfinite(vectors).all():
    raise InputError(f"{title}: labels must all be classes (0, 1, ...), or all lists of as many finite numbers")
  return LabelTable(vectors, vectors.shape[1])

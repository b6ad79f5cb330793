"""The pictures that a config asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from ml_collections import ConfigDict

from jaxtalk.core import InputError
from jaxtalk.data.faces import ensure_faces, image_name, read_attributes, read_size
from jaxtalk.data.image_folder import ImageSet, open_images
from jaxtalk.stylegan2.paired import PairLatents

STUDIO_SHAPE = (2, 3)  # classes and channels of the studio's pictures


class Pictures(Protocol):
  """What training needs of a set of pictures; see `data.image_folder.ImageSet`."""

  channels: int
  title: str

  def __len__(self) -> int: ...

  @property
  def c_dim(self) -> int: ...

  @property
  def labels(self) -> np.ndarray: ...

  def image(self, index: int) -> np.ndarray: ...

  def label(self, index: int) -> np.ndarray: ...


class OneClass:
  """The pictures of one class of a labelled set, without labels: what one network of a pair learns.

  Raises:
    InputError: the labels are not classes, or there is no such class.
  """

  c_dim = 0

  def __init__(self, images: ImageSet, label: int):
    self.channels, self.title = images.channels, images.title
    labels = images.labels
    if not np.array_equal(np.sort(labels, axis=1)[:, -2:].sum(1), np.ones(len(labels))):
      raise InputError(f"{self.title}: config.data.only_label needs classes, not vectors, as labels")
    self._images, self._index = images, np.flatnonzero(labels.argmax(1) == label)
    if not len(self._index):
      raise InputError(f"{self.title} has no picture of class {label}; its classes are 0 to {labels.shape[1] - 1}")
    self.labels = np.zeros((len(self._index), 0), np.float32)

  def __len__(self) -> int:
    return len(self._index)

  def image(self, index: int) -> np.ndarray:
    return self._images.image(int(self._index[index]))

  def label(self, index: int) -> np.ndarray:
    return self.labels[index]


def open_pictures(config: ConfigDict, folder: Path | None) -> Pictures | None:
  """The training pictures: the user's, or the studio's children, rendered into ``folder`` unless they are there.

  Returns None if they would have to be rendered and there is no folder yet.
  """
  data, train = config.data, config.train
  path: str | Path = data.path
  if not path:
    if folder is None:
      return None
    path = ensure_faces(folder, data.studio_count, data.resolution, data.studio_seed)
  images = open_images(
    path,
    resolution=data.resolution,
    use_labels=config.model.networks != "plain",
    xflip=data.mirror,
    max_size=data.max_size or None,
    seed=train.seed,
  )
  return OneClass(images, data.only_label) if data.only_label >= 0 else images


class Pairs:
  """More arrays for batches: latents from the labels of the studio's pictures, and where faces have their features.

  Raises:
    InputError: the pictures have no attributes, or the latents are too short for them.
  """

  def __init__(self, images: Pictures, z_dim: int, seed: int):
    images, columns = check_pairs(images)
    table = {image_name(i): i for i in range(len(columns["age"]))}
    self._half = len(images) // 2 if images.flipped.any() else len(images)  # mirrored copies come last
    try:
      rows = np.array([table[images.name(i)] for i in range(self._half)])
    except KeyError as error:
      raise InputError(
        f"{images.title}: attributes.npz has no row for {error}; config.loss.paired_weight needs it"
      ) from error
    self._latents = PairLatents(
      {name: column[rows] for name, column in columns.items()},
      np.stack([images.image(i) for i in range(self._half)]),
      images.labels[: self._half].argmax(1) if images.c_dim else np.zeros(self._half, int),
      size=read_size(images.title),
      z_dim=z_dim,
      seed=seed,
    )

  def __call__(self, indices: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``pair_z`` (n, z_dim) and ``pair_centres`` (n, 3, 2) of pictures (n,)."""
    rows, flipped = indices % self._half, (indices >= self._half).astype(int)
    return {"pair_z": self._latents.draw(rows, flipped, rng), "pair_centres": self._latents.centres[flipped, rows]}


def check_pairs(images: Pictures) -> tuple[ImageSet, dict[str, np.ndarray]]:
  """The pictures and their attributes, or the InputError that says why single pictures cannot be learned."""
  if not isinstance(images, ImageSet):
    raise InputError(f"{images.title}: config.loss.paired_weight needs both classes, config.data.only_label=-1")
  try:
    return images, read_attributes(images.title)
  except InputError as error:
    raise InputError(f"config.loss.paired_weight needs the studio's labels (0 does without): {error}") from error

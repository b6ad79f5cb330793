"""The pictures that a config asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from ml_collections import ConfigDict

from jaxtalk.core import InputError
from jaxtalk.data.faces import ensure_faces
from jaxtalk.data.image_folder import ImageSet, open_images

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

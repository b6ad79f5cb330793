"""Endless batches of an image set in the official order: shuffled once, then swapped within a sliding window.

Position ``n`` of a seed is the same picture however the run got there; a run that goes on replays the swaps, which
takes a tenth of a microsecond each.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

Extras = Callable[[np.ndarray, np.random.Generator], Mapping[str, np.ndarray]]
_DRAWS = 4096  # random numbers drawn at a time


class Images(Protocol):
  """What batches need of `image_folder.ImageSet`."""

  def __len__(self) -> int: ...

  def image(self, index: int) -> np.ndarray: ...

  def label(self, index: int) -> np.ndarray: ...


class SamplerOrder:
  """Indices of pictures for one process, without end.

  Args:
    size: number of pictures.
    seed: of the order; all processes have the same one.
    process: (index, count); a process takes every count-th picture of the common order.
    shuffle: False goes through the set again and again.
    window: share of the set within which pictures trade places after each use; 0 repeats the first order.
  """

  def __init__(
    self, size: int, seed: int, process: tuple[int, int] = (0, 1), *, shuffle: bool = True, window: float = 0.5
  ):
    order = np.arange(size)
    self._rng = np.random.RandomState(seed % 2**32)
    if shuffle:
      self._rng.shuffle(order)
    self._places = order.tolist()
    self._reach = int(np.rint(size * window)) if shuffle else 0
    self._at, self._count = 0, process[1]
    self._steps: list[int] = []
    self.skip(process[0])

  def __iter__(self) -> SamplerOrder:
    return self

  def __next__(self) -> int:
    index = self._places[self._at]
    self.skip(self._count)
    return index

  def skip(self, count: int) -> None:
    """Goes on by ``count`` places of the common order."""
    places, size = self._places, len(self._places)
    while count > 0:
      if not self._steps:
        self._steps = self._draw()
      now, self._steps = self._steps[:count], self._steps[count:]
      count -= len(now)
      i = self._at
      for back in now:
        j = i - back  # a negative index counts from the end, which is the way round the set
        places[i], places[j] = places[j], places[i]
        i = i + 1 if i + 1 < size else 0
      self._at = i

  def _draw(self) -> list[int]:
    """How far back the next pictures go; drawn in blocks, which gives the same numbers as one at a time."""
    if self._reach < 2:
      return [0] * _DRAWS
    return self._rng.randint(self._reach, size=_DRAWS).tolist()


class ImageBatches:
  """A `training.task.Batches`: ``image`` (B, H, W, C) uint8, ``label`` (B, c_dim) and ``gen_label`` (B, G, c_dim)
  float32, where B is this process's share of the batch.

  The next batch is put together in a thread while the present one is in use.

  Args:
    images: the pictures.
    batch_size: of the global batch.
    seed: of the order and of the labels for generated pictures.
    process: (index, count) of this process.
    gen_labels: labels G for each generated picture of a step, one a phase, drawn evenly from the set.
    extras: (indices of the pictures, random generator) -> more arrays of the batch.
  """

  def __init__(
    self,
    images: Images,
    batch_size: int,
    seed: int,
    process: tuple[int, int] = (0, 1),
    gen_labels: int = 4,
    extras: Extras | None = None,
  ):
    if len(images) == 0:
      raise ValueError("there are no pictures to train on")
    if batch_size % process[1]:
      raise ValueError(f"batch size {batch_size} cannot be shared by {process[1]} processes")
    self._images, self._batch_size, self._seed, self._process = images, batch_size, seed, process
    self._gen_labels, self._extras = gen_labels, extras
    self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="images")
    self._position = 0
    self._order = SamplerOrder(len(images), seed, process)
    self._next: concurrent.futures.Future[dict[str, np.ndarray]] | None = None

  def __iter__(self) -> ImageBatches:
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    batch = self._next.result() if self._next else self._assemble(self._draw(), self._position)
    self._position += self._batch_size
    self._next = self._pool.submit(self._assemble, self._draw(), self._position)
    return batch

  def get_state(self) -> dict[str, Any]:
    """Pictures that all processes together have been given, as JSON."""
    return {"position": self._position}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position: next() gives the batch that starts there."""
    self._position = int(state["position"])
    self._order = SamplerOrder(len(self._images), self._seed, self._process)
    self._order.skip(self._position)
    self._next = None

  def _draw(self) -> list[int]:
    return [next(self._order) for _ in range(self._batch_size // self._process[1])]

  def _assemble(self, indices: list[int], position: int) -> dict[str, np.ndarray]:
    index, count = self._process
    rng = np.random.default_rng(np.random.SeedSequence([self._seed, 0x6E, position]))
    drawn = rng.integers(len(self._images), size=(self._batch_size, self._gen_labels))[index::count]
    labels = np.stack([self._images.label(i) for i in indices])
    gen = [self._images.label(int(i)) for i in drawn.reshape(-1)]
    extras: Mapping[str, np.ndarray] = {}
    if self._extras is not None:
      own = np.random.default_rng(np.random.SeedSequence([self._seed, 0x9A, position, index]))
      extras = self._extras(np.asarray(indices), own)
    return {
      "image": np.stack([self._images.image(i) for i in indices]),
      "label": labels,
      "gen_label": np.asarray(gen, np.float32).reshape(len(indices), self._gen_labels, labels.shape[1]),
      **extras,
    }

"""Endless, shuffled, resumable batches over anything that can be indexed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Source(Protocol):
  """Examples by index; ``get`` may crop or augment with the generator that it is given."""

  def __len__(self) -> int: ...

  def get(self, index: int, rng: np.random.Generator) -> Mapping[str, np.ndarray]: ...


class ShuffledBatches:
  """Batches of stacked examples, each epoch in a new order; examples left over at the end of an epoch open the next.

  Example ``n`` of the run depends on the seed and ``n`` alone, so a position is one number, and a batch is the same
  whether it is reached by training or by `set_state`. With several processes each gets its share of every batch.

  Args:
    source: the examples.
    batch_size: of the global batch.
    seed: of order and augmentation.
    process: (index, count) of this process.
  """

  def __init__(self, source: Source, batch_size: int, seed: int, process: tuple[int, int] = (0, 1)):
    if len(source) == 0:
      raise ValueError("there are no examples to train on")
    self._source, self._batch_size, self._seed = source, batch_size, seed
    self._index, self._count = process
    self._position = 0
    self._epoch, self._order = -1, np.zeros(0, np.int64)

  def __iter__(self) -> ShuffledBatches:
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    share = self._batch_size // self._count
    first = self._position + self._index * share
    examples = [self._example(n) for n in range(first, first + share)]
    self._position += self._batch_size
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

  def get_state(self) -> dict[str, Any]:
    """The position, as JSON."""
    return {"position": self._position}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position."""
    self._position = int(state["position"])

  def _example(self, n: int) -> Mapping[str, np.ndarray]:
    epoch, i = divmod(n, len(self._source))
    if epoch != self._epoch:
      rng = np.random.default_rng(np.random.SeedSequence([self._seed, 0, epoch]))
      self._epoch, self._order = epoch, rng.permutation(len(self._source))
    return self._source.get(int(self._order[i]), np.random.default_rng(np.random.SeedSequence([self._seed, 1, n])))

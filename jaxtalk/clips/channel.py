"""Bounded hand-over between threads, so that one stage works while the next one does, without filling memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
  """A queue of at most ``depth`` items with one writer and one reader, either of whom may leave.

  The writer calls ``put`` and then ``finish``; the reader iterates, and gets the error that ``finish`` was given. When
  the reader calls ``leave``, ``put`` returns False and nobody waits for anybody any more.
  """

  def __init__(self, depth: int):
    self._depth = depth
    self._items: deque[T] = deque()
    self._changed = threading.Condition()
    self._finished = self._left = False
    self._error: BaseException | None = None

  def put(self, item: T) -> bool:
    """Waits for room and hands an item over; False if the reader has left."""
    with self._changed:
      self._changed.wait_for(lambda: len(self._items) < self._depth or self._left)
      if not self._left:
        self._items.append(item)
        self._changed.notify_all()
      return not self._left

  def finish(self, error: BaseException | None = None) -> None:
    """Ends the stream, for the reader with ``error`` if there was one."""
    with self._changed:
      self._finished, self._error = True, error
      self._changed.notify_all()

  def leave(self) -> None:
    """Called by the reader when it wants no more."""
    with self._changed:
      self._left = True
      self._items.clear()
      self._changed.notify_all()

  def __iter__(self) -> Iterator[T]:
    while True:
      with self._changed:
        self._changed.wait_for(lambda: self._items or self._finished)
        if not self._items:
          break
        item = self._items.popleft()
        self._changed.notify_all()
      yield item
    if self._error is not None:
      raise self._error


class Stopwatch(Generic[T]):
  """The same items once; ``seconds`` counts the time spent waiting for them."""

  def __init__(self, items: Iterable[T]):
    self._items, self.seconds = iter(items), 0.0

  def __iter__(self) -> Iterator[T]:
    return self

  def __next__(self) -> T:
    start = time.perf_counter()
    try:
      return next(self._items)
    finally:
      self.seconds += time.perf_counter() - start


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
  """The same items, made up to ``depth`` ahead in a thread of their own; an error arrives after the items before it."""
  channel: Channel[T] = Channel(depth)

  def work() -> None:
    try:
      for item in items:
        if not channel.put(item):
          return
    except BaseException as error:  # handed over to the reader, who raises it
      channel.finish(error)
    else:
      channel.finish()

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    yield from channel
  finally:
    channel.leave()
    thread.join()

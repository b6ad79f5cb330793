"""A polite end: the first SIGTERM or Ctrl-C asks the loop to save and leave, the second stops at once."""

from __future__ import annotations

import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
  """Context manager; ``requested`` is the name of the signal that arrived, "" before.

  Outside the main thread, where Python cannot install handlers, it never fires.
  """

  def __init__(self):
    self.requested = ""
    self._before: dict[int, object] = {}

  def __enter__(self) -> StopSignal:
    if threading.current_thread() is threading.main_thread():
      self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
    return self

  def __exit__(self, kind, error, trace) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)  # type: ignore[arg-type]

  def _handle(self, number, frame) -> None:
    if self.requested:
      raise KeyboardInterrupt
    self.requested = signal.Signals(number).name

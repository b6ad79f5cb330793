"""What reading a file from a stranger may cost, and how it is refused."""

from __future__ import annotations

from jaxtalk.core import InputError

MAX_OPERATIONS = 1_000_000  # a 1024-pixel snapshot has about 100,000, those of its tensors included


class UntrustedError(InputError, ValueError):
  """A file that is not one that we read, is damaged, or wants something run; one line that names the thing."""


class ForbiddenGlobal(UntrustedError):
  """The file names a function or class outside the table; ``name`` is its dotted name."""

  def __init__(self, name: str):
    self.name = ascii(name)[1:-1][:120]
    super().__init__(
      f"refused {self.name}: the pickle names a function or class that no file of its kind needs; nothing was run"
    )


class Work:
  """What one file may cost, over all its streams: operations, and bytes copied (each byte of the file once).

  Args:
    copied_bytes: how many bytes may be copied out of the file; its size.
    operations: how many operations may be done.
  """

  def __init__(self, copied_bytes: int, operations: int = MAX_OPERATIONS):
    self._bytes, self._operations = copied_bytes, operations

  def spend(self, count: int = 1) -> None:
    """UntrustedError after the last allowed operation."""
    self._operations -= count
    if self._operations < 0:
      raise UntrustedError("the pickle asks for more operations than any file that we read; it was not read further")

  def copy(self, count: int) -> None:
    """To be called before ``count`` bytes are allocated; UntrustedError if the file cannot justify them."""
    self._bytes -= count
    if self._bytes < 0:
      raise UntrustedError("the pickle asks for more data than the file holds; it was not read further")

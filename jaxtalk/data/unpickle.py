"""A pickle reader that cannot run anything: it computes data, and hands every call to a table of known names.

Python's own unpickler imports and calls whatever a file names, allocates whatever a file asks for, and lets a file set
attributes of the objects it made. This one is an interpreter of the same language (protocols 0 to 5) in which a global
is only its name (`Global`), a call is a look-up of that name in a table given by the caller, and every length is
compared with the bytes that are really there. Whatever is not in the table is refused, and the message names it.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, NoReturn

from jaxtalk.data.untrusted import ForbiddenGlobal, UntrustedError, Work

MAX_NESTING = 200  # open marks; the official files have about 30
MAX_INTEGER_BYTES = 16  # the longest integer of a real file, a magic number, has 10
MAX_LINE = 1000  # characters of the text arguments of protocol 0, names included

Call = Callable[[tuple], Any]


class Global(NamedTuple):
  """A function or class of the pickle: its dotted name and nothing else."""

  name: str


WRONG: Any = object()  # what a function of the tables returns for arguments that it does not take


class PickleReader:
  """Reads pickles one after the other from a buffer.

  Args:
    data: the file.
    work: what the file may still cost; shared by all its streams.
    calls: dotted name -> function of the argument tuple; returns an inert value, or `WRONG`. It must never return
      something that acts when it is stored in a list or dict.
    classes: names that may appear as values but are never called (storage types).
    builds: type -> function (value, state) that completes a value made by ``calls``, or `WRONG`.
    persistent: what to make of a persistent id; None refuses them.
  """

  def __init__(
    self,
    data: memoryview,
    work: Work,
    calls: Mapping[str, Call],
    *,
    classes: Collection[str] = (),
    builds: Mapping[type, Callable[[Any, Any], Any]] | None = None,
    persistent: Call | None = None,
  ):
    self.data, self.offset, self._work = data, 0, work
    self._calls, self._classes, self._builds, self._persistent = calls, classes, builds or {}, persistent
    self._stack: list[Any] = []
    self._marked: list[list[Any]] = []
    self.memo: dict[int, Any] = {}

  def read(self) -> Any:
    """The next pickle's value.

    Raises:
      ForbiddenGlobal: it names something outside the table.
      UntrustedError: it is malformed, truncated, or larger than its file can justify.
    """
    self._stack, self._marked, self.memo = [], [], {}
    while True:
      self._work.spend()
      code = self.take(1)[0]
      if code == _STOP:
        return self._pop()
      operation = _OPERATIONS.get(code)
      if operation is None:
        self._refuse(f"operation {_NAMES.get(chr(code), hex(code))}, which no file that we read has")
      operation(self)

  def take(self, count: int) -> memoryview:
    """The next bytes; UntrustedError if the file ends before."""
    if not 0 <= count <= len(self.data) - self.offset:
      raise UntrustedError(f"truncated or damaged: {count} bytes wanted at byte {self.offset} of {len(self.data)}")
    start, self.offset = self.offset, self.offset + count
    return self.data[start : self.offset]

  def _refuse(self, what: str) -> NoReturn:
    raise UntrustedError(f"not a well-formed pickle: {what} (at byte {self.offset})")

  def _number(self, layout: str) -> Any:
    return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

  def _line(self) -> str:
    window = bytes(self.data[self.offset : self.offset + MAX_LINE])
    end = window.find(b"\n")
    if end < 0:
      self._refuse("a text argument without end")
    return self._decode(self.take(end + 1)[:end])

  def _decode(self, raw: memoryview) -> str:
    try:
      return str(raw, "utf-8", "surrogatepass")
    except UnicodeDecodeError:
      self._refuse("text that is not UTF-8")

  def _push(self, value: Any) -> None:
    self._stack.append(value)

  def _pop(self) -> Any:
    if not self._stack:
      self._refuse("a value is missing on the stack")
    return self._stack.pop()

  def _pop_tuple(self, count: int) -> None:
    values = [self._pop() for _ in range(count)]
    self._push(tuple(reversed(values)))

  def _mark(self) -> None:
    if len(self._marked) >= MAX_NESTING:
      self._refuse(f"nested deeper than {MAX_NESTING}")
    self._marked.append(self._stack)
    self._stack = []

  def _pop_mark(self) -> list[Any]:
    if not self._marked:
      self._refuse("a mark is missing on the stack")
    values, self._stack = self._stack, self._marked.pop()
    return values

  def _container(self, kind: type) -> Any:
    target = self._stack[-1] if self._stack else None
    if type(target) is not kind:
      self._refuse(f"items for a {kind.__name__} that is not there")
    return target

  def _put(self, index: int) -> None:
    if not self._stack:
      self._refuse("nothing to remember")
    self.memo[index] = self._stack[-1]

  def _get(self, index: int) -> None:
    if index not in self.memo:
      self._refuse(f"memo {index} was never written")
    self._push(self.memo[index])

  def _integer(self, text: str) -> int:
    digits = text.removesuffix("L")
    if len(digits) > 3 * MAX_INTEGER_BYTES or not digits.removeprefix("-").isdecimal():
      self._refuse("an integer that is none, or a giant one")
    return int(digits)

  def _global(self, name: str) -> None:
    if name not in self._calls and name not in self._classes:
      raise ForbiddenGlobal(name)
    self._push(Global(name))

  def _call(self, arguments: Any, target: Any) -> None:
    if type(target) is not Global:
      self._refuse("a call of something that is not a function")
    if target.name not in self._calls:
      self._refuse(f"a call of {target.name}")
    if type(arguments) is not tuple:
      self._refuse(f"{target.name} is called without a tuple of arguments")
    value = self._calls[target.name](arguments)
    if value is WRONG:
      self._refuse(f"{target.name} is called with arguments that it does not take")
    self._push(value)

  # One method for each kind of operation; plain values and sized data are in the tables below.

  def _set_items(self, items: list[Any]) -> None:
    target = self._container(dict)
    if len(items) % 2:
      self._refuse("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
      if type(key) is memoryview and len(key) <= MAX_LINE:
        key = str(key, "latin1")  # text of Python 2
      # Only these are hashed: hashing a tuple nested a million deep would end the process.
      if type(key) not in (str, int):
        self._refuse("a dict key that is neither text nor an integer")
      target[key] = value

  def _set_item(self) -> None:
    value, key = self._pop(), self._pop()
    self._set_items([key, value])

  def _add_items(self) -> None:
    items = self._pop_mark()
    target = self._container(set)
    if any(type(item) not in (str, int) for item in items):
      self._refuse("a set of something else than text or integers")
    target.update(items)

  def _append(self) -> None:
    value = self._pop()
    self._container(list).append(value)

  def _appends(self) -> None:
    items = self._pop_mark()
    self._container(list).extend(items)

  def _new_dict(self) -> None:
    items = self._pop_mark()
    self._push({})
    self._set_items(items)

  def _items(self) -> None:
    items = self._pop_mark()
    self._set_items(items)

  def _stack_global(self) -> None:
    name, module = self._pop(), self._pop()
    if type(name) is not str or type(module) is not str:
      self._refuse("a global whose name is not text")
    self._global(f"{module}.{name}")

  def _text_global(self) -> None:
    module, name = self._line(), self._line()
    self._global(f"{module}.{name}")

  def _instance(self) -> None:
    self._text_global()
    target = self._pop()
    self._call(tuple(self._pop_mark()), target)

  def _reduce(self) -> None:
    arguments, target = self._pop(), self._pop()
    self._call(arguments, target)

  def _build(self) -> None:
    state, target = self._pop(), self._pop()
    build = self._builds.get(type(target))
    value = WRONG if build is None else build(target, state)
    if value is WRONG:
      self._refuse(f"attributes are set on a {type(target).__name__.strip('_')}, which takes none or others")
    self._push(value)

  def _persistent_id(self) -> None:
    value = self._pop()
    if self._persistent is None:
      self._refuse("a persistent id, which belongs inside a tensor only")
    made = self._persistent(value) if type(value) is tuple else WRONG
    if made is WRONG:
      self._refuse("a persistent id that is not a tensor's storage")
    self._push(made)

  def _protocol(self) -> None:
    version = self._number("<B")
    if version > 5:
      self._refuse(f"pickle protocol {version}")

  def _frame(self) -> None:
    if self._number("<Q") > len(self.data) - self.offset:
      raise UntrustedError(f"truncated: a frame at byte {self.offset} is longer than the rest of the file")

  def _long(self, layout: str) -> int:
    count = self._number(layout)
    if not 0 <= count <= MAX_INTEGER_BYTES:
      self._refuse(f"an integer of {count} bytes")
    return int.from_bytes(self.take(count), "little", signed=True)

  def _text_float(self) -> float:
    line = self._line()
    try:
      return float(line)
    except ValueError:
      self._refuse("a float that is none")


_NAMES = {operation.code: operation.name for operation in pickletools.opcodes}
_R = PickleReader
_STOP = ord(".")
_OPERATIONS: dict[int, Callable[[PickleReader], None]] = {
  # plain values
  ord("N"): lambda r: r._push(None),
  0x88: lambda r: r._push(True),
  0x89: lambda r: r._push(False),
  ord("K"): lambda r: r._push(r._number("<B")),
  ord("M"): lambda r: r._push(r._number("<H")),
  ord("J"): lambda r: r._push(r._number("<i")),
  ord("G"): lambda r: r._push(r._number(">d")),
  0x8A: lambda r: r._push(r._long("<B")),
  0x8B: lambda r: r._push(r._long("<i")),
  # the text forms of protocol 0; escapes stay as they are, for nothing that matters is written so
  ord("I"): lambda r: r._push(r._integer(r._line())),
  ord("L"): lambda r: r._push(r._integer(r._line())),
  ord("F"): lambda r: r._push(r._text_float()),
  ord("S"): lambda r: r._push(r._line().strip("'\"")),
  ord("V"): lambda r: r._push(r._line()),
  # sized data
  ord("X"): lambda r: r._push(r._decode(r.take(r._number("<I")))),
  0x8C: lambda r: r._push(r._decode(r.take(r._number("<B")))),
  0x8D: lambda r: r._push(r._decode(r.take(r._number("<Q")))),
  ord("T"): lambda r: r._push(r.take(r._number("<i"))),
  ord("U"): lambda r: r._push(r.take(r._number("<B"))),
  ord("B"): lambda r: r._push(r.take(r._number("<I"))),
  ord("C"): lambda r: r._push(r.take(r._number("<B"))),
  0x8E: lambda r: r._push(r.take(r._number("<Q"))),
  0x96: lambda r: r._push(r.take(r._number("<Q"))),
  # containers
  ord("]"): lambda r: r._push([]),
  ord("}"): lambda r: r._push({}),
  ord(")"): lambda r: r._push(()),
  0x8F: lambda r: r._push(set()),
  ord("("): _R._mark,
  ord("t"): lambda r: r._push(tuple(r._pop_mark())),
  ord("l"): lambda r: r._push(r._pop_mark()),
  ord("d"): _R._new_dict,
  0x85: lambda r: r._pop_tuple(1),
  0x86: lambda r: r._pop_tuple(2),
  0x87: lambda r: r._pop_tuple(3),
  ord("a"): _R._append,
  ord("e"): _R._appends,
  ord("s"): _R._set_item,
  ord("u"): _R._items,
  0x90: _R._add_items,
  # memo
  ord("p"): lambda r: r._put(r._integer(r._line())),
  ord("q"): lambda r: r._put(r._number("<B")),
  ord("r"): lambda r: r._put(r._number("<I")),
  0x94: lambda r: r._put(len(r.memo)),
  ord("g"): lambda r: r._get(r._integer(r._line())),
  ord("h"): lambda r: r._get(r._number("<B")),
  ord("j"): lambda r: r._get(r._number("<I")),
  # names, calls, framing
  ord("c"): _R._text_global,
  0x93: _R._stack_global,
  ord("R"): _R._reduce,
  0x81: _R._reduce,
  ord("i"): _R._instance,
  ord("b"): _R._build,
  ord("Q"): _R._persistent_id,
  0x80: _R._protocol,
  0x95: _R._frame,
}

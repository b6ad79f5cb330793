"""NumPy arrays in pickles, as inert values: views of the file, never larger than the bytes that are there.

NumPy writes an array in two ways: an empty one whose state follows (`Array`, completed by `complete_array`), or, since
protocol 5, a call on its bytes. Python 2 writes text as bytes, so names of types come as either.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxtalk.data.unpickle import WRONG, Call, Global, PickleReader
from jaxtalk.data.untrusted import UntrustedError, Work

_SCALARS = frozenset(("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"))
_MAX_DIMENSIONS = 8
ARRAY = "numpy.ndarray"
CLASSES = frozenset((ARRAY,))  # a class that is named and never called


@dataclasses.dataclass(frozen=True, eq=False)
class Dtype:
  """A NumPy scalar type, "f8" or, once completed, "<f8"."""

  code: str


@dataclasses.dataclass(eq=False)
class Array:
  """An array; None until its state has come."""

  values: np.ndarray | None = None


def calls(work: Work) -> dict[str, Call]:
  """Dotted name -> what to do instead of calling it; ``work`` pays for what is copied."""

  def encode(arguments: tuple) -> Any:
    match arguments:  # how protocol 2 writes bytes
      case (str(text), "latin1"):
        work.copy(len(text))
        try:
          return memoryview(text.encode("latin1"))
        except UnicodeEncodeError:
          return WRONG
    return WRONG

  both = ("numpy.core", "numpy._core")  # before and since NumPy 2
  return {
    "numpy.dtype": new_dtype,
    "_codecs.encode": encode,
    **{f"{home}.multiarray._reconstruct": _new_array for home in both},
    **{f"{home}.multiarray.scalar": new_scalar for home in both},
    **{f"{home}.numeric._frombuffer": _from_buffer for home in both},
  }


def read(data: bytes) -> Any:
  """One pickle of plain values and arrays; arrays come as `Array`.

  Raises:
    UntrustedError: it is damaged or names anything else; the message says what.
  """
  view = memoryview(data)
  work = Work(copied_bytes=len(view))
  return PickleReader(view, work, calls(work), classes=CLASSES, builds=BUILDS).read()


def new_dtype(arguments: tuple) -> Any:
  match arguments:
    case (code, bool() | int(), bool() | int()) if text_of(code) in _SCALARS:
      return Dtype(text_of(code))
  return WRONG


def complete_dtype(dtype: Dtype, state: Any) -> Any:
  match state:  # version, byte order, then six values that only structures and subarrays use
    case (3, order, None, None, None, int(), int(), int()) if text_of(order) in ("<", "|", "="):
      return Dtype(text_of(order) + dtype.code[-2:])
  return WRONG


def new_scalar(arguments: tuple) -> Any:
  match arguments:
    case (Dtype(code), memoryview() as raw) if len(raw) == np.dtype(code).itemsize:
      return np.frombuffer(raw, code)[0].item()
  return WRONG


def complete_array(array: Array, state: Any) -> Any:
  match state:
    case (1, tuple(shape), Dtype(code), bool() | int() as by_column, memoryview() as raw) if array.values is None:
      array.values = _view(raw, code, shape, "F" if by_column else "C")
      return array
  return WRONG


def text_of(value: Any) -> str:
  """A short text of Python 2 or 3; "" for anything else."""
  if type(value) is memoryview and len(value) < 100:
    return str(value, "latin1")
  return value if type(value) is str else ""


def _new_array(arguments: tuple) -> Any:
  match arguments:
    case (Global(name), (0,), memoryview() | str()) if name == ARRAY:
      return Array()
  return WRONG


def _from_buffer(arguments: tuple) -> Any:
  match arguments:
    case (memoryview() as raw, Dtype(code), tuple(shape), "C" | "F" as order):
      return Array(_view(raw, code, shape, order))
  return WRONG


def _view(raw: memoryview, code: str, shape: tuple, order: Any) -> np.ndarray:
  dtype = np.dtype(code)
  if len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
    raise UntrustedError(f"an array of shape {ascii(shape)[:60]}")
  if math.prod(shape) * dtype.itemsize != len(raw):
    raise UntrustedError(f"an array of shape {shape} and type {dtype} announced, {len(raw)} bytes there")
  return np.frombuffer(raw, dtype).reshape(shape, order=order)


BUILDS: dict[type, Callable[[Any, Any], Any]] = {Dtype: complete_dtype, Array: complete_array}

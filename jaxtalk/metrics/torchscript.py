"""Reads the tensors of a TorchScript file (or of a zipped ``torch.save``) without torch and without running its code.

Such a file is a zip with ``data.pkl``, a pickle of the modules' attributes, one file of raw bytes a tensor storage, and
code, which is not looked at. The pickle goes through the reader that cannot run anything, `data.unpickle`.
"""

from __future__ import annotations

import dataclasses
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.data.unpickle import WRONG, PickleReader
from jaxtalk.data.untrusted import ForbiddenGlobal, UntrustedError, Work

MAX_PICKLE_BYTES = 64 << 20
MAX_STORAGE_BYTES = 2 << 30
MAX_DEPTH = 64  # modules inside modules

_DTYPES = {
  "torch.FloatStorage": "<f4",
  "torch.DoubleStorage": "<f8",
  "torch.HalfStorage": "<f2",
  "torch.LongStorage": "<i8",
  "torch.IntStorage": "<i4",
  "torch.ShortStorage": "<i2",
  "torch.CharStorage": "i1",
  "torch.ByteStorage": "u1",
  "torch.BoolStorage": "?",
}
_CODE = "__torch__."  # classes that the file defines itself


@dataclasses.dataclass
class _Module:
  """An object of a class that the file defines; only its attributes are kept."""

  attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Storage:
  dtype: np.dtype
  key: str
  count: int


def read_tensors(path: Path) -> dict[str, np.ndarray]:
  """Parameters and buffers by their dotted names, as torch's ``state_dict`` has them.

  Args:
    path: a TorchScript file, or a state dict written by ``torch.save`` since torch 1.6.

  Raises:
    MissingAssetError: there is no such file.
    InputError: it is something else, is damaged, or names a class or function that tensors do not need.
  """
  if not path.is_file():
    raise MissingAssetError(f"there is no file {path}")
  work = Work(path.stat().st_size)
  try:
    with zipfile.ZipFile(path) as archive:
      return dict(_flatten(_Archive(archive, path).read(work), "", work))
  except (zipfile.BadZipFile, EOFError) as error:
    raise InputError(f"{path} is not a TorchScript file: {error}") from error
  except ForbiddenGlobal as error:
    raise InputError(f"{path}: refused {error.name}, which tensors do not need; nothing was run") from error
  except UntrustedError as error:
    raise InputError(f"{path} is damaged: {error}") from error


class _Archive:
  def __init__(self, archive: zipfile.ZipFile, path: Path):
    self._archive, self._path = archive, path
    self._storages: dict[str, np.ndarray] = {}
    found = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(found) != 1:
      raise InputError(f"{path} is a zip without tensors: it has no data.pkl")
    self._root = found[0].removesuffix("data.pkl")

  def read(self, work: Work) -> Any:
    names = self._archive.namelist()
    if f"{self._root}byteorder" in names and self._bytes("byteorder", 16) != b"little":
      raise InputError(f"{self._path} holds big-endian numbers, which are not read")
    reader = PickleReader(
      memoryview(self._bytes("data.pkl", MAX_PICKLE_BYTES)),
      work,
      _Calls(self._tensor),
      classes=frozenset(_DTYPES),
      builds={_Module: _set_attributes, dict: lambda target, state: target},
      persistent=self._storage,
    )
    return reader.read()

  def _bytes(self, name: str, limit: int) -> bytes:
    try:
      info = self._archive.getinfo(self._root + name)
    except KeyError:
      raise InputError(f"{self._path} is damaged: {name} is missing") from None
    if info.file_size > limit or info.compress_type != zipfile.ZIP_STORED:
      raise InputError(f"{self._path}: {name} is compressed, or larger than {limit} bytes: that is not torch's")
    return self._archive.read(info)

  def _storage(self, identity: tuple) -> Any:
    """From a persistent id ``('storage', type, key, place, count)``."""
    match identity:
      case ("storage", kind, str(key), str(), int(count)) if getattr(kind, "name", None) in _DTYPES and count >= 0:
        return _Storage(np.dtype(_DTYPES[kind.name]), key, count)
    return WRONG

  def _tensor(self, arguments: tuple) -> Any:
    """``_rebuild_tensor_v2(storage, offset, shape, strides, ...)``: a view that lies inside its storage, not a copy."""
    match arguments:
      case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_) if len(shape) == len(strides) <= 8:
        pass
      case _:
        return WRONG
    if any(type(n) is not int or n < 0 for n in (offset, *shape, *strides)):
      return WRONG
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    size = math.prod(shape)
    if size == 0:
      return np.zeros(shape, storage.dtype)
    if last >= storage.count or size > storage.count:
      return WRONG
    values = self._values(storage)[offset:]
    steps = [step * storage.dtype.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)

  def _values(self, storage: _Storage) -> np.ndarray:
    if storage.key not in self._storages:
      raw = self._bytes(f"data/{storage.key}", MAX_STORAGE_BYTES)
      if len(raw) < storage.count * storage.dtype.itemsize:
        raise InputError(f"{self._path} is damaged: storage {storage.key} is shorter than its tensors")
      self._storages[storage.key] = np.frombuffer(raw, storage.dtype, storage.count)
    values = self._storages[storage.key]
    if values.dtype != storage.dtype or len(values) < storage.count:
      raise InputError(f"{self._path} is damaged: storage {storage.key} is used with two types or sizes")
    return values


class _Calls(Mapping[str, Any]):
  """The functions that such a pickle may call, among them the constructors of all classes that it defines itself."""

  def __init__(self, tensor: Any):
    self._known = {
      "torch._utils._rebuild_tensor_v2": tensor,
      "torch._utils._rebuild_parameter": lambda a: a[0] if a and isinstance(a[0], np.ndarray) else WRONG,
      "collections.OrderedDict": lambda a: {} if not a else WRONG,
      **{f"torch.jit._pickle.build_{kind}list": lambda a: None for kind in ("int", "double", "bool", "tensor")},
    }

  def __getitem__(self, name: str) -> Any:
    return (lambda a: _Module()) if name.startswith(_CODE) else self._known[name]

  def __contains__(self, name: object) -> bool:
    return isinstance(name, str) and (name.startswith(_CODE) or name in self._known)

  def __iter__(self) -> Iterator[str]:
    return iter(self._known)

  def __len__(self) -> int:
    return len(self._known)


def _set_attributes(module: _Module, state: Any) -> Any:
  if type(state) is not dict:
    return WRONG
  module.attributes.update(state)
  return module


def _flatten(value: Any, name: str, work: Work, depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
  """Arrays below a module or dict; other attributes (numbers, flags) are of no use here.

  The work is counted, because things that contain each other twice over are many more than they take up in the file.
  """
  if isinstance(value, np.ndarray):
    yield name, value
  items = value.attributes if isinstance(value, _Module) else value if isinstance(value, dict) else {}
  if items and depth >= MAX_DEPTH:
    raise InputError(f"modules are nested deeper than {MAX_DEPTH}")
  work.spend(len(items))
  for key, item in items.items():
    yield from _flatten(item, f"{name}.{key}" if name else str(key), work, depth + 1)

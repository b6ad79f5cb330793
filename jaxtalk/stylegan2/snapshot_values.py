"""What a StyleGAN2 snapshot may name, and the inert values that those names become.

`calls` is the complete list for the file itself, the storage types the one for the streams inside its tensors. Every
function here checks its arguments and returns `WRONG` for others; none allocates more than the file can justify.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from jaxtalk.data import pickled_arrays
from jaxtalk.data.unpickle import WRONG, Call, Global, PickleReader
from jaxtalk.data.untrusted import UntrustedError as SnapshotError
from jaxtalk.data.untrusted import Work

_STORAGES = {
  "torch.FloatStorage": "<f4",
  "torch.DoubleStorage": "<f8",
  "torch.HalfStorage": "<f2",
  "torch.LongStorage": "<i8",
  "torch.IntStorage": "<i4",
  "torch.ShortStorage": "<i2",
  "torch.CharStorage": "<i1",
  "torch.ByteStorage": "<u1",
  "torch.BoolStorage": "?",
}
_ARRAY_CALLS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode")
STREAM_MAGIC, _STREAM_VERSION = 0x1950A86A20F9469CFC6C, 1001


@dataclasses.dataclass(frozen=True, eq=False)
class Module:
  """A persistent object: its class and the attributes it had."""

  class_name: str
  state: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
  """Numbers in a row, (N,), a view of the file."""

  values: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
  """A tensor with its strides, a view of the file."""

  values: np.ndarray


def calls(work: Work) -> dict[str, Call]:
  """Dotted name -> what to do instead of calling it; ``work`` pays for what is copied."""

  def new_set(arguments: tuple) -> Any:
    match arguments:
      case (list(items),):
        work.spend(len(items))
        return set(items) if all(type(item) in (str, int) for item in items) else WRONG
    return WRONG

  def load_storage(arguments: tuple) -> Any:
    match arguments:
      case (memoryview() as data,):
        return _read_storage(data, work)
    return WRONG

  arrays = pickled_arrays.calls(work)
  return {
    "torch_utils.persistence._reconstruct_persistent_obj": _new_module,
    "torch._utils._rebuild_parameter": _new_parameter,
    "torch._utils._rebuild_tensor_v2": _new_tensor,
    "torch.storage._load_from_bytes": load_storage,
    "collections.OrderedDict": _new_dict,
    "dnnlib.util.EasyDict": _new_dict,
    "builtins.set": new_set,
    "__builtin__.set": new_set,
    **{name: arrays[name] for name in _ARRAY_CALLS},
  }


def _new_dict(arguments: tuple) -> Any:
  return WRONG if arguments else {}


def _new_module(arguments: tuple) -> Any:
  match arguments:
    case ({"type": "class", "version": 6, "module_src": str(), "class_name": str(name), "state": dict(state)},):
      return Module(name, state)
    case ({"type": "class", "version": int(version)},) if version != 6:
      raise SnapshotError(f"written with version {version} of the persistence format; only 6 is known")
  return WRONG


def _new_parameter(arguments: tuple) -> Any:
  match arguments:
    case (Tensor() as tensor, bool(), dict()):
      return tensor
  return WRONG


def _new_tensor(arguments: tuple) -> Any:
  """A view of a storage; every element must lie inside it, and there may be no more of them than it has."""
  match arguments:
    case (Storage(values), int(offset), tuple(size), tuple(stride), bool(), dict()):
      pass
    case _:
      return WRONG
  numbers = (offset, *size, *stride)
  if len(size) != len(stride) or len(size) > 8 or not all(type(n) is int and n >= 0 for n in numbers):
    return WRONG
  count = math.prod(size)
  last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
  if count > len(values) or last >= max(len(values), 1):
    raise SnapshotError(
      f"torch._utils._rebuild_tensor_v2: a tensor of {count} elements reaches outside its storage of {len(values)}"
    )
  if not count:
    return Tensor(np.zeros(size, values.dtype))
  steps = tuple(step * values.itemsize for step in stride)
  return Tensor(np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False))


def _read_storage(data: memoryview, work: Work) -> Storage:
  """The numbers in a stream of the old torch.save: magic, version, system, storage, keys, then the raw data."""

  def storage_id(value: tuple) -> Any:
    match value:
      case ("storage", Global(name), str(key), str(), int(numel), None) if name in _STORAGES:
        return (name, key, numel)
    return WRONG

  reader = PickleReader(data, work, {}, classes=_STORAGES, persistent=storage_id)
  magic, version, system = reader.read(), reader.read(), reader.read()
  if magic != STREAM_MAGIC or version != _STREAM_VERSION:
    raise SnapshotError("torch.storage._load_from_bytes: not a stream of the old torch.save")
  if type(system) is not dict or system.get("little_endian") is not True:
    raise SnapshotError("torch.storage._load_from_bytes: written on a big-endian machine")
  match reader.read(), reader.read():
    case (str(name), str(key), int(numel)), [str(only_key)] if key == only_key:
      pass
    case _:
      raise SnapshotError("torch.storage._load_from_bytes: a stream that is not exactly one storage")
  stored = int.from_bytes(reader.take(8), "little", signed=True)
  raw, dtype = data[reader.offset :], np.dtype(_STORAGES[name])
  if stored != numel or numel * dtype.itemsize != len(raw):
    raise SnapshotError(
      f"torch.storage._load_from_bytes: {numel} elements of {dtype.itemsize} bytes announced, {len(raw)} bytes there"
    )
  return Storage(np.frombuffer(raw, dtype))

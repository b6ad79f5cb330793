"""An assembler for pickles: hostile ones that no library would write, and small snapshots in the official layout.

Every function returns the opcodes that push one value. Nothing here imports what the pickles name.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


def text(value: str) -> bytes:
  raw = value.encode()
  return b"X" + struct.pack("<I", len(raw)) + raw


def blob(value: bytes) -> bytes:
  return b"B" + struct.pack("<I", len(value)) + value


def push(value: Any) -> bytes:
  """Plain values; bytes are taken as opcodes that were made already."""
  match value:
    case bytes():
      return value
    case None:
      return b"N"
    case bool():
      return b"\x88" if value else b"\x89"
    case int():
      return b"\x8a\x08" + struct.pack("<q", value)
    case float():
      return b"G" + struct.pack(">d", value)
    case str():
      return text(value)
    case tuple():
      return b"(" + b"".join(map(push, value)) + b"t"
    case list():
      return b"](" + b"".join(map(push, value)) + b"e"
  return b"}(" + b"".join(push(key) + push(item) for key, item in value.items()) + b"u"


def name(dotted: str) -> bytes:
  module, _, attribute = dotted.rpartition(".")
  return b"c" + f"{module}\n{attribute}\n".encode()


def call(dotted: str, *arguments: Any) -> bytes:
  return name(dotted) + push(arguments) + b"R"


def pickle(value: Any) -> bytes:
  return b"\x80\x03" + push(value) + b"."


def storage_stream(values: np.ndarray, kind: str = "torch.FloatStorage", numel: int | None = None) -> bytes:
  """What the old torch.save writes for one storage."""
  count = values.size if numel is None else numel
  parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
  head = b"\x80\x02\x8a\x0a" + parts[0].to_bytes(10, "little") + b"." + b"".join(pickle(part) for part in parts[1:])
  identity = push(("storage", name(kind), "7", "cpu", count, None)) + b"Q"
  return head + pickle(identity) + pickle(["7"]) + struct.pack("<q", count) + values.tobytes()


def tensor(
  values: np.ndarray, size: tuple | None = None, stride: tuple | None = None, offset: int = 0, stream: bytes = b""
) -> bytes:
  size = values.shape if size is None else size
  stride = tuple(step // values.itemsize for step in values.strides) if stride is None else stride
  storage = call("torch.storage._load_from_bytes", blob(stream or storage_stream(values)))
  return call("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, False, call("collections.OrderedDict"))


def parameter(values: bytes) -> bytes:
  return call("torch._utils._rebuild_parameter", values, True, call("collections.OrderedDict"))


def module(class_name: str, version: int = 6, **state: Any) -> bytes:
  """A persistent object; ``state`` gives _parameters, _buffers, _modules, _init_kwargs, ..."""
  state = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_init_args": (), "_init_kwargs": {}} | state
  meta = {
    "type": "class",
    "version": version,
    "module_src": "raise SystemExit",
    "class_name": class_name,
    "state": state,
  }
  return call("torch_utils.persistence._reconstruct_persistent_obj", meta)


def network(class_name: str = "Generator", weight: bytes | None = None, **state: Any) -> bytes:
  weight = parameter(tensor(np.arange(6, dtype=np.float32).reshape(2, 3))) if weight is None else weight
  layer = module("FullyConnectedLayer", _parameters={"weight": weight, "bias": None})
  return module(class_name, **({"_modules": {"fc": layer}, "_init_kwargs": {"z_dim": 4}} | state))


def snapshot(**networks: Any) -> bytes:
  return pickle({"training_set_kwargs": {"path": "faces.zip"}, **networks})


def numpy_scalar(value: float, home: str = "numpy.core.multiarray") -> bytes:
  dtype = call("numpy.dtype", "f8", False, True) + push((3, "<", None, None, None, -1, -1, 0)) + b"b"
  return call(f"{home}.scalar", dtype, blob(struct.pack("<d", value)))

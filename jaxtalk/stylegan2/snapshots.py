"""Reads official StyleGAN2 snapshots (``network-snapshot-*.pkl``) without torch and without running anything.

Such a file is a pickle that embeds Python source and expects to be unpickled, and executed, with it. `read_snapshot`
takes out what is data: for each network the constructor arguments and the named tensors. Both layouts are read, that of
stylegan2-ada-pytorch and that of the stylegan3 repository with its StyleGAN2 networks. The complete list of names that
the pickle may use is in `snapshot_values`. Everything else is refused (`data.unpickle`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.data.pickled_arrays import Dtype, complete_dtype
from jaxtalk.data.unpickle import PickleReader
from jaxtalk.data.untrusted import ForbiddenGlobal, Work
from jaxtalk.data.untrusted import UntrustedError as SnapshotError
from jaxtalk.stylegan2.snapshot_values import STREAM_MAGIC, Module, Tensor, calls

__all__ = ["NetworkState", "Snapshot", "SnapshotError", "read_snapshot", "read_snapshot_file"]

NETWORKS = {"G": "Generator", "D": "Discriminator", "G_ema": "Generator", "augment_pipe": "AugmentPipe"}
MAX_FILE_BYTES = 8 << 30  # the largest published files have 0.4 GB
MAX_MODULE_DEPTH = 16  # the official networks have 4
MAX_ARGUMENT_DEPTH = 8

_POSITIONAL = {
  "Generator": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"),
  "Discriminator": ("c_dim", "img_resolution", "img_channels"),
  "AugmentPipe": (),
}


@dataclasses.dataclass(frozen=True)
class NetworkState:
  """One network of a snapshot.

  Attributes:
    init_kwargs: the official constructor arguments, plain Python values.
    state: official name ("synthesis.b8.conv0.weight") -> array, C order, layout as stored (OIHW, [out, in]).
    class_name: "Generator", "Discriminator" or "AugmentPipe".
  """

  init_kwargs: Mapping[str, Any]
  state: Mapping[str, np.ndarray]
  class_name: str


@dataclasses.dataclass(frozen=True)
class Snapshot:
  """Everything worth knowing in a snapshot: ``networks`` by name, and what they were trained on."""

  networks: Mapping[str, NetworkState]
  training_set_kwargs: Mapping[str, Any]


def read_snapshot(path: str | Path) -> dict[str, NetworkState]:
  """The networks "G", "D", "G_ema" and "augment_pipe" of an official snapshot, those that it has.

  Raises:
    SnapshotError: (a ValueError) the file is not a StyleGAN2 snapshot, is damaged, asks for more than it can justify,
      or names a function or class that is not on the list; the message says which.
  """
  return dict(read_snapshot_file(path).networks)


def read_snapshot_file(path: str | Path) -> Snapshot:
  """Like `read_snapshot`, with the facts about the training set."""
  path = Path(path)
  try:
    if path.stat().st_size > MAX_FILE_BYTES:
      raise SnapshotError(f"{path}: larger than any snapshot ({MAX_FILE_BYTES >> 30} GiB)")
    data = path.read_bytes()
  except OSError as error:
    raise SnapshotError(f"{path}: cannot be read: {error.strerror}") from error
  try:
    return _parse(memoryview(data))
  except SnapshotError as error:
    raise SnapshotError(f"{path}: {error}") from error


def _parse(data: memoryview) -> Snapshot:
  _refuse_other_files(bytes(data[:512]))
  work = Work(copied_bytes=len(data))
  reader = PickleReader(data, work, calls(work), builds={Dtype: complete_dtype})
  try:
    content = reader.read()
  except ForbiddenGlobal as error:
    if data[0] != _PROTOCOL and " " in error.name:  # any text may begin like a name of protocol 0
      raise SnapshotError(_NO_PICKLE) from error
    raise _explained(error, reader.memo) from error
  except SnapshotError as error:
    if data[0] != _PROTOCOL:
      raise SnapshotError(_NO_PICKLE) from error
    raise
  if content == STREAM_MAGIC:
    raise SnapshotError(_TORCH_SAVE)
  if type(content) is not dict or not any(type(content.get(name)) is Module for name in ("G", "D", "G_ema")):
    raise SnapshotError("a pickle, but not a snapshot: no dict with the networks G, D or G_ema")
  # Copies of the tensors may take the size of the file once more.
  networks, work = {}, Work(copied_bytes=len(data))
  for name, class_name in NETWORKS.items():
    if content.get(name) is not None:
      networks[name] = _network(name, content[name], class_name, work)
  facts = content.get("training_set_kwargs")
  return Snapshot(networks, _plain(facts, "training_set_kwargs", work) if type(facts) is dict else {})


_PROTOCOL = 0x80  # the first byte of pickles since protocol 2
_STYLEGAN3 = "a StyleGAN3 (alias-free) snapshot; only StyleGAN2 networks are read"
_TORCH_SAVE = "a file of torch.save, not a snapshot: it holds tensors without constructor arguments"
_NO_PICKLE = "not a snapshot: no pickle (a text or binary file of some other kind)"
_OTHER_FILES = (
  (b"PK", "a zip archive, such as a data set"),
  (b"\x1f\x8b", "a gzip archive: unpack it first"),
  (b"version https://git-lfs", "a Git LFS pointer: the real file was not downloaded"),
  (b"<", "a web page: the download went wrong"),
  (b"\x89PNG", "a picture"),
  (b"\x89HDF", "an HDF5 file"),
)


def _refuse_other_files(head: bytes) -> None:
  if head.startswith(b"PK\x03\x04") and b"/data.pkl" in head:  # the first name in the archive
    raise SnapshotError(_TORCH_SAVE)
  for start, what in _OTHER_FILES:
    if head.lstrip().startswith(start):
      raise SnapshotError(f"not a snapshot: {what}")
  if head[8:10] == b'{"':
    raise SnapshotError("a safetensors file, not a snapshot: load_network reads those that jaxtalk wrote")
  if not head:
    raise SnapshotError("not a snapshot: the file is empty")


def _explained(error: ForbiddenGlobal, memo: Mapping[int, Any]) -> SnapshotError:
  """The same refusal, with the kind of network where that is known from names read so far."""
  if error.name.startswith("dnnlib.tflib."):
    return SnapshotError(
      f"a TensorFlow StyleGAN pickle ({error.name}): convert it first with legacy.py of stylegan2-ada-pytorch"
    )
  if any(type(value) is str and value == "SynthesisInput" for value in memo.values()):
    return SnapshotError(f"{_STYLEGAN3} (stopped at {error.name})")
  return error


# From modules to names and arrays.


def _network(name: str, module: Any, class_name: str, work: Work) -> NetworkState:
  if type(module) is not Module:
    raise SnapshotError(f"{name} is not a network")
  state: dict[str, np.ndarray] = {}
  _collect(module, "", 0, state, work)
  arguments = _arguments(name, module, work)
  # The generators of StyleGAN3 have the same class name; only their parts tell.
  if module.class_name == "Generator" and ("magnitude_ema_beta" in arguments or "synthesis.input.freqs" in state):
    raise SnapshotError(f"{name} is {_STYLEGAN3}")
  if module.class_name != class_name:
    raise SnapshotError(f"{name} is a {module.class_name[:60]!a}, not a StyleGAN2 {class_name}")
  return NetworkState(arguments, state, class_name)


def _collect(module: Module, prefix: str, depth: int, state: dict[str, np.ndarray], work: Work) -> None:
  """Adds a module's parameters and buffers, then those of its children, under dotted names."""
  if depth > MAX_MODULE_DEPTH:
    raise SnapshotError(f"modules nested deeper than {MAX_MODULE_DEPTH} (below {prefix[:80]!a})")
  for part in ("_parameters", "_buffers"):
    for name, tensor in _children(module, part, prefix, Tensor, work):
      if name in state:
        raise SnapshotError(f"{name!a} is there twice")
      work.copy(tensor.values.nbytes)
      state[name] = np.array(tensor.values, order="C")
  for name, child in _children(module, "_modules", prefix, Module, work):
    _collect(child, f"{name}.", depth + 1, state, work)


def _children(module: Module, part: str, prefix: str, kind: type, work: Work) -> list[tuple[str, Any]]:
  """Full name and value of what a module has of one kind; None values are left out."""
  children = module.state.get(part, {})
  if type(children) is not dict:
    raise SnapshotError(f"{part} of a {module.class_name[:60]!a} is not a dict")
  # Charged, for a module shared by modules shared by modules could otherwise be walked for ever.
  work.spend(100 + 100 * len(children))
  for name, value in children.items():
    if type(name) is not str or not name.replace("_", "").isalnum() or len(name) > 100:
      raise SnapshotError(f"{part} of {prefix[:80]!a} has a part without a proper name")
    if value is not None and type(value) is not kind:
      raise SnapshotError(f"{prefix[:80] + name!a} in {part} is something else")
  return [(prefix + name, value) for name, value in children.items() if value is not None]


def _arguments(name: str, module: Module, work: Work) -> dict[str, Any]:
  positional, named = module.state.get("_init_args"), module.state.get("_init_kwargs")
  names = _POSITIONAL.get(module.class_name, ())
  if type(named) is not dict or type(positional) is not tuple or len(positional) > len(names):
    raise SnapshotError(f"{name} does not record the arguments it was made with")
  arguments = {**dict(zip(names, positional, strict=False)), **named}
  if not all(type(key) is str for key in arguments):
    raise SnapshotError(f"{name} records an argument without a name")
  return _plain(arguments, f"{name}._init_kwargs", work)


def _plain(value: Any, where: str, work: Work, depth: int = 0) -> Any:
  """Arguments as plain Python values; SnapshotError if something else is among them."""
  work.spend()
  if depth > MAX_ARGUMENT_DEPTH:
    raise SnapshotError(f"{where}: nested deeper than {MAX_ARGUMENT_DEPTH}")
  if value is None or type(value) in (bool, int, float, str):
    return value
  if type(value) in (list, tuple):
    return type(value)(_plain(item, where, work, depth + 1) for item in value)
  if type(value) is dict:
    return {key: _plain(item, where, work, depth + 1) for key, item in value.items()}
  raise SnapshotError(f"{where}: a {type(value).__name__.strip('_').lower()} among the arguments")

"""Reads a FLAME model file, the user's own: it may not be passed on, and none comes with jaxtalk.

Published as a pickle (``generic_model.pkl``, ``flame2023.pkl``) that wants chumpy and scipy objects made; `_calls` is
the complete list of what such a file may name, none of it is run, and anything else is refused by name. The same arrays
as ``.npz`` or ``.safetensors`` are read too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.data import pickled_arrays
from jaxtalk.data.pickled_arrays import Array
from jaxtalk.data.unpickle import WRONG, Call, Global, PickleReader
from jaxtalk.data.untrusted import UntrustedError, Work

NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
MAX_FILE_BYTES = 1 << 30  # the published files have 50 to 90 MB
_MAX_DENSE = 1 << 24  # numbers in a sparse matrix when written out; FLAME's regressor has 25,000
_CHUMPY = "chumpy.ch.Ch"
_SPARSE = ("scipy.sparse.csc.csc_matrix", "scipy.sparse._csc.csc_matrix")
_OBJECT = frozenset(("__builtin__.object", "builtins.object"))


@dataclasses.dataclass(eq=False)
class _Chumpy:
  """A chumpy array; None until its state has come."""

  values: np.ndarray | None = None


@dataclasses.dataclass(eq=False)
class _Sparse:
  """A matrix of scipy's, by columns; None until its state has come."""

  values: np.ndarray | None = None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
  """The arrays `NEEDED` by FLAME's own names, as stored.

  Raises:
    MissingAssetError: there is no such file.
    InputError: it is of another kind, damaged, lacks arrays, or is a pickle that names anything that a FLAME model does
      not need; the message says which.
  """
  if not path.is_file():
    raise MissingAssetError(
      f"{path}: no such file; FLAME's model (generic_model.pkl) comes from flame.is.tue.mpg.de, after registration"
    )
  if path.stat().st_size > MAX_FILE_BYTES:
    raise InputError(f"{path}: larger than any FLAME model ({MAX_FILE_BYTES >> 30} GiB)")
  readers = {".pkl": _read_pickle, ".npz": _read_npz, ".safetensors": _read_safetensors}
  if path.suffix not in readers:
    raise InputError(f"{path}: a FLAME model is a {', '.join(readers)} file")
  try:
    found = readers[path.suffix](path)
  except UntrustedError as error:
    raise InputError(f"{path}: {error}") from error
  missing = [name for name in NEEDED if name not in found]
  if missing:
    raise InputError(f"{path} is not a FLAME model: it lacks {', '.join(missing)}")
  return {name: found[name] for name in NEEDED}


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
  data = memoryview(path.read_bytes())
  work = Work(copied_bytes=len(data))
  own: dict[type, Callable[[Any, Any], Any]] = {_Chumpy: _complete_chumpy, _Sparse: _complete_sparse}
  classes = pickled_arrays.CLASSES | _OBJECT
  content = PickleReader(data, work, _calls(work), classes=classes, builds=pickled_arrays.BUILDS | own).read()
  if type(content) is not dict:
    raise InputError(f"{path} is not a FLAME model, but a pickled {type(content).__name__.strip('_').lower()}")
  kinds = (Array, _Chumpy, _Sparse)
  return {
    name: value.values for name, value in content.items() if isinstance(value, kinds) and value.values is not None
  }


def _read_npz(path: Path) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in NEEDED if name in file}
  except (ValueError, OSError, EOFError) as error:
    raise InputError(f"{path}: not an .npz file of plain arrays: {error}") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
  from safetensors import SafetensorError, safe_open

  try:
    with safe_open(path, framework="numpy") as file:
      return {name: file.get_tensor(name) for name in file.keys() if name in NEEDED}
  except (SafetensorError, OSError) as error:
    raise InputError(f"{path}: not a safetensors file, or a damaged one: {error}") from error


def _calls(work: Work) -> dict[str, Call]:
  """Dotted name -> what to do instead of calling it."""
  makers: dict[str, Call] = {_CHUMPY: lambda arguments: WRONG if arguments else _Chumpy()}
  makers |= {name: lambda arguments: WRONG if arguments else _Sparse() for name in _SPARSE}

  def reconstruct(arguments: tuple) -> Any:
    match arguments:  # how protocols 0 and 1 make an object
      case (Global(name), Global(base), None) if name in makers and base in _OBJECT:
        return makers[name](())
    return WRONG

  def new_set(arguments: tuple) -> Any:
    return set() if len(arguments) == 1 and type(arguments[0]) is list else WRONG  # chumpy's notes on itself

  return {
    **pickled_arrays.calls(work),
    **makers,
    **{f"{home}._reconstructor": reconstruct for home in ("copy_reg", "copyreg")},
    **{f"{home}.set": new_set for home in ("__builtin__", "builtins")},
  }


def _complete_chumpy(value: _Chumpy, state: Any) -> Any:
  match state:
    case {"x": Array(np.ndarray() as x)} if value.values is None:
      value.values = x
      return value
  return WRONG


def _complete_sparse(value: _Sparse, state: Any) -> Any:
  match state:
    case {
      "_shape": (int(rows), int(columns)),
      "data": Array(np.ndarray() as data),
      "indices": Array(np.ndarray() as indices),
      "indptr": Array(np.ndarray() as ends),
    } if value.values is None:
      value.values = _dense(rows, columns, data, indices, ends)
      return value
  return WRONG


def _dense(rows: int, columns: int, data: np.ndarray, indices: np.ndarray, ends: np.ndarray) -> np.ndarray:
  """The matrix whose column c holds ``data[ends[c]:ends[c + 1]]`` in the rows ``indices[...]``."""
  whole = all(x.ndim == 1 and x.dtype.kind in "iu" for x in (indices, ends)) and data.ndim == 1
  if not whole or not 0 < rows * columns <= _MAX_DENSE or rows < 0 or len(ends) != columns + 1:
    raise UntrustedError(f"a sparse matrix of {rows} x {columns} that does not fit its parts")
  counts = np.diff(ends.astype(np.int64)).astype(np.int64)
  if ends[0] != 0 or (counts < 0).any() or not len(data) == len(indices) == ends[-1]:
    raise UntrustedError("a sparse matrix whose columns do not add up")
  if len(indices) and not (0 <= int(indices.min()) and int(indices.max()) < rows):
    raise UntrustedError("a sparse matrix with rows outside of it")
  dense = np.zeros((rows, columns), np.float64)
  np.add.at(dense, (indices, np.repeat(np.arange(columns), counts)), data)
  return dense

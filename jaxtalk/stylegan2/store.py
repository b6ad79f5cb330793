"""Our files of StyleGAN2 networks: safetensors with official tensor names, the configuration and facts in the header.

Tensors keep the names and layouts of the official state, so that the file can be used without this package; resampling
filters, which the configuration gives, are left out. The header's metadata has:

  format, version   "jaxtalk.stylegan2", "1"
  network           "Generator" or "Discriminator"
  config            JSON: official constructor arguments
  compute           JSON: data type and rematerialisation of our modules, which official ones do not know
  facts             JSON: where the weights come from: source, licence, training data; "synthetic" is always true
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2.networks import Discriminator, Generator
from jaxtalk.stylegan2.official import export_official, import_discriminator, import_generator

FORMAT, VERSION = "jaxtalk.stylegan2", "1"
DTYPES = ("float32", "float16")


def save_network(
  path: str | Path,
  module: Generator | Discriminator,
  variables: Mapping[str, Any],
  facts: Mapping[str, Any],
  dtype: str = "float32",
) -> None:
  """Writes a network; the file appears under its name only when it is complete.

  Args:
    path: of the file, by convention ``*.safetensors``; folders are made, an older file is replaced.
    module, variables: the network; ``variables`` has "params" and "buffers".
    facts: JSON-serialisable: "source", "source_sha256", "licence", "trained_on", ...
    dtype: of all tensors in the file, noise and the average code included: float32 or float16, half the size.

  Raises:
    InputError: an unknown dtype, facts that JSON cannot hold, a number that is not finite or too large for float16, or
      a place that cannot be written.
  """
  from safetensors.numpy import save_file

  path = Path(path)
  if dtype not in DTYPES:
    raise InputError(f"networks are stored as {' or '.join(DTYPES)}, not {dtype!r}")
  state, kwargs = export_official(module, variables)
  tensors = {name: _cast(name, x, dtype) for name, x in state.items() if not name.endswith("resample_filter")}
  metadata = {
    "format": FORMAT,
    "version": VERSION,
    "network": type(module).__name__,
    "config": json.dumps(kwargs),
    "compute": json.dumps({"dtype": jnp.dtype(module.dtype).name, "remat": module.remat}),
    "facts": _json({**facts, "synthetic": True}),
  }
  with _replacing(path) as part:
    save_file(tensors, part, metadata=metadata)


def load_network(path: str | Path) -> tuple[Generator | Discriminator, dict[str, Any], dict[str, Any]]:
  """The module, its float32 variables ("params" and "buffers"), and the facts of a file of `save_network`.

  Raises:
    MissingAssetError: no such file.
    InputError: another kind of file, a damaged one, or one whose tensors do not fit its configuration.
  """
  from safetensors import SafetensorError, safe_open

  path = Path(path)
  if not path.is_file():
    raise MissingAssetError(f"{path}: no such network; jaxtalk.stylegan2.convert makes one from an official snapshot")
  try:
    with safe_open(path, framework="numpy") as file:
      metadata = _checked(path, file.metadata() or {})
      state = {name: file.get_tensor(name) for name in file.keys()}
  except (SafetensorError, OSError) as error:
    hint = "; python -m jaxtalk.stylegan2.convert reads official snapshots" if path.suffix == ".pkl" else ""
    raise InputError(f"{path}: not a safetensors file, or a damaged one{hint}") from error
  load = import_generator if metadata["network"] == "Generator" else import_discriminator
  try:
    config, compute, facts = (json.loads(metadata[key]) for key in ("config", "compute", "facts"))
    module, variables = load(state, **config)
    module = module.clone(dtype=jnp.dtype(compute["dtype"]), remat=bool(compute["remat"]))
  except (InputError, KeyError, TypeError, ValueError) as error:
    raise InputError(f"{path}: its tensors or configuration are damaged: {error}") from error
  return module, variables, facts


def _checked(path: Path, metadata: Mapping[str, str]) -> Mapping[str, str]:
  if metadata.get("format") != FORMAT:
    raise InputError(f"{path}: a safetensors file, but not a StyleGAN2 network written by jaxtalk")
  if metadata.get("version") != VERSION:
    raise InputError(f"{path}: version {metadata.get('version')!r} of the format; this program reads {VERSION}")
  if metadata.get("network") not in ("Generator", "Discriminator"):
    raise InputError(f"{path}: holds a {metadata.get('network')!r}, neither Generator nor Discriminator")
  return metadata


def _cast(name: str, x: np.ndarray, dtype: str) -> np.ndarray:
  with np.errstate(over="ignore"):
    out = np.array(x, dtype, order="C")
  if not np.isfinite(out).all():
    largest = float(np.abs(x).max())
    raise InputError(f"{name} has values up to {largest:.3g}, which {dtype} cannot hold; the network was not stored")
  return out


def _json(facts: Mapping[str, Any]) -> str:
  try:
    return json.dumps(facts)
  except (TypeError, ValueError) as error:
    raise InputError(f"the facts about a network must be JSON: {error}") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
  """A path beside ``path`` to write to, moved onto it at the end, or removed if writing fails."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
  except OSError as error:
    raise InputError(f"{path}: cannot be written: {error.strerror}") from error
  os.close(handle)
  part = Path(name)
  try:
    yield part
    part.chmod(0o644)  # temporary files are private
    part.replace(path)
  except OSError as error:
    raise InputError(f"{path}: cannot be written: {error.strerror}") from error
  finally:
    part.unlink(missing_ok=True)

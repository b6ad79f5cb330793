"""Reads the golden data: arrays computed with the official StyleGAN2 code on random weights (see golden/README.md).

The whole set is found through ``JAXTALK_GOLDEN`` (a folder that holds ``stylegan2/``); without it, the small subset
that is committed in ``tests/golden``. A test of a case that is in neither is skipped, never passed.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

COMMITTED = Path(__file__).parents[1] / "golden" / "stylegan2"

# each function runs once or twice here, so half the time to compile it is worth more than the speed of its code
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def folder() -> Path:
  """The folder with ``manifest.json``; the committed subset unless ``JAXTALK_GOLDEN`` names another."""
  named = os.environ.get("JAXTALK_GOLDEN")
  return Path(named) / "stylegan2" if named else COMMITTED


@functools.cache
def manifest() -> dict[str, dict[str, Any]]:
  """Case name to its entry in the manifest; empty where there is no golden data."""
  path = folder() / "manifest.json"
  if not path.is_file():
    return {}
  return {case["name"]: case for case in json.loads(path.read_text())["cases"]}


def names(kind: str) -> list[str]:
  """Names of the cases of one kind whose files are all present, for ``pytest.mark.parametrize``."""
  return [n for n, case in manifest().items() if case["kind"] == kind and all(map(_present, _files(case)))]


def case(name: str) -> dict[str, Any]:
  """The manifest entry of a case; skips the test where the case or one of its files is missing."""
  entry = manifest().get(name)
  if entry is None or not all(map(_present, _files(entry))):
    pytest.skip(f"golden case {name} is not in {folder()}")
  return entry


def arrays(name: str, tag: str = "io") -> dict[str, np.ndarray]:
  """Every array of one file of a case: ``io``, ``weights``, ..."""
  with np.load(folder() / case(name)["files"][tag], allow_pickle=False) as data:
    return {key: data[key] for key in data.files}


def path(name: str) -> Path:
  """A file by its own name, for data that is not arrays (snapshots, zips, JSON); skips where it is missing."""
  if not _present(name):
    pytest.skip(f"{name} is not in {folder()}")
  return folder() / name


def under(data: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
  """The entries below ``prefix/``, without the prefix."""
  return {key[len(prefix) + 1 :]: x for key, x in data.items() if key.startswith(prefix + "/")}


def close(actual: Any, ref: np.ndarray, tol: float, what: str = "array") -> None:
  """Asserts ``max|actual - ref| <= tol * max|ref|``, absolutely (``<= tol``) where ``ref`` is all zeros."""
  actual, ref = np.asarray(actual, np.float64), np.asarray(ref, np.float64)
  assert actual.shape == ref.shape, f"{what}: shape {actual.shape}, not {ref.shape}"
  scale = np.abs(ref).max(initial=0.0) or 1.0
  error = np.abs(actual - ref).max(initial=0.0) / scale
  assert error <= tol, f"{what}: off by {error:.2e} of its maximum {scale:.3g}, allowed {tol:.0e}"


def nhwc(x: np.ndarray) -> np.ndarray:
  """Official image batch (N, C, H, W) to ours (N, H, W, C)."""
  return np.moveaxis(x, 1, -1)


def nchw(x: Any) -> np.ndarray:
  """Our image batch (N, H, W, C) to the official (N, C, H, W)."""
  return np.moveaxis(np.asarray(x), -1, 1)


def _files(entry: Mapping[str, Any]) -> list[str]:
  single = [entry[key] for key in ("pkl", "expected", "tensors", "file", "zip") if key in entry]
  return [*entry.get("files", {}).values(), *single]


def _present(name: str) -> bool:
  return (folder() / name).is_file()

"""Finds golden data of any room: whole behind ``JAXTALK_GOLDEN``, else the committed subset in ``tests/golden``.

A case that is in neither is skipped, never passed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COMMITTED = Path(__file__).parent / "golden"


def path(room: str, name: str) -> Path:
  """The file ``name`` of a room such as "diffposetalk"; skips the test where it is missing."""
  found = Path(os.environ.get("JAXTALK_GOLDEN") or COMMITTED) / room / name
  if not found.is_file():
    pytest.skip(f"golden file {room}/{name} is not in {found.parents[1]}")
  return found


def arrays(room: str, name: str) -> dict[str, np.ndarray]:
  """Every array of an .npz file; float16, which only saves room, becomes float32."""
  with np.load(path(room, name), allow_pickle=False) as data:
    return {key: _wide(data[key]) for key in data.files}


def tensors(room: str, name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Tensors of a .safetensors file, float16 as float32, and the metadata of its header."""
  from safetensors import safe_open

  with safe_open(path(room, name), framework="numpy") as file:
    return {key: _wide(file.get_tensor(key)) for key in file.keys()}, file.metadata() or {}


def close(actual: Any, wanted: np.ndarray, tolerance: float, what: str) -> None:
  """Asserts that no element is further off than ``tolerance``."""
  actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
  assert actual.shape == wanted.shape, f"{what}: shape {actual.shape}, not {wanted.shape}"
  error = np.abs(actual - wanted).max(initial=0.0)
  assert error <= tolerance, f"{what}: off by {error:.2e}, allowed {tolerance:.0e}"


def _wide(x: np.ndarray) -> np.ndarray:
  return x.astype(np.float32) if x.dtype == np.float16 else x

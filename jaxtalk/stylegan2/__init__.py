"""StyleGAN2 in Flax: networks, official snapshots, training, control.

Names are looked up when they are first used, so that programs can print help before JAX loads.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
  "Discriminator": "networks",
  "Generator": "networks",
  "NetworkState": "snapshots",
  "export_official": "official",
  "import_discriminator": "official",
  "import_generator": "official",
  "read_snapshot": "snapshots",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

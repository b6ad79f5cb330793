"""For what kind of device a program is traced."""

from __future__ import annotations

import jax
from jax.sharding import get_abstract_mesh


def device_kind() -> str:
  """Of the devices that a program is traced for, as JAX names it ("TPU v5 lite"): the mesh's, else the default's."""
  described = get_abstract_mesh().abstract_device
  return described.device_kind if described else jax.devices()[0].device_kind

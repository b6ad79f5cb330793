"""How much of a layer one step of a kernel's grid does: data per kind of device, in ``tiles.json``.

A device is named as JAX names it (``device_kind``); one that the file does not know gets ``TPU`` or ``GPU``, whose
fields also fill up what a device leaves out. Under a device ``layers`` may name single layers (`choice.size_name`) that
want something else.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import resources

import jax.numpy as jnp

_PRODUCT = 16 * 128 * 128  # what one instruction multiplies: sixteen rows of bfloat16 with one matrix
_PASSES = {"float32": 6}  # products of bfloat16 that make one of float32


@dataclasses.dataclass(frozen=True)
class Tile:
  """Limits of one step.

  Attributes:
    blocks: of input pixels, at most.
    lanes: of output channels, at most, where one output block is made of one input block.
    products: instructions that multiply, about at most. They are unrolled: the compiler's time grows with them.
    vmem_mib: of the device's fast memory that the kernel may ask for.
  """

  blocks: int
  lanes: int
  products: int
  vmem_mib: int

  def width(self, lanes: int) -> int:
    """Output lanes of a step: a divisor of ``lanes`` in whole registers, or all of them."""
    return next((w for w in range(self.lanes, 0, -128) if lanes % w == 0), lanes)

  def band(self, height: int, width: int, matrix: int, dtype: jnp.dtype) -> int:
    """Rows of blocks of a step, a divisor of the height; ``matrix`` numbers are what each block is multiplied by."""
    passes = _PASSES.get(jnp.dtype(dtype).name, 1)
    blocks = min(self.blocks, self.products * _PRODUCT // (matrix * passes))
    wanted = max(1, min(height, blocks // width))
    return max(r for r in range(1, wanted + 1) if height % r == 0)


@dataclasses.dataclass(frozen=True)
class GPUTile:
  """What a block of threads makes.

  Attributes:
    pixels: of a row, at most; 64 or 128.
    lanes: output channels, at most; 64 or 128.
    stages: tiles of the contraction in flight.
  """

  pixels: int
  lanes: int
  stages: int


def lookup(device: str, layer: str) -> Tile:
  """What the file says for the TPU kernel, a kind of device and a layer."""
  return Tile(**_fields("TPU", device, layer))


def lookup_gpu(device: str, layer: str) -> GPUTile:
  """The same for the GPU kernel."""
  return GPUTile(**_fields("GPU", device, layer))


def _fields(default: str, device: str, layer: str) -> dict[str, int]:
  devices = _file()
  fields = devices[default] | devices.get(device, {})
  fields |= fields.pop("layers", {}).get(layer, {})
  return fields


@functools.cache
def _file() -> dict[str, dict]:
  return json.loads(resources.files(__package__).joinpath("tiles.json").read_text("utf-8"))

"""The device mesh, and which part of every array lies where.

Axes: ``data`` splits the batch and copies the parameters, ``fsdp`` splits both batch and parameters, ``model`` splits
parameters by a system's own rules. One device is a mesh of one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxtalk.core import InputError
from jaxtalk.training.task import Spec

AXES = ("data", "fsdp", "model")
_MIN_FSDP_ELEMENTS = 2**10  # splitting smaller arrays costs more in messages than it saves in memory


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A mesh with the three axes; one size may be -1, which takes all devices that are left. Absent axes have size 1."""
  devices = jax.devices() if devices is None else list(devices)
  shape = [sizes.get(axis, 1) for axis in AXES]
  fixed = math.prod(size for size in shape if size > 0)
  if shape.count(-1) == 1 and len(devices) % fixed == 0:
    shape[shape.index(-1)] = len(devices) // fixed
  if any(size < 1 for size in shape) or math.prod(shape) > len(devices):
    raise InputError(f"config.mesh {dict(sizes)} does not fit {len(devices)} devices (one axis may be -1: the rest)")
  used = np.asarray(devices[: math.prod(shape)]).reshape(shape)
  return Mesh(used, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def spec_for(path: str, shape: Sequence[int], mesh: Mesh, rules: Sequence[tuple[str, Spec]]) -> PartitionSpec:
  """The partition of one array.

  The first rule whose regex is found in ``path`` decides, e.g. ``(r"mlp/up/kernel$", (None, "model"))``: one entry a
  dimension, each None, an axis name or a tuple of them. Arrays of another rank than the rule's are not meant by it (an
  optimiser keeps scalars under the same path). Without a rule the longest dimension that divides is split over
  ``fsdp``.

  Raises:
    InputError: a rule splits a dimension that does not divide, or names an unknown axis.
  """
  for pattern, spec in rules:
    if re.search(pattern, path) and len(spec) == len(shape):
      for size, axes in zip(shape, spec, strict=True):
        _check_split(path, size, axes, mesh)
      return PartitionSpec(*spec)
  parts = mesh.shape["fsdp"]
  if parts == 1 or math.prod(shape) < _MIN_FSDP_ELEMENTS:
    return PartitionSpec()
  for dim in sorted(range(len(shape)), key=lambda d: -shape[d]):
    if shape[dim] % parts == 0:
      return PartitionSpec(*[None] * dim, "fsdp")
  return PartitionSpec()


def shard_tree(tree: Any, mesh: Mesh, rules: Sequence[tuple[str, Spec]]) -> Any:
  """A tree of NamedShardings for a tree of shapes; paths look like ``params/Dense_0/kernel``."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: NamedSharding(mesh, spec_for(path_name(path), leaf.shape, mesh, rules)), tree
  )


def path_name(path: Any) -> str:
  """A key path of a tree as ``a/b/c``."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Batches are split along their first axis over all devices that do not share a network."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """InputError unless every device gets the same number of examples."""
  parts = mesh.shape["data"] * mesh.shape["fsdp"]
  if batch_size < 1 or batch_size % parts:
    raise InputError(f"config.train.batch_size {batch_size} does not split over {parts} devices")


def to_global(batch: Mapping[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
  """This process's part of a batch as part of the global arrays."""
  return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}


def _check_split(path, size, axes, mesh):
  names = () if axes is None else (axes,) if isinstance(axes, str) else axes
  unknown = [name for name in names if name not in mesh.shape]
  if unknown:
    raise InputError(f"the sharding rule of {path} names the axis {unknown[0]!r}; the mesh has {', '.join(AXES)}")
  parts = math.prod(mesh.shape[name] for name in names)
  if size % parts:
    raise InputError(f"the sharding rule of {path} splits {size} into {parts} parts, which does not divide")

"""Which parameters of an encoder learn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxtalk.cli import nearest
from jaxtalk.core import InputError


def official_name(path: Sequence[str]) -> str:
  """Dotted name of a module in published files: ("encoder", "layers_0", "attention") is encoder.layers.0.attention."""
  return re.sub(r"_(\d+)(?=\.|$)", r".\1", ".".join(path))


def trainable_mask(params: Mapping[str, Any], frozen: Sequence[str]) -> dict[str, Any]:
  """A tree like ``params`` with True where a parameter learns, for ``optax.masked`` and the like.

  Published systems freeze the convolutions; DiffPoseTalk the projection and two layers as well:

    mask = trainable_mask(variables["params"], ["feature_extractor", "feature_projection", "encoder.layers.0",
                                                "encoder.layers.1"])
    still = jax.tree.map(lambda learns: not learns, mask)
    optimizer = optax.chain(optax.adam(1e-4), optax.masked(optax.set_to_zero(), still))

  Args:
    params: parameters of an encoder.
    frozen: published names of parts, as above.

  Raises:
    InputError: a name that no part has.
  """
  parts = {official_name(path[:n]) for path in _paths(params) for n in range(1, len(path) + 1)}
  for name in frozen:
    if name not in parts:
      raise InputError(f"the encoder has no part {name!r}{nearest(name, sorted(parts))}")

  def learns(path, _):
    name = official_name([key.key for key in path])
    return not any(name == part or name.startswith(part + ".") for part in frozen)

  return jax.tree_util.tree_map_with_path(learns, dict(params))


def _paths(params: Mapping[str, Any]) -> list[list[str]]:
  return [[key.key for key in path] for path, _ in jax.tree_util.tree_flatten_with_path(dict(params))[0]]

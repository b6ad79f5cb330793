"""Weights to start a training run from: an official snapshot, a file of ours, or another run's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2.networks import Generator
from jaxtalk.stylegan2.official import import_discriminator, import_generator
from jaxtalk.stylegan2.snapshots import read_snapshot
from jaxtalk.stylegan2.store import load_network
from jaxtalk.training.checkpoints import newest_state
from jaxtalk.training.task import TrainState

NETWORKS = ("G", "D", "G_ema")
Variables = Mapping[str, Any]


def load_start(path: str | Path) -> dict[str, Variables]:
  """Variables ("params", "buffers") of those of ``NETWORKS`` that ``path`` has.

  Args:
    path: an official ``.pkl``; a ``.safetensors`` of ours (a generator serves as G and G_ema); or a training folder:
      its export if it is finished, else its newest checkpoint.

  Raises:
    MissingAssetError: nothing there.
    InputError: a file of another kind.
  """
  path = Path(path)
  if path.is_dir():
    return _from_workdir(path)
  if not path.is_file():
    raise MissingAssetError(f"config.init={path}: no such file or folder")
  if path.suffix == ".safetensors":
    module, variables, _ = load_network(path)
    return {"G": variables, "G_ema": variables} if isinstance(module, Generator) else {"D": variables}
  networks = read_snapshot(path)
  importers = {"G": import_generator, "G_ema": import_generator, "D": import_discriminator}
  return {name: importers[name](net.state, **net.init_kwargs)[1] for name, net in networks.items() if name in importers}


def start_from(state: TrainState, found: Mapping[str, Variables], source: str) -> tuple[TrainState, list[str]]:
  """The state with every tensor copied whose name and shape agree, and lines that say what was and was not."""
  buffers = state.extra["G_buffers"]
  targets = {
    "G": {"params": state.params["G"], "buffers": buffers},
    "D": {"params": state.params["D"]},
    "G_ema": {"params": state.ema},
  }
  notes, results = [], {}
  for name, target in targets.items():
    results[name], line = _copy(target, found[name]) if name in found else (target, "not there: starts at random")
    if name in found and name != "D":
      results[name] = _quiet_growth(results[name], found[name])
    notes.append(f"{name} from {source}: {line}")
  extra = {**state.extra, "G_buffers": results["G"]["buffers"]}
  params = {**state.params, "G": results["G"]["params"], "D": results["D"]["params"]}
  return dataclasses.replace(state, params=params, ema=results["G_ema"]["params"], extra=extra), notes


def _copy(target: Variables, source: Variables) -> tuple[Variables, str]:
  wanted, there = traverse_util.flatten_dict(target), traverse_util.flatten_dict(source)
  same = {path for path, x in wanted.items() if path in there and np.shape(there[path]) == np.shape(x)}
  result = {path: jnp.asarray(there[path], x.dtype) if path in same else x for path, x in wanted.items()}
  left = [".".join(path[1:]) for path in wanted if path not in same]
  line = f"{len(same)} of {len(wanted)} tensors copied"
  return traverse_util.unflatten_dict(result), line + (f"; new: {', '.join(left)}" if left else "")


def _quiet_growth(target: Variables, source: Variables) -> Variables:
  """A generator that is larger than its source starts with the source's pictures, enlarged: new images add nothing."""
  params, there = dict(target["params"]), source["params"]["synthesis"]
  blocks = dict(params["synthesis"])
  for name, block in blocks.items():
    if name not in there and "torgb" in block:
      blocks[name] = {**block, "torgb": {**block["torgb"], "weight": jnp.zeros_like(block["torgb"]["weight"])}}
  return {**target, "params": {**params, "synthesis": blocks}}


def _from_workdir(folder: Path) -> dict[str, Variables]:
  files = {name: folder / "export" / f"{name}.safetensors" for name in NETWORKS}
  if all(file.is_file() for file in files.values()):
    return {name: load_network(file)[1] for name, file in files.items()}
  if not (folder / "checkpoints").is_dir():
    raise InputError(f"config.init={folder} is not a training folder: it has neither export nor checkpoints")
  state = newest_state(folder / "checkpoints")
  try:
    g, d, buffers = state["params"]["G"], state["params"]["D"], state["extra"]["G_buffers"]
  except KeyError as error:
    raise InputError(f"config.init={folder}: its checkpoint is of another system, it has no {error}") from error
  return {
    "G": {"params": g, "buffers": buffers},
    "D": {"params": d},
    "G_ema": {"params": state["ema"], "buffers": buffers},
  }

"""What DiffPoseTalk's trainings write, and its way back.

A network is a safetensors file: parameters by their paths, in its header the module's sizes and facts such as the name
of the style encoder. A trained system is a folder: ``denoiser.safetensors``, ``stats_train.npz`` and
``speech_encoder/`` in the usual form (`encoders.load_pretrained`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.encoders.pretrained import load_pretrained
from jaxtalk.systems.diffposetalk_motion import Stats, pack
from jaxtalk.systems.diffposetalk_networks import Denoiser, StyleEncoder
from jaxtalk.systems.diffposetalk_official import schedule
from jaxtalk.systems.diffposetalk_windows import DiffPoseTalk, Style

Network = TypeVar("Network", Denoiser, StyleEncoder)
DENOISER, SPEECH, STATS = "denoiser.safetensors", "speech_encoder", "stats_train.npz"


def save_network(path: Path, module: nn.Module, params: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
  """Writes float32 parameters; ``facts`` is JSON."""
  from safetensors.numpy import save_file

  fields = {f.name: getattr(module, f.name) for f in dataclasses.fields(module) if f.name not in ("parent", "name")}
  arrays = {name: np.ascontiguousarray(x, np.float32) for name, x in _flat(params).items()}
  path.parent.mkdir(parents=True, exist_ok=True)
  header = {"network": type(module).__name__, "fields": json.dumps(fields), "facts": json.dumps(dict(facts))}
  save_file(arrays, path, metadata=header)


def load_network(path: Path, kind: type[Network]) -> tuple[Network, dict[str, Any], dict[str, Any]]:
  """Module, variables and facts of a file of `save_network`.

  Raises:
    MissingAssetError: there is no such file.
    InputError: it is another network or damaged, or tensors are missing, left over or of another shape; all are named.
  """
  from safetensors import SafetensorError, safe_open

  if not path.is_file():
    raise MissingAssetError(f"{path}: no such file; train.py --config=configs/diffposetalk.py writes it")
  try:
    with safe_open(path, framework="numpy") as file:
      header, found = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
  except (SafetensorError, OSError) as error:
    raise InputError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
  if header.get("network") != kind.__name__:
    raise InputError(f"{path} holds {header.get('network', 'something else')}, not a {kind.__name__} of jaxtalk")
  module = kind(**json.loads(header["fields"]))
  wanted = _flat(_shapes(module))
  problems = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
  problems += [f"{name} is left over" for name in sorted(set(found) - set(wanted))]
  problems += [
    f"{name} is {x.shape}, not {wanted[name].shape}"
    for name, x in found.items()
    if name in wanted and x.shape != wanted[name].shape
  ]
  if problems:
    raise InputError(f"{path} does not fit its own sizes: {'; '.join(problems)}")
  params = traverse_util.unflatten_dict({name: jnp.asarray(x) for name, x in found.items()}, sep="/")
  return module, {"params": params}, json.loads(header["facts"])


def network_id(params: Mapping[str, Any]) -> str:
  """Twelve letters that tell one set of weights from another: what a style vector remembers of its encoder."""
  digest = hashlib.sha256()
  for name, x in sorted(_flat(params).items()):
    digest.update(name.encode() + np.ascontiguousarray(x, np.float32).tobytes())
  return digest.hexdigest()[:12]


def load_trained(folder: Path, speech_encoder: Path | None = None) -> DiffPoseTalk:
  """A system from a training's ``export`` folder.

  Args:
    folder: it.
    speech_encoder: folder of another speech encoder; None is the exported one.
  """
  denoiser, variables, facts = load_network(folder / DENOISER, Denoiser)
  encoder, encoder_variables = load_pretrained(speech_encoder or folder / SPEECH)
  if encoder.config.width != denoiser.audio_width:
    raise InputError(
      f"{speech_encoder or folder / SPEECH} gives {encoder.config.width} numbers a frame, but {folder / DENOISER} "
      f"was trained with {denoiser.audio_width}"
    )
  return DiffPoseTalk(
    denoiser=denoiser,
    variables=variables,
    encoder=encoder,
    encoder_variables=encoder_variables,
    stats=Stats.read(folder / STATS),
    schedule=schedule(facts["schedule"], facts["diffusion_steps"]),
    style_encoder=facts["style_encoder"],
  )


def extract_style(path: Path, stats: Stats, expression: np.ndarray, pose: np.ndarray) -> Style:
  """How somebody speaks in a clip of motion, by an exported style encoder.

  Args:
    path: ``style_encoder.safetensors``.
    stats: of the data that it was trained on.
    expression: (T, 50).
    pose: (T, 6).
  """
  module, variables, _ = load_network(path, StyleEncoder)
  motion = pack(stats, jnp.asarray(expression), jnp.asarray(pose), head=module.motion_width == 54)
  vector = jax.jit(module.apply)(variables, motion[None])[0]
  return Style(vector=np.asarray(vector), encoder=network_id(variables["params"]))


def _shapes(module: Denoiser | StyleEncoder) -> Any:
  key = jax.random.key(0)
  if isinstance(module, Denoiser):
    return jax.eval_shape(lambda: module.init(key, method="initialise"))["params"]
  return jax.eval_shape(lambda: module.init(key, jnp.zeros((1, 2, module.motion_width))))["params"]


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(dict(params), sep="/")

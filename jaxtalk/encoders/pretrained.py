"""Published speech encoders, in the usual folder of files, to and from our modules.

  module, variables = load_pretrained("wav2vec2-base-960h/")

A folder holds ``config.json``, ``model.safetensors`` (or its shards with ``model.safetensors.index.json``) and, to know
how waveforms are prepared, ``preprocessor_config.json``. Nothing is downloaded and no pickle is read. Fine-tuned files
load as encoders: the prefix of their names goes, and so do the heads on top, and Whisper's decoder. Whatever else is
too many, missing or of another size is an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.encoders import whisper
from jaxtalk.encoders.freezing import official_name
from jaxtalk.encoders.speech_config import SpeechConfig, read_config, write_config
from jaxtalk.encoders.wav2vec2 import SpeechEncoder
from jaxtalk.encoders.whisper import WhisperEncoder

_CLASSES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}  # published class names, less their endings
_HEADS = {  # ending of the class in config.json's "architectures" -> parts that are no encoder; lm_head never is
  "ForPreTraining": ("quantizer", "project_hid", "project_q"),
  "ForSequenceClassification": ("projector", "classifier", "layer_weights"),
  "ForSpeechClassification": ("classifier",),
  "ForAudioFrameClassification": ("classifier", "layer_weights"),
  "ForXVector": ("projector", "tdnn", "feature_extractor", "classifier", "objective", "layer_weights"),
}
_RENAMED = {  # the newer of two names for a part of the weight norm
  "parametrizations.weight.original0": "weight_g",
  "parametrizations.weight.original1": "weight_v",
}
_CONVERT = (
  'python -c "import sys, torch; from safetensors.torch import save_file; s = torch.load(sys.argv[1], weights_only='
  'True); save_file({k: v.contiguous() for k, v in s.items()}, sys.argv[2])" pytorch_model.bin model.safetensors'
)


def load_pretrained(
  directory: str | Path, *, dtype: Any = jnp.float32, masked_statistics: bool = True
) -> tuple[Any, dict[str, Any]]:
  """The module and its variables ({"params": float32 tree}) of a published checkpoint.

  The module is a `SpeechEncoder` (wav2vec 2.0, HuBERT, WavLM) or a `WhisperEncoder`; Whisper's decoder is left aside.

  Args:
    directory: the folder.
    dtype: of computation, float32 or bfloat16.
    masked_statistics: False for what the published base models do to padded batches; see `SpeechEncoder`.

  Raises:
    MissingAssetError: the folder or a file in it is not there.
    InputError: another architecture, a damaged file, or tensors that do not fit the configuration; all are named.
  """
  folder = Path(directory)
  if not folder.is_dir():
    raise MissingAssetError(f"{folder}: no such folder; it should hold config.json and model.safetensors")
  main = _read_json(folder / "config.json")
  preprocessor = folder / "preprocessor_config.json"
  try:
    if main.get("model_type") == "whisper":
      listener = WhisperEncoder(whisper.read_config(main), dtype)
      return listener, _fitted(listener, _whisper_tensors(read_state(folder)))
    config = read_config(main, _read_json(preprocessor) if preprocessor.is_file() else {})
    state = _encoder_tensors(read_state(folder), config, main.get("architectures") or [])
    return import_encoder(state, config, dtype=dtype, masked_statistics=masked_statistics)
  except InputError as error:
    message = str(error)
    raise InputError(message if message.startswith(str(folder)) else f"{folder}: {message}") from error


def import_encoder(
  state: Mapping[str, np.ndarray], config: SpeechConfig, *, dtype: Any = jnp.float32, masked_statistics: bool = True
) -> tuple[SpeechEncoder, dict[str, Any]]:
  """Like `load_pretrained`, from arrays by published names (without prefix and heads).

  Raises:
    InputError: left-over, missing or misshapen tensors, or numbers that are not finite; all are named.
  """
  state = {_current_name(name): x for name, x in state.items()}
  module = SpeechEncoder(config, dtype, masked_statistics, mask_embedding="masked_spec_embed" in state)
  return module, _fitted(module, state)


def _fitted(module: SpeechEncoder | WhisperEncoder, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of a module from tensors by published names; errors are those of `import_encoder`."""
  wanted = _template(module)
  names = {path: _official(path) for path in wanted}
  _refuse("does not know", sorted(set(state) - set(names.values())), "left over")
  _refuse("lacks", sorted(set(names.values()) - set(state)), "missing")
  params = {path: _to_ours(path, np.asarray(state[name])) for path, name in names.items()}
  wrong = [
    f"{names[path]} is {tuple(state[names[path]].shape)}, config.json asks for {_official_shape(path, wanted[path])}"
    for path, x in params.items()
    if x.shape != wanted[path]
  ]
  _refuse("has tensors of another size", wrong, "")
  _refuse("is damaged", [names[path] for path, x in params.items() if not np.isfinite(x).all()], "not finite")
  return {"params": traverse_util.unflatten_dict({path: jnp.asarray(x) for path, x in params.items()})}


def export_encoder(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """The inverse of `import_encoder`: contiguous float32 arrays by published names."""
  flat = traverse_util.flatten_dict(dict(variables["params"]))
  return {_official(path): _to_theirs(path, np.asarray(x, np.float32)) for path, x in flat.items()}


def save_pretrained(directory: str | Path, module: SpeechEncoder, variables: Mapping[str, Any]) -> None:
  """Writes a folder that `load_pretrained` and the usual PyTorch package read, e.g. after fine-tuning."""
  from safetensors.numpy import save_file

  folder = Path(directory)
  folder.mkdir(parents=True, exist_ok=True)
  main, preprocessor = write_config(module.config)
  main = {"architectures": [_CLASSES[module.config.family] + "Model"], **main}
  (folder / "config.json").write_text(json.dumps(main, indent=1) + "\n")
  (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
  save_file(export_encoder(variables), folder / "model.safetensors", metadata={"format": "pt"})


def read_state(folder: Path) -> dict[str, np.ndarray]:
  """All tensors of ``model.safetensors`` or its shards, as float32.

  Raises:
    MissingAssetError: there is no such file, or a shard is missing.
    InputError: it is damaged, or there is only a pickle, which is not read.
  """
  from safetensors import SafetensorError, safe_open

  state: dict[str, np.ndarray] = {}
  for path in _shards(folder):
    try:
      with safe_open(path, framework="flax") as file:  # numpy has no bfloat16
        state |= {name: np.asarray(file.get_tensor(name)).astype(np.float32) for name in file.keys()}
    except (SafetensorError, OSError) as error:
      raise InputError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
  return state


def _shards(folder: Path) -> list[Path]:
  whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
  if whole.is_file():
    return [whole]
  if not index.is_file():
    if (folder / "pytorch_model.bin").is_file():
      raise InputError(f"{folder}: has pytorch_model.bin only, a pickle, which is not read; convert it with {_CONVERT}")
    raise MissingAssetError(f"{whole}: no such file; take model.safetensors from where the model was published")
  files = _read_json(index).get("weight_map")
  if not isinstance(files, dict) or not all(isinstance(f, str) and Path(f).name == f for f in files.values()):
    raise InputError(f"{index}: weight_map must give the file of each tensor, in the same folder")
  paths = [folder / name for name in sorted(set(files.values()))]
  missing = [path.name for path in paths if not path.is_file()]
  if missing:
    raise MissingAssetError(f"{folder}: lacks {', '.join(missing)}, which {index.name} names")
  return paths


def _read_json(path: Path) -> dict[str, Any]:
  if not path.is_file():
    raise MissingAssetError(f"{path}: no such file; take it from where the model was published")
  try:
    value = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise InputError(f"{path}: not a JSON file: {error}") from error
  if not isinstance(value, dict):
    raise InputError(f"{path}: should hold one JSON object, not a {type(value).__name__}")
  return value


def _encoder_tensors(
  state: Mapping[str, np.ndarray], config: SpeechConfig, architectures: list[str]
) -> dict[str, np.ndarray]:
  """Without the prefix that classes with a head give to their encoder, and without that head."""
  heads = {"lm_head"}
  for name in architectures:
    heads |= {part for ending, parts in _HEADS.items() if str(name).endswith(ending) for part in parts}
  prefix = config.family + "."
  if any(name.startswith(prefix) for name in state):
    inside = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
    outside = {name: x for name, x in state.items() if not name.startswith(prefix)}
  else:
    inside, outside = {n: x for n, x in state.items() if not n.startswith("lm_head.")}, {}
  return inside | {name: x for name, x in outside.items() if name.split(".")[0] not in heads}


def _whisper_tensors(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The encoder's, without the decoder and its way back to words."""
  names = {name: name.removeprefix("model.") for name in state}
  kept = {name: short for name, short in names.items() if not short.startswith(("decoder.", "proj_out."))}
  return {short.removeprefix("encoder."): state[name] for name, short in kept.items()}


def _refuse(verb: str, names: list[str], what: str) -> None:
  if names:
    what = f"{what}: " if what else ""
    raise InputError(f"the checkpoint {verb} {len(names)} of the encoder's tensors ({what}{', '.join(names)})")


def _template(module: SpeechEncoder | WhisperEncoder) -> dict[tuple[str, ...], tuple[int, ...]]:
  """Shapes of all parameters by path; nothing is computed."""
  wave = jax.ShapeDtypeStruct((1, module.config.reach), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), wave)
  return {path: tuple(x.shape) for path, x in traverse_util.flatten_dict(dict(variables["params"])).items()}


def _current_name(name: str) -> str:
  for new, old in _RENAMED.items():
    if name.endswith("." + new):
      return name.removesuffix(new) + old
  return name


def _official(path: tuple[str, ...]) -> str:
  leaf = "weight" if path[-1] in ("kernel", "scale", "embedding") else path[-1]
  return ".".join([official_name(path[:-1]), leaf]).lstrip(".")


def _to_ours(path: tuple[str, ...], x: np.ndarray) -> np.ndarray:
  """Kernels from [out, in] and [out, in, width] to [in, out] and [width, in, out]; gains to a vector."""
  if path[-1] in ("kernel", "weight_v"):
    return x.T
  return x.reshape(-1) if path[-1] == "weight_g" and x.ndim == 3 and x.shape[:2] == (1, 1) else x


def _to_theirs(path: tuple[str, ...], x: np.ndarray) -> np.ndarray:
  if path[-1] in ("kernel", "weight_v"):
    return np.ascontiguousarray(x.T)
  return x.reshape(1, 1, -1) if path[-1] == "weight_g" else np.ascontiguousarray(x)


def _official_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
  if path[-1] in ("kernel", "weight_v"):
    return shape[::-1]
  return (1, 1, *shape) if path[-1] == "weight_g" else shape

"""Inception-v3 as the Frechet inception distance needs it: the graph of 2015-12-05, with weights that the user brings.

The graph differs from the Inception-v3 of most libraries: average pools leave the padding out of the average, the pool
of the last block is a maximum, pictures are resized as TensorFlow 1 did (no half-pixel shift), and the output has 1008
classes. FIDs of different Inceptions cannot be compared (Heusel et al. 2017; Parmar et al. 2022).

Weights are not part of the package. This turns those that people have into a safetensors file:

  python -m jaxtalk.metrics.inception convert inception-2015-12-05.pt inception.safetensors

FILE is the TorchScript file that StyleGAN2 and StyleGAN3 use, or tensors (.safetensors, or a zipped ``torch.save``)
under the names of that file or of pytorch-fid and torch-fidelity.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxtalk.core import InputError, JaxtalkError, MissingAssetError
from jaxtalk.metrics.torchscript import read_tensors

SIZE, DIMS, CLASSES = 299, 2048, 1008
EPSILON = 1e-3  # of the batch normalisations, which `convert` folds into the kernels
Params = Mapping[str, Any]


class Inception(nn.Module):
  """(N, 299, 299, 3) in [-1, 1] to (N, 2048), the averages of the last block's channels.

  Layers have the names of the TensorFlow graph with ``_`` for ``/``: ``mixed_4_tower_1_conv_2``.
  """

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = _conv(x, "conv", 32, (3, 3), stride=2, padding="VALID")
    x = _conv(x, "conv_1", 32, (3, 3), padding="VALID")
    x = _conv(x, "conv_2", 64, (3, 3))
    x = _conv(_halve(x), "conv_3", 80, (1, 1))
    x = _halve(_conv(x, "conv_4", 192, (3, 3), padding="VALID"))
    for name, pooled in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
      x = _block_35(x, name, pooled)
    x = _to_17(x, "mixed_3")
    for name, width in (("mixed_4", 128), ("mixed_5", 160), ("mixed_6", 160), ("mixed_7", 192)):
      x = _block_17(x, name, width)
    x = _to_8(x, "mixed_8")
    x = _block_8(x, "mixed_9", _average(x))
    x = _block_8(x, "mixed_10", nn.max_pool(x, (3, 3), padding="SAME"))
    return x.mean((1, 2))


def _conv(
  x: jax.Array, name: str, features: int, kernel: tuple[int, int], stride: int = 1, padding: str = "SAME"
) -> jax.Array:
  layer = nn.Conv(features, kernel, (stride, stride), padding, precision=jax.lax.Precision.HIGHEST, name=name)
  return nn.relu(layer(x))


def _tower(x: jax.Array, name: str, layers: Sequence[tuple[int, tuple[int, int]]], last: str = "same") -> jax.Array:
  """Convolutions ``name_conv``, ``name_conv_1``, ...; the last may halve the resolution instead of keeping it."""
  for i, (features, kernel) in enumerate(layers):
    halve = last == "halve" and i == len(layers) - 1
    layer = f"{name}_conv_{i}" if i else f"{name}_conv"
    x = _conv(x, layer, features, kernel, 2 if halve else 1, "VALID" if halve else "SAME")
  return x


def _halve(x: jax.Array) -> jax.Array:
  return nn.max_pool(x, (3, 3), (2, 2))


def _average(x: jax.Array) -> jax.Array:
  return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _block_35(x: jax.Array, name: str, pooled: int) -> jax.Array:
  return jnp.concatenate(
    [
      _conv(x, f"{name}_conv", 64, (1, 1)),
      _tower(x, f"{name}_tower", [(48, (1, 1)), (64, (5, 5))]),
      _tower(x, f"{name}_tower_1", [(64, (1, 1)), (96, (3, 3)), (96, (3, 3))]),
      _conv(_average(x), f"{name}_tower_2_conv", pooled, (1, 1)),
    ],
    axis=-1,
  )


def _to_17(x: jax.Array, name: str) -> jax.Array:
  return jnp.concatenate(
    [
      _conv(x, f"{name}_conv", 384, (3, 3), 2, "VALID"),
      _tower(x, f"{name}_tower", [(64, (1, 1)), (96, (3, 3)), (96, (3, 3))], last="halve"),
      _halve(x),
    ],
    axis=-1,
  )


def _block_17(x: jax.Array, name: str, width: int) -> jax.Array:
  wide, tall = (1, 7), (7, 1)
  return jnp.concatenate(
    [
      _conv(x, f"{name}_conv", 192, (1, 1)),
      _tower(x, f"{name}_tower", [(width, (1, 1)), (width, wide), (192, tall)]),
      _tower(x, f"{name}_tower_1", [(width, (1, 1)), (width, tall), (width, wide), (width, tall), (192, wide)]),
      _conv(_average(x), f"{name}_tower_2_conv", 192, (1, 1)),
    ],
    axis=-1,
  )


def _to_8(x: jax.Array, name: str) -> jax.Array:
  return jnp.concatenate(
    [
      _tower(x, f"{name}_tower", [(192, (1, 1)), (320, (3, 3))], last="halve"),
      _tower(x, f"{name}_tower_1", [(192, (1, 1)), (192, (1, 7)), (192, (7, 1)), (192, (3, 3))], last="halve"),
      _halve(x),
    ],
    axis=-1,
  )


def _block_8(x: jax.Array, name: str, pooled: jax.Array) -> jax.Array:
  narrow = _tower(x, f"{name}_tower", [(384, (1, 1))])
  deep = _tower(x, f"{name}_tower_1", [(448, (1, 1)), (384, (3, 3))])
  split = [
    _conv(y, f"{name}_{tower}_mixed_{conv}", 384, kernel)
    for tower, y in (("tower", narrow), ("tower_1", deep))
    for conv, kernel in (("conv", (1, 3)), ("conv_1", (3, 1)))
  ]
  first, last = _conv(x, f"{name}_conv", 320, (1, 1)), _conv(pooled, f"{name}_tower_2_conv", 192, (1, 1))
  return jnp.concatenate([first, *split, last], axis=-1)


def resize(images: jax.Array, size: int = SIZE) -> jax.Array:
  """(N, H, W, C) to (N, size, size, C) as TensorFlow 1 resized: output pixel i is read at ``i * H / size``, bilinear,
  without a half-pixel shift and without smoothing when the picture becomes smaller."""
  rows, columns = (_interpolation(n, size) for n in images.shape[1:3])
  highest = jax.lax.Precision.HIGHEST
  return jnp.einsum("ih,nhwc,jw->nijc", rows, images, columns, precision=highest)


def _interpolation(source: int, size: int) -> np.ndarray:
  """(size, source) weights."""
  at = np.minimum(np.arange(size) * (source / size), source - 1)
  low = np.floor(at).astype(int)
  weights = np.zeros((size, source), np.float32)
  np.add.at(weights, (np.arange(size), low), 1.0 - (at - low))
  np.add.at(weights, (np.arange(size), np.minimum(low + 1, source - 1)), at - low)
  return weights


@functools.cache
def shapes() -> dict[str, tuple[int, ...]]:
  """Shape of every array of a converted file by name, e.g. ``conv/kernel``."""
  tree = jax.eval_shape(Inception().init, jax.random.key(0), jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32))
  layers = {f"{layer}/{name}": x.shape for layer, arrays in tree["params"].items() for name, x in arrays.items()}
  return layers | {"output/kernel": (DIMS, CLASSES)}


def convert(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Our arrays from tensors under the names of StyleGAN's TorchScript file, or of pytorch-fid and torch-fidelity.

  Kernels become (height, width, in, out) with the normalisation folded in: ``k * g / sqrt(var + eps)`` and bias
  ``beta - mean * g / sqrt(var + eps)``. The bias of the output layer is left out, as the inception score wants it.

  Raises:
    InputError: a tensor is missing, is left over, or has another shape; the message names it.
  """
  parts: dict[str, dict[str, np.ndarray]] = {}
  for name, x in tensors.items():
    layer, role = canonical_name(name)
    if role != "ignored":
      parts.setdefault(layer, {})[role] = np.asarray(x, np.float64)
  out: dict[str, np.ndarray] = {}
  for layer in sorted({name.rpartition("/")[0] for name in shapes()}):
    found, shape = parts.pop(layer, {}), shapes()[f"{layer}/kernel"]
    kernel = _part(found, layer, "kernel", (shape[-1], shape[-2], *shape[:-2]))
    if layer == "output":
      out["output/kernel"] = kernel.T
      continue
    width = shape[-1:]
    gamma = _part(found, layer, "gamma", width) if "gamma" in found else 1.0  # TensorFlow's graph has none
    scale = gamma / np.sqrt(_part(found, layer, "var", width) + EPSILON)
    out[f"{layer}/kernel"] = np.transpose(kernel, (2, 3, 1, 0)) * scale
    out[f"{layer}/bias"] = _part(found, layer, "beta", width) - _part(found, layer, "mean", width) * scale
  if parts:
    raise InputError(f"these are not weights of the 2015 Inception-v3: layer {sorted(parts)[0]} is left over")
  return check_arrays({name: np.ascontiguousarray(x, np.float32) for name, x in out.items()}, "the weights")


def check_arrays(arrays: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
  """The arrays, if they are those of a converted file; InputError names the first that is not."""
  for name, shape in shapes().items():
    if name not in arrays or arrays[name].shape != shape:
      got = arrays[name].shape if name in arrays else "missing"
      raise InputError(f"{where} are not of the 2015 Inception-v3: {name} should be {shape} and is {got}")
  if left := sorted(set(arrays) - set(shapes())):
    raise InputError(f"{where} are not of the 2015 Inception-v3: {left[0]} is left over")
  return dict(arrays)


_ROLES = {
  "weight": "kernel", "beta": "beta", "mean": "mean", "var": "var",
  "bn.weight": "gamma", "bn.bias": "beta", "bn.running_mean": "mean", "bn.running_var": "var",
  "conv.weight": "kernel", "bn.num_batches_tracked": "ignored",
}  # fmt: skip
_STEMS = {"1a_3x3": "conv", "2a_3x3": "conv_1", "2b_3x3": "conv_2", "3b_1x1": "conv_3", "4a_3x3": "conv_4"}
_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")  # mixed, mixed_1, ... mixed_10
_CONVS = {"1": "conv", "2": "conv_1", "3": "conv_2", "4": "conv_3", "5": "conv_4"}
_SPLITS = {"2a": "mixed_conv", "2b": "mixed_conv_1", "3a": "mixed_conv", "3b": "mixed_conv_1"}


def canonical_name(name: str) -> tuple[str, str]:
  """Our layer and the role (kernel, beta, mean, var, gamma, ignored) of a tensor of a foreign file.

  Raises:
    InputError: the name is of neither family.
  """
  if name in ("output.weight", "fc.weight"):
    return "output", "kernel"
  if name in ("output.bias", "fc.bias"):
    return "output", "ignored"
  if name.startswith("layers."):
    path, _, role = name.removeprefix("layers.").rpartition(".")
    return path.replace(".", "_"), _role(role, name)
  place, _, rest = name.partition(".")
  kind, _, code = place.partition("_")
  if kind == "Conv2d" and code in _STEMS:
    return _STEMS[code], _role(rest, name)
  branch, _, role = rest.partition(".")
  if kind == "Mixed" and code in _BLOCKS and branch.startswith("branch"):
    number = _BLOCKS.index(code)
    return f"mixed_{number}_{_branch(branch, code)}".replace("mixed_0_", "mixed_", 1), _role(role, name)
  raise InputError(f"{name!r} is no tensor of the 2015 Inception-v3")


def _branch(branch: str, block: str) -> str:
  """``branch7x7dbl_4`` to ``tower_1_conv_3``: TensorFlow numbered the towers, pytorch-fid named them by kernel."""
  kind, _, place = branch.removeprefix("branch").partition("_")
  if kind in ("pool", ""):
    return "tower_2_conv"
  if not place:  # a branch of a single convolution
    return "conv"
  second = kind in ("7x7dbl", "7x7x3") or (kind == "3x3dbl" and block != "6a")
  tower = "tower_1" if second else "tower"
  return f"{tower}_{_SPLITS.get(place) or _CONVS.get(place, place)}"


def _role(role: str, name: str) -> str:
  if role not in _ROLES:
    raise InputError(f"{name!r} is no tensor of the 2015 Inception-v3")
  return _ROLES[role]


def _part(found: Mapping[str, np.ndarray], layer: str, role: str, shape: tuple[int, ...]) -> np.ndarray:
  if role not in found or found[role].shape != shape:
    got = found[role].shape if role in found else "missing"
    raise InputError(f"not weights of the 2015 Inception-v3: {role} of layer {layer} should be {shape} and is {got}")
  return found[role]


def load_foreign(path: Path) -> dict[str, np.ndarray]:
  """Tensors of a .safetensors or a torch file; see `torchscript.read_tensors`."""
  if path.suffix != ".safetensors":
    return read_tensors(path)
  if not path.is_file():
    raise MissingAssetError(f"there is no file {path}")
  from safetensors import SafetensorError
  from safetensors.numpy import load_file

  try:
    return load_file(path)
  except SafetensorError as error:
    raise InputError(f"{path} is not a safetensors file: {error}") from error


def save(path: Path, arrays: Mapping[str, np.ndarray], source: Path) -> None:
  """Writes converted arrays and where they come from."""
  from safetensors.numpy import save_file

  digest = hashlib.sha256(source.read_bytes()).hexdigest()
  facts = json.dumps({"source": source.name, "sha256": digest})
  save_file(dict(arrays), path, metadata={"system": "inception_2015", "facts": facts})


def main(arguments: Sequence[str]) -> int:
  """``convert FILE OUT``; the exit status."""
  if len(arguments) != 3 or arguments[0] != "convert":
    print("usage: python -m jaxtalk.metrics.inception convert FILE OUT.safetensors", file=sys.stderr)
    return 2
  source, target = Path(arguments[1]), Path(arguments[2])
  try:
    save(target, convert(load_foreign(source)), source)
  except JaxtalkError as error:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code
  print(f"{target}: Inception-v3, {sum(np.prod(s) for s in shapes().values()) / 1e6:.2f} M parameters")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))

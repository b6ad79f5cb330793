"""Official states and constructor arguments to our modules and variables, and back.

A state maps official names to arrays: image weights [out, in, height, width], dense weights [out, in]. Two layouts of
arguments are read: nested (``mapping_kwargs``, ``synthesis_kwargs``: stylegan2-ada-pytorch) and flat (the StyleGAN2
network of stylegan3). Every name must be known and used; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtalk.core import InputError
from jaxtalk.stylegan2 import ops
from jaxtalk.stylegan2.networks import Discriminator, Generator
from jaxtalk.stylegan2.sizes import resolutions

Variables = dict[str, Any]

_MAPPING = {
  "num_layers": "mapping_layers",
  "embed_features": "embed_features",
  "layer_features": "layer_features",
  "activation": "mapping_activation",
  "lr_multiplier": "lr_multiplier",
}
_G_MAPPING = {**_MAPPING, "w_avg_beta": "w_avg_beta"}
_G_SYNTHESIS = {
  "architecture": "architecture",
  "channel_base": "channel_base",
  "channel_max": "channel_max",
  "num_fp16_res": "num_half_res",
  "conv_clamp": "conv_clamp",
  "kernel_size": "kernel_size",
  "use_noise": "use_noise",
  "activation": "activation",
  "resample_filter": "resample_filter",
}
_G_TOP = {name: name for name in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}
_D_TOP = {
  **{name: name for name in ("c_dim", "img_resolution", "img_channels", "architecture", "channel_base")},
  **{name: name for name in ("channel_max", "conv_clamp", "cmap_dim")},
  "num_fp16_res": "num_half_res",
}
_D_BLOCK = {"activation": "activation", "resample_filter": "resample_filter"}
_D_EPILOGUE = {
  "mbstd_group_size": "mbstd_group_size",
  "mbstd_num_channels": "mbstd_num_channels",
  "activation": "epilogue_activation",
}
# how the official code computes, or trains, but not what
_NO_EFFECT = ("use_fp16", "fp16_channels_last", "channels_last", "fused_modconv_default", "freeze_layers")
# the stylegan3 repository's own defaults, where its flat layout leaves them out
_FLAT_DEFAULTS = {"num_half_res": 4, "conv_clamp": 256, "w_avg_beta": 0.998}
_STYLEGAN3_ONLY = ("num_critical", "first_cutoff", "filter_size", "use_radial_filters", "magnitude_ema_beta")


def import_generator(state: Mapping[str, np.ndarray], **init_kwargs: Any) -> tuple[Generator, Variables]:
  """A generator from an official state.

  Args:
    state: official parameter and buffer names to arrays.
    **init_kwargs: the official constructor's arguments, in either layout.

  Returns:
    The module, which computes in float32 (``module.clone(dtype=jnp.bfloat16)`` for its top resolutions in half
    precision), and ``{"params": ..., "buffers": ...}``.

  Raises:
    InputError: an unknown argument, a missing or left-over name, or an array of another shape.
  """
  module = Generator(**generator_fields(init_kwargs))
  return module, _read_state(module, _shapes(module), state, "generator")


def import_discriminator(state: Mapping[str, np.ndarray], **init_kwargs: Any) -> tuple[Discriminator, Variables]:
  """A discriminator from an official state; as `import_generator`. Frozen layers are parameters like the others."""
  module = Discriminator(**discriminator_fields(init_kwargs))
  return module, _read_state(module, _shapes(module), state, "discriminator")


def export_official(
  module: Generator | Discriminator, variables: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """The inverse: (state with official names, float32; constructor arguments in the nested layout)."""
  flat: dict[str, np.ndarray] = {}
  for collection in ("params", "buffers"):
    for names, x in traverse_util.flatten_dict(variables.get(collection, {})).items():
      array = np.asarray(x, np.float32)
      flat[".".join(names)] = array if names[-1] == "noise_const" else _to_official(array)
  for name, taps in _filters(module).items():
    flat[name] = ops.setup_filter(taps)
  return flat, generator_kwargs(module) if isinstance(module, Generator) else discriminator_kwargs(module)


def generator_fields(init_kwargs: Mapping[str, Any]) -> dict[str, Any]:
  """Official constructor arguments to the fields of `Generator`."""
  kwargs = dict(init_kwargs)
  _refuse_stylegan3(kwargs)
  nested = "synthesis_kwargs" in kwargs
  mapping, synthesis = kwargs.pop("mapping_kwargs", None) or {}, kwargs.pop("synthesis_kwargs", None) or {}
  flat = not nested and any(name in kwargs for name in (*_G_SYNTHESIS, "fused_modconv_default", "fp16_channels_last"))
  fields = dict(_FLAT_DEFAULTS) if flat else {}
  fields |= _rename(kwargs, _G_TOP if nested else {**_G_TOP, **_G_SYNTHESIS}, "the generator")
  fields |= _rename(mapping, _G_MAPPING, "mapping_kwargs") | _rename(synthesis, _G_SYNTHESIS, "synthesis_kwargs")
  return _checked(fields, tuple(_G_TOP), "generator")


def discriminator_fields(init_kwargs: Mapping[str, Any]) -> dict[str, Any]:
  """Official constructor arguments to the fields of `Discriminator`."""
  kwargs = dict(init_kwargs)
  parts = {"block_kwargs": _D_BLOCK, "mapping_kwargs": _MAPPING, "epilogue_kwargs": _D_EPILOGUE}
  fields: dict[str, Any] = {}
  for part, names in parts.items():
    fields |= _rename(kwargs.pop(part, None) or {}, names, part)
  fields |= _rename(kwargs, _D_TOP, "the discriminator")
  return _checked(fields, ("c_dim", "img_resolution", "img_channels"), "discriminator")


def generator_kwargs(module: Generator) -> dict[str, Any]:
  """The fields of a `Generator` as official constructor arguments, in the nested layout."""
  top = _collect(module, _G_TOP)
  return {**top, "mapping_kwargs": _collect(module, _G_MAPPING), "synthesis_kwargs": _collect(module, _G_SYNTHESIS)}


def discriminator_kwargs(module: Discriminator) -> dict[str, Any]:
  """The fields of a `Discriminator` as official constructor arguments."""
  return {
    **_collect(module, _D_TOP),
    "block_kwargs": _collect(module, _D_BLOCK),
    "mapping_kwargs": _collect(module, _MAPPING),
    "epilogue_kwargs": _collect(module, _D_EPILOGUE),
  }


def _rename(kwargs: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
  fields = {}
  for name, value in kwargs.items():
    if name in names:
      fields[names[name]] = _frozen(value)
    elif name not in _NO_EFFECT:
      raise InputError(f"{where} of StyleGAN2 has no argument {name!r}; is this another architecture?")
  return fields


def _refuse_stylegan3(kwargs: Mapping[str, Any]) -> None:
  found = [name for name in _STYLEGAN3_ONLY if name in kwargs]
  if found:
    raise InputError(f"this is a StyleGAN3 generator (argument {found[0]!r}); only StyleGAN2 networks can be read")


def _checked(fields: dict[str, Any], needed: tuple[str, ...], kind: str) -> dict[str, Any]:
  missing = [name for name in needed if name not in fields]
  if missing:
    raise InputError(f"the {kind}'s arguments lack {', '.join(missing)}")
  return fields


def _collect(module: Generator | Discriminator, names: Mapping[str, str]) -> dict[str, Any]:
  return {official: _thawed(getattr(module, field)) for official, field in names.items()}


def _frozen(value: Any) -> Any:
  return tuple(_frozen(x) for x in value) if isinstance(value, list | tuple | np.ndarray) else value


def _thawed(value: Any) -> Any:
  return [_thawed(x) for x in value] if isinstance(value, tuple) else value


def _shapes(module: Generator | Discriminator) -> Variables:
  """Variables of the module as shapes, without computing anything."""
  label = jax.ShapeDtypeStruct((1, module.c_dim), jnp.float32)
  if isinstance(module, Generator):
    inputs = jax.ShapeDtypeStruct((1, module.z_dim), jnp.float32)
  else:
    size = module.img_resolution
    inputs = jax.ShapeDtypeStruct((1, size, size, module.img_channels), jnp.float32)
  return jax.eval_shape(module.init, jax.random.key(0), inputs, label)


def _read_state(
  module: Generator | Discriminator, shapes: Variables, state: Mapping[str, np.ndarray], kind: str
) -> Variables:
  wanted = {".".join(path[1:]): (path, x.shape) for path, x in traverse_util.flatten_dict(shapes).items()}
  filters = _filters(module)
  missing = [name for name in wanted if name not in state]
  unknown = [name for name in state if name not in wanted and name not in filters]
  for names, problem in ((missing, "lacks"), (unknown, "has, and its arguments do not explain,")):
    if names:
      raise InputError(f"the {kind}'s state {problem} {_some(names)}")
  flat = {}
  for name, (path, shape) in wanted.items():
    is_map = name.endswith("noise_const")  # an image, not a matrix
    x = np.asarray(state[name], np.float32)
    x = x if is_map else _from_official(x)
    if x.shape != shape:
      ours = shape if is_map else _to_official(np.zeros(shape)).shape
      raise InputError(f"the {kind}'s {name} has shape {np.shape(state[name])}; its arguments ask for {ours}")
    flat[path] = jnp.asarray(x)
  _check_filters(filters, state, kind)
  variables = traverse_util.unflatten_dict(flat)
  return {"params": variables["params"], "buffers": variables.get("buffers", {})}


def _check_filters(filters: Mapping[str, Any], state: Mapping[str, np.ndarray], kind: str) -> None:
  """Filters are constants of the program; a file may leave them out, but not disagree."""
  for name, taps in filters.items():
    if name in state and not _same(np.asarray(state[name]), ops.setup_filter(taps)):
      raise InputError(f"the {kind}'s {name} is not the filter that its arguments ask for")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
  return a.shape == b.shape and bool(np.allclose(a, b, atol=1e-6))


def _filters(module: Generator | Discriminator) -> dict[str, Any]:
  """Official names of the resampling filters, which every layer stores whether it resamples or not, and their taps."""
  own, usual = module.resample_filter, ops.DEFAULT_TAPS
  found: dict[str, Any] = {}
  generator = isinstance(module, Generator)
  for r in resolutions(module.img_resolution):
    block = f"synthesis.b{r}" if generator else f"b{r}"
    resnet = module.architecture == "resnet" and r > 4
    has_image = module.architecture == "skip" or r == module.img_resolution
    if generator:
      layers = {"": own, "conv1.": usual} | ({"conv0.": own} if r > 4 else {})
    elif r > 4:
      layers = {"": own, "conv0.": usual, "conv1.": own} | ({"fromrgb.": usual} if has_image else {})
    else:
      layers = {"conv.": usual} | ({"fromrgb.": usual} if module.architecture == "skip" else {})
    layers |= {"skip.": own} if resnet else {}
    found |= {f"{block}.{layer}resample_filter": taps for layer, taps in layers.items()}
  return found


def _from_official(x: np.ndarray) -> np.ndarray:
  """[out, in, h, w] to [h, w, in, out]; [out, in] to [in, out]; the constant [C, 4, 4] to [4, 4, C]."""
  axes = {4: (2, 3, 1, 0), 3: (1, 2, 0), 2: (1, 0)}.get(x.ndim)
  return x if axes is None else np.ascontiguousarray(np.transpose(x, axes))


def _to_official(x: np.ndarray) -> np.ndarray:
  """The inverse of `_from_official`."""
  axes = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0)}.get(x.ndim)
  return x if axes is None else np.ascontiguousarray(np.transpose(x, axes))


def _some(names: list[str]) -> str:
  return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

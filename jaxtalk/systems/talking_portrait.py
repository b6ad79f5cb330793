"""The talking portrait: a StyleGAN2 generator that obeys the motion space (our own system; the idea of one space for
labelled synthetic and unlabelled pictures is ConfigNet's, Kowalski et al., ECCV 2020).

Identity is a latent, everything else a condition (`portrait_conditions`), which the official architecture takes as a
continuous label. Maps of projected points take the place of noise (`face_maps`), so that what is drawn stays on the
head. The picture has four channels: sRGB on black and a matte, so that any background stays as it is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.motion.spaces import FACE_CHANNELS
from jaxtalk.stylegan2.networks import Generator
from jaxtalk.systems import face_maps
from jaxtalk.systems import portrait_conditions as pc

WEIGHTS = Path(__file__).parent / "weights" / "talking_portrait.safetensors"
CHANNELS = 4  # red, green, blue on black, matte
DOMAINS = ("studio", "other")  # the last number of a condition tells the second one
REACH = 4.0  # standard deviations within which conditions are taken seriously
_WEIGHTS = slice(pc.NAMES.index(FACE_CHANNELS[0]), pc.NAMES.index(FACE_CHANNELS[-1]) + 1)
_DOMAIN_GAIN = 10.0  # of the other domain's codes, which start at nothing and have some way to go
_SLACK = 0.05  # by which a face weight may leave [0, 1]
_FIELDS = ("img_resolution", "w_dim", "mapping_layers", "channel_base", "channel_max", "conv_clamp")


@dataclasses.dataclass(frozen=True)
class TalkingPortrait:
  """A trained generator with what belongs to it.

  Attributes:
    module: the generator; its labels are standardised conditions and the domain.
    variables: its "params" and "buffers".
    mean, scale: (C_DIM,) of the conditions that it was trained on.
    facts: what is known about the training.
  """

  module: Generator
  variables: Mapping[str, Any]
  mean: np.ndarray
  scale: np.ndarray
  facts: Mapping[str, Any]

  def standardise(self, conditions: np.ndarray, domain: str = "studio") -> tuple[np.ndarray, dict[str, float]]:
    """(N, C_DIM) conditions to labels (N, C_DIM + 1), and what had to be clipped: name -> largest excess."""
    return standardise(conditions, self.mean, self.scale, domain)


def make_generator(
  *,
  resolution: int,
  w_dim: int,
  mapping_layers: int,
  channel_base: int,
  channel_max: int,
  conv_clamp: float | None = None,
  dtype: Any = jnp.float32,
  num_half_res: int = 0,
) -> Generator:
  """The generator of these sizes; no noise, four channels, labels and maps of this system."""
  return Generator(
    z_dim=pc.Z_DIM,
    c_dim=pc.C_DIM + 1,
    w_dim=w_dim,
    img_resolution=resolution,
    img_channels=CHANNELS,
    mapping_layers=mapping_layers,
    channel_base=channel_base,
    channel_max=channel_max,
    conv_clamp=conv_clamp,
    use_noise=False,
    dtype=dtype,
    num_half_res=num_half_res,
    map_features=face_maps.NUM,
  )


def standardise(
  conditions: np.ndarray, mean: np.ndarray, scale: np.ndarray, domain: str = "studio"
) -> tuple[np.ndarray, dict[str, float]]:
  """See `TalkingPortrait.standardise`."""
  values = (np.asarray(conditions, np.float32) - mean) / scale
  if not np.isfinite(values).all():
    raise InputError("a condition of the talking portrait is NaN or infinite")
  excess = np.abs(values).max(0) - REACH
  told = np.asarray(conditions)[:, _WEIGHTS]  # rare ones are far from their mean; what they may be is known
  excess[_WEIGHTS] = np.where((told < -_SLACK) | (told > 1 + _SLACK), np.abs(told - 0.5) - 0.5, -1.0).max(0)
  clipped = {pc.NAMES[i]: float(excess[i]) for i in np.flatnonzero(excess > 0) if pc.NAMES[i] not in pc.CHOICES}
  other = np.full((len(values), 1), float(DOMAINS.index(domain)), np.float32)
  return np.concatenate([np.clip(values, -REACH, REACH), other], axis=1), clipped


def paint(module: Generator, variables: Mapping[str, Any], rows: Mapping[str, jax.Array], of: int) -> jax.Array:
  """Pictures (N, R, R, 4) in [-1, 1] or a little outside.

  Args:
    module, variables: the generator.
    rows: ``z`` (N, Z_DIM), ``label`` (N, C_DIM + 1) of `standardise`, ``points`` (N, P, 3) of `studio.points.project`
      and ``cover`` (N, S, S, 4) uint8 of `studio.points.cover`, where R divides S.
    of: size of the picture in whose pixels the points are.
  """
  cover = rows["cover"]
  factor = cover.shape[1] // module.img_resolution
  if factor > 1:
    cover = face_maps.mean(cover.astype(jnp.float32), factor)
  maps = face_maps.pyramid(rows["points"], cover, of)
  return jnp.asarray(module.apply(variables, codes(module, variables, rows), method="synthesis", maps=maps))


def codes(module: Generator, variables: Mapping[str, Any], rows: Mapping[str, jax.Array]) -> jax.Array:
  """Codes (N, num_ws, w_dim) of ``z`` and ``label`` of rows; in the other domain every layer's is moved.

  The label's flag alone would have to find its way through a mapping network that the studio has taught to look at
  everything else; a code of its own for each layer changes the style of all pictures at once.
  """
  ws = jnp.asarray(module.apply(variables, rows["z"], rows["label"], method="mapping"))
  flag = rows["label"][:, -1, None, None]
  return ws + flag * (_DOMAIN_GAIN * variables["params"]["domain"]["codes"])[None]


def composite(painted: jax.Array, background: jax.Array) -> jax.Array:
  """Pictures (N, R, R, 3) uint8 of painted ones on backgrounds (N or 1, R, R, 3) in 0 to 255."""
  matte = jnp.clip(painted[..., 3:] * 0.5 + 0.5, 0.0, 1.0)
  rgb = jnp.clip(painted[..., :3] * 127.5 + 127.5, 0.0, 255.0) + (1 - matte) * background
  return jnp.round(jnp.clip(rgb, 0.0, 255.0)).astype(jnp.uint8)


def check_domain(portrait: TalkingPortrait, domain: str) -> None:
  """Raises `InputError` unless there is such a domain and the network has learnt it."""
  if domain not in DOMAINS:
    raise InputError(f"config.portrait.domain={domain!r}: unknown (there are: {', '.join(DOMAINS)})")
  if domain != DOMAINS[0] and not np.any(portrait.variables["params"]["domain"]["codes"]):
    raise InputError(
      f"config.portrait.domain={domain}: these weights know the studio's pictures only;"
      " train with config.data.other_path (docs/portrait_domains.md)"
    )


def save(path: Path, portrait: TalkingPortrait) -> None:
  """Writes everything as one float16 safetensors file with sizes, names and facts (JSON) in its header."""
  from safetensors.numpy import save_file

  variables = jax.tree.map(lambda x: np.asarray(x, np.float16), dict(portrait.variables))
  arrays = traverse_util.flatten_dict(variables, sep="/")
  scales = {"mean": np.asarray(portrait.mean, np.float32), "scale": np.asarray(portrait.scale, np.float32)}
  header = {
    "system": "talking_portrait",
    "net": json.dumps({name: getattr(portrait.module, name) for name in _FIELDS}),
    "conditions": json.dumps(pc.NAMES),
    "facts": json.dumps({**portrait.facts, "synthetic": True}),
  }
  path.parent.mkdir(parents=True, exist_ok=True)
  save_file({**arrays, **scales}, path, metadata=header)


def load(path: Path | str | None = None) -> TalkingPortrait:
  """The talking portrait in a file of `save`; None is the one that ships.

  Raises:
    MissingAssetError: no such file.
    InputError: a file of something else, of other conditions, or a damaged one.
  """
  from safetensors import SafetensorError, safe_open

  path = Path(path or WEIGHTS)
  if not path.is_file():
    raise MissingAssetError(f"no talking portrait at {path}: train one with configs/talking_portrait.py")
  try:
    with safe_open(path, framework="numpy") as file:
      header = file.metadata() or {}
      arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
  except (SafetensorError, OSError) as error:
    raise InputError(f"{path} is damaged or no safetensors file ({error})") from error
  if header.get("system") != "talking_portrait":
    hint = "; configs/faces.py takes stills of such networks" if header.get("format") == "jaxtalk.stylegan2" else ""
    raise InputError(f"{path} holds no talking portrait{hint}")
  names = json.loads(header["conditions"])
  if names != list(pc.NAMES):
    raise InputError(f"{path} takes {len(names)} conditions, this version has {len(pc.NAMES)}: train it again")
  mean, scale = arrays.pop("mean"), arrays.pop("scale")
  sizes = json.loads(header["net"])
  module = make_generator(resolution=sizes.pop("img_resolution"), **sizes)
  variables = with_domain(module, traverse_util.unflatten_dict(arrays, sep="/"))  # files of one domain may lack it
  _check(path, module, variables)
  return TalkingPortrait(module, variables, mean, scale, json.loads(header["facts"]))


def example_inputs(module: Generator) -> tuple[jax.Array, jax.Array, dict[int, jax.Array]]:
  """A latent, a label and maps of zeros, to make variables with."""
  sizes = [4 << i for i in range(module.img_resolution.bit_length() - 2)]
  maps = {size: jnp.zeros((1, size, size, face_maps.NUM)) for size in sizes}
  return jnp.zeros((1, pc.Z_DIM)), jnp.zeros((1, pc.C_DIM + 1)), maps


def init_generator(module: Generator, rng: jax.Array) -> Mapping[str, Any]:
  """Random variables; codes of the other domain that do nothing."""
  z, c, maps = example_inputs(module)
  return with_domain(module, module.init(rng, z, c, maps=maps))


def with_domain(module: Generator, variables: Mapping[str, Any]) -> Mapping[str, Any]:
  """Variables that have codes of the other domain: those that are there, or ones that do nothing."""
  nothing = {"codes": jnp.zeros((module.num_ws, module.w_dim))}
  return {**variables, "params": {"domain": nothing, **variables["params"]}}


def _check(path: Path, module: Generator, variables: Mapping[str, Any]) -> None:
  wanted = traverse_util.flatten_dict(jax.eval_shape(lambda: init_generator(module, jax.random.key(0))), sep="/")
  found = traverse_util.flatten_dict(dict(variables), sep="/")
  wrong = [name for name in wanted if name not in found or found[name].shape != wanted[name].shape]
  wrong += [name for name in found if name not in wanted]
  if wrong:
    raise InputError(f"{path}: its tensors do not fit its configuration: {', '.join(wrong[:3])}")

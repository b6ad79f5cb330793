"""What a face picture shows, in numbers: a small network that was taught the studio's exact labels.

It serves two ends: its predictions label the pictures of a generator, so that directions of control can be learnt and
checked, and its penultimate layer is the built-in extractor of `metrics.extractors`. Pictures must be aligned as FFHQ
is (`studio.face_crop`); any size is brought to 64 pixels.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.metrics.pictures import in_batches

SIZE, DIMS, LANDMARKS = 64, 256, 70
WEIGHTS = Path(__file__).parent / "weights" / "face_attributes.safetensors"
BATCH = 32  # pictures at a time


@dataclasses.dataclass(frozen=True)
class Attribute:
  """A number that is read off a picture: its unit, and the centre and scale by which the network sees it."""

  name: str
  unit: str
  centre: float
  scale: float


ATTRIBUTES = (
  Attribute("age", "years", 8.0, 3.0),
  Attribute("yaw", "deg, + to the subject's left", 0.0, 11.0),
  Attribute("pitch", "deg, + down", 0.0, 7.0),
  Attribute("roll", "deg, + to the subject's right", 0.0, 4.0),
  Attribute("smile", "0 to 1", 0.35, 0.35),
  Attribute("jaw_open", "0 to 1", 0.15, 0.2),
  Attribute("pucker", "0 to 1", 0.05, 0.2),
  Attribute("frown", "0 to 1", 0.05, 0.15),
  Attribute("brow_raise", "-1 (lowered) to 1", 0.1, 0.4),
  Attribute("blink", "0 (open) to 1", 0.2, 0.3),
  Attribute("eye_aspect_ratio", "height over width of the lids", 0.25, 0.1),
  Attribute("mouth_opening", "gap over the distance of the eyes", 0.1, 0.15),
  Attribute("light_azimuth", "deg, + from the right of the picture", 0.0, 36.0),
  Attribute("light_elevation", "deg", 30.0, 17.0),
  Attribute("skin", "tone, 1 (lightest) to 10", 5.0, 2.5),
  Attribute("skin_lightness", "L* of CIELAB", 65.0, 25.0),
  Attribute("hair_lightness", "L* of CIELAB", 30.0, 22.0),
  Attribute("hair_a", "a* of CIELAB", 8.0, 8.0),
  Attribute("hair_b", "b* of CIELAB", 15.0, 12.0),
  Attribute("ancestry_african", "share", 0.33, 0.35),
  Attribute("ancestry_asian", "share", 0.33, 0.35),
  Attribute("ancestry_european", "share", 0.33, 0.35),
)
HAIR_STYLES = (
  "buzz", "short", "side_part", "messy", "short_curly", "curly", "afro", "bob", "bob_bangs", "long", "ponytail",
  "pigtails", "braids", "buns",
)  # fmt: skip
LANDMARK_SCALE = 16.0  # pixels of 64 to one unit of the network's landmarks, which start in the middle


class FaceAttributesNet(nn.Module):
  """Pictures (N, 64, 64, 3) in [-1, 1] to a dict of raw outputs.

  ``features`` (N, 256) with a mean square of 1; ``numbers`` (N, A) in units of each attribute's scale around its
  centre; ``gender`` (N,) logit of boy; ``hair`` (N, 14) logits; ``landmarks`` (N, 70, 2) x and y from -1 to 1 over half
  of the picture.

  Blocks of pixels become channels, and neighbourhoods are mixed on coarse grids only, by matrix products: on a CPU a
  training step takes a third of the time that a network of strided convolutions of this size takes.

  Attributes:
    widths: channels at 16, 8 and 4 pixels.
    mixes: neighbourhood layers at each.
  """

  widths: tuple[int, ...] = (48, 96, 128)
  mixes: tuple[int, ...] = (1, 2, 1)

  @nn.compact
  def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
    for size, side, width, count in zip((16, 8, 4), (4, 2, 2), self.widths, self.mixes, strict=True):
      x = _dense(width, f"blocks_{size}")(_blocks(x, side))
      for i in range(count):
        x = x + nn.gelu(_dense(width, f"mix_{size}_{i}")(_neighbours(_normalised(x))))
    x = nn.gelu(_dense(24, "squeeze")(_normalised(x)))
    features = _normalised(nn.gelu(_dense(DIMS, "features")(x.reshape(x.shape[0], -1))))
    widths = {"numbers": len(ATTRIBUTES), "gender": 1, "hair": len(HAIR_STYLES), "landmarks": 2 * LANDMARKS}
    heads = {name: _dense(width, name, scale=0.0)(features) for name, width in widths.items()}
    return heads | {
      "features": features,
      "gender": heads["gender"][:, 0],
      "landmarks": heads["landmarks"].reshape(-1, LANDMARKS, 2),
    }


def _dense(features: int, name: str, scale: float = 1.0) -> nn.Dense:
  """``scale`` is that of the initial weights, which are uniform because normal ones take long to compile."""
  init = nn.initializers.variance_scaling(2.0 * scale**2, "fan_in", "uniform") if scale else nn.initializers.zeros
  return nn.Dense(features, kernel_init=init, name=name)


def _blocks(x: jax.Array, side: int) -> jax.Array:
  """(N, H, W, C) to (N, H / side, W / side, side * side * C)."""
  count, height, width, channels = x.shape
  x = x.reshape(count, height // side, side, width // side, side, channels)
  return jnp.moveaxis(x, 3, 2).reshape(count, height // side, width // side, -1)


def _neighbours(x: jax.Array) -> jax.Array:
  """(N, H, W, C) to (N, H, W, 9 C): every pixel and those around it, zeros outside."""
  height, width = x.shape[1:3]
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return jnp.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=-1)


def _normalised(x: jax.Array) -> jax.Array:
  """The last axis with a mean square of 1."""
  return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


def to_input(images: jax.Array) -> jax.Array:
  """(N, H, W, 3) uint8 or [0, 255] of any size to (N, 64, 64, 3) in [-1, 1]."""
  x = images.astype(jnp.float32)
  count, height, width, channels = x.shape
  if height == width and height % SIZE == 0:  # whole blocks, as the training pictures were made smaller
    x = x.reshape(count, SIZE, height // SIZE, SIZE, width // SIZE, channels).mean((2, 4))
  else:
    x = jax.image.resize(x, (count, SIZE, SIZE, channels), "linear", antialias=True)
  return x / 127.5 - 1.0


def apply(net: FaceAttributesNet, params: Mapping[str, Any], inputs: jax.Array) -> dict[str, jax.Array]:
  """The network's raw outputs for pictures (N, 64, 64, 3) in [-1, 1]."""
  return cast(dict[str, jax.Array], net.apply({"params": params}, inputs))


@functools.cache
def _forward(net: FaceAttributesNet):
  return jax.jit(lambda params, images: apply(net, params, to_input(images)))


class FaceAttributes:
  """The network with its weights; see `load_face_attributes`.

  Attributes:
    digest: sha256 of the weights file.
  """

  def __init__(self, params: Mapping[str, Any], net: FaceAttributesNet, digest: str):
    self.digest = digest
    self._params, self._forward = params, _forward(net)

  def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Attributes (N,) float32 of (N, H, W, 3) uint8 aligned pictures.

    The names and units of ``ATTRIBUTES`` (a little outside of their ranges at times), ``gender``, the probability of a
    boy, and ``hair_<style>``, the probability of each of ``HAIR_STYLES``.
    """
    raw = in_batches(self._outputs, images, BATCH)
    numbers, gender, hair = np.split(raw, [len(ATTRIBUTES), len(ATTRIBUTES) + 1], axis=1)
    out = {a.name: numbers[:, i] * a.scale + a.centre for i, a in enumerate(ATTRIBUTES)}
    out["gender"] = 1.0 / (1.0 + np.exp(-gender[:, 0]))
    odds = np.exp(hair - hair.max(axis=1, keepdims=True))
    styles = odds / odds.sum(axis=1, keepdims=True)
    return out | {f"hair_{style}": styles[:, i] for i, style in enumerate(HAIR_STYLES)}

  def features(self, images: np.ndarray) -> np.ndarray:
    """(N, 256) float32 of (N, H, W, 3) uint8 pictures, for distances between sets of pictures."""
    return in_batches(lambda batch: self._forward(self._params, batch)["features"], images, BATCH)

  def landmarks(self, images: np.ndarray) -> np.ndarray:
    """(N, 70, 2) float32 x and y in pixels of (N, H, W, 3) uint8 aligned pictures."""
    points = in_batches(lambda batch: self._forward(self._params, batch)["landmarks"], images, BATCH)
    scale = np.array([images.shape[2], images.shape[1]], np.float32) / SIZE
    return (points * LANDMARK_SCALE + SIZE / 2) * scale - 0.5

  def _outputs(self, batch: np.ndarray) -> np.ndarray:
    raw = self._forward(self._params, batch)
    return np.concatenate([raw["numbers"], raw["gender"][:, None], raw["hair"]], axis=1)


def save_weights(path: Path, params: Mapping[str, Any], net: FaceAttributesNet, facts: Mapping[str, Any]) -> None:
  """Writes parameters as float16 safetensors with the network's sizes and ``facts`` (JSON) in the header."""
  from safetensors.numpy import save_file

  arrays = {name: np.asarray(x, np.float16) for name, x in traverse_util.flatten_dict(dict(params), sep="/").items()}
  metadata = {"system": "face_attributes", "net": json.dumps(_description(net)), "facts": json.dumps(dict(facts))}
  path.parent.mkdir(parents=True, exist_ok=True)
  save_file(arrays, path, metadata=metadata)


def load_face_attributes(path: Path | None = None) -> FaceAttributes:
  """The network that ships, or one from a file of `save_weights`.

  Raises:
    MissingAssetError: the file is not there, or holds another network.
    InputError: it is no safetensors file.
  """
  from safetensors import SafetensorError, safe_open

  path = path or WEIGHTS
  if not path.is_file():
    raise MissingAssetError(f"no face-attribute weights at {path}: train them with configs/face_attributes.py")
  try:
    with safe_open(path, framework="numpy") as file:
      description = json.loads((file.metadata() or {}).get("net", "{}"))
      arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
  except SafetensorError as error:
    raise InputError(f"{path} is not a safetensors file: {error}") from error
  net = FaceAttributesNet(widths=tuple(description.get("widths", ())), mixes=tuple(description.get("mixes", ())))
  if description != _description(net) or (len(net.widths), len(net.mixes)) != (3, 3):
    raise MissingAssetError(f"{path} does not hold weights of this face-attribute network: train it again")
  params = traverse_util.unflatten_dict(arrays, sep="/")
  return FaceAttributes(params, net, hashlib.sha256(path.read_bytes()).hexdigest())


def _description(net: FaceAttributesNet) -> dict[str, Any]:
  """What must be equal for weights to mean the same."""
  attributes = [[a.name, a.centre, a.scale] for a in ATTRIBUTES]
  return {"widths": list(net.widths), "mixes": list(net.mixes), "attributes": attributes, "hair": list(HAIR_STYLES)}

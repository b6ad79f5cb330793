"""Networks that turn pictures into features, behind one interface."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.metrics import inception
from jaxtalk.metrics.pictures import in_batches

Arrays = Mapping[str, Any]


class Extractor(Protocol):
  """Features of pictures.

  Attributes:
    name: goes into the names of figures, "FD-<name>".
    resolution: pixels that pictures of any size are brought to.
    dims: width of the features.
    digest: sha256 of the weights; kept features are found by it.
  """

  name: str
  resolution: int
  dims: int
  digest: str

  def features(self, images: np.ndarray) -> np.ndarray:
    """(N, dims) float32 of (N, H, W, 3) uint8 pictures; one channel counts as grey."""
    ...

  def probabilities(self, features: np.ndarray) -> np.ndarray | None:
    """Class probabilities (N, K) for the inception score; None for a network that knows no classes."""
    ...


class InceptionExtractor:
  """Inception-v3 of 2015 with the user's weights: what FID is defined with.

  Args:
    path: a file written by ``python -m jaxtalk.metrics.inception convert``.
    batch_size: pictures at a time.

  Raises:
    MissingAssetError: there is no such file.
    InputError: it holds something else.
  """

  name, resolution, dims = "inception", inception.SIZE, inception.DIMS

  def __init__(self, path: Path, batch_size: int = 32):
    arrays, self.digest = read_weights(path, "Inception weights", "python -m jaxtalk.metrics.inception convert")
    arrays = inception.check_arrays(arrays, str(path))
    self._classes = arrays.pop("output/kernel")
    self._params: dict[str, dict[str, np.ndarray]] = {}
    for name, x in arrays.items():
      layer, _, part = name.partition("/")
      self._params.setdefault(layer, {})[part] = x
    self._batch_size = batch_size

  def features(self, images: np.ndarray) -> np.ndarray:
    """(N, 2048) float32."""
    return in_batches(functools.partial(_inception, self._params), images, self._batch_size)

  def probabilities(self, features: np.ndarray) -> np.ndarray:
    """(N, 1008) of 2048 features, without the output's bias, as the inception score has been computed since 2016."""
    logits = np.asarray(features, np.float64) @ self._classes
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@jax.jit
def _inception(params: Arrays, images: jax.Array) -> jax.Array:
  x = (inception.resize(images.astype(jnp.float32)) - 128.0) / 128.0
  return jnp.asarray(inception.Inception().apply({"params": params}, x))


class FaceAttributesExtractor:
  """The built-in network, which was taught synthetic faces; see jaxtalk/systems/weights/face_attributes.md."""

  name = "face_attributes"

  def __init__(self) -> None:
    from jaxtalk.systems import face_attributes

    self._model = face_attributes.load_face_attributes()
    self.resolution, self.dims, self.digest = face_attributes.SIZE, face_attributes.DIMS, self._model.digest

  def features(self, images: np.ndarray) -> np.ndarray:
    """(N, 256) float32."""
    return self._model.features(images)

  def probabilities(self, features: np.ndarray) -> None:
    """None: it measures, it does not sort."""
    return None


def make_extractor(name: str) -> Extractor:
  """``face_attributes``, or the path of a file of Inception weights (``.safetensors``)."""
  if name == "face_attributes":
    return FaceAttributesExtractor()
  if name.endswith(".safetensors"):
    return InceptionExtractor(Path(name))
  raise InputError(f"unknown extractor {name!r}: face_attributes, or the path of converted Inception weights")


def read_weights(path: Path, what: str, remedy: str) -> tuple[dict[str, np.ndarray], str]:
  """Float32 arrays of a safetensors file, and the sha256 of its bytes.

  Raises:
    MissingAssetError: there is no such file; the message says ``what`` is missing and names the ``remedy``.
    InputError: it is something else.
  """
  from safetensors import SafetensorError
  from safetensors.numpy import load

  if not path.is_file():
    raise MissingAssetError(f"no {what} at {path}: make them with {remedy}")
  data = path.read_bytes()
  try:
    arrays = load(data)
  except SafetensorError as error:
    raise InputError(f"{path} is not a safetensors file: {error}") from error
  return {name: x.astype(np.float32) for name, x in arrays.items()}, hashlib.sha256(data).hexdigest()

"""Sampled latent codes with labels that an attribute model read off their pictures.

The model is anything with ``predict(images) -> {name: values}``: the built-in one, taught by the studio's exact labels,
or a user's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2.directions import Origin


class Labeller(Protocol):
  """An attribute model: (N, H, W, C) uint8 pictures to name -> (N,) values."""

  def predict(self, images: np.ndarray) -> Mapping[str, np.ndarray]: ...


class Pictures(Protocol):
  """What directions and sweeps ask of a network; `runner.Runner` is one, and anything else that draws."""

  name: str
  sha256: str
  z_dim: int
  c_dim: int
  num_ws: int

  def mapping(self, z: np.ndarray, c: np.ndarray | None = None, psi: float = 1.0) -> np.ndarray: ...

  def images(self, ws: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class NamedLabeller:
  """A labeller, its name, and a digest of what it was made from."""

  model: Labeller
  name: str
  sha256: str

  def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """name -> (N,) float64; InputError unless every attribute has a finite value for every picture."""
    out = {name: np.asarray(values, np.float64) for name, values in self.model.predict(images).items()}
    bad = [name for name, values in out.items() if values.shape != (len(images),) or not np.isfinite(values).all()]
    if bad or not out:
      raise InputError(f"labeller {self.name}: no finite value a picture for {', '.join(bad) or 'any attribute'}")
    return out


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledLatents:
  """Sampled codes and what the labeller sees in their pictures.

  Attributes:
    w: (N, w_dim) float32, not truncated.
    labels: name -> (N,) float64.
    classes: (N,) class index of a conditional network, else zeros.
    num_ws: codes of the network.
    network: SHA-256 of its parameters.
    seed: of the sampler.
    labeller, labeller_sha256: who labelled.
  """

  w: np.ndarray
  labels: Mapping[str, np.ndarray]
  classes: np.ndarray
  num_ws: int
  network: str
  seed: int
  labeller: str
  labeller_sha256: str

  def label(self, name: str) -> np.ndarray:
    """(N,) values of an attribute; InputError names those there are."""
    if name not in self.labels:
      raise InputError(f"no attribute {name!r}: labeller {self.labeller} gives {', '.join(sorted(self.labels))}")
    return self.labels[name]

  def within_classes(self, values: np.ndarray) -> np.ndarray:
    """(N, ...) float64 less the mean of its class: what differs between classes is not what varies within one."""
    out = np.array(values, np.float64)
    for index in np.unique(self.classes):
      out[self.classes == index] -= out[self.classes == index].mean(0)
    return out

  def origin(self, method: str, conditions: Sequence[str], figures: Mapping[str, float]) -> Origin:
    """The record of a direction learnt from these."""
    return Origin(
      method=method,
      network=self.network,
      seed=self.seed,
      count=len(self.w),
      labeller=self.labeller,
      labeller_sha256=self.labeller_sha256,
      conditions=tuple(conditions),
      figures={name: float(value) for name, value in figures.items()},
    )


def load_labeller(text: str = "") -> NamedLabeller:
  """The built-in attribute network (""), or a user's own: ``package.module:name`` or ``file.py:name``.

  ``name`` is a function of pictures, an object with ``predict``, or a class of such objects that needs no arguments.
  """
  if not text:
    from jaxtalk.systems.face_attributes import load_face_attributes

    own = load_face_attributes()
    return NamedLabeller(own, "face_attributes", own.digest)
  model, source = load_object(text, "labeller")
  if not hasattr(model, "predict"):
    if not callable(model):
      raise InputError(f"labeller {text!r} is neither a function of pictures nor an object with predict(images)")
    model = _Function(model)
  return NamedLabeller(model, text, _file_digest(source) if source else "")


def load_object(text: str, what: str) -> tuple[Any, Path | None]:
  """A user's own object, ``package.module:name`` or ``file.py:name``, and its source file; a class is called.

  Raises:
    MissingAssetError: no such file or module; ``what`` is the object's name in the message.
    InputError: nothing of that name in it.
  """
  path, _, name = text.rpartition(":")
  module = _import(path, f"{what} {text!r}")
  found = getattr(module, name, None)
  if found is None:
    raise InputError(f"{what} {text!r}: {path} has no {name!r}")
  source = getattr(module, "__file__", None)
  return (found() if inspect.isclass(found) else found), Path(source) if source else None


def one_hot(classes: np.ndarray, c_dim: int) -> np.ndarray | None:
  """(N, c_dim) float32, or None without classes."""
  return np.eye(c_dim, dtype=np.float32)[np.asarray(classes)] if c_dim else None


def codes(network: Pictures, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Random codes, not truncated, a few hundred at a time: ws (n, num_ws, w_dim) and classes (n,), which go by turns."""
  rng = np.random.default_rng(seed)
  for start in range(0, count, 256):
    n = min(256, count - start)
    classes = (start + np.arange(n)) % max(network.c_dim, 1)
    z = rng.standard_normal((n, network.z_dim)).astype(np.float32)
    yield network.mapping(z, one_hot(classes, network.c_dim)), classes


def label_latents(
  network: Pictures,
  labeller: NamedLabeller,
  *,
  count: int,
  seed: int,
  progress: Callable[[int], None] = lambda done: None,
) -> LabelledLatents:
  """Samples ``count`` codes, draws their pictures and has them labelled; ``progress`` hears how many are done."""
  if count < 1:
    raise InputError(f"{count} latents to label: at least 1")
  w, classes, labels = [], [], []
  for ws, which in codes(network, count, seed):
    labels.append(labeller.predict(network.images(ws)))
    w.append(ws[:, 0])
    classes.append(which)
    progress(sum(len(part) for part in w))
  return LabelledLatents(
    w=np.concatenate(w),
    labels={name: np.concatenate([part[name] for part in labels]) for name in labels[0]},
    classes=np.concatenate(classes),
    num_ws=network.num_ws,
    network=network.sha256,
    seed=seed,
    labeller=labeller.name,
    labeller_sha256=labeller.sha256,
  )


class _Function:
  """A plain function as a labeller."""

  def __init__(self, function: Any):
    self.predict = function


def _import(path: str, what: str) -> Any:
  try:
    if not path.endswith(".py"):
      return importlib.import_module(path)
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
      raise MissingAssetError(f"{what}: no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
  except (ModuleNotFoundError, ValueError) as error:
    raise MissingAssetError(f"{what}: write package.module:name or file.py:name ({error})") from error


def _file_digest(path: Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()

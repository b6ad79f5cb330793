"""Directions of a generator's latent space: what they are, how they are applied, kept and found without labels.

A direction lives in W (one unit vector, added to the codes of some layers) or in StyleSpace (one unit vector over the
style channels of some layers, Wu et al. 2020). It remembers the network it was learnt from and refuses others.
Found without labels: SeFa (Shen & Zhou 2021), GANSpace (Härkönen et al. 2020). With labels: `labelled`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.core import InputError, MissingAssetError

_FORMAT = "jaxtalk.direction/1"
_RANGES = {"all": (0, None), "coarse": (0, 4), "middle": (4, 8), "fine": (8, None)}  # 4-8, 16-32 and 64- pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """What a direction was learnt from.

  Attributes:
    method: "sefa", "ganspace", "boundary", "ridge", "channel" or a user's own word.
    network: SHA-256 of the generator's parameters (`runner.network_digest`).
    seed, count: of the sampled latents; count 0 means that none were needed.
    labeller, labeller_sha256: name and digest of the attribute model; "" without labels.
    conditions: names of the attributes that the direction was made to leave alone.
    figures: measured facts, e.g. validation accuracy, R^2, eigenvalue.
  """

  method: str
  network: str
  seed: int = 0
  count: int = 0
  labeller: str = ""
  labeller_sha256: str = ""
  conditions: tuple[str, ...] = ()
  figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
  """A direction; ``alpha`` of an edit counts ``scale`` latent units along ``vector``.

  Attributes:
    name: e.g. "age".
    space: "w" or "s".
    vector: unit length, float32. "w": (w_dim,). "s": (sum of widths,), the layers one after the other.
    layers: "w": indices of the codes that move, ascending. "s": names of style layers, e.g. "b8.conv0".
    widths: "s": channels of each layer; empty in "w".
    num_ws: number of codes of the network; 0 in "s".
    scale: latent units of alpha 1, usually one standard deviation.
    origin: what it was learnt from.
  """

  name: str
  space: str
  vector: np.ndarray
  layers: tuple[int, ...] | tuple[str, ...]
  widths: tuple[int, ...] = ()
  num_ws: int = 0
  scale: float = 1.0
  origin: Origin

  def __post_init__(self):
    length = sum(self.widths) if self.space == "s" else len(self.vector)
    if self.space not in ("w", "s") or self.vector.shape != (length,) or not self.layers:
      raise InputError(f"direction {self.name!r}: a vector {self.vector.shape} does not fit space {self.space!r}")
    if self.space == "w" and not all(0 <= i < self.num_ws for i in self.indices):
      raise InputError(f"direction {self.name!r}: layers {self.layers} are not all among {self.num_ws} codes")
    if not np.isfinite(self.vector).all() or not abs(np.linalg.norm(self.vector) - 1) < 1e-3:
      raise InputError(f"direction {self.name!r}: the vector is not of unit length")

  @property
  def indices(self) -> list[int]:
    """The codes that move, of a direction in W."""
    return [int(i) for i in self.layers]


def unit(vector: np.ndarray) -> np.ndarray:
  """float32 of length 1; InputError for zero or NaN."""
  length = np.linalg.norm(np.asarray(vector, np.float64))
  if not np.isfinite(length) or length < 1e-12:
    raise InputError("a direction of length zero (or NaN): nothing distinguishes its samples")
  return (np.asarray(vector, np.float64) / length).astype(np.float32)


def layer_range(text: str, num_ws: int) -> tuple[int, ...]:
  """Code indices of "all", "coarse" (4-8 pixels), "middle" (16-32), "fine" (64 and up), "4-7", "8-" or "3"."""
  first, last = _RANGES.get(text, (None, None))
  if first is None:
    low, dash, high = text.partition("-")
    if not low.isdigit() or not (high.isdigit() or not high):
      raise InputError(f"layers {text!r}: write all, coarse, middle, fine, or indices such as 4-7, 8- or 3")
    first, last = int(low), int(high) + 1 if high else (None if dash else int(low) + 1)
  layers = tuple(range(num_ws))[first:last]
  if not layers or (last or 0) > num_ws and text not in _RANGES:
    raise InputError(f"layers {text!r}: the network has codes 0-{num_ws - 1}")
  return layers


def apply(codes: Any, direction: Direction, alpha: float | np.ndarray) -> Any:
  """Moves codes along a direction by ``alpha * scale``.

  Args:
    codes: "w": ws (N, num_ws, w_dim). "s": mapping of style layer name -> (N, channels).
    alpha: one number, or (N,).

  Returns:
    A moved copy of the same form, float32; layers that the direction does not name are the same.

  Raises:
    InputError: the codes are not of the direction's shape.
  """
  step = np.asarray(alpha, np.float32).reshape(-1, 1) * np.float32(direction.scale)
  if direction.space == "w":
    ws = np.array(codes, np.float32)
    if ws.ndim != 3 or ws.shape[1:] != (direction.num_ws, len(direction.vector)):
      wanted = f"(N, {direction.num_ws}, {len(direction.vector)})"
      raise InputError(f"direction {direction.name!r} moves codes {wanted}, not {ws.shape}: learn it on this network")
    ws[:, direction.indices] += (step * direction.vector[None])[:, None]
    return ws
  moved = dict(codes)
  parts = np.split(direction.vector, np.cumsum(direction.widths)[:-1])
  for name, width, part in zip(direction.layers, direction.widths, parts, strict=True):
    if name not in moved or np.shape(moved[name])[1:] != (width,):
      raise InputError(f"direction {direction.name!r} moves {width} channels of style layer {name!r}: not there")
    moved[name] = np.asarray(moved[name], np.float32) + step * part[None]
  return moved


def set_distance(ws: np.ndarray, direction: Direction, distance: float) -> np.ndarray:
  """InterFaceGAN's other edit: puts every code that moves at ``distance`` (latent units) from the plane n.w = 0."""
  there = np.asarray(ws)[:, direction.indices] @ direction.vector
  moved = np.array(ws, np.float32)
  moved[:, direction.indices] += (distance - there)[..., None] * direction.vector[None, None]
  return moved


def orthogonalise(vector: np.ndarray, others: Sequence[np.ndarray], covariance: np.ndarray | None = None) -> np.ndarray:
  """A unit step along which ``vector . w`` grows and every ``other . w`` stays.

  Without ``covariance``: the vector less its projection on the span of the others (InterFaceGAN's conditional edit, for
  any number of conditions, by their Gram system). With the (D, D) covariance of the latents: of all steps that do so,
  the one that stays most plausible (least Mahalanobis length): ``C (v - M (M' C M)^-1 M' C v)``.

  Raises:
    InputError: nothing is left, because the vector lies in the span of the others.
  """
  v = np.asarray(vector, np.float64)
  metric = np.eye(len(v)) if covariance is None else np.asarray(covariance, np.float64)
  rest = v
  if len(others):
    m = np.stack([unit(o).astype(np.float64) for o in others], axis=1)
    gram = m.T @ metric @ m
    rest = v - m @ (np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ (m.T @ metric @ v))
  if v @ metric @ v <= 0 or rest @ metric @ rest < 1e-10 * (v @ metric @ v):
    raise InputError("nothing is left of a direction after its conditions: drop the condition that says the same")
  return unit(metric @ rest)


def sefa(affines: Sequence[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
  """Closed-form directions that change the styles of some layers most (Shen & Zhou 2021).

  Args:
    affines: weights (w_dim, channels) of the chosen layers' style affines; every channel counts alike (unit length).
    count: how many directions.

  Returns:
    (count, w_dim) unit directions by decreasing eigenvalue, each with its largest entry positive, and the eigenvalues.
  """
  weights = np.concatenate([np.asarray(a, np.float64) for a in affines], axis=1)
  weights = weights / np.maximum(np.linalg.norm(weights, axis=0, keepdims=True), 1e-300)
  return _leading(weights @ weights.T, count)


def ganspace(batches: Iterable[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
  """Principal components of many w codes (Härkönen et al. 2020), from exact running sums: any number of batches fits.

  Args:
    batches: arrays (n, w_dim).
    count: how many components.

  Returns:
    (count, w_dim) unit directions by decreasing variance, sign as in `sefa`; their standard deviations (count,); the
    mean (w_dim,); and how many codes there were.
  """
  arrays = (np.asarray(batch, np.float64) for batch in batches)
  first = next(arrays, np.zeros((0, 0)))
  shift = first.mean(0) if len(first) else 0.0  # sums about a point near the mean lose no digits
  total, outer, n = np.zeros(first.shape[1]), np.zeros((first.shape[1],) * 2), 0
  for w in itertools.chain([first], arrays):
    total, outer, n = total + (w - shift).sum(0), outer + (w - shift).T @ (w - shift), n + len(w)
  if n < 2:
    raise InputError("principal components need at least two codes")
  mean = total / n
  vectors, variances = _leading((outer - n * np.outer(mean, mean)) / (n - 1), count)
  return vectors, np.sqrt(np.maximum(variances, 0.0)), mean + shift, n


def save(path: Path, direction: Direction) -> None:
  """Writes one direction as safetensors with its facts as JSON in the header."""
  from safetensors.numpy import save_file

  facts = dataclasses.asdict(direction) | {"format": _FORMAT}
  del facts["vector"]
  path.parent.mkdir(parents=True, exist_ok=True)
  metadata = {"direction": json.dumps(facts, sort_keys=True)}  # one entry: the order of several is not fixed
  save_file({"vector": np.ascontiguousarray(direction.vector, np.float32)}, path, metadata=metadata)


def load(path: Path, network: str | None = None) -> Direction:
  """Reads a direction of `save`.

  Args:
    path: the file.
    network: SHA-256 of the network it is meant for; None takes any (for networks fine-tuned from the same one).

  Raises:
    MissingAssetError: no such file.
    InputError: not a direction, or learnt from another network.
  """
  from safetensors import SafetensorError, safe_open

  if not path.is_file():
    raise MissingAssetError(f"no direction at {path}: learn it with python -m jaxtalk.stylegan2.learn")
  try:
    with safe_open(path, framework="numpy") as file:
      facts = json.loads((file.metadata() or {}).get("direction", "{}"))
      vector = file.get_tensor("vector") if facts.get("format") == _FORMAT else None
  except (SafetensorError, json.JSONDecodeError) as error:
    raise InputError(f"{path} is not a direction file: {error}") from error
  if vector is None:
    raise InputError(f"{path} is not a direction file: it has no {_FORMAT} header")
  try:
    origin = facts.pop("origin")
    origin = Origin(**origin | {"conditions": tuple(origin["conditions"])})
    facts.pop("format")
    facts |= {"layers": tuple(facts["layers"]), "widths": tuple(facts["widths"])}
    direction = Direction(**facts, vector=vector, origin=origin)
  except (KeyError, TypeError, ValueError) as error:  # Direction's own InputError is a ValueError
    raise InputError(f"{path} is a damaged direction file: {error}") from error
  if network is not None and origin.network != network:
    raise InputError(
      f"{path} was learnt from network {origin.network[:12]}, not {network[:12]}: learn it anew for this one"
    )
  return direction


def _leading(symmetric: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Leading eigenvectors as rows, sign fixed, and their eigenvalues."""
  if not 1 <= count <= len(symmetric):
    raise InputError(f"{count} directions of a {len(symmetric)}-dimensional space: choose 1 to {len(symmetric)}")
  values, vectors = np.linalg.eigh(symmetric)
  rows = vectors[:, ::-1][:, :count].T
  largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], axis=1)
  return (rows * np.sign(largest)).astype(np.float32), values[::-1][:count]

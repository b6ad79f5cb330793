"""Portraits with one thing changed in even steps, ready to be written with their labels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxtalk.stylegan2 import directions, sweep
from jaxtalk.stylegan2.directions import Direction
from jaxtalk.stylegan2.faces_plan import Row
from jaxtalk.stylegan2.factors import Factor
from jaxtalk.stylegan2.latents import NamedLabeller, Pictures
from jaxtalk.stylegan2.runner import latent
from jaxtalk.stylegan2.sample import Subject

_ROUNDS = 5  # of corrections where two things move together
Embedding = Callable[[np.ndarray], np.ndarray]  # (N, H, W, C) uint8 to (N, D)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
  """A factor, the direction that moves it, and the direction's file in the folder of stills with its SHA-256."""

  factor: Factor
  direction: Direction
  file: str
  sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
  """One portrait in all steps of a row: pictures (steps, H, W, C) uint8 and what each line of the index says."""

  subject: Subject
  images: np.ndarray
  facts: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Artist:
  """Draws rows of one network's portraits; ``identity`` is a user's embedding, if there is one."""

  network: Pictures
  labeller: NamedLabeller
  identity: Embedding | None = None

  def draw(self, row: Row, edits: Sequence[Edit], subjects: Sequence[Subject], ws: np.ndarray) -> list[Series]:
    """Series of portraits with codes ``ws`` (N, num_ws, w_dim), but for those that do not move along a direction."""
    moving, alphas, targets = self._solve(edits, subjects, ws)
    if not moving:
      return []
    moved = _moved(edits, ws[moving], alphas)
    images = self.network.images(moved)
    labels = self.labeller.predict(images)
    seen = _seen(edits, labels, row.steps)
    cosines = self._cosines(ws[moving], images) if edits else None

    def facts(k: int, step: int) -> dict[str, Any]:
      at = k * row.steps + step
      return {
        **self._who(subjects[moving[k]]),
        "factor": row.name,
        "step": step,
        "steps": row.steps,
        "edits": [
          _edit_facts(edit, alphas[n, k, step], targets[n, k, step], seen[n][k, step]) for n, edit in enumerate(edits)
        ],
        "measured": {name: round(float(values[at]), 6) for name, values in labels.items()},
        "identity_cosine": None if cosines is None else round(float(cosines[at]), 6),
        "w_sha256": _digest(moved[at]),
      }

    return [
      Series(
        subject=subjects[i],
        images=images[k * row.steps : (k + 1) * row.steps],
        facts=tuple(facts(k, step) for step in range(row.steps)),
      )
      for k, i in enumerate(moving)
    ]

  def _solve(
    self, edits: Sequence[Edit], subjects: Sequence[Subject], ws: np.ndarray
  ) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Which portraits move along all directions, and their alphas and targets (edits, portraits, steps).

    Alphas are rounded before they are used: the label is the edit itself, not nearly.
    """
    solved = [sweep.calibrate(self.network, self.labeller, e.direction, e.factor, ws) for e in edits]
    moving = [i for i in range(len(ws)) if all(i in one for one in solved)]
    both = np.array(
      [[[_in_order(subjects[i].seed, n, x) for x in one[i]] for i in moving] for n, one in enumerate(solved)]
    )
    if not both.size:
      return moving, np.zeros((0, len(moving), 1)), np.zeros((0, len(moving), 1))
    alphas, targets = both[:, :, 0], both[:, :, 1]
    if len(edits) > 1:
      alphas = self._settle(edits, ws[moving], alphas, targets)
    return moving, np.round(alphas, 6), targets

  def _settle(self, edits: Sequence[Edit], ws: np.ndarray, alphas: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Corrects edits that are made together for what each does to the other; of all rounds, each still's best.

    Each alpha goes by its own mean slope towards its target, no further than sweeps go.
    """
    reach = np.array([min(sweep.GRID[-1], sweep.REACH / e.direction.origin.figures["deviations"]) for e in edits])
    spans = np.maximum(np.ptp(targets, axis=-1, keepdims=True), 1e-9)
    slopes = np.ptp(alphas, axis=-1, keepdims=True) / spans
    best, least = alphas, np.full(alphas.shape[1:], np.inf)
    for _ in range(_ROUNDS):
      images = self.network.images(_moved(edits, ws, alphas))
      missing = targets - np.array(_seen(edits, self.labeller.predict(images), alphas.shape[-1]))
      error = np.abs(missing / spans).max(0)
      best, least = np.where(error < least, alphas, best), np.minimum(error, least)
      alphas = np.clip(alphas + slopes * missing, -reach[:, None, None], reach[:, None, None])
    return best

  def _who(self, subject: Subject) -> dict[str, Any]:
    who: dict[str, Any] = {"subject": subject.index, "seed": subject.seed, "gender": subject.gender or None}
    who["class"] = subject.label if self.network.c_dim else None
    return who | {"z_sha256": _digest(latent(subject.seed, self.network.z_dim))}

  def _cosines(self, ws: np.ndarray, images: np.ndarray) -> np.ndarray | None:
    """(N * steps,) cosine of each picture's embedding with that of its portrait before the edit."""
    if self.identity is None:
      return None
    base, edited = (np.asarray(self.identity(x), np.float64) for x in (self.network.images(ws), images))
    base = np.repeat(base, len(images) // len(ws), axis=0)
    lengths = np.linalg.norm(base, axis=1) * np.linalg.norm(edited, axis=1)
    return (base * edited).sum(1) / np.maximum(lengths, 1e-12)


def _moved(edits: Sequence[Edit], ws: np.ndarray, alphas: np.ndarray) -> np.ndarray:
  """Codes (N * steps, num_ws, w_dim) of portraits (N, ...) after all edits, ``alphas`` (edits, N, steps)."""
  moved = np.repeat(ws, alphas.shape[-1], axis=0)
  for edit, alpha in zip(edits, alphas, strict=True):
    moved = directions.apply(moved, edit.direction, alpha.reshape(-1))
  return moved


def _seen(edits: Sequence[Edit], labels: Mapping[str, np.ndarray], steps: int) -> list[np.ndarray]:
  """What the labeller sees of every factor, (N, steps) each."""
  return [e.factor.score(labels, e.direction.origin.figures).reshape(-1, steps) for e in edits]


def _in_order(seed: int, place: int, values: np.ndarray) -> np.ndarray:
  """Of things that move together, the first goes up step by step and the next in an order of the portrait's own."""
  return values if not place else values[np.random.default_rng([seed, place]).permutation(len(values))]


def _edit_facts(edit: Edit, alpha: float, target: float, measured: float) -> dict[str, Any]:
  """Requested and measured are in the attribute's own unit, or of a sum in standard deviations of the samples."""
  weights = edit.factor.weights
  sign = next(iter(weights.values())) if len(weights) == 1 else 1.0
  return {
    "factor": edit.factor.name,
    "quantity": " + ".join(weights) + ("" if len(weights) == 1 else " in standard deviations"),
    "requested": round(float(target * sign), 6),
    "measured": round(float(measured * sign), 6),
    "alpha": float(alpha),
    "latent_distance": round(float(alpha * edit.direction.scale), 6),
    "direction": edit.file,
    "direction_sha256": edit.sha256,
  }


def _digest(array: np.ndarray) -> str:
  return hashlib.sha256(np.ascontiguousarray(array, np.float32).tobytes()).hexdigest()

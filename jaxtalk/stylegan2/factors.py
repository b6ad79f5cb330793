"""The factors of a sweep, in the step counts of Synthetic Speaking Children (Farooq et al. 2023), and their alphas.

A factor is one attribute of the labeller, or a weighted sum of several (expressions). Its direction holds the other
attributes still. Alphas are found per portrait: the attribute is measured along the direction, the curve is made
monotone, and turned round, so that what the labeller sees moves in even steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import optimize

from jaxtalk.cli import nearest
from jaxtalk.core import InputError
from jaxtalk.stylegan2 import labelled
from jaxtalk.stylegan2.directions import Direction, layer_range
from jaxtalk.stylegan2.latents import LabelledLatents

# What every direction holds still, unless its factor is made of it or says that it comes along.
HELD = (
  "age", "gender", "yaw", "pitch", "roll", "smile", "jaw_open", "frown", "brow_raise", "blink", "light_azimuth",
  "light_elevation", "skin_lightness", "hair_lightness",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factor:
  """One row of the table.

  Attributes:
    name: as asked for.
    weights: attribute -> weight in its standard deviations; a single attribute keeps its own unit, and -1 turns it.
    steps: pictures a portrait.
    span: quantiles of the labelled pictures between which the steps lie.
    free: attributes that may come along, because they are the same thing seen otherwise.
    layers: which codes move.
  """

  name: str
  weights: Mapping[str, float]
  steps: int
  span: tuple[float, float] = (0.05, 0.95)
  free: tuple[str, ...] = ()
  layers: str = "all"

  def score(self, labels: Mapping[str, np.ndarray], figures: Mapping[str, float]) -> np.ndarray:
    """(N,) values of the factor: its attribute, or the weighted sum in standard deviations of the labelled set."""
    if len(self.weights) == 1:
      ((name, weight),) = self.weights.items()
      return weight * np.asarray(labels[name], np.float64)
    return sum(
      (weight * (np.asarray(labels[name], np.float64) - figures[f"mean {name}"]) / figures[f"std {name}"]
      for name, weight in self.weights.items()), start=np.zeros(1),
    )  # fmt: skip


_MOUTH = ("mouth_opening", "jaw_open", "pucker")
FACTORS = (
  Factor(name="age", weights={"age": 1}, steps=8),
  Factor(name="happy", weights={"smile": 1}, steps=6, free=("jaw_open", "mouth_opening")),
  Factor(name="sad", weights={"frown": 1}, steps=6),
  Factor(name="angry", weights={"brow_raise": -1}, steps=6),
  Factor(name="surprise", weights={"brow_raise": 1, "jaw_open": 1}, steps=6, free=_MOUTH),
  Factor(name="blink", weights={"blink": 1}, steps=6, span=(0.05, 0.99), free=("eye_aspect_ratio",)),
  Factor(name="yaw", weights={"yaw": 1}, steps=8),
  Factor(name="pitch", weights={"pitch": 1}, steps=7),
  Factor(name="light_side", weights={"light_azimuth": 1}, steps=2),
  Factor(name="light_height", weights={"light_elevation": 1}, steps=2),
  Factor(name="skin", weights={"skin_lightness": 1}, steps=6),
  Factor(name="hair", weights={"hair_lightness": 1}, steps=6),
)
GROUPS = {"light": ("light_side", "light_height"), "expression": ("happy", "sad", "angry", "surprise")}


def chosen(text: str) -> list[Factor]:
  """The factors of a list such as "age,expression,light"; "" is all. InputError names what there is."""
  known = {factor.name: factor for factor in FACTORS}
  names = [name.strip() for name in text.split(",") if name.strip()] or list(known)
  out: dict[str, Factor] = {}
  for name in names:
    for member in GROUPS.get(name, (name,)):
      if member not in known:
        there = [*known, *GROUPS]
        raise InputError(f"no factor {member!r}{nearest(member, there)}: there are {', '.join(there)}")
      out[member] = known[member]
  return list(out.values())


def learn(latents: LabelledLatents, factor: Factor, *, strength: float = 1e-2) -> Direction:
  """The direction of a factor, with the range of its steps ("low", "high") and its units among its figures."""
  figures = scale(latents, factor)
  hold = [n for n in HELD if n in latents.labels and n not in factor.weights and n not in factor.free]
  hold = [n for n in hold if latents.within_classes(latents.label(n)).std() > 0]
  direction = labelled.regression(
    latents,
    factor.weights,
    name=factor.name,
    hold=hold,
    strength=strength,
    layers=layer_range(factor.layers, latents.num_ws),
  )
  figures |= direction.origin.figures
  return dataclasses.replace(direction, origin=dataclasses.replace(direction.origin, figures=figures))


def scale(latents: LabelledLatents, factor: Factor) -> dict[str, float]:
  """The range of a factor's steps ("low", "high") and its units ("mean ...", "std ..."), from labelled pictures."""
  figures: dict[str, float] = {}
  for name in factor.weights:
    values = latents.label(name)
    figures |= {f"mean {name}": float(values.mean()), f"std {name}": float(values.std())}
  low, high = np.quantile(factor.score(latents.labels, figures), factor.span)
  return figures | {"low": float(low), "high": float(high)}


class Unmoved(InputError):
  """An attribute of a portrait that does not rise along its direction."""


def solve(
  grid: np.ndarray, response: np.ndarray, low: float, high: float, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Alphas at which one portrait's attribute goes evenly from ``low`` to ``high``, as far as it gets.

  Args:
    grid: (G,) ascending alphas that were tried.
    response: (G,) what was measured there; small wiggles are smoothed away by the nearest rising curve.
    low, high: range that is wanted.
    steps: how many.

  Returns:
    alphas (steps,), targets (steps,), and the rising curve (G,).

  Raises:
    Unmoved: the attribute does not rise along the direction at all.
  """
  curve = np.asarray(optimize.isotonic_regression(response).x, np.float64)
  if curve[-1] - curve[0] <= 1e-9:
    raise Unmoved("the attribute does not rise along its direction: label more latents, or choose other layers")
  first, last = np.clip([low, high], curve[0], curve[-1])
  if last - first < 0.05 * (curve[-1] - curve[0]):  # the portrait lies outside the range: sweep what it has
    first, last = curve[0], curve[-1]
  targets = np.linspace(first, last, steps)
  rises = np.concatenate([[True], np.diff(curve) > 1e-12])  # of a flat piece, its start
  return np.interp(targets, curve[rises], grid[rises]), targets, curve


def check_attributes(factors: Sequence[Factor], labels: Mapping[str, np.ndarray], labeller: str) -> None:
  """InputError if the labeller lacks what a factor needs, naming both."""
  for factor in factors:
    missing = [name for name in factor.weights if name not in labels]
    if missing:
      raise InputError(
        f"factor {factor.name!r} needs {', '.join(missing)}, which labeller {labeller} does not give "
        f"(it gives {', '.join(sorted(labels))}): leave it out with --factors=..."
      )

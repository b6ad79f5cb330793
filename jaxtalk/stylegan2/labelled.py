"""Directions from labelled latents: linear boundaries, regressions, and ranked StyleSpace channels.

`boundary` is InterFaceGAN (Shen et al. 2020): the plane between the codes with the highest and the lowest scores.
`regression` suits continuous labels: which step in W changes one attribute and leaves the others. `channels` ranks
single style channels by how much a few positive examples differ (Wu et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import optimize

from jaxtalk.core import InputError
from jaxtalk.stylegan2.directions import Direction, Origin, orthogonalise, unit
from jaxtalk.stylegan2.latents import LabelledLatents


def boundary(
  latents: LabelledLatents,
  name: str,
  *,
  conditions: Sequence[np.ndarray] = (),
  condition_names: Sequence[str] = (),
  fraction: float = 0.02,
  loss: str = "hinge",
  layers: tuple[int, ...] | None = None,
) -> Direction:
  """The unit normal of the plane between codes with the highest and the lowest ``fraction`` of an attribute.

  70 % of both ends train the plane, 30 % validate it; accuracy on the rest (above or below the median) is recorded
  too. ``loss`` is "hinge" (squared; a linear support vector machine) or "logistic". ``conditions`` are vectors whose
  coordinates the direction leaves alone. Alpha 1 is one standard deviation of the codes along it.

  Raises:
    InputError: too few codes for that fraction, or the attribute is constant.
  """
  scores, w = latents.label(name), np.asarray(latents.w, np.float64)
  ends = int(len(w) * fraction)
  if not 0 < fraction <= 0.5 or ends < 4:
    raise InputError(f"fraction {fraction} of {len(w)} codes leaves {ends} at each end: at least 4 are needed")
  order = np.argsort(scores, kind="stable")
  if scores[order[0]] == scores[order[-1]]:
    raise InputError(f"attribute {name!r} has the same value for every code: nothing to separate")
  rng = np.random.default_rng(latents.seed)
  low, high = rng.permutation(order[:ends]), rng.permutation(order[-ends:])
  cut = int(0.7 * ends)
  train, check = (np.concatenate(pair) for pair in ((low[:cut], high[:cut]), (low[cut:], high[cut:])))
  normal, offset = separate(w[train], np.repeat([-1.0, 1.0], cut), loss=loss)
  rest = order[ends:-ends]

  def right(index: np.ndarray, positive: np.ndarray) -> float:
    return float(np.mean((w[index] @ normal + offset > 0) == positive)) if len(index) else float("nan")

  figures = {
    "validation_accuracy": right(check, np.repeat([False, True], ends - cut)),
    "rest_accuracy": right(rest, scores[rest] > np.median(scores)),
    "fraction": fraction,
  }
  vector = orthogonalise(normal, conditions)
  return Direction(
    name=name,
    space="w",
    vector=vector,
    layers=layers or tuple(range(latents.num_ws)),
    num_ws=latents.num_ws,
    scale=float(np.std(w @ vector)),
    origin=latents.origin("boundary", condition_names, {k: v for k, v in figures.items() if np.isfinite(v)}),
  )


def separate(
  x: np.ndarray, sign: np.ndarray, *, loss: str = "hinge", strength: float = 1.0
) -> tuple[np.ndarray, float]:
  """Unit normal (D,) and offset of a separating plane: minimises ``|n|^2 / 2 + strength * sum loss(sign * (n.x + b))``.

  Both losses are smooth and convex, so a quasi-Newton method finds the one answer; x (N, D), sign (N,) of -1 and 1.
  """
  if loss not in ("hinge", "logistic"):
    raise InputError(f"loss {loss!r}: choose hinge or logistic")
  centre, spread = x.mean(0), max(float(x.std()), 1e-12)
  features = np.concatenate([(x - centre) / spread, np.ones((len(x), 1))], axis=1)

  def objective(n: np.ndarray) -> tuple[float, np.ndarray]:
    margin = sign * (features @ n)
    if loss == "hinge":
      short = np.maximum(1.0 - margin, 0.0)
      value, slope = np.sum(short**2), -2.0 * short
    else:
      value, slope = np.sum(np.logaddexp(0.0, -margin)), -1.0 / (1.0 + np.exp(np.clip(margin, -500, 500)))
    weight = np.append(n[:-1], 0.0)  # the offset is free
    return 0.5 * weight @ weight + strength * value, weight + strength * features.T @ (slope * sign)

  found = optimize.minimize(objective, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B")
  normal, offset = found.x[:-1] / spread, found.x[-1]
  length = max(float(np.linalg.norm(normal)), 1e-300)
  return normal / length, float((offset - normal @ centre) / length)


def ridge(x: np.ndarray, y: np.ndarray, strength: float = 1e-2) -> np.ndarray:
  """(D, K) coefficients of y (N, K) on x (N, D), both centred; ``strength`` is relative to the mean variance of x."""
  gram = x.T @ x / len(x)
  penalty = strength * np.trace(gram) / len(gram)
  return np.linalg.solve(gram + penalty * np.eye(len(gram)), x.T @ y / len(x))


def regression(
  latents: LabelledLatents,
  weights: Mapping[str, float],
  *,
  name: str = "",
  hold: Sequence[str] = (),
  strength: float = 1e-2,
  layers: tuple[int, ...] | None = None,
) -> Direction:
  """The most plausible step in W that raises an attribute, or a weighted sum of several, and leaves others alone.

  Ridge regressions b of the attributes on w; the step is `orthogonalise` of the wanted b on those of ``hold`` in the
  metric of the codes' covariance. Alpha 1 raises the predicted attribute by one standard deviation of the labels
  (weights are in standard deviations). Recorded: "r2" on a held-out third of the codes, and "deviations", how far
  alpha 1 goes in standard deviations of the codes (Mahalanobis length): large where a network hardly has the attribute.

  Raises:
    InputError: an unknown or constant attribute, or one that is wanted and held.
  """
  names = [*weights, *hold]
  if len(set(names)) != len(names) or not weights:
    raise InputError(f"direction {name!r}: attributes {names} must be given, and each once")
  w = latents.within_classes(latents.w)
  labels = latents.within_classes(np.stack([latents.label(n) for n in names], axis=1))
  spread = labels.std(0)
  if not spread.all():
    raise InputError(f"attribute {names[int(np.argmin(spread))]!r} has the same value for every code")
  wanted = labels[:, : len(weights)] / spread[: len(weights)] @ np.array(list(weights.values()))
  targets = np.column_stack([wanted, labels[:, len(weights) :] / spread[len(weights) :]])
  b = ridge(w, targets, strength)
  third = len(w) // 3
  error = targets[:third, 0] - w[:third] @ ridge(w[third:], targets[third:], strength)[:, 0]
  covariance = w.T @ w / len(w)
  vector = orthogonalise(b[:, 0], list(b[:, 1:].T), covariance)
  scale = float(np.std(wanted) / max(float(b[:, 0] @ vector), 1e-12))
  figures = {
    "deviations": scale * np.sqrt(vector @ np.linalg.pinv(covariance, rcond=1e-6, hermitian=True) @ vector),
    "r2": 1 - np.mean(error**2) / np.var(targets[:third, 0]),
    "cosine_to_normal": float(vector @ unit(b[:, 0])),
  }
  return Direction(
    name=name or "+".join(weights),
    space="w",
    vector=vector,
    layers=layers or tuple(range(latents.num_ws)),
    num_ws=latents.num_ws,
    scale=scale,
    origin=latents.origin("ridge", hold, figures),
  )


def channels(styles: Mapping[str, np.ndarray], positive: np.ndarray, count: int) -> list[tuple[str, int, float]]:
  """Style channels by how much positive examples differ: (layer, channel, (mean_pos - mean_all) / sigma_all).

  Args:
    styles: layer name -> (N, channels), of all samples.
    positive: (N,) bool, which samples have the attribute; a few dozen are enough.
    count: how many channels, largest magnitude first; ties go to the earlier layer and channel.
  """
  positive = np.asarray(positive, bool)
  if not positive.any():
    raise InputError("no positive example: nothing to rank the channels by")
  found = []
  for name, values in styles.items():
    values = np.asarray(values, np.float64)
    sigma = np.maximum(values.std(0), 1e-12)
    scores = (values[positive].mean(0) - values.mean(0)) / sigma
    found += [(name, i, float(score)) for i, score in enumerate(scores)]
  return sorted(found, key=lambda item: -abs(item[2]))[:count]


def channel_direction(
  styles: Mapping[str, np.ndarray], layer: str, channel: int, *, name: str, origin: Origin
) -> Direction:
  """One style channel as a direction; alpha 1 is one standard deviation of the channel over the given samples."""
  values = np.asarray(styles[layer])
  vector = np.zeros(values.shape[1], np.float32)
  vector[channel] = 1.0
  scale = float(values[:, channel].std())
  return Direction(
    name=name, space="s", vector=vector, layers=(layer,), widths=(len(vector),), scale=scale, origin=origin
  )

"""Samplers as tables: one row for each evaluation of the network.

Every sampler here moves by the same line of arithmetic,

  x  <-  keep * x  +  data * x0  +  past * x0_before  +  noise * z

with x0 the network's (converted, guided) estimate, x0_before the estimate of the row above, and z fresh unit noise. A
sampler is therefore five columns of numbers, computed in float64 before anything is traced; `sampling.sample` runs any
of them in one ``lax.scan``, compiled once for a number of rows.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from jaxtalk.core import InputError
from jaxtalk.diffusion.schedules import Levels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plan:
  """Rows of a sampler, R evaluations.

  Attributes:
    times: (R,) what the network is told.
    alpha: (R,) factor of the data in the x that it sees.
    sigma: (R,) factor of the noise in it.
    keep: (R,) and the rest: coefficients of the module's formula.
    data: of this estimate.
    past: of the estimate before.
    noise: of fresh noise.
  """

  times: np.ndarray | jax.Array
  alpha: np.ndarray | jax.Array
  sigma: np.ndarray | jax.Array
  keep: np.ndarray | jax.Array
  data: np.ndarray | jax.Array
  past: np.ndarray | jax.Array
  noise: np.ndarray | jax.Array

  def __len__(self) -> int:
    return len(self.times)

  def part(self, start: int, stop: int | None = None) -> Plan:
    """Rows ``start`` to ``stop``; whole in themselves only for samplers that do not look back."""
    return jax.tree.map(lambda column: column[start:stop], self)


def ddpm(levels: Levels, flexibility: float = 0.0) -> Plan:
  """Ancestral sampling (Ho et al. 2020), for any jumps between levels.

  Args:
    levels: of a variance-preserving schedule (alpha^2 + sigma^2 = 1).
    flexibility: 0 draws with the posterior's standard deviation, 1 with that of the forward step, which is larger;
      values between are mixed linearly. The last step adds no noise.
  """
  if not 0.0 <= flexibility <= 1.0:
    raise InputError(f"flexibility must be between 0 and 1, not {flexibility}")
  bar = levels.alpha.astype(np.float64) ** 2
  now, then = bar[:-1], bar[1:]
  ratio = now / then
  deviation = _mixed(np.sqrt((1 - then) / (1 - now) * (1 - ratio)), np.sqrt(1 - ratio), flexibility)
  deviation[-1] = 0.0
  return _plan(
    levels,
    keep=np.sqrt(ratio) * (1 - then) / (1 - now),
    data=np.sqrt(then) * (1 - ratio) / (1 - now),
    noise=deviation,
  )


def ddim(levels: Levels, eta: float = 0.0) -> Plan:
  """Song et al. 2020 (arXiv 2010.02502, eq. 12): the noise that is left is the one found; ``eta`` 1 renews it as DDPM.

  Works on levels of any family; on those of a flow with ``eta`` 0 it is Euler's method.
  """
  alpha, sigma = _pairs(levels)
  fresh = np.zeros(levels.steps)
  if eta:
    ratio = (alpha[0] / alpha[1]) ** 2
    fresh = eta * sigma[1] / sigma[0] * np.sqrt(np.maximum(1 - ratio, 0.0))
  left = np.sqrt(np.maximum(sigma[1] ** 2 - fresh**2, 0.0)) / sigma[0]
  return _plan(levels, keep=left, data=alpha[1] - left * alpha[0], noise=fresh)


def dpm_solver(levels: Levels) -> Plan:
  """DPM-Solver++(2M), Lu et al. 2022 (arXiv 2211.01095, algorithm 2): second order at one evaluation a step.

  First and last steps are first order: there is nothing to look back to, and the last jump in log-SNR is endless.
  """
  alpha, sigma = _pairs(levels)
  first = ddim(levels)
  with np.errstate(divide="ignore"):
    log_snr = np.log(levels.alpha / np.where(levels.sigma > 0, levels.sigma, np.finfo(np.float64).tiny))
  jump = np.diff(log_snr)
  share = np.zeros(levels.steps)
  # half the ratio of this jump to the one before; an alpha of 0 (pure noise) makes a jump endless: first order there
  usable = np.isfinite(jump[1:]) & np.isfinite(jump[:-1])
  share[1:] = np.where(usable, 0.5 * jump[1:] / np.where(usable, jump[:-1], 1.0), 0.0)
  if levels.steps > 1 and levels.sigma[-1] == 0:
    share[-1] = 0.0
  return _plan(levels, keep=sigma[1] / sigma[0], data=first.data * (1 + share), past=-first.data * share)


def euler(levels: Levels) -> Plan:
  """Euler's method on the flow's equation ``dx/dt = (x - x0) / t``; levels are those of a flow."""
  now, then = _flow(levels)
  return _plan(levels, keep=then / now, data=1 - then / now)


def heun(levels: Levels) -> Plan:
  """Heun's method on a flow: two evaluations a step (2 S - 1 rows), second order; the last step is Euler's.

  The second row of a step starts from the predicted point ``y = r x + (1 - r) x0`` with ``r = t'/t``; the point it
  corrects, x, is found back from y and the estimate before, so that the loop carries nothing more.
  """
  now, then = _flow(levels)
  rows = []
  for t, s in zip(now, then, strict=True):
    r = s / t
    rows.append((t, r, 1 - r, 0.0))
    if s == 0:
      continue
    # x + (s - t)/2 * ((x - x0_before)/t + (y - x0)/s) with x = (y - (1 - r) x0_before) / r
    half = (s - t) / 2
    of_x = 1 + half / t
    rows.append((s, of_x / r + half / s, -half / s, -of_x * (1 - r) / r - half / t))
  times, keep, data, past = np.array(rows).T
  return Plan(times, 1 - times, times, keep, data, past, np.zeros(len(times)))


def _plan(levels: Levels, *, keep, data, past=None, noise=None) -> Plan:
  """Columns of a sampler with one row a step."""
  none = np.zeros(levels.steps)
  past, noise = none if past is None else past, none if noise is None else noise
  return Plan(levels.times[:-1], levels.alpha[:-1], levels.sigma[:-1], keep, data, past, noise)


def _pairs(levels: Levels) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """(alpha now, then), (sigma now, then)."""
  alpha, sigma = levels.alpha.astype(np.float64), levels.sigma.astype(np.float64)
  if not (sigma[:-1] > 0).all():
    raise InputError("levels must have noise everywhere but at their end")
  return (alpha[:-1], alpha[1:]), (sigma[:-1], sigma[1:])


def _flow(levels: Levels) -> tuple[np.ndarray, np.ndarray]:
  """Times now and then of a flow's levels."""
  if not np.allclose(levels.alpha + levels.sigma, 1.0):
    raise InputError("euler and heun step along a flow: use flow_levels, or ddim for this schedule")
  sigma = levels.sigma.astype(np.float64)
  return sigma[:-1], sigma[1:]


def _mixed(low: np.ndarray, high: np.ndarray, share: float) -> np.ndarray:
  return low * (1 - share) + high * share

"""How much noise there is at which time.

Two families. Discrete: a table of T betas (DDPM, Ho et al. 2020, arXiv 2006.11239), time t in 0..T, alpha_bar(t) the
product of ``1 - beta`` up to t; ``alpha = sqrt(alpha_bar)``, ``sigma = sqrt(1 - alpha_bar)``, so time 0 is clean.
Flow matching (Lipman et al. 2022, arXiv 2210.02747): t in [0, 1], ``alpha = 1 - t``, ``sigma = t``.

Tables are NumPy: they are constants of a program, so coefficients are computed in float64 before anything is traced.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import InputError


@dataclasses.dataclass(frozen=True)
class Levels:
  """The times that a sampler visits, from noise to data: S + 1 entries for S steps.

  Attributes:
    times: what the network is told at each of them.
    alpha: factor of the data.
    sigma: factor of the noise; 0 at the end where the result is clean.
  """

  times: np.ndarray
  alpha: np.ndarray
  sigma: np.ndarray

  def __post_init__(self):
    if not len(self.times) == len(self.alpha) == len(self.sigma) >= 2:
      raise InputError(f"levels need at least two times and as many alphas and sigmas, not {len(self.times)}")

  @property
  def steps(self) -> int:
    return len(self.times) - 1


@dataclasses.dataclass(frozen=True)
class Schedule:
  """A discrete schedule.

  Attributes:
    betas: (T,) in (0, 1), that of time t at index t - 1.
  """

  betas: np.ndarray

  def __post_init__(self):
    if self.betas.ndim != 1 or not len(self.betas) or not ((self.betas > 0) & (self.betas < 1)).all():
      raise InputError("a schedule needs a row of betas between 0 and 1")

  @property
  def steps(self) -> int:
    """T."""
    return len(self.betas)

  @property
  def alpha_bars(self) -> np.ndarray:
    """(T + 1,) float64; entry 0 is 1, no noise."""
    return np.concatenate([[1.0], np.cumprod(1.0 - self.betas.astype(np.float64))])

  @property
  def alphas(self) -> np.ndarray:
    """(T + 1,) factor of the data at time t."""
    return np.sqrt(self.alpha_bars)

  @property
  def sigmas(self) -> np.ndarray:
    """(T + 1,) factor of the noise at time t."""
    return np.sqrt(1.0 - self.alpha_bars)

  def levels(self, steps: int | None = None) -> Levels:
    """Every time from T to 0, or ``steps`` jumps of nearly equal length between T and 0."""
    steps = self.steps if steps is None else steps
    if not 1 <= steps <= self.steps:
      raise InputError(f"steps must be 1 to {self.steps} (those of the schedule), not {steps}")
    times = np.round(np.linspace(self.steps, 0, steps + 1)).astype(np.int32)
    return Levels(times, self.alphas[times], self.sigmas[times])


def linear(steps: int, first: float = 1e-4, last: float = 0.02) -> Schedule:
  """Betas at equal distances (Ho et al. 2020)."""
  return Schedule(np.linspace(first, last, _count(steps)))


def quadratic(steps: int, first: float = 1e-4, last: float = 0.02) -> Schedule:
  """Square roots of betas at equal distances."""
  return Schedule(np.linspace(first**0.5, last**0.5, _count(steps)) ** 2)


def sigmoid(steps: int, first: float = 1e-4, last: float = 0.02, reach: float = 5.0) -> Schedule:
  """Betas along the logistic curve from ``-reach`` to ``reach``."""
  return Schedule(first + (last - first) / (1.0 + np.exp(-np.linspace(-reach, reach, _count(steps)))))


def cosine(
  steps: int, offset: float = 0.008, *, smallest: float = 1e-4, largest: float = 0.999, single: bool = False
) -> Schedule:
  """Alpha-bar along a squared cosine (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17), betas clipped.

  Args:
    steps: T.
    offset: s, keeps the first betas from vanishing.
    smallest: lower limit of betas.
    largest: upper limit of betas.
    single: round every step to float32, as most published programs did. Near t = T the cosine is a small difference,
      so their betas are off by up to 3e-5; weights trained with such a table want the same one.
  """
  kind: type[np.floating] = np.float32 if single else np.float64
  place = np.arange(_count(steps) + 1).astype(kind) / kind(steps)
  angle = (place + kind(offset)) / kind(1 + offset) * kind(np.pi / 2)
  wave = np.cos(angle.astype(np.float64)).astype(kind) ** 2
  wave = wave / wave[0]
  return Schedule(np.clip(kind(1) - wave[1:] / wave[:-1], kind(smallest), kind(largest)))


def flow_levels(steps: int, shift: float = 1.0) -> Levels:
  """Times of a flow from noise (1) to data (0).

  Args:
    steps: number of steps, at equal distances before the shift.
    shift: above 1 spends more steps near noise: ``t -> shift * t / (1 + (shift - 1) * t)``
      (Esser et al. 2024, arXiv 2403.03206, eq. 23).
  """
  if shift <= 0:
    raise InputError(f"shift must be above 0, not {shift}")
  t = np.linspace(1.0, 0.0, _count(steps) + 1)
  t = shift * t / (1.0 + (shift - 1.0) * t)
  return Levels(t, 1.0 - t, t)


def _count(steps: int) -> int:
  if steps < 1:
    raise InputError(f"a schedule has at least one step, not {steps}")
  return steps

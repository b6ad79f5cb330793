"""What a network predicts, and how to get any of it from any other.

With ``x = alpha * x0 + sigma * epsilon``:

  x0        the clean signal
  epsilon   the noise
  v         alpha * epsilon - sigma * x0       (Salimans and Ho 2022, arXiv 2202.00512), for alpha^2 + sigma^2 = 1
  flow      epsilon - x0                       velocity of ``(1 - t) x0 + t epsilon`` (Lipman et al. 2022)

Each is a linear function of (x0, epsilon), and so is x: two equations, solved in closed form. A quantity says nothing
where the other factor is zero (epsilon at sigma = 0, x0 from epsilon at alpha = 0): keep times away from there.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax

from jaxtalk.core import InputError

Prediction = Literal["x0", "epsilon", "v", "flow"]


def convert(
  value: jax.Array, x: jax.Array, alpha: jax.Array, sigma: jax.Array, *, source: Prediction, to: Prediction
) -> jax.Array:
  """The quantity ``to`` for a network that predicted ``value`` of kind ``source`` from ``x``.

  Args:
    value: same shape as ``x``.
    x: the noisy signal.
    alpha: factor of the data in ``x``, broadcasting against it.
    sigma: factor of the noise.
    source: kind of ``value``.
    to: kind of the result.

  Raises:
    InputError: a kind that does not exist.
  """
  for kind in (source, to):
    if kind not in get_args(Prediction):
      raise InputError(f"no prediction is called {kind!r}: one of {', '.join(get_args(Prediction))}")
  if source == to:
    return value
  data, noise = _row(source, alpha, sigma)
  scale = alpha * noise - sigma * data  # determinant of the two equations
  x0 = (noise * x - sigma * value) / scale
  epsilon = (alpha * value - data * x) / scale
  data, noise = _row(to, alpha, sigma)
  return data * x0 + noise * epsilon


def _row(kind: Prediction, alpha, sigma):
  """Factors of (x0, epsilon) in a quantity."""
  return {"x0": (1.0, 0.0), "epsilon": (0.0, 1.0), "v": (-sigma, alpha), "flow": (-1.0, 1.0)}[kind]

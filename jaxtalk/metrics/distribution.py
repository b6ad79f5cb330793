"""How far apart two sets of images are, measured on their features (N, D): Frechet, kernel, precision and recall.

Sources: Heusel et al. 2017 (Frechet distance), Binkowski et al. 2018 (kernel distance), Kynkaanniemi et al. 2019
(improved precision and recall), Salimans et al. 2016 (inception score). What a figure is called depends on the network
behind the features, see `image_quality`. Sums are in float64 on the host; only pairwise distances use the accelerator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError

_BLOCK_VALUES = 1 << 25  # distances held at a time: 128 MB


@dataclasses.dataclass(frozen=True)
class Moments:
  """Count, mean (D,) and sum of the outer products of the deviations (D, D) of features, in float64; see `of`.

  Moments of parts of a set, from several processes or batches, add up to those of the whole set (Chan et al. 1979),
  without the cancellation that sums of squares suffer from.
  """

  count: int
  mean: np.ndarray
  scatter: np.ndarray

  @classmethod
  def of(cls, features: np.ndarray) -> Moments:
    """Of (N, D) features.

    Raises:
      InputError: no rows, another shape, or values that are not finite.
    """
    x = check_features(features)
    mean = x.mean(axis=0)
    deviations = x - mean
    return cls(len(x), mean, deviations.T @ deviations)

  def __add__(self, other: Moments) -> Moments:
    if self.mean.shape != other.mean.shape:
      raise InputError(f"features of {len(self.mean)} and {len(other.mean)} dimensions cannot be put together")
    count = self.count + other.count
    step = other.mean - self.mean
    mean = self.mean + step * (other.count / count)
    between = np.outer(step, step) * (self.count * other.count / count)
    return Moments(count, mean, self.scatter + other.scatter + between)

  @property
  def covariance(self) -> np.ndarray:
    """(D, D), divided by n."""
    return self.scatter / self.count


def sum_moments(parts: Iterable[Moments]) -> Moments:
  """The moments of all parts together; InputError if there are none."""
  total: Moments | None = None
  for part in parts:
    total = part if total is None else total + part
  if total is None:
    raise InputError("no features to take moments of")
  return total


def frechet_distance(a: Moments, b: Moments) -> float:
  """``|m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2))`` of two sets' means and covariances.

  The trace of the root is the sum of the roots of the eigenvalues of ``A^(1/2) B A^(1/2)``, which is symmetric: no
  complex numbers, and covariances without full rank are no special case.
  """
  if a.mean.shape != b.mean.shape:
    raise InputError(f"features of {len(a.mean)} and {len(b.mean)} dimensions cannot be compared")
  cov_a, cov_b = a.covariance, b.covariance
  values, vectors = np.linalg.eigh(cov_a)
  root = (vectors * _root(values)) @ vectors.T
  product = root @ cov_b @ root
  shared = _root(np.linalg.eigvalsh(0.5 * (product + product.T))).sum()
  return float(np.square(a.mean - b.mean).sum() + np.trace(cov_a) + np.trace(cov_b) - 2.0 * shared)


def polynomial_mmd(x: np.ndarray, y: np.ndarray) -> float:
  """Unbiased squared maximum mean discrepancy of (M, D) and (N, D) features with the kernel ``(x.y / D + 1)^3``."""
  x, y = check_features(x), check_features(y)
  if min(len(x), len(y)) < 2 or x.shape[1] != y.shape[1]:
    raise InputError(f"a kernel distance needs two rows and one width, not {x.shape} and {y.shape}")

  def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1.0) ** 3

  def within(a: np.ndarray) -> float:
    k = kernel(a, a)
    return (k.sum() - np.trace(k)) / (len(a) * (len(a) - 1))

  return float(within(x) + within(y) - 2.0 * kernel(x, y).mean())


def kernel_distance(
  real: np.ndarray, fake: np.ndarray, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> np.ndarray:
  """(subsets,) squared discrepancies of random subsets without repetition; their mean is the kernel distance.

  Args:
    real: (N, D) features.
    fake: (M, D) features.
    subsets: number of draws.
    subset_size: rows a draw, at most as many as there are.
    seed: of the draws.
  """
  size = min(subset_size, len(real), len(fake))
  rng = np.random.default_rng(seed)
  draws = [(rng.choice(len(real), size, replace=False), rng.choice(len(fake), size, replace=False))
           for _ in range(subsets)]  # fmt: skip
  return np.array([polynomial_mmd(real[r], fake[f]) for r, f in draws])


def precision_recall(real: np.ndarray, fake: np.ndarray, *, neighbours: int = 3) -> tuple[float, float]:
  """Improved precision and recall of (N, D) and (M, D) features.

  A set's manifold is the union of balls around its points that reach to their k-th nearest neighbour. Precision is the
  share of fakes in the manifold of the reals, recall the share of reals in that of the fakes.
  """
  real, fake = check_features(real), check_features(fake)
  if min(len(real), len(fake)) <= neighbours:
    raise InputError(f"{len(real)} real and {len(fake)} generated images are too few for {neighbours} neighbours")
  centre = real.mean(axis=0)  # distances do not change, but float32 keeps more of them
  real, fake = ((x - centre).astype(np.float32) for x in (real, fake))
  return _covered(fake, real, neighbours), _covered(real, fake, neighbours)


def inception_score(probabilities: np.ndarray, *, splits: int = 10) -> tuple[float, float]:
  """Mean and standard deviation over splits of ``exp(mean KL(p(class | image) || p(class)))`` of (N, K) rows."""
  p = check_features(probabilities)
  if (p < 0).any() or np.abs(p.sum(axis=1) - 1.0).max() > 1e-3:
    raise InputError("the inception score needs class probabilities: rows that are not negative and sum to 1")
  if len(p) < splits:
    raise InputError(f"{len(p)} images cannot be split into {splits} parts")
  scores = []
  for i in range(splits):
    part = p[i * len(p) // splits : (i + 1) * len(p) // splits]
    log_ratio = np.log(np.where(part > 0, part, 1.0)) - np.log(np.maximum(part.mean(axis=0), 1e-300))
    scores.append(np.exp((part * log_ratio).sum(axis=1).mean()))
  return float(np.mean(scores)), float(np.std(scores))


def check_features(features: np.ndarray) -> np.ndarray:
  """(N, D) float64; InputError if it is empty, has another shape or values that are not finite."""
  x = np.asarray(features, np.float64)
  if x.ndim != 2 or not x.size:
    raise InputError(f"features have shape {x.shape}: expected (images, dimensions) and at least one image")
  if not np.isfinite(x).all():
    raise InputError(f"features of image {int(np.argwhere(~np.isfinite(x))[0][0])} are NaN or infinite")
  return x


def _root(eigenvalues: np.ndarray) -> np.ndarray:
  """Square roots; eigenvalues that are rounding errors of the largest one count as 0, or their roots would not be."""
  floor = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max()
  return np.sqrt(np.where(eigenvalues > floor, eigenvalues, 0.0))


def _covered(probes: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
  """Share of the probes that lie in at least one ball of the manifold."""
  rows = max(1, _BLOCK_VALUES // len(manifold))
  blocks = [manifold[i : i + rows] for i in range(0, len(manifold), rows)]
  # A point's nearest neighbour is itself, so the k-th other one is in place k, counted from 0.
  radii = np.concatenate([np.partition(_squared_distances(b, manifold), neighbours)[:, neighbours] for b in blocks])
  inside = [
    (_squared_distances(probes[i : i + rows], manifold) <= radii).any(axis=1) for i in range(0, len(probes), rows)
  ]
  return float(np.concatenate(inside).mean())


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return np.asarray(_squared_distances_on_device(a, b))


@jax.jit
def _squared_distances_on_device(a: jax.Array, b: jax.Array) -> jax.Array:
  products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(jnp.square(a).sum(1)[:, None] + jnp.square(b).sum(1)[None, :] - 2.0 * products, 0.0)

"""Distances between sets of features: closed forms, scipy, brute force, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxtalk.core import InputError
from jaxtalk.metrics import distribution as ds
from jaxtalk.metrics import path_length as pl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 12)) @ RNG.normal(size=(12, 12))
Y = RNG.normal(size=(300, 12)) + 0.5


def exact(mean, cov):
  """Moments of a Gaussian."""
  return ds.Moments(1000, np.asarray(mean, float), 1000.0 * np.asarray(cov, float))


def test_the_frechet_distance_of_gaussians():
  a, b = exact([0, 0, 0], np.diag([1, 4, 9])), exact([3, 0, 4], np.diag([4, 4, 0]))
  assert ds.frechet_distance(a, b) == pytest.approx(25 + 1 + 0 + 9)
  assert ds.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
  turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))  # a rotation of everything changes nothing
  turned = [exact(turn @ m.mean, turn @ m.covariance @ turn.T) for m in (a, b)]
  assert ds.frechet_distance(*turned) == pytest.approx(35)


@pytest.mark.parametrize("rows", [400, 7])
def test_the_frechet_distance_as_scipy_has_it(rows):
  a, b = ds.Moments.of(X[:rows]), ds.Moments.of(Y)
  root = scipy.linalg.sqrtm(a.covariance @ b.covariance)  # with 7 rows the covariance has rank 6 of 12
  wanted = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root.real)
  assert ds.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
  assert ds.frechet_distance(a, b) == pytest.approx(ds.frechet_distance(b, a), rel=1e-9)


def test_moments_of_parts_add_up_without_cancellation():
  x = X + 1e6
  whole = ds.Moments.of(x)
  parts = ds.sum_moments(ds.Moments.of(x[i:j]) for i, j in ((0, 1), (1, 150), (150, 151), (151, 400)))
  assert parts.count == whole.count == 400
  np.testing.assert_allclose(parts.mean, x.mean(0), rtol=1e-12)
  np.testing.assert_allclose(parts.covariance, np.cov(X.T, bias=True), rtol=1e-8, atol=1e-8)
  np.testing.assert_allclose(whole.covariance, np.cov(X.T, bias=True), rtol=1e-8, atol=1e-8)


def test_the_kernel_distance_is_unbiased_and_sees_a_shift():
  same = ds.kernel_distance(RNG.normal(size=(600, 12)), RNG.normal(size=(500, 12)), subsets=60, subset_size=100)
  assert same.shape == (60,)
  assert abs(same.mean()) < 4 * same.std() / np.sqrt(60 / 6)  # each row is in about six subsets
  assert (same < 0).any()
  shifted = ds.kernel_distance(RNG.normal(size=(600, 12)), Y, subsets=10, subset_size=1000)
  assert shifted.mean() > 10 * same.std()


def test_the_kernel_distance_by_hand():
  x, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [0.0, -2.0]])

  def k(a, b):
    return (a @ b / 2 + 1) ** 3

  pairs = [k(x[i], x[j]) for i in range(3) for j in range(3) if i != j]
  wanted = np.mean(pairs) + k(y[0], y[1]) - 2 * np.mean([k(a, b) for a in x for b in y])
  assert ds.polynomial_mmd(x, y) == pytest.approx(wanted)


def test_precision_and_recall_as_brute_force_has_them(monkeypatch):
  monkeypatch.setattr(ds, "_BLOCK_VALUES", 2000)  # several blocks
  near = np.concatenate([X[:200] * 0.7, X[:30] + 40.0])
  distances = np.linalg.norm(X[:, None] - X[None], axis=-1)
  radii = np.sort(distances, axis=1)[:, 3]
  precision = (np.linalg.norm(near[:, None] - X[None], axis=-1) <= radii).any(1).mean()
  radii = np.sort(np.linalg.norm(near[:, None] - near[None], axis=-1), axis=1)[:, 3]
  recall = (np.linalg.norm(X[:, None] - near[None], axis=-1) <= radii).any(1).mean()
  assert ds.precision_recall(X, near) == pytest.approx((precision, recall), abs=0.006)
  assert precision < 0.95 and 0.05 < recall < 0.95


def test_precision_and_recall_of_equal_and_of_distant_sets():
  assert ds.precision_recall(X + 1000.0, X + 1000.0) == (1.0, 1.0)
  assert ds.precision_recall(X, X + 1000.0) == (0.0, 0.0)


def test_the_inception_score_of_sure_and_of_unsure_classifiers():
  sure = np.tile(np.eye(5), (20, 1))
  assert ds.inception_score(sure, splits=4) == pytest.approx((5.0, 0.0))
  assert ds.inception_score(np.full((20, 5), 0.2), splits=2) == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: ds.Moments.of(np.full((3, 2), np.nan)), "image 0 are NaN"),
    (lambda: ds.Moments.of(np.zeros((0, 2))), "at least one image"),
    (lambda: ds.sum_moments([]), "no features"),
    (lambda: ds.Moments.of(X) + ds.Moments.of(X[:, :3]), "12 and 3 dimensions"),
    (lambda: ds.frechet_distance(ds.Moments.of(X), ds.Moments.of(X[:, :3])), "cannot be compared"),
    (lambda: ds.polynomial_mmd(X[:1], X), "two rows"),
    (lambda: ds.precision_recall(X[:3], X), "3 real .* too few for 3 neighbours"),
    (lambda: ds.inception_score(X), "class probabilities"),
    (lambda: ds.inception_score(np.full((3, 2), 0.5)), "cannot be split into 10"),
    (lambda: pl.PathLength(space="y"), "spaces w, z"),
    (lambda: pl.PathLength(epsilon=0.0), "positive epsilon"),
  ],
)
def test_what_cannot_be_measured_is_refused(call, message):
  with pytest.raises(InputError, match=message):
    call()


MATRIX = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)


def linear_synthesis(w, key):
  """Images (N, 1, 1, 4) that are linear in the code, with noise that depends on the key alone."""
  return (w @ MATRIX + jax.random.normal(key, (4,))[None])[:, None, None]


def squared(a, b):
  return jnp.square(a - b).sum((1, 2, 3))


def test_the_path_length_of_a_linear_generator_in_w():
  # d = |(w1 - w0) M|^2 / eps^2 * eps^2: for normal codes the mean is 2 |M|_F^2, wherever the step starts.
  for sampling in ("end", "full"):
    settings = pl.PathLength(sampling=sampling, count=5000, batch_size=1000, epsilon=1e-2)
    values = pl.path_distances(lambda z: z, linear_synthesis, squared, 6, settings)
    assert values.shape == (5000,)
    assert values.mean() == pytest.approx(2 * float(jnp.square(MATRIX).sum()), rel=0.06)
    mean = pl.perceptual_path_length(lambda z: z, linear_synthesis, squared, 6, settings)
    assert mean == pl.trimmed_mean(values) < values.mean()


def test_the_path_length_of_steps_on_the_sphere():
  settings = pl.PathLength(space="z", sampling="full", count=90, batch_size=40, epsilon=1e-2)
  values = pl.path_distances(lambda z: z, lambda z, key: z[:, None, None], squared, 64, settings)
  # Random directions in 64 dimensions are about a right angle apart, and a chord is nearly its arc.
  np.testing.assert_allclose(values, (np.pi / 2) ** 2, rtol=0.6)
  assert values.shape == (90,) and np.mean(values) == pytest.approx((np.pi / 2) ** 2, rel=0.05)
  np.testing.assert_array_equal(
    values, pl.path_distances(lambda z: z, lambda z, key: z[:, None, None], squared, 64, settings)
  )


def test_the_trimmed_mean_drops_both_tails():
  values = np.arange(1000.0)
  values[0], values[-1] = -1e9, 1e9
  assert pl.trimmed_mean(values) == pytest.approx(499.5)

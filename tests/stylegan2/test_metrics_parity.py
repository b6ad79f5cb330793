"""Distribution metrics against the official ones on made-up features."""

import golden
import numpy as np
import pytest

from jaxtalk.metrics import distribution as ds
from jaxtalk.metrics import path_length as pl


@pytest.fixture(scope="module")
def data():
  return golden.arrays("metrics")


def test_frechet_distance_and_moments(data):
  real, fake = (ds.Moments.of(data[name]) for name in ("real_features", "gen_features"))
  golden.close(real.mean, data["real_mean"], 1e-6, "mean")
  golden.close(real.covariance, data["real_cov"], 1e-6, "covariance")
  golden.close(ds.frechet_distance(real, fake), data["fid"], 1e-6, "fid")


def test_kernel_distance_on_the_official_draws(data):
  pairs = zip(data["kid_real_idx"], data["kid_gen_idx"], strict=True)
  values = [ds.polynomial_mmd(data["real_features"][r], data["gen_features"][g]) for r, g in pairs]
  golden.close(np.mean(values), data["kid"], 1e-6, "kid")


def test_precision_and_recall(data):
  precision, recall = ds.precision_recall(data["real_features"], data["gen_features"])
  assert abs(precision - data["pr_precision"]) <= 0.01
  assert abs(recall - data["pr_recall"]) <= 0.01


def test_inception_score(data):
  mean, std = ds.inception_score(data["is_probs"], splits=golden.case("metrics")["config"]["is_splits"])
  golden.close(mean, data["is_mean"], 1e-6, "mean")
  golden.close(std, data["is_std"], 1e-6, "std")


def test_great_circles_and_the_trimmed_mean_of_path_lengths(data):
  golden.close(pl.slerp(data["slerp_a"], data["slerp_b"], data["slerp_t"]), data["slerp_y"], 1e-6, "slerp")
  golden.close(pl.trimmed_mean(data["ppl_dist"]), data["ppl_trimmed_mean"], 1e-6, "trimmed mean")

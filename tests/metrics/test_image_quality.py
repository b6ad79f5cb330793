"""Figures of merit of sets of pictures: names, counts, intervals, and features that are kept."""

import numpy as np
import pytest

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.metrics import extractors, image_quality
from jaxtalk.metrics.pictures import in_batches

RNG = np.random.default_rng(0)


class Means:
  """A network of 12 features: the mean colours of the quarters of a picture."""

  name, resolution, dims, digest = "means", 4, 12, "0" * 64

  def __init__(self):
    self.seen = 0

  def features(self, images):
    self.seen += len(images)
    n, h, w, c = images.shape
    return images.reshape(n, 2, h // 2, 2, w // 2, c).mean((2, 4)).reshape(n, -1).astype(np.float32) / 64

  def probabilities(self, features):
    return None


class Folder:
  """Real pictures."""

  def __init__(self, images):
    self.images = images

  def __len__(self):
    return len(self.images)

  def image(self, index):
    return self.images[index]


def pictures(count, shift=0, seed=0):
  rng = np.random.default_rng(seed)
  base = rng.integers(60, 160, (count, 1, 1, 3)) + rng.integers(-40, 40, (count, 8, 8, 3)) + shift
  return base.astype(np.uint8)


def by_name(results):
  return {r.name: r for r in results}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("JAXTALK_CACHE", str(tmp_path))
  return tmp_path


def test_figures_are_named_after_the_network_and_counted():
  fake = [pictures(150, 20, 1), pictures(50, 20, 2)]
  results = by_name(image_quality.evaluate_images(Folder(pictures(300)), iter(fake), Means()))
  assert set(results) == {"FD-means", "KD-means", "precision", "recall"}
  for r in results.values():
    assert r.details["n_real"] == 300 and r.details["n_generated"] == 200 and r.n_clips == 200
    assert r.representation == "12 features of means" and r.ci95[0] <= r.value <= r.ci95[1]
    assert r.as_dict()["fps"] is None
  shift = (20 / 64) ** 2 * 12
  assert results["FD-means"].ci95[0] < shift * 1.3 and results["FD-means"].value > 0.8 * shift


def test_the_interval_of_the_frechet_distance_is_as_wide_as_its_spread():
  real = RNG.normal(size=(4000, 6)).astype(np.float32)
  runs = [
    image_quality.compare_features(real[i : i + 400], RNG.normal(0.3, 1, (400, 6)), Means(), ["frechet"])[0]
    for i in range(0, 4000, 400)
  ]
  spread = np.std([r.value for r in runs])
  widths = [(r.ci95[1] - r.ci95[0]) / 2 / 1.96 for r in runs]
  assert 0.5 * spread < np.mean(widths) < 2.0 * spread


def test_equal_sets_are_at_distance_zero_and_precise():
  results = by_name(image_quality.evaluate_images(Folder(pictures(80)), [pictures(80)], Means()))
  assert results["FD-means"].value == pytest.approx(0, abs=1e-6)
  assert results["precision"].value == results["recall"].value == 1


def test_the_interval_of_the_kernel_distance_holds_zero_for_sets_of_one_kind():
  results = image_quality.evaluate_images(Folder(pictures(80, seed=3)), [pictures(90, seed=4)], Means(), ["kernel"])
  low, high = results[0].ci95
  assert low < 0 < high and results[0].details["std_of_subsets"] > 0


def test_features_of_real_pictures_are_kept_until_pictures_or_network_change(cache):
  real, network = Folder(pictures(100)), Means()
  first = image_quality.real_features(real, network)
  assert network.seen == 100
  np.testing.assert_array_equal(image_quality.real_features(real, network), first)
  assert network.seen == 100
  changed = pictures(100)
  changed[57, 3, 3, 1] += 1
  image_quality.real_features(Folder(changed), network)
  assert network.seen == 200
  network.digest = "1" * 64
  image_quality.real_features(real, network)
  assert network.seen == 300
  image_quality.real_features(real, network, keep=False)
  assert network.seen == 400 and len(list((cache / "features").iterdir())) == 3


def test_only_inception_may_be_called_fid():
  inception = object.__new__(extractors.InceptionExtractor)
  named = [image_quality.metric_name(kind, inception) for kind in ("FD", "KD", "IS", "recall")]
  assert named == ["FID", "KID", "IS", "recall"]
  impostor = Means()
  impostor.name = "inception-like"
  assert image_quality.metric_name("FD", impostor) == "FD-inception-like"


@pytest.mark.parametrize(
  ("real", "fake", "metrics", "message"),
  [
    (pictures(50), pictures(50), ["fid"], "unknown metric 'fid'"),
    (pictures(12), pictures(50), ["frechet"], "more than 12 pictures of each kind, not 12 real and 50"),
    (pictures(50), pictures(50), ["inception_score"], "classes, which means does not tell apart"),
    (pictures(50), pictures(50).astype(np.float32), ["kernel"], "expected .* uint8"),
    (pictures(50), pictures(50)[..., :2], ["kernel"], "expected .* uint8"),
    (pictures(0), pictures(50), ["kernel"], "no real pictures"),
  ],
)
def test_what_cannot_be_compared_is_refused(real, fake, metrics, message):
  with pytest.raises(InputError, match=message):
    image_quality.evaluate_images(Folder(real), [fake], Means(), metrics)


def test_pictures_of_several_sizes_and_no_pictures():
  odd = [*pictures(10), np.zeros((4, 4, 3), np.uint8)]
  with pytest.raises(InputError, match="0 to 10 are not all of one size"):
    image_quality.evaluate_images(Folder(odd), [pictures(50)], Means())
  with pytest.raises(InputError, match="no pictures"):
    image_quality.evaluate_images(Folder(pictures(50)), [], Means())


def test_batches_are_filled_up_and_grey_becomes_colour():
  shapes = []

  def function(batch):
    shapes.append(batch.shape)
    return batch[:, 0, 0]

  grey = RNG.integers(0, 256, (7, 5, 4, 1)).astype(np.uint8)
  out = in_batches(function, grey, 3)
  assert shapes == [(3, 5, 4, 3)] * 3
  np.testing.assert_array_equal(out, np.repeat(grey[:, 0, 0], 3, axis=1))


def test_extractors_by_name(tmp_path):
  with pytest.raises(InputError, match="unknown extractor 'vgg'"):
    extractors.make_extractor("vgg")
  with pytest.raises(MissingAssetError, match="no Inception weights at .* convert"):
    extractors.make_extractor(str(tmp_path / "none.safetensors"))
  (tmp_path / "bad.safetensors").write_text("weights")
  with pytest.raises(InputError, match="not a safetensors file"):
    extractors.make_extractor(str(tmp_path / "bad.safetensors"))

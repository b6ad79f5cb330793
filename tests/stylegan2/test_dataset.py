"""The image set against the official reader and sampler: same pictures, labels and order."""

import itertools

import golden
import numpy as np
import pytest

from jaxtalk.data.image_folder import SamplerOrder, open_images

CASES = {
  "all": {},
  "xflip": {"xflip": True},
  "max4_seed0": {"max_size": 4, "seed": 0},
  "max4_seed3_xflip": {"max_size": 4, "seed": 3, "xflip": True},
}
ORDERS = {
  "seed0": {"seed": 0},
  "seed5_rank1of2": {"seed": 5, "process": (1, 2)},
  "noshuffle": {"seed": 0, "shuffle": False},
  "window0": {"seed": 2, "window": 0.0},
}


@pytest.mark.parametrize("name", ["dataset_int", "dataset_vec", "dataset_nolabels"])
def test_pictures_and_labels_are_the_official_ones(name):
  want = golden.arrays(name)
  for case, options in CASES.items():
    images = open_images(golden.path(name + ".zip"), use_labels=name != "dataset_nolabels", **options)
    pictures = golden.nchw(np.stack([images.image(i) for i in range(len(images))]))
    np.testing.assert_array_equal(pictures, want[case + "/images"])
    labels = np.stack([images.label(i) for i in range(len(images))])
    np.testing.assert_array_equal(labels, want[case + "/labels"])
    np.testing.assert_array_equal(images.raw_index, want[case + "/raw_idx"])
    np.testing.assert_array_equal(images.flipped, want[case + "/flipped"])
    assert images.c_dim == want[case + "/labels"].shape[1]


def test_order_is_the_official_one():
  want = golden.arrays("dataset_int")
  for name, options in ORDERS.items():
    drawn = list(itertools.islice(SamplerOrder(7, **options), 30))
    assert drawn == want["sampler/" + name].tolist(), name

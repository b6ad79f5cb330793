"""Image sets: what is read, in which order, and what is said about files that cannot be used."""

import io
import itertools
import json
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.data.image_folder import ImageBatches, SamplerOrder, open_images


def picture(seed, size=8, mode="RGB"):
  shape = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
  height, width = (size, size) if isinstance(size, int) else size
  return np.random.default_rng(seed).integers(0, 256, (height, width, *shape), dtype=np.uint8)


def png(pixels, kind="PNG"):
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, kind)
  return out.getvalue()


def write_zip(path, files, labels=None):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
    for name, data in files.items():
      file.writestr(name, data)
    if labels is not None:
      file.writestr("dataset.json", json.dumps({"labels": labels}))
  return path


@pytest.fixture
def six(tmp_path):
  """Six pictures of 8 pixels in three classes, and their pixels by name."""
  pixels = {f"00000/img{i:08d}.png": picture(i) for i in range(6)}
  labels = [[name, i % 3] for i, name in enumerate(pixels)]
  return write_zip(tmp_path / "six.zip", {n: png(p) for n, p in pixels.items()}, labels), pixels


def test_zip_and_folder_read_alike_and_sorted(six, tmp_path):
  path, pixels = six
  folder = tmp_path / "folder"
  with zipfile.ZipFile(path) as file:
    file.extractall(folder)
  for images in (open_images(path, use_labels=True), open_images(folder, use_labels=True)):
    assert (len(images), images.resolution, images.channels, images.c_dim) == (6, 8, 3, 3)
    for i, name in enumerate(sorted(pixels)):
      assert images.name(i) == name
      np.testing.assert_array_equal(images.image(i), pixels[name])
      np.testing.assert_array_equal(images.label(i), np.eye(3, dtype=np.float32)[i % 3])
    assert images.skipped == []


def test_without_labels_every_label_is_empty(six):
  images = open_images(six[0])
  assert images.c_dim == 0
  assert images.label(0).shape == (0,)


def test_mirrored_copies_come_after_the_others(six):
  images = open_images(six[0], use_labels=True, xflip=True)
  assert len(images) == 12
  np.testing.assert_array_equal(images.image(8), images.image(2)[:, ::-1])
  np.testing.assert_array_equal(images.labels[6:], images.labels[:6])


def test_classes_are_those_of_the_whole_set(six):
  images = open_images(six[0], use_labels=True, max_size=1, seed=1)
  assert images.labels.shape == (1, 3)


def test_grey_jpeg_folder(tmp_path):
  for i in range(3):
    (tmp_path / f"{i}.jpg").write_bytes(png(picture(i, 16, "L"), "JPEG"))
  (tmp_path / "notes.txt").write_text("not a picture")
  images = open_images(tmp_path)
  assert (len(images), images.resolution, images.channels) == (3, 16, 1)
  assert images.image(0).shape == (16, 16, 1)


def test_resolution_cuts_the_middle_and_averages(tmp_path):
  pixels = picture(0, (8, 12))
  (tmp_path / "a.png").write_bytes(png(pixels))
  (tmp_path / "b.png").write_bytes(png(picture(1, 16)))
  image = open_images(tmp_path, resolution=4).image(0)
  mean = pixels[:, 2:10].reshape(4, 2, 4, 2, 3).mean((1, 3))
  assert np.abs(image - mean).max() <= 1


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty"])
def test_broken_picture_is_named_left_out_and_counted(six, tmp_path, damage):
  path, pixels = six
  files = {name: png(p) for name, p in pixels.items()}
  labels = [[name, i % 3] for i, name in enumerate(files)]
  bad = sorted(files)[2]
  whole = bytearray(files[bad])
  whole[len(whole) // 2] ^= 1
  files[bad] = {"cut": files[bad][:-40], "bit": bytes(whole), "text": b"hello", "empty": b""}[damage]
  with pytest.warns(UserWarning, match=f"left out 1 of 6, broken: {bad}"):
    images = open_images(write_zip(tmp_path / "bad.zip", files, labels), use_labels=True)
  assert images.skipped == [bad]
  assert len(images) == 5
  np.testing.assert_array_equal(images.labels.argmax(1), [0, 1, 0, 1, 2])
  np.testing.assert_array_equal(images.image(2), pixels[sorted(pixels)[3]])


def test_cut_jpeg_is_left_out(tmp_path):
  (tmp_path / "a.jpg").write_bytes(png(picture(0, 64), "JPEG"))
  (tmp_path / "b.jpg").write_bytes(png(picture(1, 64), "JPEG")[:-900])
  with pytest.warns(UserWarning, match=r"broken: b\.jpg"):
    assert open_images(tmp_path).skipped == ["b.jpg"]


@pytest.mark.parametrize(
  ("files", "message"),
  [
    ({}, "has no pictures"),
    ({"a.png": png(picture(0, 8)), "b.png": png(picture(1, 8)), "c.png": png(picture(2, 16))}, "c.png is 16x16, most"),
    ({"a.png": png(picture(0, (8, 16)))}, "are 16x8, not square"),
    ({"a.png": png(picture(0, 12))}, "are 12x12, not square with a power of two"),
    ({"a.png": png(picture(0)), "b.png": png(picture(1)), "c.png": png(picture(2, 8, "L"))}, "c.png is L, most"),
    ({"a.png": png(picture(0, 8, "RGBA"))}, "has mode RGBA; convert"),
  ],
)
def test_sets_that_cannot_be_used_are_one_clear_error(tmp_path, files, message):
  path = write_zip(tmp_path / "set.zip", files)
  with pytest.raises(InputError, match=message):
    open_images(path)


def test_set_of_nothing_but_broken_pictures_is_an_error(tmp_path):
  path = write_zip(tmp_path / "set.zip", {"a.png": b"x", "b.png": b"y"})
  with pytest.warns(UserWarning, match="left out 2 of 2"), pytest.raises(InputError, match="none of its 2 pictures"):
    open_images(path)


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    (None, "has no labels"),
    ([["a.png", 0]], r"no label for b\.png \(1 are missing\)"),
    ([["a.png", 0], ["b.png", [1.0]]], "must all be classes"),
    ([["a.png", [1.0, 2.0]], ["b.png", [1.0]]], "as many finite numbers"),
    ([["a.png", [float("nan")]], ["b.png", [1.0]]], "as many finite numbers"),
    ([["a.png", "girl"], ["b.png", "boy"]], "must all be classes"),
    ([["a.png", -1], ["b.png", 0]], "negative"),
    ([["a.png", 10**9], ["b.png", 0]], "too large"),
    ("none", "dataset.json must be"),
  ],
)
def test_labels_that_do_not_fit_are_one_clear_error(tmp_path, labels, message):
  path = write_zip(tmp_path / "set.zip", {"a.png": png(picture(0)), "b.png": png(picture(1))}, labels)
  assert len(open_images(path)) == 2  # without labels nobody looks at them
  with pytest.raises(InputError, match=message):
    open_images(path, use_labels=True)


def test_places_and_values_that_make_no_sense(six, tmp_path):
  with pytest.raises(InputError, match="there is no image set at"):
    open_images(tmp_path / "nowhere.zip")
  (tmp_path / "text.zip").write_text("no zip")
  with pytest.raises(InputError, match="cannot be read as a zip"):
    open_images(tmp_path / "text.zip")
  with pytest.raises(InputError, match="power of two"):
    open_images(six[0], resolution=6)
  with pytest.raises(InputError, match="smaller than resolution=16"):
    open_images(six[0], resolution=16)
  with pytest.raises(InputError, match="max_size=0"):
    open_images(six[0], max_size=0)


def test_tfds_without_its_package_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  with pytest.raises(MissingAssetError, match="pip install tensorflow-datasets"):
    open_images("tfds:cifar10:test")


@pytest.mark.slow
def test_tfds_is_read_without_tensorflow(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))  # read when the package is imported
  tfds = pytest.importorskip("tensorflow_datasets")
  pytest.importorskip("array_record")

  class TinyPictures(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = tmp_path

    def _info(self):
      features = {"image": tfds.features.Image(shape=(12, 10, 3)), "label": tfds.features.ClassLabel(num_classes=4)}
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
      return {"train": self._generate_examples(20), "test": self._generate_examples(5)}

    def _generate_examples(self, count):
      for i in range(count):
        yield i, {"image": io.BytesIO(png(picture(i, (12, 10)))), "label": i % 3}

  TinyPictures(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
  for name, count in (("", 20), (":test", 5), (":1.0.0:train[:50%]", 10)):
    images = open_images(f"tfds:tiny_pictures{name}", resolution=8, use_labels=True)
    assert (len(images), images.c_dim, images.image(0).shape) == (count, 4, (8, 8, 3))
  with pytest.raises(InputError, match="Unknown split 'valid'"):
    open_images("tfds:tiny_pictures:valid")
  with pytest.raises(InputError, match="12x10|10x12"):
    open_images("tfds:tiny_pictures")
  assert "tensorflow" not in sys.modules


def test_batches_have_the_promised_shapes_and_go_on_where_they_were(six):
  images = open_images(six[0], use_labels=True, xflip=True)
  batches = ImageBatches(images, 4, seed=3)
  seen = [next(batches) for _ in range(9)]
  for batch in seen:
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
      "image": ((4, 8, 8, 3), "uint8"), "label": ((4, 3), "float32"), "gen_label": ((4, 4, 3), "float32"),
    }  # fmt: skip
  again = ImageBatches(images, 4, seed=3)
  next(again)
  for start in (7, 2):  # forwards and back
    again.set_state({"position": 4 * start})
    assert again.get_state() == {"position": 4 * start}
    for batch in seen[start:]:
      for name, value in next(again).items():
        np.testing.assert_array_equal(value, batch[name])
  assert again.get_state() == batches.get_state() == {"position": 36}


def test_two_processes_share_the_batches_of_one(six):
  images = open_images(six[0], use_labels=True)
  whole = ImageBatches(images, 4, seed=1)
  parts = [ImageBatches(images, 4, seed=1, process=(i, 2)) for i in range(2)]
  for _ in range(5):
    first, second = (next(part) for part in parts)
    for name, value in next(whole).items():
      np.testing.assert_array_equal(np.stack([first[name], second[name]], 1).reshape(value.shape), value)


def test_generated_labels_are_drawn_evenly_from_the_set(six):
  batches = ImageBatches(open_images(six[0], use_labels=True), 32, seed=0, gen_labels=3)
  labels = np.concatenate([next(batches)["gen_label"].reshape(-1, 3) for _ in range(20)])
  np.testing.assert_allclose(labels.mean(0), 1 / 3, atol=0.05)
  assert (labels.sum(1) == 1).all()


def test_order_shows_every_picture_about_equally_often():
  counts = np.bincount(list(itertools.islice(SamplerOrder(50, 4), 50 * 40)), minlength=50)
  assert counts.min() >= 30
  assert counts.max() <= 50


def test_skipping_is_the_same_as_drawing():
  slow, fast = SamplerOrder(23, 9), SamplerOrder(23, 9)
  for _ in range(10_007):
    next(slow)
  fast.skip(10_007)
  assert list(itertools.islice(slow, 50)) == list(itertools.islice(fast, 50))


def test_batch_sizes_that_cannot_be_shared(six):
  with pytest.raises(ValueError, match="shared by 3 processes"):
    ImageBatches(open_images(six[0]), 4, seed=0, process=(0, 3))

"""The face-attribute network: what it is taught, what it says, and the weights that ship."""

import io
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxtalk import cli
from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.metrics import extractors
from jaxtalk.systems import face_attributes as fa
from jaxtalk.systems import face_attributes_task as task_module

ROOT = Path(__file__).resolve().parents[2]
NAMES = [a.name for a in fa.ATTRIBUTES]


def columns(count):
  """Labels of made-up faces."""
  rng = np.random.default_rng(0)
  drawn = {name: rng.normal(size=count) for name in NAMES}
  return drawn | {
    "age": rng.uniform(3, 13, count),
    "gender": np.arange(count) % 2,
    "ancestry": np.tile([[0.2, 0.3, 0.5]], (count, 1)),
    "skin": rng.integers(1, 11, count),
    "hair": np.array(["bob", "buns"] * count)[:count],
    "hair_colour": np.array(["black", "blond"] * count)[:count],
    "landmarks": rng.uniform(8, 56, (count, 70, 2)),
  }


def face_set(path, count, size=64):
  """A zip like those of the studio, with noise for faces."""
  rng, table = np.random.default_rng(1), io.BytesIO()
  np.savez(table, **columns(count))
  with zipfile.ZipFile(path, "w") as archive:
    for i in range(count):
      png = io.BytesIO()
      Image.fromarray(rng.integers(0, 256, (size, size, 3)).astype(np.uint8)).save(png, "png")
      archive.writestr(f"00000/img{i:08d}.png", png.getvalue())
    archive.writestr("attributes.npz", table.getvalue())
  return path


def test_colours_in_cielab():
  found = task_module.lab([(255, 255, 255), (255, 0, 0), (0, 0, 0), (119, 119, 119)])
  np.testing.assert_allclose(found, [[100, 0, 0], [53.24, 80.09, 67.20], [0, 0, 0], [50.03, 0, 0]], atol=0.02)


def test_targets_come_back_as_they_were(tmp_path):
  images, targets = task_module.read_faces(face_set(tmp_path / "faces.zip", 6))
  known = columns(6)
  assert images.shape == (6, 64, 64, 3) and images.dtype == np.uint8
  for name in ("age", "yaw", "blink", "skin"):
    a = fa.ATTRIBUTES[NAMES.index(name)]
    np.testing.assert_allclose(targets["numbers"][:, NAMES.index(name)] * a.scale + a.centre, known[name], rtol=1e-5)
  np.testing.assert_allclose(targets["landmarks"] * 16 + 31.5, known["landmarks"], rtol=1e-5)
  assert fa.HAIR_STYLES[targets["hair"][1]] == "buns" and targets["gender"].tolist() == [0, 1] * 3
  large, moved = task_module.read_faces(face_set(tmp_path / "large.zip", 6, 128))
  assert large.shape == (6, 64, 64, 3)
  np.testing.assert_allclose(moved["landmarks"] * 16 + 31.5, (known["landmarks"] + 0.5) / 2 - 0.5, rtol=1e-4)


def test_sets_that_do_not_fit_are_refused(tmp_path):
  with pytest.raises(InputError, match="48 pixels"):
    task_module.read_faces(face_set(tmp_path / "odd.zip", 2, 48))
  (tmp_path / "text.zip").write_text("faces")
  with pytest.raises(InputError, match="not a face set"):
    task_module.read_faces(tmp_path / "text.zip")


def symmetric_face():
  """(70, 2) landmarks from -1 to 1 of a face that is its own mirror image."""
  rng = np.random.default_rng(2)
  points = rng.uniform(-0.9, 0.9, (70, 2)).astype(np.float32)
  mirrored = points[task_module.MIRRORED] * [-1, 1]
  return ((points + mirrored) / 2).astype(np.float32)


def test_a_mirror_turns_what_has_sides():
  flip = jnp.array([True, False, True])
  rng = np.random.default_rng(0)
  batch = {
    "image": rng.integers(0, 256, (3, 64, 64, 3)).astype(np.uint8),
    "numbers": rng.normal(size=(3, len(NAMES))).astype(np.float32),
    "landmarks": np.stack([symmetric_face()] * 3),
    "hair": np.array([1, 2, 3]),
  }
  once = task_module.mirror(batch, flip)
  for name in ("yaw", "roll", "light_azimuth", "age"):
    i, sign = NAMES.index(name), 1 if name == "age" else -1
    np.testing.assert_allclose(once["numbers"][:, i], batch["numbers"][:, i] * [sign, 1, sign])
  np.testing.assert_allclose(once["landmarks"], batch["landmarks"], atol=1e-6)
  np.testing.assert_array_equal(once["image"][0], batch["image"][0, :, ::-1])
  twice = task_module.mirror(once, flip)
  for name in batch:
    np.testing.assert_array_equal(twice[name], batch[name])
  # The subject's right eye (36 to 41) becomes the left one, its outer corner stays an outer corner.
  assert task_module.MIRRORED[[36, 39, 48, 30, 68]].tolist() == [45, 42, 54, 30, 69]
  np.testing.assert_array_equal(np.sort(task_module.MIRRORED), np.arange(70))


def test_shifted_pictures_take_their_landmarks_along():
  rng = np.random.default_rng(0)
  places = rng.integers(10, 54, (4, 2))
  images = np.zeros((4, 64, 64, 3), np.float32)
  images[np.arange(4), places[:, 1], places[:, 0]] = 1
  landmarks = np.broadcast_to(((places + 0.5 - 32) / 16)[:, None], (4, 70, 2)).astype(np.float32)
  by = jnp.array([[2, -2], [0, 2], [-1, 0], [2, 1]])
  moved, points = task_module.shift(images, landmarks, by)
  for image, point in zip(np.asarray(moved), np.asarray(points), strict=True):
    row, column = np.unravel_index(image[..., 0].argmax(), (64, 64))
    np.testing.assert_allclose(point[0] * 16 + 31.5, [column, row], atol=1e-4)


def test_degraded_pictures_stay_close_and_differ_each_time():
  x = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (16, 8, 8, 3)).repeat(8, 1).repeat(8, 2))
  degrade, rng = jax.jit(task_module.degrade), np.random.default_rng(3)
  a, b = (degrade(x, rng.uniform(size=(16, 14)).astype(np.float32), jax.random.key(i)) for i in range(2))
  assert a.shape == x.shape and bool(jnp.isfinite(a).all())
  assert 0.02 < float(jnp.abs(a - x).mean()) < 0.25 and float(jnp.abs(a - b).mean()) > 0.02


def test_pictures_of_any_size_become_64_pixels():
  image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
  wanted = image / 127.5 - 1
  np.testing.assert_allclose(fa.to_input(image), wanted, atol=1e-6)
  np.testing.assert_allclose(fa.to_input(image.repeat(4, 1).repeat(4, 2)), wanted, atol=1e-6)
  assert fa.to_input(np.zeros((2, 48, 40, 3), np.uint8)).shape == (2, 64, 64, 3)


def tiny_config():
  config, module = cli.load_config("configs/face_attributes.py", ROOT)
  with config.unlocked():
    config.train.batch_size = 4
    config.train.steps = 40
    config.optimizer.warmup_steps = 5
    config.optimizer.lr = 1e-2
    config.model.widths = (8, 8, 8)
    config.model.mixes = (1, 0, 1)
  return config, module


def test_the_config_makes_a_task_that_learns_and_exports(tmp_path):
  config, module = tiny_config()
  with config.unlocked():
    config.data.path = str(face_set(tmp_path / "faces.zip", 4))
    config.data.held_out_path = config.data.path
  task = module.get_task(config)
  batch = next(task.train_batches(tmp_path))
  for name, spec in task.batch_spec().items():
    assert batch[name].shape == spec.shape and batch[name].dtype == spec.dtype, name
  state, update = jax.jit(task.init)(jax.random.key(0)), jax.jit(task.update)
  losses = []
  for _ in range(40):
    state, metrics = update(state, batch)
    losses.append(float(metrics["loss"]))
  assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
  (path,) = task.export(state, tmp_path / "export")
  loaded = fa.load_face_attributes(path)
  images, _ = task_module.read_faces(Path(config.data.path))
  found, figures = loaded.predict(images), task.evaluate(state)
  assert all(values.shape == (4,) and np.isfinite(values).all() for values in found.values())
  assert loaded.features(images).shape == (4, 256) and {"r2", "r2_age", "accuracy_gender"} <= set(figures)
  with pytest.raises(MissingAssetError, match="no face-attribute weights"):
    fa.load_face_attributes(tmp_path / "none.safetensors")


class Oracle:
  """Knows the truth."""

  def __init__(self, targets):
    self.targets = targets

  def predict(self, images):
    numbers = {a.name: self.targets["numbers"][:, i] * a.scale + a.centre for i, a in enumerate(fa.ATTRIBUTES)}
    hair = {f"hair_{style}": self.targets["hair"] == i for i, style in enumerate(fa.HAIR_STYLES)}
    return numbers | hair | {"gender": self.targets["gender"]}

  def features(self, images):
    return images.reshape(len(images), -1)[:, :8].astype(np.float32)

  def landmarks(self, images):
    return self.targets["landmarks"] * 16 + 31.5


def test_the_score_of_the_truth_is_perfect_and_that_of_the_mean_is_zero(tmp_path):
  images, targets = task_module.read_faces(face_set(tmp_path / "faces.zip", 8))
  figures = task_module.score(Oracle(targets), images, targets)
  assert figures["r2_age"] == pytest.approx(1) and figures["accuracy_gender"] == figures["accuracy_hair"] == 1
  assert figures["landmark_error"] == pytest.approx(0, abs=1e-4)
  mean = {name: np.broadcast_to(x.mean(0), x.shape) for name, x in targets.items()} | {"hair": targets["hair"] * 0 - 1}
  figures = task_module.score(Oracle(mean), images, targets)
  assert figures["r2_age"] == pytest.approx(0, abs=1e-5) and figures["accuracy_hair"] == 0


def test_weights_of_another_network_are_refused(tmp_path):
  from safetensors.numpy import save_file

  save_file({"a": np.zeros(1, np.float32)}, tmp_path / "other.safetensors")
  with pytest.raises(MissingAssetError, match="does not hold weights of this"):
    fa.load_face_attributes(tmp_path / "other.safetensors")
  (tmp_path / "text.safetensors").write_text("weights")
  with pytest.raises(InputError, match="not a safetensors file"):
    fa.load_face_attributes(tmp_path / "text.safetensors")


def test_the_network_keeps_to_its_size():
  shapes = jax.eval_shape(fa.FaceAttributesNet().init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
  assert sum(x.size for x in jax.tree.leaves(shapes)) <= 600_000


def test_blocks_and_neighbours_are_where_they_were():
  x = np.arange(2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
  blocks = np.asarray(fa._blocks(x, 4))
  np.testing.assert_array_equal(blocks[1, 0, 1].reshape(4, 4, 3), x[1, :4, 4:])
  around = np.asarray(fa._neighbours(x)).reshape(2, 8, 8, 3, 3, 3)
  np.testing.assert_array_equal(around[1, 3, 5], x[1, 2:5, 4:7])
  assert (around[0, 0, 0, 0] == 0).all() and (around[0, 0, 0, :, 0] == 0).all()


def test_the_shipped_weights_read_studio_faces_and_enlarged_ones():
  with np.load(Path(__file__).parent / "studio_faces.npz") as data:  # 16 people that they were not taught on
    images, truth = data["images"], dict(data)
  model = fa.load_face_attributes()
  assert fa.WEIGHTS.stat().st_size <= 1_500_000
  found = model.predict(images)
  for name in ("yaw", "light_azimuth", "skin_lightness", "hair_lightness", "blink", "mouth_opening"):
    assert np.corrcoef(found[name], truth["numbers"][:, NAMES.index(name)])[0, 1] > 0.8, name
  assert ((found["gender"] > 0.5) == truth["gender"]).mean() >= 0.75
  assert np.abs(model.landmarks(images) - (truth["landmarks"] * 16 + 31.5)).mean() < 1.0
  large = images.repeat(2, 1).repeat(2, 2)
  np.testing.assert_allclose(model.predict(large)["yaw"], found["yaw"], atol=1e-2)
  np.testing.assert_allclose(model.landmarks(large), 2 * model.landmarks(images) + 0.5, atol=1e-2)
  assert model.features(images).shape == (16, fa.DIMS)


def test_the_built_in_extractor_gives_the_same_features():
  with np.load(Path(__file__).parent / "studio_faces.npz") as data:
    images = data["images"]
  extractor = extractors.make_extractor("face_attributes")
  np.testing.assert_array_equal(extractor.features(images), fa.load_face_attributes().features(images))
  assert (extractor.name, extractor.resolution, extractor.dims) == ("face_attributes", 64, 256)
  assert extractor.probabilities(images) is None and len(extractor.digest) == 64

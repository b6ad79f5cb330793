"""Latents from labels, the distance to single pictures, and runs that learn from them."""

import zipfile
from pathlib import Path

import chex
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk import cli
from jaxtalk.core import InputError
from jaxtalk.data.face_pictures import Face
from jaxtalk.data.faces import read_attributes, write_set
from jaxtalk.stylegan2.paired import SCALARS, SIDED, PairLatents
from jaxtalk.stylegan2.paired_loss import FOCUS_WEIGHT, focus, pyramid_l1
from jaxtalk.stylegan2.task import StyleGAN2Task

ROOT, SIZE, COUNT, Z_DIM = Path(__file__).resolve().parents[2], 16, 192, 96
_NAMES = {
  "hair": ("bob", "buzz", "long"), "hair_colour": ("black", "red"), "eye_colour": ("blue", "brown"),
  "clothes": ("hoodie", "polo"), "clothes_colour": ("red", "white"), "environment": ("garden", "studio"),
  "backdrop": ("lights", "plain"),
}  # fmt: skip


def _row(rng, index):
  """Attributes of a made-up picture; half of the children do not smile."""
  numbers = {name: float(rng.normal()) for name in SCALARS if name not in ("african", "asian", "skin", "smile")}
  names = {name: str(rng.choice(options)) for name, options in _NAMES.items()}
  return {
    **numbers, **names, "smile": max(0.0, float(rng.normal())), "skin": int(rng.integers(1, 11)),
    "identity": index // 8, "gender": index % 2, "ancestry": rng.dirichlet([0.3, 0.3, 0.3]),
    "landmarks": rng.uniform(2, SIZE - 2, (70, 2)), "visible": np.ones(70, bool),
  }  # fmt: skip


@pytest.fixture(scope="module")
def face_set(tmp_path_factory):
  """A zip of coloured pictures whose brightness follows ``age``."""
  path, rng = tmp_path_factory.mktemp("faces") / "set.zip", np.random.default_rng(0)
  rows = [_row(rng, i) for i in range(COUNT)]
  light = [np.clip(128 + 60 * row["age"] + rng.normal(0, 5, (SIZE, SIZE, 3)), 0, 255) for row in rows]
  faces = [Face(image.astype(np.uint8), row) for image, row in zip(light, rows, strict=True)]
  write_set(path, faces, {"size": SIZE}, lambda _: None)
  return path


@pytest.fixture(scope="module")
def latents(face_set):
  columns = read_attributes(face_set)
  images = np.random.default_rng(1).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
  return columns, PairLatents(columns, images, columns["gender"], size=SIZE, z_dim=Z_DIM, seed=0)


def draw(latents, flipped=False, seed=0):
  rows = np.tile(np.arange(COUNT), 20)
  return latents.draw(rows, np.full(len(rows), flipped), np.random.default_rng(seed))


def test_latents_are_spread_like_unit_normal_ones_in_each_class(latents):
  columns, latents = latents
  z, gender = np.concatenate([draw(latents), draw(latents, flipped=True)]), np.tile(columns["gender"], 40)
  assert z.shape == (40 * COUNT, Z_DIM) and z.dtype == np.float32
  for k in (0, 1):
    assert np.abs(z[gender == k].mean(0)).max() < 0.1
  assert 0.85 < z.std(0).min() and z.std(0).max() < 1.1
  correlations = np.corrcoef(z.T) - np.eye(Z_DIM)
  assert np.abs(correlations).max() < 0.4 and np.sqrt(np.square(correlations).mean()) < 0.05


def test_latents_follow_their_labels_and_the_rest_is_drawn_anew(latents):
  columns, latents = latents
  one, same, other = draw(latents), draw(latents), draw(latents, seed=1)
  np.testing.assert_array_equal(one, same)
  assert np.corrcoef(one[:, -1], other[:, -1])[0, 1] == pytest.approx(0, abs=0.06)  # noise
  for name in ("yaw", "age", "gaze_pitch"):
    i = SCALARS.index(name)
    assert np.corrcoef(one[:, i], np.tile(columns[name], 20))[0, 1] > 0.9
    assert np.corrcoef(one[:, i], other[:, i])[0, 1] > 0.9


def test_mirrored_pictures_have_mirrored_labels(latents):
  z, mirrored = draw(latents[1]), draw(latents[1], flipped=True)
  for i, name in enumerate(SCALARS):
    sign = -1 if name in SIDED else 1
    assert sign * np.corrcoef(z[:, i], mirrored[:, i])[0, 1] > 0.5, name
  np.testing.assert_allclose(latents[1].centres[1, :, 2, 0], 1 - latents[1].centres[0, :, 2, 0], atol=1e-6)
  np.testing.assert_allclose(latents[1].centres[1, :, 0, 0], 1 - latents[1].centres[0, :, 1, 0], atol=1e-6)


def test_categories_own_regions_as_large_as_they_are_frequent(latents):
  """Any latent belongs to the category whose region it lies in, so random ones show them as often as the data does."""
  columns, latents = latents
  _, hair = np.unique(columns["hair"], return_inverse=True)
  regions, share = latents._regions[0], np.bincount(hair) / COUNT
  np.testing.assert_allclose(np.diff(regions.starts) / len(regions.points), share, atol=0.01)
  np.testing.assert_allclose(regions.points.mean(0), 0, atol=0.03)
  np.testing.assert_allclose(np.cov(regions.points.T), np.eye(2), atol=0.05)


def test_distance_is_that_of_all_scales():
  centres = jnp.full((1, 1, 2), 5.0)  # far outside: every pixel counts the same
  grey, fine = jnp.zeros((1, 8, 8, 3)), jnp.indices((8, 8)).sum(0)[None, :, :, None] % 2 * 2.0 - 1
  distance = golden.jit(pyramid_l1)
  np.testing.assert_allclose(distance(grey + 0.5, grey, centres), 0.5, rtol=1e-6)  # only the coarsest level
  np.testing.assert_allclose(distance(grey + fine, grey, centres), 1.0, rtol=1e-6)  # only the finest
  np.testing.assert_allclose(distance(grey + fine + 0.5, grey, centres), 1.5, rtol=1e-6)


def test_features_count_more():
  weights = np.asarray(golden.jit(focus, static_argnums=1)(jnp.array([[[0.25, 0.75]]]), 8))[0]
  assert np.unravel_index(weights.argmax(), weights.shape) in {(5, 1), (5, 2), (6, 1), (6, 2)}
  assert 1 + 0.5 * FOCUS_WEIGHT < weights.max() < 1 + FOCUS_WEIGHT and weights[0, 7] == pytest.approx(1)


def tiny(path, **changes):
  config, _ = cli.load_config("configs/stylegan2.py:demo,resolution=8", ROOT)
  small = {"train.steps": 12, "train.batch_size": 8, "mesh.data": 1, "model.z_dim": Z_DIM, "model.w_dim": 16}
  small |= {"model.channel_base": 64, "model.mapping_layers": 2, "eval.grid": 2, "data.path": path}
  small |= {"loss.paired_weight": 1.0, "loss.paired_only_kimg": 0.096, "optimizer.paired_lr": 0.02}
  values = {**small, **{name.replace("__", "."): value for name, value in changes.items()}}
  cli.override(config, {name: str(value) for name, value in values.items()})
  return config


def test_single_pictures_alone_teach_the_generator_and_leave_the_discriminator(face_set):
  task = StyleGAN2Task(tiny(face_set))
  stages = {stage.name: stage for stage in task.stages()}
  assert {name: (s.every, s.start) for name, s in stages.items()} == {
    "Gmain": (1, 12), "Dmain": (1, 12), "Dreg": (16, 12), "Gpair": (1, 0), "finish": (1, 0),
  }  # fmt: skip
  data = task.train_batches(Path())
  batch = next(data)
  assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
    name: (x.shape, x.dtype) for name, x in task.batch_spec().items()
  }
  update, before = golden.jit(stages["Gpair"].run), golden.jit(task.init)(jax.random.key(0))
  state, history = before, []
  for _ in range(15):
    state, report = update(state, batch)
    history.append(float(report["loss_pair"]))
  assert history[-1] < 0.7 * history[0]
  chex.assert_trees_all_equal(state.params["D"], before.params["D"])
  assert not np.array_equal(state.extra["G_buffers"]["mapping"]["w_avg"], before.extra["G_buffers"]["mapping"]["w_avg"])


def test_batches_are_the_same_after_going_on(face_set):
  data = StyleGAN2Task(tiny(face_set)).train_batches(Path())
  next(data)
  place, second = data.get_state(), next(data)
  again = StyleGAN2Task(tiny(face_set)).train_batches(Path())
  again.set_state(place)
  chex.assert_trees_all_equal(next(again), second)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model__z_dim": 32}, r"need config.model.z_dim=\d+, not 32"),
    ({"model__networks": "pair", "data__only_label": 0}, "needs both classes, config.data.only_label=-1"),
    ({"loss__paired_weight": -1}, "must be at least 0"),
  ],
)
def test_what_cannot_be_paired_is_refused(face_set, changes, message):
  with pytest.raises(InputError, match=message):
    StyleGAN2Task(tiny(face_set, **changes)).train_batches(Path())


def test_pictures_without_attributes_are_refused(face_set, tmp_path):
  bare = tmp_path / "bare.zip"
  with zipfile.ZipFile(face_set) as source, zipfile.ZipFile(bare, "w") as target:
    for name in source.namelist():
      if name != "attributes.npz":
        target.writestr(name, source.read(name))
  with pytest.raises(InputError, match="needs the studio's labels .0 does without.: .*attributes.npz") as caught:
    StyleGAN2Task(tiny(bare))
  assert "\n" not in str(caught.value)

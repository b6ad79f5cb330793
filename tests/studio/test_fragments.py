"""Points to shade: against one point a sample, which they must equal wherever a pixel's surfaces are constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.studio import fragments

H, W = 6, 10


def random_samples(seed: int, faces: int = 12):
  rng = np.random.default_rng(seed)
  ids = rng.integers(-1, faces, (2 * H, 2 * W)).astype(np.int32)
  depth = np.where(ids >= 0, 1.0 + 0.01 * np.maximum(ids, 0), 0.0).astype(np.float32)  # faces 1 cm apart
  return ids, np.where(ids >= 0, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32), np.zeros(faces, np.int32)


def shaded(colours: np.ndarray, spots: fragments.Fragments) -> np.ndarray:
  return np.where(spots.ids >= 0, colours[np.maximum(spots.ids, 0)], 7.0).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_mixing_points_equals_averaging_samples(seed):
  """Every face has its colour: whatever the layout of faces in a pixel, the pixel is the mean of its samples."""
  ids, z, group = random_samples(seed)
  colours = np.random.default_rng(seed).random(12).astype(np.float32)
  background = np.random.default_rng(9).random(H * W).astype(np.float32)
  spots = fragments.find(ids, z, group, factor=2, budget=200)
  pixels = fragments.mix(shaded(colours, spots), background, spots)
  every = np.where(ids >= 0, colours[np.maximum(ids, 0)], np.repeat(np.repeat(background.reshape(H, W), 2, 0), 2, 1))
  np.testing.assert_allclose(pixels.reshape(H, W), every.reshape(H, 2, W, 2).mean((1, 3)), atol=1e-6)


def test_one_surface_needs_one_point_at_the_centre():
  """Neighbouring faces of one group at nearly one depth share a point; more points are made for nothing else."""
  ids = np.arange(4 * H * W, dtype=np.int32).reshape(2 * H, 2 * W)
  z = np.full(ids.shape, 0.9, np.float32)
  spots = fragments.find(ids, z, np.zeros(ids.size, np.int32), factor=2, budget=5)
  assert np.all(spots.pixel == H * W) and np.all(spots.share[: H * W] == 1)
  np.testing.assert_allclose(spots.x[: H * W].reshape(H, W)[0], 2 * np.arange(W) + 0.5)
  np.testing.assert_allclose(spots.y[: H * W].reshape(H, W)[:, 0], 2 * np.arange(H) + 0.5)


def test_groups_and_fine_faces_are_told_apart():
  ids = np.tile(np.array([[0, 1], [0, 1]], np.int32), (H, W))
  z = np.full(ids.shape, 0.9, np.float32)
  two = fragments.find(ids, z, np.array([3, 4]), factor=2, budget=400)
  assert (two.pixel < H * W).sum() == H * W and np.all(two.share[: H * W] == 0.5)
  fine = fragments.find(ids, z, np.array([3, 3]), factor=2, budget=400, fine=3)
  assert (fine.pixel < H * W).sum() == 3 * H * W
  assert sorted(np.asarray(fine.x[H * W :])[np.asarray(fine.pixel) == 0]) == [0.0, 1.0, 1.0]


def test_a_full_budget_loses_no_coverage():
  """Points that do not fit fall to the first of their pixel: shares still add up to what is covered."""
  ids, z, group = random_samples(3)
  spots = fragments.find(ids, z, group, factor=2, budget=9)
  pixel = np.asarray(spots.pixel)
  assert np.all(pixel < H * W)
  total = np.asarray(spots.share[: H * W]).copy()
  np.add.at(total, pixel, np.asarray(spots.share[H * W :]))
  np.testing.assert_allclose(total.reshape(H, W), (ids >= 0).reshape(H, 2, W, 2).mean((1, 3)), atol=1e-6)


def test_empty_picture():
  ids = np.full((2 * H, 2 * W), -1, np.int32)
  spots = fragments.find(ids, np.zeros(ids.shape, np.float32), np.zeros(4, np.int32), factor=2, budget=8)
  background = np.linspace(0, 1, H * W).astype(np.float32)
  np.testing.assert_array_equal(fragments.mix(jnp.full(H * W + 8, 5.0), background, spots), background)


def test_attributes_of_an_affine_function():
  screen = np.array([[1, 2, 1], [30, 4, 1], [9, 40, 1]], np.float32)
  column = 2 * screen[:, 0] - 0.5 * screen[:, 1] + 3
  x, y = np.array([12.0, 10.5], np.float32), np.array([11.0, 14.5], np.float32)
  corners, weights = fragments.corners(screen, np.array([[0, 1, 2]]), np.zeros(2, np.int32), x, y)
  np.testing.assert_allclose(fragments.interpolate(column, corners, weights), 2 * x - 0.5 * y + 3, rtol=1e-5)


def test_points_outside_their_face_move_to_its_border_or_continue_the_plane():
  screen = np.array([[0, 0, 1], [10, 0, 1], [0, 10, 1]], np.float32)
  for slack, expected in ((0.0, 10.0), (1.0, 12.0)):
    corners, weights = fragments.corners(
      screen, np.array([[0, 1, 2]]), np.zeros(1, np.int32), np.array([12.0]), np.array([0.0]), slack=slack
    )
    np.testing.assert_allclose(fragments.interpolate(screen[:, 0], corners, weights), expected, rtol=1e-6)


def test_one_program_for_all_pictures():
  find = jax.jit(lambda i, z, g: fragments.find(i, z, g, factor=2, budget=20))
  for seed in range(3):
    find(*random_samples(seed))
  assert find._cache_size() == 1

"""The rasteriser against a brute-force NumPy one that tries every sample with every triangle in 64-bit integers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.studio import raster


def brute_force(screen, faces, mask, two_sided, height, width):
  """Coverage (F, H, W) and 1/depth (F, H, W) of the fixed-point triangles, and the best id (H, W)."""
  one = 1 << raster.fixed_point_bits(height, width)
  fixed = np.round(np.clip(screen[:, :2], -(2.0**20), 2.0**20).astype(np.float64) * one).astype(np.int64)
  x, y = np.meshgrid(np.arange(width) * one, np.arange(height) * one)
  covered = np.zeros((len(faces), height, width), bool)
  z = np.zeros((len(faces), height, width))
  for number, face in enumerate(faces):
    p, w = fixed[face], screen[face, 2].astype(np.float64)
    area = (p[1, 0] - p[0, 0]) * (p[2, 1] - p[0, 1]) - (p[1, 1] - p[0, 1]) * (p[2, 0] - p[0, 0])
    if not mask[number] or area == 0 or (area > 0 and not two_sided[number]) or np.any(w <= 0):
      continue
    sign = 1 if area > 0 else -1
    inside, bary = np.ones((height, width), bool), np.zeros((3, height, width))
    for k in range(3):
      (ax, ay), (bx, by) = p[k], p[(k + 1) % 3]
      a, b = -(by - ay) * sign, (bx - ax) * sign
      edge = a * (x - ax) + b * (y - ay)
      inside &= (edge > 0) | ((edge == 0) & ((a > 0) | ((a == 0) & (b > 0))))
      bary[(k + 2) % 3] = edge / abs(area)
    covered[number], z[number] = inside, np.tensordot(w, bary, 1)
  score = np.where(covered, z, -1.0)
  best = np.where(covered.any(0), len(faces) - 1 - np.argmax(score[::-1], axis=0), -1)
  return covered, z, best


def random_scene(seed, num, height, width, size):
  """Separate triangles: ordinary ones, slivers, points, big ones, some behind the camera, some outside."""
  rng = np.random.default_rng(seed)
  centre = rng.uniform(-0.15, 1.15, (num, 1, 2)) * [width, height]
  corners = centre + rng.normal(size=(num, 3, 2)) * size * rng.choice([0.1, 1, 1, 1, 4], (num, 1, 1))
  corners[::7, 2] = corners[::7, 0] + (corners[::7, 1] - corners[::7, 0]) * 0.7 + rng.normal(size=(num, 2))[::7] * 0.02
  corners[::11] = np.round(corners[::11])  # corners and edges exactly on samples
  z = 1 / rng.uniform(0.8, 1.4, (num, 3))
  z[5::17, 1] = -0.2
  screen = np.concatenate([corners, z[..., None]], axis=2).reshape(-1, 3).astype(np.float32)
  return screen, np.arange(3 * num, dtype=np.int32).reshape(num, 3), rng.random(num) < 0.95, rng.random(num) < 0.5


@partial(jax.jit, static_argnames=("height", "width", "chunk"))
def compiled(screen, faces, mask, two_sided, *, height, width, chunk):
  return raster.visibility(screen, faces, mask, height=height, width=width, face_two_sided=two_sided, chunk=chunk)


def visibility(screen, faces, mask, two_sided, *, height, width, chunk=None):
  """Padded to one number of vertices and faces, so that the tests share few compiled programs."""
  v, f = 2048 - len(screen), max(2048 - len(faces), 0)
  screen = np.concatenate([screen, np.ones((v, 3), np.float32)]).astype(np.float32)
  faces = np.concatenate([faces, np.zeros((f, 3), np.int32)]).astype(np.int32)
  mask, two_sided = np.concatenate([mask, np.zeros(f, bool)]), np.concatenate([two_sided, np.zeros(f, bool)])
  return np.asarray(compiled(screen, faces, mask, two_sided, height=height, width=width, chunk=chunk))


def assert_same_picture(screen, faces, mask, two_sided, height, width, chunk=None):
  ids = np.asarray(visibility(screen, faces, mask, two_sided, height=height, width=width, chunk=chunk))
  covered, z, best = brute_force(screen, faces, mask, two_sided, height, width)
  np.testing.assert_array_equal(ids >= 0, best >= 0)
  rows, columns = np.nonzero(ids != best)  # only where two surfaces are closer than the depth key tells apart
  chosen, wanted = ids[rows, columns], best[rows, columns]
  assert covered[chosen, rows, columns].all()
  assert np.all(np.abs(z[chosen, rows, columns] - z[wanted, rows, columns]) < 2e-6)
  assert len(rows) <= 0.01 * ids.size
  return ids


@pytest.mark.parametrize(
  ("seed", "num", "height", "width", "size"),
  [(0, 300, 96, 96, 3.0), (1, 60, 96, 96, 20.0), (2, 40, 131, 17, 80.0), (3, 500, 96, 96, 1.0), (4, 3, 8, 8, 9.0)],
)
def test_equals_brute_force(seed, num, height, width, size):
  scene = random_scene(seed, num, height, width, size)
  ids = assert_same_picture(*scene, height, width)
  assert (ids >= 0).any()


def test_many_rounds_equal_one():
  """A list of tiles longer than the chunk takes several rounds and loses nothing."""
  scene = random_scene(5, 80, 96, 96, 30.0)
  few = assert_same_picture(*scene, 96, 96, chunk=7)
  np.testing.assert_array_equal(few, visibility(*scene, height=96, width=96))


def test_triangle_over_the_whole_picture_and_far_beyond():
  faces, mask = np.array([[0, 2, 1]], np.int32), np.ones(1, bool)
  for reach in (300.0, 3e4, 1e7):
    screen = np.array([[-reach, -reach, 1], [reach, -reach, 1], [0, 4 * reach, 1]], np.float32)
    assert np.all(visibility(screen, faces, mask, ~mask, height=96, width=96) == 0)


def test_far_reaching_edge_is_within_an_eighth_of_a_sample():
  """A line through the picture from corners 2000 samples away."""
  screen = np.array([[-2000.3, -1950.9, 1], [2000.0, 2049.4, 1], [-2000.3, 2049.4, 1]], np.float32)
  ids = np.asarray(visibility(screen, np.array([[0, 2, 1]]), np.ones(1, bool), np.ones(1, bool), height=96, width=96))
  y, x = np.mgrid[:96, :96]
  a, b = screen[0, :2].astype(np.float64), screen[1, :2].astype(np.float64)
  distance = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / np.hypot(*(b - a))
  assert np.all(ids[distance > 0.125] == 0) and np.all(ids[distance < -0.125] == -1)


def sphere(rows=24, columns=40):
  """A closed triangle mesh, outside counter-clockwise, as vertices and faces."""
  theta, phi = np.linspace(0, np.pi, rows + 1)[1:-1], np.arange(columns) * 2 * np.pi / columns
  ring = np.stack(
    [
      np.outer(np.sin(theta), np.sin(phi)),
      np.outer(np.cos(theta), np.ones(columns)),
      np.outer(np.sin(theta), np.cos(phi)),
    ],
    axis=-1,
  )
  vertices = np.concatenate([ring.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]])
  at = lambda i, j: i * columns + j % columns  # noqa: E731
  faces = []
  for j in range(columns):
    faces += [[len(vertices) - 2, at(0, j), at(0, j + 1)], [len(vertices) - 1, at(rows - 2, j + 1), at(rows - 2, j)]]
    for i in range(rows - 2):
      faces += [[at(i, j), at(i + 1, j), at(i + 1, j + 1)], [at(i, j), at(i + 1, j + 1), at(i, j + 1)]]
  return vertices, np.array(faces, np.int32)


def project(points, size, distance=3.0, shift=0.0):
  depth = distance - points[:, 2]
  x, y = size * points[:, 0] / depth + size / 2 + shift, size / 2 - size * points[:, 1] / depth
  return np.stack([x, y, 1 / depth], axis=1).astype(np.float32)


@pytest.mark.parametrize("size", [96, 350])
def test_closed_mesh_has_no_cracks_and_no_double_cover(size):
  """Every sample of the silhouette belongs to exactly one front face, wherever the sphere lies between samples."""
  vertices, faces = sphere()
  screen = project(vertices, size, shift=0.371)
  mask = np.ones(len(faces), bool)
  ids = np.asarray(visibility(screen, faces, mask, ~mask, height=size, width=size))
  radius = size / np.sqrt(8)
  y, x = np.mgrid[:size, :size]
  r = np.hypot(x - size / 2 - 0.371, y - size / 2)
  assert np.all(ids[r < radius * 0.98] >= 0) and np.all(ids[r > radius * 1.01] == -1)
  covered, _, _ = brute_force(screen, faces, mask, ~mask, size, size) if size < 100 else (None,) * 3
  if covered is not None:
    assert covered.sum(0).max() == 1
    np.testing.assert_array_equal(covered.any(0), ids >= 0)


def test_two_sided_and_culled():
  screen = np.array([[2, 2, 1], [2, 20, 1], [20, 2, 1]], np.float32)
  front, back, yes = np.array([[0, 1, 2]]), np.array([[0, 2, 1]]), np.ones(1, bool)
  pictures = [
    np.asarray(visibility(screen, f, yes, two, height=96, width=96)) >= 0 for f in (front, back) for two in (yes, ~yes)
  ]
  assert pictures[0].any() and not pictures[3].any()
  np.testing.assert_array_equal(pictures[0], pictures[1])
  np.testing.assert_array_equal(pictures[0], pictures[2])


def test_surfaces_a_tenth_of_a_millimetre_apart_sort():
  """Two parallel planes at 1 m, 0.1 mm apart, tilted, in a scene 0.6 m deep with 30 000 faces."""
  rng = np.random.default_rng(0)

  def plane(lift):
    p = np.array([[-0.1, -0.1, 0.05], [0.1, -0.1, -0.05], [0.1, 0.1, 0.0], [-0.1, 0.1, 0.1]]) + [0, 0, lift]
    return project(p, 96, distance=1.0)

  far = project(np.array([[-0.3, 0.3, -0.4], [-0.3, 0.31, -0.4], [-0.29, 0.3, 0.2]]), 96, distance=1.0)
  quad = np.array([[0, 1, 2], [0, 2, 3]])
  faces = np.concatenate([quad, quad + 4, [[8, 9, 10]], np.zeros((29_995, 3))]).astype(np.int32)[
    rng.permutation(30_000)
  ]
  mask = np.ones(30_000, bool)
  ids = np.asarray(visibility(np.concatenate([plane(0.0), plane(1e-4), far]), faces, mask, mask, height=96, width=96))
  seen = faces[ids[ids >= 0]].min(axis=1)
  assert (seen == 4).sum() > 300 and not (seen == 0).any()


def test_no_visible_faces_and_not_finite_vertices():
  screen = np.array([[np.nan, 2, 1], [np.inf, 20, 1], [20, -np.inf, 1]], np.float32)
  yes = np.ones(1, bool)
  ids = visibility(screen, np.array([[0, 1, 2]]), ~yes, yes, height=96, width=96)
  assert np.all(np.asarray(ids) == -1)
  assert visibility(screen, np.array([[0, 1, 2]]), yes, yes, height=96, width=96).shape == (96, 96)


def test_same_bytes_batched_mapped_and_sharded_and_compiled_once():
  vertices, faces = sphere()
  mask = jnp.ones(len(faces), bool)
  screens = np.stack([project(vertices, 96, shift=s) for s in np.linspace(-3, 3, 8)])
  one = partial(raster.visibility, faces=jnp.asarray(faces), face_mask=mask, height=96, width=96)
  single = jax.jit(one)
  expected = np.stack([single(s) for s in screens])
  assert single._cache_size() == 1
  np.testing.assert_array_equal(jax.jit(jax.vmap(one))(screens), expected)
  np.testing.assert_array_equal(jax.jit(lambda s: jax.lax.map(one, s))(screens), expected)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec("data")
  spread = jax.device_put(screens, jax.sharding.NamedSharding(mesh, spec))
  mapped = jax.jit(
    jax.shard_map(lambda s: jax.lax.map(one, s), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
  )
  np.testing.assert_array_equal(mapped(spread), expected)

"""Clothes: fit every body, cover it, sit outside the skin, and are cut cleanly."""

import functools

import numpy as np
import pytest
from rays import first_hit

from jaxtalk.core import InputError
from jaxtalk.studio import garment, head
from jaxtalk.studio.cutting import border_edges, clip, ordered_loop
from jaxtalk.studio.garment import GarmentTemplate, dress
from jaxtalk.studio.mesh import grid_faces, vertex_normals
from jaxtalk.studio.person import sample_person

STYLES = tuple(garment.GARMENT_STYLES)


@functools.cache
def template() -> GarmentTemplate:
  return GarmentTemplate(**head.load_asset().garment)


@functools.cache
def body(age: float, gender: str = "girl") -> np.ndarray:
  return head.shape(sample_person(int(age), age=age, gender=gender)).vertices


def dressed(style: str, age: float = 6.0, gender: str = "girl", seed: int = 0):
  return dress(body(age, gender), template(), style, np.random.default_rng(seed))


def plane(n: int = 21) -> tuple[np.ndarray, np.ndarray]:
  y, x = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij")
  return np.stack([x.reshape(-1), y.reshape(-1), np.zeros(n * n)], 1), grid_faces(n, n)


def area(vertices: np.ndarray, faces: np.ndarray) -> float:
  a, b, c = (vertices[faces[:, k]] for k in range(3))
  return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("age,gender", [(3.0, "boy"), (8.0, "girl"), (35.0, "girl")])
def test_arrays_are_sound(style, age, gender):
  part = dressed(style, age, gender).part
  assert len(part.vertices) <= 7000 and len(part.faces) <= 12500
  assert part.faces.min() == 0 and part.faces.max() < len(part.vertices)
  assert np.isfinite(part.vertices).all() and np.isfinite(part.coord).all()
  np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-5)
  np.testing.assert_allclose(part.bind_weight.sum(1), 1, atol=1e-6)
  assert part.bind_index.shape == (len(part.vertices), 3)
  assert np.isin(part.bind_index, template().index).all()


@pytest.mark.parametrize("style", STYLES)
def test_cloth_faces_outwards(style):
  part = dressed(style).part
  a, b, c = (part.vertices[part.faces[:, k]].astype(np.float64) for k in range(3))
  agree = (np.cross(b - a, c - a) * part.normals[part.faces].mean(1)).sum(1) > 0
  assert agree.mean() > 0.98
  main = part.faces[(part.layer[part.faces] == 0).all(1)]
  middle = part.vertices[main].mean(1) - part.vertices.mean(0)
  below_collar = part.vertices[main][..., 1].max(1) < part.vertices[:, 1].max() - 0.15
  trunk = (np.abs(middle[:, 0]) < 0.05) & below_collar
  outward = (part.normals[main].mean(1) * middle * [1, 0, 1]).sum(1)[trunk] > 0
  assert outward.mean() > 0.9


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("age", [4.0, 12.0])
def test_hidden_skin_is_covered_by_cloth(style, age):
  result, t, shape = dressed(style, age), template(), body(age).astype(np.float64)
  corners = shape[t.body_faces]
  normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
  normal /= np.linalg.norm(normal, axis=1, keepdims=True)
  on_trunk = np.isin(t.body_faces, t.index[t.arm == 0]).all(1)
  candidates = np.flatnonzero(result.hidden & on_trunk)
  chosen = np.random.default_rng(0).choice(candidates, 60, replace=False)
  # The cloth may span a hollow of the body, so look for it from 2 cm under the skin outwards.
  hits = [first_hit(corners[k].mean(0) - 0.02 * normal[k], normal[k], result.part) for k in chosen]
  assert np.mean(np.isfinite(hits)) > 0.98


@pytest.mark.parametrize("style", STYLES)
def test_nobody_is_bare_below_the_neckline(style):
  result, t = dressed(style), template()
  assert result.hidden[t.body_neck < -0.04].all()
  assert not result.hidden[t.body_neck > 0.02].any()


@pytest.mark.parametrize("age,gender", [(3.0, "boy"), (8.0, "girl"), (35.0, "boy")])
def test_collar_is_a_smooth_ring_that_clears_the_neck(age, gender):
  part = dressed("tshirt", age, gender).part
  collar = part.vertices[part.layer == 1].reshape(96, -1, 3)
  top = collar[:, 5]
  step = np.linalg.norm(np.roll(top, -1, 0) - top, axis=1)
  assert step.max() < 0.012
  bend = np.linalg.norm(np.roll(top, -1, 0) + np.roll(top, 1, 0) - 2 * top, axis=1)
  assert bend.max() < 0.002
  assert top[48, 1] < top[0, 1]  # lower in front than behind


def test_sleeves_hang_down():
  shape, t = body(6.0), template()
  lowered = garment.lower_arms(shape[t.index].astype(np.float64), shape, t)
  arm = t.arm > 0.5
  assert lowered[arm, 0].mean() < shape[t.index][arm, 0].mean() - 0.02
  trunk = t.arm == 0
  np.testing.assert_array_equal(lowered[trunk], shape[t.index][trunk].astype(np.float64))


def test_clothes_reach_below_the_picture():
  for age in (3.0, 8.0):
    eyes = head.shape(sample_person(int(age), age=age)).joints["l-eye"][1]
    assert dressed("tshirt", age).part.vertices[:, 1].min() < eyes - 0.4


@pytest.mark.parametrize("style", STYLES)
def test_same_seed_same_bytes(style):
  first, second = dressed(style, seed=2), dressed(style, seed=2)
  assert first.part.vertices.tobytes() == second.part.vertices.tobytes()
  assert first.hidden.tobytes() == second.hidden.tobytes()


def test_unknown_style_names_the_choices():
  with pytest.raises(InputError, match="tutu.*choose one of.*tshirt"):
    dressed("tutu")


def test_template_rejects_a_mesh_that_lost_its_shoulders():
  index_map = np.arange(len(body(6.0)))
  index_map[template().shoulders[0, 0]] = -1
  with pytest.raises(InputError, match="shoulders|index|body_faces"):
    template().reindex(index_map)
  assert set(template().index) <= set(template().required_vertices())


def test_clip_is_exact_on_a_plane():
  vertices, faces = plane()
  cut = clip(vertices, faces, vertices[:, 0] - 0.33)
  assert area(cut.vertices, cut.faces) == pytest.approx(2 * 1.33, abs=1e-9)
  np.testing.assert_allclose(cut.vertices[cut.on_cut, 0], 0.33, atol=1e-9)
  blended = (1 - cut.share)[:, None] * vertices[cut.parents[:, 0]] + cut.share[:, None] * vertices[cut.parents[:, 1]]
  np.testing.assert_allclose(blended, cut.vertices, atol=1e-12)
  assert (vertex_normals(cut.vertices, cut.faces) @ vertex_normals(vertices, faces)[0] > 0.99).all()


def test_loop_around_a_hole():
  vertices, faces = plane(61)
  cut = clip(vertices, faces, 0.5 - np.hypot(vertices[:, 0], vertices[:, 1]))
  loop = cut.vertices[ordered_loop(cut.faces, cut.on_cut)]
  length = np.linalg.norm(np.roll(loop, -1, 0) - loop, axis=1).sum()
  assert length == pytest.approx(np.pi, rel=0.01)


def test_border_of_a_plane():
  assert len(border_edges(plane(5)[1])) == 16

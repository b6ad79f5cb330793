"""Hair: fits the head, covers the scalp, leaves the eyes free, for every style and age."""

import dataclasses
import functools

import numpy as np
import pytest
from rays import first_hit

from jaxtalk.core import InputError
from jaxtalk.studio import hair, head
from jaxtalk.studio.locks import coil, cut_curves, scatter_roots
from jaxtalk.studio.mesh import grid_faces, join, resample, surface_part, vertex_normals
from jaxtalk.studio.person import sample_person
from jaxtalk.studio.scalp import AROUND, ScalpRegion, Skull, under_hair

STYLES = tuple(hair.HAIR_STYLES)


@functools.cache
def region() -> ScalpRegion:
  return ScalpRegion(**head.load_asset().scalp)


@functools.cache
def vertices(age: float, ancestry: str) -> np.ndarray:
  return head.shape(sample_person(int(age), age=age, gender="girl", ancestry=ancestry)).vertices


def grown(style: str, age: float = 6.0, seed: int = 0, ancestry: str = "european"):
  return hair.grow_hair(vertices(age, ancestry), region(), style, np.random.default_rng(seed), age=age)


@pytest.mark.parametrize("style", STYLES)
def test_arrays_are_sound(style):
  part = grown(style)
  count = len(part.vertices)
  assert count <= 9000 and len(part.faces) <= 14000
  assert part.faces.min() == 0 and part.faces.max() < count
  for field in dataclasses.fields(part):
    value = getattr(part, field.name)
    assert isinstance(value, bool) or np.isfinite(value).all(), field.name
  np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-5)
  assert part.shade.min() > 0.2 and part.shade.max() <= 1
  assert np.abs(part.tint).max() <= 1
  assert part.coord[:, 1].min() >= 0 and part.coord[:, 1].max() <= 1


@pytest.mark.parametrize("style", STYLES)
def test_same_seed_same_bytes(style):
  first, second, other = grown(style, seed=3), grown(style, seed=3), grown(style, seed=4)
  assert first.vertices.tobytes() == second.vertices.tobytes()
  assert first.faces.tobytes() == second.faces.tobytes()
  assert first.vertices.tobytes() != other.vertices.tobytes()


@pytest.mark.parametrize("age,ancestry", [(3.0, "asian"), (8.0, "african"), (35.0, "european")])
@pytest.mark.parametrize("style", STYLES)
def test_eyes_stay_free(style, age, ancestry):
  skull = Skull(vertices(age, ancestry), region())
  radius = 0.006 * skull.scale / 0.8
  for seed in (0, 1):
    part = grown(style, age, seed, ancestry)
    for eye in skull.eyes:
      for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        assert first_hit(eye + [dx * radius, dy * radius, 0], np.array([0.0, 0.0, 1.0]), part) == np.inf


@pytest.mark.parametrize("style", STYLES)
def test_no_bald_spots_and_no_buried_hair(style):
  skull, part = Skull(vertices(6.0, "european"), region()), grown(style)
  rng = np.random.default_rng(5)
  around = rng.uniform(0, AROUND, 60)
  rows = skull.hairline(around) * np.sqrt(rng.uniform(0, 0.8, 60))
  points, normals = skull.at(around, rows)
  covered = [first_hit(p - 0.004 * n, n, part) < np.inf for p, n in zip(points, normals, strict=True)]
  assert np.mean(covered) == 1
  gap, _ = skull.distance(part.vertices.astype(np.float64))
  assert np.mean(gap < -0.006) < 0.01


def test_hair_follows_the_head_not_a_template():
  small, large = Skull(vertices(3.0, "asian"), region()), Skull(vertices(35.0, "european"), region())
  assert large.scale > 1.08 * small.scale
  widths = [np.ptp(grown("buzz", age, 0, who).vertices[:, 0]) for age, who in ((3.0, "asian"), (35.0, "european"))]
  assert widths[1] > 1.05 * widths[0]


def test_styles_differ_in_length():
  lowest = {style: grown(style).vertices[:, 1].min() for style in ("buzz", "bob", "long")}
  assert lowest["buzz"] > lowest["bob"] + 0.02 > lowest["long"] + 0.06


def test_under_hair_is_full_on_the_crown_and_nothing_on_the_face():
  mask = under_hair(region(), len(vertices(6.0, "european")))
  shape = vertices(6.0, "european")
  skull = Skull(shape, region())
  crown = region().collide[np.argsort(-shape[region().collide, 1])[:20]]
  assert (mask[crown] == 1).all()
  face = region().collide[np.linalg.norm(shape[region().collide] - skull.chin, axis=1) < 0.05]
  assert (mask[face] == 0).all()
  assert (mask[region().ears] == 0).all()
  assert ((mask > 0.01) & (mask < 0.99)).sum() > 30


def test_unknown_style_names_the_choices():
  with pytest.raises(InputError, match="mohawk.*choose one of.*bob"):
    grown("mohawk")


def test_region_survives_packing_and_rejects_a_mesh_that_lost_its_scalp():
  shape, needed = vertices(6.0, "european"), region().required_vertices()
  order = np.random.default_rng(0).permutation(needed)
  index_map = np.full(len(shape), -1)
  index_map[order] = np.arange(len(order))
  packed = Skull(shape[order], region().reindex(index_map))
  np.testing.assert_allclose(packed.points, Skull(shape, region()).points, atol=1e-9)
  index_map[region().chin] = -1
  with pytest.raises(InputError, match="chin"):
    region().reindex(index_map)


def test_signed_distance_is_height_above_the_scalp():
  skull = Skull(vertices(6.0, "european"), region())
  around = np.linspace(0, AROUND, 50, endpoint=False)
  points, normals = skull.at(around, 0.5 * skull.hairline(around))
  for height in (-0.002, 0.0, 0.01, 0.02):
    gap, outward = skull.distance(points + height * normals)
    np.testing.assert_allclose(gap, height, atol=0.0015)
    assert ((outward * normals).sum(1) > 0.97).all()


def test_roots_lie_within_the_hairline():
  skull = Skull(vertices(6.0, "european"), region())
  around, rows = scatter_roots(skull, 200, np.random.default_rng(0), start=0.3, stop=0.9)
  share = rows / skull.hairline(around)
  assert share.min() >= 0.29 and share.max() <= 0.9


def test_resample_keeps_spacing_and_length():
  line = np.stack([np.linspace(0, 2, 9) ** 2, np.zeros(9), np.zeros(9)], 1)[None]
  out = resample(line, np.array([3.0]), 4)
  np.testing.assert_allclose(out[0, :, 0], [0, 1, 2, 3], atol=1e-12)
  np.testing.assert_allclose(resample(line, np.array([99.0]), 3)[0, -1, 0], 4.0)


def test_cut_follows_the_table():
  skull = Skull(vertices(6.0, "european"), region())
  top = skull.eyes.mean(0) + [0, 0.05, 0.03]
  down = top - np.linspace(0, 0.12, 200)[:, None] * [0, 1, 0]
  flat = ((0, -0.5), (180, -0.5))
  curves, kept = cut_curves(skull, down[None], flat, np.array([1.0]), np.random.default_rng(0), jitter=0.0)
  chin = skull.eyes[:, 1].mean() - skull.chin[1]
  assert kept.tolist() == [0]
  assert curves[0, -1, 1] == pytest.approx(skull.eyes[:, 1].mean() - 0.5 * chin, abs=0.001)
  _, kept = cut_curves(skull, down[None], ((0, 9), (180, 9)), np.array([1.0]), np.random.default_rng(0), jitter=0.0)
  assert len(kept) == 0


def test_coil_has_the_asked_turns_and_radius():
  guide = np.stack([np.zeros(200), -np.linspace(0, 0.1, 200), np.zeros(200)], 1)[None]
  curve, radial = coil(guide, 0.01, np.array([3.0]), np.random.default_rng(0))
  angle = np.unwrap(np.arctan2(radial[0, :, 2], radial[0, :, 0]))
  assert abs(angle[-1] - angle[0]) == pytest.approx(6 * np.pi, rel=1e-6)
  distance = np.linalg.norm((curve - guide)[0, 100:], axis=1)
  assert np.ptp(distance) < 1e-9 and 0.0079 < distance[0] < 0.0121


def test_normals_of_a_tube_and_faces_of_a_grid():
  angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
  ring = np.stack([np.sin(angle), np.zeros(40), np.cos(angle)], 1)
  tube = np.concatenate([ring - [0, h, 0] for h in (0.0, 1.0, 2.0)])
  faces = grid_faces(3, 40, wrap=True)
  assert len(faces) == 160
  np.testing.assert_allclose((vertex_normals(tube, faces) * np.tile(ring, (3, 1))).sum(1), 1, atol=0.01)


def test_join_shifts_faces():
  one = surface_part(np.eye(3), np.array([[0, 1, 2]]), layer=1.0)
  two = join([one, one])
  assert two.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
  assert two.layer.tolist() == [1.0] * 6 and not two.two_sided

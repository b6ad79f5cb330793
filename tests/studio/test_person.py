"""Persons: from seeds, pinned, plausible, bounded."""

import dataclasses

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.studio import person
from jaxtalk.studio.head import age_weights, load_asset, macro_weights, shape
from jaxtalk.studio.person import sample_person


def test_same_seed_same_person_and_other_seed_another():
  assert sample_person(3) == sample_person(3)
  assert sample_person(3) != sample_person(4)


@pytest.mark.parametrize(
  "pin", [{"age": 6.0}, {"gender": "girl"}, {"hair": "bob"}, {"skin": 3}, {"eye_colour": "blue"}, {"clothes": "polo"}]
)
def test_a_pinned_attribute_leaves_face_and_other_streams_alone(pin):
  free, pinned = sample_person(11), sample_person(11, **pin)
  assert pinned.ancestry == free.ancestry
  for key in ("freckles", "clothes_colour"):
    if "skin" not in pin:
      assert pinned.look[key] == free.look[key]
  if "age" not in pin:
    assert pinned.face == free.face and pinned.age_years == free.age_years
  else:
    assert pinned.age_years == 6.0


def test_genders_are_balanced_and_words_understood():
  share = np.mean([sample_person(s).gender == "female" for s in range(600)])
  assert abs(share - 0.5) < 3 * 0.5 / np.sqrt(600)
  assert {sample_person(0, gender=w).gender for w in ("girl", "woman", "F", "female")} == {"female"}
  assert sample_person(0, gender="boy").gender == "male"


def test_default_ages_are_those_of_children():
  ages = [sample_person(s).age_years for s in range(200)]
  assert min(ages) >= 3 and max(ages) < 13 and np.std(ages) > 2


def test_skin_follows_ancestry_on_average():
  tone = {a: np.mean([sample_person(s, ancestry=a).look["skin"] for s in range(80)]) for a in person.ANCESTRIES}
  assert tone["african"] > tone["asian"] + 1.5 > tone["european"] + 1.5


@pytest.mark.parametrize(
  ("bad", "words"),
  [
    ({"age": 200}, "age 200"),
    ({"age": 2}, "3 to 80"),
    ({"age": float("nan")}, "age nan"),
    ({"gender": "robot"}, "girl"),
    ({"hair": "mohawc"}, "choose one of"),
    ({"hair": "bobb"}, "did you mean 'bob'"),
    ({"skin": 11}, "1 (lightest)"),
    ({"freckles": 3}, "0 to 1"),
    ({"ancestry": (0, 0, 0)}, "three weights"),
    ({"ancestry": "martian"}, "mixed"),
  ],
)
def test_bad_attributes_are_named(bad, words):
  with pytest.raises(InputError) as error:
    sample_person(0, **bad)
  assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("age", [3, 3.5, 6, 10.5, 12, 25, 50, 80])
def test_macro_weights_sum_to_one_in_each_family(age):
  assert sum(age_weights(age).values()) == pytest.approx(1)
  weights = macro_weights(sample_person(2, age=age))
  universal = sum(w for n, w in weights.items() if n.startswith("universal"))
  assert universal == pytest.approx(1) and sum(weights.values()) == pytest.approx(2)
  assert set(weights) <= set(load_asset().macro)


def test_heads_grow_with_age():
  scales = [shape(sample_person(5, age=a)).scale for a in (3, 5, 8, 11, 16, 25)]
  assert np.all(np.diff(scales) > 0) and 0.55 < scales[0] < 0.8 and 0.85 < scales[-1] < 1.15


@pytest.mark.parametrize("seed", range(8))
def test_lips_touch_at_rest_and_blinks_shut(seed):
  asset, head = load_asset(), shape(sample_person(seed))
  lm = head.vertices[asset.landmarks]
  assert np.linalg.norm(lm[62] - lm[66]) < 5e-5
  shut = lm + head.units[asset.unit["eyeBlinkLeft"]][asset.landmarks]
  opening, left = (np.mean([p[43, 1] - p[47, 1], p[44, 1] - p[46, 1]]) for p in (lm, shut))
  assert opening > 0.003 and abs(left) < 0.12 * opening


def test_every_face_axis_moves_the_mesh():
  plain = dataclasses.replace(sample_person(1), face={})
  rest = shape(plain).vertices
  for axis in person.FACE_AXES:
    for sign in (-1, 1):
      moved = shape(dataclasses.replace(plain, face={axis: 0.8 * sign})).vertices
      one_sided = axis in ("head-round", "head-oval", "head-diamond", "head-invertedtriangular")
      assert np.abs(moved - rest).max() > 1e-4 or (one_sided and sign < 0), axis

"""The measures by which the benchmark judges sweeps: what they say of shapes and series that are known."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest


def _benchmark():
  file = Path(__file__).resolve().parents[2] / "benchmarks" / "stylegan2_control.py"
  spec = importlib.util.spec_from_file_location("stylegan2_control", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


control = _benchmark()


def _face():
  """Points of a made-up face in distances of the eyes: level, symmetric, y down."""
  mesh = np.zeros((468, 2))
  for side, (outer, inner, up0, up1, low0, low1) in zip((-1, 1), control.EYES, strict=True):
    mesh[outer], mesh[inner] = (side * 0.65, 0), (side * 0.35, 0)
    mesh[up0], mesh[up1] = (side * 0.55, -0.05), (side * 0.45, -0.05)
    mesh[low0], mesh[low1] = (side * 0.55, 0.05), (side * 0.45, 0.05)
  mesh[list(control.MOUTH)] = (-0.4, 1.0), (0.4, 1.0)
  mesh[list(control.LIPS)] = (0, 0.97), (0, 1.03)
  mesh[list(control.BROWS), 1], mesh[list(control.LOWER_LIDS), 1] = -0.3, 0.05
  mesh[list(control.SIDES)] = (-1, -0.1), (1, -0.1)
  mesh[control.CHIN], mesh[control.NOSE] = (0, 1.6), (0, 0.5)
  return mesh


def _turned(mesh):
  cos, sin = np.cos(0.3), np.sin(0.3)
  return 70 * mesh @ np.array([[cos, sin], [-sin, cos]]) + [30, 90]


def test_measures_do_not_depend_on_place_size_and_roll():
  mesh = _face()
  np.testing.assert_allclose(control.upright(_turned(mesh)), mesh, atol=1e-12)
  for measure, _, _ in control.MESH.values():
    assert measure(_turned(mesh)) == pytest.approx(measure(mesh))


def test_measures_of_a_known_face():
  mesh = _face()
  assert control.eye_aspect_ratio(mesh) == pytest.approx(0.1 / 0.3)
  assert control.mouth_opening(mesh) == pytest.approx(0.06 / 1.6)
  assert control.corner_lift(mesh) == pytest.approx(0)
  assert control.brow_height(mesh) == pytest.approx(0.35)
  assert control.yaw(mesh) == pytest.approx(0)
  assert control.pitch(mesh) == pytest.approx(0.1)
  turned = mesh.copy()
  turned[control.NOSE, 0] = 0.5  # to the right of the picture, which is the subject's left
  assert control.yaw(turned) == pytest.approx(0.5)


def test_lightness_is_that_of_cielab():
  grey = np.array([[[0, 0, 0], [119, 119, 119], [255, 255, 255]]], np.uint8)
  np.testing.assert_allclose(control.lightness(grey), [[0, 50.03, 100]], atol=0.01)
  image = np.zeros((64, 64, 3), np.uint8)
  image[:, 32:] = 255
  assert control.COLOUR["light_side"][0](image) == pytest.approx(100)


def test_judging_series():
  rising = np.linspace(0, 1, 6) + np.zeros((4, 1))
  base = np.array([0.0, 1.0, 0.0, 1.0])
  found = control.judge(rising, base, 1)
  assert (found["spearman_mean"], found["monotone_share"], found["strictly_monotone_share"]) == (1, 1, 1)
  assert found["range_in_sd"] == pytest.approx(2)
  assert control.judge(-rising, base, 1)["spearman_mean"] == -1
  assert control.judge(-rising, base, -1)["monotone_share"] == 1
  mixed = rising.copy()
  mixed[0, 3] = 0.35  # goes back by a twentieth of the range
  mixed[1, 3] = 0.1  # goes back a lot
  mixed[2, 5] = np.nan  # no face found: left out
  found = control.judge(mixed, base, 1)
  assert found["portraits"] == 3 and found["found"] == pytest.approx(23 / 24)
  assert found["monotone_share"] == pytest.approx(2 / 3) and found["strictly_monotone_share"] == pytest.approx(1 / 3)


def test_side_effects_are_counted_in_deviations_between_portraits():
  values = {"age": [[4, 5, 6], [6, 7, 8]], "yaw": [[0, 0, 0], [2, 2, 3]], "smile": [[1, 1, 1], [1, 1, 1]]}
  lines = [
    {"steps": 3, "labels": {name: float(rows[i][j]) for name, rows in values.items()}}
    for i in range(2)
    for j in range(3)
  ]
  base = [{"labels": {"age": 4.0 + 2 * i, "yaw": 2.0 * i, "smile": 1.0}} for i in range(2)]
  found = control.side_effects(lines, base, ("yaw", "smile", "blink"))
  assert found == {"yaw": pytest.approx(0.5)}  # half a degree on average, and portraits differ by one
  assert control.side_effects(lines, base, ("age",))["age"] == pytest.approx(2)


def test_identity_compares_each_picture_with_its_own_portrait():
  """Pictures of one pixel whose colour is the feature; the factor lacks the second of three portraits."""
  colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
  base = colours[:, None, None, None]
  age = np.stack([colours[[0, 0]], colours[[2, 0]]])[:, :, None, None]
  lines = {
    "base": [{"subject": i} for i in (0, 1, 2)],
    "age": [{"subject": i, "step": k} for i in (0, 2) for k in (0, 1)],
  }
  found = control.identity({"base": base, "age": age}, lines, lambda x: x[:, 0, 0].astype(float))
  assert found["different_portraits"]["mean"] == pytest.approx(-0.5)
  assert found["age"]["worst"] == pytest.approx(-0.5) and found["age"]["mean"] == pytest.approx((3 - 0.5) / 4)

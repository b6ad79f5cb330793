"""Directions on latents whose attributes are known linear functions: what is put in must be found."""

import dataclasses

import numpy as np
import pytest

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2 import directions, labelled, latents
from jaxtalk.stylegan2.directions import Direction, Origin

DIM, NUM_WS = 24, 8
ORIGIN = Origin(method="test", network="ab" * 32)


def _basis(seed=0):
  return np.linalg.qr(np.random.default_rng(seed).normal(size=(DIM, DIM)))[0].T


def _latents(count=4000, correlated=False, seed=3):
  """Codes with unequal variances; age and smile are linear in them, with noise; age and smile share a part."""
  rng, basis = np.random.default_rng(seed), _basis()
  w = (rng.normal(size=(count, DIM)) * np.linspace(0.5, 2.0, DIM)) @ _basis(1)
  age_normal, smile_normal = basis[0], basis[1] + (0.8 * basis[0] if correlated else 0)
  noise = rng.normal(size=(2, count)) * 0.05
  labels = {"age": 7 + 2 * w @ age_normal + noise[0], "smile": w @ smile_normal + noise[1], "still": np.ones(count)}
  found = latents.LabelledLatents(
    w=w.astype(np.float32),
    labels=labels,
    classes=np.zeros(count, int),
    num_ws=NUM_WS,
    network=ORIGIN.network,
    seed=5,
    labeller="toy",
    labeller_sha256="cd" * 32,
  )
  return found, directions.unit(age_normal), directions.unit(smile_normal)


def _direction(**changes):
  basis = _basis().astype(np.float32)
  fields = {"name": "age", "space": "w", "vector": basis[0], "layers": (1, 2), "num_ws": NUM_WS, "scale": 2.0}
  return Direction(**fields | {"origin": ORIGIN} | changes)


@pytest.mark.parametrize("loss", ["hinge", "logistic"])
def test_boundary_finds_the_normal(loss):
  data, age, _ = _latents(8000)
  found = labelled.boundary(data, "age", fraction=0.1, loss=loss)
  assert found.vector @ age > 0.97
  assert found.origin.figures["validation_accuracy"] > 0.98
  assert found.origin.figures["rest_accuracy"] > 0.9
  assert found.scale == pytest.approx(np.std(data.w @ found.vector), rel=1e-5)
  assert (found.origin.count, found.origin.labeller, found.origin.seed) == (8000, "toy", 5)


def test_boundary_of_noise_is_no_better_than_chance():
  data, *_ = _latents(4000)
  noise = np.random.default_rng(9).normal(size=4000)
  found = labelled.boundary(dataclasses.replace(data, labels={"noise": noise}), "noise", fraction=0.1)
  assert 0.35 < found.origin.figures["validation_accuracy"] < 0.65


def test_separating_plane_is_that_of_the_margin():
  """Two points on either side: the plane is the one half way, at right angles."""
  x = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0]])
  normal, offset = labelled.separate(x, np.array([-1.0, -1.0, 1.0, 1.0]), strength=1e4)
  np.testing.assert_allclose(normal, [1, 0], atol=1e-3)
  assert offset == pytest.approx(-2.0, abs=1e-2)


def test_regression_recovers_and_holds():
  data, age, smile = _latents(correlated=True)
  plain = labelled.regression(data, {"smile": 1.0})
  held = labelled.regression(data, {"smile": 1.0}, hold=["age"])
  assert abs(held.vector @ age) < 2e-3 * abs(plain.vector @ age)
  assert held.vector @ smile > 0
  assert held.origin.conditions == ("age",)
  assert held.origin.figures["r2"] > 0.99
  # Alpha 1 is one standard deviation of the attribute, and the held one does not move.
  moved = data.w[:1] + held.scale * held.vector
  raw = directions.unit(smile) * np.linalg.norm(_basis()[1] + 0.8 * _basis()[0])
  assert (moved - data.w[:1])[0] @ raw == pytest.approx(data.labels["smile"].std(), rel=0.02)


def test_regression_step_is_the_covariance_of_code_and_attribute():
  """With nothing held, the most plausible step is C b, which for a linear attribute is cov(w, attribute)."""
  data, *_ = _latents(20_000)
  found = labelled.regression(data, {"age": 1.0}, strength=1e-6)
  w, y = data.w - data.w.mean(0), data.labels["age"] - data.labels["age"].mean()
  assert found.vector @ directions.unit(w.T @ y) > 0.9999
  # Nothing else decides the attribute, so a standard deviation of it is one of the codes; held, it costs more.
  assert found.origin.figures["deviations"] == pytest.approx(1, abs=0.01)
  shared, *_ = _latents(20_000, correlated=True)
  held = labelled.regression(shared, {"smile": 1.0}, hold=["age"])
  assert held.origin.figures["deviations"] > 1.05


def test_regression_looks_within_classes():
  """A class that shifts codes and labels together must not pass for a direction."""
  data, age, _ = _latents(correlated=False)
  classes = np.arange(len(data.w)) % 2
  shift = 30 * directions.unit(_basis()[5])
  shifted = dataclasses.replace(
    data,
    w=data.w + classes[:, None] * shift,
    labels={"age": data.labels["age"] + 50 * classes, "smile": data.labels["smile"]},
    classes=classes,
  )
  step = labelled.regression(data, {"age": 1.0}).vector
  assert labelled.regression(shifted, {"age": 1.0}).vector @ step > 0.999
  assert labelled.regression(dataclasses.replace(shifted, classes=0 * classes), {"age": 1.0}).vector @ step < 0.9


def test_weighted_sum_of_attributes():
  data, *_ = _latents()
  both = labelled.regression(data, {"age": 1.0, "smile": -1.0}, name="odd")
  moved = both.vector @ directions.unit(_basis()[0]), both.vector @ directions.unit(_basis()[1])
  assert moved[0] > 0.1 and moved[1] < -0.1 and both.name == "odd"


def test_orthogonalise_closed_form():
  n, m = np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
  np.testing.assert_allclose(directions.orthogonalise(n, [m]), [0, 1, 0], atol=1e-7)
  several = [np.array([1.0, 0.2, 0.0, 0.3]), np.array([0.0, 1.0, 1.0, 0.0])]
  found = directions.orthogonalise(np.array([1.0, 2.0, 3.0, 4.0]), several)
  assert max(abs(found @ other) for other in several) < 1e-6
  metric = np.diag([1.0, 4.0, 9.0, 2.0])
  found = directions.orthogonalise(np.array([1.0, 2.0, 3.0, 4.0]), several, metric)
  assert max(abs(found @ other) for other in several) < 1e-6
  # Of the steps with the same gain that hold the others, it has the least Mahalanobis length.
  free = np.linalg.svd(np.array([*several, [1.0, 2.0, 3.0, 4.0]]))[2][-1]
  length = [(found + t * free) @ np.linalg.inv(metric) @ (found + t * free) for t in (-0.1, 0.0, 0.1)]
  assert length[1] < min(length[0], length[2])
  with pytest.raises(InputError, match="nothing is left"):
    directions.orthogonalise(n, [m, np.array([0.0, 1.0, 0.0])])


def test_sefa_sorts_scales_and_signs():
  """Columns count alike whatever their length; many along one axis, fewer along the next."""
  basis = _basis()
  strong, weak = basis[0][:, None] * np.ones((1, 9)) * 0.01, basis[1][:, None] * np.array([[5.0, -5.0, 5.0]])
  vectors, values = directions.sefa([strong, weak], 2)
  np.testing.assert_allclose(values, [9, 3], rtol=1e-6)
  np.testing.assert_allclose(np.abs(vectors @ basis[:2].T), np.eye(2), atol=1e-5)
  assert all(row[np.argmax(np.abs(row))] > 0 for row in vectors)
  with pytest.raises(InputError, match="choose 1 to 24"):
    directions.sefa([strong], 25)


def test_ganspace_is_the_svd_whatever_the_batches():
  data, *_ = _latents(5000)
  w = data.w + 100.0  # far from zero: sums of squares must not lose digits
  vectors, sigmas, mean, count = directions.ganspace(iter(np.array_split(w, 7)), 5)
  centred = w.astype(np.float64) - w.mean(0, dtype=np.float64)
  _, singular, rows = np.linalg.svd(centred, full_matrices=False)
  np.testing.assert_allclose(sigmas, singular[:5] / np.sqrt(len(w) - 1), rtol=1e-5)
  np.testing.assert_allclose(np.abs(np.sum(vectors * rows[:5], axis=1)), 1, atol=1e-5)
  np.testing.assert_allclose(mean, w.mean(0, dtype=np.float64), rtol=1e-6)
  assert count == 5000


def test_apply_moves_only_its_layers():
  ws = np.random.default_rng(0).normal(size=(3, NUM_WS, DIM)).astype(np.float32)
  before, direction = ws.copy(), _direction()
  moved = directions.apply(ws, direction, np.array([0.0, 1.0, -2.0]))
  np.testing.assert_array_equal(ws, before)
  np.testing.assert_array_equal(moved[:, [0, 3, 4, 5, 6, 7]], ws[:, [0, 3, 4, 5, 6, 7]])
  np.testing.assert_allclose((moved - ws)[:, 1] @ direction.vector, [0, 2, -4], atol=1e-5)
  np.testing.assert_allclose(directions.apply(ws, direction, 1.0)[2, 2] - ws[2, 2], 2 * direction.vector, atol=1e-5)
  there = directions.set_distance(ws, direction, 1.5)
  np.testing.assert_allclose(there[:, [1, 2]] @ direction.vector, 1.5, atol=1e-5)
  np.testing.assert_array_equal(there[:, 0], ws[:, 0])
  with pytest.raises(InputError, match="learn it on this network"):
    directions.apply(ws[:, :6], direction, 1.0)


def test_style_channels_are_ranked_and_edited():
  rng = np.random.default_rng(1)
  styles = {"b4.conv1": rng.normal(size=(400, 6)) * 3, "b8.conv0": rng.normal(size=(400, 4))}
  positive = styles["b8.conv0"][:, 2] > 1.0
  styles["b4.conv1"][positive, 5] -= 3.0
  ranked = labelled.channels(styles, positive, 3)
  assert [item[:2] for item in ranked[:2]] == [("b8.conv0", 2), ("b4.conv1", 5)]
  values = styles["b8.conv0"][:, 2]
  assert ranked[0][2] == pytest.approx((values[positive].mean() - values.mean()) / values.std())
  direction = labelled.channel_direction(styles, "b8.conv0", 2, name="x", origin=ORIGIN)
  moved = directions.apply({k: v.astype(np.float32) for k, v in styles.items()}, direction, 2.0)
  np.testing.assert_allclose(moved["b8.conv0"][:, 2] - values, 2 * values.std(), rtol=1e-3)
  np.testing.assert_array_equal(moved["b8.conv0"][:, :2], styles["b8.conv0"][:, :2].astype(np.float32))
  with pytest.raises(InputError, match="b8.conv0"):
    directions.apply({"b4.conv1": styles["b4.conv1"]}, direction, 1.0)
  with pytest.raises(InputError, match="positive"):
    labelled.channels(styles, np.zeros(400, bool), 3)


def test_saved_and_loaded_and_refused(tmp_path):
  origin = dataclasses.replace(ORIGIN, conditions=("yaw",), figures={"r2": 0.5}, labeller="x", count=7)
  direction, path = _direction(origin=origin), tmp_path / "new" / "age.safetensors"
  directions.save(path, direction)
  again = directions.load(path, ORIGIN.network)
  np.testing.assert_array_equal(again.vector, direction.vector)
  assert dataclasses.replace(again, vector=direction.vector) == direction
  first = path.read_bytes()
  directions.save(path, again)
  assert path.read_bytes() == first
  with pytest.raises(InputError, match="another|was learnt from network abab"):
    directions.load(path, "ef" * 32)
  assert directions.load(path).name == "age"
  path.write_bytes(b"\x80\x04nonsense")
  with pytest.raises(InputError, match="not a direction file"):
    directions.load(path)
  from safetensors.numpy import save_file

  save_file({"vector": np.ones(3, np.float32)}, path)
  with pytest.raises(InputError, match="not a direction file"):
    directions.load(path)
  with pytest.raises(MissingAssetError, match="no direction at"):
    directions.load(tmp_path / "none.safetensors")


def test_malformed_directions_are_refused():
  for changes in (
    {"space": "z"},
    {"vector": np.zeros(DIM, np.float32)},
    {"vector": np.full(DIM, np.nan, np.float32)},
    {"layers": (7, 8)},
    {"layers": ()},
    {"space": "s", "widths": (4,), "layers": ("b4.conv1",)},
  ):
    with pytest.raises(InputError, match="direction 'age'"):
      _direction(**changes)


def test_layer_ranges():
  assert directions.layer_range("all", 4) == (0, 1, 2, 3)
  assert directions.layer_range("coarse", 10) == (0, 1, 2, 3)
  assert directions.layer_range("middle", 10) == (4, 5, 6, 7)
  assert directions.layer_range("fine", 10) == (8, 9)
  assert directions.layer_range("2-4", 10) == (2, 3, 4)
  assert directions.layer_range("8-", 10) == (8, 9)
  assert directions.layer_range("3", 10) == (3,)
  for bad in ("4-12", "12-", "x", "", "5-2", "-3"):
    with pytest.raises(InputError, match="layers"):
      directions.layer_range(bad, 10)
  with pytest.raises(InputError, match="codes 0-7"):
    directions.layer_range("fine", 8)


def test_bad_labels_are_named():
  data, *_ = _latents(100)
  with pytest.raises(InputError, match="no attribute 'hat'.*age, smile"):
    labelled.boundary(data, "hat")
  with pytest.raises(InputError, match="at least 4"):
    labelled.boundary(data, "age", fraction=0.02)
  with pytest.raises(InputError, match="same value"):
    labelled.boundary(data, "still", fraction=0.2)
  with pytest.raises(InputError, match="'still' has the same value"):
    labelled.regression(data, {"age": 1.0}, hold=["still"])
  with pytest.raises(InputError, match="each once"):
    labelled.regression(data, {"age": 1.0}, hold=["age"])


def test_labellers_from_text(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text(
    "import numpy as np\n"
    "def level(images):\n  return {'level': images.mean((1, 2, 3))}\n"
    "class Model:\n  def predict(self, images):\n    return {'level': np.full(len(images), np.nan)}\n"
    "number = 3\n"
  )
  images = np.full((2, 4, 4, 3), 7, np.uint8)
  mine = latents.load_labeller(f"{file}:level")
  np.testing.assert_array_equal(mine.predict(images)["level"], [7, 7])
  assert len(mine.sha256) == 64
  with pytest.raises(InputError, match="no finite value a picture for level"):
    latents.load_labeller(f"{file}:Model").predict(images)
  with pytest.raises(InputError, match="neither a function"):
    latents.load_labeller(f"{file}:number")
  with pytest.raises(InputError, match="has no 'absent'"):
    latents.load_labeller(f"{file}:absent")
  with pytest.raises(MissingAssetError, match="file.py:name"):
    latents.load_labeller("no_such_package_anywhere:name")
  with pytest.raises(MissingAssetError, match="no file"):
    latents.load_labeller(f"{tmp_path}/none.py:name")

"""Sweeps and samples on a network whose attributes are known functions of the code, and on a tiny real generator."""

import dataclasses
import json

import golden
import jax
import numpy as np
import pytest
from PIL import Image

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2 import album, directions, factors, learn, runner, sample, sweep
from jaxtalk.stylegan2.latents import NamedLabeller, label_latents, one_hot
from jaxtalk.stylegan2.networks import Discriminator, Generator
from jaxtalk.stylegan2.store import save_network

DIM, NUM_WS = 12, 6
NAMES = ("age", "yaw", "smile", "frown", "brow_raise", "jaw_open")


class ToyNetwork:
  """Six attributes, each a bent function of one direction, painted as six stripes of a picture; age leaks into yaw."""

  name, sha256, z_dim, c_dim, num_ws = "toy", "ab" * 32, DIM, 2, NUM_WS

  def __init__(self):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0]
    self.normals = basis[:, : len(NAMES)].T.copy()
    self.normals[1] += 0.6 * self.normals[0]

  def mapping(self, z, c=None, psi=1.0):
    w = psi * np.asarray(z, np.float32) + (0 if c is None else c[:, :1] * np.float32(0.3))
    return np.repeat(w[:, None], NUM_WS, axis=1)

  def images(self, ws):
    level = 127.5 + 110 * np.tanh(0.35 * ws.mean(1) @ self.normals.T)
    return np.repeat(np.repeat(np.round(level)[:, :, None], 6, axis=2), 3, axis=2).reshape(-1, 6, 6, 3).astype(np.uint8)


class Stripes:
  def predict(self, images):
    return {name: images[:, i].mean((1, 2)).astype(float) / 10 for i, name in enumerate(NAMES)}


LABELLER = NamedLabeller(Stripes(), "stripes", "ef" * 32)


def _random(module, seed):
  """Parameters and buffers of a generator, all unit normal, without compiling its initialisation."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 8)), np.zeros((1, module.c_dim)))
  rng = np.random.default_rng(seed)
  variables = jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32), shapes)
  mapping = variables["params"]["mapping"]
  for name in mapping:
    if name.startswith("fc"):
      mapping[name]["weight"] *= 100  # used times 0.01
  for block in variables["params"]["synthesis"].values():
    for name in ("weight", "bias"):
      block["torgb"][name] *= 0.2  # shades of grey, not black and white
  return variables


@pytest.fixture(scope="module")
def tiny():
  module = Generator(8, 2, 8, 8, 3, mapping_layers=2, channel_base=64, channel_max=8)
  variables = _random(module, 0)
  return module, variables, runner.Runner(module, variables, name="tiny.safetensors", batch=4)


def test_directions_are_recovered_from_a_bent_network():
  network = ToyNetwork()
  data = label_latents(network, LABELLER, count=3000, seed=1)
  assert data.w.shape == (3000, DIM) and set(data.classes) == {0, 1}
  for factor in factors.chosen("age,yaw,happy"):
    found = factors.learn(data, factor, strength=1e-4)
    # What each direction must be is known: the part of its normal that the others do not share.
    others = [n for name, n in zip(NAMES, network.normals, strict=True) if name not in (*factor.weights, *factor.free)]
    own = network.normals[NAMES.index(next(iter(factor.weights)))]
    assert found.vector @ directions.orthogonalise(own, others) > 0.99
    assert found.origin.figures["r2"] > 0.9


def test_sweep_moves_its_attribute_evenly_and_holds_the_others():
  network = ToyNetwork()
  data = label_latents(network, LABELLER, count=3000, seed=1)
  subjects = [sample.Subject(index=i, seed=i, gender="girl", label=0) for i in range(5)]
  z = np.stack([runner.latent(s.seed, DIM) for s in subjects])
  ws = network.mapping(z, one_hot(np.zeros(5, int), 2), 0.7)
  for factor in factors.chosen("yaw,angry,surprise"):
    direction = factors.learn(data, factor, strength=1e-4)
    figures = direction.origin.figures
    sweeps = sweep.sweep(network, LABELLER, direction, factor, subjects, ws)
    assert [one.subject for one in sweeps] == subjects
    for one in sweeps:
      assert one.images.shape == (factor.steps, 6, 6, 3)
      span = figures["high"] - figures["low"]
      np.testing.assert_allclose(one.measured, one.targets, atol=0.04 * span)
      steps = np.diff(one.targets)
      np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
      assert np.all(np.diff(one.alphas) > 0)
      for name in set(NAMES) - set(factor.weights) - set(factor.free):
        assert np.ptp(one.labels[name]) < 0.12 * np.ptp(data.labels[name])


def test_sweeps_stay_where_codes_are():
  """A direction along which a deviation of the attribute costs ten of the codes is followed for four of those only."""
  network = ToyNetwork()
  data = label_latents(network, LABELLER, count=500, seed=1)
  (factor,) = factors.chosen("age")
  direction = factors.learn(data, factor)
  ws = network.mapping(runner.latent(3, DIM)[None], one_hot(np.zeros(1, int), 2))
  subjects = [sample.Subject(index=0, seed=3, gender="girl", label=0)]
  (free,) = sweep.sweep(network, LABELLER, direction, factor, subjects, ws)
  origin = dataclasses.replace(direction.origin, figures={**direction.origin.figures, "deviations": 10.0})
  held = dataclasses.replace(direction, origin=origin)
  (kept,) = sweep.sweep(network, LABELLER, held, factor, subjects, ws)
  assert np.abs(free.alphas).max() > 0.8 and np.abs(kept.alphas).max() <= 0.4


def test_portraits_that_do_not_move_are_left_out_and_named(tmp_path, monkeypatch, capsys):
  """Codes far out on the bent side of the network: nothing more happens to their attribute."""
  _toy_cast(monkeypatch)
  far = 400 * ToyNetwork().normals[0]
  plain = sample.Cast.codes

  def codes(self, subjects, psi):
    ws = plain(self, subjects, psi)
    ws[1] += far.astype(np.float32)
    return ws

  monkeypatch.setattr(sample.Cast, "codes", codes)
  assert sweep.main(["toy", str(tmp_path), "--factors=age", "--subjects=3", "--count=500"]) == 1
  said = capsys.readouterr()
  assert "age: 2 portraits" in said.out and "left out portrait 1" in said.err
  lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
  assert {line["subject"] for line in lines if line["factor"] == "age"} == {0, 2}


def test_alphas_turn_the_curve_round():
  grid = np.linspace(-4, 4, 33)
  alphas, targets, curve = factors.solve(grid, 1 / (1 + np.exp(-grid)), 0.2, 0.8, 5)
  np.testing.assert_allclose(targets, np.linspace(0.2, 0.8, 5))
  np.testing.assert_allclose(alphas, np.log(targets / (1 - targets)), atol=0.02)
  # A dip is smoothed away; a range beyond reach is cut to what is there.
  bent = np.array([0.0, 1.0, 0.8, 2.0, 3.0])
  alphas, targets, curve = factors.solve(np.arange(5.0), bent, -5.0, 2.5, 6)
  np.testing.assert_allclose(curve, [0, 0.9, 0.9, 2, 3])
  np.testing.assert_allclose(targets, np.linspace(0, 2.5, 6))
  assert np.all(np.diff(alphas) > 0)
  assert factors.solve(np.arange(5.0), bent, 10.0, 12.0, 3)[1].tolist() == [0.0, 1.5, 3.0]
  with pytest.raises(InputError, match="does not rise"):
    factors.solve(np.arange(3.0), np.array([3.0, 2.0, 1.0]), 0, 1, 3)


def test_factors_have_the_step_counts_of_the_paper():
  steps = {factor.name: factor.steps for factor in factors.FACTORS}
  assert [steps[n] for n in ("happy", "sad", "angry", "surprise", "blink", "skin", "hair")] == [6] * 7
  assert (steps["age"], steps["yaw"], steps["pitch"]) == (8, 8, 7)
  assert steps["light_side"] + steps["light_height"] == 4
  assert [f.name for f in factors.chosen("light,age,age")] == ["light_side", "light_height", "age"]
  with pytest.raises(InputError, match="no factor 'hat'.*expression"):
    factors.chosen("hat")
  with pytest.raises(InputError, match="'skin' needs skin.*stripes"):
    factors.check_attributes(factors.chosen("skin"), {"age": np.zeros(1)}, "stripes")


def test_runner_is_the_generator(tiny):
  module, variables, net = tiny
  z = np.stack([runner.latent(seed, 8) for seed in range(3)])
  np.testing.assert_array_equal(z[2], np.random.RandomState(2).randn(1, 8)[0].astype(np.float32))
  c = one_hot(np.array([0, 1, 0]), 2)
  ws = net.mapping(z, c, psi=0.5)
  expected = jax.jit(lambda v, z, c: module.apply(v, z, c, truncation_psi=0.5))(variables, z, c)
  shown = np.clip(127.5 * np.asarray(expected) + 128, 0, 255).astype(np.uint8)
  images = net.images(ws)
  assert images.shape == (3, 8, 8, 3) and images.dtype == np.uint8 and len(np.unique(images)) > 20
  assert np.all(np.abs(images - shown.astype(int)) <= 1)
  styles = net.styles(ws)
  np.testing.assert_array_equal(net.images(ws, styles=styles), images)
  assert {name: values.shape for name, values in styles.items()}["b8.conv0"] == (3, 8)
  with pytest.raises(InputError, match="labels of 2 classes"):
    net.mapping(z)
  with pytest.raises(InputError, match="noise mode"):
    runner.Runner(module, variables, noise_mode="loud")


def test_network_from_our_file_and_from_an_official_snapshot(tiny, tmp_path):
  module, variables, net = tiny
  path = tmp_path / "net.safetensors"
  save_network(path, module, variables, {"source": "test"})
  again = runner.open_network(path)
  assert (again.sha256, again.num_ws, again.name) == (net.sha256, 4, "net.safetensors")
  critic = Discriminator(c_dim=0, img_resolution=8, img_channels=3, channel_base=32, channel_max=4)
  shapes = jax.eval_shape(critic.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
  save_network(path, critic, jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes), {"source": "test"})
  with pytest.raises(InputError, match="holds a Discriminator"):
    runner.open_network(path)
  case = golden.case("snapshot_ada_a")
  with np.load(golden.path(case["expected"])) as data:
    expected = dict(data)
  official = runner.open_network(golden.path(case["pkl"]), batch=2)
  images = official.images(official.mapping(expected["io/z"], psi=0.7))
  shown = np.clip(127.5 * golden.nhwc(expected["io/img_const_psi0.7_fp32"]) + 128, 0, 255).astype(np.uint8)
  assert np.all(np.abs(images - shown.astype(int)) <= 1) and np.mean(images == shown) > 0.999


def test_network_digest_knows_every_number(tiny):
  _, variables, _ = tiny
  digest = runner.network_digest(variables)
  assert runner.network_digest(jax.tree.map(np.asarray, variables)) == digest
  changed = jax.tree.map(np.array, variables)
  changed["buffers"]["mapping"]["w_avg"][0] += 1e-3
  assert runner.network_digest(changed) != digest


def test_random_noise_belongs_to_the_picture_and_not_to_its_batch(tiny):
  module, variables, _ = tiny
  net = runner.Runner(module, variables, batch=2, noise_mode="random")
  ws = np.repeat(net.mapping(runner.latent(0, 8)[None], one_hot(np.array([1]), 2)), 3, axis=0)
  images = net.images(ws, seeds=[5, 6, 5])
  np.testing.assert_array_equal(images[0], images[2])
  assert np.abs(images[0].astype(int) - images[1]).max() > 2


def test_sefa_takes_the_layers_that_codes_steer(tiny):
  _, variables, net = tiny
  affine = {
    (b, n): np.asarray(variables["params"]["synthesis"][b][n]["affine"]["weight"])
    for b, n in (("b4", "conv1"), ("b8", "conv0"), ("b8", "conv1"), ("b8", "torgb"))
  }
  for layers, names in (((0, 1), [("b4", "conv1"), ("b8", "conv0")]), ((2, 3), [("b8", "conv1"), ("b8", "torgb")])):
    wanted, values = directions.sefa([affine[name] for name in names], 3)
    found, found_values = net.sefa(layers, 3)
    np.testing.assert_allclose(found_values, values, rtol=1e-6)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.0, 1.0, 1 / 3, 0.37])
def test_gender_ratio_is_exact_in_every_beginning(share):
  names = sample.genders(101, share)
  girls = np.cumsum([name == "girl" for name in names])
  assert np.all(np.abs(girls - share * np.arange(1, 102)) <= 0.5 + 1e-9)


def _open(monkeypatch, networks):
  monkeypatch.setattr(sample, "open_network", lambda path, **_: networks[str(path)])
  monkeypatch.setattr(sample, "use_compilation_cache", lambda: None)
  monkeypatch.setattr(sweep, "use_compilation_cache", lambda: None)
  monkeypatch.setattr(learn, "use_compilation_cache", lambda: None)


def test_samples_are_labelled_marked_and_the_same_again(tiny, tmp_path, monkeypatch, capsys):
  net = tiny[2]
  _open(monkeypatch, {"toy.safetensors": net})
  for folder in ("a", "b"):
    assert sample.main(["toy.safetensors", str(tmp_path / folder), "--count=11", "--girls=0.3", "--seed=40"]) == 0
  assert "3 girls and 8 boys" in capsys.readouterr().out
  files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
  assert len(files) == 11 + 3
  assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
  lines = [json.loads(line) for line in (tmp_path / "a" / "metadata.jsonl").read_text().splitlines()]
  assert [line["seed"] for line in lines] == list(range(40, 51))
  assert lines[0]["synthetic"] is True and lines[0]["network_sha256"] == net.sha256
  c = one_hot(np.array([lines[4]["class"]]), 2)
  drawn = net.images(net.mapping(runner.latent(44, 8)[None], c, 0.7))[0]
  with Image.open(tmp_path / "a" / lines[4]["file_name"]) as image:
    np.testing.assert_array_equal(np.asarray(image), drawn)
    assert "Synthetic media" in image.text["Comment"] and "trainedAlgorithmicMedia" in image.text["Comment"]
  labels = json.loads((tmp_path / "a" / "images" / "dataset.json").read_text())["labels"]
  assert [label for _, label in labels] == [line["class"] for line in lines]
  # Again into the same folder: refused, or replaced without left-overs.
  assert sample.main(["toy.safetensors", str(tmp_path / "a"), "--count=3"]) == 2
  assert "holds pictures already" in capsys.readouterr().err
  assert sample.main(["toy.safetensors", str(tmp_path / "a"), "--count=3", "--overwrite"]) == 0
  assert len(list((tmp_path / "a" / "images").glob("*.png"))) == 3


def test_a_pair_of_networks_draws_each_gender_with_its_own(tmp_path, monkeypatch):
  module = Generator(8, 0, 8, 4, 3, mapping_layers=1, channel_base=32, channel_max=4)
  girls, boys = (
    runner.Runner(module, _random(module, i), name=name)
    for i, name in enumerate(("girls.safetensors", "boys.safetensors"))
  )
  _open(monkeypatch, {n.name: n for n in (girls, boys)})
  assert sample.main(["girls.safetensors,boys.safetensors", str(tmp_path), "--count=6"]) == 0
  lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
  assert [line["gender"] for line in lines].count("girl") == 3
  assert all(line["network_sha256"] == {"girl": girls, "boy": boys}[line["gender"]].sha256 for line in lines)
  with pytest.raises(InputError, match="cannot choose a gender"):
    sample.Cast((girls,)).subjects(4, 0, 0.5)
  assert {s.gender for s in sample.Cast((girls,)).subjects(4, 0, None)} == {""}


def test_bad_requests_are_refused(tiny, tmp_path, capsys):
  net = tiny[2]
  with pytest.raises(InputError, match="2 classes"):
    sample.Cast((net,), ("girl", "boy", "cat"))
  with pytest.raises(InputError, match="share of girls"):
    sample.Cast((net,)).subjects(4, 0, 1.5)
  with pytest.raises(InputError, match="must not be conditional"):
    sample.Cast((net, net))
  with pytest.raises(InputError, match="at least one picture"):
    sample.Cast((net,)).subjects(0, 0, None)
  with pytest.raises(MissingAssetError, match="no network at"):
    runner.open_network(tmp_path / "none.safetensors")
  (tmp_path / "x.bin").write_bytes(b"x")
  with pytest.raises(InputError, match="official .pkl"):
    runner.open_network(tmp_path / "x.bin")
  assert sample.main([str(tmp_path / "none.pkl"), str(tmp_path / "out")]) == 3
  assert "no network at" in capsys.readouterr().err


def _toy_cast(monkeypatch):
  toy = ToyNetwork()
  _open(monkeypatch, {"toy": toy})
  monkeypatch.setattr(sweep, "load_labeller", lambda text: LABELLER)
  monkeypatch.setattr(learn, "load_labeller", lambda text: LABELLER)
  return toy


def test_sweep_command_writes_what_it_says(tmp_path, monkeypatch, capsys):
  toy = _toy_cast(monkeypatch)
  flags = ["toy", str(tmp_path / "a"), "--factors=age,happy", "--subjects=3", "--count=500"]
  assert sweep.main(flags) == 0
  lines = [json.loads(line) for line in (tmp_path / "a" / "metadata.jsonl").read_text().splitlines()]
  assert len(lines) == 3 * (1 + 8 + 6)
  line = next(line for line in lines if line["factor"] == "age" and line["step"] == 7 and line["subject"] == 1)
  assert line["file_name"] == "images/age/0001_7.png" and line["synthetic"] and line["gender"] == "boy"
  assert line["measured"] == pytest.approx(line["target"], abs=1.0) == pytest.approx(line["labels"]["age"], abs=1.0)
  kept = directions.load(tmp_path / "a" / "directions" / "age.safetensors", toy.sha256)
  assert kept.origin.count == 500 and kept.origin.labeller == "stripes" and "yaw" in kept.origin.conditions
  with Image.open(tmp_path / "a" / "age.png") as image:
    assert image.width > 8 * 112 and image.height > 3 * 112
  # The same again from the directions that were kept, byte for byte.
  again = ["toy", str(tmp_path / "b"), *flags[2:], f"--directions={tmp_path / 'a' / 'directions'}"]
  assert sweep.main(again) == 0
  for path in (tmp_path / "a").rglob("*.*"):
    assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
  toy.sha256 = "cd" * 32
  assert sweep.main([*again, "--overwrite"]) == 2
  assert "was learnt from network abab" in capsys.readouterr().err
  assert sweep.main([*flags[:2], "--factors=skin", "--count=100", "--overwrite"]) == 2
  assert "'skin' needs skin" in capsys.readouterr().err
  assert sweep.main([*flags, "--noise_mode=random"]) == 2
  assert "const or none" in capsys.readouterr().err


def test_learn_command_keeps_directions_of_every_kind(tiny, tmp_path, monkeypatch, capsys):
  net = tiny[2]
  _open(monkeypatch, {"net": net})
  monkeypatch.setattr(learn, "open_network", lambda path, **_: net)

  class Brightness:
    def predict(self, images):
      return {"red": images[..., 0].mean((1, 2)), "blue": images[..., 2].mean((1, 2))}

  monkeypatch.setattr(learn, "load_labeller", lambda text: NamedLabeller(Brightness(), "colour", "ab" * 32))
  common = ["net", str(tmp_path), "--count=400"]
  assert learn.main([*common, "--method=sefa", "--number=2", "--layers=0-2"]) == 0
  assert learn.main([*common, "--method=ganspace", "--number=3"]) == 0
  assert learn.main([*common, "--method=boundary", "--attributes=red", "--conditions=blue", "--fraction=0.1"]) == 0
  assert learn.main([*common, "--method=ridge", "--attributes=red,blue", "--conditions=blue"]) == 0
  assert learn.main([*common, "--method=channels", "--attributes=red", "--number=2"]) == 0
  found = {path.stem: directions.load(path, net.sha256) for path in tmp_path.glob("*.safetensors")}
  assert set(found) == {
    "sefa_0", "sefa_1", "ganspace_0", "ganspace_1", "ganspace_2", "boundary_red", "ridge_red", "ridge_blue",
    "channels_red_0", "channels_red_1",
  }  # fmt: skip
  assert found["sefa_0"].layers == (0, 1, 2) and found["sefa_0"].origin.count == 0
  assert found["ganspace_0"].scale >= found["ganspace_1"].scale
  assert found["boundary_red"].origin.conditions == ("blue",) == found["ridge_red"].origin.conditions
  # Along each labelled direction the picture really gets redder; blue is what the regression holds.
  ws = net.mapping(np.random.default_rng(3).normal(size=(32, 8)), one_hot(np.arange(32) % 2, 2))
  for name in ("boundary_red", "ridge_red"):
    ends = [net.images(directions.apply(ws, found[name], a))[..., 0].mean() for a in (-1.5, 0, 1.5)]
    assert ends[0] < ends[1] < ends[2]
  first, second = (abs(found[f"channels_red_{k}"].origin.figures["score"]) for k in (0, 1))
  assert first >= second > 1
  styles = net.styles(ws)
  edited = net.images(ws, styles=directions.apply(styles, found["channels_red_0"], 2.0))
  assert np.abs(edited.astype(int) - net.images(ws)).max() > 10
  assert learn.main([*common, "--method=boundary"]) == 2
  assert "--attributes" in capsys.readouterr().err


def test_album_refuses_what_it_did_not_make(tmp_path):
  book = album.Album(tmp_path, {"a": 1})
  book.add("x.png", np.zeros((4, 4, 1), np.uint8), {})
  book.finish()
  with pytest.raises(InputError, match="--overwrite"):
    album.Album(tmp_path, {})

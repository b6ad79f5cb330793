"""The projector against the official one, and its command line."""

import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxtalk.core import InputError
from jaxtalk.stylegan2 import projector
from jaxtalk.stylegan2.networks import Generator
from jaxtalk.stylegan2.official import import_generator
from jaxtalk.stylegan2.projector import Settings, project
from jaxtalk.stylegan2.store import save_network

TINY = Generator(4, 0, 6, 8, 3, mapping_layers=1, channel_base=64, channel_max=6)


def random_variables(module, seed):
  shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, module.z_dim)), np.zeros((1, module.c_dim)))
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32), dict(shapes))


def pooled(images):
  """The simple features of the golden case, in the official order (channels first)."""
  n, h, w, c = images.shape
  x = images.reshape(n, h // 4, 4, w // 4, 4, c).mean((2, 4))
  return jnp.transpose(x / 255.0 - 0.5, (0, 3, 1, 2)).reshape(n, -1) * 3.0


def test_25_steps_are_the_official_ones():
  case, ref = golden.case("projector"), golden.arrays("projector")
  config = case["config"]
  module, variables = import_generator(golden.arrays("projector", "weights"), **config["init_kwargs"])
  initial = {name.removesuffix(".noise_const"): x for name, x in golden.under(ref, "init_noise").items()}
  target = np.moveaxis(ref["target_uint8"], 0, -1)
  found = project(
    module, variables, target, features=pooled, settings=Settings(num_steps=25), initial_noise=initial,
    w_noise=ref["w_noise"],
  )  # fmt: skip
  golden.close(found.w_avg, ref["w_avg"], 2e-5)
  golden.close(found.w_std, ref["w_std"], 2e-5)
  golden.close(found.w_steps, ref["w_steps"], 1e-3)
  wanted = {name.removesuffix(".noise_const"): x for name, x in golden.under(ref, "final_noise").items()}
  assert found.noise.keys() == wanted.keys()
  for name, x in wanted.items():
    golden.close(found.noise[name], x, 1e-3, name)
  np.testing.assert_array_equal(found.w, found.w_steps[-1])
  assert Settings() == Settings(
    **{key: config[name] for key, name in (
      ("w_avg_samples", "w_avg_samples"), ("learning_rate", "initial_learning_rate"),
      ("rampup", "lr_rampup_length"), ("rampdown", "lr_rampdown_length"), ("noise_factor", "initial_noise_factor"),
      ("noise_ramp", "noise_ramp_length"), ("noise_weight", "regularize_noise_weight"))}
  )  # fmt: skip


def test_noise_term_sees_structure_and_not_its_absence():
  noise_term = jax.jit(projector.noise_term)
  stripes = jnp.tile(jnp.asarray([1.0, 1.0, -1.0, -1.0]), (16, 4))
  # along x neighbours are alike half of the time (0); along y always (1); at half size x alternates (-1), y is alike
  assert float(noise_term({"b16.conv0": stripes})) == pytest.approx(0 + 1 + 1 + 1)
  checks = jnp.asarray(np.indices((8, 8)).sum(0) % 2 * 2.0 - 1.0)
  assert float(noise_term({"a": checks, "b": checks})) == pytest.approx(4.0)
  white = jax.random.normal(jax.random.key(0), (64, 64))
  assert float(noise_term({"a": white})) < 0.1


def test_pyramid_features_compare_means_at_every_scale():
  plain, other = jnp.full((1, 16, 16, 3), 100.0), jnp.full((1, 16, 16, 3), 100.0 + 127.5)
  features = jax.jit(projector.pyramid_features)
  distance = jnp.sum((features(plain) - features(other)) ** 2)
  assert float(distance) == pytest.approx(3.0, rel=1e-5)  # one for each of 16, 8, 4 pixels; edges do not differ
  large = jnp.arange(512 * 512, dtype=jnp.float32).reshape(1, 512, 512, 1)
  small = jax.jit(projector.shrink)(large)
  assert small.shape == (1, 256, 256, 1) and float(small[0, 0, 0, 0]) == pytest.approx((0 + 1 + 512 + 513) / 4)


def test_command_finds_a_picture_of_the_network_itself(tmp_path, capsys):
  variables = random_variables(TINY, 1)
  network, picture, out = tmp_path / "g.safetensors", tmp_path / "target.png", tmp_path / "out"
  save_network(network, TINY, variables, {"licence": "CC0-1.0"})
  image = np.asarray(jax.jit(TINY.apply)(variables, np.full((1, 4), 0.5, np.float32), None))[0]
  pixels = np.clip(image * 127.5 + 128, 0, 255).astype(np.uint8)
  Image.fromarray(np.pad(pixels, ((0, 0), (5, 5), (0, 0)))).save(picture)  # wider: the centre is taken
  assert projector.main([str(network), str(picture), str(out), "--steps=40"]) == 0
  assert "projected.png" in capsys.readouterr().out
  report = json.loads((out / "projection.json").read_text())
  assert report["last_loss"] < 0.5 * report["first_loss"]
  assert report["synthetic"] and report["facts"]["licence"] == "CC0-1.0"
  np.testing.assert_array_equal(np.asarray(Image.open(out / "target.png")), pixels)
  with np.load(out / "projected_w.npz") as found:
    assert found["w"].shape == (1, TINY.num_ws, TINY.w_dim) and found["noise/b8.conv1"].shape == (8, 8)
    again = projector.with_noise(variables, {k[6:]: found[k] for k in found.files if k.startswith("noise/")})
    image = np.asarray(jax.jit(lambda v, w: TINY.apply(v, w, "const", method="synthesis"))(again, found["w"]))[0]
  made = np.asarray(Image.open(out / "projected.png"), np.float32)
  assert np.abs(made - np.clip(image * 127.5 + 128, 0, 255)).max() <= 1.01


def test_bad_input(tmp_path, capsys):
  variables = random_variables(TINY, 2)
  with pytest.raises(InputError, match=r"target must be uint8 \(8, 8, 3\), not uint8 \(4, 4, 3\)"):
    project(TINY, variables, np.zeros((4, 4, 3), np.uint8))
  with pytest.raises(InputError, match="takes labels of 0 numbers; 2 given"):
    project(TINY, variables, np.zeros((8, 8, 3), np.uint8), label=np.zeros(2))
  network, text = tmp_path / "g.safetensors", tmp_path / "text.png"
  save_network(network, TINY, variables, {})
  text.write_text("no picture")
  for arguments, message in (
    ((network, text), "text.png: not a picture"),
    ((network, tmp_path / "missing.png"), "missing.png: not a picture"),
    ((text, text), "not a safetensors file"),
    ((network, text, "--label=3"), "--label=3"),
    ((network, text, "--steps=0"), "at least one"),
  ):
    flags = [str(x) for x in arguments]
    assert projector.main([*flags[:2], str(tmp_path / "out"), *flags[2:]]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
  assert not (tmp_path / "out").exists()


def test_mean_code_belongs_to_the_label():
  module = TINY.clone(c_dim=2)
  variables = random_variables(module, 3)
  girl, boy = (projector.code_statistics(module, variables, 500, label)[0] for label in np.eye(2, dtype=np.float32))
  z = np.random.RandomState(123).randn(500, 4).astype(np.float32)
  w = jax.jit(lambda z, c: module.apply(variables, z, c, method="mapping"))(z, np.tile(np.float32([[0, 1]]), (500, 1)))
  np.testing.assert_allclose(boy, np.asarray(w)[:, 0].mean(0), atol=1e-4)
  assert np.abs(girl - boy).max() > 0.01

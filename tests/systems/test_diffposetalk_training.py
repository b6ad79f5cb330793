"""DiffPoseTalk's two trainings through the loop, on a small generated data set: from LMDB to motion."""

import dataclasses
import functools
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_motion

from jaxtalk import runtime
from jaxtalk.cli import load_config
from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.diffusion import ddim
from jaxtalk.encoders.pretrained import load_pretrained
from jaxtalk.systems import diffposetalk_files as files
from jaxtalk.systems.diffposetalk_loss import LossWeights
from jaxtalk.systems.diffposetalk_motion import Stats
from jaxtalk.systems.diffposetalk_networks import Denoiser, StyleEncoder
from jaxtalk.systems.diffposetalk_task import truncation
from jaxtalk.training import loop

pytest.importorskip("lmdb")
ROOT = Path(__file__).resolve().parents[2]
TERMS = {field.name for field in dataclasses.fields(LossWeights)}
SMALL = {
  "train.batch_size": 8,
  "train.log_every": 1,
  "data.frames": 6,
  "data.held_out_count": 4,
  "data.held_out": "val",
}


@pytest.fixture(scope="module", autouse=True)
def compilation():
  """Not for speed: compiling is most of the time."""
  fast = pytest.MonkeyPatch()
  fast.setattr(runtime, "compiler_options", lambda: {"xla_backend_optimization_level": 0})
  yield
  fast.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Data, a FLAME file and a speech encoder."""
  folder = tmp_path_factory.mktemp("diffposetalk")
  tiny_motion.database(folder / "lmdb")
  np.savez(folder / "flame.npz", **tiny_motion.flame_arrays(8))
  tiny_motion.speech_encoder(folder / "speech")
  return folder


def config_of(kind, folder, **changes):
  config, module = load_config(f"configs/diffposetalk.py:{kind}", ROOT)
  small = {"data.path": str(folder / "lmdb"), "mesh.data": 1, "train.steps": 2, **SMALL}
  if kind == "style":
    small |= {"model.width": 8, "model.heads": 2, "model.layers": 1}
  else:
    small |= {
      "model.dropout": 0.0,
      "model.width": 16,
      "model.heads": 2,
      "model.layers": 1,
      "model.previous": 4,
      "optimizer.warmup_steps": 0,
    }
    small |= {"data.flame": str(folder / "flame.npz"), "model.speech_encoder": str(folder / "speech")}
    small |= {"model.style_encoder": str(folder / "style/export/style_encoder.safetensors")}
    small |= {"model.frozen": ("feature_extractor", "encoder.layers.0")}
  for name, value in {**small, **{name.replace("__", "."): value for name, value in changes.items()}}.items():
    config.update_from_flattened_dict({name: value})
  return config, module


def run(kind, folder, workdir, **changes):
  config, module = config_of(kind, folder, **changes)
  text = io.StringIO()
  state = loop.train(module.get_task(config), config, workdir, stream=text)
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return state, text.getvalue(), lines


@pytest.fixture(scope="module")
def style(folder):
  return run("style", folder, folder / "style")


def untrained_style(folder):
  """The path of a style encoder with zeros in it, of the sizes of the trained one."""
  module = StyleEncoder(width=8, heads=2, layers=1)
  shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 2, 54), jnp.float32))["params"]
  path = folder / "zeros.safetensors"
  files.save_network(path, module, jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes), {})
  return str(path)


@pytest.fixture(scope="module")
def trained(folder, style):
  return run("denoiser", folder, folder / "denoiser")


def test_the_style_encoder_trains_and_comes_back(folder, style):
  state, _, lines = style
  assert {"eval/loss", "eval/found"} <= set().union(*lines)
  path = folder / "style/export/style_encoder.safetensors"
  module, variables, facts = files.load_network(path, StyleEncoder)
  assert module.width == 8 and facts["steps"] == 2
  jax.tree.map(np.testing.assert_array_equal, variables["params"], jax.device_get(dict(state.ema)))

  stats = Stats.read(folder / "style/export/stats_train.npz")  # measured: the data set has no such file
  rng = np.random.default_rng(0)
  style = files.extract_style(path, stats, rng.normal(size=(9, 50)), rng.normal(size=(9, 6)))
  assert style.vector.shape == (8,) and style.encoder == files.network_id(variables["params"])


def test_an_update_of_the_denoiser_keeps_its_state_and_has_all_terms(folder):
  """Traced, not compiled; the slow tests run it."""
  config, module = config_of("denoiser", folder, model__style_encoder=untrained_style(folder))
  task = module.get_task(config)
  task.train_batches(folder / "cache")
  state = jax.eval_shape(task.init, jax.random.key(0))
  after, metrics = jax.eval_shape(task.update, state, task.batch_spec())
  assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
  assert set(metrics) == {*TERMS, "loss", "grad_norm"}
  moments = jax.tree.leaves(state.opt_state)  # of what learns only
  assert sum(x.size for x in moments) < 2 * sum(x.size for x in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_the_denoiser_trains_and_generates(folder, trained):
  state, text, lines = trained
  assert {f"{room}/{name}" for room in ("train", "eval") for name in (*TERMS, "loss")} <= set().union(*lines)
  assert "of its parameters learn" in text

  system = files.load_trained(folder / "denoiser/export")
  assert system.schedule.steps == 500 and system.style_encoder
  wave = np.random.default_rng(1).uniform(-0.1, 0.1, 13 * 640).astype(np.float32)
  style = files.extract_style(
    folder / "style/export/style_encoder.safetensors", system.stats, np.ones((5, 50)), np.ones((5, 6))
  )
  expression, pose = system.generate(
    wave, np.zeros(100), style, jax.random.key(0), plan=ddim(system.schedule.levels(2))
  )
  assert expression.shape == (1, 13, 50) and pose.shape == (1, 13, 6) and np.isfinite(expression).all()
  with pytest.raises(InputError, match="of the encoder another"):
    system.style_vector(dataclasses.replace(style, encoder="another"))


@pytest.mark.slow
def test_frozen_parts_of_the_speech_encoder_stay(folder, trained):
  before, after = load_pretrained(folder / "speech")[1]["params"], jax.device_get(trained[0].params["speech"])
  same = jax.tree.map(lambda a, b: bool((a == b).all()), dict(after), dict(before))
  assert all(jax.tree.leaves((same["feature_extractor"], same["encoder"]["layers_0"])))
  assert not any(jax.tree.leaves((same["feature_projection"], same["encoder"]["layers_1"])))


@pytest.mark.slow  # compiles for minutes
@pytest.mark.parametrize("kind", ("style", "denoiser"))
def test_eight_devices_train_as_one(kind, folder, style, request, tmp_path):
  one, _, wanted = style if kind == "style" else request.getfixturevalue("trained")
  many, _, found = run(kind, folder, tmp_path, mesh__data=8)
  losses = [[line["train/loss"] for line in lines if "train/loss" in line] for lines in (found, wanted)]
  assert len(losses[0]) == 2
  np.testing.assert_allclose(*losses, rtol=1e-4)
  close = functools.partial(np.testing.assert_allclose, atol=3e-4)  # Adam's first steps have the size of the rate
  jax.tree.map(close, jax.device_get(many.ema), jax.device_get(one.ema))
  assert len(jax.tree.leaves(many.params)[0].sharding.device_set) == 8


def test_what_is_missing_is_named(folder, tmp_path):
  good = {"model__style_encoder": untrained_style(folder)}
  make = lambda **changes: config_of("denoiser", folder, **(good | changes))  # noqa: E731
  cases = {
    "config.data.flame=generic_model.pkl; without one set --config.loss.vertices=0": {"data__flame": ""},
    "config.model.speech_encoder": {"model__speech_encoder": ""},
    "config.model.style_encoder": {"model__style_encoder": ""},
    "no such file; train.py": {"model__style_encoder": str(tmp_path / "none.safetensors")},
  }
  for message, changes in cases.items():
    config, module = make(**changes)
    with pytest.raises(MissingAssetError, match=message):
      module.get_task(config)
  config, module = make(model__head=False)
  with pytest.raises(InputError, match="takes 54 channels"):
    module.get_task(config)
  config, module = config_of("style", folder, data__path="")
  with pytest.raises(MissingAssetError, match="config.data.path=FOLDER"):
    module.get_task(config).train_batches(tmp_path)
  with pytest.raises(InputError, match="style or denoiser"):
    load_config("configs/diffposetalk.py:both", ROOT)


def test_weights_that_do_not_fit_are_named(tmp_path):
  module = Denoiser(style_width=4, audio_width=8, width=16, heads=2, layers=1, mlp_ratio=2, frames=6, previous=2)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), method="initialise"))["params"]
  params = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), params)
  broken = {name: x for name, x in params.items() if name != "null_style"} | {"extra": np.zeros(2)}
  files.save_network(tmp_path / "net.safetensors", module, {**broken, "place": np.zeros((3, 16))}, {})
  with pytest.raises(InputError) as error:
    files.load_network(tmp_path / "net.safetensors", Denoiser)
  for part in ("null_style is missing", "extra is left over", "place is (3, 16), not (9, 16)"):
    assert part in str(error.value)
  with pytest.raises(InputError, match="holds Denoiser, not a StyleEncoder"):
    files.load_network(tmp_path / "net.safetensors", StyleEncoder)
  (tmp_path / "net.safetensors").write_bytes(b"nothing")
  with pytest.raises(InputError, match="damaged"):
    files.load_network(tmp_path / "net.safetensors", Denoiser)


def test_windows_end_early_as_often_as_asked():
  ends = np.asarray(jax.jit(lambda key: truncation(key, (0.0, 0.4), 2000, 100))(jax.random.key(0)))
  assert (ends[0] == 100).all() and ends.min() >= 1
  assert 0.36 < (ends[1] < 100).mean() < 0.44
  assert jnp.unique(ends[1]).size > 90

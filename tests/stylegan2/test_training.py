"""Runs of a tiny StyleGAN2 through the loop: one device and eight, stops, transfer, export, and what is refused."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import chex
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxtalk import cli, runtime
from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2 import task as task_module
from jaxtalk.stylegan2 import transfer
from jaxtalk.stylegan2.networks import discriminator_layer_order
from jaxtalk.stylegan2.phases import Settings
from jaxtalk.stylegan2.store import load_network
from jaxtalk.stylegan2.task import StyleGAN2Task
from jaxtalk.training import loop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="module")
def compilation_cache(tmp_path_factory):
  """The same tiny stages are compiled once, not once a run, and not for speed."""
  fast = pytest.MonkeyPatch()
  fast.setattr(runtime, "compiler_options", lambda: {"xla_backend_optimization_level": 0})
  names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
  before = [getattr(jax.config, f"jax_{name}") for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp("xla")), 0, -1), strict=True):
    jax.config.update(f"jax_{name}", value)
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(f"jax_{name}", value)
  fast.undo()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """24 pictures of 8x8 in two classes, with labels."""
  path, rng = tmp_path_factory.mktemp("pictures") / "set.zip", np.random.default_rng(0)
  with zipfile.ZipFile(path, "w") as file:
    for i in range(24):
      buffer = io.BytesIO()
      Image.fromarray(rng.integers(0, 128, (8, 8, 3), np.uint8) + 127 * np.uint8(i % 2)).save(buffer, "PNG")
      file.writestr(f"{i:02d}.png", buffer.getvalue())
    file.writestr("dataset.json", json.dumps({"labels": [[f"{i:02d}.png", i % 2] for i in range(24)]}))
  return path


def tiny(pictures, **changes):
  """The demo config for the tiny pictures, with changed fields (``train__steps=5``)."""
  config, _ = cli.load_config("configs/stylegan2.py:demo,resolution=8", ROOT)
  small = {"train.steps": 20, "train.log_every": 1, "train.eval_every": 20, "train.save_every": 20}
  small |= {"train.batch_size": 8, "mesh.data": 1, "model.z_dim": 8, "model.w_dim": 8, "model.channel_base": 64}
  small |= {"augment.mode": "ada", "augment.pipe": "color", "augment.kimg": 1.0, "loss.pl_weight": 2.0}
  small |= {"loss.paired_weight": 0, "model.mapping_layers": 2}
  small |= {"loss.mixing_prob": 0.9, "eval.samples": 12, "eval.grid": 2, "data.path": pictures, "data.mirror": False}
  values = {**small, **{name.replace("__", "."): value for name, value in changes.items()}}
  cli.override(config, {name: str(value) for name, value in values.items()})
  return config


def run(workdir, config):
  text = io.StringIO()
  state = loop.train(StyleGAN2Task(config), config, workdir, stream=text)
  return state, text.getvalue()


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
  """The folder of a finished run on one device, with its state and what it printed."""
  folder = tmp_path_factory.mktemp("run")
  return folder, *run(folder, tiny(pictures))


@pytest.mark.slow  # the loop's own tests do the same with a toy
def test_eight_devices_give_the_losses_of_one(pictures, finished, tmp_path):
  folder, one, _ = finished
  many, _ = run(tmp_path, tiny(pictures, mesh__data=8))
  a, b = losses(folder), losses(tmp_path)
  assert len(a) == 20 and a.keys() == b.keys()
  for step, values in a.items():
    assert b[step] == pytest.approx(values, rel=1e-5, abs=1e-6), f"step {step}"
  assert int(many.step) == int(one.step) == 20


def losses(workdir):
  """Step -> losses and regularisers of its stages."""
  rows = {}
  for row in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()):
    found = {name: row[name] for name in row if name.startswith(("train/loss", "train/pl_", "train/r1_"))}
    if found:
      rows[row["step"]] = found
  return rows


def test_lazy_phases_report_only_when_they_run(finished):
  rows = losses(finished[0])
  assert [step for step, row in rows.items() if "train/pl_penalty" in row] == [1, 5, 9, 13, 17]
  assert [step for step, row in rows.items() if "train/r1_penalty" in row] == [1, 17]
  assert all({"train/loss_G", "train/loss_D"} <= row.keys() for row in rows.values())


def test_speed_pictures_and_files_are_written(finished):
  folder, state, text = finished
  assert "img/s" in text and "left" in text and "done: step 20" in text
  sheet = np.asarray(Image.open(folder / "images" / "samples_0000020.png"))
  assert sheet.shape == (16, 16, 3) and sheet.std() > 0
  assert np.asarray(Image.open(folder / "images" / "reals_0000020.png")).shape == (16, 16, 3)
  names = sorted(path.name for path in (folder / "export").iterdir())
  assert names == ["D.safetensors", "G.safetensors", "G_ema.safetensors", "samples.png"]
  module, variables, facts = load_network(folder / "export" / "G_ema.safetensors")
  assert (facts["steps"], facts["kimg"], facts["pictures"], module.c_dim) == (20, 0.2, 24, 2)
  for path, x in jax.tree_util.tree_leaves_with_path(state.ema):
    got = variables["params"]
    for key in path:
      got = got[key.key]
    np.testing.assert_allclose(got, x, rtol=1e-3, atol=1e-6)  # shipped as float16
  module, variables, _ = load_network(folder / "export" / "D.safetensors")
  chex.assert_trees_all_close(variables["params"], jax.device_get(state.params["D"]))


@pytest.mark.slow  # the loop's own tests do the same with a toy
def test_stopping_and_going_on_changes_nothing(pictures, finished, tmp_path):
  run(tmp_path, tiny(pictures, train__steps=10))
  whole, text = run(tmp_path, tiny(pictures))
  assert "going on from step 10" in text
  chex.assert_trees_all_equal(jax.device_get(whole.params), jax.device_get(finished[1].params))
  chex.assert_trees_all_equal(jax.device_get(whole.ema), jax.device_get(finished[1].ema))


def test_a_loss_that_is_not_a_number_stops_the_run(pictures, finished, tmp_path, monkeypatch):
  """Gradients are cleaned, losses are not: weights that have gone bad do not train on unnoticed."""

  def spoiled(self, state):
    d = jax.tree.map(jnp.array, state.params["D"])
    d["b4"]["fc"]["weight"] = d["b4"]["fc"]["weight"].at[0, 0].set(jnp.nan)
    return dataclasses.replace(state, params={**state.params, "D": d}), []

  monkeypatch.setattr(StyleGAN2Task, "warm_start", spoiled)
  with pytest.raises(loop.TrainingError, match=r"loss_\w is nan at step 1: stopped; no checkpoint was saved yet"):
    run(tmp_path, tiny(pictures))
  assert list((tmp_path / "checkpoints").iterdir()) == []


def test_average_and_augmentation_follow_the_published_formulas(pictures):
  phases = task_module.make_phases(tiny(pictures), *task_module.make_networks(tiny(pictures), 2, 3))
  settings = Settings(batch_size=8, ema_kimg=1.0, ema_ramp=0.5, pipe=phases.settings.pipe, ada_target=0.6, ada_kimg=1.0)
  phases = dataclasses.replace(phases, settings=settings)
  state = phases.init(jax.random.key(0), {"params": {"a": jnp.ones(3)}, "buffers": {}}, {"params": {}}, 0.1)
  extra = {**state.extra, "images": jnp.asarray(64), "signs": jnp.asarray([30.0, 40.0])}
  state = dataclasses.replace(state, step=jnp.asarray(7), ema={"a": jnp.zeros(3)}, extra=extra)
  after, _ = phases.finish(state, {})
  np.testing.assert_allclose(after.ema["a"], 1 - 0.5 ** (8 / 32), rtol=1e-6)  # half-life: 0.5 * 64 images
  np.testing.assert_allclose(after.extra["augment_p"], 0.1 + 8 * 4 / 1000, rtol=1e-6)  # 30 / 40 > 0.6
  assert after.extra["signs"].tolist() == [0, 0] and int(after.extra["images"]) == 72 and int(after.step) == 8
  kept, _ = phases.finish(dataclasses.replace(state, step=jnp.asarray(8)), {})
  assert float(kept.extra["augment_p"]) == pytest.approx(0.1) and kept.extra["signs"].tolist() == [30, 40]
  first, _ = phases.finish(dataclasses.replace(state, extra={**extra, "images": jnp.asarray(0)}), {})
  np.testing.assert_allclose(first.ema["a"], 1.0)  # before any image the average is the network


def zeros(task):
  """A state of the task's shapes."""
  shapes = jax.eval_shape(task.init, jax.random.key(0))
  blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), dataclasses.replace(shapes, rng=None))
  return dataclasses.replace(blank, rng=jax.random.key(0))


@pytest.mark.slow
def test_transfer_copies_what_fits_and_names_the_rest(pictures, finished):
  folder, old, _ = finished
  config = tiny(pictures, model__networks="plain", init=folder)
  task = StyleGAN2Task(config)
  state, notes = task.warm_start(zeros(task))
  assert [note.split(" ")[0] for note in notes] == ["G", "D", "G_ema"]
  assert "new: mapping.fc0.weight" in notes[0] and str(folder) in notes[0]
  assert "b4.out.weight" in notes[1]  # 1 logit instead of a projection
  chex.assert_trees_all_equal(jax.device_get(state.params["D"]["b8"]), jax.device_get(old.params["D"]["b8"]))
  chex.assert_trees_all_close(
    jax.device_get(state.ema["synthesis"]), jax.device_get(old.ema["synthesis"]), rtol=1e-3, atol=1e-6
  )
  old_avg, new_avg = (s.extra["G_buffers"]["mapping"]["w_avg"] for s in (old, state))
  np.testing.assert_array_equal(new_avg, old_avg)


def test_transfer_from_a_run_that_is_not_finished(pictures, finished, tmp_path):
  (tmp_path / "checkpoints").symlink_to(finished[0] / "checkpoints")
  found = transfer.load_start(tmp_path)
  chex.assert_trees_all_equal(found["G"]["params"], jax.device_get(finished[1].params["G"]))
  chex.assert_trees_all_equal(found["G_ema"]["params"], jax.device_get(finished[1].ema))


def test_transfer_from_an_official_snapshot():
  found = transfer.load_start(golden.path("snapshot_ada_b.pkl"))
  assert set(found) == {"G", "D", "G_ema"}
  assert {"params", "buffers"} <= set(found["G"]) and "b4" in found["D"]["params"]


def test_transfer_from_nothing(tmp_path):
  with pytest.raises(MissingAssetError, match="config.init=.*x.pkl: no such file"):
    transfer.load_start(tmp_path / "x.pkl")
  with pytest.raises(InputError, match="not a training folder"):
    transfer.load_start(tmp_path)


@pytest.mark.slow
def test_frozen_layers_stay_as_they_are(pictures, finished):
  config = tiny(pictures, train__freeze_d=2)
  generator, discriminator = task_module.make_networks(config, 2, 3)
  phases, before = task_module.make_phases(config, generator, discriminator), finished[1]
  after = phases.step(before, "D", jax.tree.map(jnp.ones_like, before.params["D"]))
  moved = {}
  for name in discriminator_layer_order(discriminator):
    block, layer = name.split(".")
    same = jax.tree.map(np.array_equal, before.params["D"][block][layer], after.params["D"][block][layer])
    moved[name] = not any(jax.tree.leaves(same))
  assert moved == {name: i >= 2 for i, name in enumerate(moved)} and len(moved) == 4
  assert not np.array_equal(before.params["D"]["b4"]["out"]["weight"], after.params["D"]["b4"]["out"]["weight"])


def test_distances_are_reported_under_their_names(pictures, finished, monkeypatch):
  class MeanColour:
    name, resolution, dims, digest = "mean_colour", 8, 3, "0"

    def features(self, images):
      return images.mean((1, 2)).astype(np.float32)

    def probabilities(self, features):
      return None

  monkeypatch.setattr(task_module, "make_extractor", lambda name: MeanColour())
  monkeypatch.setenv("JAXTALK_CACHE", str(finished[0] / "cache"))
  task = StyleGAN2Task(tiny(pictures, eval__extractor="mean_colour"))
  results = task.evaluate(finished[1])
  assert results["FD-mean_colour"] > 0 and results["samples"].dtype == np.uint8


def test_one_network_of_a_pair_sees_one_class(pictures):
  task = StyleGAN2Task(tiny(pictures, model__networks="pair", data__only_label=1))
  data = task.train_batches(Path())
  batch = next(data)
  assert batch["image"].min() >= 127 and batch["label"].shape == (8, 0) and batch["gen_label"].shape == (8, 4, 0)
  assert task.generator.c_dim == 0


@pytest.mark.slow
def test_half_precision_trains(pictures, finished, tmp_path):
  run(tmp_path, tiny(pictures, model__dtype="bfloat16", model__num_half_res=4, model__conv_clamp=256))
  half, full = losses(tmp_path), losses(finished[0])
  for name in ("train/loss_G", "train/loss_D"):
    assert half[1][name] == pytest.approx(full[1][name], rel=0.02)
    assert half[20][name] == pytest.approx(full[20][name], rel=0.2)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model__networks": "pair"}, "goes with config.data.only_label"),
    ({"data__only_label": 1}, "goes with config.data.only_label"),
    ({"model__networks": "pair", "data__only_label": 5}, "has no picture of class 5; its classes are 0 to 1"),
    ({"model__networks": "conditionl"}, "did you mean 'conditional'"),
    ({"model__dtype": "float16"}, "config.model.dtype is 'float16'"),
    ({"augment__mode": "adaptive"}, "config.augment.mode is 'adaptive'"),
    ({"augment__pipe": "bgx"}, "'bgx' is not known"),
    ({"train__accumulate": 3}, "does not split into config.train.accumulate 3 parts"),
    ({"model__mbstd_group": 3}, "mbstd_group 3 does not divide the 8 pictures"),
    ({"train__freeze_d": 99}, "this discriminator has 4 layers to freeze"),
    ({"loss__r1_every": 0}, "r1_gamma=0 and pl_weight=0 switch them off"),
    ({"data__resolution": 16}, "smaller than resolution=16"),
    ({"data__path": "nowhere.zip"}, "nowhere.zip"),
    ({"eval__extractor": "inception"}, "unknown extractor 'inception'"),
  ],
)
def test_bad_configs_get_one_line(pictures, changes, message):
  with pytest.raises(InputError, match=message) as caught:
    StyleGAN2Task(tiny(pictures, **changes))
  assert "\n" not in str(caught.value)


def test_a_set_without_labels_cannot_be_learned_by_label(pictures, tmp_path):
  plain = tmp_path / "plain.zip"
  with zipfile.ZipFile(pictures) as source, zipfile.ZipFile(plain, "w") as target:
    for name in source.namelist():
      if name.endswith(".png"):
        target.writestr(name, source.read(name))
  with pytest.raises(InputError, match="has no labels"):
    StyleGAN2Task(tiny(plain))

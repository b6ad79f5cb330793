"""The second stream of the talking portrait: what it adds to an update, and that one stream stays as it was."""

import functools
import io
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxtalk import cli
from jaxtalk.core import InputError
from jaxtalk.data import portraits
from jaxtalk.studio import points
from jaxtalk.systems import portrait_conditions as pc
from jaxtalk.systems import talking_portrait as tp
from jaxtalk.systems import talking_portrait_domains as domains
from jaxtalk.systems import talking_portrait_reader as reader
from jaxtalk.systems.talking_portrait_task import TalkingPortraitTask
from jaxtalk.training import loop

ROOT = Path(__file__).resolve().parents[2]
SIZE, COUNT = 8, 8
TEACHES = {"R": "R", "G_other": "G", "D_other": "D_other"}  # stage -> network


def config_of(other_path=""):
  config, _ = cli.load_config("configs/talking_portrait.py", ROOT)
  with config.unlocked():
    config.train.update(batch_size=COUNT, steps=40)
    config.optimizer.warmup_steps = 0
    config.loss.update(adversarial_weight=0.0, other_start=0)
    config.model.update(
      resolution=SIZE, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8, d_channel_base=64, mbstd_group=4
    )
    config.data.update(size=SIZE, other_path=str(other_path))
  return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  home = tmp_path_factory.mktemp("pictures")
  for i in range(6):
    pixels = np.random.default_rng(i).integers(0, 255, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(home / f"{i}.png")
  return home


def batch_of():
  rng = np.random.default_rng(0)
  at = rng.uniform(0, SIZE, (COUNT, points.NUM, 3)).astype(np.float32)
  at[:, points.ANCHORS, :2] = [[4, 4], [6, 4], [4, 2]]
  return {
    "image": jnp.asarray(rng.integers(0, 255, (COUNT, SIZE, SIZE, 4), np.uint8)),
    "z": jnp.asarray(rng.standard_normal((COUNT, pc.Z_DIM)).astype(np.float32)),
    "label": jnp.asarray(np.pad(rng.standard_normal((COUNT, pc.C_DIM)).astype(np.float32), ((0, 0), (0, 1)))),
    "points": jnp.asarray(at),
    "cover": jnp.asarray(rng.integers(0, 255, (COUNT, SIZE, SIZE, len(points.COVERS)), np.uint8)),
    "other": jnp.asarray(rng.integers(0, 255, (COUNT, SIZE, SIZE, 3), np.uint8)),
  }


@functools.cache
def compiled(run):
  return jax.jit(run, compiler_options={"xla_backend_optimization_level": "0"})


@pytest.fixture(scope="module")
def trained(folder):
  """The task, its state before, and what the new stages made of it."""
  task = TalkingPortraitTask(config_of(folder))
  before = compiled(task.init)(jax.random.key(1))
  batch, after, reports = batch_of(), {}, {}
  for stage in task.stages():
    if stage.name in TEACHES:
      after[stage.name], reports[stage.name] = compiled(stage.run)(before, batch)
  return task, before, after, reports


def test_every_stage_teaches_its_own_network(trained):
  task, before, after, reports = trained
  assert [stage.name for stage in task.stages()] == ["pair", "R", "G_other", "D_other", "Dreg_other", "finish"]
  for stage, learner in TEACHES.items():
    for name, params in before.params.items():
      same = all(map(np.array_equal, *map(jax.tree.leaves, (params, after[stage].params[name]))))
      assert same == (name != learner), (stage, name)
    assert all(np.isfinite(value) for value in reports[stage].values())
  assert reports["R"]["loss_R"] > 0 and reports["G_other"]["loss_control"] > 0


def test_the_flag_changes_the_picture(trained):
  task, _, after, _ = trained
  state, batch = after["G_other"], batch_of()
  variables = {"params": state.params["G"], "buffers": state.extra["G_buffers"]}
  flagged = domains.in_other(batch["label"])
  assert (flagged[:, -1] == 1).all() and np.array_equal(flagged[:, :-1], batch["label"][:, :-1])
  studio, other = (
    np.asarray(compiled(task._paint)(variables, {**batch, "label": x})) for x in (batch["label"], flagged)
  )
  chex.assert_shape([studio, other], (COUNT, SIZE, SIZE, 4))
  assert np.abs(studio - other)[..., :3].mean() > 0.01


def test_codes_of_the_other_domain_move_its_pictures_only(trained, tmp_path):
  task, before, after, _ = trained
  assert np.abs(after["G_other"].params["G"]["domain"]["codes"]).min() > 0  # every layer's are taught
  moved = {**before.params["G"], "domain": {"codes": jnp.ones_like(before.params["G"]["domain"]["codes"])}}
  batch, pictures = batch_of(), {}
  for name, params in (("still", before.params["G"]), ("moved", moved)):
    for flag, label in ((0, batch["label"]), (1, domains.in_other(batch["label"]))):
      variables = {"params": params, "buffers": before.extra["G_buffers"]}
      pictures[name, flag] = np.asarray(compiled(task._paint)(variables, {**batch, "label": label}))
  np.testing.assert_array_equal(pictures["still", 0], pictures["moved", 0])
  assert np.abs(pictures["still", 1] - pictures["moved", 1]).max() > 0.01
  params = {name: x for name, x in before.params["G"].items() if name != "domain"}  # a file of the time before
  scales = np.zeros(pc.C_DIM, np.float32), np.ones(pc.C_DIM, np.float32)
  variables = {"params": params, "buffers": before.extra["G_buffers"]}
  tp.save(tmp_path / "old.safetensors", tp.TalkingPortrait(task.generator, variables, *scales, {}))
  assert not np.any(tp.load(tmp_path / "old.safetensors").variables["params"]["domain"]["codes"])


def test_one_stream_is_as_it_was():
  shapes = {}
  for path in ("", "somewhere"):
    task = TalkingPortraitTask(config_of(path))
    shapes[path] = jax.eval_shape(task.init, jax.random.key(1))
    assert ("other" in task.batch_spec()) == bool(path)
  one, two = shapes[""], shapes["somewhere"]
  assert set(one.params) == set(one.opt_state) == {"G", "D"} and set(one.extra) == {"G_buffers"}
  assert set(two.params) == {"G", "D", "D_other", "R"} and set(two.opt_state) == {"G", "D", "D_other", "R", "G_other"}
  chex.assert_trees_all_equal_shapes(one.params["G"], two.params["G"])
  stages = TalkingPortraitTask(config_of()).stages()
  assert [stage.name for stage in stages] == ["pair", "finish"]


def test_pictures_are_cut_to_size_and_streams_go_on_where_they_were(folder):
  task = TalkingPortraitTask(config_of(folder))
  other = task._other

  class First:
    position = 0

    def __next__(self):
      self.position += 1
      return {"number": np.array([self.position])}

    def get_state(self):
      return {"position": self.position}

    def set_state(self, state):
      self.position = state["position"]

  both = other.batches(other.open(), First())
  first = next(both)
  chex.assert_shape(first["other"], (COUNT, SIZE, SIZE, 3))
  state = both.get_state()
  wanted = next(both)
  again = other.batches(other.open(), First())
  again.set_state(state)
  chex.assert_trees_all_equal(next(again), wanted)
  with pytest.raises(InputError, match="without other_path"):
    again.set_state({"position": 3})


def test_bad_pictures_are_named_in_one_line(tmp_path, folder):
  (tmp_path / "grey").mkdir(), (tmp_path / "empty").mkdir(), (tmp_path / "small").mkdir()
  Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "grey" / "a.png")
  Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "small" / "a.png")
  cases = {"none": "", "grey": "grey pictures: convert them to RGB", "empty": "no pictures", "small": "smaller than"}
  for name, message in cases.items():
    task = TalkingPortraitTask(config_of(tmp_path / name))
    with pytest.raises(InputError, match=f"config.data.other_path.*{name}.*{message}") as error:
      task.train_batches(tmp_path)
    assert "\n" not in str(error.value)
  config = config_of(folder)
  config.loss.other_weight = 0.0
  with pytest.raises(InputError, match="other_weight above 0"):
    TalkingPortraitTask(config)


def test_readings_say_where_things_are():
  at = np.zeros((2, points.NUM, 3), np.float32)
  at[:, 27, :2], at[:, 8, :2] = (31.5, 20), (31.5, 60)  # face 40 pixels high
  at[0, 66, 1] = 10.0  # lips 10 pixels apart, those of the second one touch
  for lid, (_, b, upper, _) in enumerate(reader._LIDS):
    at[:, b, 0] = 8.0
    at[:, list(upper), 1] = 2.0 * (lid + 1)
  labels = np.zeros((2, pc.C_DIM + 1), np.float32)
  labels[:, pc.NAMES.index("head_pitch")] = 0.7
  told = {
    name: np.asarray(x) for name, x in reader.split(reader.readings(jnp.asarray(labels), jnp.asarray(at), 64)).items()
  }
  assert {name: x.shape for name, x in told.items()} == {name: (2, n) for name, n in reader.READING.items()}
  np.testing.assert_allclose(told["points"][0, 54:56], [0.0, 4 * (20.5 / 64 - 0.5)], atol=1e-6)
  np.testing.assert_allclose(told["angles"], [[0, 0.7, 0]] * 2, atol=1e-6)
  np.testing.assert_allclose(told["openings"] / reader.OPENING_SCALE, [[0.25, 0.25, 0.5], [0, 0.25, 0.5]], atol=2e-3)


def test_a_disguise_changes_looks_and_not_places():
  pictures = np.full((64, SIZE, SIZE, 4), -1.0, np.float32)
  pictures[:, 2:6, 2:6] = [0.8, 0.2, -0.2, 1.0]
  worn = np.asarray(compiled(reader.disguise)(jax.random.key(2), jnp.asarray(pictures)))
  chex.assert_shape(worn, (64, SIZE, SIZE, 3))
  assert np.abs(worn).max() <= 1
  assert worn[:, 0, 0].std(0).min() > 0.3 and worn[:, 4, 4].std(0).min() > 0.1
  inside, around = worn[:, 3:5, 3:5].std((1, 2)), np.abs(worn[:, 3:5, 3:5].mean((1, 2)) - worn[:, 0, 0])
  assert np.median(around) > 3 * np.median(inside)


@pytest.mark.slow
def test_two_streams_end_to_end_on_eight_devices(tmp_path, folder, monkeypatch):
  person = portraits.make_person(0, 3, 32, np.zeros((3, 61), np.float32))
  columns = {name: np.concatenate([x] * 3) for name, x in person.items()}  # enough for an evaluation
  monkeypatch.setattr(portraits.PortraitSet, "load", lambda self, folder: columns)
  config = config_of(folder)
  with config.unlocked():
    config.train.update(steps=3, log_every=1, eval_every=3, save_every=2)
    config.optimizer.update(warmup_steps=1, decay_steps=1)
    config.loss.update(other_start=1, r1_every=2)
    config.data.size = 32
    config.mesh.data = 8
  log = io.StringIO()
  loop.train(TalkingPortraitTask(config), config, tmp_path, stream=log)
  assert "done: step 3" in log.getvalue()
  rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
  assert "train/loss_R" in rows[0] and "train/loss_control" not in rows[0] and "train/loss_control" in rows[1]
  assert any("train/r1_other" in row for row in rows)
  assert list((tmp_path / "images").glob("other_*.png"))
  facts = tp.load(tmp_path / "export" / "talking_portrait.safetensors").facts
  assert "pictures of the user's" in facts["trained_on"] and str(folder) not in json.dumps(facts)
  with config.unlocked():
    config.train.steps = 4
  state = loop.train(TalkingPortraitTask(config), config, tmp_path, stream=log)
  assert int(state.step) == 4 and "going on from step" in log.getvalue()

"""Training of the talking portrait: stages, data, warm start from half the size."""

import functools
import io
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from jaxtalk import cli
from jaxtalk.core import InputError
from jaxtalk.data import portraits
from jaxtalk.studio import points
from jaxtalk.systems import portrait_conditions as pc
from jaxtalk.systems import talking_portrait as tp
from jaxtalk.systems.talking_portrait_task import PortraitSource, TalkingPortraitTask
from jaxtalk.training import loop

ROOT = Path(__file__).resolve().parents[2]


def config(**overrides):
  loaded, _ = cli.load_config("configs/talking_portrait.py", ROOT)
  small = {
    "model.resolution": 32, "model.w_dim": 16, "model.mapping_layers": 2, "model.channel_base": 256,
    "model.channel_max": 16, "model.d_channel_base": 256, "train.batch_size": 8, "train.steps": 6,
    "optimizer.warmup_steps": 1, "optimizer.decay_steps": 2, "loss.adversarial_start": 3, "loss.r1_every": 2,
    "data.size": 32, "data.people": 25, "data.held_out_people": 25,
  }  # fmt: skip
  cli.override(loaded, {name: str(value) for name, value in (small | overrides).items()})
  return loaded


@functools.cache
def person():
  acted = np.zeros((3, 61), np.float32)
  acted[:, 17] = [0.0, 0.3, 0.6]
  return portraits.make_person(0, 3, 32, acted)


def test_a_persons_pictures_fit_their_points_and_conditions():
  columns = person()
  n = portraits.PER_PERSON
  shapes = {"image": (n, 32, 32, 4), "z": (n, pc.Z_DIM), "c": (n, pc.C_DIM), "points": (n, points.NUM, 3)}
  shapes["cover"] = (n, 32, 32, len(points.COVERS))
  for name, shape in shapes.items():
    chex.assert_shape(columns[name], shape)
  image, at = columns["image"], np.round(columns["points"]).astype(int)
  assert (image[..., :3][image[..., 3] == 0] == 0).all()  # black where nobody is
  nose = at[:, 30]
  assert (image[np.arange(n), nose[:, 1], nose[:, 0], 3] == 255).all()
  assert np.array_equal(columns["z"][0], pc.latent(portraits.draw_person(0, 3)))
  sketched = columns["cover"].max(-1) > 120
  near = maximum_filter(image[..., 3], (1, 3, 3))  # vertices are shared with the next pixel
  assert (near[sketched] > 0).mean() > 0.99  # nothing is sketched beside the person
  assert sketched[image[..., 3] == 255].mean() > 0.5  # and most of the person is


def test_people_of_a_set_are_children_mostly_and_differ():
  people = [portraits.draw_person(0, i) for i in range(200)]
  assert len({p.seed for p in people}) == 200
  assert 0.02 < np.mean([p.age_years >= 13 for p in people]) < 0.2
  assert 0.35 < np.mean([p.gender == "female" for p in people]) < 0.65
  with pytest.raises(InputError, match="portrait set"):
    portraits.PortraitSet(0, 128, 0)


def test_stages_come_in_when_the_config_says():
  names = {s.name: (s.every, s.start, s.stop) for s in TalkingPortraitTask(config()).stages()}
  assert names == {
    "pair": (1, 0, 3),
    "G": (1, 3, None),
    "D": (1, 3, None),
    "Dreg": (2, 3, None),
    "finish": (1, 0, None),
  }
  alone = TalkingPortraitTask(config(**{"loss.adversarial_weight": 0})).stages()
  assert [s.name for s in alone] == ["pair", "finish"]


@pytest.mark.parametrize(
  "field, value, message",
  [
    ("model.dtype", "float8", "config.model.dtype is 'float8'"),
    ("model.resolution", 64, "config.model.resolution=64 does not divide config.data.size=32"),
    ("model.mbstd_group", 3, "mbstd_group 3 does not divide the batch of 8"),
    ("loss.paired_weight", 0, "paired_weight above 0"),
  ],
)
def test_fields_that_do_not_fit_are_refused(field, value, message):
  with pytest.raises(InputError, match=message):
    TalkingPortraitTask(config(**{field: value}))


def test_every_stage_keeps_the_state_and_is_finite_in_shape():
  task = TalkingPortraitTask(config())
  state = jax.eval_shape(task.init, jax.random.key(0))
  batch = task.batch_spec()
  for stage in task.stages():
    after, report = jax.eval_shape(stage.run, state, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    chex.assert_shape(list(report.values()), ())


@pytest.mark.slow
def test_single_pictures_are_learnt():
  """Thirty updates on one batch more than halve the distance to its pictures."""
  small = {"model.resolution": 16, "loss.adversarial_weight": 0, "train.steps": 40, "optimizer.lr": 0.01}
  task = TalkingPortraitTask(config(**small))
  columns = person()
  task._scales = columns["c"].mean(0), np.ones(pc.C_DIM, np.float32)
  batch = PortraitSource(columns, *task._scales).rows(np.arange(8))
  quickly = {"xla_backend_optimization_level": "0"}  # compilation is most of this test
  state = jax.jit(task.init, compiler_options=quickly)(jax.random.key(0))
  chex.assert_trees_all_equal_shapes_and_dtypes(batch, task.batch_spec())
  pair = jax.jit(task.pair, compiler_options=quickly)
  losses = []
  for _ in range(30):
    state, report = pair(state, batch)
    losses.append(float(report["loss_pair"]))
  assert losses[-1] < 0.5 * losses[1]
  variables = {"params": state.params["G"], "buffers": state.extra["G_buffers"]}
  moved = {**batch, "points": batch["points"] + np.array([6.0, 0.0, 0.0], np.float32)}
  moved["cover"] = np.roll(batch["cover"], 6, axis=2)
  shown, shifted = (np.asarray(task._draw(variables, rows)[1], float) for rows in (batch, moved))
  assert np.abs(shown - shifted).mean() > 2  # it looks at the maps


@pytest.mark.slow
def test_training_end_to_end_goes_on_at_twice_the_size(tmp_path):
  log = io.StringIO()
  first = config(**{"data.path": tmp_path / "data", "mesh.data": 8})
  loop.train(TalkingPortraitTask(first), first, tmp_path / "small", stream=log)
  assert "done: step 6" in log.getvalue()
  exported = tp.load(tmp_path / "small" / "export" / "talking_portrait.safetensors")
  assert exported.module.img_resolution == 32
  more = {"data.path": tmp_path / "data64", "data.size": 64, "model.resolution": 64, "init": tmp_path / "small"}
  second = config(**more, **{"mesh.data": 1})
  log = io.StringIO()
  loop.train(TalkingPortraitTask(second), second, tmp_path / "large", stream=log)
  assert "tensors copied" in log.getvalue() and "done: step 6" in log.getvalue()

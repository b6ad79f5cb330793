"""State, averages, accumulation, optimiser, sharding rules, batches, writers: each against a closed form."""

import io
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict
from PIL import Image

from jaxtalk.core import InputError
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.training import loop, optimizer, plan, sharding, task, writers


def quadratic(params, batch, rng):
  error = ((batch["x"] @ params["w"] - batch["y"]) ** 2).mean()
  return error, {"error": error}


def problem(size=12):
  rng = np.random.default_rng(0)
  params = {"w": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}
  batch = {"x": rng.normal(size=(size, 3)).astype(np.float32), "y": rng.normal(size=(size, 2)).astype(np.float32)}
  return params, batch


def test_ema_is_exactly_the_weighted_sum():
  params, batch = problem()
  sgd = optax.sgd(0.1)
  state = task.create_state(params, sgd, jax.random.key(0))
  expected = np.asarray(params["w"], np.float64)
  for n in range(20):
    state, _ = task.gradient_update(state, batch, quadratic, sgd, ema_decay=0.8)
    decay = min(0.8, (1 + n) / (10 + n))
    expected = decay * expected + (1 - decay) * np.asarray(state.params["w"], np.float64)
    np.testing.assert_allclose(state.ema["w"], expected, atol=1e-6)
  assert float(task.ema_update(1.0, 0.0, 10**6, 0.999)) == pytest.approx(0.999)


def test_one_sgd_step_is_the_hand_computed_one():
  params, batch = problem()
  sgd = optax.sgd(0.5)
  after, metrics = task.gradient_update(task.create_state(params, sgd, jax.random.key(0)), batch, quadratic, sgd)
  residual = batch["x"] @ np.asarray(params["w"]) - batch["y"]
  gradient = 2 * batch["x"].T @ residual / residual.size
  np.testing.assert_allclose(after.params["w"], params["w"] - 0.5 * gradient, atol=1e-6)
  assert float(metrics["loss"]) == pytest.approx((residual**2).mean(), rel=1e-6)
  assert float(metrics["grad_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
  assert int(after.step) == 1


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulation_gives_the_step_of_the_whole_batch(parts):
  params, batch = problem()
  adam = optax.adam(0.1)
  state = task.create_state(params, adam, jax.random.key(0))
  whole, a = task.gradient_update(state, batch, quadratic, adam)
  split, b = task.gradient_update(state, batch, quadratic, adam, accumulate=parts)
  chex.assert_trees_all_close(split.params, whole.params, atol=1e-5)
  chex.assert_trees_all_close(a, b, rtol=1e-5)


def section(**changes):
  fields = {"name": "adamw", "lr": 0.1, "schedule": "constant", "warmup_steps": 10, "b1": 0.9, "b2": 0.99}
  return ConfigDict({**fields, "weight_decay": 0.1, "clip_norm": 0.0, **changes})


def test_schedules_warm_up_and_end_where_they_should():
  rate = optimizer.make_schedule(section(schedule="cosine"), 110)
  assert [float(rate(n)) for n in (0, 5, 10, 60, 110)] == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-7)
  rate = optimizer.make_schedule(section(schedule="linear"), 110)
  assert [float(rate(n)) for n in (10, 35, 110)] == pytest.approx([0.1, 0.075, 0], abs=1e-7)
  rate = optimizer.make_schedule(section(warmup_steps=0), 110)
  assert [float(rate(n)) for n in (0, 110)] == pytest.approx([0.1, 0.1])


def test_weight_decay_leaves_biases_alone_and_clipping_bounds_the_step():
  params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
  zero = jax.tree.map(jnp.zeros_like, params)
  adamw = optimizer.make_optimizer(section(warmup_steps=0), 10)
  updates, _ = adamw.update(zero, adamw.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -0.1 * 0.1)
  np.testing.assert_allclose(updates["bias"], 0)
  sgd = optimizer.make_optimizer(section(name="sgd", warmup_steps=0, b1=0.0, clip_norm=2.0), 10)
  huge = jax.tree.map(lambda p: 1e6 * p, params)
  updates, _ = sgd.update(huge, sgd.init(params), params)
  assert float(optax.tree.norm(updates)) == pytest.approx(0.1 * 2.0, rel=1e-5)


def test_sharding_rules_are_read_in_order():
  mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "model": -1})
  assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "model": 2}
  rules = ((r"attention/.*kernel$", (None, "model")), (r"kernel$", (("fsdp", "model"), None)))
  assert sharding.spec_for("params/attention/q/kernel", (4, 6), mesh, rules) == P(None, "model")
  assert sharding.spec_for("opt_state/0/mu/mlp/kernel", (8, 6), mesh, rules) == P(("fsdp", "model"), None)
  assert sharding.spec_for("opt_state/0/count/kernel", (), mesh, rules) == P()
  assert sharding.spec_for("params/mlp/scale", (2048, 3), mesh, rules) == P("fsdp")
  assert sharding.spec_for("params/mlp/other", (3, 2048), mesh, rules) == P(None, "fsdp")
  assert sharding.spec_for("params/mlp/odd", (2047, 3), mesh, rules) == P()
  assert sharding.spec_for("params/mlp/bias", (16,), mesh, rules) == P()
  with pytest.raises(InputError, match="params/x/kernel splits 6 into 4 parts"):
    sharding.spec_for("params/x/kernel", (6, 6), mesh, rules)
  with pytest.raises(InputError, match="names the axis 'modle'"):
    sharding.spec_for("w", (6,), mesh, ((r"w", ("modle",)),))


def test_meshes_that_do_not_fit_are_refused():
  assert dict(sharding.make_mesh({}).shape) == {"data": 1, "fsdp": 1, "model": 1}
  assert dict(sharding.make_mesh({"data": -1}).shape) == {"data": 8, "fsdp": 1, "model": 1}
  for sizes in ({"data": 9}, {"data": -1, "model": 3}, {"data": -1, "fsdp": -1}, {"data": 0}):
    with pytest.raises(InputError, match="does not fit 8 devices"):
      sharding.make_mesh(sizes)


class Numbers:
  def __len__(self):
    return 10

  def get(self, index, rng):
    return {"index": np.asarray(index), "noise": rng.normal(size=2)}


def test_batches_cover_every_epoch_and_resume_to_the_same_batch():
  batches = ShuffledBatches(Numbers(), 4, seed=3)
  seen = [next(batches) for _ in range(5)]
  order = np.concatenate([b["index"] for b in seen])
  assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
  assert list(order[:10]) != list(order[10:])
  state = json.loads(json.dumps(batches.get_state()))
  after = next(batches)
  again = ShuffledBatches(Numbers(), 4, seed=3)
  again.set_state(state)
  chex.assert_trees_all_equal(next(again), after)
  assert not np.array_equal(next(ShuffledBatches(Numbers(), 4, seed=4))["noise"], seen[0]["noise"])


def test_processes_share_a_batch():
  whole = next(ShuffledBatches(Numbers(), 4, seed=3))
  parts = [next(ShuffledBatches(Numbers(), 4, seed=3, process=(i, 2))) for i in range(2)]
  chex.assert_trees_all_equal(jax.tree.map(lambda a, b: np.concatenate([a, b]), *parts), whole)


def test_jsonl_drops_what_will_come_again_and_a_cut_line(tmp_path):
  path = tmp_path / "m.jsonl"
  path.write_text('{"step": 1, "a": 1.0}\n{"step": 2, "a": 2.0}\n{"step": 3, "a": 3.0}\n{"step": 4, "a')
  writer = writers.JsonlWriter(path, resume_step=2)
  writer.write(3, {"a": 1 / 3})
  writer.close()
  assert [json.loads(line) for line in path.read_text().splitlines()] == [
    {"step": 1, "a": 1.0},
    {"step": 2, "a": 2.0},
    {"step": 3, "a": 0.333333},
  ]


def test_progress_counts_training_time_only():
  text = io.StringIO()
  with writers.Progress(10, 20, 4, text) as progress:
    progress._clock -= 2.0  # two seconds ago
    progress.pause()
    progress._paused_at -= 1.0  # one of which was a pause
    progress.resume()
    values = progress.report(15, {"loss": 0.5})
  assert values["steps_per_second"] == pytest.approx(5.0, rel=0.05)
  assert values["examples_per_second"] == pytest.approx(20.0, rel=0.05)
  assert text.getvalue().startswith("step 15/20  loss 0.5  ") and text.getvalue().endswith("1 s left\n")


def test_pictures_become_files_named_by_step(tmp_path):
  image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
  for writer in writers.make_writers(tmp_path):
    writer.picture(12, "samples", image)
    writer.close()
  np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "images" / "samples_0000012.png")), image)


def test_averages_are_over_the_updates_that_have_a_metric():
  window = [{"a": 1.0, "lazy": 5.0}, {"a": 2.0}, {"a": 6.0, "lazy": 7.0}]
  assert loop._averages(window) == {"a": 3.0, "lazy": 6.0}


def test_stages_run_at_their_intervals_from_their_start():
  class Stepped:
    """Stands for a compiled stage: counts its calls in the state."""

    def __init__(self, name):
      self.name = name

    def __call__(self, state, batch):
      return {**state, self.name: state.get(self.name, 0) + 1}, {self.name: batch}

    def cost_analysis(self):
      return {"flops": 8.0}

  rows = {"main": {}, "lazy": {"every": 4}, "late": {"every": 2, "start": 3}, "early": {"stop": 2}}
  stages = [(Stepped(name), task.Stage(name, Stepped(name), **row)) for name, row in rows.items()]
  update, state, seen = plan.Update(stages), {}, []
  for step in range(6):
    state, metrics = update(step, state, "batch")
    seen.append(sorted(metrics))
  assert state == {"main": 6, "lazy": 2, "late": 1, "early": 2}
  assert seen == [["early", "lazy", "main"], ["early", "main"], ["main"], ["main"], ["late", "lazy", "main"], ["main"]]
  assert update.flops() == 8.0 + 8.0 / 4 + 8.0 / 2

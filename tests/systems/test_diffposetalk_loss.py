"""DiffPoseTalk's coefficients and losses against recorded numbers of the official code, and their own rules."""

import functools

import golden_data as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.systems import diffposetalk_motion as motion
from jaxtalk.systems.diffposetalk_loss import LossWeights, motion_losses

TERMS = (
  "motion",
  "vertices",
  "velocity",
  "smoothness",
  "head",
  "head_velocity",
  "head_smoothness",
  "head_transition",
)
FILES = ("loss_head.npz", "loss_nohead.npz")


losses = jax.jit(motion_losses, static_argnames=("vertices", "criterion", "constrain_previous"))


def stats_of(data):
  return motion.Stats(**{name.removeprefix("stats_"): x for name, x in data.items() if name.startswith("stats_")})


def linear_face(template, basis):
  """The recorded stand-in: 5023 vertices in rounds of the template's 23, linear in all coefficients."""
  template, basis = (np.take(x, np.arange(5023) % 23, axis=-2) for x in (template, basis))

  def vertices(shape, expression, pose):
    coefficients = jnp.concatenate([shape, expression, pose], axis=-1)
    return template[None, None] + jnp.einsum("ntc,cvd->ntvd", coefficients, basis)

  return vertices


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("criterion", ("l2", "l1"))
def test_losses_equal_official(file, criterion):
  d = golden.arrays("diffposetalk", file)
  face = linear_face(d["flame_template"], d["flame_basis"])
  stats = stats_of(d)
  length = d["motion_gt"].shape[1]
  truncated = (np.arange(length)[None] < d["end_idx"][:, None]).astype(np.float32)
  for window in ("start", "cont"):
    before = d["prev_motion"] if window == "cont" else None
    for end, indicator in (("full", np.ones_like(truncated)), ("trunc", truncated)):
      wanted = d[f"loss_{criterion}_{window}_{end}"]
      given = (d["target"], d["motion_gt"], before, d["shape"], stats)
      terms = losses(*given, vertices=face, indicator=indicator, criterion=criterion)
      assert set(terms) == {name for name, x in zip(TERMS, wanted, strict=True) if np.isfinite(x)}
      for name, value in zip(TERMS, wanted, strict=True):
        if name in terms:
          golden.close(terms[name] / value, np.ones(()), 1e-5, f"{window} {end} {name}")


@pytest.mark.parametrize("file", FILES)
def test_packing_equals_official(file):
  d = golden.arrays("diffposetalk", file)
  stats, head = stats_of(d), file == "loss_head.npz"
  golden.close(motion.pack(stats, d["pack_exp"], d["pack_pose"], head=head), d["pack_motion"], 2e-5, "packed")
  expression, pose = motion.unpack(stats, d["pack_motion"][None])
  golden.close(expression, d["unpack_exp"], 2e-6, "expression")
  golden.close(pose, d["unpack_pose"], 2e-6, "pose")
  golden.close(motion.unpack(stats, d["pack_motion"][None], head=False)[1], d["unpack_noglobal_pose"], 2e-6, "still")
  shape = motion.restore_shape(stats, d["shape"])
  golden.close(shape[0], d["unpack_shape"][0, 0], 2e-6, "shape")
  golden.close(motion.normalise_shape(stats, shape), d["shape"], 2e-5, "shape there and back")


@functools.cache
def made_up(frames=12, before=4, clips=2, seed=0):
  """Random motion of both kinds of windows, statistics and a small face."""
  rng = np.random.default_rng(seed)
  normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  sizes = {"exp": 50, "pose": 6, "shape": 100}
  stats = {f"{k}_mean": normal(n) for k, n in sizes.items()} | {
    f"{k}_std": 1 + normal(n) ** 2 for k, n in sizes.items()
  }
  basis = normal(156, 5, 3)
  face = lambda s, e, p: jnp.einsum("ntc,cvd->ntvd", jnp.concatenate([s, e, p], axis=-1), basis)  # noqa: E731
  return motion.Stats(**stats), face, normal(clips, frames, 54), normal(clips, before, 54), normal(clips, 100)


def test_perfect_prediction_costs_only_its_own_roughness():
  stats, face, truth, before, shape = made_up()
  prediction = np.concatenate([before, truth], axis=1)
  terms = losses(prediction, truth, before, shape, stats, face)
  for name in ("motion", "vertices", "velocity", "head", "head_velocity"):
    assert float(terms[name]) == 0.0, name
  straight = np.broadcast_to(np.arange(16, dtype=np.float32)[None, :, None], (2, 16, 54))
  smooth = losses(straight, straight[:, 4:], straight[:, :4], shape, stats, face)
  assert float(smooth["head_transition"]) == 0.0 and float(smooth["head_smoothness"]) == 0.0


def test_frames_that_do_not_count_change_nothing():
  stats, face, truth, before, shape = made_up()
  prediction = np.concatenate([before, truth], axis=1) + 0.1
  indicator = np.ones((2, 12), np.float32)
  indicator[0, 7:] = 0
  wrong = prediction.copy()
  wrong[0, 4 + 7 :] = 99.0
  a, b = (losses(p, truth, before, shape, stats, face, indicator=indicator) for p in (prediction, wrong))
  for name in a:
    assert float(a[name]) == float(b[name]), name


def test_previous_frames_are_free_when_not_constrained():
  stats, face, truth, before, shape = made_up()
  prediction = np.concatenate([before + 5.0, truth], axis=1)
  free = losses(prediction, truth, before, shape, stats, face, constrain_previous=False)
  held = losses(prediction, truth, before, shape, stats, face)
  assert float(free["motion"]) == 0.0 < float(held["motion"])


def test_the_turn_of_the_head_moves_no_vertex():
  stats, face, truth, before, shape = made_up()
  turned = truth.copy()
  turned[..., 50:53] += 1.0
  terms = losses(turned, truth, None, shape, stats, face)
  assert float(terms["vertices"]) == 0.0 and float(terms["head"]) == pytest.approx(1.0, rel=1e-5)


def test_total_weighs_the_terms_there_are():
  weights = LossWeights()
  assert float(weights.total({"motion": jnp.array(0.5), "vertices": jnp.array(1e-6)})) == pytest.approx(2.5)


def test_unknown_criterion_is_named():
  stats, face, truth, before, shape = made_up()
  with pytest.raises(InputError, match="huber"):
    motion_losses(truth, truth, None, shape, stats, face, criterion="huber")


def test_statistics_file_with_long_poses(tmp_path):
  sizes = {"exp": 50, "pose": 9, "shape": 100}
  arrays = {f"{k}_{m}": np.arange(n) + 1.0 for k, n in sizes.items() for m in ("mean", "std")}
  np.savez(tmp_path / "stats.npz", **arrays)
  stats = motion.Stats.read(tmp_path / "stats.npz")
  np.testing.assert_array_equal(stats.pose_mean, np.arange(6) + 1.0)
  assert stats.shape_std.shape == (100,)


def test_statistics_file_that_is_not_one(tmp_path):
  with pytest.raises(MissingAssetError, match="stats_train.npz"):
    motion.Stats.read(tmp_path / "none.npz")
  np.savez(tmp_path / "stats.npz", exp_mean=np.zeros(50))
  with pytest.raises(InputError, match="exp_std"):
    motion.Stats.read(tmp_path / "stats.npz")


def test_motion_of_another_width_is_named():
  with pytest.raises(InputError, match="53"):
    motion.has_head(np.zeros((1, 2, 53)))

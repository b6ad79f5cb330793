"""Schedules, predictions, samplers and guidance against closed forms; no network is needed to know what is right."""

import itertools

import golden_data as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk import diffusion
from jaxtalk.core import InputError
from jaxtalk.diffusion import (
  Guidance,
  Schedule,
  convert,
  cosine,
  ddim,
  ddpm,
  dpm_solver,
  euler,
  flow_levels,
  guided,
  heun,
  sample,
)
from jaxtalk.diffusion.guidance import dynamic_threshold

KINDS = ("x0", "epsilon", "v", "flow")
NOISE_FREE = {
  "ddim": lambda steps: ddim(cosine(500).levels(steps)),
  "dpm_solver": lambda steps: dpm_solver(cosine(500).levels(steps)),
  "ddim on a flow": lambda steps: ddim(flow_levels(steps)),
  "dpm_solver on a flow": lambda steps: dpm_solver(flow_levels(steps)),
  "euler": lambda steps: euler(flow_levels(steps)),
  "heun": lambda steps: heun(flow_levels(steps)),
}


@pytest.mark.parametrize("name", ("linear", "quadratic", "sigmoid", "cosine"))
@pytest.mark.parametrize("steps", (12, 20, 500, 1000))
def test_schedules_equal_official(name, steps):
  data = golden.arrays("diffposetalk", "schedule.npz")
  if f"{name}{steps}_betas" not in data:
    pytest.skip(f"{name} with {steps} steps was not recorded")
  schedule = getattr(diffusion, name)(steps, **({"single": True} if name == "cosine" else {}))
  golden.close(schedule.betas, data[f"{name}{steps}_betas"][1:], 1e-6, "betas")
  golden.close(1 - schedule.betas, data[f"{name}{steps}_alphas"][1:], 1e-6, "alphas")
  golden.close(schedule.alpha_bars, data[f"{name}{steps}_alpha_bars"], 1e-6, "alpha_bars")
  # a rounded beta of 1e-4 shifts its root by more than this, so roots are compared for the same betas
  levels = Schedule(data[f"{name}{steps}_betas"][1:].astype(np.float64)).levels()
  golden.close(ddpm(levels, 1.0).noise[:-1][::-1], data[f"{name}{steps}_sigmas_flex"][2:], 1e-6, "wide steps")
  golden.close(ddpm(levels).noise[:-1][::-1], data[f"{name}{steps}_sigmas_inflex"][2:], 1e-6, "narrow steps")


def test_exact_cosine_follows_its_formula():
  t = np.arange(100) / 500  # where no beta is clipped
  wanted = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
  np.testing.assert_allclose(cosine(500, smallest=1e-9).alpha_bars[:100], wanted, rtol=1e-12)


def test_levels_go_from_noise_to_data():
  levels = cosine(500).levels(7)
  assert levels.steps == 7 and levels.times[0] == 500 and levels.times[-1] == 0
  assert (np.diff(levels.times) < 0).all() and levels.sigma[-1] == 0.0 and levels.alpha[-1] == 1.0


def test_shift_spends_steps_near_noise():
  t = flow_levels(8, shift=3.0).times
  assert t[0] == 1.0 and t[-1] == 0.0 and (np.diff(t) < 0).all()
  np.testing.assert_allclose(t[4], 0.75)  # 3 * 0.5 / (1 + 2 * 0.5)


@pytest.mark.parametrize("source, to", list(itertools.permutations(KINDS, 2)))
def test_predictions_convert_into_each_other(source, to):
  x0, epsilon = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
  angle = np.array([0.1, 0.7, 1.4]).reshape(3, 1, 1)
  alpha, sigma = np.cos(angle), np.sin(angle)
  made = {"x0": x0, "epsilon": epsilon, "v": alpha * epsilon - sigma * x0, "flow": epsilon - x0}
  x = alpha * x0 + sigma * epsilon
  found = convert(made[source], x, alpha, sigma, source=source, to=to)
  np.testing.assert_allclose(found, made[to], atol=1e-12)
  np.testing.assert_allclose(convert(found, x, alpha, sigma, source=to, to=source), made[source], atol=1e-12)


@pytest.mark.parametrize("cycle", list(itertools.permutations(KINDS, 3)))
def test_predictions_survive_every_cycle(cycle):
  value, x = np.random.default_rng(1).normal(size=(2, 6))
  alpha, sigma = 0.8, 0.6
  there = value
  for source, to in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
    there = convert(there, x, alpha, sigma, source=source, to=to)
  np.testing.assert_allclose(there, value, atol=1e-12)


def test_unknown_prediction_is_named():
  with pytest.raises(InputError, match="score"):
    convert(jnp.ones(1), jnp.ones(1), 0.6, 0.8, source="score", to="x0")


def _run(plan, predict, x, noise=None):
  """In float64, by the formula itself: what the table says, without the loop under test."""
  before = np.zeros_like(x)
  for i in range(len(plan)):
    x0 = predict(x, plan.alpha[i], plan.sigma[i])
    x = (
      plan.keep[i] * x + plan.data[i] * x0 + plan.past[i] * before + (0 if noise is None else plan.noise[i] * noise[i])
    )
    before = x0
  return x


def _gaussian(spread):
  """The best estimate of x0 for data that is normal with this standard deviation."""
  return lambda x, alpha, sigma: alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * x


@pytest.mark.parametrize("name", NOISE_FREE)
def test_a_sure_network_is_believed(name):
  """If the estimate is the same everywhere, every sampler ends there, in any number of steps."""
  for steps in (1, 2, 3, 8):
    end = _run(NOISE_FREE[name](steps), lambda x, a, s: np.full(2, 0.7), np.array([3.0, -1.0]))
    np.testing.assert_allclose(end, 0.7, atol=1e-9)


@pytest.mark.parametrize(
  "name, steps, allowed, order",
  (
    ("ddim", 64, 0.02, 1),
    ("ddim on a flow", 64, 0.02, 1),
    ("euler", 64, 0.02, 1),
    ("heun", 32, 2e-3, 2),
  ),
)
def test_samplers_follow_the_flow_of_a_gaussian(name, steps, allowed, order):
  """For normal data the way from noise is known: x scales with the spread of its level."""
  spread = 0.5
  plan = NOISE_FREE[name](steps)
  exact = spread / np.sqrt((plan.alpha[0] * spread) ** 2 + plan.sigma[0] ** 2)
  error = [abs(_run(NOISE_FREE[name](n), _gaussian(spread), 1.0) - exact) for n in (steps // 2, steps)]
  assert error[1] < allowed
  assert error[0] / error[1] > 0.8 * 2**order


def test_second_order_solver_beats_first_order():
  spread, levels = 0.5, cosine(500).levels(10)
  exact = spread / np.sqrt((levels.alpha[0] * spread) ** 2 + levels.sigma[0] ** 2)
  first, second = (abs(_run(f(levels), _gaussian(spread), 1.0) - exact) for f in (ddim, dpm_solver))
  assert second < 0.5 * first


def test_euler_is_ddim_on_a_flow():
  a, b = euler(flow_levels(6)), ddim(flow_levels(6))
  np.testing.assert_allclose(a.keep, b.keep, atol=1e-12)
  np.testing.assert_allclose(a.data, b.data, atol=1e-12)


def test_renewed_ddim_is_ancestral():
  levels = cosine(500).levels(20)
  a, b = ddim(levels, eta=1.0), ddpm(levels)
  for column in ("keep", "data", "noise"):
    np.testing.assert_allclose(getattr(a, column), getattr(b, column), atol=1e-9)


def test_ancestral_sampling_reaches_the_spread_of_the_data():
  rng, plan = np.random.default_rng(0), ddpm(cosine(500).levels(100))
  noise = rng.normal(size=(101, 20_000))
  end = _run(plan, _gaussian(0.5), noise[0], noise[1:])
  assert end.std() == pytest.approx(0.5, rel=0.05) and abs(end.mean()) < 0.02


def test_the_loop_is_the_formula():
  plan, noise = ddpm(cosine(500).levels(6)), np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
  x = np.array([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3]], np.float32)
  by_time = {int(t): (a, s) for t, a, s in zip(plan.times, plan.alpha, plan.sigma, strict=True)}
  alpha, sigma = (
    jnp.zeros(501).at[jnp.array(list(by_time))].set(jnp.array(v)) for v in zip(*by_time.values(), strict=True)
  )
  predict = lambda x, t: _gaussian(0.5)(x, alpha[t][:, None], sigma[t][:, None])  # noqa: E731
  np.testing.assert_allclose(sample(predict, plan, x, noise), _run(plan, _gaussian(0.5), x, noise), atol=1e-6)


def test_noise_from_a_key_is_the_same_each_time_and_another_for_another_key():
  run = jax.jit(lambda key: sample(lambda x, t: 0.5 * x, ddpm(cosine(20).levels()), jnp.ones((2, 3)), key))
  a, b, c = run(jax.random.key(1)), run(jax.random.key(1)), run(jax.random.key(2))
  np.testing.assert_array_equal(a, b)
  assert np.abs(np.asarray(a) - np.asarray(c)).max() > 1e-3


def test_one_program_serves_samplers_of_one_length():
  traced = []

  @jax.jit
  def run(plan):
    traced.append(1)
    return sample(lambda x, t: 0.5 * x, plan, jnp.ones((1, 2)), jnp.zeros((6, 1, 2)))

  run(ddim(cosine(500).levels(6)))
  run(ddpm(cosine(500).levels(6)))
  run(dpm_solver(cosine(500).levels(6)))
  assert len(traced) == 1


def test_noise_that_is_missing_or_does_not_fit_is_refused():
  plan = ddpm(cosine(20).levels())
  with pytest.raises(InputError, match="fresh noise"):
    sample(lambda x, t: x, plan, jnp.ones((1, 2)))
  with pytest.raises(InputError, match="20 rows"):
    sample(lambda x, t: x, plan, jnp.ones((1, 2)), jnp.zeros((19, 1, 2)))


def test_flow_samplers_refuse_other_schedules():
  for sampler in (euler, heun):
    with pytest.raises(InputError, match="flow_levels"):
      sampler(cosine(500).levels(4))


@pytest.mark.parametrize(
  "bad", (lambda: cosine(0), lambda: cosine(10).levels(11), lambda: ddpm(cosine(9).levels(), 2.0))
)
def test_impossible_numbers_are_refused(bad):
  with pytest.raises(InputError, match="not"):
    bad()


ESTIMATES = jnp.array([[1.0], [3.0], [10.0]])  # without, with the first, with the second or both


@pytest.mark.parametrize(
  "mode, wanted",
  (
    ("incremental", 1 + 2 * (3 - 1) + 0.5 * (10 - 3)),
    ("independent", 1 + 2 * (3 - 1) + 0.5 * (10 - 1)),
    ("independent_in_place", 5 + 0.5 * (10 - 5)),
  ),
)
def test_guidance_is_its_closed_form(mode, wanted):
  guidance = Guidance(conditions=("a", "b"), mode=mode)
  np.testing.assert_allclose(guidance.combine(ESTIMATES, (2.0, 0.5)), [wanted], rtol=1e-6)


def test_scales_of_one_are_the_plain_estimate():
  np.testing.assert_allclose(Guidance(conditions=("a", "b")).combine(ESTIMATES, (1.0, 1.0)), ESTIMATES[2])


def test_branches_keep_what_the_mode_says():
  three = ("a", "b", "c")
  np.testing.assert_array_equal(Guidance(conditions=three).branches.sum(1), [0, 1, 2, 3])
  np.testing.assert_array_equal(Guidance(conditions=three, mode="independent").branches.sum(1), [0, 1, 1, 1])
  assert Guidance().branches.shape == (1, 0)


def test_guided_calls_the_network_once_with_all_branches():
  calls = []

  def predict(x, t, keep):
    calls.append(x.shape)
    return x + 10.0 * keep["a"][:, None] + 100.0 * keep["b"][:, None]

  f = guided(predict, Guidance(conditions=("a", "b")), (2.0, 3.0))
  x = jnp.array([[1.0], [2.0]])
  np.testing.assert_allclose(f(x, jnp.array([5, 5])), x + 20.0 + 300.0)
  assert calls == [(6, 1)]


def test_bad_guidance_is_named():
  with pytest.raises(InputError, match="sideways"):
    Guidance(mode="sideways")
  with pytest.raises(InputError, match="twice"):
    Guidance(conditions=("a", "a"))
  with pytest.raises(InputError, match="2 conditions"):
    Guidance(conditions=("a", "b")).combine(ESTIMATES, (1.0,))


def test_dynamic_threshold_clips_each_clip_at_its_own_quantile():
  x0 = jnp.stack([jnp.linspace(-0.5, 0.5, 101), jnp.linspace(-2.0, 2.0, 101), jnp.linspace(-9.0, 9.0, 101)])
  out = np.abs(np.asarray(dynamic_threshold(x0, 0.9, 1.0, 4.0))).max(1)
  np.testing.assert_allclose(out, [0.5, np.quantile(np.abs(x0[1]), 0.9), 4.0], rtol=1e-5)

"""DiffPoseTalk's networks and sampling against recorded numbers of the official code (golden/README.md)."""

import dataclasses
import functools
import json

import golden_data as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.diffusion import Guidance, ddpm
from jaxtalk.systems import diffposetalk as dpt
from jaxtalk.systems.diffposetalk_train import Draw, denoise, nt_xent

MODELS = ("head", "nohead", "sinpe_width2_noind")
SMALLEST_FIRST = ("sinpe_width2_noind", *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS[:2]))
BOTH = Guidance(conditions=("audio", "style"))


@functools.cache
def denoiser(name):
  state, facts = golden.tensors("diffposetalk", f"{name}.safetensors")
  return dpt.import_denoiser(state, **json.loads(facts["args"]))


@functools.cache
def style_encoder(name):
  state, facts = golden.tensors("diffposetalk", f"{name}.safetensors")
  return dpt.import_style_encoder(state, **json.loads(facts["args"]))


@functools.cache
def _call(module):
  return jax.jit(module.apply)


@pytest.mark.parametrize("name", MODELS)
def test_denoiser_equals_official(name):
  module, variables = denoiser(name)
  d = golden.arrays("diffposetalk", f"{name}.denoise.npz")
  call = functools.partial(_call(module), variables)
  given = (d["A_audio"], d["A_shape"], d["A_style"], d["A_prev_motion"], d["A_prev_audio"])
  golden.close(call(d["A_x"], *given, d["A_t"], None), d["A_out"], 2e-5, "all conditions")

  indicator = d["B_indicator"] if d["B_indicator"].size else None
  null = call(d["A_x"], None, d["A_shape"], None, None, None, d["B_t"], indicator)
  golden.close(null, d["B_out"], 2e-5, "null conditions and start tokens")

  twice = [np.repeat(x[:1], 2, axis=0) for x in (d["A_x"], *given)]
  keep = {"audio": jnp.array([True, False]), "style": jnp.array([False, True])}
  dropped = call(*twice, jnp.array([120, 120]), None, keep=keep)
  golden.close(dropped, d["C_out"], 2e-5, "dropped conditions")


@pytest.mark.parametrize("name", MODELS)
def test_step_embedding_equals_official(name):
  module, variables = denoiser(name)
  d = golden.arrays("diffposetalk", f"{name}.denoise.npz")
  golden.close(module.apply(variables, d["step_embed_t"], method="time_embedding"), d["step_embed"], 2e-5, "steps")


@pytest.mark.parametrize("name", MODELS)
def test_alignment_mask_equals_official(name):
  from jaxtalk.nn.attention import alignment_mask

  module, _ = denoiser(name)
  blocked = golden.arrays("diffposetalk", f"{name}.denoise.npz")["alignment_mask"]
  tokens = module.previous + module.frames
  np.testing.assert_array_equal(~alignment_mask(tokens, tokens, module.align_width, leading=1), blocked)


@pytest.mark.parametrize("name", MODELS)
def test_training_forward_equals_official(name):
  module, variables = denoiser(name)
  d = golden.arrays("diffposetalk", f"{name}.denoise.npz")
  conditions = dpt.Conditions(
    shape=d["train_shape"], audio=d["train_audio"], style=d["train_style"], indicator=d["train_indicator"]
  )
  drawn = Draw(t=d["train_t"], noise=d["train_eps"], drop=d["train_flag"])
  forward = jax.jit(lambda v, m, c, draw: denoise(module, v, m, c, draw, dpt.schedule("cosine", 500)))
  golden.close(forward(variables, d["train_motion"], conditions, drawn), d["train_target"], 2e-5, "training forward")


class Sampling:
  """The recorded runs of one model: 20 steps unless said."""

  def __init__(self, name):
    self.module, self.variables = denoiser(name)
    self.data = golden.arrays("diffposetalk", f"{name}.sample.npz")
    length = self.module.frames
    d = self.data
    self.first = dpt.Conditions(
      shape=d["shape"], style=d["style"], audio=d["audio"][:, :length], indicator=np.ones((2, length), np.float32)
    )

  def one(self):
    """The first window of the first clip."""
    return jax.tree.map(lambda x: x[:1], self.first)

  def second(self):
    """The window after, of both clips; the last quarter is padding."""
    length, before, d = self.module.frames, self.module.previous, self.data
    indicator = np.ones((2, length), np.float32)
    indicator[:, -(length // 4) :] = 0
    return dataclasses.replace(
      self.first,
      audio=d["audio"][:, length:],
      prev_motion=d["w1_out"][:, -before:],
      prev_audio=d["audio"][:, length - before : length],
      indicator=indicator,
    )

  def noise(self, case, count, steps=20):
    shape = (steps - 1, count, self.module.frames, self.module.motion_width)
    noise = np.random.RandomState(int(self.data[f"{case}_noise_seed"])).standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(noise[[0, -1]][:, :, 0, :3], self.data[f"{case}_noise_check"])
    return np.concatenate([noise, np.zeros_like(noise[:1])])

  @functools.cache  # noqa: B019 - one program for all runs of a kind
  def _program(self, guidance, threshold):
    def run(variables, conditions, plan, x, noise):
      return dpt.sample_window(
        self.module, variables, conditions, plan, x, noise, guidance=guidance, threshold=threshold
      )

    return jax.jit(run)

  def run(self, conditions, plan, x, noise, guidance=BOTH, threshold=None):
    return self._program(guidance, threshold)(self.variables, conditions, plan, x, noise)

  def check(self, case, conditions, guidance=BOTH, threshold=None, flexibility=0.0):
    if f"{case}_out" not in self.data:
      return
    count = len(conditions.shape)
    plan = ddpm(dpt.schedule("cosine", 20).levels(), flexibility)
    x = self.run(conditions, plan, self.data["x_T"][:count], self.noise(case, count), guidance, threshold)
    golden.close(x, self.data[f"{case}_out"], 1e-4, case)


@functools.cache
def sampling(name):
  return Sampling(name)


@pytest.mark.parametrize("name", MODELS)
def test_windows_sampled_as_official(name):
  s = sampling(name)
  s.check("w1", s.first)
  s.check("w2", s.second())


@pytest.mark.parametrize("name", MODELS)
def test_first_sampling_step_equals_official(name):
  s = sampling(name)
  plan, later = ddpm(dpt.schedule("cosine", 20).levels()), np.arange(20) > 0
  still = {name: np.where(later, 0.0, getattr(plan, name)) for name in ("data", "noise")}
  plan = dataclasses.replace(plan, keep=np.where(later, 1.0, plan.keep), **still)  # the other rows leave x as it is
  x = s.run(s.first, plan, s.data["x_T"], s.noise("w1", 2))
  golden.close(x, s.data["w1_x_19"], 1e-4, "after the first step")


@pytest.mark.parametrize("name", SMALLEST_FIRST)
def test_other_guidance_sampled_as_official(name):
  s = sampling(name)
  no_style = dataclasses.replace(s.one(), style=None)
  s.check("independent", s.one(), dataclasses.replace(BOTH, mode="independent_in_place"))
  s.check("audio_only", s.one(), Guidance(conditions=("audio",)))
  s.check("style_only", s.one(), Guidance(conditions=("style",)))
  s.check("unguided", s.one(), Guidance())
  s.check("null_style", no_style, Guidance(conditions=("audio",)))
  s.check("dynthresh", s.one(), threshold=dpt.Threshold(quantile=0.99, smallest=1.0, largest=4.0))
  s.check("flex", s.one(), flexibility=0.5)


@pytest.mark.parametrize("name", SMALLEST_FIRST)
def test_all_500_steps_sampled_as_official(name):
  s = sampling(name)
  plan, noise = ddpm(dpt.schedule("cosine", 500).levels()), s.noise("full500", 1, 500)
  half = s.run(s.one(), plan.part(0, 250), s.data["x_T"][:1], noise[:250])
  golden.close(half, s.data["full500_x_250"], 1e-4, "half-way")
  golden.close(s.run(s.one(), plan.part(250), half, noise[250:]), s.data["full500_out"], 1e-4, "at the end")


@pytest.mark.parametrize("name", ("style_head", "style_nohead"))
def test_style_encoder_equals_official(name):
  module, variables = style_encoder(name)
  d = golden.arrays("diffposetalk", f"{name}.npz")
  call = functools.partial(_call(module), variables)
  golden.close(call(d["x100"]), d["out100"], 5e-6, "100 frames")
  golden.close(call(d["x60"]), d["out60"], 5e-6, "60 frames")
  golden.close(call(d["x100"][:, d["perm"]]), d["out100_permuted"], 5e-6, "frames in another order")

  textbook = dataclasses.replace(module, positions="sinusoid")
  golden.close(_call(textbook)(variables, d["x100"]), d["textbook_pe_out100"], 5e-6, "positions by place")


@pytest.mark.parametrize("name", ("style_head", "style_nohead"))
def test_contrastive_loss_equals_official(name):
  module, variables = style_encoder(name)
  d = golden.arrays("diffposetalk", f"{name}.npz")
  a, b = (_call(module)(variables, d[f"pair_{k}"]) for k in "ab")
  golden.close(a, d["feat_a"], 5e-6, "first of each pair")
  golden.close(b, d["feat_b"], 5e-6, "second of each pair")
  loss = jax.jit(nt_xent)
  golden.close([loss(a, b, t) for t in (0.1, 0.5)], d["ntxent_pairs_t01_t05"], 1e-5, "NT-Xent of styles")
  losses = [loss(d["nt_a"], d["nt_b"], t) for t in (0.1, 0.5, 1.0)]
  golden.close(losses, d["ntxent_t01_t05_t1"], 1e-5, "NT-Xent")

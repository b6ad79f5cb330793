"""Losses, gradients and whole updates against the official code's, with its recorded random draws."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.stylegan2 import official
from jaxtalk.stylegan2.losses import Draws, Losses
from jaxtalk.stylegan2.phases import Phases, Settings, make_optimizer

TOLERANCE, SECOND_ORDER = 1e-4, 2e-4
QUICK = {"xla_backend_optimization_level": 0}  # compiling is most of the time
PHASES = ("Gmain", "Greg", "Dmain", "Dreg")
REPORTS = {
  "Gmain": {"loss_G": "G/loss"},
  "Greg": {"pl_penalty": "pl_penalty", "loss_G_reg": "G/reg"},
  "Dmain": {"scores_fake": "scores/fake", "scores_real": "scores/real", "loss_D": "D/loss"},
  "Dreg": {"r1_penalty": "r1_penalty", "loss_D_reg": "D/reg"},
}


class Recording:
  """A golden training run: networks, the state before, and batches and draws in our layout."""

  def __init__(self, name):
    self.config, self.data = golden.case(name)["config"], golden.arrays(name)
    c = self.config
    self.g, self.g_vars = official.import_generator(golden.under(self.data, "before/G"), **c["G_kwargs"])
    self.d, self.d_vars = official.import_discriminator(golden.under(self.data, "before/D"), **c["D_kwargs"])
    self.rounds, self.size = c["rounds"], c["batch_per_round"]
    self._recorded = [self.data[key] for key in sorted(self.data) if key.startswith("draw")]

  def phases(self):
    c = self.config
    losses = Losses(
      generator=self.g,
      discriminator=self.d,
      mixing=c["style_mixing_prob"] > 0,
      noise_mode=c["noise_mode"],
      r1_gamma=c["r1_gamma"],
      pl_weight=c["pl_weight"],
      pl_decay=c["pl_decay"],
    )
    settings = Settings(batch_size=self.rounds * self.size, accumulate=self.rounds, ema_kimg=c["ema_kimg"])
    every = {"G": c["G_reg_interval"], "D": c["D_reg_interval"]}
    optimizers = {name: make_optimizer(c["lr"], c["betas"], c["eps"], every[name]) for name in every}
    return Phases(losses, settings, optimizers)

  def batch(self, iteration):
    """The official micro-batches are consecutive, ours interleaved; the path length takes every other image."""

    def mixed(x):
      return np.swapaxes(x.reshape(self.rounds, self.size, *x.shape[1:]), 0, 1).reshape(x.shape)

    labels = self.data["in/real_c"][iteration] if "in/real_c" in self.data else np.zeros((self.rounds * self.size, 0))
    fake = self.data["in/gen_c"][iteration] if "in/gen_c" in self.data else np.zeros((4, self.rounds * self.size, 0))
    fake = fake.reshape(4, self.rounds, self.size, -1).copy()
    half = self.size // 2
    fake[1, :, ::2], fake[1, :, 1::2] = fake[1, :, :half].copy(), fake[1, :, half:].copy()
    fake = fake.reshape(4, self.rounds * self.size, -1)
    return {
      "image": mixed(golden.nhwc(self.data["in/real_img"][iteration])),
      "label": mixed(labels.astype(np.float32)),
      "gen_label": np.stack([mixed(x) for x in fake.astype(np.float32)], axis=1),
    }

  def draws(self, iteration, phase):
    z = self.data["in/gen_z"][iteration, PHASES.index(phase)].reshape(self.rounds, self.size, -1)
    if phase == "Greg":
      z = z[:, : self.size // 2]
    rows = [self._one(z[r], phase) for r in range(self.rounds)]
    return jax.tree.map(lambda *x: jnp.stack(x), *rows)

  def _one(self, z, phase):
    key = jax.random.key(0)
    cutoff, z_mix = np.int32(self.g.num_ws), np.zeros_like(z)
    if self.config["style_mixing_prob"] > 0 and phase != "Dreg":
      cutoff, z_mix = np.int32(self._recorded.pop(0)), self._recorded.pop(0)
    directions = golden.nhwc(self._recorded.pop(0)) if phase == "Greg" else None
    return Draws(z=z, z_mix=z_mix, cutoff=cutoff, noise=key, augment=jax.random.split(key, 2), directions=directions)


@pytest.mark.parametrize("name", ["train_step0", pytest.param("train_step1", marks=pytest.mark.slow)])
def test_updates_are_the_official_ones(name):
  record = Recording(name)
  phases, data, config = record.phases(), record.data, record.config
  state = phases.init(jax.random.key(0), record.g_vars, record.d_vars, 0.0)
  functions = dict(zip(PHASES, (phases.g_main, phases.g_regularise, phases.d_main, phases.d_regularise), strict=True))
  compiled = {phase: jax.jit(function, compiler_options=QUICK) for phase, function in functions.items()}
  step, finish = jax.jit(phases.step, static_argnums=1, compiler_options=QUICK), jax.jit(phases.finish)
  for iteration in range(config["iterations"]):
    batch = record.batch(iteration)
    for phase in PHASES:
      every = {"Greg": config["G_reg_interval"], "Dreg": config["D_reg_interval"]}.get(phase, 1)
      if iteration % every:
        continue
      grads, state, report = compiled[phase](state, batch, record.draws(iteration, phase))
      for ours, theirs in REPORTS[phase].items():
        path = f"it{iteration}/{phase}/report/Loss/{theirs}"
        golden.close(report[ours], data[path], TOLERANCE, path)
      check_gradients(record, phase[0], grads, golden.under(data, f"it{iteration}/{phase}/grad"), phase)
      state = step(state, phase[0], grads)
    state, _ = finish(state, batch)
    golden.close(state.extra["pl_mean"], data[f"it{iteration}/pl_mean"], TOLERANCE, "pl_mean")
    golden.close(state.extra["G_buffers"]["mapping"]["w_avg"], data[f"it{iteration}/w_avg"], TOLERANCE, "w_avg")
  check_weights(record, state)


def check_gradients(record, network, grads, wanted, phase):
  """Only iteration 0 was recorded. Names that were recorded without a gradient are left out there."""
  if not wanted:
    return
  ours = as_official(record, network, grads)
  for name, ref in wanted.items():
    golden.close(ours[name], ref, SECOND_ORDER, f"{phase} gradient of {name}")


def check_weights(record, state):
  after = {"G": state.params["G"], "D": state.params["D"], "G_ema": state.ema}
  for network, params in after.items():
    ours, wanted = as_official(record, network, params), golden.under(record.data, f"after/{network}")
    assert len(wanted) >= 18
    for name, ref in wanted.items():
      if name in ours and not name.endswith(("w_avg", "noise_const", "resample_filter")):
        golden.close(ours[name], ref, TOLERANCE, f"{network} {name}")


def as_official(record, network, params):
  module, variables = (record.d, record.d_vars) if network == "D" else (record.g, record.g_vars)
  return official.export_official(module, {**variables, "params": params})[0]

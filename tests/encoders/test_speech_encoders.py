"""wav2vec 2.0, HuBERT and WavLM against the reference implementation, padding, precision, gradients, bad input."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import speech_golden as golden

from jaxtalk.core import InputError
from jaxtalk.encoders.resample import resample
from jaxtalk.encoders.speech_layers import distance_buckets

HIDDEN, ATTENTION = 5e-5, 1e-5  # absolute, of values up to 8


@functools.cache
def run(case, masked_statistics=True):
  """Jitted ``(variables, waveform, mask) -> (states, convolution features, probabilities, positional kernel)``."""
  module, _ = golden.loaded(case)
  module = module.clone(masked_statistics=masked_statistics)

  @jax.jit
  def forward(variables, waveform, mask):
    states, sown = module.apply(variables, waveform, mask, mutable=["intermediates"])
    features, _ = module.apply(variables, waveform, mask, method="features")
    sown = sown["intermediates"]["encoder"]
    kernel = sown["pos_conv_embed"]["conv"]["kernel"][0]
    return states, features, sown["layers_0"]["attention"]["probabilities"][0], kernel

  return functools.partial(forward, golden.loaded(case)[1])


@functools.cache
def batch(case):
  """All stored recordings of a model in one padded batch, and what it gives with masked statistics."""
  numbers = [i for i in range(3) if f"input_{i}" in golden.expected(case)]
  waveform, mask = golden.padded([golden.expected(case)[f"input_{i}"] for i in numbers])
  return numbers, run(case)(waveform, mask)


@pytest.mark.parametrize("case", golden.CASES)
def test_hidden_states_in_a_padded_batch_are_those_of_each_recording_alone(case):
  golden.folder(case)
  numbers, (states, *_) = batch(case)
  for row, i in enumerate(numbers):
    ref = golden.expected(case)[f"hidden_{i}"]
    assert len(states.hidden_states) == len(ref) and states.lengths[row] == ref.shape[1]
    ours = np.stack([h[row, : ref.shape[1]] for h in states.hidden_states])
    np.testing.assert_allclose(ours, ref, rtol=0, atol=HIDDEN, err_msg=f"{case} recording {i}")
  assert np.array_equal(states.frame_mask.sum(1), states.lengths)


@pytest.mark.parametrize("case", golden.CASES)
def test_convolutions_attention_and_positional_kernel(case):
  golden.folder(case)
  numbers, (_, features, probabilities, kernel) = batch(case)
  row, data = numbers.index(1), golden.expected(case)
  frames = len(data["conv_1"])
  np.testing.assert_allclose(features[row, :frames], data["conv_1"], rtol=0, atol=ATTENTION)
  ours = np.asarray(probabilities[row, :, :frames, :frames])
  if case.startswith("wavlm"):  # the reference shows the mean over heads, for each head
    ours = np.broadcast_to(ours.mean(0), ours.shape)
  np.testing.assert_allclose(ours, data["attn_1_layer0"], rtol=0, atol=ATTENTION)
  np.testing.assert_allclose(np.asarray(kernel).T[:2], data["pos_conv_weight_slice"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", golden.CASES)
def test_the_published_treatment_of_padding(case):
  data = golden.expected(case)
  waveform, mask = golden.padded([data["input_1"], data["input_2"]])
  states, *_ = run(case, masked_statistics=False)(waveform, mask)
  assert np.array_equal(states.lengths, data["batch_frames"])
  if "batch_hidden" in data:
    ours = np.stack(states.hidden_states, axis=1)
    for row, frames in enumerate(data["batch_frames"]):
      ref = data["batch_hidden"][row, :, :frames]
      np.testing.assert_allclose(ours[row, :, :frames], ref, rtol=0, atol=HIDDEN, err_msg=f"{case} row {row}")
  leak = np.abs(states.last[1, : data["batch_frames"][1]] - data["hidden_2"][-1]).max()
  assert leak > 1e-2 if case.endswith("group") else leak < HIDDEN
  everything, *_ = run(case, masked_statistics=False)(waveform, np.ones_like(mask))
  np.testing.assert_allclose(everything.last, data["batch_last_nomask"], rtol=0, atol=HIDDEN)


@pytest.mark.parametrize("case", golden.CASES)
def test_frame_counts(case):
  config = golden.loaded(case)[0].config
  assert (config.hop, config.reach) == (320, 400)
  for samples, frames in golden.expected(case)["frame_counts"]:
    assert config.frames(int(samples)) == frames
  assert [config.frames(n) for n in (0, 1, 399)] == [0, 0, 0]


def test_no_mask_is_a_mask_of_ones_and_hidden_frames_take_the_mask_vector():
  module, variables = golden.loaded("wav2vec2_group")
  wave = golden.expected("wav2vec2_group")["input_2"][None]
  hide = np.zeros((1, module.config.frames(wave.shape[1])), bool)
  hide[0, 3:6] = True
  apply = jax.jit(lambda w, h: (module.apply(variables, w), module.apply(variables, w, masked_frames=h)))
  plain, hidden = apply(wave, hide)
  np.testing.assert_allclose(plain.last[0], golden.expected("wav2vec2_group")["hidden_2"][-1], rtol=0, atol=HIDDEN)
  assert np.abs(hidden.last - plain.last).max() > 0.1
  hidden_too = module.clone(mask_embedding=False)
  with pytest.raises(InputError, match="no masked_spec_embed"):
    jax.eval_shape(lambda w, h: hidden_too.apply(variables, w, masked_frames=h), wave, hide)


def test_the_transformer_runs_at_the_motion_rate_when_features_are_resampled_first():
  module, variables = golden.loaded("wav2vec2_group")
  wave = golden.expected("wav2vec2_group")["input_1"][None]

  @jax.jit
  def both(wave):
    at_30 = module.apply(variables, wave, resample=lambda x, n: (resample(x, 9, "corners"), 0 * n + 9))
    features, lengths = module.apply(variables, wave, method="features")
    by_hand = module.apply(variables, resample(features, 9, "corners"), 0 * lengths + 9, method="encode")
    return at_30, by_hand

  at_30, by_hand = both(wave)
  chex.assert_shape(at_30.hidden_states, (1, 9, 32))
  chex.assert_trees_all_close(at_30, by_hand, atol=1e-6)


def test_silence_noise_and_rows_without_a_valid_frame_stay_finite():
  module, variables = golden.loaded("wav2vec2_group")
  rng = np.random.default_rng(0)
  wave = np.stack([np.zeros(2000), 1e3 * rng.normal(size=2000), rng.normal(size=2000)]).astype(np.float32)
  mask = np.ones((3, 2000), bool)
  mask[2, 100:] = False
  states = jax.jit(module.apply)(variables, wave, mask)
  chex.assert_tree_all_finite(states.hidden_states)
  assert states.lengths.tolist() == [6, 6, 0]


@pytest.mark.slow
def test_bfloat16_stays_near_float32_and_gradients_are_finite():
  module, variables = golden.loaded("wavlm_layer")
  wave = golden.expected("wavlm_layer")["input_2"][None]
  half = module.clone(dtype=jnp.bfloat16)
  short = half.clone(config=dataclasses.replace(module.config, layers=1))  # compiles faster

  def energy(params, wave, key):
    states = short.apply({"params": params}, wave, train=True, rngs={"dropout": key})
    return jnp.square(states.last).mean()

  near = jax.jit(half.apply)(variables, wave).last
  assert near.dtype == jnp.float32
  error = np.abs(near[0] - golden.expected("wavlm_layer")["hidden_2"][-1])
  assert 1e-4 < error.max() and np.sqrt(np.square(error).mean()) < 0.05
  grads = jax.jit(jax.grad(energy))(variables["params"], wave[:, :1040], jax.random.key(0))
  chex.assert_tree_all_finite(grads)
  assert jax.tree.leaves(grads)[0].dtype == jnp.float32
  assert np.abs(grads["encoder"]["layers_0"]["attention"]["rel_attn_embed"]["embedding"]).max() > 0


def test_distance_buckets_by_hand():
  # 32 buckets: 16 a direction, 8 of one distance each; then 8 * 5 ** (j / 8) frames reach bucket 8 + j.
  distance = np.array([0, -1, -7, -8, -9, -10, -39, -40, -4000, 1, 7, 8, 40])
  assert distance_buckets(distance, 32, 40).tolist() == [0, 1, 7, 8, 8, 9, 15, 15, 15, 17, 23, 24, 31]


def test_bad_waveforms_and_masks_are_refused():
  module, variables = golden.loaded("wavlm_layer")
  for wave, mask, words in (
    (np.zeros((1, 399), np.float32), None, "399 samples are too short"),
    (np.zeros(800, np.float32), None, r"takes float \(batch, samples\)"),
    (np.zeros((1, 800), np.int16), None, "int16"),
    (np.zeros((2, 800), np.float32), np.ones((2, 801), bool), r"mask is \(2, 801\)"),
  ):
    with pytest.raises(InputError, match=words):
      module.apply(variables, jnp.asarray(wave), None if mask is None else jnp.asarray(mask))

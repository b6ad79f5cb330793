"""Attention, transformer layers and sinusoids against the formulas they are named after."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.nn.aligned import AlignedAttention, AlignedLayer
from jaxtalk.nn.attention import Attention, alignment_mask, attention_weights
from jaxtalk.nn.positions import sinusoid
from jaxtalk.nn.transformer import PostNormLayer


def _random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_alignment_mask_has_a_band_below_its_leading_rows():
  mask = alignment_mask(4, 4, 2, leading=1).astype(int)
  np.testing.assert_array_equal(mask, [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]])


def test_weights_are_the_softmax_of_scaled_products():
  q, k = _random(1, 2, 1, 4), _random(1, 5, 1, 4, seed=1)
  scores = q[0, :, 0] @ k[0, :, 0].T / 2.0
  wanted = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
  np.testing.assert_allclose(attention_weights(q, k)[0, 0], wanted, rtol=1e-5)
  np.testing.assert_array_equal(attention_weights(q, q, np.eye(2, dtype=bool))[0, 0], np.eye(2))


@pytest.mark.parametrize("width", (1, 2))
def test_audio_of_one_frame_reaches_only_frames_that_may_see_it(width):
  x, memory = _random(1, 7, 8), _random(1, 6, 8, seed=1)
  module = Attention(2)
  variables = jax.jit(module.init)(jax.random.key(0), x, memory)
  mask = alignment_mask(6, 6, width, leading=1)
  changed = memory.copy()
  changed[:, 3] += 1.0
  a, b = (jax.jit(module.apply)(variables, x, m, mask) for m in (memory, changed))
  moved = np.abs(np.asarray(a - b)).max((0, 2)) > 0
  np.testing.assert_array_equal(moved, [True] + [abs(i - 3) < width for i in range(6)])


def test_transformer_layer_ends_normalised_and_drops_only_in_training():
  x, memory = _random(2, 5, 8), _random(2, 3, 8, seed=1)
  layer = PostNormLayer(heads=2, hidden=16, dropout=0.5)
  variables = jax.jit(layer.init)(jax.random.key(0), x, memory)
  out = np.asarray(jax.jit(layer.apply)(variables, x, memory))
  np.testing.assert_allclose(out.mean(-1), 0.0, atol=1e-5)
  np.testing.assert_allclose(out.std(-1), 1.0, atol=1e-2)
  apply = jax.jit(functools.partial(layer.apply, deterministic=False))
  train = lambda seed: apply(variables, x, memory, rngs={"dropout": jax.random.key(seed)})  # noqa: E731
  np.testing.assert_array_equal(train(0), train(0))
  assert np.abs(np.asarray(train(0) - train(1))).max() > 1e-3


def test_sinusoid_alternates_sine_and_cosine():
  t = jnp.array([0, 3, 500])
  rates = 10_000.0 ** (-np.arange(0, 6, 2) / 6)
  wanted = np.stack([np.sin(np.outer(t, rates)), np.cos(np.outer(t, rates))], axis=-1).reshape(3, 6)
  np.testing.assert_allclose(sinusoid(t, 6), wanted, atol=3e-5)


def test_aligned_layer_is_the_masked_one():
  x, memory = _random(2, 6, 8), _random(2, 5, 12, seed=1)
  masked, aligned = PostNormLayer(heads=2, hidden=16, dropout=0.5), AlignedLayer(8, heads=2, hidden=16, dropout=0.5)
  variables = jax.jit(masked.init)(jax.random.key(0), x, memory)
  wanted = jax.jit(functools.partial(masked.apply, memory_mask=alignment_mask(5, 5, 1, leading=1)))
  heard = lambda v, m: aligned.apply(v, m, method="hear")  # noqa: E731
  got = jax.jit(lambda v, x, m: aligned.apply(v, x, heard(v, m)))
  np.testing.assert_allclose(got(variables, x, memory), wanted(variables, x, memory), atol=1e-5)
  rngs = {"dropout": jax.random.key(1)}
  train = jax.jit(lambda v, x, m: aligned.apply(v, x, heard(v, m), deterministic=False, rngs=rngs))
  assert np.abs(train(variables, x, memory) - got(variables, x, memory)).max() > 1e-2


def test_training_drops_whole_heads_of_aligned_entries():
  x, memory = _random(1, 1001, 8), np.ones((1, 1000, 8), np.float32)
  module = AlignedAttention(8, heads=2, dropout=0.25)
  variables = jax.jit(module.init, static_argnames="method")(jax.random.key(0), memory, method="hear")
  variables = {"params": {**variables["params"], "query": variables["params"]["key"]}}
  variables["params"]["out"] = {"kernel": jnp.eye(8), "bias": jnp.zeros(8)}
  run = lambda v, m: module.apply(v, x, module.apply(v, m, method="hear"), deterministic=False, rngs=rngs)  # noqa: E731
  rngs = {"dropout": jax.random.key(2)}
  values = np.asarray(memory[0] @ variables["params"]["value"]["kernel"]).reshape(1000, 2, 4)
  ratio = np.asarray(jax.jit(run)(variables, memory))[0, 1:].reshape(1000, 2, 4) / values
  np.testing.assert_allclose(ratio.min(-1), ratio.max(-1), atol=1e-3)  # a head's four values live or die together
  np.testing.assert_allclose(np.unique(np.round(ratio.mean(-1), 2)), [0.0, 1.33], atol=0.01)
  assert 0.2 < (ratio.mean(-1) < 0.5).mean() < 0.3

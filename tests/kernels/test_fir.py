"""Filters where a device needs them in another form; values against the official ones are in tests/stylegan2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.kernels import resample


@pytest.mark.parametrize(("up", "down", "padding"), [(1, 2, 0), (1, 2, (2, 1, 0, 3)), (2, 1, 1), (2, 3, 2), (1, 2, -1)])
def test_groups_give_what_strides_give(monkeypatch, up, down, padding):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 12, 3)), jnp.float32)
  f = resample.setup_filter([1, 3, 3, 2])

  def run(x):
    return jnp.sin(resample.upfirdn2d(x, f, up=up, down=down, padding=padding))

  def traced_anew():
    return jax.jit(lambda x: (run(x), jax.grad(lambda x: jnp.sum(run(x)))(x)))(x)

  wanted = traced_anew()
  monkeypatch.setattr(resample, "device_kind", lambda: "TPU7x")
  for grouped, strided in zip(traced_anew(), wanted, strict=True):
    assert jnp.abs(grouped - strided).max() < 1e-6

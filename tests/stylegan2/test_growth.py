"""A generator that starts from a smaller one draws that one's pictures, enlarged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.stylegan2 import ops
from jaxtalk.stylegan2.networks import Discriminator, Generator
from jaxtalk.stylegan2.transfer import start_from
from jaxtalk.training.task import TrainState


def _networks(resolution):
  sizes = {"c_dim": 0, "img_resolution": resolution, "img_channels": 3, "channel_base": 64, "channel_max": 8}
  g, d = Generator(z_dim=8, w_dim=8, mapping_layers=2, **sizes), Discriminator(**sizes)
  images = jnp.zeros((1, resolution, resolution, 3))
  seed = jax.random.key(resolution)
  return g, jax.jit(g.init)(seed, jnp.zeros((1, 8))), jax.jit(d.init)(seed, images)


@pytest.mark.slow
def test_larger_pictures_begin_as_the_smaller_ones_enlarged():
  small, small_g, small_d = _networks(8)
  large, large_g, large_d = _networks(16)
  state = TrainState(
    step=jnp.zeros((), jnp.int32),
    params={"G": large_g["params"], "D": large_d["params"]},
    ema=large_g["params"],
    opt_state={},
    rng=jax.random.key(0),
    extra={"G_buffers": large_g["buffers"]},
  )
  after, notes = start_from(state, {"G": small_g, "G_ema": small_g, "D": small_d}, "small")
  z = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
  enlarge = jax.jit(lambda v: ops.upsample2d(small.apply(v, z), ops.setup_filter(ops.DEFAULT_TAPS)))
  draw, wanted = jax.jit(lambda v: large.apply(v, z)), enlarge(small_g)
  for params in (after.params["G"], after.ema):
    got = draw({"params": params, "buffers": after.extra["G_buffers"]})
    np.testing.assert_allclose(got, wanted, atol=1e-5)
  assert "synthesis.b16.torgb.weight" in notes[0] and "b16.fromrgb" in notes[1]

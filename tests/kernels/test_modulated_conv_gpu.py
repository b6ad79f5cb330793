"""The GPU kernel goes through Mosaic GPU to CUDA on a host without one, and computes the layer in Pallas' simulation of
a GPU; its speed and its run wait for a card."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.kernels.modulated_conv import fused, gpu

TAPS = tuple(map(tuple, np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64))


def _args(size, channels, out, up, dtype=jnp.bfloat16):
  shapes = (3, 3, channels, out), (1, channels), (out,), (1, size * up, size * up)
  x = jax.ShapeDtypeStruct((1, size, size, channels), dtype)
  return x, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)


def _lower(up, *args):
  settings = fused.Settings(up, True, TAPS, 0.2, 2**0.5, 256.0)
  return jax.jit(lambda *a: gpu.modulated_conv_gpu(settings, *a)).trace(*args).lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize(("size", "channels", "out", "up"), [(64, 64, 64, 1), (128, 64, 128, 1), (64, 64, 64, 2)])
def test_it_lowers_for_cuda(size, channels, out, up):
  assert "mosaic_gpu" in _lower(up, *_args(size, channels, out, up)).as_text()


@pytest.mark.parametrize(
  ("shape", "dtype"),
  [((64, 64, 32), jnp.bfloat16), ((32, 64, 64), jnp.bfloat16), ((64, 64, 64), jnp.float32)],
)
def test_what_does_not_fit_its_tiles_is_refused(shape, dtype):
  with pytest.raises(NotImplementedError, match="tiles|float32"):
    _lower(1, *_args(*shape, 1, dtype=dtype))


@pytest.mark.parametrize("up", [1, 2])
def test_it_computes_the_layer(up):
  # JAX does not export its simulation of a GPU yet.
  simulation = pytest.importorskip("jax._src.pallas.mosaic_gpu.interpret.params").InterpretGPUParams()
  rng = np.random.default_rng(0)
  shapes = (1, 1, 64, 64), (3, 3, 64, 64), (1, 64), (64,), (1, up, 64 * up)
  x, *rest = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
  args = x.astype(jnp.bfloat16), *rest
  settings = fused.Settings(up, True, TAPS, 0.2, 2**0.5, 256.0)
  y = np.asarray(gpu.modulated_conv_gpu(settings, *args, interpret=simulation), np.float32)
  exact = np.asarray(fused.plain(settings, args[0].astype(jnp.float32), *rest))
  assert y.shape == exact.shape == (1, up, 64 * up, 64)
  assert np.abs(y - exact).max() < 2**-7 * np.abs(exact).max()

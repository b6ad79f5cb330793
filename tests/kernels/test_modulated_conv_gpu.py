"""The GPU kernel goes through Mosaic GPU to CUDA on a host without one; its speed and its run wait for a card."""

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


@pytest.mark.parametrize("up", [1, 2])
def test_it_lowers_for_cuda(up):
  assert "mosaic_gpu" in _lower(up, *_args(64, 64, 64, up)).as_text()


@pytest.mark.parametrize(
  ("shape", "dtype"),
  [((64, 64, 32), jnp.bfloat16), ((32, 64, 64), jnp.bfloat16), ((64, 64, 64), jnp.float32)],
)
def test_what_does_not_fit_its_tiles_is_refused(shape, dtype):
  with pytest.raises(NotImplementedError, match="tiles|float32"):
    _lower(1, *_args(*shape, 1, dtype=dtype))

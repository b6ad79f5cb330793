"""The convolution against JAX's own: values and derivatives of first and second order, on one device and on several."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxtalk.kernels.conv2d import conv2d

# height, width, taps, stride, dilation, padding
CASES = [
  (8, 8, 3, 1, 1, ((1, 1), (1, 1))),
  (9, 9, 3, 2, 1, ((0, 0), (0, 0))),
  (10, 8, 3, 2, 1, ((0, 0), (1, 0))),
  (5, 6, 3, 1, 2, ((2, 2), (2, 2))),
  (7, 7, 1, 1, 1, ((0, 0), (0, 0))),
  (7, 7, 1, 1, 2, ((0, 0), (0, 0))),
  (8, 8, 1, 2, 1, ((0, 0), (0, 0))),
  (6, 6, 4, 1, 2, ((1, 3), (0, 2))),
  (6, 6, 3, 1, 1, ((0, 0), (2, 1))),
  (8, 9, 2, 3, 1, ((0, 1), (0, 1))),
]


def _plain(x, w, *, stride, padding, lhs_dilation):
  return lax.conv_general_dilated(
    x,
    w,
    (stride, stride),
    padding,
    lhs_dilation=(lhs_dilation, lhs_dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision="highest",
  )


def _arrays(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def _derivatives(conv, x, w, settings):
  """Value, both gradients, and the gradients of a penalty on them."""

  def loss(x, w):
    return jnp.sin(conv(x, w, **settings)).sum()

  def penalty(x, w):
    dx, dw = jax.grad(loss, (0, 1))(x, w)
    return jnp.square(dx).sum() + jnp.square(dw).sum()

  return conv(x, w, **settings), *jax.grad(loss, (0, 1))(x, w), *jax.grad(penalty, (0, 1))(x, w)


def _assert_same(actual, wanted, tolerance=2e-5):
  for a, b in zip(actual, wanted, strict=True):
    chex.assert_equal_shape([a, b])
    assert jnp.abs(a - b).max() <= tolerance * jnp.abs(b).max()


@pytest.mark.parametrize(("height", "width", "taps", "stride", "dilation", "padding"), CASES)
def test_values_and_derivatives_of_two_orders(height, width, taps, stride, dilation, padding):
  x, w = _arrays((3, height, width, 4), (taps, taps, 4, 5))
  settings = {"stride": stride, "padding": padding, "lhs_dilation": dilation}
  ours = jax.jit(lambda x, w: _derivatives(conv2d, x, w, settings))(x, w)
  _assert_same(ours, jax.jit(lambda x, w: _derivatives(_plain, x, w, settings))(x, w))


def test_gradients_inside_a_conditional_and_a_loop():
  x, w = _arrays((2, 6, 6, 3), (3, 3, 3, 4))
  settings = {"stride": 1, "padding": ((1, 1), (1, 1)), "lhs_dilation": 1}

  def gradient(w):
    return jax.grad(lambda w: jnp.sin(conv2d(x, w, **settings)).sum())(w)

  chosen = jax.jit(lambda on, w: lax.cond(on, gradient, jnp.zeros_like, w))(True, w)
  looped = jax.jit(lambda w: lax.scan(lambda sum_, _: (sum_ + gradient(w), None), jnp.zeros_like(w), length=3)[0])(w)
  _assert_same([chosen, looped / 3], [gradient(w)] * 2)


def test_a_batch_that_is_spread_over_devices():
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  x, w = _arrays((8, 6, 6, 4), (3, 3, 4, 5))
  settings = {"stride": 1, "padding": ((2, 2), (2, 2)), "lhs_dilation": 2}
  run = jax.jit(lambda x, w: _derivatives(conv2d, x, w, settings))
  spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
  _assert_same(jax.device_get(run(spread, w)), jax.device_get(run(x, w)))


def test_groups_and_dtype():
  x, w = _arrays((2, 5, 5, 6), (3, 3, 2, 9))
  y = conv2d(x, w, padding=((1, 1), (1, 1)), groups=3)
  parts = [conv2d(x[..., 2 * g : 2 * g + 2], w[..., 3 * g : 3 * g + 3], padding=((1, 1), (1, 1))) for g in range(3)]
  _assert_same([y], [jnp.concatenate(parts, -1)])
  assert conv2d(x.astype(jnp.bfloat16), w, groups=3).dtype == jnp.bfloat16

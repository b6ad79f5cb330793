"""Operations and single layers against the official ones: values and gradients."""

from __future__ import annotations

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.kernels.modulated_conv import modulated_conv
from jaxtalk.stylegan2 import ops
from jaxtalk.stylegan2.layers import Conv, Dense

TOL = 1e-5
RESAMPLERS = {
  None: ops.upfirdn2d,
  "filter2d": ops.filter2d,
  "upsample2d": ops.upsample2d,
  "downsample2d": ops.downsample2d,
}

LAYERS = {"FullyConnectedLayer": (Dense, np.asarray, (1, 0)), "Conv2dLayer": (Conv, golden.nchw, (2, 3, 1, 0))}
LAYER_FIELDS = {name: name for name in ("activation", "lr_multiplier", "kernel_size", "conv_clamp", "up", "down")}
LAYER_FIELDS |= {"out_features": "features", "out_channels": "features", "bias": "use_bias"}


def check(data, case_id, f, inputs, layout=golden.nchw):
  """Value of ``f(**inputs)`` and the gradients of ``sum(y * cot)`` for every input of which there is one."""
  stored = golden.under(data, case_id)

  @golden.jit
  def run(inputs, cot):
    y, back = jax.vjp(lambda x: f(**x), inputs)
    return y, back(cot)[0]

  cot = stored["cot"]
  y, grads = run(inputs, {golden.nchw: golden.nhwc, np.asarray: np.asarray}[layout](cot))
  golden.close(layout(y), stored["y"], TOL, f"{case_id} y")
  for name, grad in grads.items():
    if f"d_{name}" in stored:
      grad = official(name, grad, layout)
      golden.close(grad, stored[f"d_{name}"], TOL, f"{case_id} d_{name}")


def official(name, grad, layout):
  if name == "w":
    return np.transpose(np.asarray(grad), (3, 2, 0, 1))
  return layout(grad) if name in ("x", "noise") else np.asarray(grad)


def cases(name):
  return [(c["id"], c["params"]) for c in golden.case(name)["cases"]]


def test_setup_filter():
  data = golden.arrays("op_setup_filter")
  for case_id, params in cases("op_setup_filter"):
    params = dict(params)
    golden.close(ops.setup_filter(params.pop("f"), **params), data[f"{case_id}/y"], 0.0, case_id)


def test_a_filter_of_three_dimensions_is_refused():
  with pytest.raises(ValueError, match="two dimensions"):
    ops.setup_filter(np.ones((2, 2, 2)))


def test_upfirdn2d_and_its_wrappers():
  data = golden.arrays("op_upfirdn2d")
  for case_id, params in cases("op_upfirdn2d"):
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items() if k not in ("filter", "fn")}
    f = functools.partial(RESAMPLERS[params.get("fn")], f=data.get(f"{case_id}/f"), **options)
    check(data, case_id, f, {"x": golden.nhwc(data[f"{case_id}/x"])})


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"])
def test_bias_act(act):
  data = golden.arrays("op_bias_act")
  of_act = [c for c in cases("op_bias_act") if c[1]["act"] == act]
  for case_id, params in of_act:
    options = {("axis" if k == "dim" else k): v for k, v in params.items()}
    inputs = {k: data[f"{case_id}/{k}"] for k in ("x", "b") if f"{case_id}/{k}" in data}
    check(data, case_id, functools.partial(ops.bias_act, **options), inputs, np.asarray)
  assert of_act


def test_unknown_activation_is_named():
  with pytest.raises(InputError, match="gelu"):
    ops.bias_act(jnp.zeros(3), act="gelu")


def test_conv2d_resample():
  data = golden.arrays("op_conv2d_resample")
  for case_id, params in cases("op_conv2d_resample"):
    options = {k: v for k, v in params.items() if k != "filter"}
    f = functools.partial(ops.conv2d_resample, f=data.get(f"{case_id}/f"), **options)
    x, w = golden.nhwc(data[f"{case_id}/x"]), np.transpose(data[f"{case_id}/w"], (2, 3, 1, 0))
    check(data, case_id, f, {"x": x, "w": w})


@pytest.mark.parametrize("implementation", ["xla", "grouped", "pallas"])
def test_modulated_conv(implementation):
  data = golden.arrays("op_modulated_conv2d")
  for case_id, params in cases("op_modulated_conv2d"):

    def f(x, w, styles, params=params, case_id=case_id):
      noise = data.get(f"{case_id}/noise")
      return modulated_conv(
        x,
        w,
        styles,
        up=params["up"],
        down=params["down"],
        demodulate=params["demodulate"],
        noise=None if noise is None else golden.nhwc(noise),
        resample_filter=data.get(f"{case_id}/f"),
        implementation=implementation,
      )

    x, w = golden.nhwc(data[f"{case_id}/x"]), np.transpose(data[f"{case_id}/w"], (2, 3, 1, 0))
    check(data, case_id, f, {"x": x, "w": w, "styles": data[f"{case_id}/styles"]})


def test_modulated_conv_refuses_styles_of_another_width():
  x, w = jnp.zeros((2, 4, 4, 3)), jnp.zeros((3, 3, 3, 5))
  with pytest.raises(ValueError, match="styles"):
    modulated_conv(x, w, jnp.zeros((2, 4)))
  with pytest.raises(ValueError, match="fused"):
    modulated_conv(x, w, jnp.zeros((2, 3)), implementation="fused")


def test_minibatch_stddev():
  data = golden.arrays("op_layers")
  for case_id, params in cases("op_layers"):
    if params.get("cls") == "MinibatchStdLayer":
      f = functools.partial(ops.minibatch_stddev, **params["init"])
      check(data, case_id, f, {"x": golden.nhwc(data[f"{case_id}/x"])})


def test_dense_and_convolution_layers():
  data = golden.arrays("op_layers")
  seen = set()
  for case_id, params in cases("op_layers"):
    if params.get("cls") not in LAYERS:
      continue
    layer, layout, axes = LAYERS[params["cls"]]
    module = layer(**{LAYER_FIELDS[k]: v for k, v in params["init"].items() if k in LAYER_FIELDS})
    state = golden.under(data, f"{case_id}/state")
    weights = {k: np.transpose(x, axes) if k == "weight" else x for k, x in state.items() if k in ("weight", "bias")}
    x = data[f"{case_id}/x"] if layout is np.asarray else golden.nhwc(data[f"{case_id}/x"])

    def f(x, module=module, weights=weights, call=params["call"]):
      return module.apply({"params": weights}, x, **call)

    check(data, case_id, f, {"x": x}, layout)
    seen.add(params["cls"])
  assert seen == set(LAYERS)


def test_minibatch_stddev_wants_whole_groups():
  with pytest.raises(InputError, match="groups of 4"):
    ops.minibatch_stddev(jnp.zeros((6, 4, 4, 2)), 4, 1)


def test_second_moment_normalisation():
  data = golden.arrays("op_layers")
  for case_id, params in cases("op_layers"):
    if params.get("fn") == "normalize_2nd_moment":
      check(data, case_id, ops.normalize_2nd_moment, {"x": data[f"{case_id}/x"]}, np.asarray)


@pytest.mark.parametrize(
  ("up", "down", "padding"), [(1, 1, (2, 1)), (2, 1, (2, 1)), (1, 2, (1, 1)), (2, 3, (3, 0)), (3, 2, (1, 2))]
)
def test_second_derivatives_of_resampling_follow_from_its_matrix(up, down, padding):
  """For a linear map M, the gradient of sum(sin(M x)) changes along v by -M' (sin(M x) * M v)."""
  f = ops.setup_filter([1.0, 2.0, 4.0, -1.0])

  def resample(x):
    return ops.upfirdn2d(x.reshape(-1, 4, 5, 1), f, up=up, down=down, padding=padding).reshape(x.shape[0], -1)

  @golden.jit
  def along(x, v):
    def gradient(x):
      return jax.grad(lambda x: jnp.sum(jnp.sin(resample(x))))(x)

    return resample(jnp.eye(20)), jax.grad(lambda x: jnp.sum(gradient(x) * v))(x)

  x, v = np.random.default_rng(0).standard_normal((2, 1, 20), np.float32)
  matrix, ours = along(x, v)
  golden.close(ours, -(np.sin(x @ matrix) * (v @ matrix)) @ np.asarray(matrix).T, 1e-5)

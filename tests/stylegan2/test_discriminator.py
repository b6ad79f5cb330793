"""The discriminator against the official one: logits, gradients, R1 and its gradients."""

from __future__ import annotations

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.stylegan2 import Discriminator, export_official, import_discriminator
from jaxtalk.stylegan2.networks import discriminator_layer_order

CASES = golden.names("discriminator_variant") + golden.names("discriminator")
FORWARD, GRADIENT, SECOND = 2e-5, 5e-5, 2e-4


@functools.cache
def load(name):
  data = golden.arrays(name)
  module, variables = import_discriminator(golden.arrays(name, "weights"), **golden.case(name)["init_kwargs"])
  return module, variables, data, golden.nhwc(data["img"]), data.get("c")


def check_gradients(module, grads, refs, tol):
  ours = export_official(module, {"params": grads})[0]
  for name, ref in refs.items():
    golden.close(ours[name], ref, tol, name)


@pytest.mark.parametrize("name", CASES)
def test_logits_and_their_gradients(name):
  module, variables, data, images, c = load(name)

  @golden.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(params):
    logits = module.apply({"params": params}, images, c)
    return jnp.mean(jax.nn.softplus(-logits)), logits

  (value, logits), grads = loss(variables["params"])
  golden.close(logits, data["logits"], FORWARD, "logits")
  golden.close(value, data["loss_real"], FORWARD, "loss")
  check_gradients(module, grads, golden.under(data, "grad"), GRADIENT)
  if "cmap" in data:
    golden.close(module.apply(variables, c, method="mapping"), data["cmap"], FORWARD, "cmap")


@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_two_is_one_group(name):
  module, variables, data, images, c = load(name)
  logits = golden.jit(module.apply)(variables, images[:2], None if c is None else c[:2])
  golden.close(logits, data["logits_first2"], FORWARD, "logits_first2")


@pytest.mark.parametrize("name", CASES)
def test_r1_and_its_gradients(name):
  module, variables, data, images, c = load(name)

  @golden.jit
  @functools.partial(jax.grad, has_aux=True)
  def r1(params):
    slope = jax.grad(lambda x: jnp.sum(module.apply({"params": params}, x, c)))(images)
    penalty = jnp.sum(jnp.square(slope), axis=(1, 2, 3))
    return jnp.mean(penalty * (10 / 2)), (slope, penalty)

  grads, (slope, penalty) = r1(variables["params"])
  golden.close(golden.nchw(slope), data["r1_grad_img"], GRADIENT, "r1_grad_img")
  golden.close(penalty, data["r1_penalty"], GRADIENT, "r1_penalty")
  check_gradients(module, grads, golden.under(data, "r1grad"), SECOND)


def draw(**options):
  fields = dict(c_dim=0, img_resolution=8, img_channels=3, channel_base=64, channel_max=8, mapping_layers=2)
  module = Discriminator(**{**fields, **options})
  size = module.img_resolution
  inputs = jnp.zeros((2, size, size, module.img_channels)), jnp.zeros((2, module.c_dim))
  shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
  rng = np.random.default_rng(0)
  return module, jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)


def pictures(n=4, size=8, channels=3):
  return np.random.default_rng(0).uniform(-1, 1, (n, size, size, channels)).astype(np.float32)


def test_layers_are_counted_in_the_order_in_which_they_freeze():
  assert discriminator_layer_order(draw(img_resolution=16)[0]) == [
    f"b{r}.{name}" for r, names in ((16, "fromrgb conv0 conv1 skip"), (8, "conv0 conv1 skip")) for name in names.split()
  ]
  assert discriminator_layer_order(draw(architecture="skip")[0]) == ["b8.fromrgb", "b8.conv0", "b8.conv1"]


def test_half_precision_and_recomputation_follow_float32():
  module, variables = draw(img_resolution=16, num_half_res=4, conv_clamp=256)
  images = pictures(size=16)
  full, half, again = (
    golden.jit(m.apply)(variables, images) for m in (module, module.clone(dtype=jnp.bfloat16), module.clone(remat=True))
  )
  assert half.dtype == jnp.float32
  assert 1e-5 < np.abs(half - full).max() < 0.05 * np.abs(full).max()
  golden.close(again, np.asarray(full), 1e-6)


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_a_state_survives_the_way_there_and_back(architecture):
  module, variables = draw(c_dim=2, architecture=architecture, mbstd_group_size=2, resample_filter=(1.0, 1.0))
  state, kwargs = export_official(module, variables)
  again, read = import_discriminator(state, **kwargs)
  assert again == module
  assert jax.tree.all(jax.tree.map(np.array_equal, read["params"], dict(variables["params"])))


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"block_kwargs": {"attention": 1}}, "block_kwargs of StyleGAN2 has no argument 'attention'"),
    ({"epilogue_kwargs": {"groups": 1}}, "epilogue_kwargs"),
    ({"channel_multiplier": 2}, "channel_multiplier"),
    ({"c_dim": 2}, "lacks mapping"),
  ],
)
def test_arguments_of_another_network_are_refused(kwargs, message):
  state, known = export_official(*draw())
  with pytest.raises(InputError, match=message):
    import_discriminator(state, **{**known, **kwargs})


def test_inputs_of_another_size_are_refused():
  module, variables = draw(c_dim=2)
  with pytest.raises(InputError, match=r"images must be \(N, 8, 8, 3\)"):
    module.apply(variables, pictures(size=16), np.zeros((4, 2)))
  with pytest.raises(InputError, match=r"images must be \(N, 8, 8, 3\)"):
    module.apply(variables, pictures(channels=1), np.zeros((4, 2)))
  with pytest.raises(InputError, match=r"labels must be \(4, 2\)"):
    module.apply(variables, pictures(), np.zeros((4, 3)))
  with pytest.raises(InputError, match="groups of 4"):
    module.apply(variables, pictures(6), np.zeros((6, 2)))

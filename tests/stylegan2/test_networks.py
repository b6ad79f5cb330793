"""The generator against the official one: codes, images, gradients of first and second order."""

from __future__ import annotations

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.stylegan2 import Generator, export_official, import_generator
from jaxtalk.stylegan2.networks import update_w_avg

CASES = golden.names("generator_variant") + golden.names("generator")
# Second derivatives of the large networks take a minute to compile: by hand, but for one.
_BY_HAND = ("g_res32_c0_map2", "g_res64_c0_map8", "g_res64_c2_map2")
DIFFERENTIATED = [pytest.param(n, marks=pytest.mark.slow) if n in _BY_HAND else n for n in CASES]
FORWARD, GRADIENT, SECOND = 2e-5, 5e-5, 2e-4
SMALL = dict(z_dim=6, c_dim=0, w_dim=8, img_resolution=8, img_channels=3)
SMALL |= dict(mapping_layers=2, channel_base=32, channel_max=4)


@functools.cache
def load(name):
  data = golden.arrays(name)
  module, variables = import_generator(golden.arrays(name, "weights"), **golden.case(name)["init_kwargs"])
  return module, variables, data, data["z"], data.get("c")


def official_names(module, grads):
  return export_official(module, {"params": grads})[0]


def check_gradients(module, grads, refs, tol):
  ours = official_names(module, grads)
  for name, ref in refs.items():
    golden.close(ours[name], ref, SECOND if name.endswith("noise_strength") else tol, name)


@functools.cache
def mapper(module):
  return golden.jit(functools.partial(module.apply, method="mapping"), static_argnums=(3, 4))


@functools.cache
def painter(module, noise_mode="const"):
  return golden.jit(functools.partial(module.apply, method="synthesis", noise_mode=noise_mode))


@pytest.mark.parametrize("name", CASES)
def test_codes(name):
  module, variables, data, z, c = load(name)
  for key, options in {"w": (1.0, None), "w_psi0.5": (0.5, None), "w_psi0.5_cut3": (0.5, 3)}.items():
    golden.close(mapper(module)(variables, z, c, *options), data[key], FORWARD, key)
  w = mapper(module)(variables, z, c, 1.0, None)[:, 0]
  after = update_w_avg(variables["buffers"], w, module.w_avg_beta)
  golden.close(after["mapping"]["w_avg"], data["w_avg_after_update"], FORWARD, "w_avg")
  golden.close(variables["buffers"]["mapping"]["w_avg"], golden.arrays(name, "weights")["mapping.w_avg"], 0.0)


@pytest.mark.parametrize("name", CASES)
def test_images(name):
  module, variables, data, z, c = load(name)
  codes = {key: data[key.replace("img_const", "w")][:2] for key in data if key.startswith("img_const_psi")}
  codes["img_const"] = data["w"][:2]
  if "img_const_mix3" in data:
    other = mapper(module)(variables, data["zmix"], None if c is None else c[:2], 1.0, None)
    codes["img_const_mix3"] = np.concatenate([data["w"][:2, :3], np.asarray(other)[:, 3:]], axis=1)
  assert len(codes) >= 3
  images = golden.nchw(painter(module)(variables, np.concatenate(list(codes.values()))))
  for i, key in enumerate(codes):
    golden.close(images[2 * i : 2 * i + len(data[key])], data[key], FORWARD, key)
  at = list(codes).index("img_const")
  if "img_const_unfused" in data:
    golden.close(images[2 * at : 2 * at + 2], data["img_const_unfused"], FORWARD, "unfused")
  golden.close(golden.nchw(painter(module, "none")(variables, data["w"][:2])), data["img_none"], FORWARD, "img_none")


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients(name):
  module, variables, data, z, c = load(name)
  cot, labels = golden.nhwc(data["cot"]), None if c is None else c[:2]

  @golden.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
  def loss(params, z, moved):
    v = {**variables, "params": params}
    ws = module.apply(v, z, labels, method="mapping") + moved
    return jnp.sum(module.apply(v, ws, method="synthesis") * cot) / 2

  value, (grads, grad_z, grad_ws) = loss(variables["params"], z[:2], jnp.zeros((2, *data["w"].shape[1:])))
  golden.close(value, data["loss"], FORWARD, "loss")
  golden.close(grad_z, data["grad_z"], GRADIENT, "grad_z")
  golden.close(grad_ws, data["grad_ws"], GRADIENT, "grad_ws")
  check_gradients(module, grads, golden.under(data, "grad"), GRADIENT)


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_path_length_gradients(name):
  module, variables, data, z, c = load(name)
  noise = golden.nhwc(data["cot"][:, ::-1, ::-1, :]) / module.img_resolution
  labels = None if c is None else c[:2]

  @golden.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def penalty(params):
    v = {**variables, "params": params}
    ws = module.apply(v, z[:2], labels, method="mapping")
    slope = jax.grad(lambda ws: jnp.sum(module.apply(v, ws, method="synthesis") * noise))(ws)
    lengths = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(slope), axis=2), axis=1))
    mean = 0.7 + 0.01 * (jnp.mean(lengths) - 0.7)
    penalties = jnp.square(lengths - mean)
    return jnp.mean(2 * penalties), {"pl_lengths": lengths, "pl_mean_new": mean, "pl_penalty": penalties}

  (_, found), grads = penalty(variables["params"])
  for key, x in found.items():
    golden.close(x, data[key], GRADIENT, key)
  check_gradients(module, grads, golden.under(data, "plgrad"), SECOND)


def draw(seed=0, **options):
  """A small generator none of whose parameters is zero."""
  module = Generator(**{**SMALL, **options})
  shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 6)), jnp.zeros((1, module.c_dim)))
  rng = np.random.default_rng(seed)
  return module, jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)


def latents(n=2, seed=1):
  return np.random.default_rng(seed).standard_normal((n, 6), np.float32)


def test_initial_values_are_the_official_ones():
  module = Generator(**{**SMALL, "channel_base": 4096, "channel_max": 64, "w_dim": 64})
  params = golden.jit(module.init)(jax.random.key(0), jnp.zeros((1, 6)))["params"]
  layer = params["synthesis"]["b8"]["conv0"]
  assert layer["weight"].shape == (3, 3, 64, 64) and abs(np.std(layer["weight"]) - 1) < 0.02
  assert layer["noise_strength"] == 0 and not layer["bias"].any() and (layer["affine"]["bias"] == 1).all()
  assert abs(np.std(params["mapping"]["fc1"]["weight"]) - 100) < 3  # stored for a hundredth of the learning rate


def test_edited_styles_replace_what_the_codes_give():
  module, variables = draw()
  ws = module.apply(variables, latents(), method="mapping")
  styles = module.apply(variables, ws, method="styles")
  assert {name: s.shape for name, s in styles.items()} == dict.fromkeys(
    ("b4.conv1", "b4.torgb", "b8.conv0", "b8.conv1", "b8.torgb"), (2, 4)
  )
  paint = painter(module)
  plain = paint(variables, ws)
  golden.close(paint(variables, None, styles=styles), plain, 1e-6)
  moved = {"b8.conv1": styles["b8.conv1"] + 1.0}
  changed = paint(variables, ws, styles=moved)
  assert np.abs(changed - plain).max() > 0.01
  golden.close(paint(variables, None, styles={**styles, **moved}), changed, 1e-6)
  with pytest.raises(InputError, match="b16.conv0"):
    module.apply(variables, ws, styles={"b16.conv0": styles["b8.conv0"]}, method="synthesis")
  with pytest.raises(InputError, match="all 5 layers"):
    module.apply(variables, None, styles=moved, method="synthesis")


def test_random_noise_comes_from_its_stream():
  module, variables = draw()
  paint = golden.jit(lambda key: module.apply(variables, latents(), noise_mode="random", rngs={"noise": key}))
  one, again, other = paint(jax.random.key(1)), paint(jax.random.key(1)), paint(jax.random.key(2))
  assert np.array_equal(one, again) and np.abs(one - other).max() > 0.01


def test_recomputed_blocks_give_the_same_gradients():
  module, variables = draw()

  def gradient(module):
    return golden.jit(jax.grad(lambda v: jnp.sum(jnp.sin(module.apply(v, latents())))))(variables)

  plain, again = gradient(module), gradient(module.clone(remat=True))
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
    golden.close(b, np.asarray(a), 1e-5)


def test_half_precision_follows_float32_and_leaves_codes_and_images_in_float32():
  module, variables = draw(num_half_res=4, img_resolution=16, conv_clamp=256)
  half = module.clone(dtype=jnp.bfloat16)
  full, image = (golden.jit(m.apply)(variables, latents(8)) for m in (module, half))
  assert image.dtype == jnp.float32
  error = np.sqrt(np.mean(np.square(image - full)) / np.mean(np.square(full)))
  assert 1e-4 < error < 0.02, error  # some rounding, but no more than bfloat16's 8 bits explain
  assert half.apply(variables, latents(), method="mapping").dtype == jnp.float32


def test_a_state_survives_the_way_there_and_back():
  module, variables = draw(c_dim=2, architecture="resnet", resample_filter=(1.0, 2.0, 1.0))
  state, kwargs = export_official(module, variables)
  again, read = import_generator(state, **kwargs)
  assert again == module
  assert jax.tree.all(jax.tree.map(np.array_equal, read, dict(variables)))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda s: s.pop("synthesis.b8.conv1.bias"), "lacks synthesis.b8.conv1.bias"),
    (lambda s: s.update({"synthesis.b8.extra": np.zeros(3)}), "synthesis.b8.extra"),
    (lambda s: s.update({"mapping.w_avg": np.zeros(3)}), "mapping.w_avg has shape"),
    (lambda s: s.update({"synthesis.b8.resample_filter": np.ones((4, 4))}), "resample_filter is not the filter"),
  ],
)
def test_a_state_that_does_not_fit_is_refused_by_name(change, message):
  state, kwargs = export_official(*draw())
  change(state)
  with pytest.raises(InputError, match=message):
    import_generator(state, **kwargs)


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"magnitude_ema_beta": 0.999}, "StyleGAN3"),
    ({"synthesis_kwargs": {"attention": True}}, "'attention'"),
    ({"img_resolution": 24}, "power of two"),
    ({"synthesis_kwargs": {"architecture": "dense"}}, "'dense'"),
  ],
)
def test_arguments_of_another_network_are_refused(kwargs, message):
  state, known = export_official(*draw())
  with pytest.raises(InputError, match=message):
    import_generator(state, **{**known, **kwargs})


def test_missing_arguments_are_named():
  with pytest.raises(InputError, match="lack z_dim, img_channels"):
    import_generator({}, c_dim=0, w_dim=8, img_resolution=8)


def test_the_flat_layout_has_the_defaults_of_its_repository():
  state, kwargs = export_official(*draw())
  flat = {**kwargs, **kwargs["synthesis_kwargs"], "fused_modconv_default": "inference_only"}
  for name in ("synthesis_kwargs", "num_fp16_res", "conv_clamp"):
    del flat[name]
  module, _ = import_generator(state, **flat)
  assert (module.num_half_res, module.conv_clamp) == (4, 256)


@pytest.mark.parametrize(
  ("z", "c", "message"),
  [
    (np.zeros((2, 5)), np.zeros((2, 3)), r"latents must be \(N, 6\)"),
    (np.zeros((2, 6)), None, r"labels must be \(2, 3\), not None"),
    (np.zeros((2, 6)), np.zeros((2, 2)), r"labels must be \(2, 3\), not \(2, 2\)"),
    (np.zeros((2, 6)), np.zeros((4, 3)), r"labels must be \(2, 3\), not \(4, 3\)"),
  ],
)
def test_inputs_of_another_size_are_refused(z, c, message):
  module, variables = draw(c_dim=3)
  with pytest.raises(InputError, match=message):
    module.apply(variables, z, c)


def test_without_labels_none_and_empty_are_the_same():
  module, variables = draw()
  codes = [module.apply(variables, latents(), c, method="mapping") for c in (None, np.zeros((2, 0)))]
  assert np.array_equal(*codes)
  with pytest.raises(InputError, match="no labels"):
    module.apply(variables, latents(), np.zeros((2, 1)))
  with pytest.raises(InputError, match="codes must be"):
    module.apply(variables, jnp.zeros((2, 3, 8)), method="synthesis")
  with pytest.raises(InputError, match="'fresh'"):
    module.apply(variables, latents(), noise_mode="fresh")

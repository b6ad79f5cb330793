"""The fused layer against plain JAX: values and derivatives of two orders, in every way in which pixels are packed.

On the host the TPU kernel runs in Pallas' interpreter, so these tests see its arithmetic, not its compilation; that is
test_modulated_conv_tpu.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxtalk.kernels import resample
from jaxtalk.kernels.modulated_conv import choice, modulated_conv, packing, tiles

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

# batch, height, width, channels in, out, up: one for each packing, odd sizes and sizes that are no power of two
LAYERS = {
  "pixels": (1, 5, 7, 3, 4, 1),
  "pairs": (2, 4, 6, 64, 64, 1),
  "squares": (1, 6, 4, 32, 32, 1),
  "eights": (1, 4, 8, 16, 16, 1),
  "squares to wider": (1, 4, 4, 32, 48, 1),
  "up": (1, 3, 5, 6, 4, 2),
  "up to pairs": (1, 4, 4, 128, 64, 2),
  "up to squares": (2, 4, 4, 64, 32, 2),
  "up to eights": (1, 4, 4, 32, 16, 2),
}


def _inputs(n, height, width, channels, out, up, noises=1, dtype=jnp.float32):
  rng = np.random.default_rng(0)
  shapes = (
    (n, height, width, channels),
    (3, 3, channels, out),
    (n, channels),
    (out,),
    (noises, height * up, width * up, 1),
  )
  x, *rest = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
  return x.astype(dtype), *rest


def _layer(implementation, up, clamp=1.5, demodulate=True):
  def run(x, weight, styles, bias, noise):
    settings = {"up": up, "demodulate": demodulate, "implementation": implementation}
    epilogue = {"bias": bias, "activation": "lrelu", "gain": 1.3, "clamp": clamp}
    return modulated_conv(x, weight, styles, noise=noise, **settings, **epilogue)

  return run


def _error(actual, wanted):
  """Largest difference, in units of the largest value."""
  a, b = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
  assert a.shape == b.shape
  return np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_values(name):
  up = LAYERS[name][-1]
  args = _inputs(*LAYERS[name])
  assert _error(jit(_layer("pallas", up))(*args), jit(_layer("grouped", up))(*args)) < 2e-6


def test_every_packing_is_met():
  met = {packing.blocks_for((i, o), up, (h, w)).inner for _, h, w, i, o, up in LAYERS.values()}
  assert met == {(1, 1), (1, 2), (2, 2), (2, 4)}
  assert packing.blocks_for((32, 32), 1, (5, 4)).inner == (1, 1)  # an odd height is not packed


FILTERS = {
  "usual": [1, 3, 3, 1],
  "flat": [1, 1, 1, 1],
  "bent": [-1, 4, 4, -1],
  "lopsided": [1, 2, 3, 4],
  "hollow": [1, 0, 0, 1],
  "short": [1, 1],
  "diagonal": np.eye(4) / 4,
  "none": None,
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("layer", ["up", "up to pairs"])
def test_filters(name, layer):
  """Symmetric ones of four taps that factor are applied to sums, the others are put into the kernel."""
  args = _inputs(*LAYERS[layer])
  settings = {"up": 2, "resample_filter": FILTERS[name], "noise": args[4], "bias": args[3]}
  y = [jit(functools.partial(modulated_conv, implementation=i, **settings))(*args[:3]) for i in ("pallas", "grouped")]
  assert _error(*y) < 2e-6


def test_which_filters_are_applied_to_sums():
  on_sums = []
  for name, taps in FILTERS.items():
    f = resample.setup_filter(taps, normalize=np.ndim(taps) < 2)
    on_sums += [name] if packing.blocks_for((8, 8), 2, (4, 4), np.outer(f, f) if f.ndim == 1 else f).taps else []
  assert on_sums == ["usual", "flat", "bent"]
  f = resample.setup_filter(FILTERS["usual"])
  assert packing.blocks_for((64, 32), 2, (4, 4), f).taps == pytest.approx((0.25, 0.75))
  assert packing.blocks_for((32, 16), 2, (4, 4), f).taps is None  # two rows of pixels in a block


@pytest.mark.parametrize("name", ["squares", "up to squares"])
def test_values_in_bfloat16(name):
  up = LAYERS[name][-1]
  args = _inputs(*LAYERS[name], noises=LAYERS[name][0], dtype=jnp.bfloat16)
  y = jit(_layer("pallas", up, 256.0))(*args)
  assert y.dtype == jnp.bfloat16
  exact = jit(_layer("xla", up, 256.0))(args[0].astype(jnp.float32), *args[1:])
  assert _error(y, exact) < 2**-7
  # one rounding of the kernel and one of the result: nearer to the truth than the graph with its many
  assert _error(y, exact) <= _error(jit(_layer("xla", up, 256.0))(*args), exact)


def test_several_steps_of_the_grid_along_each_axis(monkeypatch):
  tile = tiles.Tile(blocks=8, lanes=128, products=10**6, vmem_mib=1)
  monkeypatch.setattr(tiles, "lookup", lambda *_: tile)
  assert (tile.width(256), tile.band(4, 4, 1, jnp.float32)) == (128, 2)
  args = _inputs(2, 4, 4, 3, 256, 1)
  assert _error(jit(_layer("pallas", 1))(*args), jit(_layer("grouped", 1))(*args)) < 2e-6


def test_tiles_are_divisors_and_few_products():
  tile = tiles.lookup("TPU v5 lite", "64:512-512")
  assert tile.lanes % 128 == 0
  for channels, height, width in ((512, 64, 64), (512, 12, 48), (32, 30, 7)):
    wide = tile.width(channels)
    band = tile.band(height, width, 9 * channels * wide, jnp.bfloat16)
    assert channels % wide == 0 and height % band == 0
    assert band == 1 or band * width * 9 * channels * wide <= tile.products * 16 * 128 * 128
  assert tile.band(64, 64, 9 * 512 * 512, jnp.float32) < tile.band(64, 64, 9 * 512 * 512, jnp.bfloat16)
  assert tiles.lookup("a TPU of next year", "64:512-512") == tiles.lookup("TPU", "64:512-512")


def test_auto_knows_no_proof_for_another_device(monkeypatch):
  name = "1024:32-32:bfloat16"
  assert choice.advantage("TPU v5 lite")[name] < 1
  faster = functools.partial(choice.faster_on_tpu, 1024, 1024, (32, 32), 1, "bfloat16")
  for device, proven in (("TPU v5 lite", True), ("a TPU of next year", False)):
    monkeypatch.setattr(choice, "device_kind", lambda device=device: device)
    assert faster() is proven
    assert (name in choice.describe()) is proven


def test_without_noise_demodulation_or_clamp():
  x, weight, styles, bias, _ = _inputs(1, 4, 4, 8, 8, 1)
  run = [jit(functools.partial(_layer(i, 1, None, False), noise=None)) for i in ("pallas", "xla")]
  assert _error(*(f(x, weight, styles, bias) for f in run)) < 2e-6


def _derivatives(implementation, name, up, args):
  """Gradients of all arguments, and gradients of a penalty on them."""
  wanted = tuple(range(5))
  layer = _layer(implementation, up)
  weights = jnp.cos(jnp.arange(layer_size := jax.eval_shape(layer, *args).size, dtype=jnp.float32))

  def loss(*args):
    return jnp.sum(layer(*args).reshape(layer_size).astype(jnp.float32) * weights)

  def penalty(*args):
    return sum(jnp.sum(jnp.square(g)) for g in jax.grad(loss, wanted)(*args))

  return jit(lambda *a: (jax.grad(loss, wanted)(*a), jax.grad(penalty, wanted[:3])(*a)))(*args)


@pytest.mark.parametrize(
  ("name", "noises"),
  [
    ("squares", 1),
    ("up to squares", 2),
    ("up", 1),
    pytest.param("pixels", 1, marks=pytest.mark.slow),
    pytest.param("up to pairs", 1, marks=pytest.mark.slow),
  ],
)
def test_derivatives_of_two_orders(name, noises):
  """Every cotangent is a kernel too, and so are the cotangents of those."""
  up = LAYERS[name][-1]
  args = _inputs(*LAYERS[name], noises=noises)
  both = [_derivatives(i, name, up, args) for i in ("pallas", "xla")]
  for ours, plain in zip(*map(jax.tree.leaves, both), strict=True):
    assert _error(ours, plain) < 5e-6


@pytest.mark.parametrize("name", ["pairs", "eights", "squares to wider", "up to eights"])
def test_gradients(name):
  """In the other packings; a filter that is in the kernel has its cotangents from plain JAX."""
  up = LAYERS[name][-1]
  args = _inputs(*LAYERS[name])

  def gradient(implementation):
    return jit(jax.grad(lambda *a: jnp.sum(jnp.sin(_layer(implementation, up)(*a))), (0, 1, 2, 3, 4)))(*args)

  for ours, plain in zip(gradient("pallas"), gradient("xla"), strict=True):
    assert _error(ours, plain) < 5e-6


@pytest.mark.parametrize("name", ["squares", "up to squares", "up"])
def test_gradients_in_bfloat16(name):
  """Without activation, whose slope a rounding next to zero decides."""
  x, *factors = _inputs(*LAYERS[name], dtype=jnp.bfloat16)
  up, out = LAYERS[name][-1], LAYERS[name][4]
  shape = x.shape[0], x.shape[1] * up, x.shape[2] * up, out
  g = jnp.cos(jnp.arange(np.prod(shape), dtype=jnp.float32)).reshape(shape).astype(jnp.bfloat16)

  def gradient(implementation, dtype):
    def layer(x, weight, styles, bias, noise):
      return modulated_conv(x, weight, styles, up=up, bias=bias, noise=noise, implementation=implementation)

    return jit(lambda x, g: jax.vjp(layer, x, *factors)[1](g))(x.astype(dtype), g.astype(dtype))

  exact = gradient("xla", jnp.float32)
  for ours, plain, truth in zip(gradient("pallas", x.dtype), gradient("xla", x.dtype), exact, strict=True):
    assert ours.dtype == plain.dtype
    assert _error(ours, truth) <= max(_error(plain, truth), 2**-7)


def test_a_batch_that_is_spread_over_devices():
  mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
  args = _inputs(8, 4, 4, 32, 32, 1, noises=8)
  alone = jit(_layer("pallas", 1))(*args)
  split, whole = (NamedSharding(mesh, PartitionSpec(*s)) for s in ((("data", "fsdp"),), ()))
  with jax.set_mesh(mesh):
    run = jit(_layer("pallas", 1), in_shardings=(split, whole, split, whole, split))
    compiled = run.lower(*args).compile()
    y = compiled(*map(jax.device_put, args, (split, whole, split, whole, split)))
  assert y.sharding.is_equivalent_to(split, 4)
  assert "all-gather" not in compiled.as_text()  # nobody copies the batch
  assert _error(y, alone) < 1e-6


def test_colours_of_packed_pixels():
  x, _, styles, *_ = _inputs(2, 4, 6, 32, 32, 1)
  weight, bias = jnp.cos(jnp.arange(96.0)).reshape(1, 1, 32, 3), jnp.arange(3.0)
  y = [
    jit(functools.partial(modulated_conv, demodulate=False, bias=bias, clamp=9.0, implementation=i))(x, weight, styles)
    for i in ("pallas", "xla")
  ]
  assert _error(*y) < 2e-6


def test_packing_is_undone_by_unpacking():
  x = jnp.arange(2 * 4 * 8 * 3).reshape(2, 4, 8, 3)
  assert packing.pack(x, (2, 4)).shape == (2, 2, 2, 24)
  assert (packing.unpack(packing.pack(x, (2, 4)), (2, 4)) == x).all()


def test_what_auto_stands_for(capsys):
  args = _inputs(1, 4, 4, 8, 8, 1)
  with choice.using("pallas"):
    text = jax.jit(_layer("auto", 1)).lower(*args).as_text("hlo")
  plain = jax.jit(_layer("auto", 1)).lower(*args).as_text("hlo")
  assert "while" in text and "while" not in plain  # the interpreter is a loop over the grid
  with pytest.raises(ValueError, match=r"auto, xla, grouped, pallas, not 'cuda'"):
    choice.choose("cuda")


def test_auto_is_the_kernel_only_on_tpus_and_where_it_is_proven(monkeypatch):
  args = _inputs(1, 32, 32, 32, 32, 1)
  text = {}
  for proven in ("nothing", "drawing", "both"):
    drawing, training = proven != "nothing", proven == "both"
    monkeypatch.setattr(
      choice, "faster_on_tpu", lambda *a, drawing=drawing, training=training: training if a[5] else drawing
    )
    layer = _layer("auto", 1)
    gradient = jax.grad(lambda *a, layer=layer: jnp.sum(jnp.square(layer(*a))), (0, 1, 2, 3, 4))
    for platform in ("tpu", "cpu"):
      for form, f in (("value", layer), ("gradient", gradient)):
        lowered = jax.jit(f).trace(*args).lower(lowering_platforms=(platform,))
        text[proven, platform, form] = lowered.as_text()
  found = {key: value.count("tpu_custom_call") for key, value in text.items() if "tpu_custom_call" in value}
  # With derivatives: the layer, and what it sends back to its image and to its kernel.
  assert found == {("drawing", "tpu", "value"): 1, ("both", "tpu", "value"): 1, ("both", "tpu", "gradient"): 3}
  assert not any("while" in value for key, value in text.items() if key[1] == "cpu")  # nor is it simulated there


def test_what_does_not_lie_well_in_a_tpus_registers_is_xlas_there(monkeypatch, capsys):
  args = _inputs(1, 8, 8, 128, 128, 1, dtype=jnp.bfloat16)
  monkeypatch.setattr(choice, "device_kind", lambda: "TPU v5 lite")
  text = jax.jit(_layer("pallas", 1)).trace(*args).lower(lowering_platforms=("tpu",)).as_text()
  assert "tpu_custom_call" not in text
  assert "8 blocks in a row, not a multiple of 16" in capsys.readouterr().err


def test_what_the_kernel_does_not_do_is_xlas_and_said_once(capsys):
  x, _, styles, *_ = _inputs(1, 4, 4, 8, 8, 1)
  weight = jnp.ones((5, 5, 8, 3))
  for _ in range(2):
    y = modulated_conv(x, weight, styles, implementation="pallas")
  assert _error(y, modulated_conv(x, weight, styles, implementation="xla")) == 0
  assert capsys.readouterr().err.count("5x5") == 1

"""The fused layer, a generator and a training step, compiled ahead of time for TPUs that are not there.

Needs libtpu (``pip install "jax[tpu]"``), but no TPU: ``pytest -m tpu_backend``. What interpret mode cannot show is
shown here: that Mosaic takes the kernel, that it is split over devices, that the memory suffices.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from jaxtalk import cli
from jaxtalk.kernels.modulated_conv import choice, modulated_conv, shapes
from jaxtalk.stylegan2.networks import Generator
from jaxtalk.stylegan2.task import StyleGAN2Task
from jaxtalk.training import sharding
from jaxtalk.training.plan import Plan

pytest.importorskip("libtpu")
pytestmark = pytest.mark.tpu_backend

ROOT = Path(__file__).parents[2]
KERNEL = "tpu_custom_call"
CHIPS = {"v5e": 16, "v5p": 95, "v6e": 32, "tpu7x": 96}  # GiB of memory a device, at least
ONE_CHIP = {"v5e": "v5e:1x1", "v5p": "v5p:1x1x1", "v6e": "v6e:1x1", "tpu7x": "tpu7x:1x1x1"}
SLICES = {"v5e": "v5e:4x4", "v5p": "v5p:2x2x2", "v6e": "v6e:4x4", "tpu7x": "tpu7x:2x2x2"}
TOPOLOGIES = [*ONE_CHIP.values(), *SLICES.values()]


@pytest.fixture(autouse=True)
def _described_devices(monkeypatch):
  monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
  monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  monkeypatch.setitem(os.environ, "JAX_PLATFORMS", "cpu")


def _mesh(topology, count=-1):
  """All devices of a topology (a tpu7x chip is two), or some of them, in a row."""
  bounds = {"chips_per_host_bounds": (1, 1, 1)} if topology in ONE_CHIP.values() else {}
  devices = topologies.get_topology_desc(platform="tpu", topology_name=topology, **bounds).devices
  return sharding.make_mesh({"data": count}, devices)


def _peak_gib(compiled):
  return compiled.memory_analysis().peak_memory_in_bytes / 2**30


@pytest.mark.parametrize("chip", ONE_CHIP)
@pytest.mark.parametrize(
  ("size", "channels", "up"),
  [(64, (32, 32), 1), (64, (64, 32), 2), (32, (128, 128), 1), (64, (128, 64), 2), (16, (512, 512), 1)],
)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=["bfloat16", "float32"])
def test_the_kernel_compiles(chip, size, channels, up, dtype):
  whole = NamedSharding(_mesh(ONE_CHIP[chip], 1), PartitionSpec())
  (i, o), inner = channels, size // up
  sizes = [((2, inner, inner, i), dtype)]
  sizes += [(s, jnp.float32) for s in ((3, 3, i, o), (2, i), (o,), (1, size, size, 1))]

  def layer(x, weight, styles, bias, noise):
    epilogue = {"bias": bias, "noise": noise, "activation": "lrelu", "gain": 2**0.5, "clamp": 256.0}
    return modulated_conv(x, weight, styles, up=up, implementation="pallas", **epilogue)

  args = [jax.ShapeDtypeStruct(shape, kind, sharding=whole) for shape, kind in sizes]
  with jax.set_mesh(whole.mesh):
    assert KERNEL in jax.jit(layer).lower(*args).compile().as_text()


@pytest.mark.parametrize("chip", ONE_CHIP)
@pytest.mark.parametrize(
  ("size", "channels", "up"),
  [(64, (32, 32), 1), (64, (64, 32), 2), (32, (128, 128), 1), (64, (128, 64), 2), (32, (256, 128), 2)],
)
def test_gradients_compile(chip, size, channels, up):
  """The layer and what it sends back to image and kernel: three kernels."""
  whole = NamedSharding(_mesh(ONE_CHIP[chip], 1), PartitionSpec())
  (i, o), inner = channels, size // up
  sizes = [((2, inner, inner, i), jnp.bfloat16), ((3, 3, i, o), jnp.float32), ((2, i), jnp.float32)]

  def loss(x, weight, styles):
    y = modulated_conv(x, weight, styles, up=up, activation="lrelu", clamp=256.0, implementation="pallas")
    return jnp.sum(jnp.square(y.astype(jnp.float32)))

  args = [jax.ShapeDtypeStruct(shape, kind, sharding=whole) for shape, kind in sizes]
  with jax.set_mesh(whole.mesh):
    text = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*args).compile().as_text()
  assert text.count(f'custom_call_target="{KERNEL}"') == 3


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_whole_generator_of_1024_px(topology, record_property):
  """All channels and layers of the official configuration, in bfloat16, `auto`, four images a device."""
  mesh = _mesh(topology)
  generator = Generator(
    512, 0, 512, 1024, 3, channel_base=32768, num_half_res=9, conv_clamp=256.0, dtype=jnp.bfloat16,
  )  # fmt: skip
  z = jax.ShapeDtypeStruct((4 * mesh.size, 512), jnp.float32, sharding=sharding.batch_sharding(mesh))
  variables = jax.eval_shape(generator.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 512), jnp.float32))
  whole = NamedSharding(mesh, PartitionSpec())
  variables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), variables)
  with jax.set_mesh(mesh):
    draw = jax.jit(generator.apply, out_shardings=sharding.batch_sharding(mesh))
    compiled = draw.lower(variables, z).compile()
  text = compiled.as_text()
  proven = choice.advantage(mesh.devices.flat[0].device_kind)
  assert text.count(KERNEL) >= sum(proven.get(f"{layer.name}:bfloat16", 1) < 1 for layer in shapes.layers(1024))
  assert "all-gather" not in text and "all-to-all" not in text  # nobody copies the batch
  record_property("peak_gib", _peak_gib(compiled))
  assert _peak_gib(compiled) < CHIPS[topology.split(":")[0]] / 2


def _compiled_stage(config, mesh, name):
  with choice.using("auto"):  # the task sets what the config says; leaving undoes it
    plan = Plan(StyleGAN2Task(config), mesh, seed=0)
    run = {stage.name: stage.run for stage in plan.task.stages()}[name]
    with jax.set_mesh(mesh):
      # With least effort for speed: a quarter of the time or less, and what fits so should fit with more.
      quick = {"exec_time_optimization_effort": -1.0}
      return jax.jit(run, donate_argnums=0).lower(plan.state, plan.batch).compile(compiler_options=quick)


@pytest.mark.parametrize("stage", ["Gmain", "Greg", "Dmain", "Dreg", "finish"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_training_step(topology, stage, record_property):
  """The stages of an update of the official configuration for 256 px, in bfloat16, eight pictures a device.

  `auto` takes the kernel where it is shown to be ahead: without derivatives in the pictures that the discriminator is
  shown, with them where the generator learns.
  """
  config, _ = cli.load_config("configs/stylegan2.py:auto,resolution=256", ROOT)
  config.model.dtype = "bfloat16"
  mesh = _mesh(topology)
  config.train.batch_size = 8 * mesh.size
  compiled = _compiled_stage(config, mesh, stage)
  proven, layers = choice.advantage(mesh.devices.flat[0].device_kind), shapes.layers(256)
  drawing, training = (
    any(proven.get(f"{layer.name}:bfloat16{ending}", 1) < 1 for layer in layers) for ending in ("", choice.TRAINING)
  )
  expected = {"Gmain": training, "Greg": training, "Dmain": drawing}.get(stage, False)
  assert (KERNEL in compiled.as_text()) == expected
  record_property("peak_gib", _peak_gib(compiled))
  assert _peak_gib(compiled) < CHIPS[topology.split(":")[0]]


@pytest.mark.parametrize("stage", ["Gmain", "Greg"])
def test_a_training_step_all_of_kernels(stage):
  """What `pallas` asks for: a small generator whose every layer that fits is kernels, also in derivatives of gradients,
  on a slice."""
  config, _ = cli.load_config("configs/stylegan2.py:auto,resolution=32", ROOT)
  config.model.update(dtype="bfloat16", channel_base=1024, channel_max=128, num_half_res=2, z_dim=32, w_dim=32)
  config.kernels.modulated_conv = "pallas"
  mesh = _mesh("v6e:2x2")
  config.train.batch_size = 8
  compiled = _compiled_stage(config, mesh, stage)
  assert KERNEL in compiled.as_text()
  assert _peak_gib(compiled) < CHIPS["v6e"]

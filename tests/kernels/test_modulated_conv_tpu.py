"""The fused layer, a generator and a training step, compiled ahead of time for TPUs that are not there.

Needs libtpu (``pip install "jax[tpu]"``), but no TPU: ``pytest -m tpu_backend``. What interpret mode cannot show is
shown here: that Mosaic takes the kernel, that it is split over devices, that the memory suffices.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from jaxtalk import cli
from jaxtalk.kernels.modulated_conv import choice, modulated_conv
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


@pytest.fixture(autouse=True)
def _described_devices(monkeypatch):
  monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
  monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  monkeypatch.setitem(os.environ, "JAX_PLATFORMS", "cpu")


def _mesh(topology, one=False):
  bounds = {"chips_per_host_bounds": (1, 1, 1)} if one else {}
  devices = topologies.get_topology_desc(platform="tpu", topology_name=topology, **bounds).devices
  return sharding.make_mesh({"data": 1 if one else -1}, devices)


def _peak_gib(compiled):
  return compiled.memory_analysis().peak_memory_in_bytes / 2**30


@pytest.mark.parametrize("chip", ONE_CHIP)
@pytest.mark.parametrize(
  ("size", "channels", "up"), [(64, (32, 32), 1), (64, (64, 32), 2), (32, (128, 128), 1), (64, (128, 64), 2)]
)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=["bfloat16", "float32"])
def test_the_kernel_compiles(chip, size, channels, up, dtype):
  whole = NamedSharding(_mesh(ONE_CHIP[chip], one=True), PartitionSpec())
  (i, o), inner = channels, size // up
  shapes = [((2, inner, inner, i), dtype)]
  shapes += [(s, jnp.float32) for s in ((3, 3, i, o), (2, i), (o,), (1, size, size, 1))]

  def layer(x, weight, styles, bias, noise):
    epilogue = {"bias": bias, "noise": noise, "activation": "lrelu", "gain": 2**0.5, "clamp": 256.0}
    return modulated_conv(x, weight, styles, up=up, implementation="pallas", **epilogue)

  args = [jax.ShapeDtypeStruct(shape, kind, sharding=whole) for shape, kind in shapes]
  assert KERNEL in jax.jit(layer).lower(*args).compile().as_text()


@pytest.mark.parametrize("topology", ["v5e:1x1", "v5e:4x4"])
def test_a_generator_on_one_chip_and_on_a_slice(topology):
  one = topology == "v5e:1x1"
  mesh = _mesh(topology, one)
  generator = Generator(
    32, 0, 32, 64, 3, mapping_layers=2, channel_base=2048, channel_max=128, num_half_res=4, conv_clamp=256.0,
    dtype=jnp.bfloat16,
  )  # fmt: skip
  z = jax.ShapeDtypeStruct((32, 32), jnp.float32)
  with choice.using("xla"):
    shapes = jax.eval_shape(generator.init, jax.random.key(0), z)
  whole = NamedSharding(mesh, PartitionSpec())
  place = lambda tree, where: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)  # noqa: E731
  with jax.set_mesh(mesh), choice.using("pallas"):
    run = jax.jit(generator.apply, out_shardings=sharding.batch_sharding(mesh))
    compiled = run.lower(place(shapes, whole), place(z, sharding.batch_sharding(mesh))).compile()
  text = compiled.as_text()
  assert text.count(KERNEL) >= 4  # 32 and 64 px have whole registers
  assert "all-gather" not in text and "all-to-all" not in text
  assert _peak_gib(compiled) < CHIPS["v5e"] / 2


@pytest.mark.parametrize("topology", ["v5e:1x1", "v6e:2x2"])
def test_the_training_step_of_the_generator(topology):
  config, _ = cli.load_config("configs/stylegan2.py:auto,resolution=64", ROOT)
  config.model.update(dtype="bfloat16", channel_base=2048, channel_max=64, num_half_res=3, z_dim=32, w_dim=32)
  config.train.batch_size = 8
  mesh = _mesh(topology, topology == "v5e:1x1")
  with jax.set_mesh(mesh), choice.using("pallas"):
    plan = Plan(StyleGAN2Task(config), mesh, seed=0)
    stages = {stage.name: stage for stage in plan.task.stages()}
    for name in ("Gmain", "Greg"):
      compiled = jax.jit(stages[name].run, donate_argnums=0).lower(plan.state, plan.batch).compile()
      assert KERNEL in compiled.as_text()
      assert _peak_gib(compiled) < CHIPS[topology[:3]]
      assert np.isfinite(compiled.cost_analysis()["flops"])

"""How fast does this device train StyleGAN2, and how fast does it draw? Data reading is not counted.

For every preset: seconds of each stage (Gmain, Greg, Dmain, Dreg, the rest), from which follow the pictures a second of
training with lazy regularisation and adaptive augmentation, and the share of the device's peak that they amount to;
then pictures a second of the generator alone, at several batch sizes. Operations are counted by hand (of convolutions,
2 a multiplication), not by the compiler, so that figures of different programs can be compared. Times are medians.

  python benchmarks/stylegan2_train.py [--presets=auto,resolution=256;auto,resolution=512] [--repeats=20]
  python benchmarks/stylegan2_train.py --presets=demo --repeats=3        on two CPU cores: minutes

Writes benchmarks/results/stylegan2_train.json. Before a speed is quoted, the losses must be right on this device:
pytest tests/stylegan2/test_losses.py with JAXTALK_GOLDEN set.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk import cli, runtime

ROOT = Path(__file__).resolve().parents[1]
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "V100": 125.0, "TPU v5 lite": 197.0, "TPU v5p": 459.0}
# Passes over a network that one picture of an update costs; a backward pass is 1 for inputs and 1 for weights, and a
# gradient of a gradient 6 in all. The path length takes half the batch.
G_PASSES, G_LAZY = 3 + 1, 6 / 2
D_PASSES, D_LAZY = 2 + 6, 6
PROGRAM = cli.Program(
  name="stylegan2_train.py",
  summary="measures training and drawing with StyleGAN2.",
  root=ROOT,
  config="configs/stylegan2.py",
  flags=(
    cli.Flag(name="presets", help="separated by ;", default="auto,resolution=256;auto,resolution=512"),
    cli.Flag(name="batches", help="sizes to draw at, separated by commas", default="1,8,32"),
    cli.Flag(name="repeats", help="runs to time", default=20),
  ),
)


def run(args: cli.Arguments) -> None:
  """Every preset, one after the other."""
  import jax

  runtime.use_compilation_cache()
  device = jax.devices()[0].device_kind
  results = {"device": device, "presets": {}}
  for preset in args.flags["presets"].split(";"):
    config, _ = cli.load_config(f"configs/stylegan2.py:{preset}", ROOT)
    cli.override(config, args.overrides)
    facts = measure(config, device, args.flags["repeats"], [int(n) for n in args.flags["batches"].split(",")])
    results["presets"][preset] = facts
    print(json.dumps({preset: facts}, indent=2), flush=True)
  out = ROOT / "benchmarks" / "results" / "stylegan2_train.json"
  out.write_text(json.dumps(results, indent=2) + "\n")


def measure(config: Any, device: str, repeats: int, batches: list[int]) -> dict[str, Any]:
  """All figures of one preset."""
  import jax
  import jax.numpy as jnp

  from jaxtalk.stylegan2 import task

  c_dim = 2 if config.model.networks == "conditional" else 0
  g, d = task.make_networks(config, c_dim, 3)
  phases = task.make_phases(config, g, d)
  size, rng = config.train.batch_size, np.random.default_rng(0)
  batch = {
    "image": jnp.asarray(rng.integers(0, 256, (size, g.img_resolution, g.img_resolution, 3), np.uint8)),
    "label": jnp.eye(max(c_dim, 1))[rng.integers(0, max(c_dim, 1), size)][:, :c_dim],
    "gen_label": jnp.zeros((size, 4, c_dim)).at[..., :1].set(1.0),
  }
  variables = jax.jit(g.init)(jax.random.key(0), jnp.zeros((1, g.z_dim)), batch["label"][:1])
  d_variables = jax.jit(d.init)(jax.random.key(1), jnp.zeros((1, *batch["image"].shape[1:])), batch["label"][:1])
  state = jax.jit(phases.init)(jax.random.key(2), variables, d_variables, 0.5)
  seconds, compiling = _stages(phases.stages(), state, batch, repeats)
  update = sum(middle / every for middle, every in seconds.values())
  every = {name: interval for name, (_, interval) in seconds.items()}
  g_passes = G_PASSES + (G_LAZY / every["Greg"] if "Greg" in every else 0)
  d_passes = D_PASSES + (D_LAZY / every["Dreg"] if "Dreg" in every else 0)
  tflop = 2e-12 * (g_passes * generator_macs(g) + d_passes * discriminator_macs(d))
  peak = next((value for name, value in PEAK_TFLOPS.items() if name in device), None)
  return {
    "batch_size": size,
    "dtype": config.model.dtype,
    "compile_s": round(compiling, 1),
    "stage_s": {name: middle for name, (middle, _) in seconds.items()},
    "update_s": update,
    "img_per_s": size / update,
    "tflop_per_img": tflop,
    "tflop_per_s": tflop * size / update,
    "mfu": tflop * size / update / peak if peak and config.model.dtype == "bfloat16" else None,
    "memory_gib": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30 or None,
    "draw_img_per_s": {n: _drawing(g, variables, n, repeats) for n in batches},
    "draw_gflop_per_img": 2e-9 * generator_macs(g),
  }


def _stages(stages: Any, state: Any, batch: Any, repeats: int) -> tuple[dict[str, tuple[float, int]], float]:
  """(median seconds, interval) of every stage, and the seconds that compiling took."""
  import jax

  seconds, start = {}, time.perf_counter()
  options = runtime.compiler_options()
  compiled = [
    (stage, jax.jit(stage.run, donate_argnums=0).lower(state, batch).compile(compiler_options=options))
    for stage in stages
  ]
  compiling = time.perf_counter() - start
  for stage, function in compiled:
    holder = [state]

    def once(function=function, holder=holder) -> Any:
      holder[0], metrics = function(holder[0], batch)
      return holder[0], metrics

    seconds[stage.name] = (_median(once, repeats), stage.every)
    state = holder[0]
  return seconds, compiling


def _drawing(g: Any, variables: Any, size: int, repeats: int) -> float:
  """Pictures a second of the generator, psi 0.7, stored noise."""
  import jax
  import jax.numpy as jnp

  z, c = jnp.ones((size, g.z_dim)), jnp.zeros((size, g.c_dim)).at[:, :1].set(1.0)
  draw = jax.jit(lambda v, z, c: g.apply(v, z, c, truncation_psi=0.7))
  function = draw.lower(variables, z, c).compile(compiler_options=runtime.compiler_options())
  return size / _median(lambda: function(variables, z, c), repeats)


def _median(once: Callable[[], Any], repeats: int) -> float:
  import jax

  seconds = []
  for _ in range(2 + repeats):
    start = time.perf_counter()
    jax.block_until_ready(once())
    seconds.append(time.perf_counter() - start)
  return float(np.median(seconds[2:]))


def generator_macs(g: Any) -> float:
  """Multiplications of a generator's convolutions, a picture (skip architecture)."""
  from jaxtalk.stylegan2.sizes import features_at, resolutions

  total, below = 0.0, 0
  for r in resolutions(g.img_resolution):
    here = features_at(r, g.channel_base, g.channel_max)
    total += 9 * below * here * (r // 2) ** 2  # transposed: every input pixel meets every tap once
    total += 9 * here * here * r**2 + here * g.img_channels * r**2
    below = here
  return total


def discriminator_macs(d: Any) -> float:
  """Multiplications of a discriminator's convolutions, a picture."""
  from jaxtalk.stylegan2.sizes import features_at, resolutions

  total = 0.0
  for r in resolutions(d.img_resolution)[:0:-1]:
    here, half = (features_at(n, d.channel_base, d.channel_max) for n in (r, r // 2))
    total += 9 * here * here * r**2 + 9 * here * half * (r // 2) ** 2
    total += here * half * (r // 2) ** 2 if d.architecture == "resnet" else 0
    total += d.img_channels * here * r**2 if r == d.img_resolution else 0
  last = features_at(4, d.channel_base, d.channel_max)
  return total + 9 * (last + d.mbstd_num_channels) * last * 16


if __name__ == "__main__":
  sys.exit(cli.main(PROGRAM, run))

"""The modulated convolution on a Hopper GPU: XLA with cuDNN beside the Mosaic GPU kernel, layer by layer.

Every layer of the 1024 px generator that the kernel takes, in bfloat16: does it agree with plain JAX, how long do both
take (median of `--repeats`), and what share of the layer's roofline is that. Results in
results/modulated_conv_gpu.json. Has not been run yet: no card was at hand (gpu_queue.md).

  python benchmarks/modulated_conv_gpu.py
  python benchmarks/modulated_conv_gpu.py --resolution 512 --batch 8
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.kernels.modulated_conv import fused, gpu, shapes

RESULTS = Path(__file__).parent / "results" / "modulated_conv_gpu.json"
FLOPS, BYTES = 790e12, 3.0e12  # a second, of an H100 that is kept busy
TAPS = tuple(map(tuple, np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--resolution", type=int, choices=shapes.CONFIGURATIONS, default=1024)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--repeats", type=int, default=50)
  args = parser.parse_args()
  device = jax.devices()[0]
  if device.platform != "gpu":
    raise SystemExit(f"modulated_conv_gpu: needs a Hopper GPU, this is {device.device_kind}")
  rows = {layer.name: measure(layer, args.batch, args.repeats) for layer in shapes.layers(args.resolution)}
  RESULTS.write_text(json.dumps({"device": device.device_kind, "batch": args.batch, "layers": rows}, indent=1) + "\n")
  for name, row in rows.items():
    print(name, row)


def measure(layer: shapes.Layer, batch: int, repeats: int) -> dict:
  """Seconds of both forms, the roofline's share, and how far they are apart; {"refused": why} without a kernel."""
  settings = fused.Settings(layer.up, True, TAPS, 0.2, 2**0.5, 256.0)
  (i, o), inner = layer.channels, layer.size // layer.up
  keys = jax.random.split(jax.random.key(0), 5)
  sizes = (batch, inner, inner, i), (3, 3, i, o), (batch, i), (o,), (1, layer.size, layer.size)
  x, *rest = (jax.random.normal(key, size) for key, size in zip(keys, sizes, strict=True))
  values = x.astype(jnp.bfloat16), *rest
  forms: dict[str, Callable] = {"xla": fused.plain}
  refused = gpu.limits(values[0], rest[0])
  if not refused:
    forms["kernel"] = gpu.modulated_conv_gpu
  row: dict = {"refused": refused} if refused else {}
  results = {}
  for name, form in forms.items():
    run = jax.jit(functools.partial(form, settings))
    results[name] = jax.block_until_ready(run(*values)).astype(jnp.float32)
    seconds = []
    for _ in range(repeats):
      start = time.perf_counter()
      jax.block_until_ready(run(*values))
      seconds.append(time.perf_counter() - start)
    row[name] = statistics.median(seconds)
    row[f"{name}_of_roofline"] = round(roof(layer, batch) / row[name], 3)
  if not refused:
    apart = jnp.abs(results["kernel"] - results["xla"]).max() / jnp.abs(results["xla"]).max()
    row["apart"] = float(apart)
  return row


def roof(layer: shapes.Layer, batch: int) -> float:
  """Seconds that a perfect layer would take: image in, image out, kernel once."""
  (i, o), inner = layer.channels, layer.size // layer.up
  moved = 2 * (batch * (inner**2 * i + layer.size**2 * o) + 9 * i * o)
  return max(2 * batch * layer.products / FLOPS, moved / BYTES)


if __name__ == "__main__":
  main()

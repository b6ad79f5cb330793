"""Kernel gradients of 3x3 convolutions on this machine: as JAX writes them, in our form, and with the library option.

  python benchmarks/conv2d_gradients.py

Prints milliseconds (median of rounds that take turns) and writes benchmarks/results/conv2d_gradients.json.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxtalk import runtime
from jaxtalk.kernels.conv2d import conv2d

SHAPES = ((8, 64, 64), (8, 32, 128), (8, 16, 128))  # batch, pixels a side, channels
KINDS = {
  "plain": {"stride": 1, "padding": ((1, 1), (1, 1)), "lhs_dilation": 1},
  "strided": {"stride": 2, "padding": ((0, 1), (0, 1)), "lhs_dilation": 1},
  "dilated": {"stride": 1, "padding": ((2, 2), (2, 2)), "lhs_dilation": 2},
}


def plain(x, w, *, stride, padding, lhs_dilation):
  layout = ("NHWC", "HWIO", "NHWC")
  return lax.conv_general_dilated(
    x, w, (stride, stride), padding, lhs_dilation=(lhs_dilation,) * 2, dimension_numbers=layout
  )


def gradient(conv, settings, options):
  """The compiled kernel gradient."""
  return jax.jit(lambda x, w, y: jax.vjp(lambda w: conv(x, w, **settings), w)[1](y)[0], compiler_options=options)


def milliseconds(run, *args):
  start = time.perf_counter()
  jax.block_until_ready(run(*args))
  return 1e3 * (time.perf_counter() - start)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=7)
  rounds = parser.parse_args().rounds
  rng = np.random.default_rng(0)
  rows = []
  for batch, size, channels in SHAPES:
    for kind, settings in KINDS.items():
      side = size // 2 if kind == "dilated" else size
      x = jnp.asarray(rng.normal(size=(batch, side, side, channels)), jnp.float32)
      w = jnp.asarray(rng.normal(size=(3, 3, channels, channels)), jnp.float32)
      y = conv2d(x, w, **settings)
      runs = {
        "jax": gradient(plain, settings, None),
        "ours": gradient(conv2d, settings, None),
        "ours_and_option": gradient(conv2d, settings, runtime.compiler_options()),
      }
      times = {name: [] for name in runs}
      for _i in range(rounds + 1):  # the first round warms up
        for name, run in runs.items():
          times[name].append(milliseconds(run, x, w, y))
      row = {"shape": [batch, size, size, channels], "kind": kind}
      row |= {name: round(statistics.median(values[1:]), 2) for name, values in times.items()}
      rows.append(row)
      print(row, flush=True)
  result = {"device": f"{platform.processor() or platform.machine()}, {runtime.num_cores()} cores", "unit": "ms"}
  path = Path(__file__).parent / "results" / "conv2d_gradients.json"
  path.write_text(json.dumps(result | {"jax": jax.__version__, "rounds": rounds, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
  main()

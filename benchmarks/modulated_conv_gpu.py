"""The modulated convolution on a Hopper GPU: XLA with cuDNN, the Mosaic GPU kernel, and the official CUDA operations.

In bfloat16 (the official code in float16, which is all it knows), layer by layer of a generator: does the kernel agree
with plain JAX, how long does each take (median of ``--rounds`` rounds of ``--calls`` calls that are queued one after
the other, so that the host's part is hidden; the forms take turns), and what share of the layer's roofline is that.
Then the whole generator, as pictures a second from latents to uint8 on the device. Results in
results/modulated_conv_gpu.json. No card was at hand yet (gpu_queue.md); ``--smoke`` shows on a CPU that it all runs.
Where a card is lent for minutes, ``--minutes`` ends the run in time: layers come largest first, and what was not
reached is listed under "left".

  python benchmarks/modulated_conv_gpu.py
  python benchmarks/modulated_conv_gpu.py --minutes=8
  python benchmarks/modulated_conv_gpu.py --official=stylegan2-ada-pytorch   # a checkout; needs torch with CUDA, ninja
  python benchmarks/modulated_conv_gpu.py --smoke                            # strips of images, nothing is kept

The official code (https://github.com/NVlabs/stylegan2-ada-pytorch, non-commercial) builds its operations by itself;
where that fails it says so and uses slow ones, so look at its output before quoting it.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.kernels.modulated_conv import choice, fused, gpu, shapes
from jaxtalk.stylegan2.networks import Generator

RESULTS = Path(__file__).parent / "results" / "modulated_conv_gpu.json"
FLOPS = 790e12  # a second, of a Hopper card that is kept busy
BYTES = {"H100": 3.0e12, "H200": 4.3e12}  # the same share of either's data sheet
TAPS = tuple(map(tuple, np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64))
SMOKE = [shapes.Layer(64, (64, 64), 1), shapes.Layer(128, (64, 64), 2), shapes.Layer(64, (32, 32), 1)]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--resolutions", type=int, nargs="+", default=sorted(shapes.CONFIGURATIONS))
  parser.add_argument("--batch", type=int, default=4, help="images that a layer sees")
  parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="sizes that the generator draws at")
  parser.add_argument("--rounds", type=int, default=9)
  parser.add_argument("--calls", type=int, default=20)
  parser.add_argument("--minutes", type=float, default=float("inf"), help="after which nothing new is begun")
  parser.add_argument("--official", type=Path, help="checkout of stylegan2-ada-pytorch")
  parser.add_argument("--smoke", action="store_true")
  args = parser.parse_args()
  device = jax.devices()[0]
  if args.smoke:
    args.rounds, args.calls, args.batch, args.batches, args.resolutions = 1, 1, 1, [1], [16]
  elif device.platform != "gpu":
    raise SystemExit(f"modulated_conv_gpu: needs a Hopper GPU, this is {device.device_kind}; --smoke needs none")
  layers = SMOKE if args.smoke else {layer.name: layer for r in args.resolutions for layer in shapes.layers(r)}.values()
  results: dict[str, Any] = {
    "device": device.device_kind,
    "batch": args.batch,
    "layers": {},
    "generators": {},
    "left": [],
  }
  work: list[tuple[str, str, Callable[[], Any]]] = [
    ("layers", layer.name, functools.partial(measure, layer, args))
    for layer in sorted(layers, key=lambda layer: layer.products, reverse=True)
  ]
  work += [
    ("generators", f"{resolution} px, batch {n}", functools.partial(drawing, resolution, n, args))
    for resolution in reversed(args.resolutions)
    for n in args.batches
  ]
  start = time.perf_counter()
  for kind, name, measured in work:
    if time.perf_counter() - start > 60 * args.minutes:
      results["left"].append(name)
      continue
    results[kind][name] = measured()
    print(name, results[kind][name], flush=True)
    keep(results, args)
  keep(results, args)


def keep(results: dict, args: argparse.Namespace) -> None:
  """Written after every layer, so that an interruption loses nothing; figures of a smoke test are worth nothing."""
  if not args.smoke:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def measure(layer: shapes.Layer, args: argparse.Namespace) -> dict:
  """Seconds of all forms, their share of the roofline, and how far the kernel is off; why there is none, if so."""
  settings = fused.Settings(layer.up, True, TAPS, 0.2, 2**0.5, 256.0)
  values = inputs(layer, args.batch, rows=2 if args.smoke else layer.size // layer.up)
  forms: dict[str, Callable] = {"xla": jax.jit(functools.partial(fused.plain, settings))}
  refused = gpu.limits(values[0], values[1])
  if not refused:
    kernel = functools.partial(gpu.modulated_conv_gpu, settings, interpret=interpreter())
    forms["kernel"] = jax.jit(kernel) if jax.default_backend() == "gpu" else kernel
  row: dict[str, Any] = {"no_kernel": refused} if refused else {"apart": apart(forms, values)}
  timed = {name: functools.partial(queued, form, values, args.calls) for name, form in forms.items()}
  if args.official:
    timed["official"] = official(args.official, layer, values, args.calls)
  seconds: dict[str, list[float]] = {name: [] for name in timed}
  for _ in range(1 + args.rounds):  # the first warms up
    for name, once in timed.items():
      start = time.perf_counter()
      once()
      seconds[name].append((time.perf_counter() - start) / args.calls)
  for name, found in seconds.items():
    row[name] = statistics.median(found[1:])
    row[f"{name}_of_roofline"] = round(roof(layer, args.batch) / row[name], 3)
  return row


def interpreter() -> Any:
  """Without a card, Pallas' simulation of one, which JAX does not export yet; False where there is one."""
  if jax.default_backend() == "gpu":
    return False
  from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

  return InterpretGPUParams()


def inputs(layer: shapes.Layer, batch: int, rows: int) -> tuple[jax.Array, ...]:
  """Arguments of `fused.layer` with images of ``rows`` rows."""
  (i, o), inner = layer.channels, layer.size // layer.up
  keys = jax.random.split(jax.random.key(0), 5)
  sizes = (batch, rows, inner, i), (3, 3, i, o), (batch, i), (o,), (1, rows * layer.up, layer.size)
  x, *rest = (jax.random.normal(key, size) for key, size in zip(keys, sizes, strict=True))
  return x.astype(jnp.bfloat16), *rest


def apart(forms: dict[str, Callable], values: tuple[jax.Array, ...]) -> float:
  """Largest difference of kernel and plain JAX in units of the largest value."""
  kernel, plain = (forms[name](*values).astype(jnp.float32) for name in ("kernel", "xla"))
  return float(jnp.abs(kernel - plain).max() / jnp.abs(plain).max())


def queued(form: Callable, values: tuple[jax.Array, ...], calls: int) -> None:
  for _ in range(calls):
    y = form(*values)
  jax.block_until_ready(y)


def official(checkout: Path, layer: shapes.Layer, values: tuple[jax.Array, ...], calls: int) -> Callable[[], None]:
  """The layer as the official inference runs it: one grouped convolution, float16, channels last."""
  sys.path.insert(0, str(checkout))
  import torch
  from torch_utils.ops import bias_act, upfirdn2d
  from training.networks import modulated_conv2d

  device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
  half = torch.float16 if device.type == "cuda" else torch.float32  # a CPU has no float16 convolutions
  x, weight, styles, bias, noise = (torch.from_numpy(np.array(v, np.float32)).to(device) for v in values)
  x = x.permute(0, 3, 1, 2).to(half).contiguous(memory_format=torch.channels_last)
  weight, taps = weight.permute(3, 2, 0, 1).contiguous(), upfirdn2d.setup_filter([1, 3, 3, 1], device=device)
  settings = {"up": layer.up, "padding": 1, "resample_filter": taps, "flip_weight": layer.up == 1}

  def run() -> None:
    with torch.no_grad():
      for _ in range(calls):
        y = modulated_conv2d(x, weight, styles, noise[:, None].to(half), fused_modconv=True, **settings)
        bias_act.bias_act(y, bias.to(half), act="lrelu", gain=2**0.5, clamp=256)
    if device.type == "cuda":
      torch.cuda.synchronize()

  return run


def drawing(resolution: int, batch: int, args: argparse.Namespace) -> float:
  """Pictures a second of the whole generator (8 mapping layers, bfloat16), latents in, uint8 out."""
  base = 256 if args.smoke else shapes.CONFIGURATIONS[resolution]
  generator = Generator(
    512, 0, 512, resolution, 3, channel_base=base, num_half_res=9, conv_clamp=256, dtype=jnp.bfloat16
  )

  @jax.jit
  def draw(variables, z):
    images = generator.apply(variables, z, truncation_psi=0.7)
    return jnp.clip(images * 127.5 + 128, 0, 255).astype(jnp.uint8)

  z = jax.random.normal(jax.random.key(1), (batch, 512))
  with choice.using("auto"):
    variables = jax.jit(generator.init)(jax.random.key(0), z)
    queued(draw, (variables, z), 2)
  seconds = []
  for _ in range(args.rounds):
    start = time.perf_counter()
    queued(draw, (variables, z), args.calls)
    seconds.append((time.perf_counter() - start) / args.calls)
  return round(batch / statistics.median(seconds), 2)


def roof(layer: shapes.Layer, batch: int) -> float:
  """Seconds that a perfect layer would take: image in, image out, kernel once."""
  (i, o), inner = layer.channels, layer.size // layer.up
  moved = 2 * (batch * (inner**2 * i + layer.size**2 * o) + 9 * i * o)
  device = jax.devices()[0].device_kind
  bandwidth = next((bytes_ for name, bytes_ in BYTES.items() if name in device), BYTES["H100"])
  return max(2 * batch * layer.products / FLOPS, moved / bandwidth)


if __name__ == "__main__":
  main()

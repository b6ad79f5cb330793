"""What the fused TPU kernel of the modulated convolution is worth, from the compiler's own schedules: no TPU needed.

Every layer of the 256, 512 and 1024 px generators, as the generator runs it (scale, convolve, demodulate, noise, bias,
leaky ReLU, clamp; bfloat16), is compiled ahead of time for a TPU twice: XLA's graph, and the kernel. Where training is
meant it is the layer and what its gradient sends back to image, weight, style, bias and strength of the noise. The
final schedules are read (see tpu_schedule.py) and written to results/modulated_conv_tpu_v5e.json (or what the device
is) and, as ratios, to kernels/modulated_conv/advantage.json, by which ``implementation="auto"`` chooses.

XLA is given the layouts that it likes best for input and output. The kernel is given blocks of pixels, as the layer
before it leaves them.

  pip install "jax[tpu]"   # only for its compiler
  python benchmarks/modulated_conv_tpu_static.py
  python benchmarks/modulated_conv_tpu_static.py --training
  python benchmarks/modulated_conv_tpu_static.py --only 16:512-512   # one layer, to try it out
  python benchmarks/modulated_conv_tpu_static.py --report            # the tables of what is there

Each compilation has a process of its own and ``--minutes`` of time; one that does not finish is written down as
unfinished. Layers that the result file has already are not compiled again (``--again NAME``).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1")

import jax
import jax.numpy as jnp
import numpy as np
import tpu_schedule
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxtalk.kernels.modulated_conv import choice, modulated_conv, packing, shapes, tpu
from jaxtalk.kernels.resample import DEFAULT_TAPS, setup_filter

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ADVANTAGE = HERE.parent / "kernels" / "modulated_conv" / "advantage.json"
DEVICES = {"v5e": "v5e:1x1", "v5p": "v5p:1x1x1", "v6e": "v6e:1x1", "tpu7x": "tpu7x:1x1x1"}
KINDS = {"v5e": "TPU v5 lite", "v5p": "TPU v5", "v6e": "TPU v6 lite", "tpu7x": "TPU7x"}  # as JAX names them
# A cycle, of bfloat16: four units on v5e, twice four on the two cores that JAX shows as one v5p; units of 256 by 256 on
# v6e and tpu7x (a device is half a chip there), which take two rows a cycle.
MATRIX_PRODUCTS = {"v5e": 4 * 128**2, "v5p": 8 * 128**2, "v6e": 4 * 256**2, "tpu7x": 4 * 256**2}
FILTER = setup_filter(DEFAULT_TAPS)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--resolutions", type=int, nargs="+", default=sorted(shapes.CONFIGURATIONS))
  parser.add_argument("--only", nargs="+", help="names of layers")
  parser.add_argument("--again", nargs="+", default=[], help="names of layers whose results are forgotten first")
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--device", choices=DEVICES, default="v5e")
  parser.add_argument("--implementations", nargs="+", default=["pallas", "xla"])
  parser.add_argument("--training", action="store_true", help="with the gradient")
  parser.add_argument("--minutes", type=float, default=15)
  parser.add_argument("--report", action="store_true", help="compile nothing: the table of what is there")
  parser.add_argument("--child", help=argparse.SUPPRESS)
  args = parser.parse_args()
  layers = {layer.name: layer for r in args.resolutions for layer in shapes.layers(r)}
  if args.child:
    print(json.dumps(measure(layers[args.child], args)))
    return
  kept = RESULTS / f"modulated_conv_tpu_{args.device}.json"
  results = json.loads(kept.read_text()) if kept.exists() else {"layers": {}}
  results |= {"device": f"TPU {args.device}", "batch": args.batch, "dtype": "bfloat16"}
  for name in () if args.report else sorted(args.only or layers, key=lambda name: layers[name].products):
    for implementation in args.implementations:
      entry, form = results["layers"].setdefault(name, {}), form_of(implementation, args.training)
      if form not in entry or name in args.again:
        refused = refusal(layers[name], args) if implementation == "pallas" else None
        entry[form] = refused or in_a_process(name, args, implementation)
        print(name, form, entry[form], file=sys.stderr, flush=True)
        kept.write_text(json.dumps(results, indent=1) + "\n")
  print(report(results, args.resolutions, training=False), report(results, args.resolutions, training=True), sep="\n\n")
  table = json.loads(ADVANTAGE.read_text()) | {KINDS[args.device]: ratios(results)}
  ADVANTAGE.write_text(json.dumps(table, indent=2) + "\n")


def form_of(implementation: str, training: bool) -> str:
  """What a compiled program is called in the results."""
  return f"{implementation}_training" if training else implementation


def refusal(layer: shapes.Layer, args) -> dict | None:
  """Why a TPU does this layer without the kernel, and the cycles that the kernel's products alone would take; or None.

  A filter that cannot be applied to sums gives every output pixel nine taps of its own.
  """
  inner = layer.size // layer.up
  blocks = packing.blocks_for(layer.channels, layer.up, (inner, inner), FILTER)
  reason = tpu.limits(blocks, inner // blocks.inner[1], jnp.bfloat16)
  products = args.batch * layer.products * (1 if blocks.taps else layer.up**2)
  return {"refused": reason, "products_alone": products // MATRIX_PRODUCTS[args.device]} if reason else None


def in_a_process(name: str, args, implementation: str) -> dict:
  """`measure` in a process that can be stopped when its time is up: the compiler itself cannot."""
  command = [sys.executable, __file__, "--child", name, "--implementations", implementation]
  command += ["--batch", str(args.batch), "--device", args.device] + ["--training"] * args.training
  try:
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60 * args.minutes)
  except subprocess.TimeoutExpired:
    return {"unfinished": f"compiling took more than {args.minutes:g} minutes"}
  if child.returncode:
    return {"unfinished": f"the compiler or the reader of its schedules ended with {child.returncode}"}
  return json.loads(child.stdout.splitlines()[-1])


def one_device(topology: str) -> NamedSharding:
  """Everything on one chip that is described, not there."""
  described = topologies.get_topology_desc(platform="tpu", topology_name=topology, chips_per_host_bounds=(1, 1, 1))
  mesh = Mesh(np.array(described.devices)[:1], ("data",), axis_types=(AxisType.Auto,))
  return NamedSharding(mesh, PartitionSpec())


def measure(layer: shapes.Layer, args) -> dict:
  """Compiles one layer and reads its schedules."""
  (implementation,), passes = args.implementations, 3 if args.training else 1
  blocks = packing.blocks_for(layer.channels, layer.up, (layer.size // layer.up,) * 2, FILTER)
  packed = implementation == "pallas"

  def run(x, weight, styles, bias, noise, strength):
    x = packing.unpack(x, blocks.inner) if packed else x
    noise = noise[None, :, :, None] * strength
    settings = {"up": layer.up, "noise": noise, "bias": bias, "activation": "lrelu", "gain": 2**0.5, "clamp": 256.0}
    y = modulated_conv(x, weight, styles, implementation=implementation, **settings)
    return packing.pack(y, blocks.outer) if packed else y

  def run_and_pull(g, x, weight, styles, bias, noise, strength):
    y, pull = jax.vjp(lambda x, w, s, b, k: run(x, w, s, b, noise, k), x, weight, styles, bias, strength)
    return y, pull(g)

  (i, o), inner, n = layer.channels, layer.size // layer.up, args.batch
  images = [(n, inner, inner, i)]
  if args.training:
    images.insert(0, (n, layer.size, layer.size, o))
  if packed:
    images = [blocked(s, b) for s, b in zip(images, (blocks.outer, blocks.inner)[-len(images) :], strict=True)]
  inputs = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in images]
  inputs += [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((3, 3, i, o), (n, i), (o,), (layer.size,) * 2, ())]
  with tpu_schedule.dumped() as folder:
    sharding = one_device(DEVICES[args.device])
    image = sharding if packed else Format(Layout.AUTO, sharding)
    with jax.set_mesh(sharding.mesh):  # which says for what device the kernel's tiles are looked up
      of = {"in_shardings": [image] * len(images) + [sharding] * 5}
      of["out_shardings"] = (image, (image, *[sharding] * 4)) if args.training else image
      program = jax.jit(run_and_pull if args.training else run, **of).lower(*inputs)
    assert not packed or "tpu_custom_call" in program.as_text()
    start = time.process_time()
    compiled = program.compile()
    compiling = time.process_time() - start
    operations = tpu_schedule.read(folder, functools.partial(unknown_trips, packed))
  return {
    **dataclasses.asdict(sum(operations.values(), tpu_schedule.Cost())),
    "full": round(
      passes * n * layer.products / MATRIX_PRODUCTS[args.device] / sum(c.cycles for c in operations.values()), 3
    ),
    "bytes": least_bytes(layer, n, args.training) if packed else int(compiled.cost_analysis()["bytes accessed"]),
    "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    "compiler_cpu_seconds": round(compiling, 1),
  }


def unknown_trips(packed: bool, operation: str) -> int | None:
  """How often a loop runs that does not say so: a bound from above where the kernel is, from below in XLA's program.

  None, which is an error, in the kernels themselves. Beside them such loops copy weights, in a few trips on either core
  of a v5p.
  """
  if operation.startswith("modulated_conv"):
    return None
  return 64 if packed else 1


def blocked(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, ...]:
  return jax.eval_shape(lambda x: packing.pack(x, block), jax.ShapeDtypeStruct(shape, jnp.bfloat16)).shape


def least_bytes(layer: shapes.Layer, batch: int, training: bool) -> int:
  """What a fused layer moves, in bytes, halo rows left out: image in, image out, kernel, noise.

  In training also, by the three kernels of the gradient and the step before them: the result and its cotangent in, the
  product of both out and in twice, the image in, its cotangent out, every sample's kernel's cotangent out.
  """
  (i, o), inner = layer.channels, layer.size // layer.up
  image, result = (2 * batch * size**2 * channels for size, channels in ((inner, i), (layer.size, o)))
  kernel, noise = 2 * 9 * i * o, 4 * layer.size**2
  drawing = image + result + kernel + noise
  return drawing + (5 * result + 2 * image + kernel + 2 * batch * kernel if training else 0)


def ratios(results: dict) -> dict[str, float]:
  """Cycles of the kernel over those of XLA by layer, where both were compiled."""
  found = {}
  for training, ending in ((False, ""), (True, choice.TRAINING)):
    for name, entry in results["layers"].items():
      x, k = (entry.get(form_of(i, training), {}) for i in ("xla", "pallas"))
      if "cycles" in x and "cycles" in k:
        found[f"{name}:bfloat16{ending}"] = round(k["cycles"] / x["cycles"], 3)
  return found


def report(results: dict, resolutions: list[int], training: bool) -> str:
  """A table of the layers, and sums of each configuration with the kernel only where it is ahead."""
  title = "forward and backward" if training else "forward"
  lines = [f"{title:<22}{'XLA cycles':>12}{'kernel':>12}{'ratio':>8}{'full':>14}{'spills':>18}"]
  both = {n: [e.get(form_of(i, training), {}) for i in ("xla", "pallas")] for n, e in results["layers"].items()}
  for name, (x, k) in both.items():
    if "cycles" in x and "cycles" in k:
      full, spills = f"{x['full']:.2f} {k['full']:.2f}", f"{x['spills']} {k['spills']}"
      ratio = k["cycles"] / x["cycles"]
      lines.append(f"{name:<22}{x['cycles']:>12}{k['cycles']:>12}{ratio:>8.2f}{full:>14}{spills:>18}")
    elif "cycles" in x:
      why = k.get("refused") or k.get("unfinished") or "not compiled yet"
      least = f", products alone {k['products_alone']}" if "products_alone" in k else ""
      lines.append(f"{name:<22}{x['cycles']:>12}    {why}{least}")
  for resolution in resolutions:
    entries = [both.get(layer.name, ({}, {})) for layer in shapes.layers(resolution)]
    known = [(x["cycles"], k.get("cycles", sys.maxsize)) for x, k in entries if "cycles" in x]
    if known:
      xla, best = sum(x for x, _ in known), sum(map(min, known))
      lines.append(f"{resolution} px: {len(known)} of {len(entries)} layers, {best} / {xla} = {best / xla:.2f}")
  return "\n".join(lines)


if __name__ == "__main__":
  main()

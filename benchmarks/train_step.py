"""Updates a second of a config's training step on this machine's device, data not counted.

The step is compiled by the same code as in train.py and fed the same random batch again and again. Prints one JSON
object: device, parameters, compile seconds, median and 5-95 % range of seconds an update over ``--repeats`` after two
warm-ups, examples a second, and counted operations (by XLA) with the rate that they amount to.

  python benchmarks/train_step.py [--config=configs/speech_motion.py] [--config.train.batch_size=256] [--repeats=20]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from jaxtalk import cli
from jaxtalk.core import InputError

PROGRAM = cli.Program(
  name="train_step.py",
  summary="measures a config's training step.",
  root=Path(__file__).resolve().parents[1],
  config="configs/speech_motion.py",
  flags=(cli.Flag(name="repeats", help="updates to time", default=20),),
)


def run(args: cli.Arguments) -> None:
  """Compiles, warms up, times, prints."""
  import jax

  from jaxtalk.training import plan, sharding

  if not hasattr(args.config_module, "get_task"):
    raise InputError(f"{args.config_path} is not for training: it has no get_task(config)")
  if args.flags["repeats"] < 1:
    raise InputError("--repeats must be at least 1")
  mesh = sharding.make_mesh(args.config.mesh)
  with jax.set_mesh(mesh):
    planned = plan.Plan(args.config_module.get_task(args.config), mesh, args.config.train.seed)
    state, _ = planned.init()
    start = time.perf_counter()
    update = planned.compile_update()
    compiling = time.perf_counter() - start
    rng = np.random.default_rng(0)
    noise = {name: 0.1 * rng.standard_normal(x.shape) for name, x in planned.batch.items()}
    batch = {name: jax.device_put(noise[name].astype(x.dtype), x.sharding) for name, x in planned.batch.items()}
    seconds = []
    for step in range(2 + args.flags["repeats"]):
      start = time.perf_counter()
      state, metrics = update(step, state, batch)
      jax.block_until_ready((state, metrics))
      seconds.append(time.perf_counter() - start)
  print(json.dumps(_facts(planned, update, compiling, np.array(seconds[2:])), indent=2))


def _facts(planned, update, compiling, seconds) -> dict:
  flops = update.flops() * planned.mesh.devices.size
  middle = float(np.median(seconds))
  return {
    "device": planned.mesh.devices.flat[0].device_kind,
    "devices": planned.mesh.devices.size,
    "parameters": planned.num_params,
    "batch_size": planned.batch_size,
    "compile_s": round(compiling, 2),
    "update_s": {"median": middle, "p5": float(np.percentile(seconds, 5)), "p95": float(np.percentile(seconds, 95))},
    "examples_per_s": planned.batch_size / middle,
    "gflop_per_update": flops / 1e9,
    "gflop_per_s": flops / 1e9 / middle,
  }


if __name__ == "__main__":
  sys.exit(cli.main(PROGRAM, run))

"""Trains a system: ``python train.py --config=configs/speech_motion.py --workdir=out/speech_motion``.

Stop it with Ctrl-C; the same command goes on where it was.
"""

import sys
from pathlib import Path

from jaxtalk import cli, runtime
from jaxtalk.core import InputError

PROGRAM = cli.Program(
  name="train.py",
  summary="trains a system; stop it with Ctrl-C, the same command goes on where it was.",
  root=Path(__file__).resolve().parent,
  config="configs/speech_motion.py",
  flags=(
    cli.Flag(name="workdir", help="folder for checkpoints, logs and weights", default="out/train"),
    cli.Flag(name="dry_run", help="show parameters, shapes and where they lie, then end", default=False),
  ),
  examples=(
    "python train.py --dry_run",
    "python train.py --config=configs/speech_motion.py --workdir=out/speech_motion --config.train.steps=200",
  ),
)


def run(args: cli.Arguments) -> int:
  """Builds the config's task and trains it."""
  if not hasattr(args.config_module, "get_task"):
    raise InputError(f"{args.config_path} is not for train.py: it has no get_task(config)")
  runtime.use_compilation_cache()
  from jaxtalk.training import loop, plan, sharding  # JAX loads here, after the flags are known to be right

  task = args.config_module.get_task(args.config)
  if args.flags["dry_run"]:
    print(plan.Plan(task, sharding.make_mesh(args.config.mesh), args.config.train.seed).table())
    return 0
  loop.train(task, args.config, Path(args.flags["workdir"]))
  return 0


if __name__ == "__main__":
  sys.exit(cli.main(PROGRAM, run))

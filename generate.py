"""Text or audio in, fully synthetic and exactly annotated talking-child clips out: ``python generate.py``."""

import sys
from pathlib import Path

try:
  from jaxtalk import cli
except ModuleNotFoundError as missing:
  print(f"generate.py: {missing.name} is not installed: run pip install -e . here first", file=sys.stderr)
  sys.exit(3)

PROGRAM = cli.Program(
  name="generate.py",
  summary="writes fully labelled clips of talking synthetic children, and a page to look at them.",
  root=Path(__file__).resolve().parent,
  config="configs/quickstart.py",
  flags=(cli.Flag(name="out", help="folder to write into", default="out"),),
  commands={"doctor": "says what is installed, what is missing, and which devices are used"},
  examples=(
    "python generate.py",
    'python generate.py --config.text="I found a snail!" --config.person.age=6 --config.person.gender=girl --out=snail',
    "python generate.py --config.num_clips=20 --config.emotion.label=happy --config.size=512 --out=happy",
    "python generate.py --config.audio=recording.wav",
  ),
)


def act(arguments: cli.Arguments) -> int:
  """Makes the clips, or lets the doctor look."""
  # Imported here, so that --help and usage errors do not wait for JAX.
  if arguments.command == "doctor":
    from jaxtalk.clips import doctor

    return doctor.examine(arguments.config)
  from jaxtalk.clips import command

  return command.generate(arguments.config, Path(arguments.flags["out"]))


if __name__ == "__main__":
  sys.exit(cli.main(PROGRAM, act))

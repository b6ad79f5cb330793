"""Text or audio in, fully synthetic and exactly annotated talking-child clips out: ``python generate.py``."""

import sys
from pathlib import Path

try:
  from jaxtalk import cli
  from jaxtalk.core import InputError
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
    "python generate.py --config=configs/faces.py --config.snapshot=demo --out=faces",
  ),
)


def act(arguments: cli.Arguments) -> int:
  """Makes what the config is for, clips unless it names another command, or lets the doctor look."""
  # Imported here, so that --help and usage errors do not wait for JAX.
  config, module, out = arguments.config, arguments.config_module, Path(arguments.flags["out"])
  if hasattr(module, "get_task"):
    raise InputError(f"{arguments.config_path} is for train.py")
  if arguments.command == "doctor":
    from jaxtalk.clips import doctor

    if hasattr(module, "get_command"):
      raise InputError(f"the doctor looks at clips: leave out --config={arguments.config_path}")
    return doctor.examine(config)
  if hasattr(module, "get_command"):
    return module.get_command()(config, out)
  from jaxtalk.clips import command

  return command.generate(config, out)


if __name__ == "__main__":
  sys.exit(cli.main(PROGRAM, act))

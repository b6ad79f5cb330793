"""Flags, overrides and the errors people make."""

import subprocess
import sys
import textwrap

import pytest

from jaxtalk import cli
from jaxtalk.core import InputError, MissingAssetError

CONFIG = """
from ml_collections import ConfigDict, config_dict


def get_config(arg=""):
  config = ConfigDict()
  config.seed = 0  # the same seed gives the same clips
  config.size = 512 if arg == "large" else 256  # pixels
  config.rate = 1e-3
  config.text = ""
  config.audio = config_dict.placeholder(str)  # a recording instead of text
  config.anything = None
  config.range = (3, 12)
  config.person = ConfigDict()
  config.person.age = 6.0  # years
  config.person.hat = False
  config.twice = config.get_ref("size") * 2
  return config
"""


@pytest.fixture
def program(tmp_path):
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "small.py").write_text(CONFIG)
  return cli.Program(
    name="try.py",
    summary="tries things.",
    root=tmp_path,
    config="configs/small.py",
    flags=(cli.Flag(name="out", help="output folder", default="out"), cli.Flag(name="dry_run", help="", default=False)),
    commands={"doctor": "says what is installed"},
    examples=("python try.py --out=x",),
  )


def test_defaults_and_overrides_take_the_type_of_the_field(program):
  words = "--out=here --config.seed=7 --config.rate=3e-4 --config.text=12 --config.audio=a.wav --config.person.age=8"
  args = cli.parse_config([*words.split(), "--config.person.hat=yes", "--config.range=4,5", "--dry_run"], program)
  assert args.flags == {"out": "here", "dry_run": True}
  assert args.config.seed == 7 and args.config.rate == 3e-4 and args.config.text == "12"
  assert args.config.audio == "a.wav" and args.config.range == (4, 5)
  assert args.config.person.age == 8.0 and isinstance(args.config.person.age, float) and args.config.person.hat is True


def test_separate_values_arguments_of_the_file_references_and_none(program):
  args = cli.parse_config(["--out", "b", "--config", "configs/small.py:large", "--config.audio", "none"], program)
  assert (
    args.flags["out"] == "b" and args.config.size == 512 and args.config.twice == 1024 and args.config.audio is None
  )
  assert cli.parse_config(["--config.size=10"], program).config.twice == 20
  assert cli.parse_config(["--config.anything=(1, 2)"], program).config.anything == (1, 2)
  assert cli.parse_config(["doctor"], program).command == "doctor"


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--config.sed=1"], "no field 'sed', did you mean 'seed'"),
    (["--config.persn.age=1"], "did you mean 'person.age'"),
    (["--config.age=1"], "did you mean 'person.age'"),
    (["--config.person=1"], "is a section: set one of its fields (person.age, person.hat)"),
    (["--config.size.x=1"], "no field 'size.x'"),
    (["--config.seed=1.5"], "config.seed must be a whole number, not '1.5'"),
    (["--config.person.age=old"], "config.person.age must be a number, not 'old'"),
    (["--config.person.age=nan"], "config.person.age must be a number, not 'nan'"),
    (["--config.person.hat=maybe"], "must be true or false"),
    (["--config=configs/smal.py"], "no config file 'configs/smal.py', did you mean 'configs/small.py'?"),
    (["--ot=x"], "unknown flag --ot, did you mean 'out'"),
    (["--person.age=6"], "unknown flag --person.age, did you mean '--config.person.age'"),
    (["--out"], "--out needs a value"),
    (["--config.seed"], "--config.seed needs a value"),
    (["doctr"], "unknown command 'doctr', did you mean 'doctor'"),
    (["--dry_run", "here"], "unexpected argument 'here'"),
  ],
)
def test_mistakes_get_one_line_and_exit_code_2(program, argv, message, capsys):
  with pytest.raises(InputError) as caught:
    cli.parse_config(argv, program)
  assert message in str(caught.value)
  assert cli.main(program, lambda args: 0, argv) == 2
  assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
  ("source", "message"),
  [("def get_config(:\n  pass", "line 1"), ("x = 1", "no get_config()"), (None, "no config file")],
)
def test_broken_config_files(program, source, message):
  if source is not None:
    (program.root / "configs" / "bad.py").write_text(source)
  with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
    cli.parse_config(["--config=configs/bad.py"], program)


def test_an_argument_for_a_config_that_takes_none(program):
  (program.root / "configs" / "plain.py").write_text(
    "import ml_collections\nget_config = lambda: ml_collections.ConfigDict()"
  )
  with pytest.raises(InputError, match="takes no argument: use --config=configs/plain.py without ':big'"):
    cli.parse_config(["--config=configs/plain.py:big"], program)


def test_help_lists_every_field_with_default_and_comment(program, capsys):
  assert cli.main(program, lambda args: pytest.fail("ran"), ["--help", "--config.seed=3"]) == 0
  text = capsys.readouterr().out
  for name, _ in cli.leaves(cli.parse_config([], program).config):
    assert f"--config.{name} " in text
  assert "the same seed gives the same clips" in text and "years" in text and "output folder" in text


def test_errors_become_one_line_and_their_own_exit_code(program, capsys):
  def missing(args):
    raise MissingAssetError("espeak is not installed:\n  pip install jaxtalk[espeak]")

  assert cli.main(program, missing, []) == 3
  assert capsys.readouterr().err == "try.py: espeak is not installed: pip install jaxtalk[espeak]\n"
  assert cli.main(program, lambda args: None, []) == 0
  assert cli.main(program, lambda args: 1, []) == 1
  with pytest.raises(ZeroDivisionError):
    cli.main(program, lambda args: 1 // 0, [])


def test_hash_depends_on_the_fields_not_on_how_they_were_given(program):
  plain = cli.parse_config([], program).config
  same = cli.parse_config(["--config.seed=0"], program).config
  other = cli.parse_config(["--config.seed=1"], program).config
  assert cli.config_hash(plain) == cli.config_hash(same) != cli.config_hash(other)


def test_import_does_not_load_jax():
  code = textwrap.dedent("""
    import sys, jaxtalk.cli
    sys.exit("jax" in sys.modules)
  """)
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What the two programs share: flags, config files with overrides, help, and errors as one line and an exit code.

A config is a Python file with ``get_config(arg="") -> ml_collections.ConfigDict``; ``--config=FILE[:ARG]`` picks it and
``--config.a.b=value`` changes a field, converted to the field's own type. Fields that are built with ``get_ref``
follow. The help text of a field is the comment at the end of its line, ``config.a.b = default  # text``.

Nothing here imports JAX, so that ``--help`` and usage errors answer at once.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import hashlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from jaxtalk.core import InputError, JaxtalkError

_COMMENT = re.compile(r"^\s*config\.([\w.]+)\s*=.*?\s#\s*(.+?)\s*$", re.MULTILINE)
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
  """A flag of a program, next to ``--config``; its type is the type of ``default`` (str, bool, int or float)."""

  name: str
  help: str
  default: Any = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """What a program accepts.

  Attributes:
    name: as typed, e.g. "generate.py".
    summary: one sentence for the head of the help.
    root: folder against which a config path is resolved if it is not there from the current folder.
    config: default config file.
    flags: its other flags.
    commands: name -> help of words that may come first instead of the default action.
    examples: command lines shown at the end of the help.
  """

  name: str
  summary: str
  root: Path
  config: str
  flags: tuple[Flag, ...] = ()
  commands: Mapping[str, str] = dataclasses.field(default_factory=dict)
  examples: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
  """A parsed command line.

  Attributes:
    command: the word before the flags; "" is the default action.
    flags: value of every flag of the program, by name.
    config: the locked config, overrides applied.
    config_path: FILE[:ARG] it came from.
    config_module: the imported FILE, for what it defines besides ``get_config``.
    overrides: dotted path -> text, as typed.
    help: whether the user asks for help instead.
  """

  command: str
  flags: Mapping[str, Any]
  config: ConfigDict
  config_path: str
  config_module: ModuleType
  overrides: Mapping[str, str]
  help: bool = False


def parse_config(argv: Sequence[str], program: Program) -> Arguments:
  """Parses ``argv`` (without the program's name). InputError names what is wrong and the nearest thing that exists."""
  flags = {flag.name: flag.default for flag in program.flags}
  command, path, overrides, wants_help = "", program.config, {}, False
  known = ["help", "config", *flags]
  words = list(argv)
  if words and not words[0].startswith("-"):
    command = words.pop(0)
    if command not in program.commands:
      hint = nearest(command, program.commands)
      raise InputError(f"unknown command {command!r}{hint}; flags start with --, see {program.name} --help")
  while words:
    name, value = _split(words.pop(0), program)
    if value is None and not _stands_alone(name, flags):
      if not words or words[0].startswith("--"):
        raise InputError(f"--{name} needs a value: --{name}=...")
      value = words.pop(0)
    if name in ("help", "h"):
      wants_help = True
    elif name == "config":
      path = value or ""
    elif name.startswith("config."):
      overrides[name.removeprefix("config.")] = value or ""
    elif name in flags:
      flags[name] = convert(f"--{name}", "true" if value is None else value, type(flags[name]))
    else:
      hint = nearest(name, known) or nearest(name, _config_paths(path, program), "--config.")
      raise InputError(f"unknown flag --{name}{hint}; see {program.name} --help")
  config, module = load_config(path, program.root)
  override(config, overrides)
  return Arguments(
    command=command,
    flags=flags,
    config=config,
    config_path=path,
    config_module=module,
    overrides=overrides,
    help=wants_help,
  )


def main(program: Program, action: Callable[[Arguments], int | None], argv: Sequence[str] | None = None) -> int:
  """Runs ``action`` and returns the exit code: its own (None is 0), or that of the JaxtalkError it raised, in one line.

  Ctrl-C gives 130. Other exceptions are bugs and keep their traceback.
  """
  try:
    arguments = parse_config(sys.argv[1:] if argv is None else argv, program)
    if arguments.help:
      print(usage(program, arguments))
      return 0
    return action(arguments) or 0
  except JaxtalkError as error:
    print(f"{program.name}: {one_line(error)}", file=sys.stderr)
    return error.exit_code
  except KeyboardInterrupt:
    print(f"{program.name}: stopped", file=sys.stderr)
    return 130
  except BrokenPipeError:  # the reader of our output is gone (`--help | head`): not our failure
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def load_config(path: str, root: Path) -> tuple[ConfigDict, ModuleType]:
  """The locked config of ``FILE[:ARG]``, and FILE as a module; it is looked for from here, then from ``root``."""
  file, arg = _config_file(path, root)
  spec = importlib.util.spec_from_file_location(f"jaxtalk_config_{file.stem}", file)
  if spec is None or spec.loader is None:
    raise InputError(f"{file} is not a Python file: a config is a .py file with get_config()")
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except SyntaxError as error:
    raise InputError(f"{file}, line {error.lineno}: {error.msg}") from error
  if not hasattr(module, "get_config"):
    raise InputError(f"{file} has no get_config(): a config is a Python file that defines it")
  if arg and not inspect.signature(module.get_config).parameters:
    raise InputError(f"{file} takes no argument: use --config={path.removesuffix(':' + arg)} without ':{arg}'")
  config = module.get_config(arg) if arg else module.get_config()
  config.lock()
  return config, module


def override(config: ConfigDict, overrides: Mapping[str, str]) -> None:
  """Sets fields by dotted path from strings, each converted to the type of its field; "none" keeps None as it is."""
  for key, text in overrides.items():
    section, field = _field(config, key)
    if isinstance(section.get(field), ConfigDict):
      inside = ", ".join(f"{key}.{name}" for name in list(section[field])[:6])
      raise InputError(f"config.{key} is a section: set one of its fields ({inside})")
    unset = section[field] is None and text.lower() == "none"
    value = None if unset else convert(f"config.{key}", text, section.get_type(field))
    with section.ignore_type():  # so that placeholders take their own type and None
      section[field] = value


def convert(name: str, text: str, kind: type) -> Any:
  """``text`` as a value of type ``kind``; ``name`` is for the message of the InputError if it is not one."""
  if kind is type(None):
    return _literal(text)
  if kind is bool:
    if text.lower() not in _TRUE + _FALSE:
      raise InputError(f"{name} must be true or false, not {text!r}")
    return text.lower() in _TRUE
  if kind in (int, float):
    try:
      value = kind(text)
    except ValueError:
      value = float("nan")
    if value != value:
      raise InputError(f"{name} must be {'a whole number' if kind is int else 'a number'}, not {text!r}")
    return value
  if kind in (tuple, list):
    value = _literal(text if text.strip().startswith(("(", "[")) or not text else f"({text},)")
    if not isinstance(value, (tuple, list)):
      raise InputError(f"{name} must be a list such as (1,2,3), not {text!r}")
    return kind(value)
  return text


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Dotted path and value of every field, in the order of the file."""
  for name in config:
    value = config[name]
    if isinstance(value, ConfigDict):
      yield from leaves(value, f"{prefix}{name}.")
    else:
      yield prefix + name, value


def config_hash(config: ConfigDict) -> str:
  """SHA-256 of the resolved fields: the same config, however it was given, has the same hash."""
  text = "\n".join(f"{name}={value!r}" for name, value in sorted(leaves(config)))
  return hashlib.sha256(text.encode()).hexdigest()


def usage(program: Program, arguments: Arguments) -> str:
  """The help text: flags, then every field of the chosen config with its default and its comment."""
  rows = [("--config=FILE[:ARG]", arguments.config_path, "the config file; its fields are below")]
  rows += [(f"--{f.name}" + ("" if f.default is False else "=..."), _show(f.default), f.help) for f in program.flags]
  notes = _comments(arguments.config_path, program.root)
  fields = [(f"--config.{name}", _show(value), notes.get(name, "")) for name, value in leaves(arguments.config)]
  lines = [f"{program.name}: {program.summary}", "", "Flags", *_table(rows)]
  if program.commands:
    lines += ["", "Commands", *_table([(name, "", text) for name, text in program.commands.items()])]
  lines += ["", f"Fields of {arguments.config_path}", *_table(fields)]
  if program.examples:
    lines += ["", "Examples", *[f"  {example}" for example in program.examples]]
  return "\n".join(lines)


def nearest(word: str, choices: Iterable[str], prefix: str = "") -> str:
  """ ", did you mean 'x'?" for a misspelt word, or "" if nothing is near; compares whole paths, then last parts."""
  choices, tail = list(choices), word.rsplit(".", 1)[-1]
  tails = {choice.rsplit(".", 1)[-1]: choice for choice in reversed(choices)}
  same = [choice for choice in choices if choice.rsplit(".", 1)[-1] == tail]
  found = difflib.get_close_matches(word, same or choices, n=1, cutoff=0.0 if same else 0.6)
  found = found or [tails[near] for near in difflib.get_close_matches(tail, tails, n=1, cutoff=0.75)]
  return f", did you mean {prefix + found[0]!r}?" if found else ""


def one_line(error: BaseException) -> str:
  """The message of an error without line breaks."""
  return " ".join(str(error).split()) or type(error).__name__


def _split(word: str, program: Program) -> tuple[str, str | None]:
  if not word.startswith("-"):
    raise InputError(f"unexpected argument {word!r}: flags look like --name=value; see {program.name} --help")
  name, equals, value = word.lstrip("-").partition("=")
  return name, value if equals else None


def _stands_alone(name: str, flags: Mapping[str, Any]) -> bool:
  return name in ("help", "h") or isinstance(flags.get(name), bool) or not (name in flags or name.startswith("config"))


def _config_file(path: str, root: Path) -> tuple[Path, str]:
  name, arg = path, ""
  if ".py:" in path:
    name, _, arg = path.rpartition(".py:")
    name += ".py"
  for candidate in (Path(name), root / name):
    if candidate.is_file():
      return candidate, arg
  there = sorted(f"configs/{file.name}" for file in (root / "configs").glob("*.py"))
  raise InputError(f"no config file {name!r}{nearest(name, there)}; there are: {', '.join(there) or 'none'}")


def _config_paths(path: str, program: Program) -> list[str]:
  return [name for name, _ in leaves(load_config(path, program.root)[0])]


def _field(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
  *sections, field = key.split(".")
  section: Any = config
  for name in sections:
    section = section.get(name) if isinstance(section, ConfigDict) else None
  if not isinstance(section, ConfigDict) or field not in section:
    paths = [name for name, _ in leaves(config)]
    raise InputError(f"the config has no field {key!r}{nearest(key, paths)}")
  return section, field


def _literal(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _comments(path: str, root: Path) -> dict[str, str]:
  return dict(_COMMENT.findall(_config_file(path, root)[0].read_text()))


def _show(value: Any) -> str:
  return '""' if value == "" else str(value)


def _table(rows: Sequence[tuple[str, str, str]]) -> list[str]:
  wide = max((len(row[0]) for row in rows), default=0)
  middle = min(24, max((len(row[1]) for row in rows), default=0))
  return [f"  {a:<{wide}}  {b:<{middle}}  {c}".rstrip() for a, b, c in rows]

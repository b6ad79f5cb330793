"""Which implementation of the modulated convolution runs where, and why.

`auto` takes the kernel only where a comparison that is kept in ``advantage.json`` shows it ahead: layer by layer, from
the compiler's own schedules for a TPU (see benchmarks/modulated_conv_tpu_static.py). Everything else is XLA's.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Literal, get_args

Implementation = Literal["auto", "xla", "grouped", "pallas"]
IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)

_chosen: Implementation = "auto"
_said: set[str] = set()


@functools.cache
def advantage() -> dict[str, float]:
  """Cycles of the kernel over those of XLA by layer (`layer_name`), on the TPU for which there is a proof."""
  text = resources.files(__package__).joinpath("advantage.json").read_text("utf-8")
  return {name: float(ratio) for name, ratio in json.loads(text)["ratios"].items()}


def layer_name(size: int, channels: tuple[int, int], up: int, dtype: str) -> str:
  """A layer as the table names it: size of its output, channels in and out, upsampling, dtype."""
  return f"{size}:{channels[0]}-{channels[1]}{':up' if up == 2 else ''}:{dtype}"


def faster_on_tpu(height: int, width: int, channels: tuple[int, int], up: int, dtype: str) -> bool:
  """Whether the table shows the kernel ahead for this layer; sizes that are not in it are XLA's."""
  return height == width and advantage().get(layer_name(height * up, channels, up, dtype), 1.0) < 1.0


def chosen() -> Implementation:
  """What `auto` stands for: "auto" (the table), or what `choose` or `using` set."""
  return _chosen


def choose(implementation: Implementation) -> None:
  """Sets, for programs traced from here on, what ``implementation="auto"`` stands for; ``kernels.modulated_conv``.

  Raises:
    ValueError: an unknown name.
  """
  global _chosen
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(f"kernels.modulated_conv is {', '.join(IMPLEMENTATIONS)}, not {implementation!r}")
  _chosen = implementation


@contextlib.contextmanager
def using(implementation: Implementation) -> Iterator[None]:
  """`choose` for the programs traced inside."""
  before = _chosen
  choose(implementation)
  try:
    yield
  finally:
    choose(before)


def describe() -> str:
  """What runs, in one line."""
  if _chosen != "auto":
    return f"{_chosen} for every layer that it can do, as config.kernels.modulated_conv says"
  layers = ", ".join(name for name, ratio in advantage().items() if ratio < 1)
  return f"auto: XLA; where a TPU draws without derivatives, the fused kernel for {layers or 'no layer'}"


def say_once(message: str) -> None:
  """One line on stderr, once a process: which implementation runs is never a secret."""
  if message not in _said:
    _said.add(message)
    print(f"modulated_conv: {message}", file=sys.stderr, flush=True)

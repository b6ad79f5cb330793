"""Which implementation of the modulated convolution runs where, and why.

`auto` takes the kernel only where a comparison that is kept in ``advantage.json`` shows it ahead: device by device and
layer by layer, with and without derivatives, from the compiler's own schedules for that TPU (see
benchmarks/modulated_conv_tpu_static.py). Everything else is XLA's, and so is every device that the file does not name.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Literal, get_args

from jaxtalk.kernels.device import device_kind

Implementation = Literal["auto", "xla", "grouped", "pallas"]
IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)
TRAINING = ":training"  # ends the name of a layer in the table where it stands with its gradient

_chosen: Implementation = "auto"
_said: set[str] = set()


def advantage(device: str) -> dict[str, float]:
  """Cycles of the kernel over those of XLA by layer (`layer_name`) on a kind of device, as JAX names it.

  With `TRAINING` at the end of its name, of the layer and its gradient together.
  """
  return _table().get(device, {})


@functools.cache
def _table() -> dict[str, dict[str, float]]:
  return json.loads(resources.files(__package__).joinpath("advantage.json").read_text("utf-8"))


def size_name(size: int, channels: tuple[int, int], up: int) -> str:
  """A layer by the size of its output, its channels in and out, and whether it upsamples."""
  return f"{size}:{channels[0]}-{channels[1]}{':up' if up == 2 else ''}"


def layer_name(size: int, channels: tuple[int, int], up: int, dtype: str) -> str:
  """A layer as the table names it: `size_name` and dtype."""
  return f"{size_name(size, channels, up)}:{dtype}"


def faster_on_tpu(
  height: int, width: int, channels: tuple[int, int], up: int, dtype: str, training: bool = False
) -> bool:
  """Whether the table shows the kernel ahead for this layer on the device at hand; what is not in it is XLA's."""
  name = layer_name(height * up, channels, up, dtype) + (TRAINING if training else "")
  return height == width and advantage(device_kind()).get(name, 1.0) < 1.0


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
  device = device_kind()
  proven = [name for name, ratio in advantage(device).items() if ratio < 1]
  drawing = ", ".join(name for name in proven if not name.endswith(TRAINING))
  training = ", ".join(name.removesuffix(TRAINING) for name in proven if name.endswith(TRAINING))
  said = [f"auto on {device}: XLA"]
  said += [f"without derivatives the fused kernel for {drawing}"] if drawing else []
  said += [f"with derivatives for {training}"] if training else []
  return "; ".join(said)


def say_once(message: str) -> None:
  """One line on stderr, once a process: which implementation runs is never a secret."""
  if message not in _said:
    _said.add(message)
    print(f"modulated_conv: {message}", file=sys.stderr, flush=True)

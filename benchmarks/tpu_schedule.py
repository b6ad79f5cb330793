"""Reads the schedules that the TPU compiler writes, so that two programs can be compared without a TPU.

A TPU core is driven by bundles: what all its units do in one cycle. The compiler can write out the final bundles of
each fused operation and of each kernel. Counted once for every trip of the loops that they stand in, they are the
cycles of a run in which nothing ever waits for memory or for a unit that is still busy.

Matrix products do wait: the scheduler of v5e issues products of sixteen rows every eleven or so cycles, while a
128x128 unit needs sixteen. So besides bundles the cycles that products keep the busiest matrix unit for are counted,
and `Cost.cycles` of a loop is whichever of the two is larger.

    with dumped() as folder:
      compile_something()
      costs = read(folder)

The dump has to be asked for before the first use of libtpu in a process: `dumped` sets the environment and must come
before `import jax` has found its devices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_LINE = re.compile(r"^\s*(0x[0-9a-f]+|0)\s+(?:[A-Z]{2})?\s*:\s*>*\s*(.*)$")
_BRANCH = re.compile(r"sbr\.rel \(?(!?%p\d+_p\d+)?\)? ?target = \$region(\d+)")
_EXIT = re.compile(r"(%p\w+) = scmp\.ge\.s32\.totalorder %s\w+, (\d+) /\* loop exit test")
_START = re.compile(r"Start(?:/End empty)? region (\d+)")
_PIPELINE = re.compile(r"scmp\.lt\.s32\.totalorder %s\w+, (\d+)")
_PRODUCT = re.compile(r"vmatmul\.(\w+)\.[\w.\[\]]*mxu(\d)")
_ROWS = {"bf16": 16, "f32": 8}  # cycles of a product; on v6e and tpu7x ("mubr") sixteen rows of bfloat16 take eight


@dataclasses.dataclass(frozen=True)
class Cost:
  """Of one operation, over all trips of its loops.

  Attributes:
    bundles: cycles without a stall.
    matrix_rows: cycles that its products keep the busiest matrix unit for.
    cycles: the sum over loops of the larger of the two.
    spills: stores of registers that ran out.
  """

  bundles: int = 0
  matrix_rows: int = 0
  cycles: int = 0
  spills: int = 0

  def __add__(self, other: Cost) -> Cost:
    return Cost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


@contextlib.contextmanager
def dumped() -> Iterator[Path]:
  """A folder for the compiler's final schedules; before the first compilation of the process, once."""
  with tempfile.TemporaryDirectory() as folder:
    flags = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=.*final.*"
    os.environ["LIBTPU_INIT_ARGS"] = f"{os.environ.get('LIBTPU_INIT_ARGS', '')} {flags}".strip()
    yield Path(folder)


def read(folder: Path, unknown_trips: Callable[[str], int | None] = lambda _: None) -> dict[str, Cost]:
  """Cost of every operation with a schedule in the folder, by the compiler's name for it.

  Args:
    folder: of `dumped`.
    unknown_trips: by that name, what `cost` takes as such.
  """
  costs = {}
  for path in sorted(folder.glob("*final_bundles.txt")):
    found = re.match(r"\d+-(.+?)-\d+-final_bundles", path.name)
    if found and "schedule-analysis" not in path.name and not found[1].startswith(("<late", "TLP")):
      costs[found[1]] = cost(path.read_text(), unknown_trips(found[1]))
  return costs


def cost(schedule: str, unknown_trips: int | None = None) -> Cost:
  """Of the text of one ``final_bundles`` file.

  Loops are found by their branches back. What a pipelined loop does only after its first and before its last trips is
  counted so often; other branches are counted as if they were always taken, so the figures are bounds from above.

  Args:
    schedule: the text.
    unknown_trips: of loops whose number of trips is known only when they run; 1 gives a bound from below.

  Raises:
    ValueError: there is such a loop, and no number for it.
  """
  bundles = list(_bundles(schedule))
  starts = {int(r): at for at, text in bundles for r in _START.findall(text)}
  loops = list(_loops(bundles, starts, unknown_trips))
  skipped = list(_pipelined(bundles, starts, loops))
  total = Cost()
  for trips, part in _weigh(bundles, loops, skipped).items():
    rows: dict[str, int] = {}
    for kind, unit in (m for text in part for m in _PRODUCT.findall(text)):
      rows[unit] = rows.get(unit, 0) + _ROWS.get(kind, 8)
    busiest = max(rows.values(), default=0)
    spills = sum(text.count("_spill]") for text in part if "vst [vmem" in text)
    total += Cost(trips * len(part), trips * busiest, trips * max(len(part), busiest), trips * spills)
  return total


def _bundles(schedule: str) -> Iterator[tuple[int, str]]:
  for line in schedule.splitlines():
    if found := _LINE.match(line):
      yield int(found[1], 16), found[2]


def _loops(
  bundles: list[tuple[int, str]], starts: dict[int, int], unknown_trips: int | None
) -> Iterator[tuple[int, int, int]]:
  """(first bundle, last bundle, trips) of every loop."""
  trips = {predicate: int(n) for _, text in bundles for predicate, n in _EXIT.findall(text)}
  for at, text in bundles:
    for predicate, region in _BRANCH.findall(text):
      first = starts.get(int(region), at + 1)
      if first <= at:
        times = trips.get(predicate.lstrip("!"), unknown_trips)
        if times is None:
          raise ValueError("a loop of the schedule does not say how often it runs")
        yield first, at, times


def _pipelined(bundles, starts: dict[int, int], loops) -> Iterator[tuple[int, int, int]]:
  """(first, last, trips) of parts that a loop of n + 2 trips runs n times: all but its first and last."""
  for first, last, trips in loops:
    head = [(a, t) for a, t in bundles if first <= a <= last]
    limits = {int(n) for _, t in head[:200] for n in _PIPELINE.findall(t)}
    if trips - 1 not in limits:
      continue
    jumps = [(starts.get(int(r), 0), a) for a, t in head for _, r in _BRANCH.findall(t)]
    end, begin = max(((e, a) for e, a in jumps if a < e <= last), default=(0, 0), key=lambda pair: pair[0] - pair[1])
    if end:
      yield begin + 1, end - 1, trips - 2


def _weigh(bundles, loops, skipped) -> dict[int, list[str]]:
  """Bundles by how often they run."""
  parts: dict[int, list[str]] = {}
  for at, text in bundles:
    trips = 1
    for first, last, n in loops:
      if first <= at <= last:
        inner = [m for a, b, m in skipped if first <= a <= at <= b <= last]
        trips *= inner[0] if inner else n
    parts.setdefault(trips, []).append(text)
  return parts

"""Which stills a config asks for: the factor table of Synthetic Speaking Children (Farooq et al. 2023, 2311.06307)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ml_collections import ConfigDict

from jaxtalk.cli import nearest
from jaxtalk.core import InputError
from jaxtalk.stylegan2 import factors
from jaxtalk.stylegan2.factors import Factor

SUBJECTS = 2  # portraits a gender, where a config says nothing
_MOST = 100_000  # ten times the published table
TRIES = 4  # candidates for every portrait that is wanted, since some do not move along a direction
NOISE = ("const", "none")  # a still changes one thing, so noise that is drawn anew will not do
_FACTORS = {factor.name: factor for factor in factors.FACTORS}
_SPAN = 1.5  # steps further out than this share of the range are not faces any more


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One folder of stills.

  Attributes:
    name: as asked for.
    group: row of the published table.
    factors: what changes along its steps; none for the portraits themselves, two for skin and hair together.
    steps: stills a portrait.
  """

  name: str
  group: str
  factors: tuple[Factor, ...]
  steps: int


def _row(name: str, group: str, *members: str) -> Row:
  made_of = tuple(_FACTORS[member] for member in members)
  return Row(name=name, group=group, factors=made_of, steps=made_of[0].steps if made_of else 1)


# In the order of the table. Skin and hair move together there, six variants in all; apart, they may be asked for.
ROWS = (
  _row("base", "base"),
  _row("happy", "expressions", "happy"),
  _row("sad", "expressions", "sad"),
  _row("angry", "expressions", "angry"),
  _row("surprise", "expressions", "surprise"),
  _row("blink", "blink", "blink"),
  _row("colour", "colour", "skin", "hair"),
  _row("age", "ageing", "age"),
  _row("yaw", "pose", "yaw"),
  _row("pitch", "pose", "pitch"),
  _row("light_side", "light", "light_side"),
  _row("light_height", "light", "light_height"),
)
APART = (_row("skin", "colour", "skin"), _row("hair", "colour", "hair"))

# Portraits a gender. The published total of ageing is blank; 2000 is what the rest of its row says.
TABLES: Mapping[str, Mapping[str, int]] = {
  "full": {
    "base": 10_000, "expressions": 2000, "blink": 2000, "colour": 1000, "ageing": 2000, "pose": 2000, "light": 10_000,
  },
  "validation": {
    "base": 106, "expressions": 25, "blink": 25, "colour": 25, "ageing": 25, "pose": 25, "light": 25,
  },
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A checked request.

  Attributes:
    rows: what is made, in the order of the table.
    subjects: name of a row -> portraits a gender; a network that knows no gender draws twice as many.
    seed, psi, noise, span: as in the config.
  """

  rows: tuple[Row, ...]
  subjects: Mapping[str, int]
  seed: int
  psi: float
  noise: str
  span: float

  def wanted(self, row: Row) -> int:
    """Stills of a row, of both genders together."""
    return 2 * self.subjects[row.name] * row.steps

  def candidates(self, row: Row) -> int:
    """Portraits from which those of a row are taken."""
    return 2 * self.subjects[row.name] * (TRIES if row.factors else 1)

  @property
  def factors(self) -> list[Factor]:
    """Every factor that needs a direction, once."""
    return list({factor.name: factor for row in self.rows for factor in row.factors}.values())


def chosen(text: str) -> tuple[Row, ...]:
  """The rows of a list of names and groups such as "base,pose,happy", in the order of the table; "" is all of it.

  Raises:
    InputError: a name that is none, with the nearest that is.
  """
  names = {name.strip() for name in text.split(",") if name.strip()} or {row.name for row in ROWS}
  known = [*ROWS, *APART]
  there = [*dict.fromkeys(row.name for row in known), *dict.fromkeys(row.group for row in ROWS)]
  for name in sorted(names):
    if name not in there:
      raise InputError(f"config.factors: no factor {name!r}{nearest(name, there)}; there are {', '.join(there)}")
  return tuple(row for row in known if row.name in names or row.group in names and row not in APART)


def make_plan(config: ConfigDict) -> Plan:
  """Checks all of a config that needs no network. InputError names the field."""
  if not 0 < config.psi <= 1:
    raise InputError(f"config.psi={config.psi:g}: truncation goes from above 0 (all look alike) to 1 (all variety)")
  if not 0 < config.span <= _SPAN:
    raise InputError(f"config.span={config.span:g}: above 0, and at most {_SPAN:g}")
  if config.noise not in NOISE:
    raise InputError(
      f"config.noise={config.noise!r}: choose {' or '.join(NOISE)}; only one thing may change in a still"
    )
  if config.batch < 1 or config.learn.count < 1:
    raise InputError(f"config.batch={config.batch} and config.learn.count={config.learn.count}: at least 1 each")
  rows = chosen(config.factors)
  counts = _subjects(config)
  plan = Plan(
    rows=rows,
    subjects={row.name: counts[row.group] for row in rows},
    seed=config.seed,
    psi=config.psi,
    noise=config.noise,
    span=config.span,
  )
  last = plan.seed + max(plan.candidates(row) for row in rows) - 1
  if not 0 <= plan.seed <= last < 2**32 or config.learn.seed < 0:
    raise InputError(f"config.seed={plan.seed}, config.learn.seed={config.learn.seed}: seeds go from 0 to 2^32 - 1")
  return plan


def _subjects(config: ConfigDict) -> Mapping[str, int]:
  if config.table:
    if config.subjects is not None:
      raise InputError(f"config.subjects and config.table={config.table} exclude each other: give one of them")
    if config.table not in TABLES:
      hint = nearest(config.table, TABLES)
      raise InputError(f"config.table={config.table!r}: unknown{hint} (there are: {', '.join(TABLES)})")
    return TABLES[config.table]
  count = SUBJECTS if config.subjects is None else config.subjects
  if not 1 <= count <= _MOST:
    raise InputError(f"config.subjects={count}: at least one portrait a gender, and at most {_MOST}")
  return dict.fromkeys(TABLES["full"], count)

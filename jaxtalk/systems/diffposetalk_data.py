"""Examples for DiffPoseTalk's two trainings from a `MotionDatabase`, and its statistics.

Records that cannot be read are left out, counted and named: those found at the start in one warning, others when they
are met, where another example takes their place.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.data.motion_lmdb import MotionDatabase, Stretch, usable
from jaxtalk.systems.diffposetalk_motion import Stats, pack_host
from jaxtalk.systems.diffposetalk_windows import normalise

_TRIES = 20  # examples that may fail one after the other before the data set is given up
_SMALLEST_DEVIATION = 1e-4


class Recordings:
  """The recordings of a split that are long enough, by person.

  Args:
    database: where they are.
    split: name of the split file.
    frames: of an example.

  Attributes:
    lengths: recording -> frames.
    people: person -> names of recordings.
    skipped: recording -> what is wrong with it; grows while examples are read.

  Raises:
    InputError: no recording is long enough.
  """

  def __init__(self, database: MotionDatabase, split: str, frames: int):
    self.database, self.frames = database, frames
    self.lengths, self.skipped = usable(database, database.split(split), frames)
    where = f"{database.folder} ({split})"
    if not self.lengths:
      why = next(iter(self.skipped.values()), "the split is empty")
      raise InputError(f"{where}: no recording can be used; the first: {why}")
    if self.skipped:
      shown = "; ".join(f"{name}: {why}" for name, why in list(self.skipped.items())[:3])
      total = len(self.skipped) + len(self.lengths)
      warnings.warn(f"{where}: left out {len(self.skipped)} of {total} recordings: {shown}", stacklevel=2)
    self.people: dict[str, list[str]] = {}
    for name in self.lengths:
      self.people.setdefault(name.split("/")[0], []).append(name)

  def draw(self, names: Sequence[str], rng: np.random.Generator, *, audio: bool) -> Stretch:
    """A stretch of one of the recordings, from anywhere in it; of any other if that cannot be read."""
    choices = list(names)
    for _ in range(_TRIES):
      name = choices[int(rng.integers(len(choices)))]
      start = int(rng.integers(self.lengths[name] - self.frames + 1))
      try:
        return self.database.read(name, start, start + self.frames, audio=audio)
      except InputError as error:
        if name not in self.skipped:
          self.skipped[name] = str(error)
          warnings.warn(f"left out ({len(self.skipped)} so far): {error}", stacklevel=2)
        choices = list(self.lengths)
    newest = list(self.skipped.values())[-1]
    raise InputError(f"{self.database.folder}: {_TRIES} examples after each other cannot be read; the last: {newest}")


class StylePairs:
  """Two crops of one recording of each person: ``first`` and ``second`` (L, d), normalised motion.

  An epoch has one example of each person; the crops are a tenth of L apart.
  """

  def __init__(self, recordings: Recordings, stats: Stats, length: int, *, head: bool):
    self._recordings, self._stats, self._length, self._head = recordings, stats, length, head
    self._people = list(recordings.people.values())

  def __len__(self) -> int:
    return len(self._people)

  def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    stretch = self._recordings.draw(self._people[index], rng, audio=False)
    motion = pack_host(self._stats, stretch.expression, stretch.pose, head=self._head)
    return {"first": motion[: self._length], "second": motion[-self._length :]}


class WindowPairs:
  """Two consecutive windows: ``waveform`` (2 L 640,) normalised, ``motion`` (2 L, d), ``shape`` (100,) of the start."""

  def __init__(self, recordings: Recordings, stats: Stats, *, head: bool):
    self._recordings, self._stats, self._head = recordings, stats, head
    self._names = list(recordings.lengths)

  def __len__(self) -> int:
    return len(self._names)

  def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    stretch = self._recordings.draw([self._names[index]], rng, audio=True)
    assert stretch.waveform is not None
    return {
      "waveform": normalise(stretch.waveform),
      "motion": pack_host(self._stats, stretch.expression, stretch.pose, head=self._head),
      "shape": (stretch.shape[0] - self._stats.shape_mean) / self._stats.shape_std,
    }


def held_out(source: StylePairs | WindowPairs, count: int) -> dict[str, np.ndarray]:
  """A fixed batch of ``count`` examples."""
  examples: list[Mapping[str, np.ndarray]] = [
    source.get(i % len(source), np.random.default_rng(np.random.SeedSequence([7, i]))) for i in range(count)
  ]
  return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def measure(recordings: Recordings, count: int = 2000) -> Stats:
  """Means and deviations of coefficients over ``count`` stretches (the official file is made the same way)."""
  rng, names = np.random.default_rng(0), list(recordings.lengths)
  columns: dict[str, list[np.ndarray]] = {}
  for i in range(min(count, 20 * len(names))):
    stretch = recordings.draw([names[i % len(names)]], rng, audio=False)
    for field, rows in (("exp", stretch.expression), ("pose", stretch.pose), ("shape", stretch.shape)):
      columns.setdefault(f"{field}_mean", []).append(rows.mean(0))
      columns.setdefault(f"{field}_square", []).append(np.square(rows.astype(np.float64)).mean(0))
  found: dict[str, np.ndarray] = {}
  for field in ("exp", "pose", "shape"):
    mean, square = (np.stack(columns[f"{field}_{kind}"]).astype(np.float64).mean(0) for kind in ("mean", "square"))
    deviation = np.sqrt(np.maximum(square - mean**2, _SMALLEST_DEVIATION**2))
    found[f"{field}_mean"], found[f"{field}_std"] = np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
  return Stats(**found)

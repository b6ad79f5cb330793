"""Live Link Face CSV: the format that Apple-based capture writes and Unreal and Blender tools read.

Header ``Timecode,BlendShapeCount,<61 names>``, then a row per frame, ``HH:MM:SS:FF.mmm,61,<values>``, at 60 fps:
FF is the frame in the second and mmm the thousandths of a frame. Columns are found by name, since some versions of the
app write the right side first.
"""

from __future__ import annotations

import csv
import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxtalk.core import InputError, Motion
from jaxtalk.motion.spaces import ARKIT, FACE

FPS = Fraction(60)
MAX_ROWS = 60 * 60 * 60 * 4  # four hours
_NAMES = tuple(name[0].upper() + name[1:] for name in ARKIT.channels)
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+):(\d+)(?:\.(\d+))?")


def resample(values: np.ndarray, fps: Fraction, new_fps: Fraction) -> np.ndarray:
  """(T, D) at ``fps`` to (T', D) at ``new_fps``, linear between the middles of frames, held at the ends."""
  count = max(1, round(len(values) * new_fps / fps))
  old, new = (np.arange(len(values)) + 0.5) / float(fps), (np.arange(count) + 0.5) / float(new_fps)
  return np.stack([np.interp(new, old, column) for column in np.asarray(values, np.float64).T], axis=1)


def write(path: str | Path, motion: Motion, fps: Fraction = FPS) -> None:
  """Writes a motion in ``spaces.ARKIT``; face weights are clamped to [0, 1], angles stay radians.

  InputError for another space, no frames, a fractional ``fps`` (the timecode counts whole frames) or NaN.
  """
  if motion.space != ARKIT:
    raise InputError(f"Live Link CSV holds motions in {ARKIT.name!r}, not in {motion.space.name!r}: convert it first")
  if fps.denominator != 1:
    raise InputError(f"Live Link CSV needs a whole number of frames a second, not {fps}: use 60")
  values = np.asarray(motion.values, np.float64)
  if not len(values) or not np.isfinite(values).all():
    raise InputError(f"motion for {path} is empty or has NaN: nothing was written")
  rows = resample(values, motion.fps, fps)
  rows[:, FACE] = np.clip(rows[:, FACE], 0.0, 1.0)
  with open(path, "w", newline="", encoding="ascii") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["Timecode", "BlendShapeCount", *_NAMES])
    for i, row in enumerate(rows):
      writer.writerow([_timecode(i, int(fps)), len(ARKIT), *(f"{value:.7f}" for value in row)])


def read(path: str | Path, fps: Fraction = FPS) -> Motion:
  """Reads a Live Link Face CSV; frames that the app dropped are filled in linearly.

  Args:
    path: the file.
    fps: rate that the timecode counts in; the file does not say.

  InputError, with the line, for missing columns, values that are no finite numbers, or time that runs backwards. The
  nine angle columns may be missing (recordings of 52 weights only): they are 0 then.
  """
  with open(path, newline="", encoding="utf-8-sig") as file:
    reader = csv.reader(file)
    columns = _columns(next(reader, []), path)
    times: list[float] = []
    rows: list[list[float]] = []
    for line, cells in enumerate(reader, start=2):
      if not cells:
        continue
      if len(rows) >= MAX_ROWS:
        raise InputError(f"{path} has more than {MAX_ROWS} rows")
      times.append(_frame_number(cells[0], fps, path, line))
      rows.append(_numbers(cells, columns, path, line))
  if not rows:
    raise InputError(f"{path} has a header but no frames")
  position, table = np.array(times), np.array(rows)
  if (np.diff(position) <= 0).any():
    line = int(np.argmax(np.diff(position) <= 0)) + 3
    raise InputError(f"{path} line {line}: the timecode does not increase")
  grid = position[0] + np.arange(round(position[-1] - position[0]) + 1)
  values = np.zeros((len(grid), len(ARKIT)), np.float32)
  for i, name in enumerate(columns):
    values[:, ARKIT.index(name)] = np.interp(grid, position, table[:, i])
  return Motion(values=values, fps=fps, space=ARKIT)


def _timecode(frame: int, fps: int) -> str:
  seconds, rest = divmod(frame, fps)
  return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{rest:02d}.000"


def _columns(header: list[str], path: str | Path) -> dict[str, int]:
  """Channel -> column of the file."""
  places = {name.strip().lower(): i for i, name in enumerate(header)}
  found = {name: places[name.lower()] for name in ARKIT.channels if name.lower() in places}
  missing = [name for name in ARKIT.channels[FACE] if name not in found]
  if missing or "timecode" not in places:
    what = missing[0] if missing else "Timecode"
    raise InputError(f"{path} is not a Live Link Face CSV: column {what!r} is missing")
  return found


def _frame_number(text: str, fps: Fraction, path: str | Path, line: int) -> float:
  match = _TIMECODE.fullmatch(text.strip())
  if not match:
    raise InputError(f"{path} line {line}: {text!r} is not a timecode HH:MM:SS:FF.mmm")
  hours, minutes, seconds, frames = (int(part) for part in match.groups()[:4])
  return ((hours * 60 + minutes) * 60 + seconds) * float(fps) + frames + float("0." + (match.group(5) or "0"))


def _numbers(cells: list[str], columns: dict[str, int], path: str | Path, line: int) -> list[float]:
  try:
    row = [float(cells[i]) for i in columns.values()]
  except (ValueError, IndexError):
    raise InputError(f"{path} line {line}: expected {len(columns)} numbers by name") from None
  if not np.isfinite(row).all():
    raise InputError(f"{path} line {line}: a value is NaN or infinite")
  return row

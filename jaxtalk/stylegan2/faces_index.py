"""A folder of labelled stills that can be stopped and gone on with: pictures first, then their lines in the index.

``metadata.jsonl`` has a line a still. While stills are made, lines are added at its end as soon as their pictures are
there; when all are made, it is sorted. What is there stays: a picture with a line and its SHA-256 is not made again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxtalk.clips import marks
from jaxtalk.core import InputError
from jaxtalk.stylegan2 import album
from jaxtalk.stylegan2.faces_draw import Edit, Series
from jaxtalk.stylegan2.faces_plan import APART, ROWS, Row
from jaxtalk.stylegan2.sample import Subject

FORMAT = "jaxtalk.still/1"
PROVENANCE = "PROVENANCE.json"
_ORDER = {row.name: i for i, row in enumerate((*ROWS, *APART))}
_Key = tuple[str, int, int]  # row, subject, step


class Index:
  """The stills of a folder.

  Args:
    out: the folder; it exists.
    facts: what every line says of the run. Stills that are there must say the same.
    networks: SHA-256 of the networks that may have drawn them.
    first_seed: seed of portrait 0.

  Raises:
    InputError: the folder holds something else, or stills of another run.
  """

  def __init__(self, out: Path, facts: Mapping[str, Any], *, networks: Sequence[str], first_seed: int):
    self.out = out
    self.left_out: dict[str, set[int]] = {}
    self._facts = {"format": FORMAT, **facts, "synthetic": True, "digital_source_type": marks.TRAINED_MEDIA}
    self._path = out / album.METADATA
    self._at: dict[_Key, int] = {}  # where a still's line begins in the file
    if (out / "clips").exists():
      raise InputError(f"{out} holds clips: choose another folder for stills with --out=...")
    if self._path.is_file():
      self._open(networks, first_seed)
      self._sort()  # without the half line of a run that was killed, and lines whose pictures are gone
    if self._at:  # else nothing says that it was the same run that left them out
      self.left_out = _left_out(out / PROVENANCE)

  def __len__(self) -> int:
    return len(self._at)

  def lines(self, row: Row, subjects: Collection[int] | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a row by subject and step, of all subjects or of some."""
    keys = sorted(key for key in self._at if key[0] == row.name and (subjects is None or key[1] in subjects))
    return (json.loads(line) for line in self._texts(keys))

  def rows(self) -> list[Row]:
    """The rows that have stills here, in the order of the table."""
    there = {name for name, _, _ in self._at}
    return [row for row in (*ROWS, *APART) if row.name in there]

  def subjects(self, row: Row) -> list[int]:
    """Whose stills of a row are there, ascending."""
    return sorted({subject for name, subject, _ in self._at if name == row.name})

  def has(self, row: Row, subject: Subject) -> bool:
    """Whether all steps of a portrait are there."""
    return all((row.name, subject.index, step) in self._at for step in range(row.steps))

  def check_directions(self, row: Row, edits: Iterable[Edit]) -> None:
    """InputError if stills of a row are there that other directions made; who was left out then is forgotten."""
    own = [edit for edit in edits if edit.factor in row.factors]
    for line in self.lines(row):
      if not {edit["direction_sha256"] for edit in line["edits"]} <= {edit.sha256 for edit in own}:
        raise InputError(f"{self.out} holds stills of {row.name!r} by another direction: choose another --out=...")
    files = {self.out / edit.file: edit.sha256 for edit in own}
    if not all(path.is_file() and marks.file_digest(path) == sha256 for path, sha256 in files.items()):
      self.left_out.pop(row.name, None)

  def add(self, row: Row, series: Series, network: Mapping[str, str]) -> int:
    """Writes what is not there yet of a portrait's steps, and returns how many stills that was."""
    new = {}
    for step, (image, facts) in enumerate(zip(series.images, series.facts, strict=True)):
      key = row.name, series.subject.index, step
      if key not in self._at:
        name = f"images/{row.name}/{key[1] // 1000:04d}/{key[1]:07d}_{step}.png"
        album.write_png(self.out / name, album.picture(image))
        digest = marks.file_digest(self.out / name)
        new[key] = json.dumps({"file_name": name, **facts, **network, **self._facts, "sha256": digest})
    with open(self._path, "ab") as file:
      for key, line in new.items():
        self._at[key] = file.tell()
        file.write(line.encode() + b"\n")
    return len(new)

  def finish(self, provenance: Mapping[str, Any]) -> None:
    """Sorts the index and writes what is said of the whole folder."""
    self._sort()
    left_out = {name: sorted(indices) for name, indices in self.left_out.items() if indices}
    about = {"synthetic": True, "tool": marks.TOOL, **provenance, "left_out": left_out}
    album.write_text(self.out / PROVENANCE, json.dumps(about, indent=1) + "\n")

  def write_csv(self) -> None:
    """``metadata.csv``: a column a number; of two things that move together, the second has columns ``..._2``."""
    columns: dict[str, None] = {}
    for text in self._texts(sorted(self._at, key=_place)):
      columns |= dict.fromkeys(_flat(json.loads(text)))
    part = self.out / ".metadata.csv.part"
    with open(part, "w", encoding="utf-8", newline="") as file:
      writer = csv.DictWriter(file, list(columns), lineterminator="\n")
      writer.writeheader()
      writer.writerows(_flat(json.loads(text)) for text in self._texts(sorted(self._at, key=_place)))
    part.replace(self.out / "metadata.csv")

  def contact_sheet(self, rows: Sequence[Row]) -> Image.Image:
    """The first portraits, and of every other row the first two in all steps; requested and measured under each."""
    shown: list[list[dict[str, Any]]] = []
    for row in rows:
      if row.factors:
        shown += [list(self.lines(row, {subject})) for subject in self.subjects(row)[:2]]
      else:
        shown.append(list(self.lines(row, set(self.subjects(row)[:8]))))
    return album.sheet(
      [[self._picture(line) for line in series] for series in shown],
      title="Labelled stills: requested > measured",
      row_names=[_title(series[0]) if series[0]["edits"] else "base" for series in shown],
      captions=[[_caption(line) for line in series] for series in shown],
      tile=96,
    )

  def _picture(self, line: Mapping[str, Any]) -> np.ndarray:
    with Image.open(self.out / line["file_name"]) as image:
      return np.asarray(image.convert("RGB"))

  def _texts(self, keys: Sequence[_Key]) -> Iterator[bytes]:
    if not keys:
      return  # there may be no file yet
    with open(self._path, "rb") as file:
      for key in keys:
        file.seek(self._at[key])
        yield file.readline()

  def _open(self, networks: Sequence[str], first_seed: int) -> None:
    """Finds the lines that are there and whose pictures are."""
    with open(self._path, "rb") as file:
      start = 0
      for number, text in enumerate(file, 1):
        if text.endswith(b"\n"):
          try:
            line = json.loads(text)
            self._check(line, networks, first_seed)
            picture = self.out / line["file_name"]
            if picture.is_file() and marks.file_digest(picture) == line["sha256"]:
              self._at[_key(line)] = start
          except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
              raise
            reason = f"{self._path}, line {number} is not of this program's stills"
            raise InputError(f"{reason}: choose another folder with --out=...") from error
        start += len(text)

  def _check(self, line: Mapping[str, Any], networks: Sequence[str], first_seed: int) -> None:
    if line["format"] != FORMAT:
      raise KeyError("format")
    for name, value in self._facts.items():
      if line[name] != value:
        self._refuse(name, line[name], value)
    if line["network_sha256"] not in networks:
      self._refuse("network", line["network_sha256"][:12], " or ".join(digest[:12] for digest in networks))
    if line["seed"] - line["subject"] != first_seed:
      self._refuse("seed", line["seed"] - line["subject"], first_seed)

  def _refuse(self, name: str, there: Any, wanted: Any) -> None:
    raise InputError(f"{self.out} holds stills with {name} {there}, not {wanted}: choose another folder with --out=...")

  def _sort(self) -> None:
    """Puts the lines in order, in a new file that takes the place of the old one."""
    keys, at = sorted(self._at, key=_place), {}
    part = self.out / f".{album.METADATA}.part"
    with open(part, "wb") as file:
      for key, text in zip(keys, self._texts(keys), strict=True):
        at[key] = file.tell()
        file.write(text)
    part.replace(self._path)
    self._at = at


def _key(line: Mapping[str, Any]) -> _Key:
  return line["factor"], line["subject"], line["step"]


def _place(key: _Key) -> tuple[int, int, int]:
  return _ORDER[key[0]], key[1], key[2]


def _left_out(path: Path) -> dict[str, set[int]]:
  """Portraits that an earlier run found not to move, by row."""
  if not path.is_file():
    return {}
  try:
    return {name: set(indices) for name, indices in json.loads(path.read_text())["left_out"].items()}
  except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
    raise InputError(f"{path} is damaged ({error}): remove it, nothing is lost") from error


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
  """A line without structure, for a table."""
  flat = {name: value for name, value in line.items() if name not in ("edits", "measured")}
  for number, edit in enumerate(line["edits"]):
    flat |= {name + ("" if not number else f"_{number + 1}"): edit[name] for name in ("quantity", "requested")}
    flat |= {name + ("" if not number else f"_{number + 1}"): edit[name] for name in ("measured", "alpha")}
  return flat | {f"measured.{name}": value for name, value in line["measured"].items()}


def _title(line: Mapping[str, Any]) -> str:
  return " ".join(str(part) for part in (line["factor"], line["gender"], line["seed"]) if part is not None)


def _caption(line: Mapping[str, Any]) -> str:
  if not line["edits"]:
    return _title({**line, "factor": None})
  return " > ".join(f"{round(line['edits'][0][name], 2):.4g}" for name in ("requested", "measured"))

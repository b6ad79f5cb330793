"""A folder of generated pictures: PNGs that say they are synthetic, ``metadata.jsonl``, contact sheets.

A line of ``metadata.jsonl`` describes a picture (``file_name`` is relative to the folder). No clock and no path of the
machine reaches a file, so the same choices give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxtalk import cli
from jaxtalk.clips import marks
from jaxtalk.core import InputError, JaxtalkError

METADATA = "metadata.jsonl"
_PAPER, _INK, _SOFT = (250, 249, 246), (34, 34, 40), (130, 128, 124)
_GAP, _MARGIN, _LINE = 4, 16, 18


class Album:
  """Writes pictures one by one, and the metadata at the end: metadata that exists describes a folder that is whole.

  Args:
    folder: made if it is not there.
    facts: what every line of the metadata says.
    overwrite: replace an earlier album; without it a folder that has one is refused.
  """

  def __init__(self, folder: Path, facts: Mapping[str, Any], *, overwrite: bool = False):
    self._folder, self._lines = folder, dict[str, str]()
    self._facts = {**facts, "synthetic": True, "digital_source_type": marks.TRAINED_MEDIA, "made_by": marks.TOOL}
    old = folder / METADATA
    if old.exists():
      if not overwrite:
        raise InputError(f"{folder} holds pictures already: choose another folder, or add --overwrite")
      for line in old.read_text().splitlines():
        (folder / json.loads(line)["file_name"]).unlink(missing_ok=True)
      old.unlink()
    folder.mkdir(parents=True, exist_ok=True)

  def add(self, name: str, image: np.ndarray, facts: Mapping[str, Any]) -> None:
    """Writes a picture (H, W, 1 or 3) uint8 to ``name`` and keeps its facts."""
    write_png(self._folder / name, picture(image))
    self._lines[name] = json.dumps({"file_name": name, **facts, **self._facts})

  def finish(self) -> None:
    """Writes the metadata, sorted by name."""
    write_text(self._folder / METADATA, "".join(self._lines[name] + "\n" for name in sorted(self._lines)))


def picture(image: np.ndarray) -> Image.Image:
  """(H, W, 1 or 3) uint8 as a Pillow image."""
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else np.ascontiguousarray(image[..., :3]))


def write_png(path: Path, image: Image.Image) -> None:
  """A PNG with the marks of synthetic media, renamed into place when it is whole."""
  buffer = io.BytesIO()
  image.save(buffer, "PNG", pnginfo=marks.png_info())
  _write(path, buffer.getvalue())


def write_text(path: Path, text: str) -> None:
  """A text file, renamed into place when it is whole."""
  _write(path, text.encode())


def sheet(
  rows: Sequence[Sequence[np.ndarray]],
  *,
  title: str,
  row_names: Sequence[str] = (),
  column_names: Sequence[str] = (),
  captions: Sequence[Sequence[str]] = (),
  tile: int = 112,
) -> Image.Image:
  """One picture of rows of pictures (H, W, C) uint8, each drawn ``tile`` pixels wide, with a line that says synthetic.

  ``captions`` stand under the pictures, ``row_names`` at the left, ``column_names`` on top; each may be left out.
  """
  font = ImageFont.load_default(12)  # Pillow's own, so that the sheet is the same everywhere
  left = _MARGIN + (max(int(font.getlength(name)) for name in row_names) + 10 if row_names else 0)
  top = _MARGIN + _LINE * (2 if column_names else 1) + 4
  step_x, step_y = tile + _GAP, tile + _GAP + (_LINE if captions else 0)
  wide = max(len(row) for row in rows)
  width = left + wide * step_x + _MARGIN
  page = Image.new("RGB", (width, top + len(rows) * step_y + _MARGIN + _LINE), _PAPER)
  draw = ImageDraw.Draw(page)
  draw.text((_MARGIN, _MARGIN - 4), title, _INK, font)
  draw.text((_MARGIN, page.height - _MARGIN - 8), "Synthetic: no real person is shown.", _SOFT, font)
  for i, name in enumerate(column_names):
    draw.text((left + i * step_x, top - _LINE), name, _SOFT, font)
  for j, row in enumerate(rows):
    if row_names:
      draw.text((_MARGIN, top + j * step_y + tile // 2 - 8), row_names[j], _SOFT, font)
    for i, image in enumerate(row):
      at = (left + i * step_x, top + j * step_y)
      page.paste(picture(image).convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS), at)
      if captions:
        draw.text((at[0], at[1] + tile + 2), captions[j][i], _SOFT, font)
  return page


def run(
  parser: argparse.ArgumentParser,
  action: Callable[[argparse.Namespace], int | None],
  argv: Sequence[str] | None = None,
) -> int:
  """Parses, acts, and returns the exit code (None is 0); a JaxtalkError becomes one line on stderr and its own code."""
  arguments = parser.parse_args(argv)
  try:
    return action(arguments) or 0
  except JaxtalkError as error:
    print(f"{parser.prog}: {cli.one_line(error)}", file=sys.stderr)
    return error.exit_code
  except KeyboardInterrupt:
    print(f"{parser.prog}: stopped", file=sys.stderr)
    return 130


def _write(path: Path, data: bytes) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + ".part")
  part.write_bytes(data)
  part.replace(path)

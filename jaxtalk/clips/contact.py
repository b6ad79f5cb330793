"""The contact sheet: a row a clip, with pictures at moments of speech, the waveform, its phones and a caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxtalk.clips import media
from jaxtalk.clips.progress import mood, who, words
from jaxtalk.clips.record import Record

_PICTURES, _SIDE, _GAP, _MARGIN = 6, 192, 8, 24
_CAPTION, _STRIP, _ROW_GAP = 30, 62, 22
_WIDTH = 2 * _MARGIN + _PICTURES * _SIDE + (_PICTURES - 1) * _GAP
_HEADER, _FOOTER = 16, 34
_PAPER, _INK, _SOFT, _WAVE, _TICK = (250, 249, 246), (34, 34, 40), (130, 128, 124), (168, 190, 214), (214, 96, 60)


def sheet(records: Sequence[Record]) -> Image.Image:
  """One picture for all records, ready to be saved."""
  row = _CAPTION + _SIDE + _STRIP + _ROW_GAP
  page = Image.new("RGB", (_WIDTH, _HEADER + row * len(records) + _FOOTER), _PAPER)
  draw = ImageDraw.Draw(page)
  for number, record in enumerate(records):
    _draw_row(page, draw, _HEADER + row * number, record)
  note = "Synthetic: no real person is shown."
  draw.text((_MARGIN, page.height - _FOOTER + 6), note, _SOFT, _font(13))
  return page


def speaking_moments(record: Record, count: int) -> list[int]:
  """Frame numbers, ascending: the widest open mouth, then again and again the shape least like those taken.

  Frames before the first and after the last sound, near a taken one, or with closed eyes, are passed over as long as
  there are others.
  """
  columns = [i for i, name in enumerate(record.document["channels"]) if name.startswith(("jaw", "mouth"))]
  shapes = record.arrays["arkit"][:, columns]
  total, apart = len(shapes), max(1, len(shapes) // (2 * count))
  loud = np.flatnonzero(np.abs(record.waveform) > 0.1 * np.abs(record.waveform).max(initial=0.0))
  first, last = (loud[[0, -1]] * total / len(record.waveform)).astype(int) if len(loud) else (0, total)
  silent = (np.arange(total) < first) | (np.arange(total) > last)
  penalty = 10.0 * record.channel("eyeBlinkLeft") + 50.0 * silent
  taken = [int(np.argmax(record.channel("jawOpen") - record.channel("mouthClose") - penalty))]
  while len(taken) < min(count, total):
    distance = np.min([np.linalg.norm(shapes - shapes[frame], axis=1) for frame in taken], axis=0) - penalty
    near = np.min([np.abs(np.arange(total) - frame) for frame in taken], axis=0)
    taken.append(int(np.argmax(distance - 100.0 * (near < apart) - 1e6 * (near == 0))))
  return sorted(taken)


def _draw_row(page: Image.Image, draw: ImageDraw.ImageDraw, top: int, record: Record) -> None:
  document = record.document
  head = f"{document['id']}   {who(document)}, {mood(document)}"
  draw.text((_MARGIN, top + 4), head, _SOFT, _font(15))
  start = _MARGIN + draw.textlength(head, _font(15)) + 14
  draw.text((start, top + 4), _shortened(draw, words(document), _WIDTH - _MARGIN - start), _INK, _font(15))
  moments = speaking_moments(record, _PICTURES)
  for place, frame in enumerate(media.read_frames(record.path(".mp4"), moments)):
    picture = Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    page.paste(picture, (_MARGIN + place * (_SIDE + _GAP), top + _CAPTION))
  _draw_strip(draw, top + _CAPTION + _SIDE + 6, record, moments)


def _draw_strip(draw: ImageDraw.ImageDraw, top: int, record: Record, moments: Sequence[int]) -> None:
  """Waveform over the whole width, phones below it, and a tick where each picture was taken."""
  width, height = _WIDTH - 2 * _MARGIN, 34
  middle = top + height / 2
  peak = max(float(np.abs(record.waveform).max(initial=0.0)), 1e-6)
  for column, (low, high) in enumerate(record.envelope(width) / peak):
    x = _MARGIN + column
    draw.line((x, middle - high * height / 2, x, middle - low * height / 2), _WAVE)
  for frame in moments:
    x = _MARGIN + (frame + 0.5) / record.document["frames"] * width
    draw.polygon(((x - 4, top - 5), (x + 4, top - 5), (x, top + 1)), _TICK)
    draw.line((x, top, x, top + height), _TICK)
  font, free = _font(10), 0.0
  for symbol, start, end in record.document["speech"].get("phones", []):
    middle_x = _MARGIN + (start + end) / 2 / record.seconds * width
    label = symbol.rstrip("012")
    half = draw.textlength(label, font) / 2
    if label != "SIL" and middle_x - half > free:
      draw.text((middle_x - half, top + height + 3), label, _SOFT, font)
      free = middle_x + half + 1


def _shortened(draw: ImageDraw.ImageDraw, text: str, width: float) -> str:
  if draw.textlength(text, _font(15)) <= width:
    return text
  while text and draw.textlength(text + "\u2026", _font(15)) > width:
    text = text[:-1]
  return text + "\u2026"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
  return ImageFont.load_default(size)  # Pillow's own, so that the sheet is the same everywhere

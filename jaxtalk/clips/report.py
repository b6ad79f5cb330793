"""The page and the contact sheet of a folder of clips: what to look at first."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.clips import contact, marks, sidecar
from jaxtalk.clips.folder import replace
from jaxtalk.clips.progress import mood, who, words
from jaxtalk.clips.record import Record, load

SHEET_CLIPS = 24  # rows of the contact sheet
PAGE_CLIPS = 100  # cards of the page
EMBED_BYTES = 20_000_000  # videos go into the page itself while they are no more than this in all
_COLUMNS_PER_SECOND = 150
_MOTION = {"procedural": "phones", "audio": "the sound's energy and spectrum", "learned": "the sound, learned"}
_NO_LOOK = ("id", "seed", "real_person", "age_years", "gender", "ancestry", "face")  # shown in other ways, or not


def write(out: Path, documents: Sequence[Mapping[str, Any]]) -> Path:
  """Writes ``contact_sheet.png`` and ``index.html`` for clips of ``out/clips`` and returns the path of the page."""
  records = [load(out / "clips", document) for document in documents[:PAGE_CLIPS]]
  picture = io.BytesIO()
  contact.sheet(records[:SHEET_CLIPS]).save(picture, format="PNG", pnginfo=marks.png_info())
  replace(out / "contact_sheet.png", picture.getvalue())
  page = out / "index.html"
  replace(page, render(records, total=len(documents)))
  return page


def render(records: Sequence[Record], total: int) -> str:
  """The HTML of the page; ``total`` clips are in the folder, of which the records are the first."""
  videos = [record.path(".mp4") for record in records]
  embed = sum(path.stat().st_size for path in videos) <= EMBED_BYTES
  clips = [_card(record, path, embed) for record, path in zip(records, videos, strict=True)]
  data = {"tool": marks.TOOL, "total": total, "clips": clips}
  text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
  return files("jaxtalk.clips").joinpath("report.html").read_text(encoding="utf-8").replace("__DATA__", text)


def _card(record: Record, video: Path, embed: bool) -> dict[str, Any]:
  document = record.document
  relative = f"clips/{video.name}"
  source = "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode() if embed else relative
  return {
    "id": document["id"],
    "who": who(document),
    "mood": mood(document),
    "words": words(document),
    "video": source,
    "seconds": record.seconds,
    "files": [f"clips/{name}" for name in [*sidecar.top_level(document["files"]), f"{document['id']}.json"]],
    "envelope": _envelope(record),
    "phones": document["speech"].get("phones", []),
    "spoken": document["speech"].get("words", []),
    "curves": _curves(record),
    "facts": _facts(record),
  }


def _envelope(record: Record) -> list[list[int]]:
  columns = max(1, round(record.seconds * _COLUMNS_PER_SECOND))
  return np.round(record.envelope(columns) * 99).astype(int).tolist()


def _curves(record: Record) -> list[dict[str, Any]]:
  """Curves in the order in which they are drawn; ``lane`` "mouth" lies over the waveform, "head" below it."""
  blink = (record.channel("eyeBlinkLeft") + record.channel("eyeBlinkRight")) / 2
  yaw, pitch = (np.rad2deg(record.channel(name)) for name in ("headYaw", "headPitch"))
  head = max(5.0, float(np.abs([yaw, pitch]).max()))
  return [
    _curve("jaw open", "mouth", record.channel("jawOpen"), 0, 1),
    _curve("mouth gap", "mouth", record.mouth_gap_mm(), 0, max(1.0, float(record.mouth_gap_mm().max())), "mm"),
    _curve("blink", "head", blink, 0, 1),
    _curve("head yaw", "head", yaw, -head, head, "\u00b0"),
    _curve("head pitch", "head", pitch, -head, head, "\u00b0"),
  ]


def _curve(name: str, lane: str, values: np.ndarray, low: float, high: float, unit: str = "") -> dict[str, Any]:
  numbers = [round(float(value), 3) for value in values]
  return {"name": name, "lane": lane, "low": low, "high": high, "unit": unit, "values": numbers}


def _facts(record: Record) -> list[list[str]]:
  document = record.document
  identity, speech, camera = document["identity"], document["speech"], document["scene"]["camera"]
  ancestry = ", ".join(f"{name} {share:.0%}" for name, share in identity["ancestry"]["requested"].items() if share > 0)
  look = [name for name in identity if name not in _NO_LOOK]
  facts = [("age", f"{identity['age_years']['requested']:g} years"), ("ancestry", ancestry)]
  facts += [(name.replace("_", " "), _show(identity[name]["requested"])) for name in look]
  facts += [("emotion", mood(document)), ("voice", speech["voice"])]
  facts.append(("motion from", _MOTION.get(document["provenance"]["models"]["animator"], "a model")))
  if "f0_median_hz" in speech:
    facts.append(("pitch, measured", f"{speech['f0_median_hz']:.0f} Hz"))
  facts += [
    ("camera", f"yaw {np.rad2deg(camera['yaw']):+.0f}\u00b0, pitch {np.rad2deg(camera['pitch']):+.0f}\u00b0"),
    ("lens", f"{camera['focal_mm']:g} mm at {camera['distance']:.2f} m"),
    ("picture", f"{document['size'][0]} px, {float(record.fps):g} fps, {document['frames']} frames"),
    ("surroundings", f"{document['scene']['background']}, {document['scene']['light']['environment']} light"),
    ("sound", f"{speech['sr'] / 1000:g} kHz"),
    ("seed", str(document["seed"])),
  ]
  return [[name, value] for name, value in facts]


def _show(value: Any) -> str:
  return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")

"""What is said of a whole folder, ``metadata.jsonl`` and ``PROVENANCE.json``, made anew from the clips' JSONs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtalk.clips import marks, sidecar
from jaxtalk.clips.writer import read_document

LICENSES = {
  "Apache-2.0": "jaxtalk, and the built-in voice of hibari-tts",
  "CC0-1.0": "MakeHuman base mesh and shapes, from which the studio's head is made",
  "GPL-3.0-or-later": "eSpeak NG, the program that spoke; nothing of it is in the clips",
}


def write_metadata(out: Path) -> list[dict[str, Any]]:
  """Writes both files for the whole clips that lie in ``out/clips`` and returns their documents, by name."""
  found = [read_document(path) for path in sorted((out / "clips").glob("clip_*.json"))]
  documents = [document for document in found if document is not None]
  replace(out / "metadata.jsonl", "".join(_line(sidecar.summary(document)) for document in documents))
  replace(out / "PROVENANCE.json", json.dumps(provenance(documents), indent=1) + "\n")
  return documents


def provenance(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Where everything in a folder comes from."""
  used = sorted({name for document in documents for name in document["provenance"]["licenses"]})
  return {
    "synthetic": True,
    "digital_source_types": sorted({document["digital_source_type"] for document in documents}),
    "tool": marks.TOOL,
    "real_persons_shown": 0,
    "clips": len(documents),
    "models": sorted({json.dumps(document["provenance"]["models"], sort_keys=True) for document in documents}),
    "licenses": {name: LICENSES.get(name, "") for name in used},
    "intended_use": "training and testing of speech and vision systems for children; not for impersonation",
  }


def replace(path: Path, content: str | bytes) -> None:
  """Writes a file whole or not at all."""
  part = path.with_name(f".{path.name}.part")
  try:
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


def _line(row: dict[str, Any]) -> str:
  return json.dumps(row, ensure_ascii=False) + "\n"

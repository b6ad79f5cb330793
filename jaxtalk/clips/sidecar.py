"""The JSON next to a clip: everything that was chosen, said and measured (``clip.schema.json`` describes it)."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.clips import marks, schema
from jaxtalk.core import ClipSpec, Motion, Person, Phone, Speech, Word
from jaxtalk.speech.phones import visemes
from jaxtalk.speech.prosody import track_f0


def plan_digest(spec: ClipSpec, settings: Mapping[str, Any]) -> str:
  """SHA-256 of all that decides a clip's bytes: its choices, the recording, the extra outputs, models and code."""
  choices = dataclasses.asdict(spec)
  recording = marks.file_digest(Path(spec.audio)) if spec.audio else None
  return marks.digest({"spec": choices, "recording": recording, "code": marks.code_digest(), **settings})


def document(
  spec: ClipSpec,
  speech: Speech,
  motion: Motion,
  *,
  arrays: Mapping[str, tuple[int, ...]],
  files: Mapping[str, Path],
  provenance: Mapping[str, Any],
) -> dict[str, Any]:
  """The ``jaxtalk.clip/1`` document of a clip.

  Args:
    arrays: name -> shape, of the arrays in the npz.
    files: final name -> where the file lies now.
    provenance: ``clip_sha256``, ``config_sha256``, ``models`` and ``licenses``.
  """
  created = {"created": _utc(os.environ["SOURCE_DATE_EPOCH"])} if "SOURCE_DATE_EPOCH" in os.environ else {}
  return {
    "schema": schema.NAME,
    "id": spec.id,
    "index": spec.index,
    "seed": spec.seed,
    "synthetic": True,
    "digital_source_type": marks.source_type(spec.audio is not None),
    "fps": [spec.fps.numerator, spec.fps.denominator],
    "frames": motion.num_frames,
    "size": [spec.scene.size, spec.scene.size],
    "identity": _identity(spec.person),
    "speech": _speech(spec, speech),
    "emotion": _plain(dataclasses.asdict(spec.emotion)),
    "style": _plain(dataclasses.asdict(spec.style)),
    "scene": {
      "camera": _plain(dataclasses.asdict(spec.scene.camera)),
      "light": _plain(dataclasses.asdict(spec.scene.light)),
      "background": spec.scene.background,
    },
    "arrays": {"npz": f"{spec.id}.npz", **{name: list(shape) for name, shape in arrays.items()}},
    "channels": list(motion.space.channels),
    "files": {name: {"bytes": p.stat().st_size, "sha256": marks.file_digest(p)} for name, p in files.items()},
    "provenance": {"tool": marks.TOOL, "code_sha256": marks.code_digest(), **provenance, **created},
  }


def error_summary(errors: np.ndarray) -> dict[str, Any]:
  """What the document says of measured landmark errors (T,), shares of the distance of the eyes."""
  percent = 100 * np.asarray(errors, np.float64)
  values = {"median": np.median(percent), "p95": np.percentile(percent, 95), "largest": percent.max()}
  return {"unit": "percent of the distance of the eyes", "by": "face_attributes", **_plain(values)}


def to_json(value: Any, indent: str = "") -> str:
  """JSON for people: one line an entry, and lists of plain values on one line."""
  if isinstance(value, Mapping) and value:
    inner = [f"{indent} {json.dumps(name)}: {to_json(item, indent + ' ')}" for name, item in value.items()]
    return "{\n" + ",\n".join(inner) + f"\n{indent}}}"
  if isinstance(value, list) and any(isinstance(item, (list, Mapping)) for item in value):
    return "[\n" + ",\n".join(f"{indent} {to_json(item, indent + ' ')}" for item in value) + f"\n{indent}]"
  return json.dumps(value, ensure_ascii=False, allow_nan=False)


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
  """The line of ``metadata.jsonl`` for a clip: what people filter and count by."""
  identity, speech = document["identity"], document["speech"]
  row = {
    "id": document["id"],
    "seed": document["seed"],
    "synthetic": True,
    "text": speech.get("text"),
    "recording": speech.get("recording_name"),
    "seconds": speech["seconds"],
    "frames": document["frames"],
    "fps": document["fps"],
    "size": document["size"],
    "identity": identity["id"],
    "age_years": identity["age_years"]["requested"],
    "gender": identity["gender"]["requested"],
    "emotion": document["emotion"]["label"],
    "intensity": document["emotion"]["intensity"],
    "language": speech.get("language"),
    "f0_median_hz": speech.get("f0_median_hz"),
    "files": [f"clips/{name}" for name in [f"{document['id']}.json", *top_level(document["files"])]],
  }
  return {name: value for name, value in row.items() if value is not None}


def top_level(names: Iterable[str]) -> list[str]:
  """File names, with a folder in place of the files in it."""
  return list(dict.fromkeys(name.partition("/")[0] for name in names))


def _identity(person: Person) -> dict[str, Any]:
  ancestry = dict(zip(("african", "asian", "european"), person.ancestry, strict=True))
  return {
    "id": f"p{person.seed:014x}",
    "seed": person.seed,
    "real_person": False,
    "age_years": {"requested": _plain(person.age_years)},
    "gender": {"requested": person.gender[0]},
    "ancestry": {"requested": _plain(ancestry)},
    "face": _plain({name: person.face[name] for name in sorted(person.face)}),
    **{name: {"requested": _plain(person.look[name])} for name in sorted(person.look)},
  }


def _speech(spec: ClipSpec, speech: Speech) -> dict[str, Any]:
  """What is not known has no key."""
  result: dict[str, Any] = {"voice": speech.voice, "recording": spec.audio is not None}
  result |= {"sr": speech.sample_rate, "seconds": round(speech.duration, 6)}
  if spec.audio is not None:
    result |= {"recording_name": Path(spec.audio).name, "recording_sha256": marks.file_digest(Path(spec.audio))}
  if speech.text:
    result |= {"text": speech.text, "language": speech.language}
  if speech.phones:
    result |= {"phones": _spans(speech.phones), "visemes": list(_visemes(speech.phones))}
  if speech.words:
    result["words"] = _spans(speech.words)
  f0, _ = track_f0(speech.waveform, speech.sample_rate)
  if (f0 > 0).any():
    result["f0_median_hz"] = round(float(np.median(f0[f0 > 0])), 2)
  if speech.meta:
    result["details"] = _plain(speech.meta)
  return result


def _spans(items: tuple[Phone, ...] | tuple[Word, ...]) -> list[list[Any]]:
  return [[getattr(x, "symbol", "") or getattr(x, "text", ""), round(x.start, 6), round(x.end, 6)] for x in items]


def _visemes(phones: tuple[Phone, ...]) -> Iterator[list[Any]]:
  """Oculus visemes with times; a diphthong is two halves."""
  for phone in phones:
    shapes = visemes(phone.symbol)
    edges = np.linspace(phone.start, phone.end, len(shapes) + 1)
    for shape, start, end in zip(shapes, edges[:-1], edges[1:], strict=True):
      yield [shape, round(float(start), 6), round(float(end), 6)]


def _plain(value: Any) -> Any:
  """JSON types only: NumPy scalars and arrays, tuples and mappings become Python's; floats keep six digits."""
  if isinstance(value, Mapping):
    return {str(name): _plain(item) for name, item in value.items()}
  if isinstance(value, (list, tuple, np.ndarray)):
    return [_plain(item) for item in value]
  if isinstance(value, np.generic):
    value = value.item()
  return round(value, 6) if isinstance(value, float) else value


def _utc(epoch: str) -> str:
  return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).isoformat().replace("+00:00", "Z")

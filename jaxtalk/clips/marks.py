"""What says that a file is synthetic: one sentence for media players, one IPTC term for machines.

The terms are IPTC NewsCodes "digital source type" (https://cv.iptc.org/newscodes/digitalsourcetype/): media made by a
trained model, and a composite when a user's recording is the sound.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from PIL.PngImagePlugin import PngInfo

import jaxtalk

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED_MEDIA = _IPTC + "trainedAlgorithmicMedia"
COMPOSITE_MEDIA = _IPTC + "compositeWithTrainedAlgorithmicMedia"

TOOL = f"jaxtalk {jaxtalk.__version__}"


def source_type(recording: bool) -> str:
  """The IPTC term of a clip; ``recording`` says that its sound is a user's file."""
  return COMPOSITE_MEDIA if recording else TRAINED_MEDIA


def comment(recording: bool = False) -> str:
  """The sentence that goes into the comment field of media files."""
  what = "The picture is synthetic, the sound is a user's recording" if recording else "Synthetic media"
  return f"{what}: no real person is shown. Made by {TOOL}. DigitalSourceType: {source_type(recording)}"


def png_info(recording: bool = False) -> PngInfo:
  """Text chunks for a PNG: a comment, the software, and XMP with the IPTC property where photo tools look for it."""
  info = PngInfo()
  info.add_text("Comment", comment(recording))
  info.add_text("Software", TOOL)
  info.add_itxt("XML:com.adobe.xmp", _xmp(source_type(recording)))
  return info


def digest(value: Any) -> str:
  """SHA-256 of a JSON-serialisable value, whatever the order of its keys."""
  return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
  """SHA-256 of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_digest() -> str:
  """SHA-256 over the package's own files: a clip made by other code is another clip."""
  root = Path(jaxtalk.__file__).parent
  whole = hashlib.sha256()
  for path in sorted(root.rglob("*")):
    if path.is_file() and "__pycache__" not in path.parts:
      whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
  return whole.hexdigest()


def _xmp(term: str) -> str:
  return (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
  )

"""``python generate.py doctor``: what is installed, what is missing, which device is used, and does a clip work."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxtalk import runtime
from jaxtalk.clips import marks
from jaxtalk.core import JaxtalkError

REQUIRED = (
  "jax", "jaxlib", "flax", "ml_collections", "numpy", "av", "pillow", "rich", "soundfile", "soxr", "jsonschema",
  "hibari-tts",
)  # fmt: skip
OPTIONAL = {
  "phonemizer": "voice espeak, many languages: pip install 'jaxtalk[espeak]' (GPL-3)",
  "espeakng_loader": "voice espeak, many languages: pip install 'jaxtalk[espeak]' (GPL-3)",
}


def examine(config: ConfigDict) -> int:
  """Prints one line a check; 0 if clips of this config can be made, 3 if something that is needed is missing."""
  print(f"{marks.TOOL}, Python {platform.python_version()}, {platform.platform()}, {runtime.num_cores()} cores")
  missing = [line for line in _packages() if line.startswith("MISSING")]
  checks = {"devices": _devices, "cache": _cache, "head": _head, "voice": lambda: _voice(config), "video": _encode}
  missing += [name for name, check in checks.items() if not _passes(name, check)]
  print("ffmpeg and a compiler are not needed." if not missing else f"{len(missing)} things are missing, see above.")
  return 3 if missing else 0


def _packages() -> Iterator[str]:
  for name in (*REQUIRED, *OPTIONAL):
    try:
      line = f"ok       {name} {version(name)}"
    except PackageNotFoundError:
      line = f"optional {name}: not installed; {OPTIONAL[name]}" if name in OPTIONAL else f"MISSING  {name}"
    print(line)
    yield line


def _passes(name: str, check: Callable[[], str]) -> bool:
  try:
    print(f"ok       {name}: {check()}")
  except (OSError, RuntimeError, ValueError, ImportError, JaxtalkError) as error:
    print(f"MISSING  {name}: {error}")
    return False
  return True


def _devices() -> str:
  runtime.setup_jax()
  import jax

  return f"{jax.default_backend()}: {', '.join(str(device) for device in jax.devices())}"


def _cache() -> str:
  folder = runtime.cache_dir()
  folder.mkdir(parents=True, exist_ok=True)
  size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
  return f"{folder} ({size / 1e6:.0f} MB{'' if os.access(folder, os.W_OK) else ', NOT WRITABLE'})"


def _head() -> str:
  names = sorted(file.name for file in files("jaxtalk.studio").joinpath("assets").iterdir())
  if not names:
    raise FileNotFoundError("the package has no assets; install it again")
  return ", ".join(names)


def _voice(config: ConfigDict) -> str:
  from jaxtalk.clips.command import make_voice_of
  from jaxtalk.clips.plan import Plan

  speech = make_voice_of(config).speak(Plan(config)[0])
  return f"{speech.voice}, {speech.duration:.1f} s of sound with {len(speech.phones)} phones"


def _encode() -> str:
  from jaxtalk.clips import media

  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "test.mp4"
    sound, pictures = np.zeros(24000, np.float32), np.full((25, 64, 64, 3), 128, np.uint8)
    with media.VideoFile(
      path, size=64, fps=Fraction(25), num_frames=25, waveform=sound, sample_rate=24000, comment=marks.comment()
    ) as video:
      video.add(pictures)
    return f"H.264 and AAC, {len(media.read_frames(path, list(range(25))))} frames there and back"

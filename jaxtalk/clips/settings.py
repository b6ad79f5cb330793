"""Checks of a generation config: every wrong value gets one line that names the field and what it may be.

The fields themselves, with their defaults and help, are in ``configs/quickstart.py``.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxtalk.cli import leaves, nearest
from jaxtalk.core import EMOTIONS, InputError


@dataclasses.dataclass(frozen=True)
class Range:
  """A closed interval with its unit, for the message."""

  low: float
  high: float
  unit: str = ""


RANGES: Mapping[str, Range] = {
  "seed": Range(0, 2**63 - 1),
  "num_clips": Range(1, 10**9),
  "size": Range(64, 1024, "pixels"),
  "person.age": Range(3, 80, "years"),
  "person.skin": Range(1, 10),
  "person.freckles": Range(0, 1),
  "emotion.intensity": Range(0, 1),
  "style.articulation": Range(0.3, 2),
  "style.expressiveness": Range(0, 2),
  "style.head": Range(0, 2),
  "style.blink_rate": Range(0, 60, "blinks a minute"),
  "style.gaze_aversion": Range(0, 1),
  "style.asymmetry": Range(-1, 1),
  "learned.speech": Range(0, 4),
  "learned.manner": Range(0, 4),
  "camera.yaw": Range(-90, 90, "degrees"),
  "camera.pitch": Range(-45, 45, "degrees"),
  "camera.distance": Range(0.4, 5, "metres"),
  "camera.focal_mm": Range(24, 300, "mm"),
  "light.key_yaw": Range(-180, 180, "degrees"),
  "light.key_pitch": Range(-10, 90, "degrees"),
  "light.key_intensity": Range(0, 4),
  "light.environment_intensity": Range(0, 4),
}

FPS = Range(5, 120)
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def check(config: ConfigDict, choices: Mapping[str, Sequence[str]]) -> None:
  """Raises InputError for the first field whose value cannot be used.

  Args:
    config: with the fields of ``configs/quickstart.py``.
    choices: dotted field name -> the names it may have, for fields that name a thing.
  """
  values = dict(leaves(config))
  for name, allowed in RANGES.items():
    _check_range(name, values[name], allowed)
  for name, names in {"emotion.label": EMOTIONS, **choices}.items():
    value = ancestry_weights(values[name]) if name == "person.ancestry" else values[name]
    if isinstance(value, str) and not (name == "background" and _COLOUR.fullmatch(value)):
      _check_choice(name, value, names)
  if config.size % 2:
    raise InputError(f"config.size={config.size}: must be even (the video codec halves it)")
  frame_rate(config.fps)
  given = [name for name in ("text", "texts_file", "audio") if values[name] is not None]
  if len(given) > 1:
    raise InputError(f"config.{given[0]} and config.{given[1]} exclude each other: give one of them")


def frame_rate(value: Any) -> Fraction:
  """The exact frame rate of ``25``, ``29.97`` or ``"30000/1001"``."""
  try:
    fps = Fraction(str(value))
  except (ValueError, ZeroDivisionError) as error:
    raise InputError(f"config.fps={value!r}: must be a number or a ratio such as 30000/1001") from error
  if not FPS.low <= fps <= FPS.high:
    raise InputError(f"config.fps={value}: must be between {FPS.low} and {FPS.high} frames a second")
  return fps


def ancestry_weights(value: Any) -> tuple[float, float, float] | str | None:
  """A name as it is, or three non-negative weights (african, asian, european) scaled to sum 1."""
  if value is None or (isinstance(value, str) and "," not in value):
    return value
  parts = value.strip("()[] ").split(",") if isinstance(value, str) else value
  try:
    weights = [float(part) for part in parts]
  except (TypeError, ValueError) as error:
    raise InputError(f"config.person.ancestry={value!r}: must be a name or three weights such as 1,0,1") from error
  total = math.fsum(weights)
  if len(weights) != 3 or min(weights) < 0 or not 0 < total < math.inf:
    raise InputError(f"config.person.ancestry={value!r}: must be three weights, none negative, not all zero")
  return (weights[0] / total, weights[1] / total, weights[2] / total)


def read_texts(path: str) -> list[str]:
  """The non-empty lines of a text file."""
  try:
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
  except OSError as error:
    raise InputError(f"config.texts_file={path}: cannot be read ({error.strerror})") from error
  except UnicodeDecodeError as error:
    raise InputError(f"config.texts_file={path}: is not UTF-8 text") from error
  texts = [line for line in lines if line]
  if not texts:
    raise InputError(f"config.texts_file={path}: holds no text; write one sentence a line")
  return texts


def _check_range(name: str, value: float | None, allowed: Range) -> None:
  if value is None:
    return
  if not allowed.low <= value <= allowed.high:  # also refuses NaN
    unit = f" {allowed.unit}" if allowed.unit else ""
    raise InputError(f"config.{name}={value:g}: must be between {allowed.low:g} and {allowed.high:g}{unit}")


def _check_choice(name: str, value: str, names: Sequence[str]) -> None:
  if value not in names:
    raise InputError(f"config.{name}={value!r}: unknown{nearest(value, names)} (there are: {', '.join(names)})")

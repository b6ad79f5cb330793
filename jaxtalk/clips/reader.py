"""Clips that `generate.py` wrote, read back: motion, phones and sound, checked."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.clips import schema
from jaxtalk.core import InputError, Motion, Person, Phone
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio.person import FACE_AXES

_GENDERS = {"f": "female", "m": "male"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredClip:
  """A clip on disk.

  Attributes:
    id: e.g. "clip_000000000".
    path: of its JSON.
    document: the JSON, which is ``jaxtalk.clip/1``.
    motion: (T, 61) float32 in the house's space.
    phones: empty where they are not known.
  """

  id: str
  path: Path
  document: Mapping[str, Any]
  motion: Motion
  phones: tuple[Phone, ...]

  @property
  def sound_id(self) -> str:
    """Digest of the WAV: takes of one recording share it."""
    return self.document["files"][f"{self.id}.wav"]["sha256"]

  def sound(self) -> tuple[np.ndarray, int]:
    """(S,) float32 waveform and its rate in Hz; InputError if the file is missing or broken."""
    import soundfile  # only those who listen load it

    path = self.path.with_suffix(".wav")
    try:
      waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
      raise InputError(f"{path} cannot be read: {error}") from error
    return waveform.mean(axis=1), rate

  def person(self) -> Person:
    """The person as far as the shape of the head goes, from the identity in the document; ``look`` is empty.

    Axes of the face come back in the studio's order, from which their asymmetry is drawn.
    """
    identity = self.document["identity"]
    asked = {name: identity[name]["requested"] for name in ("age_years", "gender", "ancestry")}
    face = identity["face"]
    order = [*(name for name in FACE_AXES if name in face), *(name for name in face if name not in FACE_AXES)]
    african, asian, european = (asked["ancestry"][name] for name in ("african", "asian", "european"))
    return Person(
      seed=identity["seed"],
      age_years=asked["age_years"],
      gender=_GENDERS[asked["gender"]],
      ancestry=(african, asian, european),
      face={name: face[name] for name in order},
      look={},
    )


def read_clips(place: Path) -> list[StoredClip]:
  """The clips of a place, by id.

  Args:
    place: a folder that `generate.py` wrote, its ``clips``, or one clip's .json or .npz.

  Raises:
    InputError: nothing there, or a clip that is not whole; it is named.
  """
  if place.is_dir():
    folder = place / "clips" if (place / "clips").is_dir() else place
    paths = sorted(folder.glob("clip_*.json"))
    if not paths:
      raise InputError(f"{place} holds no clips: expected clips/clip_*.json, as generate.py writes them")
    return [read_clip(path) for path in paths]
  if place.suffix not in (".json", ".npz"):
    there = "is no clip's .json or .npz" if place.exists() else "does not exist"
    raise InputError(f"{place} {there}: give a folder that generate.py wrote, or one clip's .json or .npz")
  return [read_clip(place.with_suffix(".json"))]


def read_clip(path: Path) -> StoredClip:
  """One clip from its JSON and the .npz beside it; InputError names the file and what is wrong with it."""
  try:
    document = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror}): a clip is a .json with a .npz beside it") from error
  except ValueError as error:
    raise InputError(f"{path} is not JSON: {error}") from error
  try:
    schema.validate(document)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  return StoredClip(
    id=document["id"],
    path=path,
    document=document,
    motion=_motion(path.with_name(document["arrays"]["npz"]), document),
    phones=tuple(Phone(*phone) for phone in document["speech"].get("phones", ())),
  )


def _motion(path: Path, document: Mapping[str, Any]) -> Motion:
  if tuple(document["channels"]) != ARKIT.channels:
    raise InputError(f"{path}: its channels are not the {len(ARKIT)} of the house's space")
  try:
    with np.load(path, allow_pickle=False) as arrays:
      values = arrays["arkit"]
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise InputError(f"{path} cannot be read: {error}") from error
  except KeyError:
    raise InputError(f"{path} has no array 'arkit'") from None
  if values.shape != (document["frames"], len(ARKIT)):
    raise InputError(f"{path}: arkit is {values.shape}, the JSON says ({document['frames']}, {len(ARKIT)})")
  if not np.isfinite(values).all():
    raise InputError(f"{path}: arkit has NaN or infinite values in frame {np.argwhere(~np.isfinite(values))[0][0]}")
  return Motion(values=values, fps=Fraction(*document["fps"]), space=ARKIT)

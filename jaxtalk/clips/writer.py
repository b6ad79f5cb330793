"""A clip on disk: ``clips/clip_000000000.{mp4,wav,npz,json}`` and what was asked for besides.

The files of a clip are made in a hidden folder next to it and renamed into place when all are there, the JSON last:
a JSON that exists describes a clip that is whole. A run that is killed, or a disk that fills up, leaves the finished
clips as they are.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.clips import marks, media, schema, sidecar
from jaxtalk.core import ClipSpec, Frames, InputError, Motion, Speech
from jaxtalk.motion import livelink

ARRAYS = ("head_aa", "gaze", "lm2d_px", "lm3d_m", "visible", "bbox_px", "K", "cam_Rt")
MEASURED = "lm_error"  # (T,) of renderers whose pictures may differ from the labels: see `core.Frames`
CONSTANT = ("K",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
  """Which optional files to write; the fields of ``config.outputs``."""

  segmentation: bool = False
  depth: bool = False
  normals: bool = False
  livelink_csv: bool = False
  png_frames: bool = False

  @property
  def labels(self) -> tuple[str, ...]:
    """Names of the per-pixel labels among them, as the renderer knows them."""
    return tuple(name for name in ("segmentation", "depth", "normals") if getattr(self, name))


class ClipWriter:
  """Writes clips into ``out/clips``; InputError in one line if that folder cannot be made or written to."""

  def __init__(self, out: Path, outputs: Outputs, provenance: Mapping[str, Any]):
    self.folder = out / "clips"
    self._outputs, self._provenance = outputs, dict(provenance)
    check_writable(self.folder)

  def digest(self, spec: ClipSpec) -> str:
    """Of all that decides the bytes of this clip."""
    return sidecar.plan_digest(spec, {"outputs": dataclasses.asdict(self._outputs), **self._provenance})

  def finished(self, spec: ClipSpec) -> dict[str, Any] | None:
    """The document of this very clip if it lies in the folder, whole and unchanged; otherwise None."""
    document = read_document(self.folder / f"{spec.id}.json")
    if document is None or document["provenance"]["clip_sha256"] != self.digest(spec):
      return None
    for name, facts in document["files"].items():
      path = self.folder / name
      if not path.is_file() or marks.file_digest(path) != facts["sha256"]:
        return None
    return document

  def write(self, spec: ClipSpec, speech: Speech, motion: Motion, chunks: Iterable[Frames]) -> dict[str, Any]:
    """Writes one clip from its frames as they come and returns its document; leaves nothing behind on failure."""
    part = self.folder / f".{spec.id}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
      document = self._write(part, spec, speech, motion, chunks)
      self._publish(part, document)
    finally:
      shutil.rmtree(part, ignore_errors=True)
    return document

  def _write(
    self, part: Path, spec: ClipSpec, speech: Speech, motion: Motion, chunks: Iterable[Frames]
  ) -> dict[str, Any]:
    recording = spec.audio is not None
    values = np.asarray(motion.values, np.float32)
    _check_finite("motion", values)
    comment = marks.comment(recording)
    labels = self._write_frames(part, spec, speech, motion, chunks, comment)
    sound = media.fit_to_frames(speech.waveform, speech.sample_rate, motion.num_frames, spec.fps)
    media.write_wav(part / f"{spec.id}.wav", sound, speech.sample_rate, comment)
    measured = {MEASURED: labels[MEASURED]} if MEASURED in labels else {}
    arrays = {"arkit": values, **{name: labels[name] for name in ARRAYS}, **measured}
    media.write_npz(part / f"{spec.id}.npz", arrays)
    for name, suffix in (("segmentation", "seg"), ("depth", "depth"), ("normals", "normals")):
      if name in self._outputs.labels:
        media.write_npz(part / f"{spec.id}.{suffix}.npz", {name: labels[name]})
    if self._outputs.livelink_csv:
      livelink.write(part / f"{spec.id}.livelink.csv", motion)
    provenance = {**self._provenance, "clip_sha256": self.digest(spec)}
    files = {path.relative_to(part).as_posix(): path for path in sorted(part.rglob("*")) if path.is_file()}
    shapes = {name: array.shape for name, array in arrays.items()}
    document = sidecar.document(spec, speech, motion, arrays=shapes, files=files, provenance=provenance)
    document |= {"landmark_error": sidecar.error_summary(measured[MEASURED])} if measured else {}
    schema.validate(document)
    (part / f"{spec.id}.json").write_text(sidecar.to_json(document) + "\n", encoding="utf-8")
    return document

  def _write_frames(
    self, part: Path, spec: ClipSpec, speech: Speech, motion: Motion, chunks: Iterable[Frames], comment: str
  ) -> dict[str, np.ndarray]:
    """Encodes the frames and returns the labels, checked and joined over time."""
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in (*ARRAYS, *self._outputs.labels)}
    done = 0
    with media.VideoFile(
      part / f"{spec.id}.mp4",
      size=spec.scene.size,
      fps=spec.fps,
      num_frames=motion.num_frames,
      waveform=speech.waveform,
      sample_rate=speech.sample_rate,
      comment=comment,
    ) as video:
      for frames in chunks:
        if MEASURED in frames.labels:
          pieces.setdefault(MEASURED, [])
        for name, kept in pieces.items():
          kept.append(_compact(name, np.asarray(frames.labels[name])))
        video.add(frames.images)
        if self._outputs.png_frames:
          _write_pngs(part / f"{spec.id}.frames", frames.images, done, spec.audio is not None)
        done += len(frames.images)
      if done != motion.num_frames:
        raise ValueError(f"{spec.id}: {done} frames were rendered for {motion.num_frames} frames of motion")
    return {name: kept[0] if name in CONSTANT else np.concatenate(kept) for name, kept in pieces.items()}

  def _publish(self, part: Path, document: Mapping[str, Any]) -> None:
    """Renames the files into place; until the new JSON is there, the clip does not exist."""
    name = document["id"]
    (self.folder / f"{name}.json").unlink(missing_ok=True)
    for old in self.folder.glob(f"{name}.*"):
      if old.is_dir():
        shutil.rmtree(old)
      else:
        old.unlink()
    for new in sorted(part.iterdir(), key=lambda path: path.suffix == ".json"):
      new.rename(self.folder / new.name)


def check_writable(folder: Path) -> None:
  """Makes a folder and tries to write in it; InputError in one line if that cannot be."""
  probe = folder / ".probe"
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe.write_bytes(b"x" * 4096)
    probe.unlink()
  except OSError as error:
    raise InputError(f"cannot write into {folder} ({os.strerror(error.errno or 0)}): choose another --out") from error


def read_document(path: Path) -> dict[str, Any] | None:
  """A clip's JSON, or None if it is missing or not ``jaxtalk.clip/1``."""
  try:
    document = json.loads(path.read_text(encoding="utf-8"))
    schema.validate(document)
  except (OSError, json.JSONDecodeError, UnicodeDecodeError, InputError):
    return None
  return document


def _compact(name: str, array: np.ndarray) -> np.ndarray:
  """Labels in the type in which they are stored; ValueError for NaN or infinity."""
  _check_finite(name, array)
  if name == "depth":  # metres -> millimetres
    return np.round(np.clip(array, 0.0, 65.535) * 1000.0).astype(np.uint16)
  if name == "normals":
    return array.astype(np.float16)
  return array.astype(np.float32) if array.dtype == np.float64 else array


def _check_finite(name: str, array: np.ndarray) -> None:
  if array.dtype.kind == "f" and not np.isfinite(array).all():
    frame = int(np.argwhere(~np.isfinite(array))[0][0])
    raise ValueError(f"{name} has a value that is not a number, first at index {frame}; nothing of this clip is kept")


def _write_pngs(folder: Path, images: np.ndarray, first: int, recording: bool) -> None:
  folder.mkdir(exist_ok=True)
  for number, image in enumerate(images, first):
    media.write_png(folder / f"{number:05d}.png", image, recording)

"""Media files whose bytes depend on nothing but their content: MP4, WAV, NPZ, PNG.

No clock, no host name, no encoder version and no thread timing reaches a file, so the same seed gives the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from jaxtalk.clips import marks


class VideoFile:
  """H.264 (yuv420p BT.709, crf 18) with AAC sound in an MP4 whose index comes first, written frame by frame.

  The sound is cut or padded with silence to the exact length of the picture, ``num_frames / fps`` seconds, and muxed
  along with it. Use as a context manager: ``add`` pictures, leave the block to finish the file.
  """

  def __init__(
    self, path: Path, *, size: int, fps: Fraction, num_frames: int, waveform: np.ndarray, sample_rate: int, comment: str
  ):
    self._fps, self._rate = fps, sample_rate
    self._sound = fit_to_frames(waveform, sample_rate, num_frames, fps)
    self._frames = self._samples = 0
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    self._file = av.open(str(path), "w", format="mp4", options=options)
    self._file.metadata["comment"] = comment
    self._video = self._file.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "medium", "threads": "1"})
    self._video.width = self._video.height = size
    self._video.pix_fmt = "yuv420p"
    codec = self._video.codec_context
    codec.thread_count, codec.time_base = 1, 1 / fps
    codec.color_range, codec.colorspace = ColorRange.MPEG, Colorspace.ITU709
    codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    self._audio = self._file.add_stream("aac", rate=sample_rate, layout="mono")
    self._audio.codec_context.thread_count = 1
    self._audio.bit_rate = 96_000

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    if kind is None:
      self._file.mux(self._video.encode(None))
      self._add_sound(len(self._sound))
      self._file.mux(self._audio.encode(None))
    self._file.close()

  def add(self, images: np.ndarray) -> None:
    """Appends (n, size, size, 3) uint8 sRGB pictures and the sound that goes with them."""
    for image in images:
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
      frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
      frame.pts, frame.time_base = self._frames, 1 / self._fps
      self._file.mux(self._video.encode(frame))
      self._frames += 1
    self._add_sound(round(self._frames * self._rate / self._fps))

  def _add_sound(self, end: int) -> None:
    piece = self._sound[self._samples : end]
    if len(piece):
      frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece[None], np.float32), format="fltp", layout="mono")
      frame.sample_rate, frame.pts, frame.time_base = self._rate, self._samples, Fraction(1, self._rate)
      self._file.mux(self._audio.encode(frame))
      self._samples += len(piece)


def fit_to_frames(waveform: np.ndarray, sample_rate: int, num_frames: int, fps: Fraction) -> np.ndarray:
  """(S,) samples cut, or padded with zeros, to the length of ``num_frames`` frames (rounded to a sample)."""
  length = round(num_frames * sample_rate / fps)
  fitted = np.zeros(length, np.float32)
  fitted[: min(length, len(waveform))] = waveform[:length]
  return fitted


def read_frames(path: Path, indices: list[int]) -> list[np.ndarray]:
  """The frames of a video with these numbers, (H, W, 3) uint8 each, in ascending order."""
  wanted, frames = set(indices), []
  with av.open(str(path)) as file:
    for number, frame in enumerate(file.decode(video=0)):
      if number in wanted:
        frames.append(frame.to_ndarray(format="rgb24"))
  return frames


def write_wav(path: Path, waveform: np.ndarray, sample_rate: int, comment: str) -> None:
  """16-bit PCM with a comment (LIST INFO ICMT) that players and ``ffprobe`` show."""
  samples = np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
  info = b"INFO" + _riff(b"ICMT", comment.encode() + b"\0") + _riff(b"ISFT", marks.TOOL.encode() + b"\0")
  form = struct.pack("<HHIIHH", 1, 1, sample_rate, sample_rate * 2, 2, 16)
  path.write_bytes(_riff(b"RIFF", b"WAVE" + _riff(b"fmt ", form) + _riff(b"LIST", info) + _riff(b"data", samples)))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """A compressed npz (NumPy stamps every entry 1980-01-01, so equal arrays give equal bytes)."""
  with open(path, "wb") as file:
    np.savez_compressed(file, allow_pickle=False, **arrays)


def write_png(path: Path, image: np.ndarray | Image.Image, recording: bool = False) -> None:
  """A PNG of an (H, W, 3) uint8 picture with the synthetic marks."""
  picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
  picture.save(path, format="PNG", pnginfo=marks.png_info(recording))


def _riff(name: bytes, body: bytes) -> bytes:
  return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

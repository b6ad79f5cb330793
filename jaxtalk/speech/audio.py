"""Any audio file to ``Speech``: WAV, FLAC, OGG, MP3 and whatever else libsndfile or FFmpeg open.

All depths, channels and rates become mono float32 at 24 kHz, resampled explicitly with soxr.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soxr

from jaxtalk.core import InputError, Speech
from jaxtalk.speech.prosody import track_f0

SAMPLE_RATE = 24_000
SHORTEST = 0.2  # s
LONGEST = 600.0  # s: ten minutes a clip
SILENCE_DB = -60.0  # dBFS, RMS of the loudest tenth of a second


def read_audio(path: str | os.PathLike[str]) -> Speech:
  """Speech of a recording: no phones, no text, f0 measured every 10 ms.

  Channels are averaged. The level is kept, unless peaks beyond full scale have to be brought down to it.

  Raises:
    InputError: a file that is missing, empty, truncated, no audio, silent, shorter than ``SHORTEST`` or longer than
      ``LONGEST`` seconds, or that holds NaN or infinite samples.
  """
  path = Path(path)
  samples, rate = _decoded(path)
  mono = samples.mean(axis=1, dtype=np.float32)
  if not np.isfinite(mono).all():
    bad = int(np.flatnonzero(~np.isfinite(mono))[0])
    raise InputError(f"{path}: sample {bad} is not a number (NaN or infinite)")
  _check_length(path, len(mono) / rate)
  _check_level(path, mono, rate)
  wave = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
  wave = (wave / max(1.0, float(np.abs(wave).max()))).astype(np.float32)
  f0, _ = track_f0(wave, SAMPLE_RATE, hop=0.01)
  meta = {"file": path.name, "source_rate": rate, "source_channels": samples.shape[1]}
  return Speech(waveform=wave, sample_rate=SAMPLE_RATE, f0_hz=f0, f0_hop=0.01, language="und", meta=meta)


def _decoded(path: Path) -> tuple[np.ndarray, int]:
  """(S, channels) float32 and the rate."""
  import soundfile

  if path.is_dir():
    raise InputError(f"{path}: is a folder, not an audio file")
  try:
    size = path.stat().st_size
  except OSError as error:
    raise InputError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
  if size == 0:
    raise InputError(f"{path}: the file is empty (0 bytes)")
  try:
    _check_riff(path, size)
    with soundfile.SoundFile(path) as file:
      _check_promise(path, file)
      samples = file.read(dtype="float32", always_2d=True)
      _check_complete(path, len(samples), file.frames)
      return samples, file.samplerate
  except soundfile.LibsndfileError:
    return _decoded_by_ffmpeg(path)
  except PermissionError as error:
    raise InputError(f"{path}: permission denied") from error


def _decoded_by_ffmpeg(path: Path) -> tuple[np.ndarray, int]:
  """What libsndfile does not open (M4A, AAC, WebM, the sound of a video)."""
  import av

  try:
    with av.open(str(path)) as container:
      if not container.streams.audio:
        raise InputError(f"{path}: has no audio in it")
      stream = container.streams.audio[0]
      planar = av.AudioResampler(format="fltp")
      blocks, seconds = [], 0.0
      for packet in container.decode(stream):
        blocks += [frame.to_ndarray() for frame in planar.resample(packet)]
        seconds += packet.samples / packet.sample_rate
        if seconds > LONGEST:
          _check_length(path, seconds)
      blocks += [frame.to_ndarray() for frame in planar.resample(None)]
      if not blocks:
        raise InputError(f"{path}: has no audio samples in it (truncated?)")
      return np.concatenate(blocks, axis=1).T.astype(np.float32), stream.rate
  except (av.FFmpegError, OSError, ValueError) as error:
    raise InputError(f"{path}: is not an audio file that can be read (WAV, FLAC, OGG, MP3; truncated?)") from error


def _check_promise(path: Path, file) -> None:
  """Refuse before reading: a header may promise hours."""
  if 0 < file.frames < 1 << 62:
    _check_length(path, file.frames / file.samplerate)


def _check_riff(path: Path, size: int) -> None:
  """A WAV whose data chunk promises more bytes than the file has: libsndfile reads these without a word.

  Sizes of 0 and 0xFFFFFFFF are what programs write that stream to a pipe and do not know the length.
  """
  with path.open("rb") as file:
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
      return
    while len(chunk := file.read(8)) == 8:
      length = int.from_bytes(chunk[4:], "little")
      if chunk[:4] == b"data":
        missing = length - (size - file.tell())
        if missing > 0 and length < 0xFFFFFF00:
          raise InputError(f"{path}: is truncated: {missing} of {length} bytes of sound are missing")
        return
      file.seek(length + length % 2, os.SEEK_CUR)


def _check_complete(path: Path, got: int, promised: int) -> None:
  if got == 0:
    raise InputError(f"{path}: has no audio samples in it (truncated?)")
  if 0 < promised < 1 << 62 and got < promised:
    raise InputError(f"{path}: is truncated: {got} of {promised} samples")


def _check_length(path: Path, seconds: float) -> None:
  if seconds < SHORTEST:
    raise InputError(f"{path}: {seconds:.3g} s of audio is too short, at least {SHORTEST} s are needed")
  if seconds > LONGEST:
    raise InputError(f"{path}: {seconds:.0f} s of audio is too long, at most {LONGEST:.0f} s make a clip")


def _check_level(path: Path, mono: np.ndarray, rate: int) -> None:
  block = max(1, min(len(mono), rate // 10))
  power = np.mean(mono[: len(mono) // block * block].reshape(-1, block).astype(np.float64) ** 2, axis=1)
  level = 10 * np.log10(max(float(power.max()), 1e-20))
  if level < SILENCE_DB:
    raise InputError(f"{path}: is silent (loudest tenth of a second {max(level, -200):.0f} dBFS)")

"""A family of voices that nothing here is ever trained on: CMU Flite, with the phones that it says.

Flite (apt-get install flite) has a diphone voice (kal) and three statistical ones (slt, rms, awb) of adult Americans,
one of them with a Scottish accent, under a BSD-like licence. It prints the end of every phone; its stops hold their
closures. Used for measuring only.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from jaxtalk.core import Phone, Speech
from jaxtalk.speech import phones as ph

VOICES = ("slt", "rms", "kal16", "awb")
SAMPLE_RATE = 16_000
_SILENCES = ("pau", "h#", "brth")


def installed() -> bool:
  """Whether there is a flite to run."""
  return shutil.which("flite") is not None


def speak(text: str, voice: str) -> Speech:
  """A sentence at 16 kHz with ARPABET phones; CalledProcessError where flite fails."""
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "flite.wav"
    command = ["flite", "-voice", voice, "-t", text, "-psdur", "-o", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    samples, rate = soundfile.read(path, dtype="float32")
  wave = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
  pairs = [word.rsplit(":", 1) for word in said.split()]
  phones = _contiguous([(name, float(end)) for name, end in pairs], len(wave) / SAMPLE_RATE)
  return Speech(waveform=wave, sample_rate=SAMPLE_RATE, text=text, phones=phones, voice=f"flite:{voice}")


def _contiguous(ends: list[tuple[str, float]], duration: float) -> tuple[Phone, ...]:
  """Phones from their ends, cut or lengthened to the sound's duration."""
  out: list[Phone] = []
  for name, end in ends:
    start, stop = out[-1].end if out else 0.0, min(end, duration)
    if stop > start:
      out.append(Phone(ph.SILENCE if name in _SILENCES else name.upper(), start, stop))
  out[-1] = Phone(out[-1].symbol, out[-1].start, duration)
  return tuple(out)

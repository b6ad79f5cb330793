"""One adult voice becomes anybody's: pitch, vocal-tract length, tempo and steadiness, on the vocoder's parameters.

The network speaks with one woman's voice. Its parameters separate the source (f0) from the vocal tract (envelopes), so
a child is made before there is any waveform: f0 is moved to the speaker's median, and the frequency axis of the
envelopes is stretched by the ratio of vocal-tract lengths, which moves every formant by that ratio (a tube's
resonances go with the inverse of its length; Fant 1960, Acoustic Theory of Speech Production). Nothing is analysed a
second time, so nothing is smeared.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.speech.network import FRAME, Vocoded
from jaxtalk.speech.speaker import Speaker

REFERENCE_TRACT_CM = 14.1  # the built-in voice: an adult woman
BIN_HZ = 20.0
VOICED_HZ = 40.0  # the vocoder's own threshold
_NEPER = 20 / np.log(10)  # decibels in one neper


def formant_scale(speaker: Speaker) -> float:
  """Factor on all formants with respect to the built-in voice."""
  return REFERENCE_TRACT_CM / speaker.tract_cm


def revoice(frames: Vocoded, sonorant: np.ndarray) -> Vocoded:
  """Give the voice back its vowels where the network has left them to the residual, as it does at ends of sentences.

  There the pitch is part of the residual's phases, out of reach, and a man or a child would finish every sentence with
  the original woman's voice. So wherever the residual outweighs the harmonics for 50 ms of a sonorant, its envelope
  becomes that of the harmonics, its own level falls by 20 dB below 4 kHz, and pitch goes on no lower than 0.72 of the
  median (5.7 semitones down, where declarative sentences end).

  Args:
    sonorant: (F,) bool, frames of vowels, nasals, liquids and glides.
  """
  low = slice(5, 75)  # 0.1 to 1.5 kHz
  voiced = frames.f0_hz > VOICED_HZ
  residual = np.log(np.mean(np.exp(2 * frames.residual[low]), axis=0)) / 2
  harmonic = np.where(voiced, np.log(np.mean(np.exp(2 * frames.harmonic[low]), axis=0)) / 2, -10.0)
  lost = _runs(sonorant & (residual > harmonic) & (residual > -3.0), 4)
  if not lost.any() or not voiced.any():
    return frames
  share = np.convolve(lost, [0.25, 0.5, 0.25], mode="same").astype(np.float32)
  hertz = np.arange(frames.residual.shape[0])[:, None] * BIN_HZ
  cut = np.clip((5000 - hertz) / 2000, 0, 1).astype(np.float32) * share
  # A noise of one amplitude in every bin has the power of harmonics ten bins apart that are this much stronger.
  louder = 0.5 * np.log(10 / 1.5)
  envelope = _smooth(frames.residual, 7) + louder + np.log(np.maximum(cut, 1e-6))
  f0 = np.where(share > 0, np.maximum(frames.f0_hz, 0.72 * np.median(frames.f0_hz[voiced])), frames.f0_hz)
  clear = np.where(lost, 0, np.arange(len(lost)))
  return dataclasses.replace(
    frames,
    harmonic=np.where(share > 0, np.logaddexp(np.where(voiced, frames.harmonic, -20), envelope), frames.harmonic),
    theta=frames.theta[:, np.maximum.accumulate(clear)],  # the last phases that meant something
    residual=frames.residual - cut * (20 / _NEPER),
    f0_hz=f0.astype(np.float32),
  )


def convert(frames: Vocoded, speaker: Speaker, rng: np.random.Generator) -> Vocoded:
  """The same words from another throat; time is left alone.

  The residual keeps its own phases and fine structure in place, because they say *when* in the frame a burst happens;
  only its envelope moves.
  """
  scale = formant_scale(speaker)
  harmonic = _stretch(_smooth(frames.harmonic, 5), scale) + _tilt(speaker.tilt_db)
  envelope = _smooth(frames.residual, 11)
  residual = frames.residual - envelope + _stretch(envelope, scale) + _tilt(speaker.tilt_db)
  noise = np.maximum(_stretch(_smooth(frames.noise, 5), scale), harmonic + _breath(speaker.breath))
  return Vocoded(
    harmonic=harmonic,
    theta=_stretch_phase(frames.theta, scale),
    noise=np.where(frames.f0_hz > VOICED_HZ, noise, frames.noise).astype(np.float32),
    residual=residual,
    phi=frames.phi,
    f0_hz=convert_f0(frames.f0_hz, speaker, rng),
  )


def convert_f0(f0_hz: np.ndarray, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
  """(F,) contour with the speaker's median and range; 0 where unvoiced.

  Excursions of ln f0 around the median are multiplied by ``f0_range``; a young speaker's unsteadiness is a slow random
  walk of up to about half a semitone (1 s.d.). Creak is cut off at 0.6 of the median, where children do not go.
  """
  voiced = f0_hz > VOICED_HZ
  wobble = _wobble(len(f0_hz), rng) * speaker.unsteadiness * 0.5 * np.log(2) / 12
  if not voiced.any():
    return np.zeros_like(f0_hz)
  logs = np.log(np.maximum(f0_hz, VOICED_HZ))
  logs = (logs - np.median(logs[voiced])) * speaker.f0_range + wobble
  logs = np.clip(logs, np.log(0.6), np.log(2.2))
  logs -= np.median(logs[voiced])
  return np.where(voiced, speaker.f0_hz * np.exp(logs), 0.0).astype(np.float32)


def retime(frames: Vocoded, source: np.ndarray, rng: np.random.Generator) -> Vocoded:
  """Frames at fractional positions ``source`` (G,) of the old time axis: slower, faster, trimmed.

  Envelopes and pitch are interpolated. Phases are taken from the nearest frame; where a frame is used twice in a row
  the residual's phases are drawn anew, since the same noise twice is a buzz.
  """
  low = np.clip(np.floor(source).astype(int), 0, frames.num_frames - 1)
  high = np.minimum(low + 1, frames.num_frames - 1)
  weight = (source - low).astype(np.float32)
  nearest = np.clip(np.rint(source).astype(int), 0, frames.num_frames - 1)
  repeated = np.diff(nearest, prepend=-1) == 0
  fresh = rng.uniform(-np.pi, np.pi, (frames.phi.shape[0], len(source))).astype(np.float32)

  def between(x):
    return x[:, low] * (1 - weight) + x[:, high] * weight

  both_voiced = (frames.f0_hz[low] > 0) & (frames.f0_hz[high] > 0)
  glide = frames.f0_hz[low] * (1 - weight) + frames.f0_hz[high] * weight
  return Vocoded(
    harmonic=between(frames.harmonic),
    theta=frames.theta[:, nearest],
    noise=between(frames.noise),
    residual=between(frames.residual),
    phi=np.where(repeated, fresh, frames.phi[:, nearest]),
    f0_hz=np.where(both_voiced, glide, frames.f0_hz[nearest]).astype(np.float32),
  )


def synthesise(frames: Vocoded, rng: np.random.Generator) -> np.ndarray:
  """(300 F,) float32 at 24 kHz."""
  from hibari import dsp

  parts = dataclasses.astuple(frames)
  return dsp.synth(*(np.ascontiguousarray(part, np.float32) for part in parts), rng)


def _stretch(envelope: np.ndarray, scale: float) -> np.ndarray:
  """(601, F) log envelope with its frequency axis multiplied by ``scale``; the top bin is continued."""
  low, high, weight = _positions(envelope.shape[0], scale)
  return envelope[low] * (1 - weight) + envelope[high] * weight


def _stretch_phase(theta: np.ndarray, scale: float) -> np.ndarray:
  """The same for phases pi tanh(theta): neighbours are mixed as phasors, so that -pi and pi are one place."""
  phasor = np.exp(1j * np.pi * np.tanh(theta)).astype(np.complex64)
  turned = np.angle(_stretch(phasor, scale)) / np.pi
  return np.arctanh(np.clip(turned, -0.9999, 0.9999)).astype(np.float32)


def _positions(bins: int, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  at = np.minimum(np.arange(bins) / scale, bins - 1)
  low = np.floor(at).astype(int)
  return low, np.minimum(low + 1, bins - 1), (at - low)[:, None].astype(np.float32)


def _smooth(envelope: np.ndarray, width: int) -> np.ndarray:
  """Median of five bins, then a Hann window over frequency: without the single-bin notches that quantisation left."""
  padded = np.pad(envelope, ((2, 2), (0, 0)), mode="edge")
  median = _median_of_five(*(padded[k : k + len(envelope)] for k in range(5)))
  kernel = np.hanning(width + 2)[1:-1]
  kernel = (kernel / kernel.sum()).astype(np.float32)
  padded = np.pad(median, ((width // 2, width // 2), (0, 0)), mode="edge")
  bins = envelope.shape[0]
  return sum(kernel[k] * padded[k : k + bins] for k in range(width)).astype(np.float32)


def _median_of_five(a, b, c, d, e):
  """Elementwise, by comparisons only: many times faster than sorting."""
  low = np.maximum(np.minimum(a, b), np.minimum(c, d))
  high = np.minimum(np.maximum(a, b), np.maximum(c, d))
  return np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), e))


def _tilt(decibels: float, bins: int = 601) -> np.ndarray:
  """(601, 1) nepers: 0 below 0.5 kHz, ``decibels`` from 4 kHz up, linear in octaves between."""
  hertz = np.maximum(np.arange(bins) * BIN_HZ, 1.0)
  return (np.clip(np.log2(hertz / 500) / 3, 0, 1) * decibels / _NEPER).astype(np.float32)[:, None]


def _breath(factor: float, bins: int = 601) -> np.ndarray:
  """(601, 1) nepers: least level of aspiration noise re the harmonics, -46 dB below 1 kHz to -28 dB above 4 kHz."""
  hertz = np.maximum(np.arange(bins) * BIN_HZ, 1.0)
  decibels = np.interp(np.log2(hertz), np.log2([1000, 4000]), [-46, -28])
  return (decibels / _NEPER + np.log(factor)).astype(np.float32)[:, None]


def _runs(flags: np.ndarray, shortest: int) -> np.ndarray:
  """Flags without the runs of true that are shorter than ``shortest``."""
  edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
  kept = np.zeros(len(flags), bool)
  for start, stop in zip(edges[::2], edges[1::2], strict=True):
    kept[start:stop] = stop - start >= shortest
  return kept


def _wobble(frames: int, rng: np.random.Generator) -> np.ndarray:
  """(F,) noise of unit standard deviation, correlated over about 0.15 s."""
  width = max(3, round(0.15 / FRAME))
  kernel = np.hanning(width + 2)[1:-1]
  raw = rng.standard_normal(frames + width - 1)
  return np.convolve(raw, kernel / np.sqrt((kernel**2).sum()), mode="valid")

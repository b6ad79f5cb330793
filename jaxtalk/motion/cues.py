"""What the face and the head react to besides the phones: loudness, accents, pauses, phrase ends."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.core import Speech
from jaxtalk.motion import curves
from jaxtalk.speech import phones as ph

MIN_PAUSE = 0.18
_HOP = 0.01


@dataclasses.dataclass(frozen=True)
class Cues:
  """Events and curves of one clip that animators of any kind share.

  Attributes:
    duration: seconds.
    times: (S,) seconds of the samples of ``loudness``, every 10 ms.
    loudness: (S,) in [0, 1]: 0 is the clip's background, 1 its loud syllables.
    accents: (A,) seconds of the accented syllables.
    strengths: (A,) in (0, 1].
    pauses: (P, 2) start and end of silences inside and around the speech.
    phrases: (Q,) starts of stretches of speech.
  """

  duration: float
  times: np.ndarray
  loudness: np.ndarray
  accents: np.ndarray
  strengths: np.ndarray
  pauses: np.ndarray
  phrases: np.ndarray

  def loudness_at(self, t: np.ndarray) -> np.ndarray:
    """(T,) loudness at times (T,)."""
    return np.interp(t, self.times, self.loudness)

  def speaking(self, t: np.ndarray) -> np.ndarray:
    """(T,) 1 in speech and 0 in pauses, with soft edges of 0.2 s."""
    start, end = self.pauses.T
    return 1.0 - curves.pulses(t, start - 0.05, 0.2, np.maximum(end - start - 0.3, 0.0), 0.2)


def loudness_curve(speech: Speech) -> tuple[np.ndarray, np.ndarray]:
  """Times (S,) and loudness (S,) in [0, 1] of a recording, every 10 ms: level in dB between background and peaks."""
  count = max(2, int(np.ceil(speech.duration / _HOP)) + 1)
  times = np.arange(count) * _HOP
  power = np.concatenate([[0.0], np.cumsum(np.asarray(speech.waveform, np.float64) ** 2)])
  low, high = (np.clip(((times + d) * speech.sample_rate).astype(int), 0, len(power) - 1) for d in (-0.0125, 0.0125))
  level = 10.0 * np.log10((power[high] - power[low]) / np.maximum(high - low, 1) + 1e-8)
  top = np.percentile(level, 95)
  if top < -60.0:  # nothing to be heard
    return times, np.zeros(count)
  floor = max(np.percentile(level, 5), top - 40.0)
  scaled = np.clip((level - floor) / max(top - floor, 12.0), 0.0, 1.0)
  return times, curves.smooth(scaled, _HOP, 0.02)


def from_phones(speech: Speech) -> Cues:
  """Cues of speech whose phones are known: accents are its stressed vowels, pauses its silences."""
  times, loudness = loudness_curve(speech)
  silences = [(p.start, p.end) for p in speech.phones if ph.is_silence(p.symbol)]
  pauses = np.array([s for s in silences if s[1] - s[0] >= MIN_PAUSE], np.float64).reshape(-1, 2)
  vowels = [p for p in speech.phones if not ph.is_silence(p.symbol) and ph.is_vowel(p.symbol)]
  stressed = [p for p in vowels if ph.stress(p.symbol) == 1] or vowels[::2]
  accents = np.array([0.5 * (p.start + p.end) for p in stressed])
  lengths = np.array([p.end - p.start for p in stressed])
  loud = np.interp(accents, times, loudness) if len(accents) else accents
  strengths = np.clip(0.5 * loud + 2.5 * lengths, 0.1, 1.0) if len(accents) else accents
  spoken = [p for p in speech.phones if not ph.is_silence(p.symbol)]
  first = spoken[:1] + [b for a, b in zip(spoken[:-1], spoken[1:], strict=True) if b.start - a.end >= MIN_PAUSE]
  phrases = np.array([p.start for p in first])
  return Cues(speech.duration, times, loudness, accents, strengths, pauses, phrases)


def from_audio(speech: Speech) -> Cues:
  """Cues of a recording: accents are peaks of loudness, pauses stretches near the background level."""
  times, loudness = loudness_curve(speech)
  slow = curves.smooth(loudness, _HOP, 0.05)
  inner = slow[1:-1]
  peaks = 1 + np.flatnonzero((inner > slow[:-2]) & (inner >= slow[2:]) & (inner > 0.55))
  pauses = _stretches(times, slow < 0.2)
  phrases = pauses[pauses[:, 1] < speech.duration - 1e-3, 1]
  if loudness.max() > 0.0 and not (len(pauses) and pauses[0, 0] == 0.0):
    phrases = np.concatenate([[0.0], phrases])
  return Cues(speech.duration, times, loudness, times[peaks], np.clip(slow[peaks], 0.1, 1.0), pauses, phrases)


def _stretches(times: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """(P, 2) start and end of the runs of ``mask`` that last at least ``MIN_PAUSE``."""
  edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
  runs = np.stack([times[edges[::2]], times[np.minimum(edges[1::2], len(times) - 1)]], axis=1)
  return runs[runs[:, 1] - runs[:, 0] >= MIN_PAUSE]

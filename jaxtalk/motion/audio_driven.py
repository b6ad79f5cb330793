"""The energy- and spectrum-driven fallback, for recordings whose phones are not known.

It does not recognise speech. Jaw and lips follow loudness, the balance of low and high bands spreads or rounds the
lips, hiss brings the teeth together, and sharp dips of loudness inside speech close the lips, as if each were one of
/p b m/. So the mouth moves with the sound and looks alive, but its shapes are guesses: use phones where there are any.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from jaxtalk.core import Motion, Speech
from jaxtalk.motion import articulation, cues, curves, mouth, performance
from jaxtalk.motion.performance import Manner, MouthPlan
from jaxtalk.speech import prosody

_HOP = 0.01
_AUDIBLE_DB = -55.0


class AudioAnimator(performance.OneByOne):
  """Animates any recording from its energy and spectrum alone; phones are ignored."""

  def animate_one(self, speech: Speech, fps: Fraction, manner: Manner) -> Motion:
    """The motion of one recording."""
    return animate_one(speech, fps, manner)


def animate_one(speech: Speech, fps: Fraction, manner: Manner) -> Motion:
  """The motion of one recording."""
  t = performance.frame_times(performance.num_frames(speech, fps), fps)
  heard = cues.from_audio(speech)
  return performance.perform(t, plan_mouth(t, speech, heard, manner, fps), heard, manner, fps)


def plan_mouth(t: np.ndarray, speech: Speech, heard: cues.Cues, manner: Manner, fps: Fraction) -> MouthPlan:
  """Mouth tracks from loudness and bands."""
  grid, drive = mouth_drive(speech)
  at = {name: np.interp(t, grid, curve) for name, curve in drive.items()}
  loud, hiss = at["loud"], at["hiss"]
  size = manner.style.articulation
  voiced = loud * (1.0 - 0.75 * hiss)
  tracks = dict.fromkeys(mouth.ARTICULATORS, np.zeros_like(t))
  tracks["gap"] = 0.012 + size * (0.36 * voiced**1.4 * (1.0 - 0.35 * at["round"]) + 0.10 * hiss)
  tracks["jaw"] = 0.015 + size * (0.32 * voiced**1.4 + 0.03 * hiss)
  tracks["pucker"] = size * 0.50 * at["round"] * loud
  tracks["funnel"] = size * (0.22 * at["round"] + 0.12 * hiss) * loud
  tracks["spread"] = size * 0.60 * at["wide"] * loud
  tracks["upper"] = size * (0.12 * voiced + 0.18 * hiss)
  tracks["lower"] = size * (0.10 * voiced + 0.28 * hiss)
  tracks["tongue"] = 0.10 * voiced * (1.0 - at["round"])
  return MouthPlan(tracks=tracks, lips=closures(heard, 1.0 / float(fps))(t), tuck=np.zeros_like(t))


def mouth_drive(speech: Speech) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Times (S,) every 10 ms and curves (S,) in [0, 1]: loud, hiss, round, wide.

  Levels are relative to the recording itself, so gain does not matter; a recording that is quieter than -55 dB
  throughout is silence.
  """
  count = max(2, int(np.ceil(speech.duration / _HOP)))
  heard = prosody.features(speech.waveform, speech.sample_rate, Fraction(100), count)
  grid = (np.arange(count) + 0.5) * _HOP
  level = heard.loudness_db.astype(np.float64)
  top = np.percentile(level, 95)
  if top < _AUDIBLE_DB:
    return grid, dict.fromkeys(("loud", "hiss", "round", "wide"), np.zeros(count))
  floor = max(np.percentile(level, 5) + 3.0, top - 32.0)
  loud = np.clip((level - floor) / max(top - floor, 12.0), 0.0, 1.0)
  tilt = (heard.fricative_db - np.maximum(heard.low_db, heard.mid_db)).astype(np.float64)
  hiss = np.clip((tilt + 4.0) / 10.0, 0.0, 1.0) * np.clip(loud * 3.0, 0.0, 1.0)
  # Spread vowels have strong second formants, rounded ones weak; the recording's own median is neutral.
  speaking = (loud > 0.35) & (hiss < 0.5)
  balance = (heard.mid_db - heard.low_db).astype(np.float64)
  balance -= np.median(balance[speaking]) if speaking.any() else 0.0
  tracks = {"loud": loud, "hiss": hiss, "round": np.clip(-balance / 10.0, 0, 1), "wide": np.clip(balance / 10.0, 0, 1)}
  widths = {"loud": 0.025, "hiss": 0.025, "round": 0.05, "wide": 0.05}
  return grid, {name: curves.smooth(track, _HOP, widths[name]) for name, track in tracks.items()}


def closures(heard: cues.Cues, frame: float) -> articulation.Constriction:
  """Closures of the lips at sharp dips of loudness between louder neighbours, at least 0.16 s apart.

  On clear synthetic speech they find two in five of /p b/, and two in three of them fall on a labial sound.
  """
  loud = heard.loudness
  inner = loud[1:-1]
  dips = 1 + np.flatnonzero((inner <= loud[:-2]) & (inner < loud[2:]))
  reach = round(0.12 / _HOP)
  kept: list[int] = []
  for i in dips:
    before, after = loud[max(0, i - reach) : i].max(), loud[i + 1 : i + 1 + reach].max()
    deep = min(before, after) - loud[i] > 0.30 and min(before, after) > 0.45
    if deep and (not kept or (i - kept[-1]) * _HOP >= 0.16):
      kept.append(int(i))
  centre = heard.times[kept] if kept else np.zeros(0)
  half, way = np.full(len(kept), 0.51 * frame), np.full(len(kept), 0.07)
  return articulation.Constriction(centre - half, centre + half, way, way)

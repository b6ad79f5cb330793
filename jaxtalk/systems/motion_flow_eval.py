"""The motion flow against the procedural truth, on voices, ages and languages that training never has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxtalk.core import Emotion, InputError, MotionStyle, Speech
from jaxtalk.data import performances, speech_mix
from jaxtalk.metrics import sync
from jaxtalk.motion import mouth, performance, procedural
from jaxtalk.motion.performance import Manner
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.systems import motion_flow as mf
from jaxtalk.systems import motion_flow_stream as stream

_FPS = Fraction(25)


def make_mix(data: ConfigDict) -> speech_mix.SpeechMix:
  """The utterances that a config's ``data`` section asks for."""
  return speech_mix.SpeechMix(builtin=data.builtin, espeak=data.espeak, seed=data.seed)


class HeldOut:
  """Measures a motion flow on held-out voices; the truth is made once.

  Args:
    data: fields ``held_out`` (utterances, half of them of each kind of voice) and ``seed``.
    folder: cache of the speech.
  """

  def __init__(self, data: ConfigDict, folder: Path):
    half = data.held_out // 2
    speeches = speech_mix.held_out(half, half, data.seed + 1).load(folder)
    if not speeches:
      raise InputError(f"config.data.held_out is {data.held_out}: at least 2 utterances are needed to measure anything")
    self._groups = {"": speeches[:half], "foreign_": speeches[half:]}
    manner = Manner(emotion=Emotion(), style=MotionStyle(), age=8.0, seed=0)
    self._truth = [procedural.animate_one(s, _FPS, manner).values for s in speeches]
    self._manner = manner
    self._acted = performances.PerformanceSet(speeches, 24, data.seed + 1)

  def measure(self, flow: mf.MotionFlow) -> dict[str, float]:
    """At 4 steps: closures, onset lag (ms), correlations of mouth channels with the truth; r of the gap at 1 step."""
    figures: dict[str, float] = {}
    truth = iter(self._truth)
    for group, speeches in self._groups.items():
      if not speeches:
        continue
      wanted = [next(truth) for _ in speeches]
      figures |= {group + k: v for k, v in self._compare(flow, speeches, wanted, 4).items()}
      if not group:
        figures["gap_r_1_step"] = self._compare(flow, speeches, wanted, 1)["gap_r"]
    return figures | self._styles(flow)

  def _compare(
    self, flow: mf.MotionFlow, speeches: Sequence[Speech], truth: Sequence[np.ndarray], steps: int
  ) -> Mapping[str, float]:
    made = [animate(flow, speech, self._manner, steps) for speech in speeches]
    tracks = [sync.MouthTrack(mouth.lip_gap(m), _FPS, s.phones) for m, s in zip(made, speeches, strict=True)]
    ours, theirs = np.concatenate(made), np.concatenate(truth)
    gaps = np.corrcoef(mouth.lip_gap(ours), mouth.lip_gap(theirs))[0, 1]
    column = {name: ARKIT.index(channel) for name, channel in (("jaw", "jawOpen"), ("pucker", "mouthPucker"))}
    return {
      "closures": sync.closure_rate(tracks).value,
      "lag_ms": sync.onset_lag(tracks).value,
      "gap_r": float(gaps),
      **{f"{name}_r": float(np.corrcoef(ours[:, c], theirs[:, c])[0, 1]) for name, c in column.items()},
    }

  def _styles(self, flow: mf.MotionFlow) -> dict[str, float]:
    """r of each style field, read off performances, with the one they were acted in."""
    wanted, read = [], []
    for i in range(len(self._acted)):
      performance_ = self._acted[i]
      wanted.append(mf.style_vector(performance_.manner.style))
      read.append(mf.style_vector(flow.style_of(np.asarray(performance_.codes, np.float64))))
    pairs = zip(performances.STYLE_RANGES, np.array(wanted).T, np.array(read).T, strict=True)
    return {f"style_{name}_r": float(np.corrcoef(a, b)[0, 1]) if b.std() > 0 else 0.0 for name, a, b in pairs}


def animate(flow: mf.MotionFlow, speech: Speech, manner: Manner, steps: int, fps: Fraction = _FPS) -> np.ndarray:
  """(T, 61) motion of one speech."""
  heard = stream.MotionStream(flow, fps=fps, manner=manner, sample_rate=speech.sample_rate, steps=steps)
  values = np.concatenate([heard.feed(speech.waveform), heard.finish()])
  return values[: performance.num_frames(speech, fps)]

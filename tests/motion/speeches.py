"""Made-up speech for the motion tests: phones with plausible lengths and a sound that is loud in vowels."""

from fractions import Fraction

import numpy as np

from jaxtalk.core import Emotion, MotionStyle, Phone, Speech
from jaxtalk.motion import make_animator, mouth
from jaxtalk.speech import phones as ph

FPS = Fraction(25)
NEUTRAL, PLAIN = Emotion(), MotionStyle()
BOBBY = "SIL B AA1 B IY0 P AA1 P T AH0 B IH1 G P ER1 P AH0 L B AH0 L UW1 N SIL"
VERY = "SIL V EH1 R IY0 F AH1 N IY0 M AE1 N W UH1 D G OW1 SIL SH OW1 DH AH0 F IH1 SH SIL"
_LENGTHS = {"silence": 0.25, "vowel": 0.11, "glide": 0.06, "liquid": 0.06, "nasal": 0.065, "stop": 0.07}


def speech(text: str = BOBBY, seed: int = 0, pace: float = 1.0, rate: int = 16000) -> Speech:
  rng = np.random.default_rng(seed)
  clock, phones, parts = 0.0, [], []
  for symbol in text.split():
    length = _LENGTHS.get(ph.manner(symbol), 0.09) * rng.uniform(0.75, 1.3) / pace
    count = round((clock + length) * rate) - round(clock * rate)
    level = {"vowel": 0.3, "silence": 1e-4, "stop": 0.02}.get(ph.manner(symbol), 0.08)
    tone = np.sin(2 * np.pi * 250 * np.arange(count) / rate)
    parts.append(level * np.hanning(count + 2)[1:-1] ** 0.25 * (tone + 0.2 * rng.standard_normal(count)))
    phones.append(Phone(symbol, clock, clock + length))
    clock += length
  return Speech(waveform=np.concatenate(parts).astype(np.float32), sample_rate=rate, phones=tuple(phones))


def silence(seconds: float, rate: int = 16000) -> Speech:
  wave = np.zeros(round(seconds * rate), np.float32)
  return Speech(waveform=wave, sample_rate=rate, phones=(Phone("SIL", 0.0, seconds),))


def animate(speeches, name="procedural", fps=FPS, seed=0, emotion=NEUTRAL, style=PLAIN, age=6.0):
  n = len(speeches)
  return make_animator(name).animate(
    speeches, fps=fps, seeds=range(seed, seed + n), emotions=[emotion] * n, styles=[style] * n, ages=[age] * n
  )


def gap(motion):
  return mouth.lip_gap(np.asarray(motion.values, np.float64))


def during(motion, start, end):
  t = (np.arange(motion.num_frames) + 0.5) / float(motion.fps)
  return (t >= start) & (t < end)

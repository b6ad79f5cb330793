"""Stand-ins for the voice, the animator and the renderer: quick, exact, and sometimes wrong on purpose."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from jaxtalk.core import Frames, InputError, Motion, Phone, Speech, Word
from jaxtalk.motion.spaces import ARKIT

RATE = 24000


class Beeps:
  """Says every word as 0.2 s of tone; refuses texts that contain "mumble"."""

  def speak(self, spec):
    if "mumble" in spec.text:
      raise InputError("this voice does not mumble")
    words = spec.text.split()
    time = np.arange(round(RATE * 0.2 * len(words))) / RATE
    f0 = 250.0 + spec.seed % 100
    phones = [Phone("SIL", 0.0, 0.1)]
    phones += [
      Phone("AA1" if i % 2 else "M", round(i * 0.2 + 0.1, 3), round(i * 0.2 + 0.3, 3)) for i in range(len(words))
    ]
    return Speech(
      waveform=(0.3 * np.sin(2 * np.pi * f0 * time)).astype(np.float32),
      sample_rate=RATE,
      text=spec.text,
      phones=tuple(phones),
      words=tuple(Word(word, i * 0.2, (i + 1) * 0.2) for i, word in enumerate(words)),
      f0_hz=np.full(len(words) * 20, f0, np.float32),
      f0_hop=0.01,
      language=spec.language,
      voice="beeps",
      meta={"requested_f0_hz": np.float32(f0)},
    )


class Wave:
  """Opens the mouth in a slow wave; ``poison`` puts NaN into the motion of texts that contain that word."""

  def __init__(self, poison: str = ""):
    self.poison = poison

  def animate(self, speeches, *, fps, seeds, emotions, styles, ages):
    return [self._one(speech, fps, seed) for speech, seed in zip(speeches, seeds, strict=True)]

  def _one(self, speech, fps: Fraction, seed):
    frames = max(1, -(-len(speech.waveform) * fps.numerator // (speech.sample_rate * fps.denominator)))
    values = np.zeros((frames, len(ARKIT)), np.float32)
    values[:, ARKIT.index("jawOpen")] = 0.5 - 0.5 * np.cos(np.arange(frames) * 1.1 + seed % 7)
    if self.poison and self.poison in speech.text:
      values[frames // 2, 3] = np.nan
    return Motion(values=values, fps=fps, space=ARKIT)


class Blocks:
  """A coloured square with a mouth that opens; ``fail_after`` frames it raises ``error``."""

  def __init__(self, outputs=(), fail_after=None, error=None):
    self.outputs, self.fail_after, self.error = outputs, fail_after, error

  def render(self, motion, person, scene, *, seed):
    colour = np.random.default_rng(seed).integers(60, 220, 3)
    for start in range(0, motion.num_frames, 8):
      if self.fail_after is not None and start >= self.fail_after:
        raise self.error
      yield self._chunk(np.asarray(motion["jawOpen"])[start : start + 8], colour, scene.size)

  def _chunk(self, jaw, colour, size):
    count = len(jaw)
    images = np.empty((count, size, size, 3), np.uint8)
    images[:] = colour
    lm3d = np.zeros((count, 70, 3), np.float32)
    lm3d[:, 66, 1] = -0.03 * np.nan_to_num(jaw)
    for image, opening in zip(images, np.nan_to_num(jaw), strict=True):
      image[size // 2 : size // 2 + 1 + int(opening * size / 4), size // 4 : 3 * size // 4] = (90, 20, 30)
    labels = {
      "lm2d_px": np.full((count, 70, 2), size / 2, np.float32),
      "lm3d_m": lm3d,
      "visible": np.ones((count, 70), bool),
      "bbox_px": np.tile(np.float32([1, 1, size - 2, size - 2]), (count, 1)),
      "head_aa": np.zeros((count, 3), np.float32),
      "gaze": np.zeros((count, 2, 2), np.float32),
      "cam_Rt": np.tile(np.eye(3, 4, dtype=np.float32), (count, 1, 1)),
      "K": np.diag([2.0 * size, 2.0 * size, 1.0]).astype(np.float32),
    }
    pixels = {
      "segmentation": np.ones((count, size, size), np.uint8),
      "depth": np.full((count, size, size), 1.2345, np.float32),
      "normals": np.tile(np.float32([0, 0, -1]), (count, size, size, 1)),
    }
    return Frames(images=images, labels=labels | {name: pixels[name] for name in self.outputs})

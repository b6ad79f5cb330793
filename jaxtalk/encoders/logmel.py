"""Log-mel spectra cut exactly where the motion frames are.

Usual front ends make frames at their own rate, which then have to be resampled to the motion's; at 30000/1001 fps that
drifts or needs interpolation. Here the analysis windows themselves are placed by the motion's rational rate: motion
frame ``i`` covers ``[i / fps, (i + 1) / fps)``, is divided into ``per_frame`` equal parts, and each part has one window
at its middle. Window positions are computed in whole numbers, so nothing drifts in any length.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

_FLOOR = 1e-10  # power of a band below which everything is silence; speech at -23 dBFS spans about 1e-9 to 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMel:
  """Waveforms to log-mel features at a motion rate.

  Attributes:
    sample_rate: Hz, of the waveforms.
    fps: of the motion.
    per_frame: spectra for each motion frame.
    bands: mel bands.
    low_hz, high_hz: edges of the lowest and highest band.
    window: length of the Hann window in seconds.
  """

  sample_rate: int = 16_000
  fps: Fraction = Fraction(25)
  per_frame: int = 4
  bands: int = 64
  low_hz: float = 60.0
  high_hz: float = 7600.0
  window: float = 0.025

  def __post_init__(self):
    if not 0 <= self.low_hz < self.high_hz <= self.sample_rate / 2:
      raise ValueError(f"bands from {self.low_hz} to {self.high_hz} Hz need a rate above {2 * self.high_hz} Hz")
    if self.per_frame < 1 or self.bands < 1 or self.fps <= 0:
      raise ValueError(f"per_frame {self.per_frame}, bands {self.bands} and fps {self.fps} must be positive")

  @property
  def samples(self) -> int:
    """Length of the window in samples."""
    return round(self.window * self.sample_rate)

  def centres(self, frames: int) -> np.ndarray:
    """(T * per_frame,) int64 sample nearest to the middle of each part of each of T motion frames."""
    parts = np.arange(frames * self.per_frame, dtype=np.int64)
    step = Fraction(self.sample_rate) / (self.fps * self.per_frame)  # samples a part
    return ((2 * parts + 1) * step.numerator) // (2 * step.denominator)

  def power(self, waveform: jax.Array, frames: int) -> jax.Array:
    """(B, S) float waveforms in [-1, 1] to (B, T, per_frame, bands) mel power; beyond its ends a waveform is silent."""
    size = self.samples
    fft = 1 << (size - 1).bit_length()
    centres = self.centres(frames)
    after = max(0, int(centres[-1]) + size - waveform.shape[1])
    padded = jnp.pad(waveform, ((0, 0), (size // 2, after)))
    starts = jnp.asarray(centres, jnp.int32)  # centre - size // 2, plus the padding
    cut = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(padded, start, size, axis=1), out_axes=1)(starts)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    spectrum = jnp.fft.rfft(cut * jnp.asarray(hann / hann.sum(), waveform.dtype)[None, None], fft)
    mel = jnp.square(jnp.abs(spectrum)) @ jnp.asarray(
      mel_filters(self.bands, fft, self.sample_rate, self.low_hz, self.high_hz).T, jnp.float32
    )
    return mel.reshape(waveform.shape[0], frames, self.per_frame, self.bands)

  def __call__(self, waveform: jax.Array, frames: int) -> jax.Array:
    """(B, S) waveforms to (B, T, per_frame * bands) features, about in [-1, 1]; see `scaled_log`."""
    power = self.power(waveform, frames)
    return scaled_log(power).reshape(*power.shape[:2], -1)


def scaled_log(power: jax.Array) -> jax.Array:
  """Natural logarithm of mel power from the floor of hearing (-1) to a full-scale sine (about 1)."""
  top = -np.log(_FLOOR)
  return 2.0 * (jnp.log(power + _FLOOR) + top) / top - 1.0


def mel_filters(bands: int, fft: int, sample_rate: int, low_hz: float, high_hz: float) -> np.ndarray:
  """(bands, fft // 2 + 1) float64 triangles of height 1, evenly spaced on the mel scale of O'Shaughnessy (1987).

  mel(f) = 2595 log10(1 + f / 700). Band b rises from edge b to edge b + 1 and falls to edge b + 2.
  """
  low, high = (2595 * np.log10(1 + f / 700) for f in (low_hz, high_hz))
  edges_mel = np.linspace(low, high, bands + 2)
  edges = 700 * (10 ** (edges_mel / 2595) - 1)
  hz = np.arange(fft // 2 + 1) * sample_rate / fft
  rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
  fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
  return np.maximum(0.0, np.minimum(rise, fall))

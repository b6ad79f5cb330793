"""Speech in, motion out, as early as the window allows; and the animator, which is the same thing fed in one go.

A window makes ``hop`` tokens of 40 ms for good and hears `motion_flow.AHEAD` tokens more, so motion lags speech by
``hop * 40 + 320`` ms at most: 2.32 s with the usual hop of 50, 0.52 s with the smallest of 5, and never less than what
is heard ahead, 0.32 s. What comes out depends on the samples alone, not on the pieces they arrive in.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import soxr

from jaxtalk.core import InputError, Motion, MotionStyle, Speech
from jaxtalk.motion import codes, curves, performance, spaces
from jaxtalk.motion.performance import Manner
from jaxtalk.speech.level import TARGET_DB
from jaxtalk.systems import motion_flow as mf
from jaxtalk.systems import motion_flow_net as net

HOP, SMALLEST_HOP = mf.LENGTH - mf.AHEAD, 5  # tokens
_MOST_GAIN = 10.0  # a quieter recording stays quieter: what is amplified further is its noise
_FADE = 5  # tokens, at most motion_flow.AHEAD
_FADING = (0.5 + 0.5 * np.cos(np.pi * (np.arange(_FADE) + 0.5) / _FADE)).astype(np.float32)[:, None]
_SILENCE = 1e-7  # mean square below which nothing is heard


def _temperature() -> np.ndarray:
  """(1, 1, TOKEN_WIDTH) scales of the noise that a window starts from.

  Little for the mouth: takes differ in head, gaze and brows, not in what the lips say. More for the head, whose motion
  the network makes too small by about that much (measured on held-out voices).
  """
  scale = np.ones((net.SUBFRAMES, len(codes.CHANNELS)), np.float32)
  scale[:, [c.startswith(("jaw", "mouth", "lip", "tongue")) for c in codes.CHANNELS]] = 0.2
  scale[:, [c.startswith("head") for c in codes.CHANNELS]] = 1.3
  return scale.reshape(1, 1, -1)


_TEMPERATURE = _temperature()


class MotionFlowAnimator(performance.OneByOne):
  """Animates any speech with the motion flow; phones are not looked at.

  Args:
    weights: a file of `motion_flow.save`; None is the one that ships.
    steps: of the sampler, one of `motion_flow.STEPS`.
    guidance: weights of speech and of manner; 1 is as learnt, more is more of it.
    hop: tokens of 40 ms that a window makes for good.

  Raises:
    MissingAssetError: no weights.
    InputError: an argument that is out of range.
  """

  def __init__(
    self, weights: Path | None = None, *, steps: int = 4, guidance: tuple[float, float] = (1.0, 1.0), hop: int = HOP
  ):
    self.flow = mf.load(weights)
    self._steps, self._guidance, self._hop = steps, guidance, hop
    check_options(steps, guidance, hop)

  def animate_one(self, speech: Speech, fps: Fraction, manner: Manner) -> Motion:
    """The motion of one speech or recording."""
    stream = self.stream(fps, manner, speech.sample_rate)
    values = np.concatenate([stream.feed(np.asarray(speech.waveform, np.float32)), stream.finish()])
    return Motion(values=values, fps=fps, space=spaces.ARKIT)

  def stream(self, fps: Fraction, manner: Manner, sample_rate: int = net.SAMPLE_RATE) -> MotionStream:
    """A stream with this animator's options."""
    return MotionStream(
      self.flow,
      fps=fps,
      manner=manner,
      sample_rate=sample_rate,
      steps=self._steps,
      guidance=self._guidance,
      hop=self._hop,
    )


def check_options(steps: int, guidance: tuple[float, float], hop: int) -> None:
  """InputError for what the network was not taught."""
  if steps not in mf.STEPS:
    raise InputError(f"the motion flow takes {', '.join(map(str, mf.STEPS))} steps, not {steps}")
  if len(guidance) != 2 or not all(0.0 <= w <= 4.0 for w in guidance):
    raise InputError(f"guidance is two weights from 0 to 4, of speech and of manner, not {guidance}")
  if not SMALLEST_HOP <= hop <= HOP:
    raise InputError(f"a hop is {SMALLEST_HOP} to {HOP} tokens of 40 ms, not {hop}")


class MotionStream:
  """One clip whose speech arrives in pieces.

  Args:
    flow: the networks.
    fps: of the motion.
    manner: how it is performed; its seed decides which of the possible motions it is.
    sample_rate: of the speech, Hz.
    steps, guidance, hop: see `MotionFlowAnimator`.
  """

  def __init__(
    self,
    flow: mf.MotionFlow,
    *,
    fps: Fraction,
    manner: Manner,
    sample_rate: int = net.SAMPLE_RATE,
    steps: int = 4,
    guidance: tuple[float, float] = (1.0, 1.0),
    hop: int = HOP,
  ):
    check_options(steps, guidance, hop)
    self._flow, self._steps, self._hop = flow, steps, hop
    self._guidance = jnp.asarray(guidance, jnp.float32)
    self._manner = jnp.asarray(mf.manner_vector(manner))[None]
    self._rng = curves.generator(manner.seed, "motion flow")
    self._ears = _Ears(sample_rate)
    self._face = _Face(flow, fps)
    self._made = 0  # tokens
    self._history = np.zeros((mf.PAST, net.TOKEN_WIDTH), np.float32)
    self._foreseen = np.zeros((_FADE, net.TOKEN_WIDTH), np.float32)
    self._samples, self._rate, self._fps = 0, sample_rate, fps
    self._over = False

  @property
  def latency(self) -> float:
    """Seconds by which motion lags speech at most, without the time that computing takes."""
    return (self._hop + mf.AHEAD) * net.TOKEN_SAMPLES / net.SAMPLE_RATE

  def feed(self, samples: np.ndarray) -> np.ndarray:
    """Takes the next (S,) mono samples and returns the (F, 61) frames that they complete; F may be 0.

    Raises:
      InputError: samples that are not finite, or fed after the end.
    """
    if self._over:
      raise InputError("the stream has ended: begin another one")
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not np.isfinite(samples).all():
      raise InputError(f"a stream takes mono samples (S,) that are finite, not {samples.shape}")
    self._samples += len(samples)
    self._ears.hear(samples)
    while self._ears.tokens >= self._made + self._hop + mf.AHEAD:
      self._window()
    return self._face.ready()

  def finish(self) -> np.ndarray:
    """The (F, 61) frames that are left when the speech is over."""
    if self._over:
      raise InputError("the stream has ended already")
    self._over = True
    self._ears.hear(np.zeros(0, np.float32), last=True)
    frames = max(1, round(Fraction(self._samples, self._rate) * self._fps))
    while self._made * net.SUBFRAMES < math.ceil(frames / self._fps * net.FPS) + 1:
      self._window()
    return self._face.ready(frames)

  def _window(self) -> None:
    known = np.arange(-mf.PAST, 0) + self._made >= 0
    conditions = net.Conditions(
      manner=self._manner,
      history=jnp.asarray(self._history)[None],
      known=jnp.asarray(known)[None],
      length=jnp.full(1, self._hop + mf.AHEAD, jnp.int32),
      keep={name: jnp.ones(1, bool) for name in net.GUIDED},
    )
    heard = self._ears.window(self._made - mf.PAST, self._made + self._hop + mf.AHEAD)
    heard = np.pad(heard, (0, (mf.PAST + mf.LENGTH) * net.TOKEN_SAMPLES - len(heard)))
    white = self._rng.standard_normal((1, mf.LENGTH, net.TOKEN_WIDTH), np.float32)
    start = mf.colour(white) * _TEMPERATURE
    flow = self._flow
    made = mf.sample_window(
      flow.net, flow.params["flow"], heard[None], conditions, start, self._guidance, steps=self._steps
    )
    tokens = np.array(made)[0, : self._hop + _FADE]
    if self._made:  # what the window before foresaw fades out, so that slow things, such as the head, do not jump
      tokens[:_FADE] += _FADING * (self._foreseen - tokens[:_FADE])
    tokens, self._foreseen = np.split(tokens, [self._hop])
    self._history = np.concatenate([self._history, tokens])[-mf.PAST :]
    self._made += self._hop
    self._ears.forget(self._made - mf.PAST)
    self._face.add(tokens)


class _Ears:
  """Speech at 16 kHz, as loud as speech is heard so far; forgets what is over."""

  def __init__(self, sample_rate: int):
    if sample_rate < 1000:
      raise InputError(f"speech at {sample_rate} Hz cannot be heard: at least 1000")
    self._resampler = None
    if sample_rate != net.SAMPLE_RATE:
      self._resampler = soxr.ResampleStream(sample_rate, net.SAMPLE_RATE, 1, dtype="float32")
    self._samples = np.zeros(0, np.float32)
    self._first = 0  # index of the first sample that is kept
    self._powers: list[np.ndarray] = []
    self._measured = 0

  @property
  def tokens(self) -> int:
    """Whole tokens heard so far."""
    return (self._first + len(self._samples)) // net.TOKEN_SAMPLES

  def hear(self, samples: np.ndarray, last: bool = False) -> None:
    if self._resampler is not None:
      samples = self._resampler.resample_chunk(samples, last=last)
    self._samples = np.concatenate([self._samples, samples])
    fresh = (self._first + len(self._samples)) // net.FRAME_SAMPLES - self._measured
    if fresh > 0:
      start = self._measured * net.FRAME_SAMPLES - self._first
      blocks = self._samples[start : start + fresh * net.FRAME_SAMPLES].reshape(fresh, -1)
      self._powers.append(np.square(blocks.astype(np.float64)).mean(axis=1))
      self._measured += fresh

  def window(self, first: int, last: int) -> np.ndarray:
    """Samples of tokens [first, last), silent where there are none, at the level that speech has up to ``last``."""
    start, stop = first * net.TOKEN_SAMPLES, last * net.TOKEN_SAMPLES
    kept = self._samples[max(0, start - self._first) : max(0, stop - self._first)]
    before = max(0, self._first - start) if start < 0 else 0
    padded = np.pad(kept, (before, 0))
    return np.pad(padded, (0, stop - start - len(padded))) * self._gain(last * net.SUBFRAMES)

  def _gain(self, blocks: int) -> np.float32:
    powers = np.concatenate(self._powers)[:blocks] if self._powers else np.zeros(1)
    top = powers.max(initial=0.0)
    if top < _SILENCE:
      return np.float32(1.0)
    active = powers[powers > top * 1e-3]
    return np.float32(min(10 ** (TARGET_DB / 20) / np.sqrt(active.mean()), _MOST_GAIN))

  def forget(self, token: int) -> None:
    """Drops what comes before a token."""
    drop = token * net.TOKEN_SAMPLES - self._first
    if drop > 0:
      self._samples, self._first = self._samples[drop:], self._first + drop


class _Face:
  """Tokens in, ARKit frames at the motion's rate out."""

  def __init__(self, flow: mf.MotionFlow, fps: Fraction):
    self._flow, self._fps = flow, fps
    self._codes = np.zeros((0, len(codes.CHANNELS)))
    self._first = 0  # index of the first code that is kept
    self._frame = 0  # next frame to come out

  def add(self, tokens: np.ndarray) -> None:
    self._codes = np.concatenate([self._codes, self._flow.restore(tokens)])

  def ready(self, total: int | None = None) -> np.ndarray:
    """Frames between codes that are there; all up to ``total`` at the end."""
    last = self._first + len(self._codes) - 1
    count = (
      total
      if total is not None
      else max(0, math.floor((last + Fraction(1, 2)) * self._fps / net.FPS - Fraction(1, 2)) + 1)
    )
    index = np.arange(self._frame, max(count, self._frame))
    if not len(index):
      return np.zeros((0, len(spaces.ARKIT)), np.float32)
    place = np.clip((index + 0.5) * float(net.FPS / self._fps) - 0.5, 0.0, None)
    left = np.floor(place).astype(int)
    share = (place - left)[:, None]
    left, right = left - self._first, np.minimum(left + 1, last) - self._first
    values = codes.decode(self._codes[left] * (1.0 - share) + self._codes[right] * share)
    self._frame = int(index[-1]) + 1
    keep = max(0, int((self._frame + 0.5) * net.FPS / self._fps - 0.5) - 1 - self._first)
    self._codes, self._first = self._codes[keep:], self._first + keep
    return values


def style_of(motion: Motion, flow: mf.MotionFlow | None = None) -> MotionStyle:
  """The speaking style of a motion in ``spaces.ARKIT``; see `motion_flow.MotionFlow.style_of`."""
  t = np.arange(round(motion.num_frames / motion.fps * net.FPS)) / float(net.FPS)
  frames = codes.from_motion(motion)
  grid = np.arange(motion.num_frames) / float(motion.fps)
  at_rate = np.stack([np.interp(t, grid, column) for column in frames.T], axis=1)
  return (flow or mf.load()).style_of(at_rate)

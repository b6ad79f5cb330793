"""DiffPoseTalk from a recording of any length to FLAME coefficients, window by window.

Each window starts from the last P frames of motion and speech of the one before; the first from learned tokens. The end
of the recording is padded with silence and told to the network by the indicator.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError
from jaxtalk.diffusion import Guidance, Plan, ddpm
from jaxtalk.diffusion.schedules import Schedule
from jaxtalk.encoders.pretrained import import_encoder
from jaxtalk.encoders.resample import motion_frames, resample
from jaxtalk.encoders.speech_config import read_config
from jaxtalk.encoders.wav2vec2 import SpeechEncoder
from jaxtalk.systems.diffposetalk_motion import FPS, Stats, normalise_shape, unpack
from jaxtalk.systems.diffposetalk_networks import Denoiser
from jaxtalk.systems.diffposetalk_official import import_denoiser, official_guidance, stored_schedule
from jaxtalk.systems.diffposetalk_sample import SCALES, Conditions, Threshold, sample_window

SAMPLE_RATE = 16_000
PIECE_MARGIN = 50
_FRAME = SAMPLE_RATE // FPS  # samples
_HOP, _REACH_LEFT = 320, 80  # of the speech encoder: samples from feature to feature, and beyond the last of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
  """A style vector and the encoder that it comes from; vectors of different encoders have nothing in common.

  Attributes:
    vector: (S,).
    encoder: name of the style encoder's checkpoint; "" if unknown, which fits any.
  """

  vector: np.ndarray
  encoder: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffPoseTalk:
  """Everything that turns speech into motion.

  Attributes:
    denoiser: the network.
    variables: its variables.
    encoder: of speech.
    encoder_variables: its variables.
    stats: of the coefficients that it was trained on.
    schedule: of the diffusion.
    guidance: what `generate` strengthens unless told otherwise.
    style_encoder: name of the style encoder whose vectors it knows; "" if unknown.
  """

  denoiser: Denoiser
  variables: Mapping[str, Any]
  encoder: SpeechEncoder
  encoder_variables: Mapping[str, Any]
  stats: Stats
  schedule: Schedule
  guidance: Guidance = Guidance(conditions=("audio", "style"))
  style_encoder: str = ""

  def features(self, waveform: np.ndarray, piece_seconds: float = 60.0) -> jax.Array:
    """(S,) mono at 16 kHz to audio features (1, W L, F) of W whole windows.

    Up to ``piece_seconds`` it is heard as a whole, as officially; more in pieces of that length, each with
    `PIECE_MARGIN` frames of its neighbours on both sides, because attention's memory grows with the square.
    """
    wave = normalise(waveform)
    wave = np.pad(wave, (0, -len(wave) % (self.denoiser.frames * _FRAME)))
    parts = []
    for start, stop, first, last in pieces(len(wave) // _FRAME, round(piece_seconds * FPS)):
      piece = pad_to_grid(wave[start * _FRAME : stop * _FRAME])
      heard = _features(self.denoiser, self.encoder, self.variables["params"], self.encoder_variables, piece[None])
      parts.append(heard[:, first - start : last - start])
    return jnp.concatenate(parts, axis=1)

  def generate(
    self,
    waveform: np.ndarray,
    shape: np.ndarray,
    style: Style | None,
    noise: jax.Array,
    *,
    start: jax.Array | None = None,
    repetitions: int = 1,
    plan: Plan | None = None,
    guidance: Guidance | None = None,
    scales: Sequence[float] | None = None,
    threshold: Threshold | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Expression (N, T, 50) and pose (N, T, 6) at 25 fps of N takes; a last frame that is not whole is left out.

    Args:
      waveform: (S,) mono at 16 kHz.
      shape: (100,) face shape, not normalised.
      style: of speaking; None is none in particular.
      noise: key, or as in `generate_windows`.
      start: (N, L, d) noise that every window starts from; None draws it from the key.
      repetitions: N.
      plan: rows of a sampler over `schedule`; None is the official one, DDPM over all its steps.
      guidance: None is the system's own.
      scales: see `sample_window`.
      threshold: see `sample_window`.

    Raises:
      InputError: a waveform too short for one frame, or a style of another encoder or width.
    """
    frames = motion_frames(len(waveform), SAMPLE_RATE, FPS, "down")
    if frames < 1:
      raise InputError(f"{len(waveform)} samples are too short for one frame of motion: it takes {_FRAME}")
    m, plan = self.denoiser, ddpm(self.schedule.levels()) if plan is None else plan
    if start is None:
      if not jnp.issubdtype(noise.dtype, jax.dtypes.prng_key):
        raise InputError("without start noise, the noise must be a key to draw it from")
      noise, key = jax.random.split(noise)
      start = jax.random.normal(key, (repetitions, m.frames, m.motion_width))
    motion = generate_windows(
      m,
      self.variables,
      jnp.repeat(self.features(waveform), repetitions, axis=0),
      jnp.repeat(normalise_shape(self.stats, jnp.asarray(shape, jnp.float32))[None], repetitions, axis=0),
      None if style is None else jnp.repeat(self.style_vector(style)[None], repetitions, axis=0),
      frames,
      plan,
      start,
      noise,
      guidance=self.guidance if guidance is None else guidance,
      scales=scales,
      threshold=threshold,
    )
    return unpack(self.stats, motion)

  def style_vector(self, style: Style) -> jax.Array:
    """(S,) if it is one that this denoiser knows."""
    if style.encoder and self.style_encoder and style.encoder != self.style_encoder:
      raise InputError(
        f"the style vector is of the encoder {style.encoder}, but this denoiser was trained with {self.style_encoder}: "
        "extract the style with that one"
      )
    if style.vector.shape != (self.denoiser.style_width,):
      raise InputError(f"the style vector is {style.vector.shape}, but this denoiser takes {self.denoiser.style_width}")
    return jnp.asarray(style.vector, jnp.float32)


def import_official(
  state: Mapping[str, np.ndarray], args: Mapping[str, Any], audio_config: Mapping[str, Any], stats: Stats
) -> DiffPoseTalk:
  """A whole official checkpoint.

  Args:
    state: its tensors by official names, those of the speech encoder included.
    args: its options.
    audio_config: the speech encoder's published configuration (``config.json``); its family follows from the options.
    stats: see `Stats.read`.

  Raises:
    InputError: as `import_denoiser` and `import_encoder`.
  """
  denoiser, variables = import_denoiser(state, **args)
  speech = variables.pop("audio_encoder", {})
  family = {"hubert": "hubert", "wav2vec2": "wav2vec2"}.get(args.get("audio_model", "hubert"))
  if family is None:
    raise InputError(f"the speech encoder is 'hubert' or 'wav2vec2', not {args['audio_model']!r}")
  encoder, encoder_variables = import_encoder(speech, read_config({"model_type": family, **audio_config}, {}))
  return DiffPoseTalk(
    denoiser=denoiser,
    variables=variables,
    encoder=encoder,
    encoder_variables=encoder_variables,
    stats=stats,
    schedule=stored_schedule(state, args),
    guidance=official_guidance(args),
    style_encoder=args.get("style_enc_ckpt") or "",
  )


def generate_windows(
  denoiser: Denoiser,
  variables: Mapping[str, Any],
  features: jax.Array,
  shape: jax.Array,
  style: jax.Array | None,
  frames: int,
  plan: Plan,
  start: jax.Array,
  noise: jax.Array,
  *,
  same_start: bool = True,
  guidance: Guidance | None = None,
  scales: Sequence[float] | None = None,
  threshold: Threshold | None = None,
) -> jax.Array:
  """Motion of any length; every window runs the same compiled program.

  Args:
    denoiser: the network, for windows of L frames.
    variables: its variables.
    features: (N, W L, F) of W windows.
    shape: (N, 100), normalised.
    style: (N, S) or None.
    frames: of the result, more than (W - 1) L and at most W L; the rest is padding.
    plan: rows of a sampler.
    start: (N, L, d) noise that the first window starts from.
    noise: key, or (W, R, N, L, d) fresh noise.
    same_start: whether every window starts from the same noise, as officially; false draws it anew from the key.
    guidance: see `sample_window`.
    scales: see `sample_window`.
    threshold: see `sample_window`.

  Returns:
    (N, frames, d) normalised motion.
  """
  length, before = denoiser.frames, denoiser.previous
  windows, rest = divmod(features.shape[1], length)
  if rest or not length * (windows - 1) < frames <= length * windows:
    raise InputError(f"features of {features.shape[1]} frames are not the whole windows of {length} that hold {frames}")
  is_key = jnp.issubdtype(noise.dtype, jax.dtypes.prng_key)
  if not same_start and not is_key:
    raise InputError("a new start for every window needs a key, not an array of noise")
  guidance = Guidance(conditions=("audio", "style")) if guidance is None else guidance
  scales = tuple(SCALES[name] for name in guidance.conditions) if scales is None else tuple(scales)
  count, params = features.shape[0], variables["params"]
  prev_motion = jnp.broadcast_to(params["start_motion"], (count, before, denoiser.motion_width))
  prev_audio = jnp.broadcast_to(params["start_audio"], (count, before, denoiser.width))
  done: list[np.ndarray] = []
  for w in range(windows):
    here = features[:, w * length : (w + 1) * length]
    conditions = Conditions(
      shape=shape,
      audio=here,
      style=style,
      prev_motion=prev_motion,
      prev_audio=prev_audio,
      indicator=jnp.broadcast_to(np.arange(length) < frames - w * length, (count, length)).astype(jnp.float32),
    )
    fresh = jax.random.fold_in(noise, w) if is_key else noise[w]
    if w and not same_start:
      start = jax.random.normal(jax.random.fold_in(noise, windows + w), start.shape)
    motion = _window(denoiser, params, conditions, plan, start, fresh, guidance, scales, threshold)
    prev_motion, prev_audio = motion[:, -before:], here[:, -before:]
    done.append(np.asarray(motion))  # on the host: any number of windows fits
  return jnp.asarray(np.concatenate(done, axis=1)[:, :frames])


@functools.partial(jax.jit, static_argnames=("denoiser", "guidance", "threshold"))
def _window(denoiser, params, conditions, plan, start, noise, guidance, scales, threshold):
  return sample_window(
    denoiser,
    {"params": params},
    conditions,
    plan,
    start,
    noise,
    guidance=guidance,
    scales=scales,
    threshold=threshold,
  )


@functools.partial(jax.jit, static_argnames=("denoiser", "encoder"))
def _features(denoiser, encoder, params, encoder_variables, waveform):
  states = encoder.apply(encoder_variables, waveform).last
  frames = (waveform.shape[1] - _REACH_LEFT) // _FRAME
  states = resample(states[:, : 2 * frames], frames, "centres")
  return denoiser.apply({"params": params}, states, method="map_audio")


def pieces(frames: int, longest: int) -> Iterator[tuple[int, int, int, int]]:
  """How a long recording is cut: ``start``, ``stop`` of what is heard, ``first``, ``last`` of what is kept, in frames.

  Pieces are equally long, so that one program hears them all, and what is kept covers every frame once.
  """
  if frames <= longest:
    yield 0, frames, 0, frames
    return
  if longest <= 2 * PIECE_MARGIN:
    raise InputError(f"pieces must be longer than {2 * PIECE_MARGIN / FPS:g} s")
  first = 0
  while first < frames:
    start = min(max(0, first - PIECE_MARGIN), frames - longest)
    stop = start + longest
    last = frames if stop == frames else stop - PIECE_MARGIN
    yield start, stop, first, last
    first = last


def normalise(waveform: np.ndarray) -> np.ndarray:
  """Mean 0 and sample standard deviation 1 (plus 1e-5, so that silence stays silent)."""
  wave = np.asarray(waveform, np.float32)
  if wave.ndim != 1 or len(wave) < 2 or not np.isfinite(wave).all():
    raise InputError(f"the waveform must be mono, finite and at least two samples long, not {wave.shape}")
  return (wave - wave.mean()) / (wave.std(ddof=1) + np.float32(1e-5))


def pad_to_grid(wave: np.ndarray) -> np.ndarray:
  """Mirrors both ends of (S,), so that the speech encoder makes one feature for each whole 320 samples.

  Officially in two equal rounds, the second of which mirrors the first.
  """
  missing = _HOP * (len(wave) // _HOP) + _REACH_LEFT - len(wave)
  if missing <= 0:
    return wave
  side = math.ceil(missing / 4)
  for _ in range(2):
    wave = np.pad(wave, side, mode="reflect")
  return wave

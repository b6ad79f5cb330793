"""The nouns and verbs of jaxtalk; every other module speaks in these.

Conventions, everywhere unless a docstring says otherwise: right-handed axes, metres, seconds, radians, Y up, the face
looks along +Z, +X is the subject's left (the viewer's right when facing the subject). Rotations act on column vectors.
Frame ``i`` covers ``[i / fps, (i + 1) / fps)``; fps is rational. Pixel centres lie at integer coordinates, x to the
right, y down. Colours are sRGB uint8 outside the renderer and linear float32 inside.

This module imports numpy only, so that programs can parse flags and print help before JAX loads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "fearful", "disgusted")


class JaxtalkError(Exception):
  """An error that a user can act on: one line that says what, where and what to do. ``exit_code`` 2 is usage."""

  exit_code = 2


class InputError(JaxtalkError, ValueError):
  """Bad input: text, audio, a config value, an output folder."""


class MissingAssetError(JaxtalkError):
  """Something that is not installed; the message names it and says where it comes from."""

  exit_code = 3


# Errors that say something about one clip; OSError (no space left, folder gone) ends a run, others are bugs.
CLIP_ERRORS = (JaxtalkError, ValueError, ArithmeticError)


@dataclasses.dataclass(frozen=True)
class Phone:
  """One phone: ARPABET with stress digit on vowels ("AH0", "SIL") in English, IPA elsewhere; times in seconds."""

  symbol: str
  start: float
  end: float


@dataclasses.dataclass(frozen=True)
class Word:
  """One word of the text with its start and end in seconds."""

  text: str
  start: float
  end: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speech:
  """A voice recording and what is known about it.

  Attributes:
    waveform: (S,) float32 in [-1, 1], mono.
    sample_rate: Hz.
    text: what is said; "" if unknown (a recording).
    phones: contiguous, covering [0, duration], silences included; empty if unknown.
    words: empty if unknown.
    f0_hz: (F,) float32 fundamental frequency, 0 where unvoiced; None if not measured.
    f0_hop: seconds between values of ``f0_hz`` (value i is at ``i * f0_hop``).
    language: BCP-47 tag.
    voice: name of the voice, "recording" for a user's file.
    meta: JSON-serialisable facts for the sidecar (requested f0, vocal-tract length, formant scale ...).
  """

  waveform: np.ndarray
  sample_rate: int
  text: str = ""
  phones: tuple[Phone, ...] = ()
  words: tuple[Word, ...] = ()
  f0_hz: np.ndarray | None = None
  f0_hop: float = 0.0
  language: str = "en"
  voice: str = "recording"
  meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def duration(self) -> float:
    """Seconds."""
    return len(self.waveform) / self.sample_rate


@dataclasses.dataclass(frozen=True)
class MotionSpace:
  """A named set of motion channels: what column d of a motion means."""

  name: str
  channels: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.channels)

  def index(self, channel: str) -> int:
    """Column of a channel; KeyError names the space."""
    try:
      return self.channels.index(channel)
    except ValueError:
      raise KeyError(f"motion space {self.name!r} has no channel {channel!r}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion:
  """Values (T, D) at a rational fps in a named space; ``values`` is what goes into jitted functions."""

  values: Any
  fps: Fraction
  space: MotionSpace

  def __post_init__(self):
    if self.values.ndim != 2 or self.values.shape[1] != len(self.space):
      raise ValueError(f"motion values {self.values.shape} do not fit space {self.space.name!r} of {len(self.space)}")

  def __getitem__(self, channel: str):
    return self.values[:, self.space.index(channel)]

  @property
  def num_frames(self) -> int:
    return self.values.shape[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Emotion:
  """One of ``EMOTIONS`` and an intensity in [0, 1]."""

  label: str = "neutral"
  intensity: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionStyle:
  """How somebody speaks; every field is a factor around 1 unless said.

  Attributes:
    articulation: mouth opening and lip movement.
    expressiveness: brow and cheek accents.
    head: amplitude of head motion.
    blink_rate: blinks a minute (children 3-12 blink less than adults).
    gaze_aversion: share of time looking away from the camera, [0, 1].
    asymmetry: left-right difference of the lower face, [-1, 1], 0 is symmetric.
  """

  articulation: float = 1.0
  expressiveness: float = 1.0
  head: float = 1.0
  blink_rate: float = 12.0
  gaze_aversion: float = 0.25
  asymmetry: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
  """A synthetic person: requested attributes and the coefficients that realise them. Made by ``studio.person``.

  Attributes:
    seed: identity; the same seed and attributes give the same person.
    age_years: 3 to 80.
    gender: "female" or "male".
    ancestry: weights of (african, asian, european) shape, summing to 1.
    face: local morph name -> weight; the individual face.
    look: names and numbers of skin tone, hair, eyes, brows, freckles, clothes (JSON-serialisable).
  """

  seed: int
  age_years: float
  gender: str
  ancestry: tuple[float, float, float]
  face: Mapping[str, float]
  look: Mapping[str, Any]

  @property
  def is_child(self) -> bool:
    return self.age_years < 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
  """A pinhole camera that orbits the head: angles in radians, distance in metres, focal length in 35 mm equivalents.

  Positive yaw moves the camera to the subject's left (we see more of the subject's left cheek); positive pitch moves
  it up, looking down on the subject.
  """

  yaw: float = 0.0
  pitch: float = 0.0
  distance: float = 1.1
  focal_mm: float = 85.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
  """One key light and an environment. Angles in radians, seen from the subject (yaw + is the subject's left)."""

  key_yaw: float = 0.6
  key_pitch: float = 0.7
  key_colour: tuple[float, float, float] = (1.0, 0.96, 0.9)
  key_intensity: float = 1.0
  environment: str = "studio"
  environment_intensity: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """Everything in the picture but the person."""

  camera: Camera = Camera()
  light: Light = Light()
  background: str = "auto"
  size: int = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSpec:
  """All choices of one clip, resolved from one integer seed; rendering it again gives the same clip.

  Attributes:
    index: number of the clip in its run.
    seed: the clip's own seed, from which voice, motion and picture draw.
    text: what is said; None if ``audio`` is given.
    audio: path of a recording; None if ``text`` is given.
    voice: name of the voice that speaks the text, e.g. "hibari" or "espeak:de".
    language: BCP-47 tag of the text.
  """

  index: int
  seed: int
  text: str | None
  audio: str | None
  voice: str
  language: str
  person: Person
  emotion: Emotion
  style: MotionStyle
  scene: Scene
  fps: Fraction

  @property
  def id(self) -> str:
    return f"clip_{self.index:09d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames:
  """Consecutive frames and their labels, in order.

  Attributes:
    images: (T, H, W, 3) uint8 sRGB.
    labels: name -> array with leading T: ``lm2d_px`` (T, 70, 2), ``lm3d_m`` (T, 70, 3) world, ``visible`` (T, 70) bool,
      ``bbox_px`` (T, 4) x y w h, ``head_aa`` (T, 3), ``gaze`` (T, 2, 2) left/right eye (yaw, pitch), ``cam_Rt``
      (T, 3, 4) world to OpenCV camera; on request ``segmentation`` (T, H, W) uint8, ``depth`` (T, H, W) float32 metres
      (0 is background), ``normals`` (T, H, W, 3) float32 camera space (OpenCV axes), ``matte`` (T, H, W) uint8 share of
      the pixel that the person covers, 255 is all. From renderers whose pictures may differ from the labels:
      ``lm_error`` (T,) mean distance of landmarks found from those labelled, over that of the eyes.
      Constant: ``K`` (3, 3).
  """

  images: np.ndarray
  labels: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """A finished clip on the host, ready to be written."""

  spec: ClipSpec
  speech: Speech
  motion: Motion
  frames: Frames
  provenance: Mapping[str, Any]


class Voice(Protocol):
  """Text to speech (or a recording to speech)."""

  def speak(self, spec: ClipSpec) -> Speech: ...


class Encoder(Protocol):
  """Waveforms (B, S) to features (B, T, D) at the motion rate."""

  def __call__(self, waveform: Any) -> Any: ...


class Animator(Protocol):
  """Speech to motion: a batch in, a batch out, in order; ``seeds`` has one integer a clip."""

  def animate(
    self,
    speeches: Sequence[Speech],
    *,
    fps: Fraction,
    seeds: Sequence[int],
    emotions: Sequence[Emotion],
    styles: Sequence[MotionStyle],
    ages: Sequence[float],
  ) -> list[Motion]: ...


class Renderer(Protocol):
  """Motion to pictures and labels, in chunks of consecutive frames so that writing overlaps rendering."""

  def render(self, motion: Motion, person: Person, scene: Scene, *, seed: int) -> Iterator[Frames]: ...


RenderJob = tuple[Motion, Person, Scene, int]  # what `Renderer.render` takes: the last one is the seed


@runtime_checkable
class ClipsRenderer(Renderer, Protocol):
  """A renderer whose batches are filled with frames of many clips."""

  def render_clips(self, jobs: Iterable[RenderJob]) -> Iterator[tuple[int, Frames | Exception]]:
    """Number of the job and consecutive frames of it, job after job; one that fails gives its error (`CLIP_ERRORS`)."""
    ...

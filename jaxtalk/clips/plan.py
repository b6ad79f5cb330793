"""From a config to clip specifications: every choice that a user left open is drawn from (seed, clip number).

Clip ``i`` of a seed is the same whether one clip is made or a million: its own seed comes from
``SeedSequence([seed, i])``, and each thing that is drawn (person, emotion, style, camera, light) has its own stream of
that seed, in which every value is drawn before the given ones replace theirs. So pinning one value changes nothing
else, but for the age: the camera comes nearer to a smaller head, unless its distance is given too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxtalk.clips import settings
from jaxtalk.clips.sentences import SENTENCES
from jaxtalk.core import EMOTIONS, Camera, ClipSpec, Emotion, InputError, Light, MotionStyle, Scene
from jaxtalk.speech.text import check_text
from jaxtalk.studio import backdrop, lighting, person, scenes

_PERSON, _EMOTION, _STYLE, _CAMERA, _LIGHT, _SURROUNDINGS, _SENTENCES = range(7)

# How often each emotion is drawn: children in conversation are mostly neutral or happy.
EMOTION_SHARES = {
  "neutral": 0.35,
  "happy": 0.40,
  "surprised": 0.10,
  "sad": 0.06,
  "angry": 0.03,
  "fearful": 0.03,
  "disgusted": 0.03,
}
DEFAULT_INTENSITY = 0.6


class Plan:
  """The clips of a config, resolved one at a time: ``plan[i]``. InputError for a config that cannot be used."""

  def __init__(self, config: ConfigDict):
    choices = {f"person.{key}": names for key, names in person.CHOICES.items()}
    choices |= {"light.environment": tuple(lighting.ENVIRONMENTS), "background": ("auto", *backdrop.KINDS)}
    choices["camera.framing"] = tuple(scenes.FRAMINGS)
    settings.check(config, choices)
    self._config = config
    self._fps = settings.frame_rate(config.fps)
    self._language = config.language or config.voice.name.partition(":")[2] or "en"
    self._texts = _texts(config, self._language)
    self._style_of = _copied_style(config.style.like)

  def __len__(self) -> int:
    return self._config.num_clips

  def __getitem__(self, index: int) -> ClipSpec:
    if not 0 <= index < len(self):
      raise IndexError(index)
    config, seed = self._config, clip_seed(self._config.seed, index)
    drawn_background, environment = scenes.draw_surroundings(_generator(seed, _SURROUNDINGS))
    who = _person(_stream_seed(seed, _PERSON), config.person)
    text = self._texts[index % len(self._texts)] if self._texts else None
    if text is not None:
      text = check_text(text, self._language, child=who.is_child)
    return ClipSpec(
      index=index,
      seed=seed,
      text=text,
      audio=config.audio,
      voice=config.voice.name,
      language=self._language,
      person=who,
      emotion=_emotion(_generator(seed, _EMOTION), config.emotion),
      style=_style(_generator(seed, _STYLE), config.style, self._style_of),
      scene=Scene(
        camera=_camera(_generator(seed, _CAMERA), config.camera, who.age_years),
        light=_light(_generator(seed, _LIGHT), environment, config.light),
        background=drawn_background if config.background == "auto" else config.background,
        size=config.size,
      ),
      fps=self._fps,
    )


def clip_seed(seed: int, index: int) -> int:
  """The seed of clip ``index``, 53 bits so that JSON readers keep it exactly."""
  return _stream_seed(seed, index)


def _stream_seed(seed: int, stream: int) -> int:
  return int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(11))


def _generator(seed: int, stream: int) -> np.random.Generator:
  return np.random.default_rng(np.random.SeedSequence([seed, stream]))


def _texts(config: ConfigDict, language: str) -> list[str]:
  """Texts by clip number, used round and round; empty if a recording is given."""
  if config.audio is not None:
    return []
  if config.text is not None:
    child = config.person.age is None or config.person.age < 18
    return [check_text(config.text, language, child=child)]
  if config.texts_file is not None:
    return settings.read_texts(config.texts_file)
  if language.split("-")[0] != "en":
    raise InputError(f"config.language={language}: the built-in sentences are English; give config.text")
  return [SENTENCES[i] for i in _generator(config.seed, _SENTENCES).permutation(len(SENTENCES))]


def _given(section: ConfigDict) -> dict[str, Any]:
  return {name: value for name, value in section.items() if value is not None}


def _person(seed: int, section: ConfigDict) -> Any:
  given = _given(section)
  if "ancestry" in given:
    given["ancestry"] = settings.ancestry_weights(given["ancestry"])
  return person.sample_person(seed, **given)


def _emotion(rng: np.random.Generator, section: ConfigDict) -> Emotion:
  label = str(rng.choice(EMOTIONS, p=[EMOTION_SHARES[name] for name in EMOTIONS]))
  strong = str(rng.choice([name for name in EMOTIONS if name != "neutral"]))
  drawn = float(rng.uniform(0.3, 0.8))
  intensity = section.intensity
  if section.label is None:
    if intensity:  # an intensity without a label asks for some emotion
      label = label if label != "neutral" else strong
    return Emotion(label=label, intensity=0.0 if label == "neutral" else drawn if intensity is None else intensity)
  default = 0.0 if section.label == "neutral" else DEFAULT_INTENSITY
  return Emotion(label=section.label, intensity=default if intensity is None else intensity)


def _copied_style(path: str | None) -> dict[str, float]:
  """The speaking style of a clip on disk, as far as the motion flow's style reader can tell; empty without one."""
  if path is None:
    return {}
  from jaxtalk.clips import reader  # those who copy a style load flax
  from jaxtalk.systems.motion_flow_stream import style_of

  return dataclasses.asdict(style_of(reader.read_clip(Path(path)).motion))


def _style(rng: np.random.Generator, section: ConfigDict, copied: dict[str, float]) -> MotionStyle:
  drawn = {
    "articulation": rng.uniform(0.9, 1.15),
    "expressiveness": rng.uniform(0.8, 1.25),
    "head": rng.uniform(0.75, 1.25),
    "blink_rate": rng.uniform(8.0, 16.0),
    "gaze_aversion": rng.uniform(0.15, 0.35),
    "asymmetry": rng.uniform(-0.25, 0.25),
  }
  given = ConfigDict({name: value for name, value in section.items() if name != "like"})
  return _with(MotionStyle(), drawn | copied, given)


def _camera(rng: np.random.Generator, section: ConfigDict, age: float) -> Camera:
  drawn = scenes.draw_camera(rng, age)
  drawn["distance"] *= scenes.FRAMINGS[section.framing]
  given = ConfigDict({name: value for name, value in section.items() if name != "framing"})
  return _with(Camera(), drawn, given, degrees=("yaw", "pitch"))


def _light(rng: np.random.Generator, environment: str, section: ConfigDict) -> Light:
  drawn, colour = scenes.draw_light(rng, environment)
  return dataclasses.replace(_with(Light(), drawn, section, degrees=("key_yaw", "key_pitch")), key_colour=colour)


def _with(base: Any, drawn: Mapping[str, Any], section: ConfigDict, degrees: Sequence[str] = ()) -> Any:
  """``base`` with the drawn values, then the given ones; the fields in ``degrees`` become radians."""
  values = {**drawn, **_given(section)}
  for name, value in values.items():
    if not isinstance(value, str):
      values[name] = math.radians(value) if name in degrees else float(value)
  return dataclasses.replace(base, **values)

"""What is drawn around a person where nothing is given: camera, surroundings and light of a clip, angles in degrees."""

from __future__ import annotations

import numpy as np

from jaxtalk.studio.person import head_scale

# How often each background is drawn, and the environments that light a face in front of it.
SURROUNDINGS = {
  "plain": (0.35, ("studio", "window", "warm")),
  "playroom": (0.30, ("studio", "window", "warm")),
  "garden": (0.20, ("garden",)),
  "lights": (0.15, ("warm", "evening")),
}
# What the picture shows, as a share of the usual distance of the camera.
FRAMINGS = {"shoulders": 1.0, "face": 0.66}


def draw_camera(rng: np.random.Generator, age: float) -> dict[str, float]:
  """Fields of `core.Camera` for head and shoulders, yaw and pitch in degrees."""
  yaw, pitch = rng.uniform(-22.0, 22.0), rng.uniform(-6.0, 8.0)
  # Metres that the picture shows at the face, head and shoulders: a small head is taken from nearer.
  width = rng.uniform(0.37, 0.45) * head_scale(age)
  focal = rng.choice([70.0, 85.0, 100.0])
  return {"yaw": yaw, "pitch": pitch, "distance": width * focal / 36.0, "focal_mm": focal}


def draw_surroundings(rng: np.random.Generator) -> tuple[str, str]:
  """A background and an environment that goes with it."""
  background = str(rng.choice(list(SURROUNDINGS), p=[share for share, _ in SURROUNDINGS.values()]))
  return background, str(rng.choice(SURROUNDINGS[background][1]))


def draw_light(rng: np.random.Generator, environment: str) -> tuple[dict[str, float | str], tuple[float, float, float]]:
  """Fields of `core.Light`, key_yaw and key_pitch in degrees, and the colour of the key light."""
  side, warmth = rng.choice([-1.0, 1.0]), rng.uniform(-1.0, 1.0)
  drawn: dict[str, float | str] = {
    "environment": environment,
    "key_yaw": side * rng.uniform(20.0, 55.0),
    "key_pitch": rng.uniform(25.0, 50.0),
    "key_intensity": rng.uniform(0.85, 1.15),
    "environment_intensity": rng.uniform(0.85, 1.15),
  }
  return drawn, (1.0, 0.97 - 0.02 * warmth, 0.92 - 0.08 * warmth)  # from daylight to afternoon sun

"""Backgrounds: soft, out of focus, made from the seed; never a photograph."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxtalk.core import InputError
from jaxtalk.studio.atlas import to_linear

PALETTES = (
  ((196, 212, 222), (150, 172, 190)),
  ((226, 214, 196), (190, 170, 146)),
  ((206, 220, 200), (150, 176, 152)),
  ((222, 206, 216), (180, 158, 178)),
  ((214, 222, 234), (158, 172, 204)),
  ((238, 226, 200), (214, 180, 136)),
)
KINDS = ("plain", "playroom", "lights", "garden")
TOYS = ((214, 92, 82), (238, 178, 74), (96, 164, 128), (88, 142, 196), (168, 128, 190), (240, 224, 200))


def _gradient(size: int, palette, rng: np.random.Generator) -> np.ndarray:
  y, x = np.mgrid[0:size, 0:size] / (size - 1)
  light = np.exp(-(((x - rng.uniform(0.25, 0.75)) / 0.75) ** 2) - ((y - 0.28) / 0.8) ** 2)[..., None]
  top, bottom = (np.array(c, float) for c in palette)
  return bottom + (top - bottom) * light


def _draw_blurred(image: np.ndarray, blur: float, draw) -> np.ndarray:
  canvas = Image.fromarray(image.clip(0, 255).astype(np.uint8))
  draw(ImageDraw.Draw(canvas))
  return np.asarray(canvas.filter(ImageFilter.GaussianBlur(blur)), float)


def _playroom(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  size = len(image)

  def shelves(draw):
    for level in (0.30, 0.56):
      board = tuple(int(v) for v in image.mean((0, 1)) * 0.82)
      draw.rectangle([0, level * size, size, (level + 0.022) * size], fill=board)
      x = rng.uniform(0, 0.08)
      while x < 1:
        w, h = rng.uniform(0.04, 0.13), rng.uniform(0.06, 0.18)
        colour = np.array(TOYS[rng.integers(len(TOYS))]) * 0.55 + image.mean((0, 1)) * 0.45
        fill = tuple(int(v) for v in colour)
        box = [x * size, (level - h) * size, (x + w) * size, level * size]
        if rng.random() < 0.3:
          draw.ellipse([box[0], (level - w) * size, box[2], box[3]], fill=fill)
        else:
          draw.rectangle(box, fill=fill)
        x += w + rng.uniform(0.0, 0.09)

  return _draw_blurred(image, 0.022 * size, shelves)


def _bokeh(image: np.ndarray, rng: np.random.Generator, colours, count: int, low: float, high: float) -> np.ndarray:
  size = len(image)

  def dots(draw):
    for _ in range(count):
      r, x, y = rng.uniform(low, high) * size, rng.uniform(0, 1) * size, rng.uniform(0, 1) * size
      here = image[int(min(y, size - 1)), int(min(x, size - 1))]
      colour = here + (np.array(colours[rng.integers(len(colours))]) - here) * rng.uniform(0.2, 0.55)
      draw.ellipse([x - r, y - r, x + r, y + r], fill=tuple(int(v) for v in colour.clip(0, 255)))

  return _draw_blurred(image, 0.012 * size, dots)


def paint(kind: str, size: int, seed: int) -> np.ndarray:
  """(size, size, 3) linear float32. ``kind``: one of ``KINDS``, "auto" (drawn), or a colour "#rrggbb"."""
  rng = np.random.default_rng(np.random.SeedSequence([seed, 0xBAC]))
  if kind.startswith("#"):
    try:
      colour = np.array([int(kind[i : i + 2], 16) for i in (1, 3, 5)])
    except (ValueError, IndexError):
      raise InputError(f"background {kind!r} is not a colour; write it as #rrggbb") from None
    return np.broadcast_to(to_linear(colour / 255), (size, size, 3)).astype(np.float32)
  if kind == "auto":
    kind = KINDS[int(rng.choice(len(KINDS), p=(0.35, 0.3, 0.15, 0.2)))]
  if kind not in KINDS:
    raise InputError(f"unknown background {kind!r}; choose auto, {', '.join(KINDS)} or a colour #rrggbb")
  # Painted at one size, so that the same seed gives the same room at any resolution.
  image = _gradient(384, PALETTES[int(rng.integers(len(PALETTES)))], rng)
  if kind == "playroom":
    image = _playroom(image, rng)
  elif kind == "lights":
    image = _bokeh(image * 0.62, rng, ((255, 236, 200), (255, 214, 160), (230, 240, 255)), 38, 0.015, 0.055)
  elif kind == "garden":
    greens = ((150, 190, 120), (190, 214, 150), (96, 140, 92), (230, 236, 190))
    image = _bokeh(image * 0.35 + np.array((120, 156, 108)) * 0.6, rng, greens, 90, 0.02, 0.09)
  resized = Image.fromarray(image.clip(0, 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
  return to_linear(np.asarray(resized, float) / 255).astype(np.float32)

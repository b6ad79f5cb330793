"""A second rendering style for proofs with two domains: the studio's pictures as a toon draws them.

Few tones, other hues, dark outlines, flat coloured backgrounds. It is a function of a studio picture, so that in this
domain too the exact picture of every condition is known; a training run is only given the pictures.
"""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image

TONES = 4  # of brightness
HUE = np.radians(60.0)  # by which hues are turned: skin becomes pink and violet
SIZE = 64  # pixels at which toons are drawn
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)


def toon(pictures: np.ndarray, seed: int) -> np.ndarray:
  """(N, 64, 64, 3) uint8 of studio pictures (N, S, S, 4) uint8 on black; backgrounds are drawn from the seed."""
  x = shrink(pictures, SIZE).astype(np.float32) / 255
  rgb, matte = x[..., :3], x[..., 3:]
  luma = rgb @ _LUMA
  bright = np.sqrt(luma)[..., None]
  tones = (np.floor(bright * TONES) + 1 / (1 + np.exp(-24 * (bright * TONES % 1 - 0.5)))) / TONES
  yiq = (rgb / np.maximum(luma, 0.03)[..., None]) @ _TO_YIQ.T
  turn = np.array([[np.cos(HUE), -np.sin(HUE)], [np.sin(HUE), np.cos(HUE)]], np.float32)
  yiq[..., 1:] = 1.4 * yiq[..., 1:] @ turn.T
  coloured = np.clip(yiq @ np.linalg.inv(_TO_YIQ).T, 0, 2.2) * (0.12 + 0.88 * tones**1.5)
  lines = np.clip(_edges(bright[..., 0]) * 3.0 - 0.35, 0, 1) + np.clip(_edges(matte[..., 0]) * 1.5 - 0.2, 0, 1)
  drawn = coloured * matte + (1 - matte) * backgrounds(len(x), seed)
  drawn *= 1 - 0.85 * np.clip(lines, 0, 1)[..., None]
  return np.round(np.clip(drawn, 0, 1) * 255).astype(np.uint8)


def shrink(pictures: np.ndarray, size: int) -> np.ndarray:
  """(N, size, size, C) of pictures (N, S, S, C) by means of blocks, rounded if they are bytes."""
  count, side, _, channels = pictures.shape
  factor = side // size
  means = pictures.reshape(count, size, factor, size, factor, channels).mean((2, 4))
  return np.round(means).astype(np.uint8) if pictures.dtype == np.uint8 else means


def write(folder: Path, pictures: np.ndarray) -> None:
  """PNGs (N, H, W, 3) without a word about what they show."""
  folder.mkdir(parents=True, exist_ok=True)
  order = np.random.default_rng(0).permutation(len(pictures))  # nothing follows from their names
  for name, i in enumerate(order):
    Image.fromarray(pictures[i]).save(folder / f"{name:06d}.png")


def _edges(x: np.ndarray) -> np.ndarray:
  """(N, H, W) lengths of central differences."""
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), "edge")
  return np.hypot(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])


def backgrounds(count: int, seed: int) -> np.ndarray:
  """(N, 1, 1, 3) flat colours from 0 to 1."""
  draw = np.random.default_rng(np.random.SeedSequence([seed, 0x700])).uniform
  colours = [colorsys.hsv_to_rgb(draw(0.1, 0.5), draw(0.45, 0.8), draw(0.7, 0.95)) for _ in range(count)]
  return np.array(colours, np.float32)[:, None, None]

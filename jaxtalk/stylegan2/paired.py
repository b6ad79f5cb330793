"""Latents from labels: for every picture of a face set a z that says what it shows, spread as N(0, I) is.

A generator can be taught to draw picture i from z_i, which needs no discriminator and takes far fewer pictures; random
latents then are random descriptions. The numbers of a z are, in this order, those of

* scalars (pose, gaze, expression, light, age, skin ...): their rank, as a normal number;
* categories (hair, clothes, room ...): a few numbers each. Every category owns the region where its direction wins, as
  large as the category is frequent, so every latent is of some category;
* measures, for what has no label: how a person and a place look and how a face differs from what its labels say, as
  principal components of small pictures and landmarks, after what the labels explain is taken out;
* noise, the rest.

What labels leave open (ties of ranks, places within regions, noise) is drawn anew each time. Last, everything is
decorrelated, given the class: ranks and regions alone would leave, say, skin and ancestry correlated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.linalg
from scipy.special import ndtri

from jaxtalk.core import InputError
from jaxtalk.systems.face_attributes_task import MIRRORED

SIDED = ("yaw", "roll", "gaze_yaw", "light_azimuth")  # what changes its sign in a mirror
SCALARS = (
  "yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch", "smile", "jaw_open", "pucker", "frown", "brow_raise", "blink",
  "light_azimuth", "light_elevation", "light_intensity", "light_warmth", "environment_intensity", "age", "skin",
  "freckles", "african", "asian",
)  # fmt: skip
CATEGORIES = ("hair", "hair_colour", "eye_colour", "clothes", "clothes_colour", "environment", "backdrop")
MEASURES = {"person": 24, "place": 12, "shot": 8}
_MAX_CODE = 8  # numbers for a category
_POOL = 1 << 14  # points that fill the regions of categories
_SHARE = 0.3  # of landmarks in the variance that the components of a person are of
_EDGES = [slice(36, 42), slice(42, 48), slice(48, 68)]  # landmarks of the eyes and of the mouth


@dataclasses.dataclass(frozen=True)
class Regions:
  """Points of N(0, I), sorted by the category that owns them: (P, D), and where each category's begin (C + 1,)."""

  points: np.ndarray
  starts: np.ndarray

  def draw(self, category: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, D) points of categories (N,)."""
    low, high = self.starts[category], self.starts[category + 1]
    return self.points[rng.integers(low, high)]


class PairLatents:
  """Latents of the pictures of a face set and of their mirror images.

  Args:
    columns: of `data.faces.read_attributes`.
    images: (N, H, W, 3) uint8, the pictures in the same order.
    classes: (N,) what the generator is told beside the latent.
    size: pixels of the pictures that the landmarks belong to.
    z_dim: length of a latent.
    seed: of everything that is fixed once.

  Attributes:
    centres: (2, N, 3, 2) x and y of both eyes and the mouth, from 0 to 1 over the picture; [1] is mirrored.

  Raises:
    InputError: the latent is too short.
  """

  def __init__(
    self,
    columns: Mapping[str, np.ndarray],
    images: np.ndarray,
    classes: np.ndarray,
    *,
    size: int,
    z_dim: int,
    seed: int,
  ):
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x9A12]))
    self.z_dim, self._count = z_dim, len(images)
    scalars = _scalars(columns)
    self._sorted = np.sort(np.concatenate([scalars, _mirrored(scalars)]), axis=0)
    self._scalars = np.stack([scalars, _mirrored(scalars)])
    coded = [np.unique(columns[name], return_inverse=True) for name in CATEGORIES]
    self._categories = [inverse for _, inverse in coded]
    self._regions = [_regions(np.bincount(inverse) / len(inverse), rng) for inverse in self._categories]
    labels = len(SCALARS) + sum(r.points.shape[1] for r in self._regions)
    needed = labels + sum(MEASURES.values())
    if z_dim < needed:
      raise InputError(f"config.loss.paired_weight: latents from labels need config.model.z_dim={needed}, not {z_dim}")
    landmarks = np.stack([columns["landmarks"], _mirrored_landmarks(columns["landmarks"], size)])
    landmarks = ((landmarks + 0.5) / size).astype(np.float32)
    self.centres = np.stack([landmarks[:, :, s].mean(2) for s in _EDGES], axis=2)
    self._measures = self._measure(columns, images, landmarks, rng)
    self._whiten(classes, rng)

  def draw(self, rows: np.ndarray, flipped: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Latents (n, z_dim) float32 of pictures ``rows``, ``flipped`` ones seen in the mirror."""
    z = self._raw(rows, flipped.astype(int), rng)
    z[:, : len(self._mix)] = (z[:, : len(self._mix)] - self._means[self._classes[rows]]) @ self._mix
    return z.astype(np.float32)

  def _raw(self, rows: np.ndarray, flipped: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    parts = [self._ranks(self._scalars[flipped, rows], rng)]
    parts += [r.draw(c[rows], rng) for r, c in zip(self._regions, self._categories, strict=True)]
    parts.append(self._measures[flipped, rows])
    used = sum(part.shape[1] for part in parts)
    return np.concatenate([*parts, rng.standard_normal((len(rows), self.z_dim - used))], axis=1)

  def _ranks(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, S) values to normal numbers by their place in the set, a random one among equals."""
    out, count = np.empty(values.shape), len(self._sorted)
    for i, column in enumerate(self._sorted.T):
      low, high = (np.searchsorted(column, values[:, i], side=side) for side in ("left", "right"))
      out[:, i] = ndtri((low + (high - low) * rng.uniform(1e-3, 1 - 1e-3, len(values))) / count)
    return out

  def _measure(self, columns, images, landmarks, rng) -> np.ndarray:
    """(2, N, M) principal components of what labels do not explain, with normal numbers in each."""
    both = np.concatenate
    explained = both([self._explain(flip, rng) for flip in (0, 1)])
    side = min(images.shape[1], 16)
    small = both([_shrink(images, side), _shrink(images[:, :, ::-1], side)])
    points = _residual(both(list(landmarks)).reshape(len(small), -1), explained)
    looks = _residual(small.reshape(len(small), -1), explained)
    width = side * 3 // 16  # the corners above the shoulders show the place
    top = small[:, : 2 * width]
    corners = both([top[:, :, :width], top[:, :, -width:]], axis=2)
    place = _residual(corners.reshape(len(small), -1), explained)
    _, who = np.unique(columns["identity"], return_inverse=True)
    who = both([who, who + who.max() + 1])
    looks, shape = _means(looks, who), _means(points, who)
    shape *= np.sqrt(_SHARE / (1 - _SHARE) * looks.var(0).sum() / shape.var(0).sum())
    found = {"person": both([looks, shape], axis=1), "place": place, "shot": points - _means(points, who)}
    codes = both([_components(found[name], count) for name, count in MEASURES.items()], axis=1)
    return codes.reshape(2, self._count, -1)

  def _explain(self, flip: int, rng: np.random.Generator) -> np.ndarray:
    """(N, F) what residuals are linear in."""
    scalars = self._ranks(self._scalars[flip], rng)
    one_hot = [np.eye(c.max() + 1)[c] for c in self._categories]
    return np.concatenate([np.ones((self._count, 1)), scalars, scalars**2, *one_hot], axis=1)

  def _whiten(self, classes: np.ndarray, rng: np.random.Generator) -> None:
    """Means of each class and the symmetric matrix that decorrelates what is not noise, over several draws."""
    self._classes = classes
    rows, flipped = np.tile(np.arange(self._count), 8), np.repeat([0, 1] * 4, self._count)
    used = len(SCALARS) + sum(r.points.shape[1] for r in self._regions) + self._measures.shape[2]
    z = self._raw(rows, flipped, rng)[:, :used]
    of_class = self._classes[rows]
    self._means = np.stack([z[of_class == k].mean(0) for k in range(of_class.max() + 1)])
    values, vectors = np.linalg.eigh(np.cov(z - self._means[of_class], rowvar=False) + 0.02 * np.eye(used))
    self._mix = (vectors * values**-0.5) @ vectors.T


def _scalars(columns: Mapping[str, np.ndarray]) -> np.ndarray:
  table = {**columns, "african": columns["ancestry"][:, 0], "asian": columns["ancestry"][:, 1]}
  return np.stack([np.asarray(table[name], np.float64) for name in SCALARS], axis=1)


def _mirrored(scalars: np.ndarray) -> np.ndarray:
  return scalars * np.where(np.isin(SCALARS, SIDED), -1.0, 1.0)


def _mirrored_landmarks(landmarks: np.ndarray, size: int) -> np.ndarray:
  points = landmarks[:, MIRRORED]
  return np.stack([size - 1 - points[..., 0], points[..., 1]], axis=-1)


def _regions(shares: np.ndarray, rng: np.random.Generator) -> Regions:
  """Regions of categories with probabilities ``shares`` (C,)."""
  dims = min(max(len(shares) - 1, 1), _MAX_CODE)
  points = rng.standard_normal((_POOL, dims))
  corners = np.linalg.svd(np.eye(len(shares)) - 1 / len(shares))[0][:, : max(len(shares) - 1, 1)]  # of a simplex
  directions = corners @ np.linalg.qr(rng.standard_normal((corners.shape[1], dims)))[0]
  directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
  scores, bias = points @ directions.T, np.zeros(len(shares))
  for step in np.geomspace(0.5, 0.01, 60):  # a region that is too small pushes its border outwards
    got = np.bincount((scores + bias).argmax(1), minlength=len(shares)) / _POOL
    bias += step * np.log((shares + 1e-4) / (got + 1e-4))
  owner = (scores + bias).argmax(1)
  order = np.argsort(owner, kind="stable")
  return Regions(points[order], np.searchsorted(owner[order], np.arange(len(shares) + 1)))


def _shrink(images: np.ndarray, size: int) -> np.ndarray:
  """(N, size, size, C) float32 means of blocks."""
  count, height, width, channels = images.shape
  blocks = images.reshape(count, size, height // size, size, width // size, channels)
  return blocks.mean((2, 4), dtype=np.float32) / 127.5 - 1


def _residual(values: np.ndarray, explained: np.ndarray) -> np.ndarray:
  normal = explained.T @ explained + 1e-3 * len(values) * np.eye(explained.shape[1])
  return (values - explained @ np.linalg.solve(normal, explained.T @ values)).astype(np.float32)


def _means(values: np.ndarray, who: np.ndarray) -> np.ndarray:
  """(N, D) for each row the mean over the rows of the same person."""
  order = np.argsort(who, kind="stable")
  starts = np.searchsorted(who[order], np.arange(who.max() + 1))
  means = np.add.reduceat(values[order], starts) / np.bincount(who)[:, None]
  return means[who]


def _components(values: np.ndarray, count: int) -> np.ndarray:
  """(N, count) normal numbers: ranks along the principal axes, each in the direction of its longest tail."""
  centred = values - values.mean(0)
  last = centred.shape[1] - 1
  _, vectors = scipy.linalg.eigh(centred.T @ centred, subset_by_index=(last - count + 1, last))
  scores = centred @ vectors[:, ::-1]
  scores *= np.sign((scores**3).sum(0))
  ranks = np.argsort(np.argsort(scores, axis=0, kind="stable"), axis=0, kind="stable")
  return ndtri((ranks + 0.5) / len(values))

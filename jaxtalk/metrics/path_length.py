"""Perceptual path length: how much images change along short steps between latents (Karras et al. 2019, 2020)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError

Mapping = Callable[[jax.Array], jax.Array]
Synthesis = Callable[[jax.Array, jax.Array], jax.Array]
Distance = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathLength:
  """What is measured.

  Attributes:
    space: "w" steps linearly between mapped codes, "z" along the great circle between unmapped ones.
    sampling: "end" starts every step at the first code, "full" anywhere on the path.
    epsilon: length of the step, as a share of the path.
    count: number of steps.
    batch_size: steps at a time.
    seed: of codes, places and noise.
  """

  space: str = "w"
  sampling: str = "end"
  epsilon: float = 1e-4
  count: int = 50_000
  batch_size: int = 16
  seed: int = 0

  def __post_init__(self) -> None:
    if self.space not in ("w", "z") or self.sampling not in ("end", "full"):
      raise InputError(f"path length knows spaces w, z and samplings end, full, not {self.space!r}, {self.sampling!r}")
    if not (self.epsilon > 0 and self.count > 0 and self.batch_size > 0):
      raise InputError(f"path length needs positive epsilon, count and batch_size, not {self}")


def slerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
  """Point at share ``t`` (N, 1) of the great circle from ``a`` to ``b`` (N, D), all brought to unit length."""
  a, b = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
  cosine = (a * b).sum(-1, keepdims=True)
  angle = t * jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
  across = b - cosine * a
  across = across / jnp.linalg.norm(across, axis=-1, keepdims=True)
  point = a * jnp.cos(angle) + across * jnp.sin(angle)
  return point / jnp.linalg.norm(point, axis=-1, keepdims=True)


def lerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
  """``a + (b - a) t``."""
  return a + (b - a) * t


def trimmed_mean(values: np.ndarray) -> float:
  """Mean of the values from the 1st to the 99th percentile, both rounded outwards to a value that occurs."""
  x = np.asarray(values, np.float64)
  low, high = np.percentile(x, 1, method="lower"), np.percentile(x, 99, method="higher")
  return float(x[(x >= low) & (x <= high)].mean())


def path_distances(
  mapping: Mapping, synthesis: Synthesis, distance: Distance, z_dim: int, settings: PathLength
) -> np.ndarray:
  """(count,) float64: ``distance / epsilon^2`` of every step; see `trimmed_mean`.

  Args:
    mapping: codes (N, z_dim) to codes of the synthesis (N, ..., w_dim).
    synthesis: those codes and a PRNG key to images (N, H, W, C). The key draws the noise; both ends of a step get the
      same one, so only the step changes the image.
    distance: two batches of images to squared perceptual distances (N,).
    z_dim: width of the codes.
    settings: what is measured.
  """

  @jax.jit
  def measure(key: jax.Array) -> jax.Array:
    key_z, key_t, key_noise = jax.random.split(key, 3)
    z = jax.random.normal(key_z, (2, settings.batch_size, z_dim))
    t = jax.random.uniform(key_t, (settings.batch_size, 1)) * (settings.sampling == "full")
    ends = [synthesis(_place(mapping, z, place, settings), key_noise) for place in (t, t + settings.epsilon)]
    return distance(ends[0], ends[1]) / settings.epsilon**2

  keys = jax.random.split(jax.random.key(settings.seed), -(-settings.count // settings.batch_size))
  return np.concatenate([np.asarray(measure(key), np.float64) for key in keys])[: settings.count]


def perceptual_path_length(
  mapping: Mapping, synthesis: Synthesis, distance: Distance, z_dim: int, settings: PathLength
) -> float:
  """Trimmed mean of `path_distances`, whose arguments it takes."""
  return trimmed_mean(path_distances(mapping, synthesis, distance, z_dim, settings))


def _place(mapping: Mapping, z: jax.Array, t: jax.Array, settings: PathLength) -> jax.Array:
  if settings.space == "z":
    return mapping(slerp(z[0], z[1], t))
  w = [mapping(x) for x in z]
  return lerp(w[0], w[1], t.reshape(t.shape[:1] + (1,) * (w[0].ndim - 1)))

"""DiffPoseTalk's motion: FLAME coefficients as the networks see them, and what turns them into vertices.

A motion has d = 54 channels, [expression 50 | global rotation 3 | jaw opening 1], or 51 without the rotation, every
channel minus its mean over its standard deviation. The jaw's other two angles are not modelled: they come back as their
means. Rotations are axis-angle in radians, at 25 frames a second.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError, MissingAssetError

EXPRESSION, POSE, SHAPE = 50, 6, 100
FPS = 25


class VertexFunction(Protocol):
  """A face model: coefficients to vertices in metres, differentiable. Any leading axes, the same for all three."""

  def __call__(self, shape: jax.Array, expression: jax.Array, pose: jax.Array) -> jax.Array:
    """(..., 100) shape, (..., 50) expression, (..., 6) [global rotation, jaw] to (..., V, 3)."""
    ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats:
  """Means and standard deviations of a data set's coefficients: (50,), (6,) and (100,) arrays."""

  exp_mean: np.ndarray
  exp_std: np.ndarray
  pose_mean: np.ndarray
  pose_std: np.ndarray
  shape_mean: np.ndarray
  shape_std: np.ndarray

  @classmethod
  def read(cls, path: Path) -> Stats:
    """Reads the official ``stats_train.npz``; of a pose with more than six numbers the first six are taken.

    Raises:
      MissingAssetError: the file is not there.
      InputError: an array is missing or too short; it is named.
    """
    if not path.is_file():
      raise MissingAssetError(f"no statistics at {path}: stats_train.npz comes with the official checkpoints")
    sizes = {"exp": EXPRESSION, "pose": POSE, "shape": SHAPE}
    found = {}
    with np.load(path, allow_pickle=False) as data:
      for field in dataclasses.fields(cls):
        size = sizes[field.name.split("_")[0]]
        if field.name not in data or data[field.name].reshape(-1).size < size:
          raise InputError(f"{path} has no {field.name} of {size} numbers: it is not a DiffPoseTalk statistics file")
        found[field.name] = data[field.name].reshape(-1)[:size].astype(np.float32)
        if field.name.endswith("_std") and not (found[field.name] > 0).all():
          raise InputError(f"{path}: {field.name} must be above zero, for coefficients are divided by it")
    return cls(**found)

  def write(self, path: Path) -> None:
    """Writes such a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


def has_head(motion: jax.Array) -> bool:
  """Whether the channels include the head's rotation."""
  if motion.shape[-1] not in (51, 54):
    raise InputError(f"a motion has 54 channels, or 51 without head pose, not {motion.shape[-1]}")
  return motion.shape[-1] == 54


def pack(stats: Stats, expression: jax.Array, pose: jax.Array, *, head: bool) -> jax.Array:
  """Coefficients (..., 50) and (..., 6) to normalised motion (..., 54), or (..., 51) without the head."""
  lead = expression.ndim - 1
  expression = (expression - _row(stats.exp_mean, lead)) / _row(stats.exp_std, lead)
  pose = (pose - _row(stats.pose_mean, lead)) / _row(stats.pose_std, lead)
  return jnp.concatenate([expression, pose[..., :4] if head else pose[..., 3:4]], axis=-1)


def pack_host(stats: Stats, expression: np.ndarray, pose: np.ndarray, *, head: bool) -> np.ndarray:
  """`pack` in NumPy, for data that has not reached a device."""
  expression, pose = (expression - stats.exp_mean) / stats.exp_std, (pose - stats.pose_mean) / stats.pose_std
  return np.concatenate([expression, pose[..., :4] if head else pose[..., 3:4]], axis=-1, dtype=np.float32)


def unpack(stats: Stats, motion: jax.Array, *, head: bool = True) -> tuple[jax.Array, jax.Array]:
  """Normalised motion (..., d) to expression (..., 50) and pose (..., 6); ``head`` false turns the head to zero."""
  lead = motion.ndim - 1
  expression = motion[..., :EXPRESSION] * _row(stats.exp_std, lead) + _row(stats.exp_mean, lead)
  turned = has_head(motion)
  channels = motion[..., EXPRESSION:]
  pose = jnp.pad(channels, [(0, 0)] * lead + [(0 if turned else 3, 2)])
  pose = pose * _row(stats.pose_std, lead) + _row(stats.pose_mean, lead)
  return expression, pose if head and turned else pose.at[..., :3].set(0.0)


def normalise_shape(stats: Stats, shape: jax.Array) -> jax.Array:
  """Shape coefficients (..., 100) as the denoiser takes them."""
  return (shape - _row(stats.shape_mean, shape.ndim - 1)) / _row(stats.shape_std, shape.ndim - 1)


def restore_shape(stats: Stats, shape: jax.Array) -> jax.Array:
  """The inverse of `normalise_shape`."""
  return shape * _row(stats.shape_std, shape.ndim - 1) + _row(stats.shape_mean, shape.ndim - 1)


def _row(values: np.ndarray, lead: int) -> jax.Array:
  """(C,) with ``lead`` axes of one in front."""
  return jnp.asarray(values).reshape(*[1] * lead, -1)

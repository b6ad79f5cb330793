"""DiffPoseTalk's training losses: motion, vertices and head pose (arXiv 2310.00434, sec. 3.3, and its released code).

Vertices are in metres and of faces whose head does not turn; the weights go with these units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxtalk.core import InputError
from jaxtalk.systems.diffposetalk_motion import EXPRESSION, Stats, VertexFunction, has_head, restore_shape, unpack

_JOINT = 3  # frames on either side of a window's start that the transition loss looks at


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossWeights:
  """Factors of the terms; the defaults are the official ones."""

  motion: float = 1.0
  vertices: float = 2e6
  velocity: float = 1e7
  smoothness: float = 1e5
  head: float = 0.05
  head_velocity: float = 5.0
  head_smoothness: float = 0.5
  head_transition: float = 0.5

  def total(self, terms: Mapping[str, jax.Array]) -> jax.Array:
    """The weighted sum of the terms that there are."""
    return jnp.asarray(sum(getattr(self, name) * value for name, value in terms.items()))


VERTEX_TERMS = ("vertices", "velocity", "smoothness")


def motion_losses(
  prediction: jax.Array,
  motion: jax.Array,
  prev_motion: jax.Array | None,
  shape: jax.Array,
  stats: Stats,
  vertices: VertexFunction | None,
  *,
  indicator: jax.Array | None = None,
  criterion: str = "l2",
  constrain_previous: bool = True,
) -> dict[str, jax.Array]:
  """The terms of the loss, not weighted, each a mean over everything that counts.

  Args:
    prediction: (N, P + L, d) from the denoiser.
    motion: (N, L, d) the truth of the window.
    prev_motion: (N, P, d) the truth before it; None in a recording's first window.
    shape: (N, 100), normalised.
    stats: of the data.
    vertices: the face model; None leaves its three terms out.
    indicator: (N, L), 1 where a frame counts; None is everywhere.
    criterion: "l2" (squares) or "l1" (absolute values).
    constrain_previous: whether the previous frames' estimates are taught too.

  Returns:
    ``motion``, ``vertices`` (of positions), ``velocity`` (of their differences between frames), ``smoothness`` (of the
    prediction's second differences); with head pose ``head``, ``head_velocity``, ``head_smoothness``, the same for the
    normalised rotation; and ``head_transition`` where there is a window before: second differences over the joint and
    third differences around it, of true frames before and predicted frames after.
  """
  if criterion not in ("l2", "l1"):
    raise InputError(f"the criterion is 'l2' or 'l1', not {criterion!r}")
  size = jnp.square if criterion == "l2" else jnp.abs
  head = has_head(motion)
  joint = None
  current = prediction[:, -motion.shape[1] :]
  counts = jnp.ones(motion.shape[:2]) if indicator is None else jnp.asarray(indicator, motion.dtype)
  if prev_motion is not None:
    joint = jnp.concatenate([prev_motion[:, -_JOINT:], current[:, :_JOINT]], axis=1)
  if prev_motion is not None and constrain_previous:
    motion = jnp.concatenate([prev_motion, motion], axis=1)
    counts = jnp.pad(counts, ((0, 0), (prev_motion.shape[1], 0)), constant_values=1.0)
    current = prediction

  def mean(error: jax.Array) -> jax.Array:
    """Over frames that count; an error of differences belongs to the last frame that it needs."""
    weight = counts[:, counts.shape[1] - error.shape[1] :]
    per_frame = size(error).reshape(*error.shape[:2], -1).mean(-1)
    return (per_frame * weight).sum() / jnp.maximum(weight.sum(), 1.0)

  terms = {"motion": mean(current - motion)}
  if vertices is not None:
    truth, guess = (_still_vertices(m, shape, stats, vertices) for m in (motion, current))
    terms |= {
      "vertices": mean(guess - truth),
      "velocity": mean(jnp.diff(guess - truth, axis=1)),
      "smoothness": mean(jnp.diff(guess, 2, axis=1)),
    }
  if head:
    truth, guess = _rotation(motion), _rotation(current)
    terms |= {
      "head": mean(guess - truth),
      "head_velocity": mean(jnp.diff(guess - truth, axis=1)),
      "head_smoothness": mean(jnp.diff(guess, 2, axis=1)),
    }
  if head and joint is not None:
    bend = jnp.diff(_rotation(joint), 2, axis=1)
    terms["head_transition"] = size(bend[:, 1:3]).mean() + size(jnp.diff(bend, axis=1)).mean()
  return terms


def _rotation(motion: jax.Array) -> jax.Array:
  return motion[..., EXPRESSION : EXPRESSION + 3]


def _still_vertices(motion: jax.Array, shape: jax.Array, stats: Stats, vertices: VertexFunction) -> jax.Array:
  """(N, T, V, 3) of faces that look straight ahead."""
  expression, pose = unpack(stats, motion, head=False)
  shape = restore_shape(stats, shape)[:, None]
  return vertices(jnp.broadcast_to(shape, (*motion.shape[:2], shape.shape[-1])), expression, pose)

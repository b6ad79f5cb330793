"""Anti-aliasing at little more than one shading point a pixel: which points to shade, and how to mix them.

Visibility is found for ``factor`` x ``factor`` samples a pixel, but the samples of most pixels lie on one surface, and
one shading point at their centre will do. Only where they disagree (another group, a jump in depth, or a face that is
asked to be shaded finely) are there more points, each standing for the samples that are like it, and at their centre.
Samples of the background need no point. Shading per surface and pixel is the idea of multisample anti-aliasing
(Akeley, "RealityEngine graphics", SIGGRAPH 1993).
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import Array

from jaxtalk.studio.raster import once, take


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fragments:
  """Points to shade: first one a pixel, row by row (N = H * W), then E more.

  Attributes:
    ids: (N + E,) face of each point, -1 where there is none.
    x, y: (N + E,) float32, in samples.
    share: (N + E,) float32 share of its pixel that a point has; what is missing from 1 is background.
    pixel: (E,) int32 pixel of each further point, N where unused.
  """

  ids: Array
  x: Array
  y: Array
  share: Array
  pixel: Array


def _gather_cells(ids: Array, inverse_depth: Array, face_group: Array, factor: int):
  """Per sample of a pixel, as rows of (S, N): face, 1/depth, group."""
  cells = [(i, j) for i in range(factor) for j in range(factor)]
  own = [jnp.stack([a[i::factor, j::factor].reshape(-1) for i, j in cells]) for a in (ids, inverse_depth)]
  return own[0], own[1], take(face_group, jnp.maximum(own[0], 0))


def _leaders(ids: Array, z: Array, group: Array, fine: int, jump: float) -> list[list[Array]]:
  """leads[k][j] (N,): sample k is the first of its surface and sample j is on that surface."""
  num = ids.shape[0]
  leads: list[list[Array]] = []
  free = [ids[j] >= 0 for j in range(num)]
  for k in range(num):
    row = [jnp.zeros_like(free[0])] * k + [free[k]]
    for j in range(k + 1, num):
      near = jnp.abs(z[k] - z[j]) <= jump * z[k] * z[k]
      row.append(free[k] & free[j] & near & (group[k] == group[j]) & (group[k] != fine))
    free = [f & ~r for f, r in zip(free, row, strict=True)]
    leads.append(row)
  return leads


def find(
  ids: Array,
  inverse_depth: Array,
  face_group: Array,
  *,
  factor: int,
  budget: int,
  fine: int = -1,
  jump: float = 0.003,
) -> Fragments:
  """Chooses the points to shade.

  Args:
    ids: (factor * H, factor * W) int32 faces from ``raster.visible_surface``.
    inverse_depth: the same shape, 1/metres, from ``raster.visible_surface``.
    face_group: (F,) small integers; samples of two groups never share a point (segmentation classes, say).
    factor: samples along each side of a pixel.
    budget: E, further points at most. Those beyond it (in reading order) fall to the first point of their pixel.
    fine: the group of which every sample is its own point, for detail smaller than pixels; -1 for none.
    jump: metres in depth beyond which two samples of a pixel are on two surfaces.
  """
  height, width = ids.shape[0] // factor, ids.shape[1] // factor
  num, samples = height * width, factor * factor
  on = jnp.sum(ids[0]) < 2**30
  own, z, group = once(on, functools.partial(_gather_cells, factor=factor), ids, inverse_depth, face_group)
  leads = _leaders(own, z, group, fine, jump)
  counts = [sum(on_it.astype(jnp.int32) for on_it in row[k:]) for k, row in enumerate(leads)]
  pixel = jnp.arange(num, dtype=jnp.int32)

  def centre(k: int) -> tuple[Array, Array]:
    each = 1.0 / jnp.maximum(counts[k], 1)
    row = sum(jnp.where(leads[k][j], float(j // factor), 0.0) for j in range(k, samples))
    column = sum(jnp.where(leads[k][j], float(j % factor), 0.0) for j in range(k, samples))
    return column * each + (pixel % width * factor), row * each + (pixel // width * factor)

  def points():
    """(S, N) face, x, y and samples of every possible point."""
    at = [centre(k) for k in range(samples)]
    own_id = [jnp.where(counts[k] > 0, own[k], -1) for k in range(samples)]
    return own_id, [a[0] for a in at], [a[1] for a in at], counts

  own_id, xs, ys, counts = once(on, lambda *_: points(), on)
  # The first covered sample leads the first point; every later leader is a further point.
  first = [own_id[0], xs[0], ys[0], counts[0]]
  more = []
  for k in range(1, samples):
    empty = first[0] < 0
    row = (own_id[k], xs[k], ys[k], counts[k])
    more.append((own_id[k] >= 0) & ~empty)
    first = [jnp.where(empty, new, old) for new, old in zip(row, first, strict=True)]
  extra = sum(m.astype(jnp.int32) for m in more)
  place = jnp.cumsum(extra) - extra
  source = jnp.full(budget + 1, samples * num, jnp.int32)
  kept = jnp.zeros(num, jnp.int32)
  for k, wanted in enumerate(more, start=1):
    fits = wanted & (place < budget)
    source = source.at[jnp.where(fits, place, budget)].set(k * num + pixel, mode="promise_in_bounds")
    kept, place = kept + jnp.where(fits, counts[k], 0), place + wanted.astype(jnp.int32)
  source = source[:budget]
  used = source < samples * num
  covered = sum(counts)
  flat = [jnp.concatenate(rows) for rows in (own_id, xs, ys, counts)]
  others = [take(rows, source) for rows in flat]
  return Fragments(
    ids=jnp.concatenate([first[0], jnp.where(used, others[0], -1)]),
    x=jnp.concatenate([first[1], others[1]]),
    y=jnp.concatenate([first[2], others[2]]),
    share=jnp.concatenate([covered - kept, jnp.where(used, others[3], 0)]) * (1.0 / samples),
    pixel=jnp.where(used, source % num, num),
  )


def mix(channel: Array, background: Array, fragments: Fragments) -> Array:
  """One channel of shaded points (N + E,) over a background (N,), to pixels (N,)."""
  num = background.shape[0]
  share, more = fragments.share[:num], fragments.share[num:]
  empty = 1.0 - share.at[fragments.pixel].add(more, mode="drop")
  out = channel[:num] * share + background * empty
  return out.at[fragments.pixel].add(channel[num:] * more, mode="drop")


def corners(screen: Array, faces: Array, ids: Array, x: Array, y: Array, *, slack: float = 0.0):
  """Vertices and barycentric weights of points on faces.

  Args:
    screen: (V, 3) as for ``raster.visibility``.
    faces: (F, 3) int32.
    ids: (...) int32 faces; what comes back where they are -1 means nothing.
    x, y: (...) float32, in samples.
    slack: how far outside [0, 1] a weight may be. The centre of samples on several faces may lie outside the one that
      stands for them: 0 takes the nearest values inside, which suits colours, a larger one continues the plane, which
      suits depth.

  Returns:
    Three arrays of vertex ids and three of weights, which sum to 1.
  """
  face = jnp.maximum(ids, 0)
  a, b, c = (take(faces[:, k], face) for k in range(3))
  (x0, y0), (x1, y1), (x2, y2) = ((take(screen[:, 0], k), take(screen[:, 1], k)) for k in (a, b, c))
  dx1, dy1, dx2, dy2, dx, dy = x1 - x0, y1 - y0, x2 - x0, y2 - y0, x - x0, y - y0
  area = dx1 * dy2 - dy1 * dx2
  inverse = 1.0 / jnp.where(area == 0, 1.0, area)
  w1 = jnp.clip((dx * dy2 - dy * dx2) * inverse, -slack, 1.0 + slack)
  w2 = jnp.clip((dx1 * dy - dy1 * dx) * inverse, -slack, 1.0 + slack - w1)
  return (a, b, c), (1.0 - w1 - w2, w1, w2)


def interpolate(column: Array, vertex_ids: tuple[Array, Array, Array], weights: tuple[Array, Array, Array]) -> Array:
  """One vertex attribute (V,) at points, linear over the screen."""
  (a, b, c), (u, v, w) = vertex_ids, weights
  return take(column, a) * u + take(column, b) * v + take(column, c) * w

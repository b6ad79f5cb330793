"""Cutting a triangle mesh exactly along a level of a scalar field, and walking along the cut."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Cut:
  """What is left where the field is negative.

  Attributes:
    vertices: (V, 3).
    faces: (F, 3).
    on_cut: (V,) bool, vertices that lie on the cut.
    field: (V,) the field.
    parents: (V, 2) the ends of the original edge that a vertex lies on (twice the same for an original vertex).
    share: (V,) how far along that edge.
  """

  vertices: np.ndarray
  faces: np.ndarray
  on_cut: np.ndarray
  field: np.ndarray
  parents: np.ndarray
  share: np.ndarray


def clip(vertices: np.ndarray, faces: np.ndarray, field: np.ndarray) -> Cut:
  """Keeps the part of the mesh where ``field`` (V,) < 0, splitting the triangles that it crosses."""
  field = np.where(np.abs(field) < 1e-9, 1e-9, field).astype(np.float64)
  inside = field < 0
  count = inside[faces].sum(1)
  whole = faces[count == 3]
  two, one = _roll_to(faces[count == 2], inside, False), _roll_to(faces[count == 1], inside, True)
  edges = np.concatenate([two[:, [0, 1]], two[:, [0, 2]], one[:, [0, 1]], one[:, [0, 2]]])
  codes, which = np.unique(_codes(edges, len(vertices)), return_inverse=True)
  pairs = np.stack(np.divmod(codes, len(vertices)), 1)
  fresh = which.reshape(-1) + len(vertices)
  n2, n1 = len(two), len(one)
  p, q, r, s = fresh[:n2], fresh[n2 : 2 * n2], fresh[2 * n2 : 2 * n2 + n1], fresh[2 * n2 + n1 :]
  new_faces = np.concatenate(
    [
      whole,
      np.stack([p, two[:, 1], two[:, 2]], 1),
      np.stack([p, two[:, 2], q], 1),
      np.stack([one[:, 0], r, s], 1),
    ]
  )
  a, b = pairs[:, 0], pairs[:, 1]
  t = field[a] / (field[a] - field[b])

  own = np.arange(len(vertices))
  parents = np.concatenate([np.stack([own, own], 1), pairs])
  share = np.concatenate([np.zeros(len(vertices)), t])
  used, packed = np.unique(new_faces, return_inverse=True)
  parents, share = parents[used], share[used]

  def blend(values: np.ndarray) -> np.ndarray:
    w = share.reshape((-1,) + (1,) * (values.ndim - 1))
    return values[parents[:, 0]] * (1 - w) + values[parents[:, 1]] * w

  return Cut(
    vertices=blend(vertices),
    faces=packed.reshape(-1, 3).astype(np.int32),
    on_cut=used >= len(vertices),
    field=blend(field),
    parents=parents,
    share=share,
  )


def _roll_to(faces: np.ndarray, inside: np.ndarray, wanted: bool) -> np.ndarray:
  """Rotates each triangle so that its first corner is the only one whose ``inside`` is ``wanted``."""
  first = np.argmax(inside[faces] == wanted, axis=1)
  return np.take_along_axis(faces, (first[:, None] + np.arange(3)[None]) % 3, axis=1)


def _codes(edges: np.ndarray, count: int) -> np.ndarray:
  """One integer an undirected edge."""
  return edges.min(1).astype(np.int64) * count + edges.max(1)


def border_edges(faces: np.ndarray) -> np.ndarray:
  """(E, 2) edges that belong to one face only, in that face's direction."""
  edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
  _, which, counts = np.unique(_codes(edges, int(faces.max()) + 1), return_inverse=True, return_counts=True)
  return edges[counts[which.reshape(-1)] == 1]


def ordered_loop(faces: np.ndarray, on_cut: np.ndarray) -> np.ndarray:
  """The longest closed walk along border edges whose both ends are on the cut: vertex indices in order."""
  edges = border_edges(faces)
  following = {int(a): int(b) for a, b in edges if on_cut[a] and on_cut[b]}
  best: list[int] = []
  while following:
    start = next(iter(following))
    walk = [start]
    while walk[-1] in following:
      walk.append(following.pop(walk[-1]))
    if len(walk) > len(best):
      best = walk
  return np.array(best[:-1] if best and best[0] == best[-1] else best)

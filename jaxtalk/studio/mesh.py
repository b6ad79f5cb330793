"""Small mesh helpers that hair and clothes share: the exported part, normals, grids, resampled curves."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class SurfacePart:
  """A finished piece of surface in the person's neutral head frame (metres, Y up, face +Z).

  Attributes:
    vertices: (V, 3) float32.
    faces: (F, 3) int32, counter-clockwise seen from outside.
    normals: (V, 3) float32 unit shading normals; of hair, the normal of the mass blended with each lock's roundness.
    tangent: (V, 3) float32 unit strand direction, root to tip; zeros on cloth.
    coord: (V, 2) float32. Hair: across, counted in strands (plus an offset of each lock, so that 1-D noise of it draws
      strands), and along, 0 at the root to 1 at the tip. Cloth: metres around the body and metres along it.
    shade: (V,) float32 in [0, 1], a factor like ambient occlusion (roots, inner locks and folds are darker).
    tint: (V,) float32 in [-1, 1], the same value over a lock: colour variation.
    two_sided: whether the back of the surface can be seen; then flip the normal towards the camera.
    bind_index, bind_weight: (V, 3) int32 and float32: vertices of the body whose bone weights this vertex mixes, and
      their shares, summing to 1; (0, 3) for hair, which is rigid on the head bone.
    layer: (V,) float32: 0 the main material, 1 trim (ribbed collar, hair tie, buttons).
  """

  vertices: np.ndarray
  faces: np.ndarray
  normals: np.ndarray
  tangent: np.ndarray
  coord: np.ndarray
  shade: np.ndarray
  tint: np.ndarray
  two_sided: bool
  bind_index: np.ndarray
  bind_weight: np.ndarray
  layer: np.ndarray


def surface_part(
  vertices: np.ndarray,
  faces: np.ndarray,
  *,
  normals: np.ndarray | None = None,
  tangent: np.ndarray | None = None,
  coord: np.ndarray | None = None,
  shade: np.ndarray | float = 1.0,
  tint: np.ndarray | float = 0.0,
  two_sided: bool = False,
  bind_index: np.ndarray | None = None,
  bind_weight: np.ndarray | None = None,
  layer: np.ndarray | float = 0.0,
) -> SurfacePart:
  """A ``SurfacePart`` with the given arrays cast and the others filled in (normals from the faces)."""
  count = len(vertices)
  normals = vertex_normals(vertices, faces) if normals is None else normals
  return SurfacePart(
    vertices=np.asarray(vertices, np.float32),
    faces=np.asarray(faces, np.int32),
    normals=np.asarray(unit(normals), np.float32),
    tangent=np.zeros((count, 3), np.float32) if tangent is None else np.asarray(unit(tangent), np.float32),
    coord=np.zeros((count, 2), np.float32) if coord is None else np.asarray(coord, np.float32),
    shade=np.clip(np.broadcast_to(np.asarray(shade, np.float32), (count,)), 0.0, 1.0),
    tint=np.clip(np.broadcast_to(np.asarray(tint, np.float32), (count,)), -1.0, 1.0),
    two_sided=two_sided,
    bind_index=np.zeros((0, 3), np.int32) if bind_index is None else np.asarray(bind_index, np.int32),
    bind_weight=np.zeros((0, 3), np.float32) if bind_weight is None else np.asarray(bind_weight, np.float32),
    layer=np.broadcast_to(np.asarray(layer, np.float32), (count,)),
  )


def join(parts: list[SurfacePart]) -> SurfacePart:
  """One part of several; two-sided if any is."""
  offsets = np.cumsum([0] + [len(p.vertices) for p in parts])
  fields = {
    f.name: np.concatenate([getattr(p, f.name) for p in parts])
    for f in dataclasses.fields(SurfacePart)
    if f.name not in ("faces", "two_sided")
  }
  faces = np.concatenate([p.faces + offset for p, offset in zip(parts, offsets, strict=False)]).astype(np.int32)
  return SurfacePart(faces=faces, two_sided=any(p.two_sided for p in parts), **fields)


def unit(vectors: np.ndarray) -> np.ndarray:
  """Vectors (..., 3) scaled to length 1; zero stays zero."""
  return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Area-weighted unit normals (V, 3)."""
  a, b, c = (vertices[faces[:, k]] for k in range(3))
  face_normals = np.cross(b - a, c - a)
  corners = faces.T.reshape(-1)
  summed = np.stack(
    [np.bincount(corners, np.tile(face_normals[:, d], 3), minlength=len(vertices)) for d in range(3)], axis=1
  )
  return unit(summed)


def grid_faces(rows: int, columns: int, wrap: bool = False) -> np.ndarray:
  """Triangles of a (rows, columns) vertex grid; with ``wrap`` the last column joins the first."""
  across = columns if wrap else columns - 1
  r, c = np.meshgrid(np.arange(rows - 1), np.arange(across), indexing="ij")
  c1 = (c + 1) % columns
  a, b = r * columns + c, r * columns + c1
  d, e = (r + 1) * columns + c, (r + 1) * columns + c1
  return np.stack([np.stack([a, d, b], -1), np.stack([b, d, e], -1)], axis=2).reshape(-1, 3).astype(np.int32)


def repeat_faces(faces: np.ndarray, copies: int, vertices_each: int) -> np.ndarray:
  """The same faces for each of ``copies`` blocks of ``vertices_each`` vertices."""
  return (faces[None] + (np.arange(copies) * vertices_each)[:, None, None]).reshape(-1, 3).astype(np.int32)


def resample(curves: np.ndarray, stops: np.ndarray, count: int) -> np.ndarray:
  """Curves (L, S, 3), each cut at arc length ``stops`` (L,), as ``count`` points equally spaced: (L, count, 3)."""
  steps = np.linalg.norm(np.diff(curves, axis=1), axis=2)
  length = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(steps, axis=1)], axis=1)
  wanted = np.linspace(0.0, 1.0, count)[None] * np.minimum(stops, length[:, -1])[:, None]
  upper = np.clip((length[:, None, :] < wanted[:, :, None]).sum(-1), 1, curves.shape[1] - 1)
  lower = upper - 1
  low, high = np.take_along_axis(length, lower, 1), np.take_along_axis(length, upper, 1)
  t = np.clip((wanted - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)[..., None]
  rows = np.arange(len(curves))[:, None]
  return curves[rows, lower] * (1 - t) + curves[rows, upper] * t


def curve_tangents(curves: np.ndarray) -> np.ndarray:
  """Unit tangents of curves (..., K, 3)."""
  return unit(np.gradient(curves, axis=-2))


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
  """Cubic step from 0 at ``low`` to 1 at ``high``."""
  t = np.clip((x - low) / (high - low), 0.0, 1.0)
  return t * t * (3 - 2 * t)

"""Rays against triangles, for tests of what covers what."""

import numpy as np


def first_hit(origin: np.ndarray, direction: np.ndarray, part) -> float:
  """Distance along a ray to the nearest triangle of the part; inf without one."""
  a, b, c = (part.vertices[part.faces[:, k]].astype(np.float64) for k in range(3))
  h = np.cross(direction, c - a)
  det = ((b - a) * h).sum(1)
  det = np.where(np.abs(det) < 1e-18, np.nan, det)
  s = origin - a
  q = np.cross(s, b - a)
  u, v, t = (s * h).sum(1) / det, (q * direction).sum(1) / det, ((c - a) * q).sum(1) / det
  with np.errstate(invalid="ignore"):
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
  return float(t[hit].min(initial=np.inf))

"""The 68 iBUG landmarks + 2 pupils on the studio head.

Points are mesh vertices, found once on the base mesh from their places in its front view; they move with the mesh, so
the 3-D label is exact by construction. Order is that of 300-W: jaw 0-16 (subject's right to left), brows 17-26, nose
27-35, eyes 36-47, outer lips 48-59, inner lips 60-67, then the right and the left pupil (68, 69).
"""

from __future__ import annotations

import numpy as np

# Front-view positions (x, y) in decimetres on the base mesh, subject's right half (x < 0); the left half is mirrored.
_JAW = [(-0.73, 7.22), (-0.72, 7.02), (-0.69, 6.86), (-0.63, 6.70), (-0.55, 6.54), (-0.44, 6.40), (-0.31, 6.29)]
_JAW += [(-0.16, 6.21), (0.0, 6.19)]
_BROW = [(-0.49, 7.43), (-0.42, 7.49), (-0.34, 7.515), (-0.24, 7.50), (-0.13, 7.465)]
_BRIDGE = [(0.0, 7.32), (0.0, 7.20), (0.0, 7.08), (0.0, 6.96)]
_NOSE = [(-0.115, 6.875), (-0.06, 6.845), (0.0, 6.825)]
_EYE = [(-0.458, 7.283), (-0.385, 7.33), (-0.275, 7.335), (-0.168, 7.272), (-0.275, 7.237), (-0.385, 7.242)]
_LIP_TOP = [(-0.262, 6.608), (-0.16, 6.665), (-0.055, 6.697), (0.0, 6.682)]
_LIP_BOTTOM = [(0.0, 6.485), (-0.07, 6.495), (-0.16, 6.535)]
_INNER = [(-0.245, 6.606), (-0.11, 6.61), (0.0, 6.61)]

PUPIL_RIGHT, PUPIL_LEFT = 68, 69
NUM = 70
UPPER_INNER, LOWER_INNER = 62, 66


def find(base: np.ndarray, part: np.ndarray, jaw_open: np.ndarray, masks: np.ndarray) -> np.ndarray:
  """(68,) vertex indices. ``base`` (K, 3) decimetres; ``jaw_open`` (K, 3) tells the lower lip from the upper one."""
  ear, inside = masks[:, 1] > 100, masks[:, 3] > 128
  skin = (part == 0) & ~ear & (base[:, 1] > 6.0) & (base[:, 2] > 0.3)
  outside = skin & ~inside
  lower = np.linalg.norm(jaw_open, axis=1) > 0.5 * np.linalg.norm(jaw_open, axis=1).max()

  def nearest(points, among):
    ids = np.flatnonzero(among)
    out = []
    for x, y in points:
      d2 = (base[ids, 0] - x) ** 2 + (base[ids, 1] - y) ** 2
      # Among vertices that lie behind one another the front one is meant.
      out.append(ids[np.argmin(d2 - 2e-3 * base[ids, 2])])
    return out

  def closest_pairs(points, upper, lower_lip):
    """Upper and lower vertices that touch when the mouth is shut: the nearest pair of the two lips at each x."""
    near = (base[:, 2] > 1.3) & (np.abs(base[:, 1] - 6.61) < 0.08)
    top, bottom = [], []
    for x, _ in points:
      u, d = (np.flatnonzero(m & near & (np.abs(base[:, 0] - x) < 0.035)) for m in (upper, lower_lip))
      gap = np.linalg.norm(base[u][:, None] - base[d][None], axis=-1)
      # The seam has depth; of the pairs that touch, the one at the front is the edge that the camera sees.
      cost = gap - 0.15 * (base[u][:, None, 2] + base[d][None, :, 2]) + 0.5 * np.abs(base[u][:, None, 0] - x)
      i, j = np.unravel_index(np.argmin(cost), cost.shape)
      top.append(u[i])
      bottom.append(d[j])
    return top, bottom

  def twins(ids):
    """The same vertices on the subject's left, in reverse order."""
    among = np.flatnonzero(part == 0)
    mirrored = base[ids] * [-1.0, 1.0, 1.0]
    return among[np.linalg.norm(base[among][None] - mirrored[:, None], axis=-1).argmin(1)][::-1].tolist()

  right = nearest(_JAW, outside)
  jaw = right + twins(right[:-1])
  right = nearest(_BROW, outside)
  brows = right + twins(right)
  right = nearest(_NOSE, outside)
  nose = nearest(_BRIDGE, outside) + right + twins(right[:-1])
  right = nearest(_EYE, outside)
  left = twins(right)  # in the order 41 .. 36 mirrored
  eyes = right + [left[i] for i in (2, 3, 4, 5, 0, 1)]
  lip = outside & (base[:, 2] > 1.2)
  right = nearest(_LIP_TOP, lip & ~lower)
  below = nearest(_LIP_BOTTOM, lip & lower)
  outer = right + twins(right[:-1]) + twins(below[1:]) + below
  right = nearest(_INNER[:1], lip)
  top, bottom = closest_pairs(_INNER[1:], skin & ~lower, skin & lower)
  inner = right + top + twins(top[:1]) + twins(right) + twins(bottom[:1]) + bottom[::-1]
  ids = np.array(jaw + brows + nose + eyes + outer + inner, np.int32)
  if len(ids) != NUM - 2 or len(set(ids.tolist())) < 64:
    raise ValueError(f"landmarks collapsed: {len(ids)} points, {len(set(ids.tolist()))} distinct")
  return ids

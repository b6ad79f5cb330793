"""Segmentation classes of the studio head (the FaceSynthetics set) and which face belongs to which.

Regions are drawn on the base mesh's front view with the landmarks, once; a face keeps its class on every person.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.studio.head import Asset

BACKGROUND, SKIN, NOSE, EYE_RIGHT, EYE_LEFT, BROW_RIGHT, BROW_LEFT, EAR_RIGHT, EAR_LEFT = range(9)
MOUTH_INTERIOR, LIP_TOP, LIP_BOTTOM, NECK, HAIR, BEARD, CLOTHING = range(9, 16)
LASH = 200  # internal: drawn from both sides, labelled skin
NAMES = (
  "background", "skin", "nose", "right_eye", "left_eye", "right_brow", "left_brow", "right_ear", "left_ear",
  "mouth_interior", "top_lip", "bottom_lip", "neck", "hair", "beard", "clothing",
)  # fmt: skip


def in_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
  """(N,) whether (N, 2) points lie inside a polygon (M, 2), by the even-odd rule."""
  a, b = polygon, np.roll(polygon, -1, 0)
  px, py = points[:, :1], points[:, 1:]
  crosses = (a[:, 1] > py) != (b[:, 1] > py)
  slope = (b[:, 0] - a[:, 0]) / np.where(b[:, 1] == a[:, 1], 1e-12, b[:, 1] - a[:, 1])
  return (crosses & (px < a[:, 0] + (py - a[:, 1]) * slope)).sum(1) % 2 == 1


def inside_mouth(asset: Asset) -> np.ndarray:
  """(K,) body vertices of the oral cavity, behind the wet edge of the lips."""
  return (asset.mask("inside-mouth") > 0.5) & (asset.part == 0)


def classify(asset: Asset, faces: np.ndarray) -> np.ndarray:
  """(F,) class of each triangle of the asset (``LASH`` for lashes)."""
  k = asset.num_vertices
  base = asset.base[:k]
  centre = base[faces].mean(1)
  lm = base[asset.landmarks]
  part = asset.part[faces[:, 0]]
  names = asset.part_names
  out = np.full(len(faces), SKIN, np.int64)
  body = part == names.index("body")

  def mask_of(name: str, level: float = 0.5) -> np.ndarray:
    return (asset.mask(name)[faces].mean(1) > level) & body

  front = centre[:, 2] > 0.08
  chin, jaw = lm[8], lm[4]
  below_chin = centre[:, 1] < chin[1] + (chin[2] - centre[:, 2]) * 0.42
  below_jaw = (centre[:, 1] < jaw[1] + 0.004) & (centre[:, 2] < 0.06)
  behind = (centre[:, 2] < -0.02) & (centre[:, 1] < lm[1, 1] - 0.03)
  out[body & (below_chin | below_jaw | behind)] = NECK

  nose = np.array([lm[27], lm[31] + (-0.006, 0.014, 0), lm[31] + (-0.004, 0, 0), lm[33] + (0, -0.003, 0),
                   lm[35] + (0.004, 0, 0), lm[35] + (0.006, 0.014, 0)])[:, :2]  # fmt: skip
  out[body & front & in_polygon(centre[:, :2], nose)] = NOSE
  for ids, label in ((range(17, 22), BROW_RIGHT), (range(22, 27), BROW_LEFT)):
    line = lm[list(ids)][:, :2]
    ring = np.concatenate([line + (0, 0.0045), (line - (0, 0.0045))[::-1]])
    out[body & front & in_polygon(centre[:, :2], ring)] = label
  ears = mask_of("ears")
  out[ears & (centre[:, 0] < 0)] = EAR_RIGHT
  out[ears & (centre[:, 0] > 0)] = EAR_LEFT

  jaw_open = np.linalg.norm(asset.unit_delta[asset.unit["jawOpen"], :k].astype(np.float32), axis=1)
  moves = (jaw_open > 0.5 * jaw_open.max())[faces].mean(1) > 0.5
  lips = body & (centre[:, 2] > 0.125) & in_polygon(centre[:, :2], lm[48:60][:, :2])
  out[lips & ~moves] = LIP_TOP
  out[lips & moves] = LIP_BOTTOM
  oral = inside_mouth(asset)[faces].all(1)
  tongue_and_teeth = np.isin(part, [names.index(n) for n in ("teeth_upper", "teeth_lower", "tongue")])
  out[oral | tongue_and_teeth] = MOUTH_INTERIOR
  out[np.isin(part, [names.index("lashes_left"), names.index("lashes_right")])] = LASH
  return out

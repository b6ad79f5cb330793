"""Smoothing cloth: neighbour averages with fixed places, and membranes."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve


def averaging(faces: np.ndarray, count: int) -> sparse.csr_matrix:
  """Row-stochastic average of each vertex's neighbours; a vertex without any keeps its place."""
  edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
  edges = np.concatenate([edges, edges[:, ::-1]])
  ones = np.ones(len(edges))
  matrix = (sparse.csr_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(count, count)) > 0).astype(float)
  degree = np.asarray(matrix.sum(1)).reshape(-1)
  return (sparse.diags(1.0 / np.maximum(degree, 1.0)) @ matrix + sparse.diags((degree == 0).astype(float))).tocsr()


def fix(average: sparse.csr_matrix, rows: np.ndarray) -> sparse.csr_matrix:
  """The same averaging, but ``rows`` keep their place."""
  keep = np.zeros(average.shape[0])
  keep[rows] = 1.0
  return (sparse.diags(1 - keep) @ average + sparse.diags(keep)).tocsr()


def even(loop: np.ndarray, times: int) -> np.ndarray:
  """A closed curve (M, 3) smoothed along itself."""
  for _ in range(times):
    loop = 0.5 * loop + 0.25 * (np.roll(loop, 1, 0) + np.roll(loop, -1, 0))
  return loop


def span(cloth: np.ndarray, average: sparse.csr_matrix, free: np.ndarray) -> np.ndarray:
  """Replaces the ``free`` vertices by a membrane stretched between the others."""
  free = free & (average.diagonal() == 0)
  roughness = sparse.identity(len(cloth)) - average
  rows = roughness.tocsr()[free]
  out = cloth.copy()
  out[free] = spsolve(rows[:, free].tocsc(), -(rows[:, ~free] @ cloth[~free]))
  return out

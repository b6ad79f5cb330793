"""How good generated pictures are next to real ones: figures with names, sample counts and intervals.

A figure is called FID, KID or IS only if it was measured with the Inception-v3 that those names stand for; with any
other network it is FD-<network> or KD-<network>, and cannot be compared with published FIDs.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from jaxtalk import runtime
from jaxtalk.core import InputError
from jaxtalk.metrics import distribution as ds
from jaxtalk.metrics.extractors import Extractor, InceptionExtractor
from jaxtalk.metrics.pictures import check_images
from jaxtalk.metrics.result import MetricResult

METRICS = ("frechet", "kernel", "precision_recall", "inception_score")
GROUPS = 10  # into which pictures are dealt to find out how far the Frechet distance can be trusted
_READ = 64  # pictures read at a time


class Pictures(Protocol):
  """The real pictures: anything with a length whose items are (H, W, C) uint8 of one size."""

  def __len__(self) -> int: ...

  def image(self, index: int) -> np.ndarray: ...


def evaluate_images(
  real: Pictures,
  fake: Iterable[np.ndarray],
  extractor: Extractor,
  metrics: Sequence[str] = ("frechet", "kernel", "precision_recall"),
  *,
  seed: int = 0,
  keep: bool = True,
) -> list[MetricResult]:
  """Figures of merit of generated pictures.

  Args:
    real: the data set; all of it is used.
    fake: batches (B, H, W, C) uint8.
    extractor: gives the features.
    metrics: names of ``METRICS``.
    seed: of the subsets of the kernel distance.
    keep: keep the features of the real pictures in the cache folder, under the hash of pictures and network.

  Returns:
    One result a figure (two for ``precision_recall``), each with ``n_real`` and ``n_generated`` in its details and a
    95 % interval: from leaving out a tenth of both sets for the Frechet distance, from the spread of subsets or splits
    for kernel distance and inception score, from counting errors for precision and recall.

  Raises:
    InputError: an unknown metric, pictures of another kind, or too few of them.
  """
  for name in metrics:
    if name not in METRICS:
      raise InputError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
  features_fake = _features_of(fake, extractor)
  features_real = real_features(real, extractor, keep=keep)
  return compare_features(features_real, features_fake, extractor, metrics, seed=seed)


def compare_features(
  real: np.ndarray, fake: np.ndarray, extractor: Extractor, metrics: Sequence[str], *, seed: int = 0
) -> list[MetricResult]:
  """`evaluate_images` on features (N, D) and (M, D) that are there already."""
  results = []
  for metric in metrics:
    if metric == "frechet":
      figures = [_frechet(real, fake)]
    elif metric == "kernel":
      figures = [_kernel(real, fake, seed)]
    elif metric == "precision_recall":
      figures = _precision_recall(real, fake)
    else:
      figures = [_inception_score(fake, extractor)]
    results += [_result(figure, real, fake, extractor) for figure in figures]
  return results


def metric_name(kind: str, extractor: Extractor) -> str:
  """FID, KID or IS with Inception-v3, FD-<name>, KD-<name> or IS-<name> with another network."""
  if kind not in ("FD", "KD", "IS"):
    return kind
  if isinstance(extractor, InceptionExtractor):
    return {"FD": "FID", "KD": "KID", "IS": "IS"}[kind]
  return f"{kind}-{extractor.name}"


def real_features(real: Pictures, extractor: Extractor, *, keep: bool = True) -> np.ndarray:
  """(N, D) float32 features of a data set, from the cache folder if they were measured before."""
  if len(real) == 0:
    raise InputError("there are no real pictures to compare with")
  if not keep:
    return _features_of(_batches(real), extractor)
  digest = hashlib.sha256()
  for batch in _batches(real):
    digest.update(repr(batch.shape).encode() + batch.tobytes())
  path = runtime.cache_dir() / "features" / f"{extractor.name}-{extractor.digest[:16]}-{digest.hexdigest()[:32]}.npy"
  if path.is_file():
    return np.load(path, allow_pickle=False)
  features = _features_of(_batches(real), extractor)
  _write(path, features)
  return features


def _batches(real: Pictures) -> Iterator[np.ndarray]:
  for start in range(0, len(real), _READ):
    images = [real.image(i) for i in range(start, min(start + _READ, len(real)))]
    if len({image.shape for image in images}) > 1:
      raise InputError(f"real pictures {start} to {start + len(images) - 1} are not all of one size")
    yield np.stack(images)


def _features_of(batches: Iterable[np.ndarray], extractor: Extractor) -> np.ndarray:
  parts = [extractor.features(check_images(batch)) for batch in batches]
  if not parts:
    raise InputError("there are no pictures to measure")
  return np.concatenate(parts)


def _write(path: Path, features: np.ndarray) -> None:
  """All at once, so that a run beside this one never sees half a file."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
    np.save(file, features)
  os.replace(file.name, path)


Figure = tuple[str, float, float, dict[str, float]]  # kind, value, half the interval, details


def _frechet(real: np.ndarray, fake: np.ndarray) -> Figure:
  count, dims = min(len(real), len(fake)), real.shape[1]
  if count <= dims:
    raise InputError(
      f"a Frechet distance on {dims} features needs more than {dims} pictures of each kind, not {len(real)} real and "
      f"{len(fake)} generated: take more, or the kernel distance"
    )
  parts = [[ds.Moments.of(x[i::GROUPS]) for i in range(GROUPS)] for x in (real, fake)]
  value = ds.frechet_distance(*[ds.sum_moments(part) for part in parts])
  without = [ds.frechet_distance(*[ds.sum_moments(part[:i] + part[i + 1 :]) for part in parts]) for i in range(GROUPS)]
  spread = np.sqrt((GROUPS - 1) * np.var(without))  # the jackknife over groups
  return "FD", value, 1.96 * float(spread), {}


def _kernel(real: np.ndarray, fake: np.ndarray, seed: int) -> Figure:
  count = min(len(real), len(fake))
  size = min(1000, max(2, count // 2))  # subsets of a small set must differ, or their spread says nothing
  values = ds.kernel_distance(real, fake, subset_size=size, seed=seed)
  # Subsets share pictures: their mean is as sure as that of the whole set, not as that of as many independent ones.
  error = values.std() * max(np.sqrt(size / count), np.sqrt(1 / len(values)))
  return "KD", float(values.mean()), 1.96 * float(error), {"std_of_subsets": float(values.std())}


def _precision_recall(real: np.ndarray, fake: np.ndarray) -> list[Figure]:
  shares = zip(("precision", "recall"), ds.precision_recall(real, fake), (len(fake), len(real)), strict=True)
  return [(name, p, 1.96 * float(np.sqrt(p * (1 - p) / count)), {"neighbours": 3.0}) for name, p, count in shares]


def _inception_score(fake: np.ndarray, extractor: Extractor) -> Figure:
  probabilities = extractor.probabilities(fake)
  if probabilities is None:
    raise InputError(f"the inception score needs classes, which {extractor.name} does not tell apart: use Inception")
  mean, std = ds.inception_score(probabilities)
  return "IS", mean, 1.96 * std / np.sqrt(10), {"std_of_splits": std}


def _result(figure: Figure, real: np.ndarray, fake: np.ndarray, extractor: Extractor) -> MetricResult:
  kind, value, half, details = figure
  return MetricResult(
    name=metric_name(kind, extractor),
    value=value,
    unit="1",
    representation=f"{real.shape[1]} features of {extractor.name}",
    fps=None,
    n_clips=len(fake),
    n_frames=len(fake),
    ci95=(value - half, value + half),
    details={"n_real": float(len(real)), "n_generated": float(len(fake)), **details},
  )

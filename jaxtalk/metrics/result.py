"""What every measure answers, and what every measure refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from jaxtalk.core import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricResult:
  """One figure and what is needed to repeat it.

  Attributes:
    name: of the measure.
    value: in ``unit``.
    unit: "ms", "1/min", "1" ...
    representation: what was measured, e.g. "inner-lip gap of lm3d_m".
    fps: of the motion; None for sets of pictures, each of which counts as a clip of one frame.
    n_clips, n_frames: how much was measured.
    ci95: bootstrap 95 % confidence interval over clips; both ends equal the value for a single clip.
    details: further figures of the same measure, in the unit that their names say.
    macro: mean over clips of the clips' own values, where ``value`` pools the frames of all clips; None where a measure
      knows no such difference.
    mask, mask_sha256: name and digest of the vertices that were measured; "" where there is no choice of vertices.
  """

  name: str
  value: float
  unit: str
  representation: str
  fps: Fraction | None
  n_clips: int
  n_frames: int
  ci95: tuple[float, float]
  details: Mapping[str, float] = dataclasses.field(default_factory=dict)
  macro: float | None = None
  mask: str = ""
  mask_sha256: str = ""

  def as_dict(self) -> dict:
    """JSON-serialisable."""
    out = dataclasses.asdict(self)
    return out | {
      "fps": None if self.fps is None else [self.fps.numerator, self.fps.denominator],
      "ci95": list(self.ci95),
      "details": dict(self.details),
    }


def check_series(name: str, values: np.ndarray, ndim: int = 1) -> np.ndarray:
  """float64 array of ``ndim`` axes with leading T; InputError if it is empty, ragged or not finite."""
  array = np.asarray(values, np.float64)
  if array.ndim != ndim or not array.size:
    raise InputError(f"{name} has shape {array.shape}: expected {ndim} axes and at least one frame")
  if not np.isfinite(array).all():
    raise InputError(f"{name} has NaN or infinite values in frame {int(np.argwhere(~np.isfinite(array))[0][0])}")
  return array


def common_fps(rates: Sequence[Fraction]) -> Fraction:
  """The one frame rate of all clips; InputError for none or several."""
  if not rates:
    raise InputError("no clips to measure")
  if len(set(rates)) != 1:
    raise InputError(f"clips differ in fps ({', '.join(str(r) for r in sorted(set(rates)))}): resample them first")
  return rates[0]


def bootstrap(clips: Sequence[np.ndarray], statistic: Callable[[np.ndarray], float], rounds: int = 1000):
  """95 % interval of a statistic of the pooled values, by resampling clips (seeded, so it repeats)."""
  rng = np.random.default_rng(0)
  draws = rng.integers(0, len(clips), (rounds, len(clips)))
  pooled = (np.concatenate([clips[i] for i in draw]) for draw in draws)
  values = [statistic(p) for p in pooled if len(p)]
  low, high = np.percentile(values, [2.5, 97.5])
  return float(low), float(high)

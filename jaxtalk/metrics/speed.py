"""How long making a motion takes next to how long it lasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.metrics.result import MetricResult, bootstrap, check_series

MIN_RUNS = 5


def real_time_factor(
  seconds: Sequence[float], duration: float, includes: str, *, warm_ups: int, cold: float | None = None
) -> MetricResult:
  """RTF: wall time over the duration of what was made, the median of repeated runs; below 1 is faster than real time.

  Details: ``real_time`` (its inverse, times real time), the 5th and 95th percentile, and ``cold``, the factor of the
  first call. The interval is that of the median.

  Args:
    seconds: wall time of each run after the warm-ups, five at least.
    duration: seconds of output that one run makes.
    includes: what the time includes, e.g. "encoding and sampling, not loading or writing".
    warm_ups: runs made before and not counted, two at least.
    cold: wall time of the very first call, with compilation; None if not taken.

  Raises:
    InputError: too few runs or warm-ups, times or durations that are not positive.
  """
  runs = check_series("seconds", np.asarray(seconds))
  if len(runs) < MIN_RUNS or warm_ups < 2:
    raise InputError(f"a real-time factor needs {MIN_RUNS} runs after 2 warm-ups, not {len(runs)} after {warm_ups}")
  if duration <= 0 or runs.min() <= 0:
    raise InputError("times and durations must be positive")
  factors = runs / duration
  low, high = np.percentile(factors, [5, 95])
  details = {"real_time": float(1 / np.median(factors)), "p5": float(low), "p95": float(high)}
  if cold is not None:
    details["cold"] = cold / duration
  return MetricResult(
    name="RTF",
    value=float(np.median(factors)),
    unit="1",
    representation=f"wall time over output time: {includes}",
    fps=None,
    n_clips=len(runs),
    n_frames=0,
    ci95=bootstrap([np.array([factor]) for factor in factors], lambda values: float(np.median(values))),
    details=details,
  )

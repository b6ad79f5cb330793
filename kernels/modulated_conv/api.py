"""The modulated convolution: one name, several implementations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np

from jaxtalk.kernels.modulated_conv import reference
from jaxtalk.kernels.resample import DEFAULT_TAPS, setup_filter

Implementation = Literal["auto", "xla", "grouped"]
_FORMS = {"auto": reference.scaled, "xla": reference.scaled, "grouped": reference.grouped}


def modulated_conv(
  x: jax.Array,
  weight: jax.Array,
  styles: jax.Array,
  *,
  up: int = 1,
  down: int = 1,
  demodulate: bool = True,
  noise: jax.Array | None = None,
  resample_filter: Sequence[float] | np.ndarray | None = DEFAULT_TAPS,
  implementation: Implementation = "auto",
) -> jax.Array:
  """Convolution whose kernel a style scales per sample and input channel (Karras et al. 2020, section 2.2).

  The kernel of sample n is ``weight[..., i, o] * styles[n, i]``, divided by its norm over everything but ``o`` if
  ``demodulate``. Padding keeps the size (times ``up``, by ``down``).

  Args:
    x: (N, H, W, I), float32 or a half precision.
    weight: (k, k, I, O), k odd. With ``up`` > 1 it is convolved with, not correlated: the official files store such
      kernels mirrored.
    styles: (N, I) float32.
    up, down: resampling with ``resample_filter`` before and after.
    demodulate: give output channels unit expected variance.
    noise: added last; broadcasts against the result.
    resample_filter: taps, or a filter from `setup_filter` of two dimensions; None is the identity.
    implementation: "xla" scales input and output channels around one shared convolution; "grouped" is the reference;
      "auto" picks the fastest for the backend.

  Returns:
    (N, H * up // down, W * up // down, O) in the dtype of ``x``.

  Raises:
    ValueError: an unknown implementation, or shapes that do not belong together.
  """
  if implementation not in _FORMS:
    raise ValueError(f"modulated_conv has implementations {', '.join(_FORMS)}, not {implementation!r}")
  if x.ndim != 4 or weight.ndim != 4 or styles.shape != (x.shape[0], weight.shape[2]) or x.shape[3] != weight.shape[2]:
    raise ValueError(
      f"modulated_conv wants x (N, H, W, I), weight (k, k, I, O), styles (N, I), "
      f"not {x.shape}, {weight.shape}, {styles.shape}"
    )
  f = None if resample_filter is None else setup_filter(resample_filter, normalize=np.ndim(resample_filter) == 1)
  y = _FORMS[implementation](x, weight, styles, up, down, demodulate, f)
  return y if noise is None else y + noise.astype(y.dtype)

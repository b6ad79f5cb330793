"""From articulators to the mouth's ARKit weights, by a linear model of the lip gap.

On the studio head the vertical distance between the inner lips at the midline is linear in the face weights. In units
of ``jawOpen`` at full weight (34.5 mm on the adult base mesh), read off the mesh at the two innermost midline points:

  gap = rest + jawOpen - mouthClose + sum(GAP_PER_WEIGHT[k] * weight[k])

and ``mouthClose`` cancels ``jawOpen`` along the whole width of the lips (ratio 1.00 at the midline, 0.97 to 1.03 up to
the corners). So the animator plans the gap itself, whatever the jaw, the rounding and the smile do, and this module
solves for ``mouthClose`` (or for a little more jaw where a smile would press the lips into one another). A planned gap
of zero is a closed mouth in every emotion.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.motion import curves
from jaxtalk.motion.spaces import ARKIT

ARTICULATORS = ("gap", "jaw", "pucker", "funnel", "spread", "upper", "lower", "tuck", "press", "tongue", "forward")

# Change of the midline gap per unit weight, in units of jawOpen; left and right channels count each on its own.
GAP_PER_WEIGHT = {
  "jawOpen": 1.0,
  "mouthClose": -1.0,
  "mouthFunnel": 0.406,
  "mouthPucker": -0.026,
  "mouthLeft": -0.032,
  "mouthRight": -0.032,
  "mouthRollLower": -0.110,
  "mouthRollUpper": -0.081,
  "mouthShrugLower": -0.142,
  "mouthShrugUpper": 0.119,
  "mouthSmileLeft": -0.043,
  "mouthSmileRight": -0.043,
  "mouthFrownLeft": 0.003,
  "mouthFrownRight": 0.003,
  "mouthDimpleLeft": 0.003,
  "mouthDimpleRight": 0.003,
  "mouthPressLeft": -0.041,
  "mouthPressRight": -0.041,
  "mouthLowerDownLeft": 0.055,
  "mouthLowerDownRight": 0.055,
  "mouthUpperUpLeft": 0.070,
  "mouthUpperUpRight": 0.070,
  "mouthStretchLeft": 0.006,
  "mouthStretchRight": 0.006,
  "jawForward": 0.041,
}
REST_GAP = 0.0  # the studio lets the lips of every person meet at rest
BEYOND_JAW = 0.04

_GAP = np.array([GAP_PER_WEIGHT.get(name, 0.0) for name in ARKIT.channels])
_SIDED = ("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch", "mouthPress", "mouthLowerDown", "mouthUpperUp")


def add(values: np.ndarray, channel: str, amount: np.ndarray | float) -> None:
  """Adds to a channel of (T, 61), or to both sides of it when ``channel`` lacks its Left/Right."""
  for suffix in ("",) if channel in ARKIT.channels else ("Left", "Right"):
    values[:, ARKIT.index(channel + suffix)] += amount


def add_articulation(values: np.ndarray, tracks: dict[str, np.ndarray]) -> None:
  """Adds the speech gestures (everything but the jaw and the gap) to ``values`` (T, 61), in place.

  Args:
    values: motion being built.
    tracks: articulator -> (T,), each about in [0, 1]; see ``articulation.SHAPES``.
  """
  # Where the lips round, spreading gives way: the two pull the corners in opposite directions.
  spread = tracks["spread"] * (1.0 - np.clip(tracks["pucker"] + tracks["funnel"], 0.0, 1.0))
  add(values, "mouthPucker", tracks["pucker"])
  add(values, "mouthFunnel", tracks["funnel"])
  add(values, "mouthStretch", 0.55 * spread)
  add(values, "mouthSmile", 0.22 * spread)
  add(values, "mouthDimple", 0.20 * spread)
  add(values, "mouthUpperUp", tracks["upper"] + 0.22 * tracks["tuck"])
  add(values, "mouthLowerDown", tracks["lower"])
  add(values, "mouthRollLower", 0.85 * tracks["tuck"] + 0.20 * tracks["press"])
  add(values, "mouthRollUpper", 0.20 * tracks["press"])
  add(values, "mouthPress", 0.25 * tracks["press"])
  add(values, "tongueOut", tracks["tongue"])
  add(values, "jawForward", tracks["forward"])


def add_asymmetry(values: np.ndarray, amount: float) -> None:
  """Makes the lower face stronger on the left (``amount`` > 0) or on the right, in place."""
  for name in _SIDED:
    values[:, ARKIT.index(name + "Left")] *= 1.0 + 0.3 * amount
    values[:, ARKIT.index(name + "Right")] *= 1.0 - 0.3 * amount
  open_mouth = np.clip(values[:, ARKIT.index("jawOpen")] * 3.0, 0.0, 1.0)
  add(values, "mouthLeft" if amount > 0 else "mouthRight", 0.12 * abs(amount) * open_mouth)


def solve_gap(values: np.ndarray, jaw: np.ndarray, gap: np.ndarray) -> None:
  """Sets ``jawOpen`` and ``mouthClose`` so that the lip gap is as planned, in place.

  Args:
    values: (T, 61) with every other mouth channel final.
    jaw: (T,) wanted jawOpen in [0, 1]; raised a little where the gap asks for more than it gives.
    gap: (T,) wanted lip gap in units of jawOpen, 0 is closed.
  """
  values[:, ARKIT.index("jawOpen")] = values[:, ARKIT.index("mouthClose")] = 0.0
  natural = REST_GAP + jaw + np.clip(values, 0.0, 1.0) @ _GAP
  # Lips alone open little beyond what the jaw gives: what is asked for beyond that comes only in part, so that the
  # jaw, which is heavy, is not thrown about by quick lips.
  beyond = np.maximum(gap - np.maximum(natural, 0.0), 0.0)
  gap = gap - beyond + BEYOND_JAW * np.tanh(beyond / BEYOND_JAW)
  surplus = natural - gap
  close = curves.soft_positive(surplus, 0.01)
  values[:, ARKIT.index("mouthClose")] = close
  values[:, ARKIT.index("jawOpen")] = jaw + close - surplus


def lip_gap(values: np.ndarray) -> np.ndarray:
  """(T,) midline lip gap of (T, 61) in units of jawOpen, by the linear model; negative means pressed together."""
  return REST_GAP + values @ _GAP

"""Motion codes: there and back, closures that stay closed, refusals."""

from fractions import Fraction

import numpy as np
import pytest

from jaxtalk.core import InputError, Motion, MotionSpace
from jaxtalk.motion import codes, mouth, spaces


def _motion(rng, frames=40):
  """Values that an animator could make: gaps that the jaw allows, eyes that meet."""
  values = np.zeros((frames, 61))
  free = [i for i, c in enumerate(spaces.FACE_CHANNELS) if not c.startswith("eyeLook") and c != "mouthClose"]
  values[:, free] = rng.uniform(0.0, 0.4, (frames, len(free)))
  close = spaces.ARKIT.index("mouthClose")
  values[:, close] = np.minimum(rng.uniform(0.0, 1.0, frames) * np.maximum(mouth.lip_gap(values), 0.0), 1.0)
  values[:, spaces.HEAD] = rng.uniform(-0.2, 0.2, (frames, 3))
  eyes = rng.uniform(-0.1, 0.1, (frames, 2))
  values[:, 55:57], values[:, 58:60] = eyes - [0.02, 0.0], eyes + [0.02, 0.0]
  for name, weight in spaces.eye_look_weights(values[:, 55:57], values[:, 58:60]).items():
    values[:, spaces.ARKIT.index(name)] = weight
  return values


def test_codes_and_back():
  values = _motion(np.random.default_rng(0))
  values = values[mouth.lip_gap(values) >= 0.0]
  assert len(values) > 10
  np.testing.assert_allclose(codes.decode(codes.encode(values)), values, atol=1e-6)


def test_a_gap_code_of_zero_is_a_closed_mouth_whatever_the_rest():
  code = np.random.default_rng(1).uniform(0.0, 0.3, (50, len(codes.CHANNELS)))
  code[:, codes.CHANNELS.index("jawOpen")] = 0.5
  code[:, codes.GAP] = -0.1
  assert np.abs(mouth.lip_gap(codes.decode(code))).max() < 1e-6


def test_a_gap_beyond_the_jaw_opens_the_jaw():
  code = np.zeros((1, len(codes.CHANNELS)))
  code[0, codes.GAP] = np.sqrt(0.3)
  values = codes.decode(code)
  assert mouth.lip_gap(values)[0] == pytest.approx(0.3, abs=1e-6)
  assert values[0, spaces.ARKIT.index("jawOpen")] == pytest.approx(0.3, abs=1e-6)


def test_other_shapes_and_spaces_are_refused():
  with pytest.raises(InputError, match="61"):
    codes.encode(np.zeros((3, 52)))
  with pytest.raises(InputError, match="49 channels"):
    codes.decode(np.zeros((3, 61)))
  other = MotionSpace("other", ("a",))
  with pytest.raises(InputError, match="'other'"):
    codes.from_motion(Motion(values=np.zeros((3, 1)), fps=Fraction(25), space=other))
  nan = np.full((3, 61), np.nan)
  with pytest.raises(InputError, match="NaN"):
    codes.from_motion(Motion(values=nan, fps=Fraction(25), space=spaces.ARKIT))

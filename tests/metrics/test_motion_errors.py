"""Errors against a ground truth: values that can be worked out by hand."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.metrics import dynamics, parameters, vertices
from jaxtalk.metrics.pairs import VertexMask, pair
from jaxtalk.motion import rotations
from jaxtalk.motion.spaces import ARKIT

FPS = Fraction(25)
LIPS = VertexMask.of("lips", [4, 1, 2])
RNG = np.random.default_rng(0)
FACE = RNG.normal(0, 0.02, (30, 6, 3))


def moved(offset, frames=30):
  return pair(FACE[:frames] + offset, FACE, FPS) if np.ndim(offset) < 2 else pair(FACE + offset, FACE, FPS)


def test_a_constant_offset_is_its_square_in_lve_its_length_in_mm_and_nothing_in_fdd():
  offset = np.array([0.002, 0.001, -0.002])  # 3 mm long
  pairs = [moved(offset)]
  squared = vertices.lip_vertex_error(pairs, LIPS, "test face")
  assert squared.value == pytest.approx(9e-6) and squared.unit == "m^2" and squared.name == "LVE"
  length = vertices.lip_vertex_distance(pairs, LIPS, "test face")
  assert length.value == pytest.approx(3.0) and length.unit == "mm"
  assert vertices.mean_vertex_error(pairs, None, "test face").value == pytest.approx(3.0)
  still = pair(np.zeros((30, 6, 3)) + offset, np.zeros((30, 6, 3)), FPS, template=np.zeros((6, 3)))
  for form in vertices.FDD_FORMS:
    result = vertices.face_dynamics_deviation([still], LIPS, "test face", form=form)
    assert result.value == pytest.approx(0.0, abs=1e-15) and form in result.name


def test_lve_takes_the_worst_lip_vertex_and_the_mean_all_that_are_asked_for():
  offset = np.zeros((30, 6, 3))
  offset[:, 0, 1] = 0.1  # not a lip
  offset[:, 4, 2] = np.where(np.arange(30) < 15, 0.002, 0.004)
  pairs = [moved(offset)]
  assert vertices.lip_vertex_error(pairs, LIPS, "f").value == pytest.approx((4e-6 + 16e-6) / 2)
  assert vertices.lip_vertex_distance(pairs, LIPS, "f").value == pytest.approx(3.0)  # not the root of the above
  assert vertices.mean_vertex_error(pairs, LIPS, "f", name="UFVE").value == pytest.approx(1.0)
  assert vertices.mean_vertex_error(pairs, None, "f").value == pytest.approx((100.0 + 3.0) / 6)


def test_pooled_over_frames_and_over_clips_differ_for_clips_of_different_length():
  long, short = pair(FACE + [0.001, 0, 0], FACE, FPS), pair(FACE[:10] + [0.003, 0, 0], FACE[:10], FPS)
  result = vertices.lip_vertex_distance([long, short], LIPS, "f")
  assert result.value == pytest.approx((30 * 1.0 + 10 * 3.0) / 40) and result.macro == pytest.approx(2.0)
  assert (result.n_clips, result.n_frames) == (2, 40) and result.ci95[0] == pytest.approx(1.0)


def test_fdd_is_the_difference_of_the_spreads_and_has_two_forms():
  rest = RNG.normal(0, 0.05, (6, 3))
  sine = np.sin(2 * np.pi * np.arange(40) / 40)[:, None, None]  # std of |1 + s| is 1/sqrt(2), of its square below
  wide, narrow = (rest + a * (1 + sine) * np.array([0.0, 1.0, 0.0]) for a in (0.004, 0.002))
  pairs = [pair(narrow, wide, FPS, template=rest)]
  plain = vertices.face_dynamics_deviation(pairs, LIPS, "f", form="diffposetalk")
  assert plain.value == pytest.approx((0.004 - 0.002) * np.sqrt(0.5)) and plain.unit == "m"
  squared = vertices.face_dynamics_deviation(pairs, LIPS, "f")
  spread = np.square(1 + sine).std()
  assert squared.value == pytest.approx((0.004**2 - 0.002**2) * spread) and squared.unit == "m^2"
  pairs.append(pair(wide, narrow, FPS, template=rest))
  both = vertices.face_dynamics_deviation(pairs, LIPS, "f", form="diffposetalk")
  assert both.value == pytest.approx(0.0, abs=1e-12) and both.details["mean_absolute"] == pytest.approx(plain.value)


def test_mouth_opening_difference_and_correlation():
  t = np.arange(50) / 25
  true, wide = np.zeros((50, 70, 3)), np.zeros((50, 70, 3))
  true[:, 62, 1], wide[:, 62, 1] = 0.01 + 0.005 * np.sin(t), 0.013 + 0.005 * np.sin(t)
  result = vertices.mouth_opening_difference([pair(wide, true, FPS)], "landmarks")
  assert result.value == pytest.approx(3.0) and result.unit == "mm" and result.details["rms_mm"] == pytest.approx(3.0)
  assert vertices.mouth_opening_correlation([pair(wide, true, FPS)], "landmarks").value == pytest.approx(1.0)
  assert vertices.mouth_opening_correlation([pair(0 * wide, true, FPS)], "landmarks").value == 0.0
  turned = wide @ rotations.matrix_from_ypr(np.array([0.3, -0.2, 0.1])).T
  assert vertices.mouth_opening_difference([pair(turned, true, FPS)], "landmarks").value == pytest.approx(3.0)


def test_masks_are_named_by_their_indices_and_stay_on_their_mesh():
  indices = np.array([1, 2, 4], "<i8").tobytes()
  assert LIPS.sha256 == hashlib.sha256(indices).hexdigest()
  assert VertexMask.of("lips", np.array([False, True, True, False, True])).sha256 == LIPS.sha256
  result = vertices.lip_vertex_error([moved(0.0)], LIPS, "f").as_dict()
  assert (result["mask"], result["mask_sha256"], result["fps"]) == ("lips", LIPS.sha256, [25, 1])


def test_channels_in_their_units():
  values = np.zeros((20, len(ARKIT)))
  other = values.copy()
  other[:, ARKIT.index("jawOpen")], other[:, ARKIT.index("mouthPucker")] = 0.3, -0.4
  other[:, ARKIT.index("headYaw")] = np.deg2rad(10.0)
  pairs, mouth = [pair(other, values, FPS)], ("jawOpen", "mouthPucker")
  assert parameters.channel_error(pairs, ARKIT, mouth).value == pytest.approx(0.35)
  assert parameters.channel_error(pairs, ARKIT, mouth, norm="l2").value == pytest.approx(0.5)
  turn = parameters.channel_error(pairs, ARKIT, ("headYaw",), unit="deg")
  assert turn.value == pytest.approx(10.0) and turn.unit == "deg" and turn.name == "L1 of headYaw"


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 12.0, 179.0])
def test_the_angle_between_head_poses(degrees):
  base = rotations.matrix_from_ypr(RNG.uniform(-0.5, 0.5, (15, 3)))
  turn = rotations.matrix_from_axis_angle(np.deg2rad(degrees) * np.array([2.0, -1.0, 2.0]) / 3.0)
  result = parameters.rotation_error([pair(base @ turn, base, FPS)], "head")
  assert result.value == pytest.approx(degrees, abs=1e-7) and result.unit == "deg"


def test_jitter_ratio_is_that_of_the_amplitudes():
  shake = RNG.normal(size=(40, 3, 3))
  assert dynamics.jitter_ratio([2.5 * shake], [shake], [FPS], "points").value == pytest.approx(2.5)


def test_up_to_three_frames_more_are_cut_off():
  longer = np.concatenate([FACE + 0.001, 9.0 + FACE[:3]])
  assert len(pair(longer, FACE, FPS).truth) == 30
  assert vertices.mean_vertex_error([pair(longer, FACE, FPS)], None, "f").value == pytest.approx(np.sqrt(3.0))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: pair(FACE, FACE[:26], FPS, name="clip_7"), "clip_7 has 30 frames, its truth 26"),
    (lambda: pair(FACE, FACE, FPS, Fraction(30)), "has 25 fps, its truth 30: resample"),
    (lambda: pair(FACE, FACE[:, :5], FPS), "differ in frames only"),
    (lambda: pair(np.where(FACE > 0.05, np.nan, FACE), FACE, FPS), "the prediction has NaN"),
    (lambda: VertexMask.of("lips", []), "no vertices"),
    (lambda: VertexMask.of("lips", [-1]), "negative"),
    (lambda: vertices.lip_vertex_error([moved(0.0)], VertexMask.of("lips", [6]), "f"), "vertex 6 of a mesh of 6"),
    (lambda: vertices.lip_vertex_error([], LIPS, "f"), "no clips"),
    (lambda: vertices.mean_vertex_error([pair(FACE[:, 0], FACE[:, 0], FPS)], None, "f"), "must be"),
    (lambda: vertices.face_dynamics_deviation([moved(0.0)], LIPS, "f"), "give pair\\(\\) the template"),
    (lambda: vertices.face_dynamics_deviation([moved(0.0)], LIPS, "f", form="x"), "not 'x'"),
    (lambda: vertices.mean_vertex_error([moved(0.0), pair(FACE, FACE, Fraction(30))], None, "f"), "differ in fps"),
    (lambda: parameters.channel_error([moved(0.0)], ARKIT, ("jawOpen",)), "does not fit"),
    (lambda: parameters.channel_error([moved(0.0)], ARKIT, ("jawOpn",)), "no channel 'jawOpn'"),
    (lambda: parameters.channel_error([moved(0.0)], ARKIT, ()), "no channels"),
    (lambda: parameters.rotation_error([moved(0.0)], "head"), "must be matrices"),
    (lambda: dynamics.jitter_ratio([FACE], [0 * FACE], [FPS], "f"), "perfectly smooth"),
  ],
)
def test_refusals(call, message):
  with pytest.raises(InputError, match=message):
    call()

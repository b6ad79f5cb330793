"""Measures on points of a face: lids, blinks, distances, and the pose that points give away."""

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.metrics import face_points, head_pose
from jaxtalk.motion.rotations import matrix_from_axis_angle, matrix_from_ypr

K = np.array([[300.0, 0, 63.5], [0, 300.0, 63.5], [0, 0, 1]])
FACING = np.diag([1.0, -1.0, -1.0])


def _eyes(height):
  """(70, 2) points whose lids are ``height`` apart at a width of 3; the rest lies at 0."""
  points = np.zeros((70, 2))
  for first in (36, 42):
    points[first : first + 6] = [[0, 0], [1, -height / 2], [2, -height / 2], [3, 0], [2, height / 2], [1, height / 2]]
  return points


def test_eye_aspect_ratio_is_height_over_width():
  points = np.stack([_eyes(0.9), _eyes(0.0)])
  np.testing.assert_allclose(face_points.eye_aspect_ratio(points), [0.3, 0.0], atol=1e-12)
  one_shut = _eyes(0.9)
  one_shut[42:48] = _eyes(0.0)[42:48]
  assert face_points.eye_aspect_ratio(one_shut) == pytest.approx(0.15)


def test_opening_does_not_know_the_scale():
  points = np.random.default_rng(0).normal(size=(4, 10, 3))
  ratio = face_points.opening(points, (0, 1), (2, 3))
  np.testing.assert_allclose(face_points.opening(7.0 * points + 1.0, (0, 1), (2, 3)), ratio)
  np.testing.assert_allclose(
    ratio[0], np.linalg.norm(points[0, 0] - points[0, 1]) / np.linalg.norm(np.diff(points[0, 2:4], axis=0))
  )


def test_point_error_in_per_cent():
  truth = np.zeros((2, 3, 2))
  found = truth + [3.0, 4.0]
  np.testing.assert_allclose(face_points.point_error(found, truth, np.array([50.0, 100.0])), [10.0, 5.0])
  with pytest.raises(InputError, match="not positive"):
    face_points.point_error(found, truth, np.array([0.0, 1.0]))
  with pytest.raises(InputError, match="belong together"):
    face_points.point_error(found, truth[:1], np.ones(2))


def test_correlation():
  t = np.arange(10.0)
  assert face_points.correlation(t, 3 * t + 1) == pytest.approx(1.0)
  assert face_points.correlation(t, -t) == pytest.approx(-1.0)
  assert np.isnan(face_points.correlation(t, np.ones(10)))


def _blinking(frames=100, at=(20, 60)):
  label = np.zeros(frames)
  for start in at:
    label[start : start + 4] = [0.6, 1.0, 1.0, 0.6]
  return label


def test_blinks_that_are_seen_missed_and_made_up():
  label = _blinking()
  openness = 0.3 - 0.15 * label
  both = face_points.count_blinks(openness, label, 25.0, shut=0.75)
  assert (both.labelled, both.seen, both.false, both.seconds) == (2, 2, 0, 4.0)
  openness[55:70] = 0.3  # the second is not there
  openness[85:87] = 0.15  # and here is one that nobody asked for
  worse = face_points.count_blinks(openness, label, 25.0, shut=0.75)
  assert (worse.labelled, worse.seen, worse.false) == (2, 1, 1)
  figures = (both + worse).as_dict()
  assert figures["detected"] == 0.75 and figures["false_per_minute"] == pytest.approx(60 / 8)


def test_slow_changes_of_the_lids_and_lost_frames_are_no_blinks():
  label = _blinking()
  slow = np.linspace(0.4, 0.2, 100)
  slow[40:43] = np.nan
  found = face_points.count_blinks(slow * (1 - 0.5 * label), label, 25.0, shut=0.75)
  assert (found.labelled, found.seen, found.false) == (2, 2, 0)
  nothing = face_points.count_blinks(np.full(100, np.nan), label, 25.0, shut=0.75)
  assert (nothing.labelled, nothing.seen, nothing.false) == (2, 0, 0)


def _head(count=30, seed=0):
  return np.random.default_rng(seed).uniform([-0.06, -0.08, 0.0], [0.06, 0.08, 0.06], (count, 3))


def _seen(points, rotation, shift):
  q = (points @ rotation.T + shift) @ K.T
  return q[:, :2] / q[:, 2:]


@pytest.mark.parametrize("ypr", [(0, 0, 0), (30, -15, 10), (-45, 20, -25)])
def test_pose_of_exact_points_is_exact(ypr):
  rotation = FACING @ matrix_from_ypr(np.radians(ypr))
  shift = np.array([0.05, -0.03, 0.9])
  found, at = head_pose.pose_from_points(_seen(_head(), rotation, shift), _head(), K)
  assert np.degrees(head_pose.angle_between(found, rotation)) < 1e-4
  np.testing.assert_allclose(at, shift, atol=1e-6)


def test_pose_bears_noise_and_a_few_wrong_points():
  rotation, shift = FACING @ matrix_from_ypr(np.radians([20, 5, -5])), np.array([0.0, 0.0, 0.9])
  pixels = _seen(_head(), rotation, shift) + np.random.default_rng(1).normal(0, 0.2, (30, 2))
  pixels[:2] += 8.0
  found, _ = head_pose.pose_from_points(pixels, _head(), K)
  assert np.degrees(head_pose.angle_between(found, rotation)) < 2.0


def test_triangulation_finds_points_and_gives_poses_back():
  poses = []
  for yaw in (-20, 0, 20):
    rotation = FACING @ matrix_from_ypr(np.radians([yaw, yaw / 2, 0]))
    poses.append(np.concatenate([rotation, [[0.01], [0.02], [0.9]]], axis=1))
  pixels = np.stack([_seen(_head(), p[:, :3], p[:, 3]) for p in poses])
  points = head_pose.triangulate(pixels, K, np.stack(poses))
  np.testing.assert_allclose(points, _head(), atol=1e-8)
  with pytest.raises(InputError, match="at least 2"):
    head_pose.triangulate(pixels[:1], K, np.stack(poses[:1]))


def test_rigid_motion_and_angles():
  turn = matrix_from_axis_angle(np.array([0.2, -0.5, 0.3]))
  rotation, shift = head_pose.rigid_motion(_head(), _head() @ turn.T + [1.0, 2.0, 3.0])
  np.testing.assert_allclose(rotation, turn, atol=1e-12)
  np.testing.assert_allclose(shift, [1.0, 2.0, 3.0], atol=1e-12)
  for angle in (1e-9, 0.5, 3.1):
    axis = np.array([0.6, 0.0, 0.8])
    turned = turn @ matrix_from_axis_angle(axis * angle)
    assert head_pose.angle_between(turn, turned) == pytest.approx(angle, rel=1e-5)


def test_pose_refuses_what_it_cannot_use():
  with pytest.raises(InputError, match="four"):
    head_pose.pose_from_points(np.zeros((3, 2)), np.zeros((3, 3)), K)
  with pytest.raises(InputError, match="NaN"):
    head_pose.pose_from_points(np.full((5, 2), np.nan), np.zeros((5, 3)), K)

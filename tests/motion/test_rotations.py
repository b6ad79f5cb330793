import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.motion import rotations

RNG = np.random.default_rng(7)
ANGLES = RNG.uniform(-1, 1, (200, 3)) * np.array([np.pi, np.pi / 2 - 1e-3, np.pi])


def _about(axis, angle):
  out = np.eye(3)
  i, j = [(1, 2), (2, 0), (0, 1)][axis]
  out[i, i] = out[j, j] = np.cos(angle)
  out[j, i], out[i, j] = np.sin(angle), -np.sin(angle)
  return out


def test_order_and_signs():
  yaw, pitch, roll = 0.3, -0.5, 1.1
  expected = _about(1, yaw) @ _about(0, pitch) @ _about(2, roll)
  np.testing.assert_allclose(rotations.matrix_from_ypr([yaw, pitch, roll]), expected, atol=1e-12)
  forward = np.array([0.0, 0.0, 1.0])
  assert (rotations.matrix_from_ypr([0.2, 0, 0]) @ forward)[0] > 0  # towards the subject's left
  assert (rotations.matrix_from_ypr([0, 0.2, 0]) @ forward)[1] < 0  # down
  assert (rotations.matrix_from_ypr([0, 0, 0.2]) @ np.array([0, 1.0, 0]))[0] < 0  # crown to the subject's right


def test_matrices_are_rotations():
  m = rotations.matrix_from_ypr(ANGLES)
  np.testing.assert_allclose(m @ np.swapaxes(m, -1, -2), np.broadcast_to(np.eye(3), m.shape), atol=1e-12)
  np.testing.assert_allclose(np.linalg.det(m), 1.0, atol=1e-12)


def test_ypr_round_trip():
  np.testing.assert_allclose(rotations.ypr_from_matrix(rotations.matrix_from_ypr(ANGLES)), ANGLES, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 0.5, 2.0, np.pi - 1e-6, np.pi])
def test_axis_angle_round_trip(angle):
  axes = RNG.normal(size=(50, 3))
  axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
  m = rotations.matrix_from_axis_angle(angle * axes)
  aa = rotations.axis_angle_from_matrix(m)
  np.testing.assert_allclose(np.linalg.norm(aa, axis=-1), angle, atol=1e-6)
  np.testing.assert_allclose(rotations.matrix_from_axis_angle(aa), m, atol=1e-6)
  if angle < 3:
    np.testing.assert_allclose(aa, angle * axes, atol=1e-6)


def test_ypr_axis_angle_round_trip():
  back = rotations.ypr_from_axis_angle(rotations.axis_angle_from_ypr(ANGLES))
  np.testing.assert_allclose(rotations.matrix_from_ypr(back), rotations.matrix_from_ypr(ANGLES), atol=1e-6)


def test_axis_angle_rotates_about_its_axis():
  turned = rotations.matrix_from_axis_angle(np.array([0, 0, np.pi / 2])) @ np.array([1.0, 0, 0])
  np.testing.assert_allclose(turned, [0, 1, 0], atol=1e-12)


def test_direction_is_third_column():
  m = rotations.matrix_from_ypr(ANGLES)
  np.testing.assert_allclose(rotations.direction_from_yaw_pitch(ANGLES[:, :2]), m[..., :, 2], atol=1e-12)


def test_jax_arrays_jit_and_agree():
  ypr = jnp.asarray(ANGLES, jnp.float32)
  got = jax.jit(rotations.axis_angle_from_ypr)(ypr)
  assert isinstance(got, jax.Array)
  matrices = rotations.matrix_from_axis_angle(np.asarray(got, np.float64))
  np.testing.assert_allclose(matrices, rotations.matrix_from_ypr(ANGLES), atol=2e-5)
  # The step from yaw, pitch and roll to a matrix has a finite gradient at rest.
  grad = jax.grad(lambda a: rotations.matrix_from_axis_angle(a).sum())(jnp.zeros((2, 3)))
  assert bool(jnp.isfinite(grad).all())

"""The studio renderer: labels exact, pictures reproducible, one program for all people, clear refusals."""

import functools
from fractions import Fraction

import chex
import jax
import numpy as np
import pytest

from jaxtalk.core import Camera, InputError, Motion, MotionSpace, Scene
from jaxtalk.motion.rotations import matrix_from_axis_angle, matrix_from_ypr
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio import camera, regions, renderer
from jaxtalk.studio.person import sample_person
from jaxtalk.studio.renderer import LABEL_MAPS, StudioRenderer

SIZE = 64
SCENE = Scene(size=SIZE, camera=Camera(yaw=0.2, pitch=0.1, distance=0.8))


def motion(**channels) -> Motion:
  """Frames from per-frame values of named channels."""
  count = max([len(v) for v in channels.values()], default=1)
  values = np.zeros((count, len(ARKIT)), np.float32)
  for name, value in channels.items():
    values[:, ARKIT.index(name)] = value
  return Motion(values=values, fps=Fraction(25), space=ARKIT)


def collect(frames):
  frames = list(frames)
  labels = {k: np.concatenate([f.labels[k] for f in frames]) for k in frames[0].labels if k != "K"}
  return np.concatenate([f.images for f in frames]), labels | {"K": frames[0].labels["K"]}


MOVES = {"jawOpen": [0, 0, 0.6, 0.3], "headYaw": [0, 0.3, -0.9, 0.1], "eyeBlinkLeft": [0, 0, 0, 1.0],
         "leftEyeYaw": [0, 0.2, 0, 0], "headPitch": [0, 0.1, 0.2, -0.2]}  # fmt: skip


@functools.cache
def rendered(seed: int = 1, devices: int = 2):
  studio = StudioRenderer(maps=LABEL_MAPS, devices=devices)
  return collect(studio.render(motion(**MOVES), sample_person(seed), SCENE, seed=seed))


def test_shapes_and_types():
  images, labels = rendered()
  chex.assert_shape(images, (4, SIZE, SIZE, 3))
  shapes = {"lm2d_px": (4, 70, 2), "lm3d_m": (4, 70, 3), "visible": (4, 70), "bbox_px": (4, 4), "head_aa": (4, 3)}
  shapes |= {"gaze": (4, 2, 2), "cam_Rt": (4, 3, 4), "segmentation": (4, SIZE, SIZE), "depth": (4, SIZE, SIZE)}
  shapes |= {"normals": (4, SIZE, SIZE, 3), "K": (3, 3), "matte": (4, SIZE, SIZE)}
  assert set(labels) == set(shapes)
  for name, shape in shapes.items():
    chex.assert_shape(labels[name], shape)
  assert images.dtype == np.uint8 and labels["segmentation"].dtype == np.uint8 and labels["visible"].dtype == bool
  chex.assert_tree_all_finite({k: v for k, v in labels.items() if v.dtype != bool})


def test_landmarks_reproject_to_a_hundredth_of_a_pixel():
  _, labels = rendered()
  for t in range(4):
    again = camera.project(labels["lm3d_m"][t].astype(np.float64), labels["K"], labels["cam_Rt"][t])
    assert np.abs(again - labels["lm2d_px"][t]).max() <= 0.01


def test_segmentation_depth_and_normals_agree():
  _, labels = rendered()
  drawn = labels["segmentation"] > 0
  assert np.array_equal(drawn, labels["depth"] > 0)
  assert 0.2 < drawn.mean() < 0.9
  length = np.linalg.norm(labels["normals"], axis=-1)
  np.testing.assert_allclose(length[drawn], 1, atol=1e-4)
  skin = labels["segmentation"] == regions.SKIN
  assert (labels["normals"][skin][:, 2] < 0.15).mean() > 0.97  # facing the camera, which looks along +z
  assert 0.6 < labels["depth"][drawn].min() and labels["depth"][drawn].max() < 1.2


def test_depth_is_that_of_the_landmarks():
  _, labels = rendered()
  near = labels["lm2d_px"].round().astype(int)
  seen = labels["visible"] & (near >= 0).all(-1) & (near < SIZE).all(-1)
  rt = labels["cam_Rt"]
  camera_z = np.einsum("tj,tlj->tl", rt[:, 2, :3], labels["lm3d_m"]) + rt[:, None, 2, 3]
  for t in range(4):
    x, y = near[t, 30]
    assert seen[t, 30] and labels["depth"][t, y, x] == pytest.approx(camera_z[t, 30], abs=4e-3)


def test_classes_lie_where_the_landmarks_are():
  _, labels = rendered()
  x, y = labels["lm2d_px"][0, 30].round().astype(int)
  assert labels["segmentation"][0, y, x] == regions.NOSE
  present = set(np.unique(labels["segmentation"]))
  expected = {regions.SKIN, regions.NOSE, regions.LIP_TOP, regions.LIP_BOTTOM, regions.HAIR, regions.CLOTHING}
  assert expected | {regions.EYE_LEFT, regions.EYE_RIGHT, regions.MOUTH_INTERIOR, regions.NECK} <= present


def test_head_turns_as_labelled():
  _, labels = rendered()
  for t in range(4):
    ypr = np.array([MOVES["headYaw"][t], MOVES["headPitch"][t], 0.0])
    np.testing.assert_allclose(matrix_from_axis_angle(labels["head_aa"][t]), matrix_from_ypr(ypr), atol=1e-5)
  # Rigid points of the head (brows, bridge) move by exactly that rotation about one pivot.
  still = [27, 28, 39, 42]
  a, b = labels["lm3d_m"][0, still].astype(np.float64), labels["lm3d_m"][1, still].astype(np.float64)
  turn = matrix_from_axis_angle(labels["head_aa"][1].astype(np.float64))
  np.testing.assert_allclose(b - b.mean(0), (a - a.mean(0)) @ turn.T, atol=2e-5)


def test_visibility_follows_the_turn_of_the_head():
  _, labels = rendered()
  assert labels["visible"][0, 27:36].all()
  # The camera stands on the subject's left; at yaw -0.9 the left jaw comes forward and the right one is gone.
  assert not labels["visible"][2, :4].any() and labels["visible"][2, 13:15].all()


def test_mouth_and_eye_labels_move_with_their_channels():
  _, labels = rendered()
  gap = np.linalg.norm(labels["lm3d_m"][:, 62] - labels["lm3d_m"][:, 66], axis=1)
  assert gap[0] < 1e-4 and gap[1] < 1e-4 and gap[2] > 1.8 * gap[3] > 0.004
  assert labels["gaze"][1, 0, 0] == pytest.approx(0.2) and labels["gaze"][1, 1, 0] == 0


def test_box_holds_the_face():
  _, labels = rendered()
  x, y, w, h = labels["bbox_px"].T
  inside = labels["lm2d_px"][:, 17:68]
  assert (inside[..., 0].min(1) >= x).all() and (inside[..., 0].max(1) <= x + w).all()
  assert (inside[..., 1].min(1) >= y).all() and (inside[..., 1].max(1) <= y + h).all()


def test_same_seed_same_bytes_and_devices_do_not_matter():
  images, labels = rendered()
  studio = StudioRenderer(maps=LABEL_MAPS, devices=2)
  fresh, again = collect(studio.render(motion(**MOVES), sample_person(1), SCENE, seed=1))
  assert np.array_equal(images, fresh)
  assert all(np.array_equal(labels[k], again[k]) for k in labels)
  one, _ = rendered(devices=1)
  assert np.abs(one.astype(int) - images).max() <= 1


def test_people_differ_but_share_one_program():
  images, _ = rendered()
  program = renderer._program(StudioRenderer(devices=2).mesh(), SIZE, LABEL_MAPS)
  before = program._cache_size()
  other, _ = rendered(seed=2)
  assert program._cache_size() == before == 1
  assert np.abs(other.astype(float) - images).mean() > 5


def test_chunks_are_consecutive_and_complete():
  long = motion(jawOpen=np.linspace(0, 1, 19))
  parts = list(StudioRenderer(maps=LABEL_MAPS, devices=2).render(long, sample_person(1), SCENE, seed=1))
  assert [len(p.images) for p in parts] == [16, 3]
  gap = np.concatenate([np.linalg.norm(p.labels["lm3d_m"][:, 62] - p.labels["lm3d_m"][:, 66], axis=1) for p in parts])
  assert (np.diff(gap) > 0).all()


def test_refusals():
  studio, who = StudioRenderer(devices=1), sample_person(0)
  other = Motion(values=np.zeros((1, 3), np.float32), fps=Fraction(25), space=MotionSpace("flame", ("a", "b", "c")))
  with pytest.raises(InputError, match="flame"):
    next(studio.render(other, who, SCENE, seed=0))
  with pytest.raises(InputError, match="NaN"):
    next(studio.render(motion(jawOpen=[np.nan]), who, SCENE, seed=0))
  with pytest.raises(InputError, match="even"):
    next(studio.render(motion(), who, Scene(size=65), seed=0))
  with pytest.raises(InputError, match="label map 'flow'"):
    StudioRenderer(maps=("flow",))
  assert jax.local_device_count() == 8

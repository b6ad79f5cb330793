"""An independent face detector on studio pictures; slow, and needs files that the project does not ship."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest


def _benchmark():
  file = Path(__file__).resolve().parents[2] / "benchmarks" / "studio_detector.py"
  spec = importlib.util.spec_from_file_location("studio_detector", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


detector = _benchmark()


def test_crop_takes_a_turned_square():
  """A picture that is its own coordinates shows where each pixel of the crop came from."""
  y, x = np.mgrid[:64, :64].astype(np.float32)
  image = np.stack([x, y, np.ones_like(x)], axis=-1)
  whole = detector.crop(image, np.array([32.0, 32.0]), 64.0, 0.0, 64)
  np.testing.assert_allclose(whole, image, atol=1e-5)
  turned = detector.crop(image, np.array([32.0, 32.0]), 16.0, np.pi / 2, 16)
  np.testing.assert_allclose(turned[0, 0, :2], [39.0, 24.0], atol=1e-4)  # its first corner is the square's upper right
  assert np.all(detector.crop(image, np.array([-50.0, 32.0]), 16.0, 0.0, 8) == 0)


def test_turn_from_camera():
  sin, cos = np.sin(0.3), np.cos(0.3)
  backwards = np.array([[cos, 0, -sin], [0, -1, 0], [-sin, 0, -cos]])  # camera at yaw +0.3, looking at the origin
  labels = {
    "head_aa": np.array([[0, 0, 0], [0, 0.3, 0]]),
    "cam_Rt": np.concatenate([backwards, [[0], [0], [1]]], 1)[None],
  }
  labels["cam_Rt"] = np.repeat(labels["cam_Rt"], 2, axis=0)
  assert detector.turn_from_camera(labels, 0) == pytest.approx(np.degrees(-0.3))
  assert detector.turn_from_camera(labels, 1) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
def test_faces_are_found_and_mouths_follow_the_labels():
  if reason := detector.missing():
    pytest.skip(reason)
  result = detector.measure(detector.FaceDetector(os.environ[detector.ENVIRONMENT]), 12, seed=1)
  assert result["frames"] > 200
  assert result["found"] >= 0.99
  assert result["mouth_r_within_clips"] >= 0.8
  assert result["mouth_r_median_of_clips"] >= 0.8

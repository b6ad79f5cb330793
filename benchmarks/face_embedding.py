"""Descriptors of faces by dlib's recognition network, in a Python of its own.

  PYTHON benchmarks/face_embedding.py FACES.npz DESCRIPTORS.npy

PYTHON is one with ``pip install dlib-bin numpy face_recognition_models==0.3.0`` (the network, trained by D. King on
three million photographs, is in the public domain; no other network of that package is used). FACES.npz has ``images``
(N, H, W, 3) uint8 and ``points`` (N, 5, 2), x and y in pixels: outer and inner corner of the left eye, outer and inner
corner of the right eye, foot of the nose. DESCRIPTORS.npy gets (N, 128) float32.

It imports nothing of this project, so that the other Python needs nothing of it.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

PACKAGE, NETWORK = "face_recognition_models", "dlib_face_recognition_resnet_model_v1.dat"


def network_file() -> Path:
  """The file of the network; the package itself is not imported, for it wants an old setuptools."""
  found = importlib.util.find_spec(PACKAGE)
  if found is None or not found.submodule_search_locations:
    sys.exit(f"the package {PACKAGE} is not installed in {sys.executable}")
  return Path(found.submodule_search_locations[0]) / "models" / NETWORK


def describe(images: np.ndarray, points: np.ndarray) -> np.ndarray:
  """(N, 128) descriptors."""
  import dlib

  network = dlib.face_recognition_model_v1(str(network_file()))
  out = []
  for image, five in zip(images, points, strict=True):
    whole = dlib.rectangle(0, 0, image.shape[1] - 1, image.shape[0] - 1)
    marks = dlib.full_object_detection(whole, [dlib.point(*map(int, np.round(p))) for p in five])
    chip = dlib.get_face_chip(np.ascontiguousarray(image), marks, size=150)
    out.append(np.asarray(network.compute_face_descriptor(chip), np.float32))
  return np.stack(out)


if __name__ == "__main__":
  with np.load(sys.argv[1]) as faces:
    np.save(sys.argv[2], describe(faces["images"], faces["points"]))

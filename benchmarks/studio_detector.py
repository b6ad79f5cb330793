"""Does a detector that never saw our pictures find the studio's faces, and see their mouths move as the labels say?

  JAXTALK_MEDIAPIPE_WHEEL=mediapipe-0.10.21-….whl python benchmarks/studio_detector.py [--clips=40]

The detector is BlazeFace, short range (Bazarevsky et al. 2019), followed by the 468-point face mesh (Kartynnik et al.
2019); both networks are read from the mediapipe 0.10.21 wheel (`pip download --no-deps mediapipe==0.10.21`) and run
by `ai-edge-litert`. Nothing of the wheel is installed or shipped.

Clips come from the plan of the quick start: children of 3 to 12 years, all hair, clothes, light and backgrounds,
procedural motion of real sentences; the camera's yaw is spread further, and frames whose face is turned more than 30
degrees from the camera are left out. Mouth opening is inner lip to inner lip over the height of the face. Whether it
follows the label is asked within clips: both have their mean over the clip taken off, for lips at rest differ between
people, and the detector knows other people's. The correlation without that is given as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ENVIRONMENT = "JAXTALK_MEDIAPIPE_WHEEL"
FOLDER = "mediapipe/modules/"
DETECTOR, MESH = "face_detection/face_detection_short_range.tflite", "face_landmark/face_landmark.tflite"
SCORE = 0.5  # the detector's own default
# Mesh points: inner upper and lower lip; top of the forehead and chin; outer corners of the right and left eye.
LIPS, FACE, EYE_CORNERS = (13, 14), (10, 152), (33, 263)
MAX_TURN = 30.0  # degrees


def missing() -> str:
  """Why the detector cannot run, or ''."""
  wheel = os.environ.get(ENVIRONMENT, "")
  if not wheel:
    return f"{ENVIRONMENT} does not name the mediapipe 0.10.21 wheel (pip download --no-deps mediapipe==0.10.21)"
  if not Path(wheel).is_file():
    return f"{ENVIRONMENT}={wheel}: no such file"
  if importlib.util.find_spec("ai_edge_litert") is None:
    return "the package ai-edge-litert is not installed"
  return ""


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Pixels at (x, y), black outside; image (H, W, 3) float32."""
  padded = np.pad(image, ((1, 2), (1, 2), (0, 0)))
  x, y = np.clip(x + 1, 0, image.shape[1] + 1), np.clip(y + 1, 0, image.shape[0] + 1)
  i, j = x.astype(int), y.astype(int)
  u, v = (x - i)[..., None], (y - j)[..., None]
  top = padded[j, i] * (1 - u) + padded[j, i + 1] * u
  return top * (1 - v) + (padded[j + 1, i] * (1 - u) + padded[j + 1, i + 1] * u) * v


def crop(image: np.ndarray, centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
  """(size, size, 3): a turned square of the picture; ``angle`` radians is where its x axis points."""
  steps = (np.arange(size) + 0.5) / size - 0.5
  dx, dy = np.meshgrid(steps * side, steps * side)
  c, s = np.cos(angle), np.sin(angle)
  return bilinear(image, centre[0] + c * dx - s * dy - 0.5, centre[1] + s * dx + c * dy - 0.5).astype(np.float32)


class FaceDetector:
  """Detector and face mesh on single uint8 pictures."""

  def __init__(self, wheel: str):
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(wheel) as files:
      self._networks = [Interpreter(model_content=files.read(FOLDER + name)) for name in (DETECTOR, MESH)]
    for network in self._networks:
      network.allocate_tensors()
    self._anchors = self.anchors()

  @staticmethod
  def anchors() -> np.ndarray:
    """(896, 2) centres in [0, 1]: two a cell on a 16 x 16 grid, then six a cell on an 8 x 8 grid."""
    grids = []
    for cells, repeat in ((16, 2), (8, 6)):
      y, x = np.mgrid[:cells, :cells]
      grids.append(np.repeat((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells, repeat, axis=0))
    return np.concatenate(grids)

  def _run(self, which: int, picture: np.ndarray) -> list[np.ndarray]:
    network = self._networks[which]
    network.set_tensor(network.get_input_details()[0]["index"], picture[None].astype(np.float32))
    network.invoke()
    return [network.get_tensor(d["index"]).reshape(d["shape"][1:]) for d in network.get_output_details()]

  def find(self, image: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Best score, box (x, y, w, h) and six key points (6, 2), right eye first, in pixels of a square picture."""
    size = image.shape[0]
    small = crop(image.astype(np.float32), np.array([size, size]) / 2, size, 0.0, 128)
    raw, logits = self._run(0, small / 127.5 - 1)
    best = int(np.argmax(logits))
    score = 1 / (1 + np.exp(-np.clip(logits[best, 0], -100, 100)))
    pairs = raw[best].reshape(8, 2) / 128
    centre, extent, points = pairs[0] + self._anchors[best], pairs[1], pairs[2:] + self._anchors[best]
    return float(score), np.concatenate([centre - extent / 2, extent]) * size, points * size

  def mesh(self, image: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(468, 2) pixels: once from the detector's box, then once more from the first mesh, as on video."""
    centre, eyes = box[:2] + box[2:] / 2, (points[0], points[1])
    mesh = self._mesh_in(image, centre, 1.5 * float(max(box[2:])), *eyes)
    low, high = mesh.min(0), mesh.max(0)
    return self._mesh_in(image, (low + high) / 2, 1.5 * float(max(high - low)), *(mesh[i] for i in EYE_CORNERS))

  def _mesh_in(self, image: np.ndarray, centre: np.ndarray, side: float, right: np.ndarray, left: np.ndarray):
    """Mesh in a square of the picture, turned so that the two eyes are level."""
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    out = self._run(1, crop(image.astype(np.float32), centre, side, angle, 192) / 255)
    local = (max(out, key=np.size).reshape(468, 3)[:, :2] / 192 - 0.5) * side
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1]], axis=1) + centre


def opening(points: np.ndarray, lips: tuple[int, int], face: tuple[int, int]) -> np.ndarray:
  """Distance of two points over that of two others; points (..., N, D)."""
  gap = np.linalg.norm(points[..., lips[0], :] - points[..., lips[1], :], axis=-1)
  return gap / np.linalg.norm(points[..., face[0], :] - points[..., face[1], :], axis=-1)


def turn_from_camera(labels: dict, frame: int) -> float:
  """Degrees about the vertical between where the face points and where the camera is."""
  axis_angle = labels["head_aa"][frame].astype(np.float64)
  angle = np.linalg.norm(axis_angle)
  axis = axis_angle / max(angle, 1e-12)
  forward = np.array([0.0, 0.0, 1.0])
  forward = (
    forward * np.cos(angle) + np.cross(axis, forward) * np.sin(angle) + axis * (axis @ forward) * (1 - np.cos(angle))
  )
  rotation, shift = labels["cam_Rt"][frame][:, :3], labels["cam_Rt"][frame][:, 3]
  camera = -rotation.T @ shift
  turn = np.arctan2(forward[0], forward[2]) - np.arctan2(camera[0], camera[2])
  return float(np.degrees((turn + np.pi) % (2 * np.pi) - np.pi))


def clips(count: int, seed: int, size: int, max_frames: int) -> Iterator[tuple]:
  """(spec, images, labels) of clips from the quick start's plan, camera yaw spread over 30 degrees both ways."""
  from jaxtalk.clips.plan import Plan
  from jaxtalk.motion import make_animator
  from jaxtalk.speech.voices import make_voice
  from jaxtalk.studio.renderer import StudioRenderer

  file = Path(__file__).resolve().parent.parent / "configs" / "quickstart.py"
  found = importlib.util.spec_from_file_location("quickstart", file)
  module = importlib.util.module_from_spec(found)
  found.loader.exec_module(module)
  config = module.get_config()
  config.text, config.num_clips, config.seed, config.size = None, count, seed, size
  plan, voice, animator, renderer = Plan(config), make_voice(config.voice.name), make_animator("procedural"), None
  for i, yaw in enumerate(np.random.default_rng(seed).permutation(np.linspace(-30, 30, count))):
    spec = plan[i]
    camera = dataclasses.replace(spec.scene.camera, yaw=float(np.radians(yaw)))
    spec = dataclasses.replace(spec, scene=dataclasses.replace(spec.scene, camera=camera))
    speech = voice.speak(spec)
    (motion,) = animator.animate(
      [speech], fps=spec.fps, seeds=[spec.seed], emotions=[spec.emotion], styles=[spec.style],
      ages=[spec.person.age_years],
    )  # fmt: skip
    motion = dataclasses.replace(motion, values=np.asarray(motion.values)[:max_frames])
    renderer = renderer or StudioRenderer()
    parts = list(renderer.render(motion, spec.person, spec.scene, seed=spec.seed))
    labels = {name: np.concatenate([p.labels[name] for p in parts]) for name in ("lm3d_m", "head_aa", "cam_Rt")}
    yield spec, np.concatenate([p.images for p in parts]), labels


def measure(detector: FaceDetector, count: int, seed: int = 0, size: int = 256, max_frames: int = 75) -> dict:
  """All figures over ``count`` clips, every second frame."""
  per_clip, everything, centred, missed = [], [], [], []
  frames = found = 0
  for spec, images, labels in clips(count, seed, size, max_frames):
    pairs = []
    for i in range(0, len(images), 2):
      if abs(turn_from_camera(labels, i)) > MAX_TURN:
        continue
      frames += 1
      score, box, points = detector.find(images[i])
      if score < SCORE:
        missed.append((spec.index, i))
        continue
      found += 1
      mesh = detector.mesh(images[i], box, points)
      pairs.append((opening(mesh, LIPS, FACE), opening(labels["lm3d_m"][i], (62, 66), (27, 8))))
    seen = np.array(pairs).reshape(-1, 2)
    everything.append(seen)
    if len(seen) > 10:
      centred.append(seen - seen.mean(0))
      per_clip.append({"clip": spec.index, "frames": len(seen), "r": float(np.corrcoef(seen.T)[0, 1])})
  rs = [c["r"] for c in per_clip]
  return {
    "clips": count,
    "frames": frames,
    "found": found / max(frames, 1),
    "mouth_r_within_clips": float(np.corrcoef(np.concatenate(centred).T)[0, 1]),
    "mouth_r_across_people_too": float(np.corrcoef(np.concatenate(everything).T)[0, 1]),
    "mouth_r_median_of_clips": float(np.median(rs)),
    "mouth_r_worst_clip": min(per_clip, key=lambda c: c["r"]),
    "missed": missed[:20],
    "size": size,
    "max_turn_degrees": MAX_TURN,
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--clips", type=int, default=40)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--size", type=int, default=256)
  parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "studio_detector.json"))
  args = parser.parse_args()
  if reason := missing():
    print(f"skipped: {reason}")
    return
  result = measure(FaceDetector(os.environ[ENVIRONMENT]), args.clips, args.seed, args.size)
  Path(args.out).parent.mkdir(parents=True, exist_ok=True)
  Path(args.out).write_text(json.dumps(result, indent=2) + "\n")
  print(json.dumps(result, indent=2))


if __name__ == "__main__":
  main()

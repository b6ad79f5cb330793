"""The 468-point face mesh and the eye contours of mediapipe 0.10.21, on faces whose place is known.

Kartynnik et al. 2019 (mesh) and Ablavatski et al. 2020 (eyes); both networks are read from the wheel, see
`studio_detector`. A face is looked for where its labels say it is, in an upright square; from then on only the mesh
counts: the square is laid again around it, level with its own eyes, as on video. So neither the roll of the head nor
the size of the face comes from the labels.
"""

from __future__ import annotations

import dataclasses
import zipfile

import numpy as np
from studio_detector import FOLDER, MESH, crop

from jaxtalk.metrics import face_points, head_pose

EYES_NETWORK = "iris_landmark/iris_landmark.tflite"
MARGIN, EYE_MARGIN = 1.5, 2.3  # sides of the squares over the extents of mesh and eye, as mediapipe has them

# Points of the mesh: (outer, inner, upper, lower, upper, lower) of the lids, right eye first.
LIDS = ((33, 133, 160, 144, 158, 153), (263, 362, 387, 373, 385, 380))
EYE_CORNERS = ((33, 133), (362, 263))  # from left to right in the picture
LIPS, FACE_HEIGHT = (13, 14), (10, 152)
# Points that move with the skull and hardly with the face: eyes' corners, nose, forehead, temples, cheekbones.
RIGID = (
  33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 64, 294, 10, 151, 9, 8, 108, 337, 67, 297, 109, 338, 69, 299, 127, 356,
  162, 389, 234, 454, 93, 323, 116, 345, 117, 346, 123, 352, 50, 280,
)  # fmt: skip
# Which of the 68 labelled points means the same: corners of eyes and mouth, middles of the lips, tip of the nose.
SAME_POINT = (
  (33, 36), (133, 39), (362, 42), (263, 45), (61, 48), (291, 54), (0, 51), (17, 57), (13, 62), (14, 66), (4, 30),
)  # fmt: skip
_CONTOUR_LIDS = ((0, 8, 11, 3, 13, 5),)  # of the eye network's contour


@dataclasses.dataclass(frozen=True)
class Seen:
  """What the detector says of T pictures: ``found`` (T,) bool, mesh ``points`` (T, 468, 2) pixels, and ``lids`` (T,),
  the mean of the eye aspect ratios of the mesh and of the eye contours."""

  found: np.ndarray
  points: np.ndarray
  lids: np.ndarray

  def openings(self) -> np.ndarray:
    """(T,) gap of the lips over the height of the face."""
    return face_points.opening(self.points, LIPS, FACE_HEIGHT)

  def same_points(self) -> np.ndarray:
    """(T, 11, 2) pixels of ``SAME_POINT``."""
    return self.points[:, [a for a, _ in SAME_POINT]]

  def rotations(self, places: np.ndarray, k: np.ndarray) -> np.ndarray:
    """(T, 3, 3) head to camera, from the ``places`` (41, 3) of the rigid points on the head."""
    return np.stack([head_pose.pose_from_points(p, places, k)[0] for p in self.points[:, list(RIGID)]])


class PortraitDetector:
  """See the module's docstring. ``wheel`` is the path of the mediapipe 0.10.21 wheel."""

  def __init__(self, wheel: str):
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(wheel) as files:
      self._mesh, self._eye = (Interpreter(model_content=files.read(FOLDER + name)) for name in (MESH, EYES_NETWORK))
    for network in (self._mesh, self._eye):
      network.allocate_tensors()

  def see(self, images: np.ndarray, landmarks: np.ndarray) -> Seen:
    """Looks at (T, H, W, 3) uint8 pictures whose faces have labels (T, 70, 2) in pixels."""
    found, points, lids = [], [], []
    for image, marks in zip(images.astype(np.float32), landmarks, strict=True):
      low, high = marks[:68].min(0), marks[:68].max(0)
      first, _ = self._mesh_in(image, low, high, 0.0)
      outer = first[EYE_CORNERS[1][1]] - first[EYE_CORNERS[0][0]]
      mesh, score = self._mesh_in(image, first.min(0), first.max(0), float(np.arctan2(outer[1], outer[0])))
      found.append(score > 0)
      points.append(mesh)
      lids.append((face_points.eye_aspect_ratio(mesh, LIDS) + self._contours(image, mesh)) / 2)
    return Seen(np.array(found), np.stack(points), np.array(lids))

  def _mesh_in(self, image: np.ndarray, low: np.ndarray, high: np.ndarray, angle: float) -> tuple[np.ndarray, float]:
    """(468, 2) pixels, and the logit that there is a face."""
    centre, side = (low + high) / 2, MARGIN * float(max(high - low))
    out = _run(self._mesh, crop(image, centre + 0.5, side, angle, 192) / 255)
    local = (max(out, key=np.size).reshape(468, 3)[:, :2] / 192 - 0.5) * side
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack([c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1]], axis=1)
    return turned + centre, float(min(out, key=np.size).ravel()[0])

  def _contours(self, image: np.ndarray, mesh: np.ndarray) -> float:
    """Eye aspect ratio of the contours, mean of both eyes; the network knows one eye and sees the other mirrored."""
    ratios = []
    for mirrored, (a, b) in enumerate(EYE_CORNERS):
      across = mesh[b] - mesh[a]
      side, angle = EYE_MARGIN * float(np.hypot(*across)), float(np.arctan2(across[1], across[0]))
      eye = crop(image, (mesh[a] + mesh[b]) / 2 + 0.5, side, angle, 64) / 255
      contour = max(_run(self._eye, eye[:, ::-1] if mirrored else eye), key=np.size).reshape(71, 3)[:16, :2]
      ratios.append(face_points.eye_aspect_ratio(contour, _CONTOUR_LIDS))
    return float(np.mean(ratios))


def _run(network, picture: np.ndarray) -> list[np.ndarray]:
  network.set_tensor(network.get_input_details()[0]["index"], np.ascontiguousarray(picture[None], np.float32))
  network.invoke()
  return [network.get_tensor(d["index"]).copy() for d in network.get_output_details()]

"""What `talking_portrait` asks of pictures: control, identity, steadiness; each answer a dict of plain figures."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from portrait_detector import RIGID, SAME_POINT, PortraitDetector, Seen
from portrait_takes import CALIBRATION_TURNS, Film, Take, body_poses
from studio_detector import crop

from jaxtalk.data.face_shots import head_angles
from jaxtalk.metrics import face_points, head_pose, steadiness
from jaxtalk.motion.rotations import matrix_from_ypr, ypr_from_matrix
from jaxtalk.motion.spaces import HEAD
from jaxtalk.studio import camera
from jaxtalk.studio.face_crop import FaceCrop, crop_camera, face_crop
from jaxtalk.studio.regions import BACKGROUND, SKIN
from jaxtalk.systems.face_attributes import FaceAttributes

ALIGNED = 64  # pixels of an aligned crop for the attribute network
LABEL_LIPS, LABEL_FACE, EYES = (62, 66), (27, 8), (36, 45)
EMBED_POINTS = (45, 42, 36, 39, 33)  # see `face_embedding`
STILL_PIXELS = 0.2  # a landmark that moves less from frame to frame counts as at rest
_TO_OPENCV = np.diag([1.0, -1.0, -1.0])

Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Ruler:
  """What a detector was taught about one person by pictures of known pose: ``places`` (41, 3) of its rigid points on
  the head, in metres, and ``shut``, the lid opening half way between open and shut as a share of open."""

  places: np.ndarray
  shut: float


def ruler(seen: Seen, lids: np.ndarray, labels: dict[str, np.ndarray]) -> Ruler:
  """From `portrait_takes.calibration`; ``lids`` (T,) may be those of another detector."""
  open_frames = len(CALIBRATION_TURNS)
  pixels = seen.points[:open_frames, list(RIGID)]
  places = head_pose.triangulate(pixels, labels["K"], body_poses(labels)[:open_frames])
  return Ruler(places, half_way(lids))


def half_way(lids: np.ndarray) -> float:
  """Between the medians of the open and of the shut frames of `portrait_takes.calibration`, as a share of open."""
  count = len(CALIBRATION_TURNS)
  return float(0.5 + 0.5 * np.median(lids[count:]) / np.median(lids[:count]))


def inter_ocular(labels: dict[str, np.ndarray]) -> np.ndarray:
  """(T,) pixels between the outer corners of the eyes."""
  return np.linalg.norm(np.subtract(*(labels["lm2d_px"][:, i] for i in EYES)), axis=-1)


def control(take: Take, truth: Film, films: dict[str, Film], detector: PortraitDetector, by: Ruler) -> dict:
  """Figures of one take by the detector: per renderer and frame, to be pooled by `pool`.

  ``films`` has the studio's own film as "studio"; errors are against the exact labels, "to_studio" against what the
  detector says of the studio's picture of the same frame.
  """
  labels, rotations = truth.labels, take.rotations(truth.labels)
  apart, fps = inter_ocular(labels), float(take.spec.fps)
  exact = labels["lm2d_px"][:, [b for _, b in SAME_POINT]]
  gap = face_points.opening(labels["lm3d_m"], LABEL_LIPS, LABEL_FACE)
  width = face_points.eye_aspect_ratio(labels["lm3d_m"])
  seen = {name: detector.see(film.images, labels["lm2d_px"]) for name, film in films.items()}
  turned = {name: s.rotations(by.places, labels["K"]) for name, s in seen.items()}
  bias = (seen["studio"].same_points() - exact).mean(0)
  out = {}
  for name, s in seen.items():
    angles = ypr_from_matrix(_TO_OPENCV @ turned[name]) - ypr_from_matrix(_TO_OPENCV @ rotations)
    same = s.same_points()
    out[name] = {
      "found": s.found,
      "pose_deg": np.degrees(head_pose.angle_between(turned[name], rotations)),
      "pose_deg_to_studio": np.degrees(head_pose.angle_between(turned[name], turned["studio"])),
      **{f"{axis}_deg": np.abs(np.degrees(angles[:, i])) for i, axis in enumerate(("yaw", "pitch", "roll"))},
      "mouth_r": [face_points.correlation(s.openings(), gap)],
      "mouth_r_to_studio": [face_points.correlation(s.openings(), seen["studio"].openings())],
      "lids_r": [face_points.correlation(s.lids, width)],
      "blinks": face_points.count_blinks(s.lids, take.blink_label(), fps, shut=by.shut),
      "points_percent": face_points.point_error(same, exact, apart),
      "points_percent_less_bias": face_points.point_error(same - bias, exact, apart),
      "points_percent_to_studio": face_points.point_error(s.points, seen["studio"].points, apart),
    }
  return out


def aligned(film: Film, labels: dict[str, np.ndarray]) -> tuple[np.ndarray, list[FaceCrop]]:
  """(T, 64, 64, 3) uint8 crops as FFHQ defines them, laid by the labels, and the crops."""
  crops = [face_crop(marks) for marks in labels["lm2d_px"].astype(np.float64)]
  pictures = [
    crop(image.astype(np.float32), c.centre + 0.5, c.side, c.roll, ALIGNED)
    for image, c in zip(film.images, crops, strict=True)
  ]
  return np.round(np.stack(pictures)).astype(np.uint8), crops


def own_control(take: Take, truth: Film, films: dict[str, Film], network: FaceAttributes, shut: float) -> dict:
  """As `control`, by the attribute network; landmarks in per cent of the distance of the eyes in the crop."""
  labels, out = truth.labels, {}
  head = np.asarray(take.motion.values, np.float64)[:, HEAD]
  _, crops = aligned(truth, labels)
  cameras = [crop_camera(labels["K"], rt, c, ALIGNED) for rt, c in zip(labels["cam_Rt"], crops, strict=True)]
  angles = np.degrees([head_angles(h, rt) for h, (_, rt) in zip(head, cameras, strict=True)])
  marks = np.stack([
    camera.project(p.astype(np.float64), *c) for p, c in zip(labels["lm3d_m"], cameras, strict=True)
  ])  # fmt: skip
  apart = np.linalg.norm(marks[:, EYES[0]] - marks[:, EYES[1]], axis=-1)
  gap = face_points.opening(labels["lm3d_m"], LABEL_LIPS, LABEL_FACE)
  width = face_points.eye_aspect_ratio(labels["lm3d_m"])
  for name, film in films.items():
    pictures, _ = aligned(film, labels)
    read, points = network.predict(pictures), network.landmarks(pictures)
    found = np.stack([read[axis] for axis in ("yaw", "pitch", "roll")], axis=1)
    lids = read["eye_aspect_ratio"]
    out[name] = {
      "pose_deg": np.degrees(_between_angles(found, angles)),
      **{f"{axis}_deg": np.abs(found - angles)[:, i] for i, axis in enumerate(("yaw", "pitch", "roll"))},
      "mouth_r": [face_points.correlation(read["mouth_opening"], gap)],
      "lids_r": [face_points.correlation(lids, width)],
      "blinks": face_points.count_blinks(lids, take.blink_label(), float(take.spec.fps), shut=shut),
      "points_percent": face_points.point_error(points[:, :68], marks[:, :68], apart),
    }
  return out


def _between_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """(T,) radians between poses given as yaw, pitch, roll in degrees."""
  first, second = (matrix_from_ypr(np.radians(x)) for x in (a, b))
  return head_pose.angle_between(first, second)


def pool(takes: Sequence[dict]) -> dict[str, dict]:
  """Means over all frames of all takes, per renderer; correlations are per take; with 95th percentiles and counts."""
  out = {}
  for name in takes[0]:
    figures: dict = {}
    for key in takes[0][name]:
      if key == "blinks":
        figures[key] = sum((t[name][key] for t in takes), face_points.BlinkCount()).as_dict()
        continue
      values = np.concatenate([np.asarray(t[name][key], np.float64) for t in takes])
      values = values[np.isfinite(values)]
      figures[key] = float(values.mean()) if len(values) else float("nan")
      if key.endswith("_r") or "_r_" in key:
        figures[f"{key}_worst"] = float(values.min()) if len(values) else float("nan")
      elif key in ("pose_deg", "points_percent", "pose_deg_to_studio", "points_percent_to_studio"):
        figures[f"{key}_p95"] = float(np.percentile(values, 95))
    out[name] = figures
  return out


def dlib_embed(python: str) -> Embed:
  """`face_embedding` run by another Python."""

  def embed(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    script = Path(__file__).with_name("face_embedding.py")
    with tempfile.TemporaryDirectory() as folder:
      faces, descriptors = Path(folder) / "faces.npz", Path(folder) / "descriptors.npy"
      np.savez(faces, images=images, points=landmarks[:, list(EMBED_POINTS)])
      subprocess.run([python, str(script), str(faces), str(descriptors)], check=True)
      return np.load(descriptors)

  return embed


def identity(features: dict[str, np.ndarray], person: np.ndarray, clip: np.ndarray) -> dict[str, dict]:
  """Cosines of features (N, D) per renderer: within clips, across clips of one person, between people; and whether the
  nearest person of the studio, by the mean of their features, is the right one."""
  studio = steadiness.unit_rows(features["studio"])
  names = np.unique(person)
  means = steadiness.unit_rows(np.stack([studio[person == n].mean(0) for n in names]))
  out = {}
  for name, rows in features.items():
    within, between = steadiness.cosines_within_and_between(rows, person)
    across, _ = steadiness.cosines_within_and_between(rows, person, clip)
    unit = steadiness.unit_rows(rows)
    nearest = names[np.argmax(unit @ means.T, axis=1)]
    out[name] = {
      "all_pairs": steadiness.separation(within, between),
      "across_clips": steadiness.separation(across, between),
      "to_studio_same_frame": float(np.einsum("nd,nd->n", unit, studio).mean()),
      "to_other_people_of_studio": float((unit @ studio.T)[person[:, None] != person[None]].mean()),
      "nearest_person_is_right": float((nearest == person).mean()),
    }
  return out


def drift(features: dict[str, np.ndarray], seconds: np.ndarray) -> dict[str, dict]:
  """Trend of the cosine to the mean of the first second, from then on, per renderer; and of what the network's cosine
  lies above the studio's in the same frame, for the long take itself may grow more or less like its beginning."""
  rest = seconds >= 1
  cosines = {}
  for name, rows in features.items():
    unit = steadiness.unit_rows(rows)
    cosines[name] = unit[rest] @ steadiness.unit_rows(unit[~rest].mean(0, keepdims=True))[0]
  out = {name: {"mean": float(c.mean()), "lowest": float(c.min())} for name, c in cosines.items()}
  for name, values in (cosines | {"network_less_studio": cosines["network"] - cosines["studio"]}).items():
    line = steadiness.drift(values, seconds[rest])
    out[name] = out.get(name, {}) | dataclasses.asdict(line) | {"no_trend": line.is_zero}
  return out


def background(truth: Film, margin: int = 3) -> np.ndarray:
  """(H, W) bool: background in every frame, ``margin`` pixels away from anything else."""
  clear = (truth.labels["segmentation"] == BACKGROUND).all(0)
  for _ in range(margin):
    padded = np.pad(clear, 1, constant_values=True)
    clear = clear & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
  return clear


def resting_skin(truth: Film) -> np.ndarray:
  """(T - 2, H, W) bool: skin of the forehead and both cheeks while the skull rests over three frames."""
  marks, classes = truth.labels["lm2d_px"].astype(np.float64), truth.labels["segmentation"]
  moves = np.linalg.norm(np.diff(marks[:, 27:48], axis=0), axis=-1).max(1)
  rests = (moves[:-1] < STILL_PIXELS) & (moves[1:] < STILL_PIXELS)
  y, x = np.mgrid[: classes.shape[1], : classes.shape[2]]
  out = np.zeros((len(marks) - 2, *classes.shape[1:]), bool)
  for t in np.flatnonzero(rests):
    p = marks[t + 1]
    unit = np.linalg.norm(p[EYES[0]] - p[EYES[1]])
    up = (p[27] - p[30]) / np.linalg.norm(p[27] - p[30])
    spots = (p[[21, 22]].mean(0) + 0.3 * unit * up, p[[2, 31, 41, 48]].mean(0), p[[14, 35, 46, 54]].mean(0))
    for spot in spots:
      out[t] |= np.hypot(x - spot[0], y - spot[1]) < 0.15 * unit
    out[t] &= (classes[t : t + 3] == SKIN).all(0)
  return out


def flicker(truths: Sequence[Film], films: Sequence[dict[str, Film]], still: Callable[[Film], np.ndarray]) -> dict:
  """Temporal jitter in levels of 255 over the pixels that ``still`` names, pooled over takes by their number."""
  weights, values = [], []
  for truth, made in zip(truths, films, strict=True):
    where = still(truth)
    count = np.broadcast_to(where, (len(truth.images) - 2, *where.shape[-2:])).sum()
    if count:
      weights.append(count)
      values.append([steadiness.temporal_jitter(film.images, where) ** 2 for film in made.values()])
  if not weights:
    return {"pixels": 0}
  pooled = np.sqrt(np.average(values, axis=0, weights=weights))
  out = dict(zip(films[0], map(float, pooled), strict=True)) | {"pixels": int(sum(weights))}
  floor = max(out["studio"], steadiness.ROUNDING)
  return out | {f"{name}_over_studio": out[name] / floor for name in films[0] if name != "studio"}

"""Do sweeps do what they say, by measures that had no part in making them?

  python -m jaxtalk.stylegan2.sweep NETWORK SWEEP_DIR --subjects=32
  JAXTALK_MEDIAPIPE_WHEEL=mediapipe-0.10.21-….whl python benchmarks/stylegan2_control.py SWEEP_DIR [--studio=FACES.zip]

A sweep's alphas come from the attribute network; here its pictures are measured by other means. Landmarks: BlazeFace
and the 468-point face mesh (see `studio_detector`; pictures are enlarged to 256 pixels), from which eye aspect ratio,
mouth, brows, pose and proportions are taken. Colour and light: CIELAB lightness of fixed regions of the picture.

For each factor: Spearman's rho of measure and step, mean over portraits; the share of portraits whose measure never
goes back by more than a tenth of its range; how far it moves, in standard deviations between portraits; and how well
the portrait is kept: cosine of centred features of the attribute network with the base portrait, beside that of
different portraits. With ``--studio`` every measure is first checked against the exact labels of studio pictures at 64
pixels. Without the detector the landmark factors are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats

from jaxtalk.stylegan2.factors import HELD

RESULTS = Path(__file__).parent / "results" / "stylegan2_control.json"
SIDE = 256  # pixels of the picture that the detector gets
SCORE = 0.5  # the detector's own threshold

# Mesh points: eyes (outer and inner corner, two upper, two lower), mouth corners, lips, brows, nose tip, face outline.
EYES = ((33, 133, 160, 158, 144, 153), (263, 362, 387, 385, 373, 380))
MOUTH, LIPS, BROWS, LOWER_LIDS = (61, 291), (13, 14), (52, 53, 65, 282, 283, 295), (145, 374)
NOSE, BELOW_NOSE, CHIN, SIDES = 1, 2, 152, (234, 454)

# Fixed regions (top, bottom, left, right) as shares of an aligned picture.
REGIONS = {
  "left half": (0.50, 0.69, 0.31, 0.50), "right half": (0.50, 0.69, 0.50, 0.69), "hair": (0.10, 0.20, 0.40, 0.60),
  "nose": (0.50, 0.56, 0.44, 0.56), "between eyes": (0.44, 0.50, 0.44, 0.56), "face": (0.50, 0.68, 0.34, 0.66),
}  # fmt: skip


def upright(mesh: np.ndarray) -> np.ndarray:
  """(468, 2) in units of the distance of the eyes, origin between them, the line of the eyes level."""
  right, left = (mesh[list(eye[:2])].mean(0) for eye in EYES)
  across = left - right
  length = np.linalg.norm(across)
  cos, sin = across / length
  return (mesh - (left + right) / 2) @ np.array([[cos, -sin], [sin, cos]]) / length


def eye_aspect_ratio(mesh: np.ndarray) -> float:
  """Height over width of the lid openings, mean of both eyes."""
  ratios = []
  for outer, inner, up0, up1, low0, low1 in EYES:
    heights = np.linalg.norm(mesh[up0] - mesh[low0]) + np.linalg.norm(mesh[up1] - mesh[low1])
    ratios.append(heights / (2 * np.linalg.norm(mesh[outer] - mesh[inner])))
  return float(np.mean(ratios))


def corner_lift(mesh: np.ndarray) -> float:
  """How far the corners of the mouth lie above the middle of the lips, over the height from eyes to chin."""
  p = upright(mesh)
  return float((p[list(LIPS), 1].mean() - p[list(MOUTH), 1].mean()) / p[CHIN, 1])


def mouth_width(mesh: np.ndarray) -> float:
  """Width of the mouth over the width of the face."""
  return float(np.linalg.norm(mesh[MOUTH[0]] - mesh[MOUTH[1]]) / np.linalg.norm(mesh[SIDES[0]] - mesh[SIDES[1]]))


def smile(mesh: np.ndarray) -> float:
  """Wide with raised corners."""
  return corner_lift(mesh) + mouth_width(mesh)


def brow_height(mesh: np.ndarray) -> float:
  """Brows above the lower lids, in distances of the eyes: lids that close do not move it."""
  p = upright(mesh)
  return float(p[list(LOWER_LIDS), 1].mean() - p[list(BROWS), 1].mean())


def mouth_opening(mesh: np.ndarray) -> float:
  """Inner lip to inner lip over the height from eyes to chin."""
  p = upright(mesh)
  return float((p[LIPS[1], 1] - p[LIPS[0], 1]) / p[CHIN, 1])


def yaw(mesh: np.ndarray) -> float:
  """Where the tip of the nose lies between the sides of the face: -1 to 1, + to the subject's left."""
  p = upright(mesh)
  right, left = (abs(p[NOSE, 0] - p[side, 0]) for side in SIDES)
  return float((right - left) / (right + left))


def pitch(mesh: np.ndarray) -> float:
  """How far the sides of the face lie above the line of the eyes: larger when the face looks down."""
  return float(-upright(mesh)[list(SIDES), 1].mean())


def nose_length(mesh: np.ndarray) -> float:
  """Eyes to below the nose in distances of the eyes, less what nodding makes of it: children's noses grow with age."""
  p = upright(mesh)
  return float(p[BELOW_NOSE, 1] + 0.6 * p[list(SIDES), 1].mean())


def lightness(image: np.ndarray) -> np.ndarray:
  """CIELAB L* (H, W) of sRGB uint8."""
  c = image.astype(np.float64) / 255
  linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
  y = linear @ np.array([0.2126, 0.7152, 0.0722])
  return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def region(image: np.ndarray, name: str) -> float:
  """Median L* of a fixed region."""
  top, bottom, left, right = (round(share * image.shape[0]) for share in REGIONS[name])
  return float(np.median(lightness(image[top:bottom, left:right])))


# factor -> (what, from the mesh or the picture, the label it stands for, sign of that label)
MESH: dict[str, tuple[Callable[[np.ndarray], float], str, int]] = {
  "age": (nose_length, "age", 1),
  "happy": (smile, "smile", 1),
  "sad": (corner_lift, "frown", -1),
  "angry": (brow_height, "brow_raise", 1),
  "surprise": (lambda mesh: brow_height(mesh) + mouth_opening(mesh), "brow_raise", 1),
  "blink": (eye_aspect_ratio, "blink", -1),
  "yaw": (yaw, "yaw", 1),
  "pitch": (pitch, "pitch", 1),
}
COLOUR: dict[str, tuple[Callable[[np.ndarray], float], str, int]] = {
  "light_side": (lambda x: region(x, "right half") - region(x, "left half"), "light_azimuth", 1),
  "light_height": (lambda x: region(x, "nose") - region(x, "between eyes"), "light_elevation", 1),
  "skin": (lambda x: region(x, "face"), "skin_lightness", 1),
  "hair": (lambda x: region(x, "hair"), "hair_lightness", 1),
}
# Which way the measure goes while the step goes up; angry lowers the brows, which is brow_raise going down.
RISES = {"sad": -1, "angry": -1, "blink": -1}


class Mesh:
  """The face mesh of a picture, or None where no face is found."""

  def __init__(self):
    file = Path(__file__).with_name("studio_detector.py")
    spec = importlib.util.spec_from_file_location("studio_detector", file)
    self._module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(self._module)
    self.reason = self._module.missing()
    self._detector = None if self.reason else self._module.FaceDetector(os.environ[self._module.ENVIRONMENT])

  def __call__(self, image: np.ndarray) -> np.ndarray | None:
    large = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    score, box, points = self._detector.find(large)
    return self._detector.mesh(large, box, points) if score >= SCORE else None


def measures(mesh: Mesh) -> Mapping[str, tuple[Callable, str, int]]:
  """What can be measured on this machine, each a function of a picture that gives NaN where no face is found."""

  def on_mesh(function):
    def measure(image):
      found = mesh(image)
      return float("nan") if found is None else function(found)

    return measure

  out = dict(COLOUR)
  if not mesh.reason:
    out |= {name: (on_mesh(function), label, sign) for name, (function, label, sign) in MESH.items()}
  return out


def check_on_studio(path: Path, mesh: Mesh, count: int) -> dict[str, float]:
  """Spearman's rho of every measure with the exact label it stands for, over the first studio pictures of a set."""
  from jaxtalk.systems.face_attributes import ATTRIBUTES
  from jaxtalk.systems.face_attributes_task import read_faces

  images, targets = read_faces(path)
  labels = {a.name: targets["numbers"][:count, i] for i, a in enumerate(ATTRIBUTES)}
  out = {}
  for name, (measure, label, sign) in measures(mesh).items():
    values = np.array([measure(image) for image in images[:count]])
    seen = np.isfinite(values)
    out[name] = float(sign * stats.spearmanr(values[seen], labels[label][seen]).statistic)
  return out


def never_back(values: np.ndarray, slack: float = 0.1) -> bool:
  """Whether a series rises with no step back by more than ``slack`` of its range."""
  return bool(values[-1] > values[0] and np.all(np.diff(values) >= -slack * np.ptp(values)))


def judge(values: np.ndarray, base: np.ndarray, sign: int) -> dict[str, float]:
  """Figures of one factor: values (portraits, steps), NaN where nothing was found, and the base portraits' values."""
  whole = np.isfinite(values).all(1)
  rows = sign * values[whole]
  steps = np.arange(values.shape[1])
  rhos = [float(stats.spearmanr(steps, row).statistic) if np.ptp(row) else 0.0 for row in rows]
  spread = float(np.nanstd(base))
  return {
    "portraits": len(rows),
    "found": float(np.isfinite(values).mean()),
    "spearman_mean": float(np.mean(rhos)) if rhos else float("nan"),
    "spearman_of_mean_curve": float(stats.spearmanr(steps, rows.mean(0)).statistic) if len(rows) else float("nan"),
    "monotone_share": float(np.mean([never_back(row) for row in rows])) if rhos else float("nan"),
    "strictly_monotone_share": float(np.mean([np.all(np.diff(row) > 0) for row in rows])) if rhos else float("nan"),
    "range_in_sd": float((rows[:, -1] - rows[:, 0]).mean() / spread) if rhos and spread else float("nan"),
  }


def side_effects(lines: list[dict], base: list[dict], held: tuple[str, ...]) -> dict[str, float]:
  """The three held attributes that move most from the first to the last step, in deviations between base portraits.

  Seen by the labeller, mean over portraits, signed.
  """
  moved = {}
  for name in held:
    if name in base[0]["labels"] and (spread := float(np.std([line["labels"][name] for line in base]))) > 0:
      rows = np.array([line["labels"][name] for line in lines]).reshape(-1, lines[0]["steps"])
      moved[name] = float((rows[:, -1] - rows[:, 0]).mean() / spread)
  return dict(sorted(moved.items(), key=lambda item: -abs(item[1]))[:3])


def load_sweep(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, list[dict]]]:
  """factor -> (portraits, steps, H, W, 3), and the lines of the metadata by factor; "base" has one step."""
  lines: dict[str, list[dict]] = {}
  for text in (folder / "metadata.jsonl").read_text().splitlines():
    line = json.loads(text)
    lines.setdefault(line["factor"], []).append(line)
  images = {}
  for factor, own in lines.items():
    own.sort(key=lambda line: (line["subject"], line.get("step", 0)))
    flat = np.stack([np.asarray(Image.open(folder / line["file_name"]).convert("RGB")) for line in own])
    images[factor] = flat.reshape(len({line["subject"] for line in own}), -1, *flat.shape[1:])
  return images, lines


def identity(
  images: Mapping[str, np.ndarray], lines: Mapping[str, list[dict]], features: Callable[[np.ndarray], np.ndarray]
) -> dict[str, dict[str, float]]:
  """factor -> cosine to the base portrait: mean over all steps, at both ends, the worst; that of different portraits.

  Features (N, D) of pictures (N, H, W, 3), less their mean over base portraits. Factors may lack some portraits.
  """
  base = features(images["base"][:, 0])
  mean = base.mean(0)

  def directions(x: np.ndarray) -> np.ndarray:
    x = x - mean
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

  own = directions(base)
  row = {line["subject"]: i for i, line in enumerate(lines["base"])}
  others = (own @ own.T)[~np.eye(len(own), dtype=bool)]
  out = {"different_portraits": {"mean": float(others.mean()), "p95": float(np.quantile(others, 0.95))}}
  for factor, pictures in images.items():
    if factor != "base":
      n, steps = pictures.shape[:2]
      there = [row[line["subject"]] for line in lines[factor][::steps]]
      seen = directions(features(pictures.reshape(-1, *pictures.shape[2:]))).reshape(n, steps, -1)
      cosine = np.einsum("nkd,nd->nk", seen, own[there])
      ends = cosine[:, [0, -1]]
      out[factor] = {"mean": float(cosine.mean()), "ends": float(ends.mean()), "worst": float(cosine.min())}
  return out


def report(folder: Path, studio: Path | None, count: int) -> dict:
  """All figures of a sweep folder."""
  from jaxtalk.systems.face_attributes import load_face_attributes

  mesh = Mesh()
  images, lines = load_sweep(folder)
  first = lines["base"][0]
  known = measures(mesh)
  size = images["base"].shape[2]
  out: dict = {
    "network": first["network"], "network_sha256": first["network_sha256"], "psi": first["psi"], "size": size,
    "portraits": len(images["base"]), "landmarks": mesh.reason or "BlazeFace and face mesh of mediapipe 0.10.21",
  }  # fmt: skip
  if studio:
    out["studio_pictures"] = count
    out["measure_and_exact_label_spearman"] = check_on_studio(studio, mesh, count)
  out["factors"] = {}
  for factor, pictures in images.items():
    if factor not in known:
      continue
    values = np.array([[known[factor][0](image) for image in row] for row in pictures])
    base = np.array([known[factor][0](row[0]) for row in images["base"]])
    out["factors"][factor] = judge(values, base, RISES.get(factor, 1)) | {"label": known[factor][1]}
    held = tuple(name for name in HELD if name not in lines[factor][0]["attributes"])
    out["factors"][factor]["side_effects_in_sd"] = side_effects(lines[factor], lines["base"], held)
    own = [line["measured"] for line in lines[factor]]
    labelled = judge(np.array(own).reshape(values.shape), base, 1)
    out["factors"][factor]["labeller_spearman_mean"] = labelled["spearman_mean"]
  out["identity_cosine"] = identity(images, lines, load_face_attributes().features)
  return out


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("sweep", type=Path, help="folder written by python -m jaxtalk.stylegan2.sweep")
  parser.add_argument("--studio", type=Path, help="face set with exact labels, to check the measures on")
  parser.add_argument("--studio_count", type=int, default=500)
  parser.add_argument("--out", type=Path, default=RESULTS)
  args = parser.parse_args()
  result = report(args.sweep, args.studio, args.studio_count)
  args.out.parent.mkdir(parents=True, exist_ok=True)
  args.out.write_text(json.dumps(result, indent=2) + "\n")
  print(json.dumps(result, indent=2))


if __name__ == "__main__":
  main()

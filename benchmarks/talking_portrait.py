"""Does the StyleGAN2 that speaks do as it is told, stay who it is, and keep still where nothing moves?

  JAXTALK_MEDIAPIPE_WHEEL=mediapipe-0.10.21-….whl python benchmarks/talking_portrait.py \\
      [--weights=FILE] [--embedder_python=PYTHON] [--people=10] [--clips=2] [--parts=control,identity,…]

People and sentences that no training run saw are rendered by the network and by the studio, whose picture of the same
motion, person, scene and seed is the exact truth; every figure of the network stands beside the studio's own. With
``--renderer=studio`` the studio is judged in the network's place: what that gives is as good as these measures allow.

- control: head pose, mouth, blinks and landmarks by a detector that never saw our pictures (`portrait_detector`; needs
  ``pip install ai-edge-litert`` and the wheel, see `studio_detector`). Where its points lie on a head, and how far
  open lids are for it, is learnt per person from the studio's pictures of a face at rest in known poses. And once more
  by our own attribute network, on crops laid by the labels.
- identity: cosines within and between people by dlib's recognition network (``--embedder_python``, see
  `face_embedding`), and by our attribute network, which knows the studio well; the trend of the cosine over a minute.
- flicker: noise in time of pixels that rest (`metrics.steadiness`), in levels of 255: the background; skin of forehead
  and cheeks while the head is still; and, in takes where nothing but the mouth moves, all pixels that rest in the
  studio's pictures. Ratios are to the studio or to the noise of 8-bit rounding, 0.29, if that is more: what the studio
  does not move at all has no ratio.
- fd: Frechet distance to held-out studio renders on aligned crops, between halves with different people; and of the
  network to the studio's pictures of the same, which has no sampling of people in it.
- speed: frames a second of whole calls, both renderers by turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import portrait_measures as pm
import studio_detector
from PIL import Image
from portrait_detector import PortraitDetector
from portrait_takes import Film, Studio, Take, calibration, film, mouth_only

from jaxtalk import runtime
from jaxtalk.core import InputError, JaxtalkError, Renderer
from jaxtalk.metrics import extractors, image_quality
from jaxtalk.studio.renderer import StudioRenderer
from jaxtalk.systems.face_attributes import DIMS, load_face_attributes

RESULTS = Path(__file__).parent / "results" / "talking_portrait.json"
PARTS = ("control", "identity", "drift", "flicker", "fd", "speed")
SEED = 7_331_006  # of people, sentences, scenes: no training set draws from the plan of the quick start
PER_CLIP = 5  # pictures of a clip that are embedded
DRIFT_EVERY = 12  # frames of the long take between pictures that are embedded
PORTRAIT_PICTURES = 8  # of each person for fd
FLICKER_TAKES = 3  # takes with only the mouth moving
SPEED_FRAMES, SPEED_ROUNDS = 96, 3
TARGETS = (  # figure, path in the results, largest or smallest value asked for
  ("share of faces found", ("control", "found"), "", 0),  # the rest counts in all figures all the same
  ("head pose, mean deg", ("control", "pose_deg"), "<=", 3.0),
  ("  to the studio by the same detector", ("control", "pose_deg_to_studio"), "<=", 3.0),
  ("mouth opening, r", ("control", "mouth_r"), ">=", 0.9),
  ("  to the studio by the same detector", ("control", "mouth_r_to_studio"), ">=", 0.9),
  ("blinks detected", ("control", "blinks", "detected"), ">=", 0.95),
  ("  false a minute", ("control", "blinks", "false_per_minute"), "", 0),
  ("landmarks, % of inter-ocular", ("control", "points_percent"), "<=", 3.0),
  ("  less the detector's bias", ("control", "points_percent_less_bias"), "<=", 3.0),
  ("  to the studio by the same detector", ("control", "points_percent_to_studio"), "<=", 3.0),
  ("own: head pose, mean deg", ("own_control", "pose_deg"), "<=", 3.0),
  ("own: mouth opening, r", ("own_control", "mouth_r"), ">=", 0.9),
  ("own: blinks detected", ("own_control", "blinks", "detected"), ">=", 0.95),
  ("own: landmarks, % of inter-ocular", ("own_control", "points_percent"), "<=", 3.0),
  ("cosine within people, across clips", ("identity", "across_clips", "within_mean"), "", 0),
  ("cosine between people", ("identity", "across_clips", "between_mean"), "", 0),
  ("  AUC", ("identity", "across_clips", "auc"), "", 0),
  ("cosine to the studio's same frame", ("identity", "to_studio_same_frame"), "", 0),
  ("drift of the cosine a minute", ("drift", "per_minute"), "", 0),
  ("  half of the interval", ("drift", "ci95"), "", 0),
  ("frames a second", ("speed", "median"), "", 0),
)


def make_renderer(name: str, weights: str) -> Renderer:
  if name == "studio":
    return StudioRenderer()
  from jaxtalk.systems.talking_portrait_renderer import TalkingPortraitRenderer

  return TalkingPortraitRenderer(weights)


class Benchmark:
  """Takes and films of a run; every part is a method that gives plain figures."""

  def __init__(self, args: argparse.Namespace):
    self.args = args
    self.truth = StudioRenderer(maps=("segmentation",))
    self.judged = make_renderer(args.renderer, args.weights)
    self.maker = Studio(args.seed, args.people, args.clips, args.size, max(args.portraits, 1))
    self.takes = self.maker.takes(args.seconds)
    self.own = load_face_attributes()

  def films(self, take: Take, every: int = 1) -> dict[str, Film]:
    """``studio`` and ``network``, whatever is judged as the network."""
    return {"studio": film(self.truth, take, every), "network": film(self.judged, take, every)}

  @functools.cached_property
  def filmed(self) -> list[dict[str, Film]]:
    return [self.films(take) for take in self.takes]

  @functools.cached_property
  def calibrated(self) -> list[Film]:
    """A face at rest in known poses, one a person, by the studio."""
    return [film(self.truth, calibration(take.spec)) for take in self.takes[:: self.args.clips]]

  def control(self) -> dict:
    """By the independent detector."""
    if reason := studio_detector.missing():
      return {"skipped": reason}
    detector = PortraitDetector(os.environ[studio_detector.ENVIRONMENT])
    rulers = []
    for shots in self.calibrated:
      seen = detector.see(shots.images, shots.labels["lm2d_px"])
      rulers.append(pm.ruler(seen, seen.lids, shots.labels))
    per_take = [
      pm.control(take, films["studio"], films, detector, rulers[i // self.args.clips])
      for i, (take, films) in enumerate(zip(self.takes, self.filmed, strict=True))
    ]
    return pm.pool(per_take)

  def own_control(self) -> dict:
    """By our own attribute network."""
    shut = []
    for shots in self.calibrated:
      crops, _ = pm.aligned(shots, shots.labels)
      shut.append(pm.half_way(self.own.predict(crops)["eye_aspect_ratio"]))
    per_take = [
      pm.own_control(take, films["studio"], films, self.own, shut[i // self.args.clips])
      for i, (take, films) in enumerate(zip(self.takes, self.filmed, strict=True))
    ]
    return pm.pool(per_take)

  def labels_agree(self) -> float:
    """Largest distance in pixels of the network's landmark labels from the studio's."""
    marks = [[films[name].labels["lm2d_px"] for name in films] for films in self.filmed]
    return float(max(np.abs(a - b).max() for a, b in marks))

  def identity(self) -> dict:
    kept = [np.linspace(0, len(films["studio"].images) - 1, PER_CLIP).astype(int) for films in self.filmed]
    clip = np.repeat(np.arange(len(self.takes)), PER_CLIP)
    out: dict = {}
    for kind, embed in self._embedders().items():
      features = {
        name: embed([_chosen(films[name], films["studio"], k) for films, k in zip(self.filmed, kept, strict=True)])
        for name in ("studio", "network")
      }
      out[kind] = pm.identity(features, clip // self.args.clips, clip)
    return out

  def drift(self) -> dict:
    take = self.maker.long_take(self.args.drift_seconds)
    films = self.films(take, DRIFT_EVERY)
    count = len(films["studio"].images)
    seconds = (np.arange(count) * DRIFT_EVERY + 0.5) / float(take.spec.fps)
    whole = np.arange(count)
    return {
      kind: pm.drift({n: embed([_chosen(films[n], films["studio"], whole)]) for n in films}, seconds)
      for kind, embed in self._embedders().items()
    }

  def _embedders(self) -> dict[str, Callable[[list[Film]], np.ndarray]]:
    """Features of films, all frames one after another."""

    def own(films: list[Film]) -> np.ndarray:
      return self.own.features(np.concatenate([pm.aligned(f, f.labels)[0] for f in films]))

    out: dict[str, Callable[[list[Film]], np.ndarray]] = {"face_attributes": own}
    if self.args.embedder_python:
      embed = pm.dlib_embed(self.args.embedder_python)

      def dlib(films: list[Film]) -> np.ndarray:
        return embed(*(np.concatenate(x) for x in ([f.images for f in films], [f.labels["lm2d_px"] for f in films])))

      out["dlib"] = dlib
    return out

  def flicker(self) -> dict:
    truths = [films["studio"] for films in self.filmed]
    still = [self.films(mouth_only(take)) for take in self.takes[:: self.args.clips][:FLICKER_TAKES]]
    resting = lambda shown: pm.steadiness.resting_pixels(shown.images)  # noqa: E731
    return {
      "background": pm.flicker(truths, self.filmed, pm.background),
      "skin_while_the_head_rests": pm.flicker(truths, self.filmed, pm.resting_skin),
      "only_the_mouth_moves": pm.flicker([films["studio"] for films in still], still, resting),
    }

  def fd(self) -> dict:
    frames = np.concatenate([np.asarray(take.motion.values) for take in self.takes])
    each = min(PORTRAIT_PICTURES, len(frames))
    crops: dict[str, list[np.ndarray]] = {"studio": [], "network": []}
    for take in self.maker.portraits(self.args.portraits, frames, each):
      films = self.films(take)
      for name, made in films.items():
        crops[name].append(pm.aligned(made, films["studio"].labels)[0])
    halves = {name: [np.concatenate(x[i::2]) for i in range(2)] for name, x in crops.items()}
    out: dict = {"pictures_of_each": len(halves["studio"][0]), "people_of_each": len(crops["studio"]) // 2}
    for kind in ("face_attributes", *([self.args.inception] if self.args.inception else [])):
      extractor = extractors.make_extractor(kind)
      features = {name: [extractor.features(half) for half in pair] for name, pair in halves.items()}
      real, other = features["studio"]
      pairs = {"network": features["network"][1], "studio": other, "network_of_the_same_people": features["network"][0]}
      for name, fake in pairs.items():
        for result in image_quality.compare_features(real, fake, extractor, ["frechet", "kernel"]):
          out.setdefault(name, {})[result.name] = {"value": result.value, "ci95": list(result.ci95)}
    return out

  def speed(self) -> dict:
    take = self.takes[0]
    values = np.resize(np.asarray(take.motion.values), (SPEED_FRAMES, take.motion.values.shape[1]))
    motion = dataclasses.replace(take.motion, values=values)
    renderers = {"studio": StudioRenderer(), "network": self.judged}
    rates: dict[str, list[float]] = {name: [] for name in renderers}
    for _ in range(1 + SPEED_ROUNDS):  # the first compiles
      for name, renderer in renderers.items():
        start = time.perf_counter()
        for _ in renderer.render(motion, take.spec.person, take.spec.scene, seed=take.spec.seed):
          pass
        rates[name].append(SPEED_FRAMES / (time.perf_counter() - start))
    out: dict = {n: {"median": float(np.median(r[1:])), "all": r[1:]} for n, r in rates.items()}
    ratios = [b / a for a, b in zip(rates["studio"][1:], rates["network"][1:], strict=True)]
    return out | {"network_over_studio": float(np.median(ratios)), "frames": SPEED_FRAMES, "cpus": os.cpu_count()}

  def sheet(self, path: Path) -> None:
    """Studio above network, a column a frame in time, of the first clip of up to six people; enlarged twice."""
    rows = []
    for films in self.filmed[:: self.args.clips][:6]:
      at = np.linspace(0, len(films["studio"].images) - 1, 10).astype(int)
      rows += [np.concatenate(list(films[name].images[at]), axis=1) for name in ("studio", "network")]
    whole = Image.fromarray(np.concatenate(rows))
    whole.resize((whole.width * 2, whole.height * 2), Image.Resampling.BICUBIC).save(path)


def _chosen(shown: Film, truth: Film, kept: np.ndarray) -> Film:
  """Some frames, with the studio's labels."""
  return Film(shown.images[kept], {"lm2d_px": truth.labels["lm2d_px"][kept]})


def measure(args: argparse.Namespace) -> dict:
  """All parts that are asked for; what is known is written after each."""
  runtime.setup_jax()
  start = time.perf_counter()
  asked = args.parts.split(",")
  if unknown := set(asked) - set(PARTS):
    raise InputError(f"--parts: unknown part {sorted(unknown)[0]!r} (there are: {', '.join(PARTS)})")
  if "fd" in asked and args.portraits // 2 * PORTRAIT_PICTURES <= DIMS:
    raise InputError(f"--portraits={args.portraits} are too few for fd: half of them need more than {DIMS} pictures")
  bench = Benchmark(args)
  out: dict = {
    "renderer": args.renderer, "size": args.size, "people": args.people, "clips_of_each": args.clips,
    "frames": int(sum(take.motion.num_frames for take in bench.takes)), "seed": args.seed,
  }  # fmt: skip
  out["labels_differ_by_px"] = bench.labels_agree()
  for part in asked:
    for name in (part, "own_control") if part == "control" else (part,):
      out[name] = getattr(bench, name)()
      print(f"{name}: done after {time.perf_counter() - start:.0f} s", flush=True)
      args.out.parent.mkdir(parents=True, exist_ok=True)
      args.out.write_text(json.dumps(_plain(out), indent=2, allow_nan=False) + "\n")
  if args.sheet:
    bench.sheet(args.sheet)
  return out


def _plain(value):
  """For JSON: what could not be measured is null."""
  if isinstance(value, dict):
    return {name: _plain(x) for name, x in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(x) for x in value]
  return None if isinstance(value, float) and not np.isfinite(value) else value


def _figure(result: dict, path: tuple[str, ...], name: str) -> float | None:
  """From the embedding that had no part in training where there are two."""
  part = result.get(path[0], {})
  if path[0] in ("identity", "drift"):
    part = part.get("dlib", part.get("face_attributes", {}))
  part = part.get(name)
  for key in path[1:]:
    part = part.get(key) if isinstance(part, dict) else None
  return part


def table(result: dict) -> str:
  """Figures side by side; a star where the network misses what was asked for."""
  lines = [f"{'':<40}{'network':>10}{'studio':>10}  asked for"]
  for title, path, relation, limit in TARGETS:
    network, studio = (_figure(result, path, name) for name in ("network", "studio"))
    if network is None or studio is None:
      continue
    missed = (relation == "<=" and not network <= limit) or (relation == ">=" and not network >= limit)
    asked = f"{relation} {limit:g}" + " *" * missed if relation else ""
    lines.append(f"{title:<40}{network:>10.3f}{studio:>10.3f}  {asked}")
  for name, figures in result.get("flicker", {}).items():
    if figures["pixels"]:
      ratio = figures["network_over_studio"]
      asked = f"ratio {ratio:.2f}, asked for <= 1.5" + " *" * (not ratio <= 1.5)
      lines.append(f"{'flicker, ' + name:<40}{figures['network']:>10.3f}{figures['studio']:>10.3f}  {asked}")
  fd = result.get("fd", {})
  for kind in fd.get("studio", {}):
    network, studio = fd["network"][kind]["value"], fd["studio"][kind]["value"]
    lines.append(f"{kind + ' to held-out studio':<40}{network:>10.3f}{studio:>10.3f}")
  return "\n".join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--renderer", choices=("stylegan2", "studio"), default="stylegan2")
  parser.add_argument("--weights", default="", help="of the network; those that ship")
  parser.add_argument("--people", type=int, default=10)
  parser.add_argument("--clips", type=int, default=2, help="of each person, under other lights")
  parser.add_argument("--seconds", type=float, default=4.0, help="of a clip, at most")
  parser.add_argument("--size", type=int, default=128)
  parser.add_argument("--seed", type=int, default=SEED)
  parser.add_argument("--parts", default=",".join(PARTS))
  parser.add_argument("--drift_seconds", type=float, default=60.0)
  parser.add_argument("--portraits", type=int, default=140, help="further people for fd, 8 pictures of each")
  parser.add_argument("--embedder_python", default="", help="a Python with dlib, see face_embedding.py")
  parser.add_argument("--inception", default="", help="converted Inception weights, for FID")
  parser.add_argument("--sheet", type=Path, help="a PNG to look at")
  parser.add_argument("--out", type=Path, default=RESULTS)
  args = parser.parse_args()
  try:
    result = measure(args)
  except JaxtalkError as error:
    sys.exit(str(error))
  print(table(result))


if __name__ == "__main__":
  main()

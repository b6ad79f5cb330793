"""Does the talking portrait obey in a domain whose labels it never saw? Proof on two synthetic domains.

  python benchmarks/portrait_domains.py make --data=DATA --folder=toons [--people=400] [--others=250]
  python train.py --config=configs/talking_portrait.py --config.data.path=DATA --config.data.people=400 \\
      --config.data.other_path=toons --workdir=out/domains
  python benchmarks/portrait_domains.py judge --data=DATA --weights=out/domains/export/talking_portrait.safetensors \\
      [--ablation=FILE] [--people=400] [--others=250] [--sheet=domains.png]

``make`` writes toon pictures (`toon_pictures`) of other people than the run's studio stream has, without labels.
``judge`` draws the conditions of people that neither stream has, in both domains. As a toon is a function of a studio
picture, the exact toon of every condition is known, and stands beside what is drawn:

- fd: Frechet distances by the built-in extractor on aligned crops, 50 people or fewer and as many pictures on each
  side; studio pictures stand on the toons' backgrounds. Two sets of real toons tell what is as near as can be.
- levels: mean absolute difference of the person's pixels, of 255, to the exact picture.
- control: what a reader finds that was taught for this judgement alone, on labelled toons and studio pictures of the
  run's studio people (half and half): head pose, opening of mouth and lids, landmarks in percent of the distance of the
  eyes. On exact pictures it tells how good the reader is.
- detected: the same of mouth, lids and landmarks by a detector that saw neither domain (`portrait_detector`; needs
  ``pip install ai-edge-litert`` and ``JAXTALK_MEDIAPIPE_WHEEL``), on every second picture.
- ``ablation`` is another run's file, such as one with ``--config.loss.control_weight=0``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import studio_detector
import toon_pictures
from PIL import Image
from portrait_detector import SAME_POINT, PortraitDetector
from studio_detector import crop

from jaxtalk import runtime
from jaxtalk.data.portraits import PER_PERSON, PortraitSet
from jaxtalk.metrics import extractors, face_points, image_quality
from jaxtalk.motion.rotations import matrix_from_ypr
from jaxtalk.studio.face_crop import face_crop
from jaxtalk.systems import portrait_conditions as pc
from jaxtalk.systems import talking_portrait as tp
from jaxtalk.systems import talking_portrait_reader as rd

RESULTS = Path(__file__).parent / "results" / "portrait_domains.json"
SIZE, SEED = 128, 0  # of the sets' pictures, and of the people; those to judge by have the next
CROP = 64  # pixels of aligned crops
READER_BATCH, READER_LR = 32, 0.002
_HEAD = slice(pc.NAMES.index("head_yaw"), pc.NAMES.index("head_roll") + 1)
Columns = dict[str, np.ndarray]


def people(data: Path, first: int, count: int, seed: int = SEED) -> Columns:
  """Columns of people ``first`` to ``first + count`` of the portrait set."""
  columns = PortraitSet(first + count, SIZE, seed).load(data)
  return {name: x[first * PER_PERSON :] for name, x in columns.items()}


def make(args: argparse.Namespace) -> None:
  pictures = people(args.data, args.people, args.others)["image"]
  toon_pictures.write(args.folder, toons(pictures, args.people))
  print(f"{args.folder}: {len(pictures)} toons of {args.others} people")


def toons(pictures: np.ndarray, seed: int) -> np.ndarray:
  """(N, 64, 64, 3), a few at a time for the memory's sake."""
  step = 256
  return np.concatenate([toon_pictures.toon(pictures[i : i + step], seed + i) for i in range(0, len(pictures), step)])


def on_flat(pictures: np.ndarray, seed: int) -> np.ndarray:
  """(N, R, R, 3) uint8 of (N, R, R, 4) uint8 on black: on backgrounds as toons have them."""
  ground = toon_pictures.backgrounds(len(pictures), seed)
  matte = pictures[..., 3:].astype(np.float32) / 255
  return np.round(np.clip(pictures[..., :3] + 255 * (1 - matte) * ground, 0, 255)).astype(np.uint8)


# --- Drawing.


@functools.cache
def _painter(module):
  return jax.jit(lambda variables, rows: tp.paint(module, variables, rows, SIZE))


def draw(portrait: tp.TalkingPortrait, columns: Columns, domain: str) -> np.ndarray:
  """(N, R, R, 4) uint8 of all conditions."""
  labels, _ = portrait.standardise(columns["c"], domain)
  told = {name: columns[name] for name in ("z", "points", "cover")} | {"label": labels}
  paint = _painter(portrait.module)
  count, step, out = len(labels), 50, []
  for i in range(0, count, step):
    at = np.minimum(np.arange(i, i + step), count - 1)  # whole batches, so that one program does
    out.append(np.asarray(paint(portrait.variables, {name: x[at] for name, x in told.items()})))
  painted = np.concatenate(out)[:count]
  return np.round(np.clip(painted * 127.5 + 127.5, 0, 255)).astype(np.uint8)


# --- The reader of this judgement.


class Judge:
  """A reader that knows both domains with their labels; it has no part in any training run."""

  def __init__(self, size: int, scales: tuple[np.ndarray, np.ndarray]):
    self.net, self.scales = rd.FaceReader(size, 2048, 128), scales
    self._read = jax.jit(lambda params, x: self.net.apply({"params": params}, x.astype(jnp.float32) / 127.5 - 1))

  def readings(self, columns: Columns) -> np.ndarray:
    labels, _ = tp.standardise(columns["c"], *self.scales)
    return np.asarray(rd.readings(jnp.asarray(labels), jnp.asarray(columns["points"]), SIZE))

  def learn(self, pictures: np.ndarray, wanted: np.ndarray, steps: int) -> float:
    """On (N, R, R, 3) uint8 and (N, 146); the loss of the last fifty updates."""
    rng, net = np.random.default_rng(3), self.net
    optimizer = optax.adam(optax.cosine_decay_schedule(READER_LR, steps))
    self.params = jax.jit(net.init)(jax.random.key(4), jnp.zeros((1, *pictures.shape[1:])))["params"]
    state, losses = optimizer.init(self.params), []

    @jax.jit
    def update(params, state, x, y):
      def loss(params):
        return rd.misread(net.apply({"params": params}, x.astype(jnp.float32) / 127.5 - 1), y).mean()

      value, grads = jax.value_and_grad(loss)(params)
      updates, state = optimizer.update(grads, state)
      return optax.apply_updates(params, updates), state, value

    for _ in range(steps):
      at = rng.integers(len(pictures), size=READER_BATCH)
      self.params, state, value = update(self.params, state, pictures[at], wanted[at])
      losses.append(value)
    return float(np.mean(jax.device_get(losses[-50:])))

  def read(self, pictures: np.ndarray) -> np.ndarray:
    step = 50
    assert len(pictures) % step == 0
    return np.concatenate([self._read(self.params, pictures[i : i + step]) for i in range(0, len(pictures), step)])

  def control(self, pictures: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Errors of what is read off pictures to what was asked for."""
    told, true = (
      {n: np.asarray(x) for n, x in rd.split(jnp.asarray(v)).items()} for v in (self.read(pictures), wanted)
    )
    a, b = (np.asarray(matrix_from_ypr(self._radians(x["angles"]))) for x in (told, true))
    between = np.arccos(np.clip((np.einsum("nij,nij->n", a, b) - 1) / 2, -1, 1))
    at, truth = (x["points"].reshape(len(wanted), -1, 2) for x in (told, true))
    apart = np.linalg.norm(truth[:, 42:48].mean(1) - truth[:, 36:42].mean(1), axis=1)
    off = np.linalg.norm(at - truth, axis=2).mean(1) / np.median(apart)
    r = [float(np.corrcoef(told["openings"][:, i], true["openings"][:, i])[0, 1]) for i in range(3)]
    return {
      "pose_deg": float(np.degrees(between.mean())), "mouth_r": r[0], "lids_r": float(np.mean(r[1:])),
      "points_percent": float(100 * off.mean()),
    }  # fmt: skip

  def _radians(self, angles: np.ndarray) -> np.ndarray:
    return angles * self.scales[1][_HEAD] + self.scales[0][_HEAD]


# --- The figures.


def aligned(pictures: np.ndarray, columns: Columns) -> np.ndarray:
  """(N, 64, 64, 3) uint8 crops as FFHQ has them, laid by the labels."""
  scale, out = pictures.shape[1] / SIZE, []
  for picture, at in zip(pictures, columns["points"].astype(np.float64), strict=True):
    square = face_crop((at[:70, :2] + 0.5) * scale - 0.5)
    out.append(crop(picture.astype(np.float32), square.centre + 0.5, square.side, square.roll, CROP))
  return np.round(np.stack(out)).astype(np.uint8)


def distances(reference: np.ndarray, sets: dict[str, np.ndarray]) -> dict[str, dict]:
  """Frechet distances of aligned crops to the reference."""
  extractor = extractors.make_extractor("face_attributes")
  real, out = extractor.features(reference), {}
  for name, crops in sets.items():
    (result,) = image_quality.compare_features(real, extractor.features(crops), extractor, ["frechet"])
    out[name] = {"value": result.value, "ci95": list(result.ci95), "metric": result.name}
  return out


def levels(pictures: np.ndarray, exact: np.ndarray, matte: np.ndarray) -> float:
  """Mean absolute difference over the person's pixels."""
  inside = matte > 200
  return float(np.abs(pictures.astype(float) - exact)[inside].mean())


def judge(args: argparse.Namespace) -> dict:
  portrait = tp.load(args.weights)
  size, held = portrait.module.img_resolution, people(args.data, 0, args.held_out, SEED + 1)
  small = functools.partial(toon_pictures.shrink, size=size)
  matte, studio, exact = small(held["image"])[..., 3], small(held["image"]), small(toons(held["image"], 7))
  runs = {"other": portrait} | ({"other_ablation": tp.load(args.ablation)} if args.ablation else {})
  drawn = {name: draw(run, held, "other")[..., :3] for name, run in runs.items()}
  own = draw(portrait, held, "studio")
  others = people(args.data, args.people, args.others)
  real = small(toons(others["image"], args.people))
  # As many pictures on both sides: as many people for the reference, and others for what is as near as can be.
  n = min(len(exact), len(real) // 2)
  halves = [{k: x[i * n : (i + 1) * n] for k, x in others.items()} for i in (0, 1)]
  crops = [aligned(real[i * n : (i + 1) * n], half) for i, half in enumerate(halves)]
  head = {k: x[:n] for k, x in held.items()}
  sets = {f"drawn_{name}": x for name, x in drawn.items()}
  sets |= {"drawn_studio": on_flat(own, 8), "real_studio": on_flat(studio, 8), "real_other_same_people": exact}
  out: dict = {"fd_to_real_other": distances(
    crops[0], {"real_other": crops[1]} | {name: aligned(x[:n], head) for name, x in sets.items()}
  )}  # fmt: skip
  out["fd_pictures_of_each"] = n
  out["levels"] = {f"{name}_to_exact_other": levels(x, exact, matte) for name, x in drawn.items()}
  out["levels"] |= {
    "studio_to_exact_studio": levels(own[..., :3], studio[..., :3], matte),
    "studio_to_exact_other": levels(own[..., :3], exact, matte),
  }
  out["detected"] = detected(held, sets)
  if args.reader_steps:
    out["control"] = _control(args, portrait, held, sets)
  if args.sheet:
    _sheet(args.sheet, [on_flat(studio, 8), on_flat(own, 8), exact, *drawn.values()])
  return out | {
    "weights": portrait.facts["steps"], "resolution": size, "people": args.people, "others": args.others,
    "held_out_people": args.held_out, "reader_steps": args.reader_steps,
  }  # fmt: skip


def detected(columns: Columns, sets: dict[str, np.ndarray], every: int = 2) -> dict:
  """What an independent detector finds of what was asked for: r of mouth and lids, landmarks in % of the eyes."""
  if reason := studio_detector.missing():
    return {"skipped": reason}
  detector, out = PortraitDetector(os.environ[studio_detector.ENVIRONMENT]), {}
  for name, pictures in sets.items():
    scale = pictures.shape[1] / SIZE
    marks = ((columns["points"][::every, :70, :2].astype(np.float64)) + 0.5) * scale - 0.5
    seen = detector.see(pictures[::every], marks)
    gap = np.linalg.norm(marks[:, 62] - marks[:, 66], axis=1) / np.linalg.norm(marks[:, 27] - marks[:, 8], axis=1)
    apart = np.linalg.norm(marks[:, 42:48].mean(1) - marks[:, 36:42].mean(1), axis=1)
    exact = marks[:, [b for _, b in SAME_POINT]]
    out[name] = {
      "found": float(seen.found.mean()),
      "mouth_r": face_points.correlation(seen.openings(), gap),
      "lids_r": face_points.correlation(seen.lids, face_points.eye_aspect_ratio(marks)),
      "points_percent": float(
        np.mean(face_points.point_error(seen.same_points(), exact, np.full_like(apart, np.median(apart))))
      ),
    }
  return out


def _control(args: argparse.Namespace, portrait: tp.TalkingPortrait, held: Columns, sets: dict) -> dict:
  size, known = portrait.module.img_resolution, people(args.data, 0, min(args.people, args.reader_people))
  reader = Judge(size, (portrait.mean, portrait.scale))
  both = [toon_pictures.shrink(toons(known["image"], 11), size)]
  both.append(on_flat(toon_pictures.shrink(known["image"], size), 12))
  loss = reader.learn(np.concatenate(both), np.tile(reader.readings(known), (2, 1)), args.reader_steps)
  wanted = reader.readings(held)
  return {name: reader.control(pictures, wanted) for name, pictures in sets.items()} | {"reader_loss": loss}


def _sheet(path: Path, rows: list[np.ndarray], columns: int = 12) -> None:
  """A column a condition: exact and drawn studio picture, exact and drawn other one."""
  at = np.linspace(0, len(rows[0]) - 1, columns).astype(int)
  whole = Image.fromarray(np.concatenate([np.concatenate(list(row[at]), axis=1) for row in rows]))
  whole.resize((whole.width * 3, whole.height * 3), Image.Resampling.BICUBIC).save(path)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("what", choices=("make", "judge"))
  parser.add_argument("--data", type=Path, required=True, help="folder of the portrait sets, as config.data.path")
  parser.add_argument("--folder", type=Path, default=Path("toons"), help="where make writes")
  parser.add_argument("--people", type=int, default=400, help="of the run's studio stream")
  parser.add_argument("--others", type=int, default=250, help="the next ones, who are drawn as toons")
  parser.add_argument("--held_out", type=int, default=50, help="people to judge by")
  parser.add_argument("--weights", type=Path)
  parser.add_argument("--ablation", type=Path)
  parser.add_argument("--reader_steps", type=int, default=3000, help="updates of the judgement's reader; 0: no control")
  parser.add_argument("--reader_people", type=int, default=400)
  parser.add_argument("--sheet", type=Path)
  parser.add_argument("--results", type=Path, default=RESULTS)
  args = parser.parse_args()
  runtime.setup_jax()
  if args.what == "make":
    make(args)
    return
  result = judge(args)
  args.results.write_text(json.dumps(result, indent=1) + "\n")
  print(json.dumps(result, indent=1))


if __name__ == "__main__":
  main()

"""One thing changes, the child stays: ``python -m jaxtalk.stylegan2.sweep NETWORK OUT_DIR --factors=age,expression``.

For every factor of `factors` and every portrait, pictures in even steps of what the labeller sees: OUT_DIR gets
``images/FACTOR/SUBJECT_STEP.png``, ``metadata.jsonl`` (factor, step, alpha, target, measured value, all labels),
``FACTOR.png`` (a contact sheet, a row a portrait) and ``directions/FACTOR.safetensors``. Directions are learnt from
``--count`` labelled latents, or taken from a folder of earlier ones with ``--directions``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.runtime import use_compilation_cache
from jaxtalk.stylegan2 import album, directions, factors
from jaxtalk.stylegan2.directions import Direction
from jaxtalk.stylegan2.factors import Factor
from jaxtalk.stylegan2.latents import NamedLabeller, Pictures, label_latents, load_labeller
from jaxtalk.stylegan2.sample import Subject, add_network_flags, open_cast

GRID = np.linspace(-4, 4, 17)  # alphas tried for the calibration, in standard deviations of the attribute ...
REACH = 4.0  # ... and no further than so many of the codes: beyond, pictures fall apart
_TOGETHER = 8  # portraits that are calibrated at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
  """One portrait and one factor.

  Attributes:
    subject: whose portrait.
    alphas, targets, measured: (steps,) what was done, asked, and seen by the labeller.
    images: (steps, H, W, C) uint8.
    labels: name -> (steps,), everything that the labeller sees.
  """

  subject: Subject
  alphas: np.ndarray
  targets: np.ndarray
  measured: np.ndarray
  images: np.ndarray
  labels: Mapping[str, np.ndarray]


def sweep(
  network: Pictures,
  labeller: NamedLabeller,
  direction: Direction,
  factor: Factor,
  subjects: Sequence[Subject],
  ws: np.ndarray,
) -> list[Sweep]:
  """Sweeps one factor over portraits whose codes are ``ws`` (N, num_ws, w_dim).

  Portraits whose attribute does not rise along the direction are left out.
  """
  solved = calibrate(network, labeller, direction, factor, ws)
  if not solved:
    return []
  alphas = np.concatenate([alphas for alphas, _ in solved.values()])
  images = network.images(directions.apply(np.repeat(ws[list(solved)], factor.steps, axis=0), direction, alphas))
  labels = labeller.predict(images)
  measured = factor.score(labels, direction.origin.figures)
  out = []
  for k, (i, (alphas, targets)) in enumerate(solved.items()):
    own = slice(k * factor.steps, (k + 1) * factor.steps)
    out.append(
      Sweep(
        subject=subjects[i],
        alphas=alphas,
        targets=targets,
        measured=measured[own],
        images=images[own],
        labels={name: values[own] for name, values in labels.items()},
      )
    )
  return out


def calibrate(
  network: Pictures, labeller: NamedLabeller, direction: Direction, factor: Factor, ws: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
  """Index of a portrait -> alphas (steps,) and targets (steps,) at which the labeller sees even steps.

  Every portrait is drawn at the alphas of ``GRID``, a few at a time, so that large pictures fit. Portraits whose
  attribute does not rise along the direction are left out.
  """
  figures = direction.origin.figures
  grid = GRID * min(1.0, REACH / (figures["deviations"] * GRID[-1]))
  solved = {}
  for start in range(0, len(ws), _TOGETHER):
    some = np.repeat(ws[start : start + _TOGETHER], len(grid), axis=0)
    moved = directions.apply(some, direction, np.tile(grid, len(some) // len(grid)))
    seen = factor.score(labeller.predict(network.images(moved)), figures)
    for i, response in enumerate(seen.reshape(-1, len(grid)), start):
      with contextlib.suppress(factors.Unmoved):
        alphas, targets, _ = factors.solve(grid, response, figures["low"], figures["high"], factor.steps)
        solved[i] = alphas, targets
  return solved


def write_base(
  book: album.Album, network: Pictures, labeller: NamedLabeller, subjects: Sequence[Subject], ws: np.ndarray
) -> None:
  """The portraits before any edit, with their labels."""
  images = network.images(ws)
  labels = labeller.predict(images)
  for i, subject in enumerate(subjects):
    facts = {"factor": "base", "labels": _row(labels, i)}
    book.add(f"images/base/{subject.index:04d}.png", images[i], _who(subject) | facts)


def write_sweeps(book: album.Album, factor: Factor, direction: Direction, sweeps: Sequence[Sweep]) -> None:
  """The pictures of one factor with their facts."""
  for one in sweeps:
    for step in range(factor.steps):
      facts = {
        "factor": factor.name,
        "attributes": list(factor.weights),
        "step": step,
        "steps": factor.steps,
        "alpha": round(float(one.alphas[step]), 6),
        "latent_distance": round(float(one.alphas[step] * direction.scale), 6),
        "target": round(float(one.targets[step]), 6),
        "measured": round(float(one.measured[step]), 6),
        "labels": _row(one.labels, step),
      }
      book.add(f"images/{factor.name}/{one.subject.index:04d}_{step}.png", one.images[step], _who(one.subject) | facts)


def factor_sheet(factor: Factor, sweeps: Sequence[Sweep]):
  """A row a portrait, a column a step, what the labeller sees under each."""
  return album.sheet(
    [list(one.images) for one in sweeps],
    title=f"{factor.name}: {' + '.join(factor.weights)} in {factor.steps} steps",
    row_names=[f"{one.subject.gender} {one.subject.seed}".strip() for one in sweeps],
    column_names=[f"step {step}" for step in range(factor.steps)],
    captions=[[f"{value:.2f}" for value in one.measured] for one in sweeps],
  )


def obtain_directions(
  network: Pictures, labeller: NamedLabeller, wanted: Sequence[Factor], *, count: int, seed: int, folder: Path | None
) -> dict[str, Direction]:
  """Name -> direction of every factor: read from ``folder`` if one is given, else learnt from labelled latents."""
  if folder is not None:
    found = {f.name: directions.load(folder / f"{f.name}.safetensors", network.sha256) for f in wanted}
    bare = [name for name, d in found.items() if not {"low", "high", "deviations"} <= set(d.origin.figures)]
    if bare:
      raise InputError(f"{folder}: {bare[0]!r} has no range of steps: learn it with this command, without --directions")
    return found
  latents = label_latents(network, labeller, count=count, seed=seed, progress=_progress(count))
  factors.check_attributes(wanted, latents.labels, labeller.name)
  return {factor.name: factors.learn(latents, factor) for factor in wanted}


def _progress(count: int):
  def show(done: int) -> None:
    print(f"\rlabelled {done} of {count} latents", end="\n" if done >= count else "", file=sys.stderr, flush=True)

  return show


def _row(labels: Mapping[str, np.ndarray], index: int) -> dict[str, float]:
  return {name: round(float(values[index]), 6) for name, values in labels.items()}


def _who(subject: Subject) -> dict[str, object]:
  who: dict[str, object] = {"subject": subject.index, "seed": subject.seed}
  return who | ({"gender": subject.gender, "class": subject.label} if subject.gender else {})


def _act(args: argparse.Namespace) -> int:
  use_compilation_cache()
  wanted = factors.chosen(args.factors)
  if args.noise_mode == "random":
    raise InputError("a sweep changes one thing, so its noise must stay: --noise_mode=const or none")
  cast = open_cast(args.network, classes=args.classes, batch=args.batch, noise_mode=args.noise_mode)
  if len(cast.networks) != 1:
    raise InputError("a sweep takes one network: directions of one of a pair do not fit the other; run it for each")
  network, labeller = cast.networks[0], load_labeller(args.labeller)
  subjects = cast.subjects(args.subjects, args.seed, args.girls)
  facts = {"psi": args.psi, "noise_mode": args.noise_mode, "network": network.name, "network_sha256": network.sha256}
  book = album.Album(args.out, facts | {"labeller": labeller.name}, overwrite=args.overwrite)
  found = obtain_directions(
    network, labeller, wanted, count=args.count, seed=args.direction_seed, folder=args.directions
  )
  ws = cast.codes(subjects, args.psi)
  write_base(book, network, labeller, subjects, ws)
  lost = 0
  for factor in wanted:
    direction = found[factor.name]
    directions.save(args.out / "directions" / f"{factor.name}.safetensors", direction)
    sweeps = sweep(network, labeller, direction, factor, subjects, ws)
    write_sweeps(book, factor, direction, sweeps)
    if sweeps:
      album.write_png(args.out / f"{factor.name}.png", factor_sheet(factor, sweeps))
    print(f"{factor.name}: {len(sweeps)} portraits in {factor.steps} steps, R^2 {direction.origin.figures['r2']:.2f}")
    lost += len(subjects) - len(sweeps)
    for subject in sorted({s.index for s in subjects} - {one.subject.index for one in sweeps}):
      print(f"{factor.name}: left out portrait {subject}, where it does not rise along its direction", file=sys.stderr)
  book.finish()
  return 1 if lost else 0


def main(argv: Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="jaxtalk.stylegan2.sweep", description=(__doc__ or "").splitlines()[0])
  add_network_flags(parser)
  parser.add_argument(
    "--factors", default="", help="of " + ", ".join(f.name for f in factors.FACTORS) + "; all if empty"
  )
  parser.add_argument("--subjects", type=int, default=8, help="portraits a factor")
  parser.add_argument("--labeller", default="", help="your attribute model, package.module:name or file.py:name")
  parser.add_argument("--directions", type=Path, help="folder of an earlier sweep's directions, instead of learning")
  parser.add_argument("--count", type=int, default=2000, help="latents to label for learning")
  parser.add_argument("--direction_seed", type=int, default=1, help="of those latents")
  return album.run(parser, _act, argv)


if __name__ == "__main__":
  sys.exit(main())

"""What ``python generate.py --config=configs/faces.py`` does: labelled stills of a StyleGAN2 network, factor by factor.

Stills only: such a network knows no motion. Its expressions are directions of its latent space, found with the help of
a network that reads faces, so a label says what was done exactly and what is seen as well as that network sees.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxtalk import runtime
from jaxtalk.clips import marks
from jaxtalk.clips.writer import check_writable
from jaxtalk.core import InputError
from jaxtalk.stylegan2 import album, directions, faces_directions
from jaxtalk.stylegan2.faces_directions import Source
from jaxtalk.stylegan2.faces_draw import Artist, Edit, Embedding
from jaxtalk.stylegan2.faces_index import Index
from jaxtalk.stylegan2.faces_plan import Plan, Row, make_plan
from jaxtalk.stylegan2.latents import load_labeller, load_object
from jaxtalk.stylegan2.runner import open_network
from jaxtalk.stylegan2.sample import GENDERS, Cast, Subject

TOGETHER = 8  # candidates whose stills are made, and written, at a time
_WEAK = 0.3  # R^2 below which the labeller hardly sees a factor in the network's own samples
_Edits = dict[tuple[str, str], Edit]  # SHA-256 of a network and name of a factor -> how it is changed


def generate(config: ConfigDict, out: Path) -> int:
  """Makes the stills of a config in ``out`` and returns the exit code: 0 all there, 1 some portraits did not move.

  Raises:
    InputError, MissingAssetError: a config, network, direction or folder that cannot be used.
  """
  plan = make_plan(config)
  runtime.use_compilation_cache()
  cast = open_networks(config)
  labeller = load_labeller(config.labeller)
  identity = load_embedding(config.identity)
  check_writable(out)
  facts = {
    "psi": plan.psi,
    "noise_mode": plan.noise,
    "span": plan.span,
    "classes": list(cast.classes) if cast.networks[0].c_dim else None,
    "labeller": labeller.name,
    "labeller_sha256": labeller.sha256,
    "identity": config.identity or None,
  }
  index = Index(out, facts, networks=[n.sha256 for n in cast.networks], first_seed=plan.seed)
  source = Source(place=config.directions, count=config.learn.count, seed=config.learn.seed)
  try:
    short = _fill(index, plan, cast, [Artist(network, labeller, identity) for network in cast.networks], source)
    _finish(index, cast, facts, config.outputs)
  except OSError as error:
    reason = os.strerror(error.errno) if error.errno else str(error)
    raise InputError(f"{out}: stopped, {reason}; the same command goes on") from error
  said = "in the index" if identity else "not measured, no embedding of identity ships; give yours as config.identity"
  print(f"{len(index)} stills in {out}; identity cosine: {said}")
  return 1 if short else 0


def open_networks(config: ConfigDict) -> Cast:
  """The network of a config, or its pair, with the names of the classes.

  Raises:
    MissingAssetError, InputError: as `runner.open_network`, or classes that do not fit the network.
  """
  paths = [part.strip() for part in config.snapshot.split(",")]
  networks = tuple(open_network(path, batch=config.batch, noise_mode=config.noise) for path in paths)
  first = networks[0]
  names = GENDERS if config.classes is None else tuple(name.strip() for name in config.classes.split(","))
  if config.classes is not None and not first.c_dim:
    raise InputError(f"config.classes={config.classes}: {first.name} has no classes (c_dim 0); leave it out")
  if len(networks) == 1 and first.c_dim and (len(names) != first.c_dim or not set(GENDERS) <= set(names)):
    raise InputError(
      f"{first.name} has c_dim {first.c_dim}, and the classes are {','.join(names)}: name all {first.c_dim} in their "
      "order with --config.classes=..., girl and boy among them"
    )
  return Cast(networks, names)


def load_embedding(text: str) -> Embedding | None:
  """A user's embedding of faces, (N, H, W, C) uint8 to (N, D) floats, or None for ""."""
  if not text:
    return None
  found, _ = load_object(text, "identity embedding")
  if not callable(found):
    raise InputError(f"identity embedding {text!r} is not a function of pictures (N, H, W, 3) uint8")

  def embed(images: np.ndarray) -> np.ndarray:
    vectors = np.asarray(found(images), np.float64)
    if vectors.ndim != 2 or len(vectors) != len(images) or not np.isfinite(vectors).all():
      wanted = f"{len(images)} rows of finite numbers"
      raise InputError(f"identity embedding {text!r}: expected {wanted}, got {vectors.shape}")
    return vectors

  return embed


def _fill(index: Index, plan: Plan, cast: Cast, artists: Sequence[Artist], source: Source) -> int:
  """Makes what is not there, row by row, and returns how many stills are missing in the end."""
  edits = _edits(plan, artists, source, index)
  return sum(plan.wanted(row) - _make(row, plan, cast, artists, edits, index) for row in plan.rows)


def _edits(plan: Plan, artists: Sequence[Artist], source: Source, index: Index) -> _Edits:
  """Obtains the directions of every network and puts them into the folder, so that stills can be made again from it."""
  edits: _Edits = {}
  waiting = index.out / ".directions"  # until it is known that they made the stills that are there
  for k, artist in enumerate(artists):
    found = faces_directions.obtain(artist.network, artist.labeller, plan.factors, source)
    for name, direction in found.items():
      file = f"{GENDERS[k]}/{name}.safetensors" if len(artists) > 1 else f"{name}.safetensors"
      directions.save(waiting / file, direction)
      edits[artist.network.sha256, name] = Edit(
        factor=next(factor for factor in plan.factors if factor.name == name),
        direction=faces_directions.scaled(direction, plan.span),
        file=f"directions/{file}",
        sha256=marks.file_digest(waiting / file),
      )
  try:
    for row in plan.rows:
      index.check_directions(row, edits.values())
    for edit in edits.values():
      (index.out / edit.file).parent.mkdir(parents=True, exist_ok=True)
      (waiting / Path(edit.file).relative_to("directions")).replace(index.out / edit.file)
  finally:
    shutil.rmtree(waiting, ignore_errors=True)
  return edits


def _make(row: Row, plan: Plan, cast: Cast, artists: Sequence[Artist], edits: _Edits, index: Index) -> int:
  """Makes what is not there of a row, and returns how many of its stills are there in the end.

  Candidates go in the order of their seeds, so many of each gender as are wanted; one that does not move along a
  direction is left out, and the next takes its place.
  """
  each = plan.subjects[row.name]
  need = Counter({gender: each for gender in GENDERS} if cast.knows_gender else {"": 2 * each})
  candidates = cast.subjects(plan.candidates(row), plan.seed, None)
  before = len(index)
  for network, artist in zip(cast.networks, artists, strict=True):
    mine = [s for s in candidates if cast.network(s) is network]
    own = [edits[network.sha256, factor.name] for factor in row.factors]
    for start in range(0, len(mine), TOGETHER):
      some = _next(mine[start : start + TOGETHER], need)
      if some:
        need -= Counter(s.gender for s in _draw(row, some, plan, cast, artist, own, index))
      elif not any(need[s.gender] for s in mine[:2]):
        break
  made, there = len(index) - before, plan.wanted(row) - need.total() * row.steps
  notes = f"; {need.total()} portraits did not move" if need.total() else ""
  for r2 in sorted(e.direction.origin.figures.get("r2", 1.0) for e in edits.values() if e.factor in row.factors)[:1]:
    notes += f"; this network hardly shows it (R^2 {r2:.2f})" if r2 < _WEAK else ""
  print(f"{row.name}: {there} of {plan.wanted(row)} stills, {there - made} of them kept{notes}", flush=True)
  return there


def _next(subjects: Sequence[Subject], need: Counter[str]) -> list[Subject]:
  """The first of some candidates, as many of each gender as are still wanted."""
  left, out = Counter(need), []
  for subject in subjects:
    if left[subject.gender] > 0:
      left[subject.gender] -= 1
      out.append(subject)
  return out


def _draw(
  row: Row, subjects: Sequence[Subject], plan: Plan, cast: Cast, artist: Artist, edits: Sequence[Edit], index: Index
) -> list[Subject]:
  """Makes the stills of some candidates together, and returns those whose stills are there."""
  lost = index.left_out.setdefault(row.name, set())
  if not all(index.has(row, s) or s.index in lost for s in subjects):
    series = artist.draw(row, edits, subjects, cast.codes(subjects, plan.psi))
    lost |= {s.index for s in subjects} - {one.subject.index for one in series}
    for one in series:
      index.add(row, one, {"network": artist.network.name, "network_sha256": artist.network.sha256})
  if sys.stderr.isatty():
    print(f"\r{row.name}: portrait {subjects[-1].index} ", end="\r", file=sys.stderr, flush=True)
  return [s for s in subjects if index.has(row, s)]


def _finish(index: Index, cast: Cast, facts: dict[str, Any], outputs: ConfigDict) -> None:
  """Writes what is said of the whole folder, all stills that earlier runs made there included."""
  rows = index.rows()
  counts: dict[str, dict[str, int]] = {}
  for row in rows:
    genders = Counter(line["gender"] or "gender not chosen" for line in index.lines(row))
    counts[row.name] = {"portraits": len(index.subjects(row)), "stills": genders.total(), **genders}
  index.finish(
    {
      "digital_source_types": [marks.TRAINED_MEDIA],
      "real_persons_shown": 0,
      "networks": [{"name": network.name, "sha256": network.sha256} for network in cast.networks],
      **facts,
      "counts": counts,
    }
  )
  if not len(index):
    return
  if outputs.csv:
    index.write_csv()
  if outputs.contact_sheet:
    album.write_png(index.out / "contact_sheet.png", index.contact_sheet(rows))

"""Where the directions of labelled stills come from: learnt once from a network's own samples, or a user's files."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxtalk import runtime
from jaxtalk.clips import marks
from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2 import directions, factors
from jaxtalk.stylegan2.directions import Direction
from jaxtalk.stylegan2.factors import Factor
from jaxtalk.stylegan2.latents import LabelledLatents, NamedLabeller, Pictures, label_latents

AUTO = "auto"
_RANGE = {"low", "high", "deviations"}  # figures without which the steps of a factor are not known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """Where from: ``place`` is "auto", a folder or a file; ``count`` samples of ``seed`` are labelled where needed."""

  place: str
  count: int
  seed: int


def obtain(
  network: Pictures, labeller: NamedLabeller, wanted: Sequence[Factor], source: Source
) -> dict[str, Direction]:
  """Name of a factor -> its direction, with the range of its steps.

  Raises:
    MissingAssetError: no such folder or file.
    InputError: a factor without a direction, a direction of another network, or one that does not move codes in W.
  """
  latents = functools.cache(lambda: _label(network, labeller, source))  # hours of drawing: only when it is needed
  if source.place == AUTO:
    return _learnt(network, labeller, wanted, source, latents)
  files = _files(Path(source.place))
  found = {factor.name: _pick(files, factor, source.place, network.sha256) for factor in wanted}
  for factor in wanted:
    if not _RANGE <= set(found[factor.name].origin.figures):
      factors.check_attributes([factor], latents().labels, labeller.name)
      found[factor.name] = _with_range(found[factor.name], factor, latents())
  return found


def scaled(direction: Direction, span: float) -> Direction:
  """The same direction with its range shrunk or stretched about the middle."""
  figures = dict(direction.origin.figures)
  middle, half = (figures["low"] + figures["high"]) / 2, (figures["high"] - figures["low"]) / 2
  figures |= {"low": middle - span * half, "high": middle + span * half}
  return dataclasses.replace(direction, origin=dataclasses.replace(direction.origin, figures=figures))


def _learnt(
  network: Pictures, labeller: NamedLabeller, wanted: Sequence[Factor], source: Source, latents
) -> dict[str, Direction]:
  """From the cache of this network, labeller, samples and table of factors; what is not there is learnt for all."""
  recipe = [dataclasses.asdict(factor) for factor in factors.FACTORS]
  key = [network.sha256, labeller.sha256, labeller.name, source.count, source.seed, recipe, factors.HELD, marks.TOOL]
  folder = runtime.cache_dir() / "directions" / marks.digest(key)[:24]
  paths = {factor.name: folder / f"{factor.name}.safetensors" for factor in wanted}
  if not wanted or all(path.is_file() for path in paths.values()):
    return {name: directions.load(path, network.sha256) for name, path in paths.items()}
  factors.check_attributes(wanted, latents().labels, labeller.name)
  known = [factor for factor in factors.FACTORS if set(factor.weights) <= set(latents().labels)]
  found = {factor.name: factors.learn(latents(), factor) for factor in known}
  _keep(folder, found)
  return {factor.name: found[factor.name] for factor in wanted}


def _keep(folder: Path, found: Mapping[str, Direction]) -> None:
  """Puts directions into the cache, all or none; a cache that cannot be written costs only time."""
  part = None
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, direction in found.items():
      directions.save(part / f"{name}.safetensors", direction)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
  except OSError as error:
    reason = os.strerror(error.errno) if error.errno else str(error)
    print(f"generate.py: directions are not kept in {folder}: {reason}", file=sys.stderr)
    if part is not None:
      shutil.rmtree(part, ignore_errors=True)


def _label(network: Pictures, labeller: NamedLabeller, source: Source) -> LabelledLatents:
  print(f"labelling {source.count} samples of {network.name} to learn its directions, once", flush=True)

  def show(done: int) -> None:
    if sys.stderr.isatty():
      print(f"\r{done} of {source.count}", end="\n" if done >= source.count else "", file=sys.stderr, flush=True)

  return label_latents(network, labeller, count=source.count, seed=source.seed, progress=show)


def _files(place: Path) -> dict[str, Path]:
  """Name of a direction -> its file, of a folder or a single file."""
  if place.is_file():
    return {directions.load(place).name: place}
  if not place.is_dir():
    raise MissingAssetError(
      f"config.directions={place}: no such folder or file; python -m jaxtalk.stylegan2.learn makes one, or write auto"
    )
  return {path.stem: path for path in sorted(place.glob("*.safetensors"))}


def _pick(files: Mapping[str, Path], factor: Factor, place: str, network: str) -> Direction:
  """The direction of a factor: a file of its name, or what `learn` calls that of its only attribute."""
  names = [factor.name]
  turned = False
  if len(factor.weights) == 1:
    ((attribute, weight),) = factor.weights.items()
    names += [f"ridge_{attribute}", f"boundary_{attribute}"]
    turned = weight < 0
  name = next((name for name in names if name in files), None)
  if name is None:
    wanted = " or ".join(f"{name}.safetensors" for name in names)
    raise InputError(f"config.directions={place}: nothing for {factor.name!r} ({wanted}); learn it or write auto")
  direction = directions.load(files[name], network)
  if direction.space != "w":
    raise InputError(f"{files[name]} moves style channels: stills need a direction in W (--method=ridge or boundary)")
  if turned and name != factor.name:
    direction = dataclasses.replace(direction, vector=-direction.vector)
  return dataclasses.replace(direction, name=factor.name)


def _with_range(direction: Direction, factor: Factor, latents: LabelledLatents) -> Direction:
  """Adds the range of steps, and how far alpha 1 goes in standard deviations of the codes."""
  w = latents.within_classes(latents.w)
  inverse = np.linalg.pinv(w.T @ w / len(w), rcond=1e-6, hermitian=True)
  length = direction.scale * float(np.sqrt(direction.vector @ inverse @ direction.vector))
  figures = {"deviations": length} | dict(direction.origin.figures) | factors.scale(latents, factor)
  return dataclasses.replace(direction, origin=dataclasses.replace(direction.origin, figures=figures))

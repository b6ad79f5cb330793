"""Portraits with an exact ratio of girls and boys: ``python -m jaxtalk.stylegan2.sample NETWORK OUT_DIR --count=100``.

NETWORK is one conditional generator, or a pair ``girls.safetensors,boys.safetensors``; official ``.pkl`` snapshots do
as well. Picture i has seed ``--seed + i`` and the gender that keeps the ratio exact at every point of the list. OUT_DIR
gets ``images/`` (with a ``dataset.json`` in the official form, so it can be trained on), ``metadata.jsonl`` and
``sheet.png``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.runtime import use_compilation_cache
from jaxtalk.stylegan2 import album
from jaxtalk.stylegan2.latents import one_hot
from jaxtalk.stylegan2.runner import NOISE_MODES, Runner, latent, open_network

GENDERS = ("girl", "boy")
_SHEET = 64  # pictures on the contact sheet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
  """One portrait to draw: its number, seed, and gender ("" where the network has none) with its class index."""

  index: int
  seed: int
  gender: str
  label: int


@dataclasses.dataclass(frozen=True)
class Cast:
  """Which network draws whom.

  Attributes:
    networks: one for all, or one a gender, in the order of ``GENDERS``.
    classes: name of every class of a conditional network.
  """

  networks: tuple[Runner, ...]
  classes: tuple[str, ...] = GENDERS

  def __post_init__(self):
    if len(self.networks) == 2 and any(n.c_dim for n in self.networks):
      raise InputError(
        "a pair of networks, girls then boys, must not be conditional: give one network, or two plain ones"
      )
    if len(self.networks) not in (1, 2):
      raise InputError(f"{len(self.networks)} networks: give one, or two as GIRLS,BOYS")
    if self.networks[0].c_dim and len(self.classes) != self.networks[0].c_dim:
      first = self.networks[0]
      raise InputError(f"{first.name} has {first.c_dim} classes: name each, in order, as in --classes=girl,boy")

  @property
  def knows_gender(self) -> bool:
    """Whether gender can be asked for."""
    return len(self.networks) == 2 or bool(self.networks[0].c_dim) and set(GENDERS) <= set(self.classes)

  def subjects(self, count: int, seed: int, girls: float | None) -> list[Subject]:
    """Who is drawn; ``girls`` is their share, by default one half.

    Raises:
      InputError: a share is asked of a network that cannot choose, or makes no sense.
    """
    if count < 1 or not 0 <= seed <= 2**32 - count:
      raise InputError(f"count {count} and seed {seed}: at least one picture, and seeds from 0 to 2^32 - 1")
    if not self.knows_gender:
      if girls is not None:
        raise InputError(
          f"{self.networks[0].name} cannot choose a gender: --girls needs girl and boy classes or a pair"
        )
      return [Subject(index=i, seed=seed + i, gender="", label=0) for i in range(count)]
    names = genders(count, 0.5 if girls is None else girls)
    order = GENDERS if len(self.networks) == 2 else self.classes
    return [Subject(index=i, seed=seed + i, gender=g, label=order.index(g)) for i, g in enumerate(names)]

  def network(self, subject: Subject) -> Runner:
    """Who draws a subject."""
    return self.networks[subject.label if len(self.networks) == 2 else 0]

  def codes(self, subjects: Sequence[Subject], psi: float) -> np.ndarray:
    """ws (N, num_ws, w_dim) of subjects that one network draws."""
    network = self.network(subjects[0])
    z = np.stack([latent(s.seed, network.z_dim) for s in subjects])
    return network.mapping(z, one_hot(np.array([s.label for s in subjects]), network.c_dim), psi)

  def portraits(self, subjects: Sequence[Subject], psi: float) -> Iterator[tuple[Subject, np.ndarray]]:
    """Every subject and its picture (H, W, C) uint8, network by network."""
    for network in self.networks:
      mine = [s for s in subjects if self.network(s) is network]
      for start in range(0, len(mine), network.batch):
        some = mine[start : start + network.batch]
        yield from zip(some, network.images(self.codes(some, psi), seeds=[s.seed for s in some]), strict=True)


def genders(count: int, girls: float) -> list[str]:
  """``count`` genders of which the share ``girls`` is girls, to the nearest whole child, in every beginning of it."""
  if not 0 <= girls <= 1:
    raise InputError(f"share of girls {girls}: from 0 to 1")
  so_far = np.floor(np.arange(count + 1) * girls + 0.5)
  return [GENDERS[0] if more else GENDERS[1] for more in np.diff(so_far) > 0]


def open_cast(text: str, *, classes: str, batch: int, noise_mode: str = "const") -> Cast:
  """The networks of ``PATH`` or ``GIRLS,BOYS``, and the names of the classes."""
  paths = [part.strip() for part in text.split(",")]
  networks = tuple(open_network(path, batch=batch, noise_mode=noise_mode) for path in paths)
  return Cast(networks, tuple(name.strip() for name in classes.split(",")))


def write_portraits(cast: Cast, subjects: Sequence[Subject], out: Path, *, psi: float, overwrite: bool = False) -> None:
  """Draws all subjects into an album."""
  facts = {"psi": psi, "noise_mode": cast.networks[0].noise_mode}
  book = album.Album(out, facts, overwrite=overwrite)
  shown: dict[int, np.ndarray] = {}
  lines: dict[int, dict] = {}
  for subject, image in cast.portraits(subjects, psi):
    network = cast.network(subject)
    line = {"seed": subject.seed, "network": network.name, "network_sha256": network.sha256}
    lines[subject.index] = line | ({"gender": subject.gender, "class": subject.label} if subject.gender else {})
    book.add(_file(subject), image, lines[subject.index])
    if subject.index < _SHEET:
      shown[subject.index] = image
  if subjects[0].gender:
    labels = [[Path(_file(s)).name, GENDERS.index(s.gender)] for s in subjects]
    album.write_text(out / "images" / "dataset.json", json.dumps({"labels": labels}))
  order = sorted(shown)
  rows = [order[i : i + 8] for i in range(0, len(order), 8)]
  page = album.sheet(
    [[shown[i] for i in row] for row in rows],
    title=f"{len(subjects)} portraits, psi {psi:g}",
    captions=[[f"{subjects[i].gender} {subjects[i].seed}".strip() for i in row] for row in rows],
  )
  album.write_png(out / "sheet.png", page)
  book.finish()


def _file(subject: Subject) -> str:
  return f"images/{subject.index:08d}.png"


def _act(args: argparse.Namespace) -> None:
  use_compilation_cache()
  cast = open_cast(args.network, classes=args.classes, batch=args.batch, noise_mode=args.noise_mode)
  subjects = cast.subjects(args.count, args.seed, args.girls)
  write_portraits(cast, subjects, args.out, psi=args.psi, overwrite=args.overwrite)
  counts = " and ".join(f"{sum(s.gender == g for s in subjects)} {g}s" for g in GENDERS)
  print(f"{len(subjects)} portraits{f' ({counts})' if subjects[0].gender else ''} in {args.out}")


def add_network_flags(parser: argparse.ArgumentParser) -> None:
  """The flags that all programs on networks share."""
  parser.add_argument("network", help="a .safetensors of ours, an official .pkl, a pair GIRLS,BOYS, or demo")
  parser.add_argument("out", type=Path, help="folder to write into")
  parser.add_argument("--seed", type=int, default=0, help="of the first portrait; the next have the next seeds")
  parser.add_argument("--girls", type=float, help="share of girls (default 0.5 where the network can choose)")
  parser.add_argument("--classes", default=",".join(GENDERS), help="classes of a conditional network, in order")
  parser.add_argument("--psi", type=float, default=0.7, help="truncation: 0 is the mean face, 1 is all variety")
  parser.add_argument("--noise_mode", choices=NOISE_MODES, default="const", help="of the generator")
  parser.add_argument("--batch", type=int, default=8, help="pictures at a time")
  parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote there")


def main(argv: Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="jaxtalk.stylegan2.sample", description=(__doc__ or "").splitlines()[0])
  add_network_flags(parser)
  parser.add_argument("--count", type=int, default=64, help="how many portraits")
  return album.run(parser, _act, argv)


if __name__ == "__main__":
  sys.exit(main())

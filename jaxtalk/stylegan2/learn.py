"""Directions of a network, kept as files: ``python -m jaxtalk.stylegan2.learn NETWORK OUT_DIR --method=sefa``.

``sefa`` needs nothing, ``ganspace`` samples codes, and ``boundary`` (InterFaceGAN), ``ridge`` (the step that a sweep
uses) and ``channels`` (single style channels) label pictures with the built-in attribute network or ``--labeller``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.runtime import use_compilation_cache
from jaxtalk.stylegan2 import album, directions, labelled
from jaxtalk.stylegan2.directions import Direction, Origin
from jaxtalk.stylegan2.latents import LabelledLatents, codes, label_latents, load_labeller
from jaxtalk.stylegan2.runner import Runner, open_network

METHODS = ("sefa", "ganspace", "boundary", "ridge", "channels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What is to be learnt; the fields are the flags of the program."""

  method: str
  number: int
  layers: str
  count: int
  seed: int
  attributes: tuple[str, ...]
  conditions: tuple[str, ...]
  labeller: str
  fraction: float


def learn(network: Runner, request: Request) -> Iterator[Direction]:
  """All directions of a request."""
  layers = directions.layer_range(request.layers, network.num_ws)
  if request.method == "sefa":
    vectors, values = network.sefa(layers, request.number)
    origin = Origin(method="sefa", network=network.sha256)
    yield from _numbered("sefa", vectors, np.ones(len(vectors)), values, layers, network.num_ws, origin)
  elif request.method == "ganspace":
    batches = (ws[:, 0] for ws, _ in codes(network, request.count, request.seed))
    vectors, sigmas, _, count = directions.ganspace(batches, request.number)
    origin = Origin(method="ganspace", network=network.sha256, seed=request.seed, count=count)
    yield from _numbered("ganspace", vectors, sigmas, sigmas**2, layers, network.num_ws, origin)
  else:
    if not request.attributes:
      raise InputError(f"method {request.method} needs --attributes=..., names that the labeller gives")
    data = label_latents(network, load_labeller(request.labeller), count=request.count, seed=request.seed)
    for name in request.attributes:
      yield from _labelled(network, data, name, request, layers)


def _labelled(
  network: Runner, data: LabelledLatents, name: str, request: Request, layers: tuple[int, ...]
) -> Iterator[Direction]:
  conditions = tuple(c for c in request.conditions if c != name)
  if request.method == "channels":
    yield from _channels(network, data, name, request)
  elif request.method == "ridge":
    yield labelled.regression(data, {name: 1.0}, name=f"ridge_{name}", hold=conditions, layers=layers)
  else:
    others = [labelled.boundary(data, c, fraction=request.fraction).vector for c in conditions]
    found = labelled.boundary(
      data, name, conditions=others, condition_names=conditions, fraction=request.fraction, layers=layers
    )
    yield dataclasses.replace(found, name=f"boundary_{name}")


def _channels(network: Runner, data: LabelledLatents, name: str, request: Request) -> Iterator[Direction]:
  scores = data.label(name)
  positive = scores >= np.quantile(scores, 1 - request.fraction)
  styles = network.styles(np.repeat(data.w[:, None], network.num_ws, axis=1))
  for k, (layer, channel, score) in enumerate(labelled.channels(styles, positive, request.number)):
    origin = data.origin("channel", (), {"score": score, "channel": channel, "fraction": request.fraction})
    yield labelled.channel_direction(styles, layer, channel, name=f"channels_{name}_{k}", origin=origin)


def _numbered(
  name: str,
  vectors: np.ndarray,
  scales: np.ndarray,
  values: np.ndarray,
  layers: tuple[int, ...],
  num_ws: int,
  origin: Origin,
) -> Iterator[Direction]:
  for k, (vector, scale, value) in enumerate(zip(vectors, scales, values, strict=True)):
    yield Direction(
      name=f"{name}_{k}",
      space="w",
      vector=vector,
      layers=layers,
      num_ws=num_ws,
      scale=float(scale),
      origin=dataclasses.replace(origin, figures={"eigenvalue": float(value)}),
    )


def _words(text: str) -> tuple[str, ...]:
  return tuple(word.strip() for word in text.split(",") if word.strip())


def _act(args: argparse.Namespace) -> None:
  use_compilation_cache()
  request = Request(
    method=args.method,
    number=args.number,
    layers=args.layers,
    count=args.count,
    seed=args.seed,
    attributes=_words(args.attributes),
    conditions=_words(args.conditions),
    labeller=args.labeller,
    fraction=args.fraction,
  )
  for direction in learn(open_network(args.network, batch=args.batch), request):
    path = args.out / f"{direction.name}.safetensors"
    directions.save(path, direction)
    figures = ", ".join(f"{name} {value:.3g}" for name, value in direction.origin.figures.items())
    print(f"{path}: {figures}")


def main(argv: Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="jaxtalk.stylegan2.learn", description=(__doc__ or "").splitlines()[0])
  parser.add_argument("network", help="a .safetensors of ours or an official .pkl")
  parser.add_argument("out", type=Path, help="folder to write into")
  parser.add_argument("--method", choices=METHODS, default="ridge")
  parser.add_argument("--attributes", default="", help="names, comma between; each gives a direction")
  parser.add_argument("--conditions", default="", help="attributes that the directions leave alone")
  parser.add_argument("--labeller", default="", help="your attribute model, package.module:name or file.py:name")
  parser.add_argument("--layers", default="all", help="all, coarse, middle, fine, or code indices such as 0-3")
  parser.add_argument("--number", type=int, default=10, help="how many directions or channels")
  parser.add_argument("--count", type=int, default=10_000, help="codes to sample")
  parser.add_argument("--fraction", type=float, default=0.02, help="of the codes that count as positive, as negative")
  parser.add_argument("--seed", type=int, default=1, help="of the sampled codes")
  parser.add_argument("--batch", type=int, default=8, help="pictures at a time")
  return album.run(parser, _act, argv)


if __name__ == "__main__":
  sys.exit(main())

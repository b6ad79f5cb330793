"""The reader of the talking portrait: what keeps control where no picture has a label.

A small network tells landmarks, the head's angles and the openings of mouth and lids from a picture. It is taught on
the studio's pictures in disguise (`disguise`): with other backgrounds, colours and tones, softer and grainier, so that
it goes by shapes and can be asked about pictures of another domain, which ConfigNet's regressors are for (Kowalski et
al., ECCV 2020, section 3.2).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxtalk.stylegan2.discriminator import DiscriminatorBlock
from jaxtalk.stylegan2.layers import Dense
from jaxtalk.stylegan2.sizes import features_at, resolutions
from jaxtalk.systems import portrait_conditions as pc

LANDMARKS = 70
POINT_SCALE = 4.0  # units of a reading in the width of a picture
OPENING_SCALE = 8.0  # units of a reading in an eye's width or a face's height
_ANGLES = slice(pc.NAMES.index("head_yaw"), pc.NAMES.index("head_roll") + 1)
_LIDS = ((36, 39, (37, 38), (41, 40)), (42, 45, (43, 44), (47, 46)))  # corners, upper, lower
READING = {"points": 2 * LANDMARKS, "angles": 3, "openings": 3}  # what a reader tells, and in how many numbers
_KNOTS = 5  # of a tone curve


class FaceReader(nn.Module):
  """Pictures (N, R, R, 3) in [-1, 1] to readings (N, 146): see `readings`. A discriminator's body with another end.

  Attributes:
    img_resolution, channel_base, channel_max: as in the `Discriminator`.
  """

  img_resolution: int
  channel_base: int
  channel_max: int

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    def features(r: int) -> int:
      return features_at(r, self.channel_base, self.channel_max)

    x: jax.Array | None = None
    img: jax.Array | None = images
    for i, r in enumerate(resolutions(self.img_resolution)[:0:-1]):
      x, img = DiscriminatorBlock(features(r), features(r // 2), has_image=i == 0, name=f"b{r}")(x, img)
    assert x is not None
    x = Dense(2 * features(4), activation="lrelu", name="fc")(x.reshape(len(x), -1))
    return Dense(sum(READING.values()), name="out")(x)


def readings(labels: jax.Array, points: jax.Array, of: int) -> jax.Array:
  """What a reader shall tell of pictures, (N, 146) of about unit size.

  Landmarks from the middle of the picture; yaw, pitch and roll of the head as labels have them; the gap of the lips
  over the height of the face, and of the lids over the width of the eye.

  Args:
    labels: (N, C_DIM + 1) of `talking_portrait.standardise`.
    points: (N, P, 3) of `studio.points.project`, the landmarks first.
    of: size of the picture in whose pixels the points are.
  """
  at = (points[:, :LANDMARKS, :2] + 0.5) / of - 0.5
  flat = POINT_SCALE * at.reshape(len(at), -1)
  return jnp.concatenate([flat, labels[:, _ANGLES], OPENING_SCALE * openings(at)], axis=1)


def openings(at: jax.Array) -> jax.Array:
  """(N, 3) of landmarks (N, 70, 2): gap of the lips over the face's height, of both lids over the eye's width."""

  def apart(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(a - b).sum(-1) + 1e-9)

  mouth = apart(at[:, 62], at[:, 66]) / apart(at[:, 27], at[:, 8])
  lids = [
    apart(at[:, list(upper)], at[:, list(lower)]).mean(1) / apart(at[:, a], at[:, b]) for a, b, upper, lower in _LIDS
  ]
  return jnp.stack([mouth, *lids], axis=1)


def split(values: jax.Array) -> dict[str, jax.Array]:
  """Readings (N, 146) by name."""
  ends = np.cumsum(list(READING.values()))[:-1]
  return dict(zip(READING, jnp.split(values, ends.tolist(), axis=1), strict=True))


def misread(told: jax.Array, wanted: jax.Array) -> jax.Array:
  """(N,) Huber distances of readings (N, 146); points, angles and openings count alike, however many they are."""
  off = split(optax.losses.huber_loss(told, wanted, delta=0.5))
  return sum((x.mean(1) for x in off.values()), jnp.zeros(len(told))) / len(off)


def disguise(key: jax.Array, pictures: jax.Array) -> jax.Array:
  """Studio pictures (N, R, R, 4) on black in [-1, 1] as pictures (N, R, R, 3) of any style.

  Every one gets a background of its own, turned and mixed colours, a bent tone curve, blur and grain, each picture by
  another amount, so that whoever reads them has to go by shapes.
  """
  count, size = pictures.shape[:2]
  keys = jax.random.split(key, 8)
  much = jax.random.uniform(keys[0], (count, 1, 1, 1))
  spots = jax.random.uniform(keys[1], (count, 2, 2, 3)) + 0.2 * much * jax.random.normal(keys[2], (count, 2, 2, 3))
  background = jax.image.resize(spots, (count, size, size, 3), "linear")
  matte = jnp.clip(pictures[..., 3:] * 0.5 + 0.5, 0.0, 1.0)
  x = pictures[..., :3] * 0.5 + 0.5 + (1 - matte) * background
  mix = jnp.eye(3)[None] + much[..., 0] * 0.4 * jax.random.normal(keys[3], (count, 3, 3))
  x = jnp.einsum("nhwi,nij->nhwj", x - 0.5, mix) + 0.5 + 0.15 * much * jax.random.normal(keys[4], (count, 1, 1, 3))
  x = _bend(x, 0.15 * much[..., 0] * jax.random.normal(keys[5], (count, _KNOTS, 1)))
  soft = jax.image.resize(
    jax.image.resize(x, (count, size // 2, size // 2, 3), "linear"), (count, size, size, 3), "linear"
  )
  share = jax.random.uniform(keys[6], (count, 1, 1, 1))
  x = x + share * (soft - x) + 0.05 * much * jax.random.normal(keys[7], x.shape)
  return jnp.clip(x, 0.0, 1.0) * 2 - 1


def _bend(x: jax.Array, shifts: jax.Array) -> jax.Array:
  """Values moved by a curve through (N, knots, 1) shifts at equal distances from 0 to 1."""
  for i in range(_KNOTS):
    hat = jnp.clip(1 - jnp.abs(jnp.clip(x, 0.0, 1.0) * (_KNOTS - 1) - i), 0.0, 1.0)
    x = x + hat * shifts[:, i, :, None, None]
  return x

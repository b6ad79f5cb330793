"""How far a generator's pictures are from the ones that their latents describe."""

from __future__ import annotations

import jax
import jax.numpy as jnp

FOCUS_WIDTH = 0.085  # of the spots around eyes and mouth, as a share of the picture
FOCUS_WEIGHT = 4.0  # by which a pixel there counts more


def pyramid_l1(
  fake: jax.Array,
  real: jax.Array,
  centres: jax.Array,
  levels: int = 4,
  width: jax.Array | float = FOCUS_WIDTH,
  extra: float = FOCUS_WEIGHT,
) -> jax.Array:
  """(N,) L1 distances summed over a Laplacian pyramid (Bojanowski et al. 2018, section 3.2), densest on the features.

  Args:
    fake, real: (N, H, W, C) pictures.
    centres: (N, K, 2) x and y, from 0 to 1 over the picture, of the spots that count more.
    levels: of the pyramid, at most those that the size has.
    width, extra: of the spots, see `focus`.
  """
  rest, weight = fake - real, focus(centres, fake.shape[1], width, extra)
  total = jnp.zeros(len(fake))
  for level in range(levels):
    small = None if level == levels - 1 or rest.shape[1] < 4 else _halve(rest)
    band = rest if small is None else rest - jnp.repeat(jnp.repeat(small, 2, axis=1), 2, axis=2)
    total += (jnp.abs(band).mean(3) * weight).sum((1, 2)) / weight.sum((1, 2))
    if small is None:
      break
    rest, weight = small, _halve(weight[..., None])[..., 0]
  return total


def focus(
  centres: jax.Array, size: int, width: jax.Array | float = FOCUS_WIDTH, extra: float = FOCUS_WEIGHT
) -> jax.Array:
  """(N, size, size) weights of pixels, 1 far from all centres (N, K, 2) and 1 + ``extra`` at them.

  ``width`` is the spots' standard deviation as a share of the picture, for all or (N,) for each picture.
  """
  at = (jnp.arange(size) + 0.5) / size
  x, y = (jnp.square(at[None, None] - centres[..., i, None]) for i in (0, 1))
  squared = y[:, :, :, None] + x[:, :, None, :]
  spread = jnp.broadcast_to(jnp.asarray(width), (len(centres),))[:, None, None, None]
  return 1 + extra * jnp.exp(-squared / (2 * spread**2)).max(1)


def _halve(x: jax.Array) -> jax.Array:
  count, height, width, channels = x.shape
  return x.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4))

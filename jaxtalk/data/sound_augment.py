"""Other rooms, microphones, lines and neighbours: changes of sound that leave the motion that goes with it alone.

Everything is done on mel power (B, T, parts, bands), as `encoders.logmel` makes it before its logarithm: phases are not
needed, so that reverberation is a decaying tail, noise of independent sources adds, and a thousand examples cost what a
waveform's convolution costs for one. Bands are taken to lie evenly on the mel scale from 60 to 7600 Hz and parts to be
10 ms long, as all front ends of the house have them.

`augment` is mild; `rough` is everything that a network should bear that is to follow any recording.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_MEL_LOW, _MEL_HIGH = 92.0, 2787.0  # mel of 60 and 7600 Hz
_QUIET = 1e-9  # mean power a band of which is no speech: noise is measured against more


def place(hz: float | jax.Array) -> jax.Array:
  """Where a frequency lies between the lowest band (0) and the highest (1)."""
  return (2595.0 * jnp.log10(1.0 + jnp.asarray(hz) / 700.0) - _MEL_LOW) / (_MEL_HIGH - _MEL_LOW)


def augment(power: jax.Array, rng: jax.Array) -> jax.Array:
  """Mel power (B, T, parts, bands) as another microphone in another room would have heard it.

  In this order: reverberation (an exponential tail), loudness, the microphone's smooth frequency response, telephone
  band now and then, and coloured noise.
  """
  batch, frames, parts, bands = power.shape
  keys = jax.random.split(rng, 4)
  u = jax.random.uniform(keys[0], (7, batch, 1, 1))
  x = power.reshape(batch, frames * parts, bands)
  lag = jnp.arange(frames * parts)[:, None] - jnp.arange(frames * parts)[None]
  decay = 2.0 + 10.0 * u[0]  # in parts: 0.02 to 0.12 s
  tail = jnp.where(lag > 0, jnp.exp(-jnp.maximum(lag, 0)[None] / decay), 0.0) / decay
  x = x + jnp.where(u[1] < 0.5, 0.4 * u[2], 0.0) * (tail @ x)
  across = _across(bands)
  waves = jnp.cos(jnp.pi * jnp.arange(1, 4)[:, None] * across[0])
  response = 2.5 * (jax.random.normal(keys[1], (batch, 3)) @ waves)[:, None]
  loudness = 16.0 * u[3] - 8.0
  band = jnp.where((across > 0.13) & (across < 0.72), 0.0, -35.0)  # 300 to 3400 Hz
  x = x * 10 ** ((response + loudness + jnp.where(u[4] < 0.15, band, 0.0)) / 10)
  noise_db = -110.0 + 42.0 * u[5] + (u[6] - 0.5) * 20.0 * (across - 0.5)
  noise = 10 ** (noise_db / 10) * _hiss(keys[2], x.shape)
  return (x + noise).reshape(power.shape)


def rough(power: jax.Array, rng: jax.Array) -> jax.Array:
  """Mel power (B, T, parts, bands) after everything that befalls recordings, each now and then and in any strength.

  In the order in which it happens: other voices in the room (the batch's other examples), fans, hum, reverberation of
  it all, the microphone's response, clipping, band limits of a line, the line's noise, level. One example in ten stays
  as it is. Silence gets noise of its own, so that a network learns that noise is no speech.
  """
  batch, frames, parts, bands = power.shape
  keys = jax.random.split(rng, 9)
  clean = power.reshape(batch, frames * parts, bands)
  x = babble(clean, keys[0])
  x = x + background(clean, keys[1]) + hum(clean, keys[2])
  x = reverberate(x, keys[3])
  x = x * _db(response(keys[4], batch, bands))
  x = clip(x, keys[5])
  x = x * _db(band_limits(keys[6], batch, bands))
  u = jax.random.uniform(keys[7], (4, batch, 1, 1))
  x = x * _db(30.0 * u[0] - 20.0)
  hiss = _db(-105.0 + 35.0 * u[1] + 20.0 * (u[2] - 0.5) * (2.0 * _across(bands) - 1.0))
  x = x + hiss * _hiss(keys[8], x.shape)
  return jnp.where(u[3] < 0.1, clean, x).reshape(power.shape)


def babble(x: jax.Array, rng: jax.Array, share: float = 0.2) -> jax.Array:
  """(B, P, bands) with another example of the batch, shifted in time, 8 to 25 dB below in a ``share`` of cases."""
  keys = jax.random.split(rng, 2)
  u = jax.random.uniform(keys[0], (2, x.shape[0], 1, 1))
  other = jnp.roll(jnp.roll(x, 1, axis=0), jax.random.randint(keys[1], (), 0, x.shape[1]), axis=1)
  gain = _db(-8.0 - 17.0 * u[0]) * _level(x) / jnp.maximum(_level(other), _QUIET)
  return x + jnp.where(u[1] < share, jnp.minimum(gain, 1.0), 0.0) * other


def background(x: jax.Array, rng: jax.Array, share: float = 0.7) -> jax.Array:
  """(B, P, bands) noise of any colour, 0 to 45 dB below the speech, that swells by some decibels in half a second."""
  batch, count, bands = x.shape
  keys = jax.random.split(rng, 4)
  u = jax.random.uniform(keys[0], (4, batch, 1, 1))
  across = 2.0 * _across(bands) - 1.0
  colour = 15.0 * (2.0 * u[0] - 1.0) * across + response(keys[1], batch, bands)
  colour = colour - 10.0 * jnp.log10(_db(colour).mean(axis=2, keepdims=True))
  knots = jax.random.normal(keys[2], (batch, 2 + count // 50, 1))
  swell = 4.0 * u[3] * jax.image.resize(knots, (batch, count, 1), "linear")
  level = jnp.maximum(_level(x), _QUIET) * _db(-45.0 * u[1])
  return jnp.where(u[2] < share, level * _db(colour + swell) * _hiss(keys[3], x.shape), 0.0)


def hum(x: jax.Array, rng: jax.Array, share: float = 0.15) -> jax.Array:
  """(B, 1, bands) steady lines, 10 to 35 dB below the speech: a fundamental of 50 to 120 Hz and its harmonics."""
  u = jax.random.uniform(rng, (4, x.shape[0], 1, 1))
  order = jnp.arange(6)[None, :, None]
  lines = place((50.0 + 70.0 * u[0]) * (order + 1))  # (B, 6, 1)
  near = jnp.exp(-0.5 * ((_across(x.shape[2]) - lines) * x.shape[2]) ** 2)
  shape = (near * _db(-6.0 * (0.5 + u[1]) * order)).sum(axis=1, keepdims=True)
  level = jnp.maximum(_level(x), _QUIET) * _db(-10.0 - 25.0 * u[2]) * x.shape[2] / 6.0
  return jnp.where(u[3] < share, level * shape, 0.0)


def reverberate(x: jax.Array, rng: jax.Array, share: float = 0.5) -> jax.Array:
  """(B, P, bands) with a tail of 0.2 to 1.0 s (60 dB), shorter in high bands, up to as strong as the direct sound."""
  u = jax.random.uniform(rng, (4, x.shape[0], 1, 1))
  decay = (1.5 + 6.0 * u[0]) * (1.0 - 0.5 * u[1] * _across(x.shape[2]))  # parts of 10 ms to 1 / e
  keep = jnp.exp(-1.0 / decay)[:, 0]

  def step(tail: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
    return keep * tail + (1.0 - keep) * now, tail

  _, tails = jax.lax.scan(step, jnp.zeros_like(x[:, 0]), jnp.moveaxis(x, 1, 0))
  return x + jnp.where(u[2] < share, u[3] ** 2, 0.0) * jnp.moveaxis(tails, 0, 1)


def response(rng: jax.Array, batch: int, bands: int) -> jax.Array:
  """(B, 1, bands) decibels: a smooth curve of some 4 dB."""
  waves = jnp.cos(jnp.pi * jnp.arange(1, 5)[:, None] * _across(bands)[0])
  return 2.5 * (jax.random.normal(rng, (batch, 4)) @ waves)[:, None]


def clip(x: jax.Array, rng: jax.Array, share: float = 0.15) -> jax.Array:
  """(B, P, bands) with loud parts held at a ceiling up to 18 dB below the loudest.

  What a part loses comes back in part as distortion, which falls by about 9 dB an octave; quiet parts stay as they are.
  """
  u = jax.random.uniform(rng, (3, x.shape[0], 1, 1))
  total = x.sum(axis=2, keepdims=True)
  over = jnp.maximum(total / jnp.maximum(total.max(axis=1, keepdims=True) * _db(-18.0 * u[0]), _QUIET), 1.0)
  shape = _db(-9.0 * jnp.log2(1.0 + 10.0 * _across(x.shape[2])))
  held = x / over
  distortion = (0.05 + 0.2 * u[1]) * (1.0 - 1.0 / over) * held.sum(axis=2, keepdims=True) * shape / shape.sum()
  return jnp.where(u[2] < share, held + distortion, x)


def band_limits(rng: jax.Array, batch: int, bands: int) -> jax.Array:
  """(B, 1, bands) decibels: a telephone's band, a low-pass at 2.5 to 7 kHz, a high-pass at 80 to 400 Hz, or nothing."""
  u = jax.random.uniform(rng, (5, batch, 1, 1))
  across = _across(bands)
  telephone, dull, thin = u[0] < 0.15, (u[0] > 0.15) & (u[0] < 0.3), u[1] < 0.15
  high = jnp.where(telephone, 3400.0, jnp.where(dull, 2500.0 + 4500.0 * u[2], 1e6))
  low = jnp.where(telephone, 300.0, jnp.where(thin, 80.0 + 320.0 * u[3], 1.0))
  beyond = jnp.maximum(across - place(high), 0.0) + jnp.maximum(place(low) - across, 0.0)
  return -jnp.minimum((400.0 + 1600.0 * u[4]) * beyond, 60.0)


def _across(bands: int) -> jax.Array:
  """(1, 1, bands) from 0 to 1."""
  return jnp.linspace(0.0, 1.0, bands)[None, None]


def _level(x: jax.Array) -> jax.Array:
  """(B, 1, 1) mean power of a band in the louder half of the parts."""
  total = x.mean(axis=2, keepdims=True)
  loud = total >= jnp.median(total, axis=1, keepdims=True)
  return (total * loud).sum(axis=1, keepdims=True) / jnp.maximum(loud.sum(axis=1, keepdims=True), 1)


def _hiss(rng: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Power of noise of mean 1: exponentially distributed."""
  return -jnp.log(jax.random.uniform(rng, shape, minval=1e-6))


def _db(decibels: jax.Array) -> jax.Array:
  return 10.0 ** (decibels / 10.0)

"""Changes of sound on mel power: each does what it says, and none moves the sound in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.data import sound_augment as sa
from jaxtalk.encoders.logmel import scaled_log

BATCH, PARTS, BANDS = 8, 200, 64


def _compiled(function):
  """Jitted quickly: it runs a few times only."""
  options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
  return jax.jit(function, compiler_options=options)


@pytest.fixture(scope="module")
def power():
  """Syllables of 0.1 to 0.3 s with pauses, some formants: (8, 200, 64)."""
  rng = np.random.default_rng(0)
  x = np.full((BATCH, PARTS, BANDS), 1e-12)
  for row in x:
    t = 5
    while t < PARTS - 30:
      n = rng.integers(10, 30)
      shape = np.exp(-(((np.arange(BANDS) - rng.uniform(10, 50)) / 8) ** 2))
      row[t : t + n] += 1e-5 * np.hanning(n)[:, None] * shape
      t += n + rng.integers(4, 15)
  return jnp.asarray(x, jnp.float32)


@pytest.fixture(scope="module")
def effects(power):
  """Every effect on ``power``, with its share at one; compiled once, because each operation by itself is slow."""

  def run(x):
    key = jax.random.key(1)
    click = jnp.zeros((4, PARTS, BANDS)).at[:, 20].set(1.0)
    return {
      "babble": sa.babble(x, key, 1.0),
      "no babble": sa.babble(x, key, 0.0),
      "background": sa.background(x, key, 1.0),
      "background of silence": sa.background(jnp.zeros((2, PARTS, BANDS)), key, 1.0),
      "hum": sa.hum(x, key, 1.0),
      "click": sa.reverberate(click, key, 1.0),
      "clip": sa.clip(x, key, 1.0),
      "limits": sa.band_limits(key, 96, BANDS)[:, 0],
      "level": sa._level(x)[:, 0, 0],
      "babble level": sa._level(sa.babble(x, key, 1.0) - x)[:, 0, 0],
    }

  return jax.device_get(_compiled(run)(power))


def test_rough_changes_the_sound_but_not_its_timing(power):
  wide = power.reshape(BATCH, PARTS // 2, 2, BANDS)
  rough = _compiled(sa.rough)
  levels = scaled_log(power).mean(-1)
  unlike, exact = [], 0
  for seed in range(6):
    changed = rough(wide, jax.random.key(seed))
    assert changed.shape == wide.shape and bool(jnp.isfinite(changed).all()) and float(changed.min()) >= 0.0
    new = scaled_log(changed.reshape(power.shape)).mean(-1)
    for x, y in zip(np.asarray(levels), np.asarray(new), strict=True):
      lags = [np.corrcoef(x[10:-10], y[10 + lag : PARTS - 10 + lag])[0, 1] for lag in range(-8, 9)]
      assert max(lags) < 0.5 or abs(int(np.argmax(lags)) - 8) <= 3  # reverberation may smear by some 20 ms
      unlike.append(max(lags) < 0.5)
    exact += int((changed.reshape(power.shape) == power).all(axis=(1, 2)).sum())
  assert np.mean(unlike) < 0.25  # most can still be followed
  assert 0 < exact < 15  # about one in ten stays as it is


def test_babble_is_quieter_than_the_voice(power, effects):
  ratio = 10 * np.log10(effects["babble level"] / effects["level"])
  assert ((ratio > -26) & (ratio < -7)).all()
  np.testing.assert_array_equal(effects["no babble"], power)


def test_background_has_the_level_that_was_drawn(effects):
  ratio = 10 * np.log10(effects["background"].mean((1, 2)) / effects["level"])
  assert ratio.max() < 4 and ratio.min() > -50 and np.ptp(ratio) > 10
  assert 0 < float(effects["background of silence"].mean()) < 1e-7


def test_hum_is_steady_and_low(effects):
  lines = effects["hum"]
  assert lines.shape == (BATCH, 1, BANDS) and lines.min() >= 0 and lines.max() > 0
  assert lines[..., round(BANDS * float(sa.place(900.0))) :].sum() < 0.01 * lines.sum()


def test_reverberation_is_an_exponential_tail(effects):
  heard = effects["click"]
  np.testing.assert_array_equal(heard[:, :20], 0)
  np.testing.assert_array_equal(heard[:, 20], 1)
  tail = heard[:, 21:40]
  ratio = tail[:, 1:] / tail[:, :-1]
  np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4)
  assert (ratio[..., -1] <= ratio[..., 0] + 1e-6).all() and (ratio > 0.2).all() and (ratio < 0.9).all()
  assert (heard[:, 21:].sum(axis=1) <= 1.0 + 1e-4).all()


def test_clipping_holds_what_is_loud_and_leaves_what_is_quiet(power, effects):
  clipped, loud = effects["clip"], np.asarray(power.sum(-1))
  quiet = loud < 0.01 * loud.max(axis=1, keepdims=True)
  np.testing.assert_array_equal(clipped[quiet], np.asarray(power)[quiet])
  peaks = clipped.sum(-1).max(axis=1) / loud.max(axis=1)
  assert (peaks <= 1.25).all() and (peaks < 0.5).any()


def test_band_limits(effects):
  gains = effects["limits"]
  np.testing.assert_array_equal(gains[:, round(BANDS * float(sa.place(1500.0)))], 0)
  assert gains.min() >= -60 and 0.1 < (gains[:, -1] < 0).mean() < 0.6 and (gains == 0).all(axis=1).any()
  assert float(sa.place(60.0)) == pytest.approx(0, abs=0.002) and float(sa.place(7600.0)) == pytest.approx(1, abs=0.002)

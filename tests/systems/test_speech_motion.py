"""The speech-motion system on tiny networks: curves without seams, weights that come back, a step that learns."""

from fractions import Fraction
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk import cli
from jaxtalk.core import Emotion, InputError, MissingAssetError, MotionStyle, Phone, Speech
from jaxtalk.encoders.logmel import scaled_log
from jaxtalk.motion import mouth, spaces
from jaxtalk.systems import speech_motion as sm
from jaxtalk.systems import speech_motion_task as task_module

ROOT = Path(__file__).resolve().parents[2]
NET = sm.SpeechMotionNet(width=8)


@pytest.fixture(scope="module")
def params():
  features = jnp.zeros((1, 8, sm.FRONT_END.per_frame * sm.FRONT_END.bands))
  start = jax.device_get(jax.jit(NET.init)(jax.random.key(0), features)["params"])
  kernel = np.random.default_rng(0).normal(size=(NET.width, len(sm.OUTPUTS))).astype(np.float32)
  return {**start, "out": {**start["out"], "kernel": 0.3 * kernel}}  # the output layer starts at zero


def voice(seconds, rate=16000, seed=0):
  """Syllables of noise, three a second."""
  t = np.arange(int(seconds * rate)) / rate
  noise = np.random.default_rng(seed).standard_normal(len(t))
  return (0.2 * noise * np.maximum(0, np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def spoken(seconds=2.0):
  phones = ((0.0, 0.3, "SIL"), (0.3, 0.5, "B"), (0.5, 0.9, "AA1"), (0.9, 1.1, "M"), (1.1, seconds, "UW1"))
  return Speech(
    waveform=voice(seconds), sample_rate=16000, phones=tuple(Phone(symbol, start, end) for start, end, symbol in phones)
  )


def animate(animator, speeches, fps=Fraction(25), **style):
  n = len(speeches)
  return animator.animate(
    speeches,
    fps=fps,
    seeds=list(range(n)),
    emotions=[Emotion()] * n,
    styles=[MotionStyle(**style)] * n,
    ages=[7.0] * n,
  )


def test_the_network_keeps_the_time_axis_and_sees_28_frames_to_either_side(params):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 120, 128)).astype(np.float32)
  y = x.copy()
  y[0, 60] += 1.0
  a, b = (np.asarray(NET.apply({"params": params}, v)) for v in (x, y))
  chex.assert_shape(a, (1, 120, len(sm.OUTPUTS)))
  changed = np.flatnonzero(np.abs(a - b)[0].max(-1) > 0)
  assert 60 - changed.min() <= 28 < sm._CONTEXT and changed.max() - 60 <= 28
  assert changed.max() - changed.min() > 40


@pytest.mark.parametrize("dilation", [1, 3])
def test_taps_are_a_dilated_convolution(dilation):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 30, 4)).astype(np.float32)
  kernel = rng.normal(size=(5, 4, 6)).astype(np.float32)
  ours = sm.taps(x, dilation) @ kernel.reshape(20, 6)
  theirs = jax.lax.conv_general_dilated(
    x, kernel, (1,), "SAME", rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
  )
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_chunks_join_without_a_seam(params, monkeypatch):
  speech = Speech(waveform=voice(25.0), sample_rate=16000)
  chunked = sm.hear(params, speech, NET).values
  assert chunked.shape == (1250, len(sm.OUTPUTS))
  monkeypatch.setattr(sm, "_CHUNK", 2048)
  sm._forward.cache_clear()
  np.testing.assert_allclose(sm.hear(params, speech, NET).values, chunked, atol=1e-5)
  sm._forward.cache_clear()


def test_all_lengths_share_one_compiled_function(params):
  for seconds in (0.05, 1.0, 3.3, 11.0):
    heard = sm.hear(params, Speech(waveform=voice(seconds), sample_rate=16000), NET)
    assert len(heard.values) == round(seconds * 50 + 0.4)
  assert sm._forward(NET.width, NET.dilations)._cache_size() == 1


def test_loudness_of_the_recording_does_not_matter(params):
  loud = sm.hear(params, Speech(waveform=voice(2.0), sample_rate=16000), NET).values
  quiet = sm.hear(params, Speech(waveform=0.1 * voice(2.0), sample_rate=16000), NET).values
  np.testing.assert_allclose(loud, quiet, atol=2e-3)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(60)])
def test_curves_become_plans_on_time_and_closures_shut_the_mouth(fps):
  values = np.zeros((100, len(sm.OUTPUTS)), np.float32)
  values[:, sm.OUTPUTS.index("gap")] = 0.3
  values[:, sm.OUTPUTS.index("jaw")] = 0.3
  values[48:52, sm.OUTPUTS.index("lips")] = 0.95  # 0.96 to 1.04 s
  count = round(2 * fps)
  t = (np.arange(count) + 0.5) / float(fps)
  plan = sm.Curves(values).plan(t, articulation=1.5)
  shut = t[plan.lips > 0.99]
  assert len(shut) and 0.94 < shut.min() and shut.max() < 1.06
  np.testing.assert_allclose(plan.tracks["gap"], 0.45, atol=1e-6)
  assert (plan.tuck == 0).all()


def test_the_animator_gives_whole_faces_for_any_rate_and_keeps_its_weights(tmp_path, params):
  path = tmp_path / "w.safetensors"
  sm.save_weights(path, params, NET, {"steps": 3})
  net, loaded = sm.load_weights(path)
  assert net == NET
  chex.assert_trees_all_close(loaded, params, atol=1e-3)
  animator = sm.SpeechMotionAnimator(path)
  speeches = [Speech(waveform=voice(1.5, rate), sample_rate=rate) for rate in (8000, 16000, 44100)]
  motions = animate(animator, speeches, Fraction(30))
  for motion in motions:
    chex.assert_shape(motion.values, (45, 61))
    chex.assert_tree_all_finite(motion.values)
    assert motion.space is spaces.ARKIT and motion.fps == 30
    assert 0.0 <= motion.values[:, spaces.FACE].min() and motion.values[:, spaces.FACE].max() <= 1.0
    assert np.ptp(motion["headYaw"]) > 0
  again = animate(animator, speeches, Fraction(30))
  np.testing.assert_array_equal(motions[0].values, again[0].values)


def test_missing_or_foreign_weights_and_bad_sound(tmp_path, params):
  with pytest.raises(MissingAssetError, match="no speech-motion weights at"):
    sm.SpeechMotionAnimator(tmp_path / "none.safetensors")
  from safetensors.numpy import save_file

  save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
  with pytest.raises(MissingAssetError, match="does not hold weights of this"):
    sm.load_weights(tmp_path / "other.safetensors")
  sm.save_weights(tmp_path / "w.safetensors", params, NET, {})
  animator = sm.SpeechMotionAnimator(tmp_path / "w.safetensors")
  with pytest.raises(InputError, match="NaN"):
    animate(animator, [Speech(waveform=np.full(16000, np.nan, np.float32), sample_rate=16000)])
  silent = animate(animator, [Speech(waveform=np.zeros(16000, np.float32), sample_rate=16000)])[0]
  chex.assert_tree_all_finite(silent.values)


def test_the_teacher_shuts_the_lips_where_the_phones_say():
  speech = spoken()
  curves = task_module.teacher_curves(speech)
  chex.assert_shape(curves, (100, len(sm.OUTPUTS)))
  lips = curves[:, sm.OUTPUTS.index("lips")]
  assert lips[18:23].max() > 0.99 and lips[48:53].max() > 0.99  # B at 0.4 s, M at 1.0 s
  assert lips[34:38].max() < 0.1 and curves[35, sm.OUTPUTS.index("jaw")] > 0.15


def test_crops_pair_sound_and_curves():
  speech = spoken()
  source = task_module.SpeechSource([speech], 50)
  whole = task_module.teacher_curves(speech)
  one = source.get(0, np.random.default_rng(0))
  chex.assert_shape(one["waveform"], (50 * 320,))
  start = next(i for i in range(51) if np.array_equal(whole[i : i + 50], one["curves"]))
  np.testing.assert_array_equal(one["waveform"], speech.waveform[start * 320 : (start + 50) * 320])
  padded = task_module.SpeechSource([speech], 130).get(0, np.random.default_rng(0))
  np.testing.assert_array_equal(padded["curves"][100:], np.repeat(whole[-1:], 30, 0))
  assert (padded["waveform"][32000:] == 0).all()


def test_augmentation_changes_the_sound_but_not_its_timing():
  power = sm.FRONT_END.power(jnp.asarray(np.stack([voice(2.0, seed=i) for i in range(8)])), 100)
  changed = task_module.augment(power, jax.random.key(0))
  chex.assert_equal_shape([power, changed])
  chex.assert_tree_all_finite(changed)
  assert float(changed.min()) >= 0
  a, b = (scaled_log(x).reshape(8, 200, -1).mean(-1) for x in (power, changed))
  for x, y in zip(np.asarray(a), np.asarray(b), strict=True):
    lags = [np.corrcoef(x[10:-10], y[10 + lag : 190 + lag])[0, 1] for lag in range(-8, 9)]
    assert abs(int(np.argmax(lags)) - 8) <= 3 and max(lags) > 0.5  # reverberation may smear by some 20 ms
  assert float(jnp.abs(a - b).max()) > 0.05


def tiny_config():
  config, module = cli.load_config("configs/speech_motion.py", ROOT)
  with config.unlocked():
    config.train.batch_size = 2
    config.train.steps = 30
    config.optimizer.warmup_steps = 5
    config.data.crop_frames = 40
    config.model.width = 16
    config.model.dilations = (1, 2)
  return config, module


def test_the_config_makes_a_task_whose_loss_falls():
  config, module = tiny_config()
  task = module.get_task(config)
  source = task_module.SpeechSource([spoken()], 40)
  rows = [source.get(0, np.random.default_rng(i)) for i in range(2)]
  batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  for name, spec in task.batch_spec().items():
    chex.assert_shape(batch[name], spec.shape)
    assert batch[name].dtype == spec.dtype
  state, update = task.init(jax.random.key(0)), jax.jit(task.update)
  losses = []
  for _ in range(30):
    state, metrics = update(state, batch)
    losses.append(float(metrics["loss"]))
  assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_compare_is_perfect_on_the_truth_and_names_what_is_wrong():
  truth = task_module.teacher_curves(spoken())
  same = task_module.compare(truth, truth)
  assert same["mae"] == 0 and same["jaw_r"] == pytest.approx(1) and same["gap_r"] == pytest.approx(1)
  assert same["shut_recall"] > 0.99 and same["shut_precision"] > 0.8
  silent = truth.copy()
  silent[:, sm.OUTPUTS.index("lips")] = 0
  assert task_module.compare(silent, truth)["shut_recall"] == 0


def test_the_shipped_weights_follow_the_sound():
  animator = sm.SpeechMotionAnimator()
  burst = voice(2.0)
  burst[: len(burst) // 2] = 0
  gap = mouth.lip_gap(animate(animator, [Speech(waveform=burst, sample_rate=16000)])[0].values)
  assert gap[28:48].mean() > gap[3:22].mean() + 0.02

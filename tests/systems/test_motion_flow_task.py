"""What the motion flow learns from: performances, windows, its own guided and longer steps; and that it learns."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk import cli
from jaxtalk.core import InputError, Phone, Speech
from jaxtalk.data import performances as pf
from jaxtalk.motion import codes
from jaxtalk.systems import motion_flow as mf
from jaxtalk.systems import motion_flow_net as net
from jaxtalk.systems import motion_flow_task as task_module

ROOT = Path(__file__).resolve().parents[2]


def _speech(seed):
  """A second and a half of noise whose phones close, open and round the lips."""
  symbols = ("SIL", "B", "AA1", "M", "UW1", "P", "IY0", "SIL")
  ends = np.cumsum(np.random.default_rng(seed).uniform(0.1, 0.28, len(symbols)))
  phones = tuple(Phone(*item) for item in zip(symbols, (0.0, *ends[:-1].tolist()), ends.tolist(), strict=True))
  wave = 0.1 * np.random.default_rng(seed).standard_normal(round(ends[-1] * net.SAMPLE_RATE))
  return Speech(waveform=wave.astype(np.float32), sample_rate=net.SAMPLE_RATE, phones=phones)


SPEECHES = [_speech(seed) for seed in range(4)]


def _config():
  config, _ = cli.load_config("configs/motion_flow.py", ROOT)
  with config.unlocked():
    config.train.update(batch_size=4, steps=40)
    config.optimizer.update(lr=3e-3, warmup_steps=2)
    config.model.update(width=32, layers=1, heads=2, audio_width=16, audio_dilations=(1, 2), style_width=8)
    config.init_audio = ""
  return config


def test_performances_are_drawn_from_their_index_and_kept(tmp_path):
  said = []
  first = pf.PerformanceSet(SPEECHES, 3, 5, parts=2, folder=tmp_path).prepare(said.append)
  again = pf.PerformanceSet(SPEECHES, 3, 5, parts=2, folder=tmp_path).prepare(said.append)
  assert said == ["training data: acting performances 1 to 3 of 3"]
  alone = pf.PerformanceSet(SPEECHES, 3, 5, parts=2)[1]
  for one in (first[1], again[1]):
    np.testing.assert_array_equal(one.codes, alone.codes)
    np.testing.assert_array_equal(one.waveform, alone.waveform)
    assert one.manner == alone.manner
  assert len(alone.codes) == len(alone.waveform) // net.FRAME_SAMPLES
  other = pf.PerformanceSet(SPEECHES[:3], 3, 5, parts=2, folder=tmp_path).prepare(said.append)
  assert len(said) == 2 and len(list(tmp_path.iterdir())) == 2 and len(other) == 3


def test_joined_speech_has_contiguous_phones_where_the_sound_is():
  whole = pf.join(SPEECHES[:2], [0.5])
  assert len(whole.waveform) == len(SPEECHES[0].waveform) + 8000 + len(SPEECHES[1].waveform)
  starts, ends = zip(*((p.start, p.end) for p in whole.phones), strict=True)
  np.testing.assert_allclose(starts[1:], ends[:-1], atol=1e-4)
  later = SPEECHES[0].duration + 0.5 + SPEECHES[1].phones[3].start
  assert whole.phones[len(SPEECHES[0].phones) + 1 + 3].start == pytest.approx(later)


def test_windows_pair_sound_and_motion_and_say_what_does_not_exist():
  made = pf.PerformanceSet(SPEECHES, 1, 0, parts=2)
  size = len(codes.CHANNELS)
  mean, scale = np.full(size, 0.1), np.full(size, 0.5)
  source = task_module.WindowSource(made, mean, scale)
  frames = ((np.asarray(made[0].codes, np.float32) - mean) / scale).astype(np.float32)
  begins = set()
  for seed in range(40):
    example = source.get(0, np.random.default_rng(seed))
    first = int(np.flatnonzero(example["exists"])[0])
    token = example["tokens"][first + 3].reshape(net.SUBFRAMES, size)
    at = int(np.argmin(np.abs(frames[: len(frames) // 2 * 2].reshape(-1, net.SUBFRAMES, size) - token).sum((1, 2))))
    np.testing.assert_allclose(frames[2 * at : 2 * at + 2], token, atol=1e-6)
    sound = example["waveform"][(first + 3) * net.TOKEN_SAMPLES :][: net.TOKEN_SAMPLES]
    np.testing.assert_array_equal(sound, made[0].waveform[at * net.TOKEN_SAMPLES :][: len(sound)][: len(sound)])
    assert not example["tokens"][:first].any() and not example["waveform"][: first * net.TOKEN_SAMPLES].any()
    assert 1 <= example["length"] <= mf.LENGTH
    begins.add(first)
  assert mf.PAST in begins and len(begins) > 1


class _Known:
  """A network whose answers are known: a constant, and so much more for each condition."""

  def apply(self, variables, x, flow, conditions, heard, method):
    more = 2.0 * conditions.keep["audio"] + 5.0 * conditions.keep["manner"]
    return jnp.zeros_like(x) + more[:, None, None]


def _ask(count):
  x, _, conditions, _ = mf.example(2 * count)
  return x[:count], task_module._Asked(_Known(), {}, conditions, jnp.zeros((2 * count, 1)), count)


def test_guided_targets_add_what_each_condition_changes():
  x, ask = _ask(2)
  flow = jnp.array([[0.5, 0.0, 1.0, 1.0], [0.5, 0.0, 3.0, 2.0]])
  made = ask.guided(x, flow, jnp.ones_like(x))
  np.testing.assert_allclose(made[0], 1.0)
  np.testing.assert_allclose(made[1], 1.0 + 2.0 * 2.0 + 1.0 * 5.0, rtol=1e-6)


def test_on_a_straight_flow_long_steps_want_what_short_ones_do():
  x, ask = _ask(2)
  noise = jnp.asarray(np.random.default_rng(0).standard_normal(x.shape, np.float32))
  flow = jnp.array([[1.0, 1.0, 1.0, 1.0], [0.5, 0.25, 1.0, 1.0]])
  np.testing.assert_allclose(ask.longer(noise, flow), 7.0, atol=1e-4)


@pytest.mark.slow  # compiles for a minute
def test_the_loss_falls_on_one_batch():
  task = task_module.MotionFlowTask(_config())
  made = pf.PerformanceSet(SPEECHES, 2, 0, parts=2)
  source = task_module.WindowSource(made, *task_module._scales(made))
  examples = [source.get(i % 2, np.random.default_rng(i)) for i in range(4)]
  batch = {name: jnp.asarray(np.stack([e[name] for e in examples])) for name in examples[0]}
  assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
    k: (v.shape, v.dtype) for k, v in task.batch_spec().items()
  }
  state, update = jax.jit(task.init)(jax.random.key(0)), jax.jit(task.update)
  losses = []
  for _ in range(30):
    state, metrics = update(state, batch)
    losses.append(float(metrics["loss"]))
  assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])
  assert {"value", "speed", "mouth", "style"} <= set(metrics)


def test_ears_of_other_sizes_and_odd_batches_are_refused():
  config = _config()
  config.init_audio = "speech_motion"
  task = task_module.MotionFlowTask(config)
  with pytest.raises(InputError, match="width 96"):
    task.warm_start(jax.eval_shape(task.init, jax.random.key(0)))
  config.train.batch_size = 6
  with pytest.raises(InputError, match="multiple of 4"):
    task_module.MotionFlowTask(config)

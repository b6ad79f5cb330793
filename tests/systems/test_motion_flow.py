"""The motion flow with small random networks: shapes, padding, streams, files, manners, refusals."""

import dataclasses
from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import EMOTIONS, Emotion, InputError, MissingAssetError, MotionStyle, Speech
from jaxtalk.motion import codes, mouth, performance
from jaxtalk.motion.performance import Manner
from jaxtalk.systems import motion_flow as mf
from jaxtalk.systems import motion_flow_net as net
from jaxtalk.systems import motion_flow_stream as ms
from jaxtalk.systems.motion_flow_style import StyleReader

MANNER = Manner(emotion=Emotion(label="happy", intensity=0.5), style=MotionStyle(), age=6.0, seed=3)
RATE = net.SAMPLE_RATE


def _random(params, seed):
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(tree, [0.1 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves])


@pytest.fixture(scope="module")
def flow():
  module = net.MotionFlowNet(width=32, layers=1, heads=2, audio_width=16, audio_dilations=(1, 2))
  reader = StyleReader(width=8, layers=1)
  params = {"flow": _random(mf.init_flow(module), 0), "style": _random(reader.init_shapes(), 1)}
  size = len(codes.CHANNELS)
  return mf.MotionFlow(
    net=module, reader=reader, params=params, mean=np.full(size, 0.1), scale=np.full(size, 0.2), facts={"steps": 1}
  )


@pytest.fixture(scope="module")
def weights(flow, tmp_path_factory):
  path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
  mf.save(path, flow)
  return path


def _voice(seconds, seed=0, rate=RATE):
  rng = np.random.default_rng(seed)
  t = np.arange(int(seconds * rate)) / rate
  return (0.2 * np.sin(900.0 * t) * np.sin(9.0 * t) ** 2 + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def test_the_network_makes_tokens_and_padding_changes_nothing(flow):
  rng = np.random.default_rng(0)
  x, told, conditions, features = mf.example(2)
  x = jnp.asarray(rng.standard_normal(x.shape, np.float32))
  features = jnp.asarray(rng.standard_normal(features.shape, np.float32))
  conditions = dataclasses.replace(conditions, length=jnp.array([20, 20]))
  apply = jax.jit(lambda x, f: flow.net.apply({"params": flow.params["flow"]}, x, told + 0.5, conditions, f))
  made, mouth = apply(x, features)
  chex.assert_shape(made, (2, mf.LENGTH, net.TOKEN_WIDTH))
  chex.assert_shape(mouth, (2, 2 * (mf.PAST + mf.LENGTH), len(net.MOUTH)))
  other, _ = apply(x.at[:, 20:].set(9.0), features)
  np.testing.assert_array_equal(made[:, :20], other[:, :20])
  assert np.abs(made - apply(x.at[:, 3].set(9.0), features)[0])[:, :20].max() > 1e-4


def test_dropped_conditions_are_not_heard(flow):
  x, told, conditions, features = mf.example(2)
  conditions = dataclasses.replace(conditions, keep={"audio": jnp.array([False, True]), "manner": jnp.ones(2, bool)})
  noise = jnp.asarray(np.random.default_rng(0).standard_normal(features.shape, np.float32))
  apply = jax.jit(lambda f: flow.net.apply({"params": flow.params["flow"]}, x, told, conditions, f)[0])
  silent, loud = apply(features), apply(noise)
  np.testing.assert_array_equal(silent[0], loud[0])
  assert np.abs(silent[1] - loud[1]).max() > 1e-4


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_streamed_equals_offline_bit_for_bit(weights, fps):
  animator = ms.MotionFlowAnimator(weights, steps=1)
  wave = _voice(5.3)
  whole = animator.animate_one(Speech(waveform=wave, sample_rate=RATE), fps, MANNER)
  assert whole.num_frames == performance.num_frames(Speech(waveform=wave, sample_rate=RATE), fps)
  stream = animator.stream(fps, MANNER)
  parts, heard, late = [], 0, 0.0
  for size in np.random.default_rng(1).integers(1, 9000, 200):
    piece = wave[heard : heard + size]
    parts.append(stream.feed(piece))
    heard += len(piece)
    if heard < len(wave):
      late = max(late, heard / RATE - sum(map(len, parts)) / float(fps))
  parts.append(stream.finish())
  np.testing.assert_array_equal(np.concatenate(parts), whole.values)
  assert late <= stream.latency + 2 / float(fps)


def test_a_small_hop_is_early_and_other_rates_are_heard(weights):
  animator = ms.MotionFlowAnimator(weights, steps=1, hop=ms.SMALLEST_HOP)
  stream = animator.stream(Fraction(25), MANNER, 48_000)
  assert stream.latency == pytest.approx(0.52)
  wave = _voice(1.0, rate=48_000)
  first = stream.feed(wave)
  assert 10 <= len(first) < 25
  assert len(first) + len(stream.finish()) == 25
  assert np.isfinite(first).all()


def test_seeds_are_takes(weights):
  animator = ms.MotionFlowAnimator(weights, steps=1)
  speech = Speech(waveform=_voice(0.5), sample_rate=RATE)
  one, again, other = (
    animator.animate_one(speech, Fraction(25), dataclasses.replace(MANNER, seed=seed)).values for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one, again)
  assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("wave", [np.zeros(640), np.zeros(16_000), np.sign(_voice(0.5)), _voice(0.04)])
def test_silence_clipping_and_forty_milliseconds_give_finite_motion(weights, wave):
  speech = Speech(waveform=np.asarray(wave, np.float32), sample_rate=RATE)
  motion = ms.MotionFlowAnimator(weights, steps=1).animate_one(speech, Fraction(25), MANNER)
  assert motion.num_frames == max(1, round(len(wave) / 640))
  assert np.isfinite(motion.values).all()


def test_what_streams_refuse(weights):
  animator = ms.MotionFlowAnimator(weights, steps=1)
  stream = animator.stream(Fraction(25), MANNER)
  with pytest.raises(InputError, match="finite"):
    stream.feed(np.array([0.0, np.nan], np.float32))
  stream.feed(np.zeros(700, np.float32))
  stream.finish()
  with pytest.raises(InputError, match="ended"):
    stream.feed(np.zeros(1, np.float32))
  for bad, message in (({"steps": 3}, "1, 2, 4, 8, 50"), ({"hop": 2}, "hop"), ({"guidance": (9.0, 1.0)}, "guidance")):
    with pytest.raises(InputError, match=message):
      ms.MotionFlowAnimator(weights, **bad)


def test_files_keep_networks_and_name_what_does_not_fit(flow, weights, tmp_path):
  loaded = mf.load(weights)
  assert loaded.net == flow.net and loaded.reader == flow.reader and loaded.facts == flow.facts
  chex.assert_trees_all_close(loaded.params, jax.tree.map(np.asarray, flow.params), atol=1e-3)
  broken = dict(flow.params["flow"])
  broken["extra"] = broken.pop("no_audio")
  mf.save(tmp_path / "a.safetensors", dataclasses.replace(flow, params={**flow.params, "flow": broken}))
  with pytest.raises(MissingAssetError, match="missing flow/no_audio; left over flow/extra"):
    mf.load(tmp_path / "a.safetensors")
  with pytest.raises(MissingAssetError, match="no motion-flow weights"):
    mf.load(tmp_path / "b.safetensors")
  (tmp_path / "c.safetensors").write_bytes(b"nothing")
  with pytest.raises(MissingAssetError, match="damaged"):
    mf.load(tmp_path / "c.safetensors")


def test_manners_are_vectors_and_styles_come_back():
  style = MotionStyle(articulation=0.8, blink_rate=20.0, asymmetry=-0.5)
  back = mf.style_from_vector(mf.style_vector(style))
  chex.assert_trees_all_close(dataclasses.asdict(back), dataclasses.asdict(style), rtol=1e-5, atol=1e-6)
  with pytest.raises(InputError, match="6 numbers"):
    mf.style_from_vector(np.zeros(128))
  for label in EMOTIONS:
    vector = mf.manner_vector(dataclasses.replace(MANNER, emotion=Emotion(label=label, intensity=0.7)))
    chex.assert_shape(vector, (mf.MANNER_WIDTH,))
    assert vector[7:].sum() == pytest.approx(0.0 if label == "neutral" else 0.7)
  wide = mf.manner_vector(dataclasses.replace(MANNER, age=200.0))
  assert np.abs(wide).max() <= 1.0


def test_the_style_of_a_clip_and_of_a_motion_at_another_rate(flow):
  frames = flow.restore(np.random.default_rng(0).standard_normal((100, net.TOKEN_WIDTH)))
  assert isinstance(flow.style_of(frames), MotionStyle)
  with pytest.raises(InputError, match="two frames"):
    flow.style_of(frames[:1])


def test_noise_is_slow_where_motion_is_slow():
  white = np.random.default_rng(0).standard_normal((300, mf.LENGTH, net.TOKEN_WIDTH), np.float32)
  noise = np.asarray(mf.colour(jnp.asarray(white))).reshape(300, -1, len(codes.CHANNELS))
  np.testing.assert_allclose(noise.std(axis=(0, 1)), 1.0, atol=0.08)
  head, gap = codes.CHANNELS.index("headYaw"), codes.GAP
  np.testing.assert_array_equal(noise[..., gap], white.reshape(noise.shape)[..., gap])
  assert np.corrcoef(noise[:, 50, head], noise[:, 55, head])[0, 1] > 0.9
  assert abs(np.corrcoef(noise[:, 50, head], noise[:, 50, head + 1])[0, 1]) < 0.2


def test_windows_that_disagree_are_faded_into_each_other(weights, monkeypatch):
  level = iter(range(9))
  made = lambda *_, **__: np.full((1, mf.LENGTH, net.TOKEN_WIDTH), float(next(level)), np.float32)  # noqa: E731
  monkeypatch.setattr(mf, "sample_window", made)
  speech = Speech(waveform=_voice(6.0), sample_rate=RATE)
  yaw = ms.MotionFlowAnimator(weights, steps=1).animate_one(speech, Fraction(25), MANNER)["headYaw"]
  steps = (yaw - yaw[0]) / 0.2  # in units of the windows' disagreement
  np.testing.assert_allclose(steps[[49, 55, 99, 105]], [0.0, 1.0, 1.0, 2.0], atol=1e-5)
  assert np.diff(steps).max() < 0.35


@pytest.mark.parametrize("kind", ["silence", "noise", "chords", "clipped tone"])
def test_the_shipped_network_keeps_its_mouth_shut_where_nobody_speaks(kind):
  t = np.arange(2 * RATE) / RATE
  sound = {
    "silence": 0.0 * t,
    "noise": 0.1 * np.random.default_rng(0).standard_normal(len(t)),
    "chords": 0.08 * sum(np.sin(2 * np.pi * f * t) for f in (220, 277, 330, 440)) * (1 + 0.5 * np.sin(4 * np.pi * t)),
    "clipped tone": np.sign(np.sin(2 * np.pi * 150 * t)),
  }[kind]
  speech = Speech(waveform=np.asarray(sound, np.float32), sample_rate=RATE)
  motion = ms.MotionFlowAnimator().animate_one(speech, Fraction(25), dataclasses.replace(MANNER, emotion=Emotion()))
  gap = mouth.lip_gap(np.asarray(motion.values, np.float64))
  assert np.isfinite(motion.values).all()
  assert gap.mean() < 0.05 and gap.max() < 0.2

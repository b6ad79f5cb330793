"""DiffPoseTalk from a waveform of any length: recorded official runs, how windows join, and input that does not fit."""

import functools
import json

import golden_data as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.diffusion import Guidance, cosine, ddim, ddpm
from jaxtalk.systems import diffposetalk as dpt
from jaxtalk.systems import diffposetalk_windows
from jaxtalk.systems.diffposetalk_motion import Stats, normalise_shape, pack
from jaxtalk.systems.diffposetalk_official import official_guidance
from jaxtalk.systems.diffposetalk_windows import PIECE_MARGIN, normalise, pad_to_grid, pieces

LENGTH, BEFORE = 6, 2


@functools.cache
def recorded():
  """The system, the arrays, and the options of the recorded run."""
  state, facts = golden.tensors("diffposetalk", "windows_hubert.safetensors")
  d = golden.arrays("diffposetalk", "windows_hubert.npz")
  stats = Stats(**{name.removeprefix("stats_"): x for name, x in d.items() if name.startswith("stats_")})
  args = json.loads(facts["args"])
  return dpt.import_official(state, args, json.loads(facts["audio_config"]), stats), d


def test_audio_features_equal_official():
  system, d = recorded()
  wave = d["audio_i16"].astype(np.float32) / 32768
  golden.close(normalise(wave)[:64], d["normalised_head"], 1e-5, "normalised waveform")
  golden.close(system.features(wave), d["audio_feat_75"], 1e-4, "features of all windows")


def test_whole_inference_equals_official():
  system, d = recorded()
  m = system.denoiser
  shape = (2, m.frames, m.motion_width)
  start = np.random.RandomState(int(d["noise_seed_T"])).standard_normal((1, *shape))[0].astype(np.float32)
  noise = np.random.RandomState(int(d["noise_seed_z"])).standard_normal((33, *shape)).astype(np.float32)
  noise = np.pad(noise.reshape(3, 11, *shape), ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))
  style = dpt.Style(vector=d["style"])
  expression, pose = system.generate(
    d["audio_i16"].astype(np.float32) / 32768, d["shape_raw"], style, noise, start=start, repetitions=2
  )
  wanted = pack(system.stats, d["exp"], d["pose"], head=True)
  golden.close(pack(system.stats, expression, pose, head=True), wanted, 2e-4, "normalised motion")
  golden.close(expression, d["exp"], 2e-4, "expression")
  golden.close(pose, d["pose"], 2e-4, "pose")


@pytest.mark.parametrize("samples", (640, 1000, 1280, 1345, 1599, 1600, 1601, 16000))
def test_padding_of_the_waveform_equals_official(samples):
  d = golden.arrays("diffposetalk", "windows_hubert.npz")
  padded = pad_to_grid(np.arange(1, samples + 1, dtype=np.float32))
  assert len(padded) == d[f"padaudio_len_{samples}"]
  np.testing.assert_array_equal(padded[:100], d[f"padaudio_head_{samples}"])
  np.testing.assert_array_equal(padded[-100:], d[f"padaudio_tail_{samples}"])


@functools.cache
def small():
  """A random denoiser for windows of a few frames."""
  module = dpt.Denoiser(
    style_width=4, audio_width=8, width=16, heads=2, layers=1, mlp_ratio=2, frames=LENGTH, previous=BEFORE
  )
  return module, jax.jit(functools.partial(module.init, method="initialise"))(jax.random.key(0))


def arguments(windows, clips=1, seed=0):
  rng = np.random.default_rng(seed)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
  features, shape, style = normal(clips, windows * LENGTH, 16), normal(clips, 100), normal(clips, 4)
  return features, shape, style, normal(clips, LENGTH, 54)


def generate(frames, windows, plan=None, **changes):
  features, shape, style, start = arguments(windows)
  plan = ddpm(cosine(500).levels(4)) if plan is None else plan
  given = {"noise": jax.random.key(3), "start": start, "features": features, "style": style, **changes}
  module, variables = small()
  start, noise, features, style = (given.pop(k) for k in ("start", "noise", "features", "style"))
  return dpt.generate_windows(module, variables, features, shape, style, frames, plan, start, noise, **given)


def test_a_window_starts_from_the_end_of_the_one_before():
  module, variables = small()
  features, shape, style, start = arguments(2)
  plan, key = ddpm(cosine(500).levels(4)), jax.random.key(3)
  both = generate(2 * LENGTH - 1, 2)
  assert both.shape == (1, 2 * LENGTH - 1, 54)

  @jax.jit
  def window(index, audio, prev_motion, prev_audio, indicator):
    conditions = dpt.Conditions(
      shape=shape, audio=audio, style=style, prev_motion=prev_motion, prev_audio=prev_audio, indicator=indicator
    )
    return dpt.sample_window(module, variables, conditions, plan, start, jax.random.fold_in(key, index))

  learned, all_count = variables["params"], jnp.ones((1, LENGTH))
  tokens = (learned["start_motion"][None], learned["start_audio"][None])
  first = window(0, features[:, :LENGTH], *tokens, all_count)
  ends = (first[:, -BEFORE:], features[:, LENGTH - BEFORE : LENGTH])
  second = window(1, features[:, LENGTH:], *ends, all_count.at[:, -1].set(0.0))
  np.testing.assert_allclose(both[:, :LENGTH], first, atol=1e-5)
  np.testing.assert_allclose(both[:, LENGTH:], second[:, :-1], atol=1e-5)


def test_same_seed_same_motion_another_seed_another_and_a_style_changes_it():
  base = generate(LENGTH, 1)
  np.testing.assert_array_equal(base, generate(LENGTH, 1))
  assert np.abs(base - generate(LENGTH, 1, noise=jax.random.key(4))).max() > 1e-3
  assert np.abs(base - generate(LENGTH, 1, style=jnp.ones((1, 4)))).max() > 1e-3


def test_audio_of_a_later_window_changes_nothing_before_it():
  features = arguments(3)[0]
  base, other = generate(18, 3), generate(18, 3, features=features.at[:, 2 * LENGTH :].add(1.0))
  np.testing.assert_array_equal(base[:, : 2 * LENGTH], other[:, : 2 * LENGTH])
  assert np.abs(base - other).max() > 1e-3


def test_a_new_start_for_every_window_is_another_motion():
  plan = ddim(cosine(500).levels(4))  # no fresh noise: only the start differs
  same, fresh = generate(12, 2, plan), generate(12, 2, plan, same_start=False)
  np.testing.assert_array_equal(same[:, :LENGTH], fresh[:, :LENGTH])
  assert np.abs(same - fresh)[:, LENGTH:].max() > 1e-3


def test_scales_of_one_are_the_conditional_estimate():
  plain = generate(LENGTH, 1, guidance=Guidance())
  guided = generate(LENGTH, 1, scales=(1.0, 1.0))
  np.testing.assert_allclose(plain, guided, atol=1e-4)


def test_features_that_are_not_whole_windows_are_refused():
  with pytest.raises(InputError, match="whole windows of 6"):
    generate(13, 2)
  with pytest.raises(InputError, match="key"):
    generate(LENGTH, 1, noise=jnp.zeros((1, 4, 1, LENGTH, 54)), same_start=False)


def a_system(**changes):
  networks = {} if "denoiser" in changes else dict(zip(("denoiser", "variables"), small(), strict=True))
  ones = {
    f"{k}_{m}": np.ones(n, np.float32) for k, n in (("exp", 50), ("pose", 6), ("shape", 100)) for m in ("mean", "std")
  }
  return dpt.DiffPoseTalk(
    **{
      **networks,
      "encoder": None,
      "encoder_variables": {},
      "stats": Stats(**ones),
      "schedule": cosine(500),
      **changes,
    }
  )


class Continues:
  """A denoiser that goes on from the last frame before it, by as much as the speech of each frame says."""

  frames, previous, motion_width, width = LENGTH, BEFORE, 54, 54

  def apply(self, variables, *args, **kwargs):
    if kwargs.get("method") == "hear":
      return args[2]
    moved = jnp.cumsum(kwargs["heard"], axis=1) + args[4][:, -1:]
    return jnp.concatenate([args[4], moved], axis=1)


def test_what_goes_on_from_its_previous_frames_has_no_seam_for_a_minute():
  frames = 25 * 60
  speech = jnp.asarray(np.random.default_rng(0).normal(size=(1, frames, 54)), jnp.float32)
  start = {"start_motion": jnp.zeros((BEFORE, 54)), "start_audio": jnp.zeros((BEFORE, 54))}
  motion = dpt.generate_windows(
    Continues(),
    {"params": start},
    speech,
    jnp.zeros((1, 100)),
    None,
    frames - 1,
    ddim(cosine(500).levels(2)),
    jnp.ones((1, LENGTH, 54)),
    jax.random.key(0),
  )
  np.testing.assert_allclose(motion, np.cumsum(speech, axis=1)[:, :-1], atol=2e-3)
  speed = np.abs(np.diff(np.asarray(motion)[0], axis=0)).mean(-1)
  joints = np.arange(LENGTH - 1, frames - 2, LENGTH)
  assert np.median(speed[joints]) < np.percentile(np.delete(speed, joints), 99)
  assert np.median(speed[joints]) == pytest.approx(np.median(np.delete(speed, joints)), rel=0.1)


def test_ten_minutes_take_no_more_memory_at_once_than_one(monkeypatch):
  """Every program sees arrays of one size, however long the recording is, and what is done lies on the host."""
  heard, windows = set(), set()

  def features(denoiser, encoder, params, encoder_variables, waveform):
    heard.add(waveform.shape)
    return jnp.zeros((1, (waveform.shape[1] - 80) // 640, denoiser.width))

  def window(denoiser, params, conditions, plan, start, noise, guidance, scales, threshold):
    windows.add(str(jax.tree.map(jnp.shape, (conditions, start))))
    return start

  monkeypatch.setattr(diffposetalk_windows, "_features", features)
  monkeypatch.setattr(diffposetalk_windows, "_window", window)
  start = {"start_motion": np.zeros((10, 54), np.float32), "start_audio": np.zeros((10, 16), np.float32)}
  system = a_system(denoiser=dpt.Denoiser(width=16, style_width=4), variables={"params": start})
  plan = ddim(cosine(500).levels(1))
  expression, _ = system.generate(np.zeros(600 * 16_000, np.float32), np.zeros(100), None, jax.random.key(0), plan=plan)
  assert expression.shape == (1, 15_000, 50)
  assert heard == {(1, 60 * 16_000 + 80)} and len(windows) == 1


def test_a_clip_of_one_frame_gives_one_frame():
  system, d = recorded()
  wave = d["audio_i16"][:640].astype(np.float32) / 32768
  plan = ddim(system.schedule.levels(2))
  expression, pose = system.generate(wave, d["shape_raw"], dpt.Style(vector=d["style"]), jax.random.key(0), plan=plan)
  assert expression.shape == (1, 1, 50) and pose.shape == (1, 1, 6)
  assert np.isfinite(expression).all() and np.isfinite(pose).all()


def test_a_checkpoint_of_another_size_is_named():
  importer, state, args = official("denoiser")
  with pytest.raises(InputError, match=r"denoising_net\.feature_proj\.weight is \(32, 54\), not \(64, 54\)"):
    importer(state, **{**args, "feature_dim": 64})


def test_input_that_does_not_fit_is_named():
  shape, key = np.zeros(100, np.float32), jax.random.key(0)
  with pytest.raises(InputError, match="640"):
    a_system().generate(np.zeros(639, np.float32), shape, None, key)
  for bad in (np.zeros((2, 800), np.float32), np.full(800, np.nan, np.float32)):
    with pytest.raises(InputError, match="mono, finite"):
      normalise(bad)


def test_style_of_another_encoder_or_width_is_refused():
  system = a_system(style_encoder="a.pt")
  with pytest.raises(InputError, match="b.pt.*a.pt"):
    system.style_vector(dpt.Style(vector=np.zeros(4, np.float32), encoder="b.pt"))
  with pytest.raises(InputError, match=r"\(5,\)"):
    system.style_vector(dpt.Style(vector=np.zeros(5, np.float32), encoder="a.pt"))
  np.testing.assert_array_equal(system.style_vector(dpt.Style(vector=np.ones(4, np.float32))), np.ones(4))


@pytest.mark.parametrize("frames", (100, 300, 301, 1234, 15_000))
def test_pieces_of_a_long_recording_keep_every_frame_once(frames):
  cut = list(pieces(frames, 300))
  kept = [f for _, _, first, last in cut for f in range(first, last)]
  assert kept == list(range(frames))
  assert {stop - start for start, stop, _, _ in cut} == {min(frames, 300)}
  for start, stop, first, last in cut:
    assert 0 <= start and stop <= frames
    assert first - start >= PIECE_MARGIN or start == first == 0
    assert stop - last >= PIECE_MARGIN or stop == last == frames


def test_long_recordings_are_heard_in_pieces():
  system, d = recorded()
  wave = np.tile(d["audio_i16"].astype(np.float32) / 32768, 6)
  whole, cut = (np.asarray(system.features(wave, seconds)) for seconds in (60.0, 6.0))
  assert whole.shape == cut.shape == (1, 350, 32)
  assert np.corrcoef(whole.ravel(), cut.ravel())[0, 1] > 0.95


def test_silence_stays_silent():
  np.testing.assert_array_equal(normalise(np.zeros(2000, np.float32)), np.zeros(2000))


STATES = {"denoiser": "sinpe_width2_noind.safetensors", "style": "style_nohead.safetensors"}


def official(kind):
  state, facts = golden.tensors("diffposetalk", STATES[kind])
  importer = {"denoiser": dpt.import_denoiser, "style": dpt.import_style_encoder}[kind]
  return importer, state, json.loads(facts["args"])


@pytest.mark.parametrize("kind", STATES)
def test_import_names_everything_that_is_wrong(kind):
  importer, state, args = official(kind)
  names = sorted(name for name in state if name.endswith("linear1.weight"))
  broken = {**state, "surplus.weight": np.zeros(3), names[0]: state[names[0]][:, 1:]}
  missing = next(name for name in state if name.endswith("in_proj_bias"))
  del broken[missing]
  with pytest.raises(InputError) as error:
    importer(broken, **args)
  for part in ("surplus.weight is left over", f"{missing} is missing", f"{names[0]} is ("):
    assert part in str(error.value)


@pytest.mark.parametrize("kind", STATES)
def test_import_accepts_wrapped_names_and_tables(kind):
  importer, state, args = official(kind)
  module, variables = importer(state, **args)
  extra = {"denoiser": ("denoising_net.TE.pe", "denoising_net.PE.pe"), "style": ("encoder.PE.pe",)}[kind]
  wrapped = {f"module.{name}": x for name, x in {**state, **{name: np.zeros((1, 9, 32)) for name in extra}}.items()}
  again, same = importer(wrapped, **args)
  assert again == module
  jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_options_that_do_not_fit_are_named():
  importer, state, args = official("denoiser")
  without = {name: x for name, x in args.items() if name != "n_heads"}
  with pytest.raises(InputError, match="n_heads"):
    importer(state, **without)
  with pytest.raises(InputError, match="6d"):
    importer(state, **{**args, "rot_repr": "6d"})
  with pytest.raises(InputError, match="noise"):
    importer(state, **{**args, "target": "noise"})
  for change in ({"diff_schedule": "linear"}, {"align_mask_width": 1}):
    with pytest.raises(InputError, match="is not that of the options"):
      importer(state, **{**args, **change})


def test_imported_parameters_are_those_of_the_module():
  importer, state, args = official("denoiser")
  module, variables = importer(state, **args)
  made = jax.eval_shape(functools.partial(module.init, method="initialise"), jax.random.key(0))
  assert jax.tree.map(lambda x: x.shape, made) == jax.tree.map(lambda x: x.shape, variables)


def test_guidance_follows_the_options():
  assert official_guidance({}) == Guidance(conditions=("audio", "style"))
  given = {"cfg_mode": "independent", "guiding_conditions": "style"}
  assert official_guidance(given) == Guidance(conditions=("style",), mode="independent_in_place")
  assert official_guidance({"guiding_conditions": ""}).conditions == ()
  with pytest.raises(InputError, match="both"):
    official_guidance({"cfg_mode": "both"})


def test_default_sizes_are_the_published_ones():
  """Counted in the published checkpoints: 34.5 and 0.80 million."""
  denoiser, style = dpt.Denoiser(), dpt.StyleEncoder()
  made = jax.eval_shape(functools.partial(denoiser.init, method="initialise"), jax.random.key(0))
  net = {name: x for name, x in made["params"].items() if name != "audio_map"}
  assert sum(x.size for x in jax.tree.leaves(net)) == pytest.approx(34.5e6, rel=5e-3)
  made = jax.eval_shape(style.init, jax.random.key(0), jnp.zeros((1, 5, 54)))
  assert sum(x.size for x in jax.tree.leaves(made)) == pytest.approx(0.80e6, rel=5e-3)


def test_arguments_of_the_denoiser_that_do_not_fit_are_named():
  module, variables = small()
  features, shape, style, start = arguments(1)
  given = dict(noisy_motion=start, audio=features, shape=shape, style=style, prev_motion=None, prev_audio=None)
  t = jnp.ones((1,), jnp.int32)
  for name in ("audio", "shape", "style", "noisy_motion"):
    bad = {**given, name: given[name][..., 1:]}
    with pytest.raises(InputError, match=name):
      module.apply(variables, **bad, t=t, indicator=None)
  with pytest.raises(InputError, match="too long"):
    module.apply(variables, **{**given, "noisy_motion": jnp.zeros((1, 7, 54))}, t=t, indicator=None)


def test_shape_is_normalised_by_the_statistics():
  stats = a_system().stats
  np.testing.assert_allclose(normalise_shape(stats, jnp.full((100,), 3.0)), 2.0)

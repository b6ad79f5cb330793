"""Whisper's encoder against `transformers` 5.23 (PyTorch, float32) on random weights, and what its files may lack."""

import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxtalk.core import InputError
from jaxtalk.encoders import encode, load_pretrained, prepare, trainable_mask
from jaxtalk.encoders.whisper import WhisperConfig, log_mel, sinusoids, slaney_filters

FOLDER = Path(__file__).parents[1] / "golden" / "speech_encoder" / "whisper"  # 1 s where published models hear 30
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def data():
  with np.load(FOLDER / "expected.npz", allow_pickle=False) as arrays:
    found = {name: arrays[name] for name in arrays.files}
  waves = {name: found[name].astype(np.float32) / 32768 for name in ("wave_0", "wave_1")}
  return found | waves


@pytest.fixture(scope="module")
def loaded():
  return load_pretrained(FOLDER)


def test_spectra_are_the_published_ones(data):
  for bands, wave, stored in ((80, "wave_0", "mel80_0"), (80, "wave_1", "mel80_1"), (128, "wave_0", "mel128_0")):
    config = WhisperConfig(bands=bands, positions=50)
    ours = np.asarray(quick_jit(lambda x, config=config: log_mel(x, config))(data[wave][None]))[0]
    assert ours.shape == (100, bands)
    np.testing.assert_allclose(ours[::20].T, data[stored], rtol=0, atol=2e-5)


def test_hidden_states_are_the_published_ones_alone_in_a_batch_and_by_encode(data, loaded):
  module, variables = loaded
  waves = [data["wave_0"], data["wave_1"]]
  batch, mask = prepare(waves, module.config)
  assert batch.shape == (2, 16_000)
  batch = np.where(mask, batch, 9.0)  # what the mask hides is not heard
  apply = quick_jit(module.apply)
  states = apply(variables, batch, mask)
  assert states.lengths.tolist() == [19, 7] == [module.config.frames(len(wave)) for wave in waves]
  for row in (0, 1):
    ours = np.stack([state[row] for state in states.hidden_states])
    np.testing.assert_allclose(ours, data[f"hidden_{row}"], rtol=0, atol=2e-5)
  found = encode(module, variables, waves)
  np.testing.assert_allclose(found[1], data["hidden_1"][-1, :7], rtol=0, atol=2e-5)
  assert [len(x) for x in found] == [19, 7]


def test_the_decoder_is_left_aside_and_every_other_tensor_accounted_for(tmp_path, loaded):
  folder = shutil.copytree(FOLDER, tmp_path / "whisper", copy_function=shutil.copyfile)
  state = load_file(folder / "model.safetensors")
  assert any(".decoder." in name for name in state)
  bare = {name.removeprefix("model.encoder."): x for name, x in state.items() if name.startswith("model.encoder.")}
  assert len(jax.tree.leaves(loaded[1])) == len(bare)
  save_file({f"encoder.{name}": x for name, x in bare.items()}, folder / "model.safetensors")  # of another class
  jax.tree.map(np.testing.assert_array_equal, load_pretrained(folder)[1], loaded[1])
  bare["layers.0.fc3.bias"] = bare.pop("layers.0.fc1.bias")
  save_file(bare, folder / "model.safetensors")
  with pytest.raises(InputError, match=r"does not know 1 .*layers\.0\.fc3\.bias"):
    load_pretrained(folder)
  del bare["layers.0.fc3.bias"]
  save_file(bare, folder / "model.safetensors")
  with pytest.raises(InputError, match=r"lacks 1 .*layers\.0\.fc1\.bias"):
    load_pretrained(folder)
  mask = trainable_mask(loaded[1]["params"], ["conv1", "layers.0"])
  assert not mask["layers_0"]["fc1"]["kernel"] and mask["layers_1"]["fc1"]["kernel"]


def test_positions_and_filters_in_closed_form(loaded):
  stored = loaded[1]["params"]["embed_positions"]["embedding"]
  np.testing.assert_allclose(sinusoids(loaded[0].config), stored, rtol=0, atol=2e-6)
  filters = slaney_filters(80)
  assert filters.shape == (80, 201) and (filters.max(axis=1) > 0).all()
  wide = slaney_filters(20)  # whose triangles are sampled finely enough: each has unit area, in bins of 40 Hz
  np.testing.assert_allclose(40.0 * wide.sum(axis=1), 1.0, atol=0.05)


def test_longer_than_the_network_hears_goes_in_windows(data, loaded):
  module, variables = loaded
  wave = np.concatenate([data["wave_0"]] * 4)  # 1.5 s
  (found,) = encode(module, variables, [wave], window=0.8, context=0.2)
  assert found.shape == (75, 16) and np.isfinite(found).all()
  (first,) = encode(module, variables, [wave[: 39 * 320 + 160]], window=1.0, context=0.2)
  np.testing.assert_allclose(found[:30], first[:30], rtol=0, atol=2e-5)  # the first window, less its context


def test_bad_waveforms_and_configurations_are_refused(loaded):
  module, variables = loaded
  for samples, words in ((16_001, "hears 16000 samples at once, not 16001"), (100, "100 samples are too short")):
    with pytest.raises(InputError, match=words):
      jax.eval_shape(module.apply, variables, jnp.zeros((1, samples)))
  with pytest.raises(InputError, match="no multiple of encoder_attention_heads 5"):
    WhisperConfig(heads=5)

"""Recordings of any length: normalisation, a few shapes, windows, bad recordings."""

import numpy as np
import pytest
import speech_golden as golden

from jaxtalk.core import InputError
from jaxtalk.encoders import encode, prepare
from jaxtalk.encoders.batches import bucket, normalised
from jaxtalk.encoders.speech_config import SpeechConfig

BASE = SpeechConfig(family="wav2vec2")


def noise(samples, seed=0):
  return np.random.default_rng(seed).normal(0.05, 0.1, samples).astype(np.float32)


def test_normalisation_in_closed_form():
  wave = np.array([1, -1, 1, -1, 3], np.float32)
  np.testing.assert_allclose(normalised(wave), (wave - 0.6) / np.sqrt(2.24 + 1e-7), rtol=1e-6)
  np.testing.assert_array_equal(normalised(np.full(500, 0.25, np.float32)), 0)


@pytest.mark.parametrize("case", golden.CASES)
def test_normalisation_is_the_published_one(case):
  np.testing.assert_allclose(normalised(golden.stored(case, "wave_1")), golden.stored(case, "input_1"), atol=2e-6)


def test_a_batch_is_normalised_row_by_row_and_padded_with_zeros():
  waves = [noise(9000), noise(5000, 1)]
  waveform, mask = prepare(waves, BASE)
  assert waveform.shape == mask.shape == (2, bucket(9000, BASE)) and mask.sum(1).tolist() == [9000, 5000]
  np.testing.assert_array_equal(waveform[1, :5000], normalised(waves[1]))
  assert not waveform[~mask].any()
  plain, _ = prepare(waves, SpeechConfig(family="wavlm", normalise=False), 9000)
  np.testing.assert_array_equal(plain[0], waves[0])


def test_buckets_are_few_and_tight():
  lengths = range(400, 16_000 * 60, 997)
  buckets = {n: bucket(n, BASE) for n in lengths}
  assert all(n <= b for n, b in buckets.items())
  assert all(b <= 1.13 * n + 400 for n, b in buckets.items() if n > 16_000)
  assert len(set(buckets.values())) <= 50
  assert all(BASE.frames(b) * 320 + 80 == b for b in buckets.values())  # no sample that no frame sees


def test_recordings_of_any_length_come_back_in_order_and_exact():
  module, variables = golden.loaded("wav2vec2_group")
  data = golden.expected("wav2vec2_group")
  waves = [noise(7000, 5), data["input_1"], data["input_2"]]
  found = encode(module, variables, waves, batch=4)
  assert [len(x) for x in found] == [module.config.frames(len(w)) for w in waves]
  for i in (1, 2):  # already normalised: the same again up to the floor of the variance
    np.testing.assert_allclose(found[i], data[f"hidden_{i}"][-1], rtol=0, atol=5e-5)


@pytest.mark.slow
def test_long_recordings_go_through_windows_of_one_shape():
  module, variables = golden.loaded("wav2vec2_group")
  # Steady noise: what a frame hears of the far past and future hardly matters, so windows must agree with the whole.
  wave = noise(16_000 * 6)
  whole = encode(module, variables, [wave], window=None)[0]
  cut = encode(module, variables, [wave], window=3.0, context=1.0, batch=2)[0]
  assert cut.shape == whole.shape == (module.config.frames(len(wave)), 32)
  assert np.corrcoef(cut.ravel(), whole.ravel())[0, 1] > 0.99
  shifted = np.abs(cut[1:] - whole[:-1]).mean()
  assert np.abs(cut - whole).mean() < 0.2 * shifted


def test_bad_recordings_are_named():
  module, variables = golden.loaded("wav2vec2_group")
  broken = noise(800)
  broken[3] = np.nan
  for waves, words in (
    ([], "no recording"),
    ([noise(800), noise(399)], "recording 1 has 399 samples"),
    ([broken], "recording 0 has samples that are not finite"),
    ([np.zeros((2, 800), np.float32)], r"recording 0 is float32 \(2, 800\)"),
    ([np.zeros(800, np.int16)], "int16"),
  ):
    with pytest.raises(InputError, match=words):
      prepare(waves, BASE)
  with pytest.raises(InputError, match="does not fit into a batch of 400"):
    prepare([noise(800)], BASE, 400)
  with pytest.raises(InputError, match="layer 4 of 4"):
    encode(module, variables, [noise(800)], layer=4)
  with pytest.raises(InputError, match="longer than twice their context"):
    encode(module, variables, [noise(800)], window=2.0, context=1.0)

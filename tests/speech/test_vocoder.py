"""Conversion on vocoder parameters, against closed forms: where peaks and pitch go, and that time stays or moves."""

import dataclasses

import numpy as np
import pytest

from jaxtalk.core import Emotion, Person
from jaxtalk.speech import vocoder
from jaxtalk.speech.network import Vocoded
from jaxtalk.speech.norms import voice_norm
from jaxtalk.speech.speaker import Speaker, speaker_of

HERTZ = np.arange(601) * 20.0
NOBODY = Speaker(
  f0_hz=200.0, f0_range=1.0, tract_cm=vocoder.REFERENCE_TRACT_CM, rate=1.0, unsteadiness=0.0, breath=1.0, tilt_db=0.0
)


def _frames(peak_hz=2000.0, count=40, f0=180.0):
  bump = -3 + 4 * np.exp(-(((HERTZ - peak_hz) / 300) ** 2))
  envelope = np.repeat(bump[:, None], count, 1).astype(np.float32)
  quiet = np.full((601, count), -9.0, np.float32)
  zero = np.zeros((601, count), np.float32)
  return Vocoded(envelope, zero, quiet, quiet.copy(), zero.copy(), np.full(count, f0, np.float32))


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.2, 1.35])
def test_formants_move_by_the_ratio_of_tract_lengths(scale):
  speaker = dataclasses.replace(NOBODY, tract_cm=vocoder.REFERENCE_TRACT_CM / scale)
  assert vocoder.formant_scale(speaker) == pytest.approx(scale)
  made = vocoder.convert(_frames(2000.0), speaker, np.random.default_rng(0))
  assert HERTZ[made.harmonic[:, 5].argmax()] == pytest.approx(2000.0 * scale, abs=20)
  assert made.harmonic.dtype == np.float32 and made.harmonic.shape == (601, 40)


def test_a_single_notch_is_quantisation_and_goes():
  frames = _frames()
  frames.harmonic[77] -= 10
  made = vocoder.convert(frames, NOBODY, np.random.default_rng(0))
  np.testing.assert_allclose(
    made.harmonic, vocoder.convert(_frames(), NOBODY, np.random.default_rng(0)).harmonic, atol=0.15
  )


def test_phases_are_stretched_with_their_envelope():
  frames = dataclasses.replace(_frames(), theta=np.repeat((HERTZ / 20_000)[:, None], 40, 1).astype(np.float32))
  speaker = dataclasses.replace(NOBODY, tract_cm=vocoder.REFERENCE_TRACT_CM / 1.25)
  made = vocoder.convert(frames, speaker, np.random.default_rng(0))
  np.testing.assert_allclose(np.tanh(made.theta[:500, 0]), np.tanh(HERTZ[:500] / 1.25 / 20_000), atol=2e-3)


def test_pitch_goes_to_the_median_and_keeps_its_excursions():
  contour = np.array([0, 150, 180, 200, 220, 260, 0, 190], np.float32)
  made = vocoder.convert_f0(contour, dataclasses.replace(NOBODY, f0_hz=300.0), np.random.default_rng(0))
  voiced = contour > 0
  np.testing.assert_array_equal(made > 0, voiced)
  assert np.exp(np.median(np.log(made[voiced]))) == pytest.approx(300.0, rel=1e-5)
  np.testing.assert_allclose(made[voiced] / contour[voiced], made[1] / contour[1], rtol=1e-5)
  livelier = vocoder.convert_f0(contour, dataclasses.replace(NOBODY, f0_range=1.5), np.random.default_rng(0))
  assert np.log(livelier[5] / livelier[1]) == pytest.approx(1.5 * np.log(260 / 150), rel=1e-4)


def test_unvoiced_speech_stays_unvoiced():
  assert not vocoder.convert_f0(np.zeros(9, np.float32), NOBODY, np.random.default_rng(0)).any()


def test_retiming_by_nothing_changes_nothing():
  frames = _frames()
  same = vocoder.retime(frames, np.arange(40.0), np.random.default_rng(0))
  for a, b in zip(dataclasses.astuple(frames), dataclasses.astuple(same), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_retiming_interpolates_and_redraws_only_repeated_phases():
  frames = dataclasses.replace(_frames(), f0_hz=np.linspace(100, 178, 40, dtype=np.float32))
  slow = vocoder.retime(frames, np.arange(0, 39, 0.5), np.random.default_rng(0))
  assert slow.num_frames == 78
  np.testing.assert_allclose(slow.f0_hz, np.linspace(100, 177, 78), rtol=1e-4)
  fresh = (slow.phi != 0).all(axis=0)
  assert 30 <= fresh.sum() <= 40 and not (slow.phi[:, ~fresh] != 0).any()


def test_lost_voice_comes_back_only_where_it_was_lost():
  frames = _frames()
  untouched = vocoder.revoice(frames, np.ones(40, bool))
  np.testing.assert_array_equal(untouched.harmonic, frames.harmonic)
  frames.residual[:, 25:35] = frames.harmonic[:, 25:35]
  frames.harmonic[:, 25:35] = -9
  frames.f0_hz[25:35] = 0
  made = vocoder.revoice(frames, np.ones(40, bool))
  np.testing.assert_allclose(made.f0_hz[26:34], 0.72 * 180, rtol=1e-5)
  assert (made.harmonic[100, 26:34] > frames.residual[100, 26:34]).all()  # 2 kHz, the formant
  assert (made.residual[100, 26:34] < frames.residual[100, 26:34] - 2).all()
  np.testing.assert_array_equal(made.harmonic[:, :24], frames.harmonic[:, :24])
  consonant = vocoder.revoice(frames, np.zeros(40, bool))
  np.testing.assert_array_equal(consonant.residual, frames.residual)


def test_synthesis_has_the_pitch_and_length_that_was_asked_for():
  from jaxtalk.speech.prosody import track_f0

  wave = vocoder.synthesise(_frames(600.0, 80, 250.0), np.random.default_rng(0))
  assert wave.shape == (80 * 300,) and wave.dtype == np.float32
  f0, _ = track_f0(wave, 24_000)
  assert np.median(f0[f0 > 0]) == pytest.approx(250.0, rel=0.01)


def _person(seed, age=6.0, gender="female"):
  return Person(seed=seed, age_years=age, gender=gender, ancestry=(0.0, 0.0, 1.0), face={}, look={})


@pytest.mark.parametrize("label", ["neutral", "happy", "sad", "angry", "surprised", "fearful", "disgusted"])
def test_every_speaker_lies_in_the_band_in_every_emotion(label):
  for age in (3.0, 7.5, 12.0, 40.0):
    for gender in ("female", "male"):
      norm = voice_norm(age, gender)
      for seed in range(40):
        speaker = speaker_of(_person(seed, age, gender), Emotion(label=label, intensity=1.0))
        assert norm.f0_low_hz < speaker.f0_hz < norm.f0_high_hz


def test_people_differ_and_stay_themselves():
  voices = [speaker_of(_person(seed), Emotion()) for seed in range(200)]
  f0 = np.array([v.f0_hz for v in voices])
  tract = np.array([v.tract_cm for v in voices])
  assert 0.02 < np.std(np.log(f0)) < 0.06 and 0.02 < np.std(np.log(tract)) < 0.04
  assert np.corrcoef(f0, tract)[0, 1] < -0.3  # bigger bodies, lower voices
  assert speaker_of(_person(3), Emotion()) == voices[3]


def test_norms_fall_with_age_and_part_at_puberty():
  girls = [voice_norm(age, "female") for age in range(3, 19)]
  boys = [voice_norm(age, "male") for age in range(3, 19)]
  for children in (girls, boys):
    assert all(a.f0_hz > b.f0_hz for a, b in zip(children, children[1:], strict=False))
    assert all(a.tract_cm < b.tract_cm for a, b in zip(children, children[1:], strict=False))
  assert all(abs(g.f0_hz / b.f0_hz - 1) < 0.05 for g, b in zip(girls[:9], boys[:9], strict=True))
  assert girls[-1].f0_hz > 1.5 * boys[-1].f0_hz

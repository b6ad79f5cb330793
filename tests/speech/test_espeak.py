"""The optional voice: exact phones in many languages, pitch in its band; a clear line when it is not installed."""

import functools

import numpy as np
import pytest
from speech_specs import make_spec

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.speech import phones as ph
from jaxtalk.speech import prosody
from jaxtalk.speech.norms import voice_norm
from jaxtalk.speech.voices import make_voice


@pytest.fixture
def installed():
  pytest.importorskip("espeakng_loader")


@functools.cache
def speak(name, text, **choices):
  return make_voice(name).speak(make_spec(text, voice=name, **choices))


def _check(speech):
  assert speech.phones[0].start == 0 and speech.phones[-1].end == pytest.approx(speech.duration)
  for a, b in zip(speech.phones, speech.phones[1:], strict=False):
    assert a.end == b.start and a.end > a.start
  for p in speech.phones:
    assert ph.viseme(p.symbol) in ph.VISEMES


def test_english_is_arpabet(installed):
  speech = speak("espeak", "Bobby can't chair it.")
  _check(speech)
  said = [p.symbol for p in speech.phones if not ph.is_silence(p.symbol)]
  assert said[:11] == ["B", "AA1", "B", "IY0", "K", "AE1", "N", "T", "CH", "EH1", "R"]
  assert [w.text for w in speech.words] == ["Bobby", "can't", "chair", "it"]


@pytest.mark.parametrize(
  ("language", "text", "wanted"),
  [
    ("de", "Öl ist gelb und süß.", "øːlɪstɡɛlp"),
    ("fr", "Bonjour, mon ami.", "bɔ̃ʒuʁ"),
    ("ru", "Привет, мама!", "mɑma"),
    ("es", "Buenos días, amigo.", "amiɣo"),
  ],
)
def test_other_languages_are_ipa(installed, language, text, wanted):
  speech = speak(f"espeak:{language}", text, language=language)
  _check(speech)
  assert speech.language == language and speech.voice == f"espeak:{language}"
  assert wanted in "".join(p.symbol for p in speech.phones).replace("SIL", "").replace("ˈ", "").replace("ˌ", "")


@pytest.mark.parametrize(("age", "gender"), [(4.0, "female"), (9.0, "male"), (30.0, "female"), (30.0, "male")])
def test_pitch_lies_in_the_band(installed, age, gender):
  speech = speak("espeak", "The hungry puppy jumped over the fence and ran away.", age=age, gender=gender)
  f0, _ = prosody.track_f0(speech.waveform, speech.sample_rate)
  norm = voice_norm(age, gender)
  assert norm.f0_low_hz <= np.median(f0[f0 > 0]) <= norm.f0_high_hz


def test_closures_are_where_the_events_say(installed):
  speech = speak("espeak", "Papa popped a happy puppy up.")
  found = prosody.features(speech.waveform, speech.sample_rate, 200, int(speech.duration * 200))

  def level(wanted):
    middles = [int(100 * (p.start + p.end)) for p in speech.phones[1:-1] if wanted(p.symbol)]
    return np.median(found.loudness_db[middles])

  assert level(lambda s: ph.is_vowel(s)) > level(ph.is_bilabial) + 6


def test_same_seed_same_bytes(installed):
  one, again = (make_voice("espeak").speak(make_spec("A red ball.", voice="espeak")) for _ in range(2))
  assert one.waveform.tobytes() == again.waveform.tobytes() and one.phones == again.phones


def test_unknown_language(installed):
  with pytest.raises(InputError, match="no language 'xx'"):
    make_voice("espeak:xx")


def test_not_installed(tmp_path, monkeypatch):
  (tmp_path / "espeakng_loader.py").write_text("raise ImportError('not here', name='espeakng_loader')")
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  with pytest.raises(MissingAssetError, match=r"pip install 'jaxtalk\[espeak\]'"):
    make_voice("espeak:de")

"""The optional voice: exact phones in many languages, pitch in its band; a clear line when it is not installed."""

import functools

import numpy as np
import pytest
from speech_specs import make_spec

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.speech import espeak_times, prosody
from jaxtalk.speech import phones as ph
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


RATE = 1000  # samples a second of the made-up takes below: a sample is a millisecond


def _take(*pieces):
  """A waveform of (milliseconds, is sound)."""
  return np.concatenate([np.full(length, 0.1 * sound, np.float32) for length, sound in pieces])


def test_a_stop_begins_with_its_closure():
  wave = _take((100, 1), (50, 0), (30, 1), (120, 1))  # the event comes with the burst
  events = [("a", 0), ("p", 150), ("ˈa", 180)]
  assert espeak_times.placed(wave, RATE, events, 150) == [("a", 0), ("p", 100), ("ˈa", 180)]


def test_a_stop_after_a_pause_takes_a_closure_of_it():
  wave = _take((100, 1), (300, 0), (30, 1), (50, 1))
  events = [("a", 0), ("_:", 100), ("b", 400), ("a", 430)]
  assert espeak_times.placed(wave, RATE, events, 150)[2] == ("b", 330)


def test_a_long_silence_before_a_stop_is_not_all_closure():
  wave = _take((100, 1), (300, 0), (80, 1))
  assert espeak_times.placed(wave, RATE, [("a", 0), ("t", 400)], 150)[1] == ("t", 330)


def test_a_vowel_begins_before_its_event_after_a_nasal_and_nowhere_else():
  events = [("m", 0), ("a", 100), ("s", 200), ("o", 300)]
  wave = _take((400, 1))
  assert espeak_times.placed(wave, RATE, events, 100) == [("m", 0), ("a", 80), ("s", 200), ("o", 300)]
  assert espeak_times.placed(wave, RATE, [("m", 0), ("a", 20)], 100)[1] == ("a", 15)  # something is left to the nasal


def test_a_sound_without_a_name_is_no_pause():
  wave = _take((150, 1), (100, 0), (50, 1))
  events = [("i", 0), ("", 60), ("a", 100), ("", 150), ("s", 250)]
  assert [name for name, _ in espeak_times.placed(wave, RATE, events, 150)] == ["i", "a", "", "s"]


def test_a_take_may_begin_with_a_stop():
  assert espeak_times.placed(_take((40, 0), (100, 1)), RATE, [("p", 40), ("a", 70)], 150) == [("p", -30), ("a", 70)]


@pytest.mark.parametrize(
  ("language", "text"), [("it", "La mamma compra pane, pepe e bambole."), ("ru", "Папа купил бабушке пампушку.")]
)
def test_closures_are_silent_until_the_burst(installed, language, text):
  speech = speak(f"espeak:{language}", text, language=language, age=30.0)
  pops = [p for p in speech.phones if ph.is_bilabial(p.symbol) and not ph.is_voiced(p.symbol)]
  assert len(pops) >= 4
  for p in pops:
    start, end = (round(t * speech.sample_rate) for t in (p.start + 0.005, p.end))
    closure, burst = np.split(np.abs(speech.waveform[start:end]), [(end - start) // 4])
    assert closure.max() < 0.01 < burst.max()


def test_other_speakers_of_a_language(installed):
  plain, other = (speak(name, "Guten Abend, Mama.", language="de") for name in ("espeak:de", "espeak:de+m5"))
  assert other.voice == "espeak:de+m5"
  assert [p.symbol for p in other.phones] == [p.symbol for p in plain.phones]
  assert not np.array_equal(plain.waveform[4800:9600], other.waveform[4800:9600])

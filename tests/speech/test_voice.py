"""The built-in voice: phones, words and pitch are where the sound says they are, for any age, from one seed."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
from speech_specs import make_spec

from jaxtalk.core import Emotion, InputError
from jaxtalk.speech import phones as ph
from jaxtalk.speech import prosody
from jaxtalk.speech.network import AHEAD, DURATIONS, network, with_output
from jaxtalk.speech.norms import voice_norm
from jaxtalk.speech.voices import LEAD, TAIL, make_voice

TEXT = "Bobby popped a big purple balloon, and then Fiona's mother saw six shiny fish!"


@functools.cache
def speak(text=TEXT, **choices):
  return make_voice("hibari").speak(make_spec(text, **choices))


def test_the_graph_gets_one_more_output_and_stays_valid():
  onnx = pytest.importorskip("onnx")
  original = network().model_path.read_bytes()
  model = onnx.load_from_string(with_output(original, DURATIONS))
  before = onnx.load_from_string(original)
  onnx.checker.check_model(model)
  assert [o.name for o in model.graph.output] == [*(o.name for o in before.graph.output), DURATIONS]
  assert model.graph.output[-1].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
  assert model.graph.node == before.graph.node and model.graph.initializer == before.graph.initializer


def test_a_hand_made_field_longer_than_127_bytes_is_encoded_right():
  onnx = pytest.importorskip("onnx")
  name = "/" + "long" * 60
  assert onnx.load_from_string(with_output(b"", name)).graph.output[0].name == name


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.3])
def test_durations_add_up_to_the_frames(speed):
  frames, ends = network().run("bˈɑbi pˈɑpt.", speed)
  assert len(ends) == len("bˈɑbi pˈɑpt.") + 2 and (np.diff(ends) >= 2).all()
  assert ends[-1] + AHEAD == frames.num_frames


def test_phones_cover_the_speech_without_gap_or_overlap():
  speech = speak()
  assert speech.phones[0].start == 0.0
  assert speech.phones[-1].end == pytest.approx(speech.duration, abs=1e-9)
  for a, b in zip(speech.phones, speech.phones[1:], strict=False):
    assert a.end == b.start and a.end > a.start
    assert not (ph.is_silence(a.symbol) and ph.is_silence(b.symbol))
  assert all(p.end - p.start >= 0.0149 for p in speech.phones)


def test_phones_are_those_of_the_words():
  speech = speak()
  said = [p.symbol for p in speech.phones if not ph.is_silence(p.symbol)]
  assert said[:8] == ["B", "AA1", "B", "IY0", "P", "AA1", "P", "T"]
  assert all(s == "SIL" or ph.is_arpabet(s) for s in (p.symbol for p in speech.phones))
  assert [w.text for w in speech.words][:6] == ["Bobby", "popped", "a", "big", "purple", "balloon"]
  assert "Fiona's" in [w.text for w in speech.words]
  for a, b in zip(speech.words, speech.words[1:], strict=False):
    assert a.start < a.end <= b.start + 1e-9


def test_the_comma_is_a_silence_and_the_ends_are_short():
  speech = speak()
  silences = [p for p in speech.phones if ph.is_silence(p.symbol)]
  word = {w.text: w for w in speech.words}
  assert any(word["balloon"].end <= s.start + 1e-6 and s.end <= word["and"].start + 1e-6 for s in silences)
  assert silences[0].start == 0 and silences[0].end <= LEAD + 0.15
  assert silences[-1].end - silences[-1].start <= TAIL + 0.2


@pytest.mark.parametrize("age", [6.0, 11.0, 30.0])
def test_phones_sound_like_what_they_are(age):
  """Vowels are loud, closures quiet, hisses high: at the phones' own middles, not somewhere near."""
  speech = speak(age=age)
  found = prosody.features(speech.waveform, speech.sample_rate, 200, int(speech.duration * 200))

  def at(field, wanted):
    middles = [int(100 * (p.start + p.end)) for p in speech.phones if wanted(p.symbol)]
    return np.array([getattr(found, field)[m] for m in middles])

  vowels = at("loudness_db", lambda s: ph.is_vowel(s) and not s.endswith("0"))
  assert np.median(vowels) > np.median(at("loudness_db", ph.is_silence)) + 25
  assert np.median(vowels) > np.median(at("loudness_db", ph.is_bilabial)) + 6
  hisses = at("fricative_db", ph.is_sibilant) - at("low_db", ph.is_sibilant)
  assert (hisses > 0).mean() >= 0.9
  assert (at("f0_hz", lambda s: ph.is_vowel(s) and not s.endswith("0")) > 0).mean() >= 0.8


@pytest.mark.parametrize("gender", ["female", "male"])
@pytest.mark.parametrize("age", [3.0, 5.0, 8.0, 12.0, 30.0])
def test_median_pitch_lies_in_the_band_of_age_and_gender(age, gender):
  speech = speak(age=age, gender=gender, seed=7)
  f0, _ = prosody.track_f0(speech.waveform, speech.sample_rate)
  norm = voice_norm(age, gender)
  assert norm.f0_low_hz <= np.median(f0[f0 > 0]) <= norm.f0_high_hz
  contour = speech.f0_hz[speech.f0_hz > 0]
  assert np.median(contour) == pytest.approx(speech.meta["f0_requested_hz"], rel=0.01)


def test_the_contour_is_that_of_the_sound():
  speech = speak()
  heard, _ = prosody.track_f0(speech.waveform, speech.sample_rate, hop=speech.f0_hop)
  told = speech.f0_hz[: len(heard)]
  heard = heard[: len(told)]
  both = (heard > 0) & (told > 0)
  assert both.mean() > 0.3
  assert np.median(np.abs(np.log(heard[both] / told[both]))) < 0.02


def test_formants_follow_the_vocal_tract():
  """The average spectrum of a child, read on a frequency axis divided by the requested scale, is the woman's."""
  child, woman = speak(age=5.0, seed=3), speak(age=30.0, seed=3)
  octaves = np.arange(0, 3, 0.02)

  def envelope(speech):
    power = np.zeros(1025)
    for p in speech.phones:
      if ph.is_vowel(p.symbol):
        piece = speech.waveform[int(p.start * 24_000) : int(p.end * 24_000)]
        power += np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 2048)) ** 2 / len(piece)
    smooth = np.convolve(np.log(power), np.hanning(61) / np.hanning(61).sum(), mode="same")
    curve = np.interp(600 * 2**octaves, np.fft.rfftfreq(2048, 1 / 24_000), smooth)
    return curve - np.polyval(np.polyfit(octaves, curve, 2), octaves)

  a, b = envelope(child), envelope(woman)
  shifts = np.arange(-10, 40)
  score = [np.corrcoef(a[max(s, 0) : len(a) + min(s, 0)], b[max(-s, 0) : len(b) - max(s, 0)])[0, 1] for s in shifts]
  measured = 2 ** (shifts[int(np.argmax(score))] * 0.02)
  requested = child.meta["formant_scale"] / woman.meta["formant_scale"]
  assert requested > 1.15
  assert measured == pytest.approx(requested, rel=0.05)


def test_younger_children_speak_more_slowly():
  def rate(age):
    speech = speak(age=age, seed=2)
    spoken = [p for p in speech.phones if not ph.is_silence(p.symbol)]
    return sum(ph.is_vowel(p.symbol) for p in spoken) / sum(p.end - p.start for p in spoken)

  rates = [rate(a) for a in (3.0, 5.0, 8.0, 30.0)]
  assert rates == sorted(rates) and rates[0] < 0.88 * rates[-1]


def test_same_seed_same_bytes_and_other_seeds_differ():
  voice = make_voice("hibari")
  one, again = (voice.speak(make_spec("A red ball.", seed=5)) for _ in range(2))
  other_time = voice.speak(make_spec("A red ball.", seed=6, person_seed=5))
  other_person = voice.speak(make_spec("A red ball.", seed=5, person_seed=6))
  assert one.waveform.tobytes() == again.waveform.tobytes()
  assert one.phones == again.phones and one.meta == again.meta
  assert one.waveform.tobytes() != other_time.waveform.tobytes()
  assert one.meta["f0_requested_hz"] == other_time.meta["f0_requested_hz"]  # the same child on another day
  assert one.meta["f0_requested_hz"] != other_person.meta["f0_requested_hz"]
  assert one.meta["vocal_tract_cm"] != other_person.meta["vocal_tract_cm"]


def test_emotion_colours_the_voice_within_its_band():
  def median_and_rate(label):
    speech = speak(age=6.0, seed=4, emotion=Emotion(label=label, intensity=1.0))
    return speech.meta["f0_requested_hz"], speech.duration

  (happy, quick), (sad, slow) = median_and_rate("happy"), median_and_rate("sad")
  norm = voice_norm(6.0, "female")
  assert happy > sad and quick < slow
  assert norm.f0_low_hz <= sad < happy <= norm.f0_high_hz


def test_level_and_peaks():
  for age in (4.0, 30.0):
    wave = speak(age=age).waveform
    assert wave.dtype == np.float32 and np.abs(wave).max() <= 0.9501
    active = np.abs(wave) > 0.01
    assert -27 < 20 * np.log10(np.sqrt(np.mean(wave[active] ** 2))) < -17


def test_several_sentences_and_numbers():
  speech = speak("It's 3 o'clock. I have 12 cookies! Do you want one?")
  assert [w.text for w in speech.words] == [
    "It's",
    "3",
    "o'clock",
    "I",
    "have",
    "12",
    "cookies",
    "Do",
    "you",
    "want",
    "one",
  ]
  inner = [p for p in speech.phones[1:-1] if ph.is_silence(p.symbol)]
  assert len(inner) == 2 and all(0.25 < p.end - p.start < 0.8 for p in inner)


def test_a_sentence_longer_than_the_network_takes():
  text = " ".join(["the little dog ran after the yellow ball,"] * 11)
  speech = speak(text)
  assert len(speech.words) == 88 and 20 < speech.duration < 50


def test_phonemes_cannot_be_smuggled_in_past_the_text_check():
  assert [p.symbol for p in speak("[cat](/dˈɔɡ/)").phones[1:4]] == ["K", "AE1", "T"]


@pytest.mark.parametrize("text", ["A.", "Oh!", "Mmm.", "I"])
def test_very_short_texts(text):
  speech = speak(text)
  assert any(not ph.is_silence(p.symbol) for p in speech.phones) and len(speech.words) == 1
  assert np.isfinite(speech.waveform).all()


@pytest.mark.parametrize(
  ("choices", "reason"),
  [
    ({"text": ""}, "empty"),
    ({"text": None}, "empty"),
    ({"text": "Hi 😀"}, "GRINNING FACE"),
    ({"text": "Привет"}, "CYRILLIC"),
    ({"text": "a" * 10_000}, "10000 characters"),
    ({"text": "hi", "language": "de"}, "English only"),
    ({"text": "hi", "age": 200.0}, "age 200 is outside 3 to 80"),
    ({"text": "hi", "age": float("nan")}, "age nan"),
    ({"text": "hi", "gender": "robot"}, "neither 'female' nor 'male'"),
    ({"text": "hi", "emotion": Emotion(label="bored", intensity=0.5)}, "emotion 'bored' is not one of"),
    ({"text": "I will kill you"}, "violence"),
  ],
)
def test_bad_requests(choices, reason):
  with pytest.raises(InputError, match=reason) as caught:
    make_voice("hibari").speak(make_spec(**choices))
  assert "\n" not in str(caught.value)


def test_unknown_voices_name_the_nearest():
  with pytest.raises(InputError, match="did you mean 'hibari'"):
    make_voice("hibary")


def test_importing_the_room_loads_neither_network_nor_jax():
  code = (
    "import sys; import jaxtalk.speech.voices, jaxtalk.speech.audio, jaxtalk.speech.text, jaxtalk.speech.espeak;"
    "heavy = {'onnxruntime', 'hibari', 'jax', 'librosa', 'scipy', 'av', 'soundfile'} & set(sys.modules);"
    "assert not heavy, heavy"
  )
  env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
  subprocess.run([sys.executable, "-c", code], check=True, env=env)

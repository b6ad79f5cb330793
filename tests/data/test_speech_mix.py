"""Speech of many voices for training: the cache, what is held out, what happens without eSpeak NG."""

import dataclasses

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.data import foreign, speech_mix
from jaxtalk.data.spoken import draw_age
from jaxtalk.speech import phones as ph
from jaxtalk.speech.text import check_text


def test_made_once_and_the_same_again(tmp_path):
  pytest.importorskip("espeakng_loader")
  said = []
  mix = speech_mix.SpeechMix(builtin=1, espeak=2, seed=4)
  made = mix.load(tmp_path, said.append)
  again = mix.load(tmp_path, said.append)
  assert len(said) == 2
  for a, b in zip(made, again, strict=True):
    np.testing.assert_array_equal(a.waveform, b.waveform)
    assert dataclasses.replace(a, waveform=b.waveform) == b
    assert a.sample_rate == 16000 and a.phones[-1].end == pytest.approx(a.duration, abs=0.01)
  assert [s.meta["voice"].split("+")[0] for s in made] == ["hibari", *(f"espeak:{x}" for x in foreign.LANGUAGES[:2])]
  assert len({s.meta["age_years"] for s in made}) == 3
  assert len(speech_mix.SpeechMix(builtin=1, espeak=0, seed=4).load(tmp_path, said.append)) == 1 and len(said) == 2


def test_many_at_once_are_as_one_by_one():
  pytest.importorskip("espeakng_loader")
  from jaxtalk.speech.espeak import EspeakVoice, speak_all

  mix = speech_mix.SpeechMix(builtin=0, espeak=2, seed=1)
  jobs = []
  for i, language in enumerate(("de", "it")):
    spec = mix._spec(np.random.default_rng(i), i, "Mama, papa.", language)
    jobs.append((EspeakVoice("+m2", 1.1, 40), spec))
  for (voice, spec), speech in zip(jobs, speak_all(jobs), strict=True):
    alone = voice.speak(spec)
    assert alone.phones == speech.phones and alone.waveform.tobytes() == speech.waveform.tobytes()


def test_without_espeak_one_line_and_the_rest(tmp_path, monkeypatch):
  (tmp_path / "espeakng_loader.py").write_text("raise ImportError('not here', name='espeakng_loader')")
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  said = []
  assert speech_mix.SpeechMix(builtin=0, espeak=3, seed=0).load(tmp_path, said.append) == []
  assert len(said) == 1 and "without the 3 utterances" in said[0] and "jaxtalk[espeak]" in said[0]


def test_what_is_held_out_is_never_trained_on():
  held, train = speech_mix.held_out(1, 1, 1), speech_mix.SpeechMix(builtin=1, espeak=1, seed=0)
  assert not set(held.languages) & set(train.languages) and not set(held.variants) & set(train.variants)
  ages = [draw_age(np.random.default_rng(i), train) for i in range(300)]
  assert min(abs(age - other) for age in ages for other in speech_mix.HELD_OUT_AGES) >= 0.5
  assert {draw_age(np.random.default_rng(i), held) for i in range(40)} == set(speech_mix.HELD_OUT_AGES)
  paces = [train._tempo(np.random.default_rng(i)) for i in range(300)]
  assert 0.75 <= min(paces) < 0.8 and 1.3 < max(paces) <= 1.4


@pytest.mark.parametrize("language", foreign.WORDS)
def test_every_language_can_be_said(language):
  texts = foreign.utterances(language, 3, 40)
  assert len(set(texts)) > 30 and texts == foreign.utterances(language, 3, 40)
  for text in texts:
    check_text(text, language, child=True)


def test_espeak_names_a_sound_for_every_word(tmp_path):
  pytest.importorskip("espeakng_loader")
  from jaxtalk.speech.espeak_process import Engine

  engine = Engine()
  for language in foreign.WORDS:
    text = " ".join(foreign.WORDS[language]) or foreign.utterances(language, 0, 1)[0]
    take = engine.speak(text, engine.name_of(language), words_per_minute=300, pitch=50, spread=50, seed=1)
    names = [name for name, _ in take.phones if not ph.is_silence(name.strip())]
    known = [name for name in names if name != "ʲ" and ph.visemes(name)]  # KeyError for a sound that is unknown
    assert sum(map(ph.is_bilabial, known)) >= (0.1 * len(known) if foreign.WORDS[language] else 0)


def test_a_language_without_words():
  with pytest.raises(InputError, match="no word list of language 'xx'"):
    foreign.utterances("xx", 0, 1)

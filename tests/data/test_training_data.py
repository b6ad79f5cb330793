"""Sentences and the cache of spoken utterances that training reads."""

import dataclasses

import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.data import sentences, spoken
from jaxtalk.speech.text import unfit


def test_sentences_are_many_different_seeded_and_fit_for_children():
  first = sentences.sentences(0, 500)
  assert len(set(first)) == 500
  assert first[:100] == sentences.sentences(0, 100)
  assert len(set(first) & set(sentences.sentences(1, 500))) < 10
  assert not any(unfit(text) for text in first)
  assert not any(mark in text for text in first for mark in "{}_-")
  assert all(text[0].isupper() and text[-1] in ".?!" for text in first)
  assert sum(map(len, sentences.WORDS.values())) > 600


@pytest.mark.parametrize(
  ("text", "fixed"),
  [
    ("A owl and a unicorn.", "An owl and a unicorn."),
    ("I see a ant.", "I see an ant."),
    ("a used apple", "a used apple"),
    ("a big egg", "a big egg"),
  ],
)
def test_articles(text, fixed):
  assert sentences._article(text) == fixed


def test_spoken_sets_are_made_once_and_come_back_the_same(tmp_path):
  said = []
  chosen = spoken.SpokenSet(count=2, seed=5, ages=(4.0, 9.0))
  made = chosen.load(tmp_path, said.append)
  again = chosen.load(tmp_path, said.append)
  assert len(said) == 1 and "1 to 2 of 2" in said[0]
  for a, b in zip(made, again, strict=True):
    np.testing.assert_array_equal(a.waveform, b.waveform)
    assert dataclasses.replace(a, waveform=b.waveform) == b
    assert a.sample_rate == 16000 and a.waveform.dtype == np.float32 and np.abs(a.waveform).max() > 0.1
    assert a.phones[0].start == 0.0 and a.phones[-1].end == pytest.approx(a.duration, abs=0.01)
    assert 4.0 <= a.meta["age_years"] <= 9.0
  assert [s.text for s in made] == sentences.sentences(5, 2)


def test_held_out_ages_never_occur():
  chosen = spoken.SpokenSet(count=1, seed=0, ages=(3.0, 13.0), without=(5.0, 8.0, 11.0))
  ages = [chosen._person(i).age_years for i in range(300)]
  assert min(ages) >= 3.0 and max(ages) <= 13.0
  assert all(abs(age - held) >= 0.5 for age in ages for held in (5.0, 8.0, 11.0))
  only = spoken.SpokenSet(count=1, seed=0, only=(5.0, 8.0))
  assert {only._person(i).age_years for i in range(50)} == {5.0, 8.0}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "x").write_text("")
  with pytest.raises(InputError, match="cannot write the training data to"):
    spoken.SpokenSet(count=1, seed=0).load(tmp_path / "x")

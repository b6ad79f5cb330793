"""Boundaries in made-up sounds, where they are known; and phones from the voice's alphabet, character by character."""

import string

import numpy as np
import pytest

from jaxtalk.speech.alignment import Window, align
from jaxtalk.speech.network import MAX_IDS, Token
from jaxtalk.speech.pronunciation import phrases

RATE = 24_000
_RNG = np.random.default_rng(0)


def _sound(kind, seconds):
  n = round(seconds * RATE)
  t = np.arange(n) / RATE
  if kind == "vowel":
    return sum(
      np.sin(2 * np.pi * 200 * h * t + h) * a for h, a in ((1, 0.1), (2, 0.15), (4, 0.15), (7, 0.1), (13, 0.03))
    )
  if kind == "hiss":
    return 0.05 * np.diff(np.diff(_RNG.standard_normal(n + 2)))
  if kind == "hum":
    return 0.05 * np.sin(2 * np.pi * 200 * t)
  return 1e-5 * _RNG.standard_normal(n)


def test_known_boundaries_are_found_although_windows_are_off():
  plan = [("silence", 0.2), ("hiss", 0.12), ("vowel", 0.1), ("closure", 0.08), ("vowel", 0.1), ("hum", 0.09)]
  plan += [("vowel", 0.11), ("silence", 0.25)]
  wave = np.concatenate([_sound(kind, seconds) for kind, seconds in plan])
  edges = np.cumsum([seconds for _, seconds in plan])[:-1]
  off = [0.0, 0.02, -0.02, 0.015, -0.015, 0.02, 0.0]
  windows = [Window(0.0, edges[0], True)]
  windows += [Window(edge + o, edge + o) for edge, o in zip(edges[1:-1], off[1:-1], strict=True)]
  windows += [Window(edges[-1], len(wave) / RATE, True)]
  found = align(wave, RATE, ["S", "AA1", "P", "IY0", "M", "AH0"], windows)
  assert [p.symbol for p in found] == ["SIL", "S", "AA1", "P", "IY0", "M", "AH0", "SIL"]
  np.testing.assert_allclose([p.end for p in found[:-1]], edges, atol=0.0101)
  assert found[-1].end == pytest.approx(len(wave) / RATE)


def test_a_pause_is_a_silence_only_if_it_is_quiet():
  spoken = np.concatenate([_sound("silence", 0.1), _sound("vowel", 0.2), _sound("hum", 0.2), _sound("silence", 0.1)])
  windows = [Window(0.0, 0.1, True), Window(0.28, 0.32, True), Window(0.5, 0.6, True)]
  assert [p.symbol for p in align(spoken, RATE, ["AA1", "M"], windows)] == ["SIL", "AA1", "M", "SIL"]
  parts = [("silence", 0.1), ("vowel", 0.15), ("silence", 0.15), ("hum", 0.1), ("silence", 0.1)]
  broken = np.concatenate([_sound(kind, seconds) for kind, seconds in parts])
  windows = [Window(0.0, 0.1, True), Window(0.25, 0.40, True), Window(0.5, 0.6, True)]
  found = align(broken, RATE, ["AA1", "M"], windows)
  assert [p.symbol for p in found] == ["SIL", "AA1", "SIL", "M", "SIL"]
  assert found[2].start == pytest.approx(0.25, abs=0.015) and found[2].end == pytest.approx(0.40, abs=0.015)


def test_lips_close_before_a_burst_after_a_pause():
  parts = [("silence", 0.1), ("vowel", 0.15), ("silence", 0.3), ("vowel", 0.1), ("silence", 0.1)]
  wave = np.concatenate([_sound(kind, seconds) for kind, seconds in parts])
  windows = [Window(0, 0.1, True), Window(0.25, 0.5, True), Window(0.55, 0.56), Window(0.65, 0.75, True)]
  stop = align(wave, RATE, ["AA1", "P", "AA1"], windows)[3]
  assert (
    stop.symbol == "P" and stop.start == pytest.approx(0.49, abs=0.02) and stop.end == pytest.approx(0.55, abs=0.02)
  )


def test_more_phones_than_room_are_still_in_order():
  wave = np.concatenate([_sound("silence", 0.1), _sound("vowel", 0.05), _sound("silence", 0.1)])
  symbols = ["T", "AA1"] * 6
  windows = [
    Window(0, 0.1, True),
    *[Window(0.1 + 0.004 * i, 0.1 + 0.004 * i) for i in range(1, 12)],
    Window(0.15, 0.25, True),
  ]
  found = [p for p in align(wave, RATE, symbols, windows) if p.symbol != "SIL"]
  assert [p.symbol for p in found] == symbols
  assert all(a.end == b.start and a.end > a.start for a, b in zip(found, found[1:], strict=False))


VOCABULARY = {c: i + 1 for i, c in enumerate(string.ascii_letters + "ˈˌːəɜɹɪŋðʃʤʧɑɛ .,!?;:—'")}


def _symbols(phrase):
  return [unit.symbol for unit in phrase.units]


def test_stress_and_r_coloured_vowels():
  (phrase,) = phrases(
    [[Token("birder", "bˈɜɹdəɹ", True), Token("join", "ʤˌYn", False), Token(".", ".", False)]], VOCABULARY
  )
  assert _symbols(phrase) == ["B", "ER1", "D", "ER0", "JH", "OY2", "N"]
  assert phrase.characters == "bˈɜɹdəɹ ʤˌYn."
  er = phrase.units[1]
  assert phrase.characters[er.first : er.last + 1] == "ɜɹ"
  assert phrase.words == ("birder", "join") and [u.word for u in phrase.units] == [0, 0, 0, 0, 1, 1, 1]


def test_tokens_without_a_blank_between_are_one_word():
  tokens = [Token("do", "dˈO", False), Token("n't", "nt", True), Token('"', "", False), Token("sing", "sˈɪŋ", False)]
  (phrase,) = phrases([tokens], VOCABULARY)
  assert phrase.words == ("don't", "sing")
  assert _symbols(phrase) == ["D", "OW1", "N", "T", "S", "IH1", "NG"]


def test_sentences_without_phones_vanish():
  assert phrases([[Token("...", ".", False)], []], VOCABULARY) == []


def test_a_long_sentence_is_cut_after_punctuation_and_nothing_is_lost():
  tokens = [Token(f"la{i}", "lɑlɑ" + ("," if i % 7 == 0 else ""), True) for i in range(200)]
  made = phrases([tokens], VOCABULARY)
  assert len(made) > 1 and all(len(p.characters) <= MAX_IDS - 2 for p in made)
  assert [w for p in made for w in p.words] == [t.text for t in tokens]
  assert all(p.characters.endswith(",") for p in made[:-1])

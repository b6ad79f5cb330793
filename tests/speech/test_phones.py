"""Phones: tables are complete and consistent; ARPABET and IPA agree on what the face does."""

import pytest

from jaxtalk.speech import phones

CMU = (
  "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)  # the CMU Pronouncing Dictionary's 39


def test_every_cmu_phone_is_known_and_visemes_are_the_fifteen():
  assert set(CMU) <= set(phones.ARPABET)
  assert len(phones.VISEMES) == 15
  for symbol in CMU:
    assert set(phones.visemes(symbol)) <= set(phones.VISEMES)
    assert phones.manner(symbol) in phones.MANNERS


def test_all_fifteen_visemes_are_used():
  used = {v for symbol in (*CMU, "SIL") for v in phones.visemes(symbol)}
  assert used == set(phones.VISEMES)


@pytest.mark.parametrize("symbol", CMU)
def test_ipa_and_arpabet_agree(symbol):
  ipa = phones.arpabet_to_ipa(symbol)
  assert phones.visemes(ipa) == phones.visemes(symbol)
  assert phones.manner(ipa) == phones.manner(symbol)
  assert phones.is_voiced(ipa) == phones.is_voiced(symbol)
  assert phones.is_rounded(ipa) == phones.is_rounded(symbol)


@pytest.mark.parametrize("symbol", [s + d for s in CMU if phones.is_vowel(s) for d in "012"])
def test_vowels_survive_the_round_trip_with_their_stress(symbol):
  assert phones.ipa_to_arpabet(phones.arpabet_to_ipa(symbol)) == symbol


def test_classes():
  assert [s for s in CMU if phones.is_bilabial(s)] == ["B", "M", "P"]
  assert [s for s in CMU if phones.is_labiodental(s)] == ["F", "V"]
  assert [s for s in CMU if phones.is_diphthong(s)] == ["AW", "AY", "EY", "OW", "OY"]
  assert [s for s in CMU if phones.is_sibilant(s)] == ["CH", "JH", "S", "SH", "Z", "ZH"]
  assert [s for s in CMU if phones.is_nasal(s)] == ["M", "N", "NG"]
  voiceless = [s for s in CMU if not phones.is_voiced(s)]
  assert voiceless == ["CH", "F", "HH", "K", "P", "S", "SH", "T", "TH"]


@pytest.mark.parametrize(
  ("symbol", "expected"),
  [
    ("aɪ", ("aa", "I")),
    ("ˈɔʏ", ("O", "U")),
    ("t͡s", ("SS",)),
    ("pf", ("PP", "FF")),
    ("ɑ̃", ("aa",)),
    ("ç", ("kk",)),
    ("tʲ", ("DD",)),
    ("uː", ("U",)),
  ],
)
def test_ipa_of_other_languages(symbol, expected):
  assert phones.visemes(symbol) == expected


def test_bilabial_fricatives_do_not_close_the_lips():
  assert phones.is_bilabial("p") and phones.is_bilabial("mː")
  assert not phones.is_bilabial("β") and not phones.is_bilabial("ɸ")
  assert not phones.is_labiodental("ʋ")


@pytest.mark.parametrize("symbol", ["SIL", "sp", "", "_:", "spn"])
def test_silences(symbol):
  assert phones.is_silence(symbol)
  assert phones.visemes(symbol) == ("sil",)
  assert not phones.is_vowel(symbol) and not phones.is_voiced(symbol) and not phones.is_bilabial(symbol)


def test_stress_digit_marks_the_schwa():
  assert phones.viseme("AH0") == "E" and phones.viseme("AH1") == "aa"
  assert phones.stress("AH1") == 1 and phones.stress("B") is None and phones.stress("ˌa") == 2


def test_unknown_symbols_are_errors():
  with pytest.raises(KeyError, match="neither ARPABET nor IPA"):
    phones.viseme("☃")
  with pytest.raises(KeyError, match="not ARPABET"):
    phones.arpabet_to_ipa("XX")

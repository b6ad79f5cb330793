"""Phones and what they do to the face: ARPABET, IPA, and the fifteen Oculus visemes.

A symbol is ARPABET when it is upper-case ASCII ("AH0", "SIL", "CH"; the CMU Pronouncing Dictionary's 39 phones plus a
few reduced ones) and IPA otherwise ("t͡ʃ", "ɑː", "ˈə"). Every function takes both; stress, length and most diacritics
do not matter. A symbol without a single letter that the tables know raises KeyError.

Visemes are the fifteen of the Oculus LipSync reference (sil PP FF TH DD kk CH SS nn RR aa E I O U; Meta also writes the
last three ih oh ou). /h/ has no mouth shape of its own and goes with the relaxed, slightly open "kk"; the velar nasal
is "kk" too, because the tongue tip stays down.
"""

from __future__ import annotations

import functools
import unicodedata

VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U")
SILENCE = "SIL"
SILENCES = frozenset({SILENCE, "SP", "SPN", "PAU", "", "_", "_:", "#"})

# ARPABET -> (IPA, manner, visemes in order of time). Manner is one of MANNERS.
MANNERS = ("silence", "vowel", "glide", "liquid", "nasal", "stop", "affricate", "fricative")
_ARPABET: dict[str, tuple[str, str, tuple[str, ...]]] = {
  "AA": ("ɑ", "vowel", ("aa",)),
  "AE": ("æ", "vowel", ("aa",)),
  "AH": ("ʌ", "vowel", ("aa",)),
  "AX": ("ə", "vowel", ("E",)),
  "AO": ("ɔ", "vowel", ("O",)),
  "AW": ("aʊ", "vowel", ("aa", "U")),
  "AY": ("aɪ", "vowel", ("aa", "I")),
  "EH": ("ɛ", "vowel", ("E",)),
  "ER": ("ɝ", "vowel", ("RR",)),
  "AXR": ("ɚ", "vowel", ("RR",)),
  "EY": ("eɪ", "vowel", ("E", "I")),
  "IH": ("ɪ", "vowel", ("I",)),
  "IX": ("ɨ", "vowel", ("I",)),
  "IY": ("i", "vowel", ("I",)),
  "OW": ("oʊ", "vowel", ("O", "U")),
  "OY": ("ɔɪ", "vowel", ("O", "I")),
  "UH": ("ʊ", "vowel", ("U",)),
  "UW": ("u", "vowel", ("U",)),
  "UX": ("ʉ", "vowel", ("U",)),
  "P": ("p", "stop", ("PP",)),
  "B": ("b", "stop", ("PP",)),
  "M": ("m", "nasal", ("PP",)),
  "EM": ("m̩", "nasal", ("PP",)),
  "F": ("f", "fricative", ("FF",)),
  "V": ("v", "fricative", ("FF",)),
  "TH": ("θ", "fricative", ("TH",)),
  "DH": ("ð", "fricative", ("TH",)),
  "T": ("t", "stop", ("DD",)),
  "D": ("d", "stop", ("DD",)),
  "DX": ("ɾ", "stop", ("DD",)),
  "Q": ("ʔ", "stop", ("kk",)),
  "K": ("k", "stop", ("kk",)),
  "G": ("ɡ", "stop", ("kk",)),
  "HH": ("h", "fricative", ("kk",)),
  "NG": ("ŋ", "nasal", ("kk",)),
  "CH": ("t͡ʃ", "affricate", ("CH",)),
  "JH": ("d͡ʒ", "affricate", ("CH",)),
  "SH": ("ʃ", "fricative", ("CH",)),
  "ZH": ("ʒ", "fricative", ("CH",)),
  "S": ("s", "fricative", ("SS",)),
  "Z": ("z", "fricative", ("SS",)),
  "N": ("n", "nasal", ("nn",)),
  "EN": ("n̩", "nasal", ("nn",)),
  "L": ("l", "liquid", ("nn",)),
  "EL": ("l̩", "liquid", ("nn",)),
  "R": ("ɹ", "liquid", ("RR",)),
  "W": ("w", "glide", ("U",)),
  "Y": ("j", "glide", ("I",)),
}
ARPABET = tuple(_ARPABET)

# IPA letters by (manner, viseme): the whole pulmonic chart, grouped by what can be seen of them.
_IPA_GROUPS: tuple[tuple[str, str, str], ...] = (
  ("vowel", "aa", "aɑɐʌɒæɶ"),
  ("vowel", "E", "eɛεəɜɘɤᵻ"),  # the second is a Greek epsilon, as eSpeak NG has it in Danish
  ("vowel", "RR", "ɚɝ"),
  ("vowel", "I", "iɪɨɯ"),
  ("vowel", "O", "oɔɵœɞø"),
  ("vowel", "U", "uʊʉyʏ"),
  ("stop", "PP", "pbɓ"),
  ("stop", "DD", "tdʈɖɗɾɽ"),
  ("stop", "kk", "kɡgqɢcɟɠʛʄʔʡ"),
  ("nasal", "PP", "m"),
  ("nasal", "FF", "ɱ"),
  ("nasal", "nn", "nɳɲ"),
  ("nasal", "kk", "ŋɴ"),
  ("fricative", "PP", "ɸβ"),
  ("fricative", "FF", "fvⱱ"),
  ("fricative", "TH", "θð"),
  ("fricative", "SS", "szɬɮ"),
  ("fricative", "CH", "ʃʒʂʐɕʑɧ"),
  ("fricative", "kk", "xɣçʝχʁħʕhɦʜʢ"),
  ("affricate", "CH", "ʧʤʨʥ"),
  ("affricate", "SS", "ʦʣ"),
  ("liquid", "PP", "ʙ"),
  ("liquid", "nn", "lɭʎʟɫɺ"),
  ("liquid", "RR", "ɹɻrʀ"),
  ("glide", "FF", "ʋ"),
  ("glide", "U", "wʍɥ"),
  ("glide", "I", "j"),
  ("glide", "kk", "ɰ"),
)
_IPA = {letter: (manner, vis) for manner, vis, letters in _IPA_GROUPS for letter in letters}
_ROUNDED_IPA = frozenset("ɒɶɔoɵœɞøuʊʉyʏwʍɥ")
_VOICELESS_IPA = frozenset("ptʈkqcʔʡɸfθsɬʃʂɕɧxçχħhʜʍʧʨʦ")
_ROUNDED_ARPABET = frozenset({"AO", "AW", "OW", "OY", "UH", "UW", "UX", "W"})
_STOP_OR_FRICATIVE = {"ʃ": "affricate", "ʒ": "affricate", "s": "affricate", "z": "affricate", "ʂ": "affricate"}


def is_arpabet(symbol: str) -> bool:
  """True for an ARPABET symbol, with or without a stress digit."""
  return base(symbol) in _ARPABET if symbol.isascii() else False


def is_silence(symbol: str) -> bool:
  """True for the silence and pause marks of the tools that we read."""
  return symbol.upper() in SILENCES


def base(symbol: str) -> str:
  """ARPABET without its stress digit; IPA is returned as it is."""
  return symbol.rstrip("012") if symbol.isascii() and symbol[:1].isupper() else symbol


def stress(symbol: str) -> int | None:
  """0 none, 1 primary, 2 secondary for a vowel that says so; None for consonants and unmarked symbols."""
  if symbol.isascii() and symbol[:1].isupper():
    return int(symbol[-1]) if symbol[-1] in "012" else None
  return 1 if "ˈ" in symbol else 2 if "ˌ" in symbol else None


@functools.lru_cache(maxsize=4096)
def _letters(symbol: str) -> tuple[str, ...]:
  """The IPA letters of a symbol that count, in order: no stress, length, tone or combining marks."""
  kept = tuple(c for c in unicodedata.normalize("NFD", symbol) if c in _IPA)
  # "ç" decomposes into c + cedilla; composed letters that are in the table themselves win.
  whole = tuple(c for c in unicodedata.normalize("NFC", symbol) if c in _IPA)
  kept = whole or kept
  if not kept:
    raise KeyError(f"phone {symbol!r} is neither ARPABET nor IPA")
  return kept


@functools.lru_cache(maxsize=4096)
def manner(symbol: str) -> str:
  """One of ``MANNERS``."""
  if is_silence(symbol):
    return "silence"
  if is_arpabet(symbol):
    return _ARPABET[base(symbol)][1]
  letters = _letters(symbol)
  first = _IPA[letters[0]][0]
  if first == "stop" and len(letters) > 1 and letters[1] in _STOP_OR_FRICATIVE:
    return "affricate"
  return first


@functools.lru_cache(maxsize=4096)
def visemes(symbol: str) -> tuple[str, ...]:
  """The visemes a phone passes through, in order of time: one, or two for a diphthong ("AY" -> aa, I)."""
  if is_silence(symbol):
    return ("sil",)
  if is_arpabet(symbol):
    if symbol == "AH0":  # CMU's schwa: the mouth hardly opens
      return ("E",)
    return _ARPABET[base(symbol)][2]
  letters = _letters(symbol)
  if manner(symbol) == "affricate":
    return (_IPA[letters[-1]][1],)
  parts = [_IPA[letter][1] for letter in letters]
  return tuple(v for i, v in enumerate(parts) if i == 0 or v != parts[i - 1])


def viseme(symbol: str) -> str:
  """The (first) viseme of a phone, one of ``VISEMES``."""
  return visemes(symbol)[0]


def is_vowel(symbol: str) -> bool:
  """True for monophthongs and diphthongs, r-coloured ones included."""
  return manner(symbol) == "vowel"


def is_consonant(symbol: str) -> bool:
  """True for everything that is spoken and no vowel."""
  return manner(symbol) not in ("vowel", "silence")


def is_diphthong(symbol: str) -> bool:
  """True for a vowel with two visemes."""
  return is_vowel(symbol) and len(visemes(symbol)) > 1


def is_bilabial(symbol: str) -> bool:
  """True where the lips must meet: /p b m/ and the bilabial implosive and trill (the fricatives ɸ β leave a slit)."""
  return viseme(symbol) == "PP" and not any(c in symbol for c in "ɸβ")


def is_labiodental(symbol: str) -> bool:
  """True where the lower lip touches the upper teeth: /f v ɱ/ and the flap (not the approximant ʋ)."""
  return viseme(symbol) == "FF" and "ʋ" not in symbol


def is_rounded(symbol: str) -> bool:
  """True for labial glides and for vowels of which at least one part is rounded (so for AW)."""
  if is_silence(symbol):
    return False
  if is_arpabet(symbol):
    return base(symbol) in _ROUNDED_ARPABET
  return any(letter in _ROUNDED_IPA for letter in _letters(symbol))


def is_voiced(symbol: str) -> bool:
  """True where the vocal folds vibrate."""
  if is_silence(symbol):
    return False
  ipa = _ARPABET[base(symbol)][0] if is_arpabet(symbol) else symbol
  return _letters(ipa)[0] not in _VOICELESS_IPA


def is_sibilant(symbol: str) -> bool:
  """True for hissing fricatives and affricates, where the teeth come together."""
  return manner(symbol) in ("fricative", "affricate") and viseme(symbol) in ("SS", "CH")


def is_nasal(symbol: str) -> bool:
  """True for nasal consonants."""
  return manner(symbol) == "nasal"


def arpabet_to_ipa(symbol: str) -> str:
  """IPA of an ARPABET symbol: a stress digit 1 or 2 becomes ˈ or ˌ, "AH0" ə, "ER0" ɚ; silences become ""."""
  if is_silence(symbol):
    return ""
  reduced = {"AH0": "ə", "ER0": "ɚ"}
  if symbol in reduced:
    return reduced[symbol]
  name = base(symbol)
  if name not in _ARPABET:
    raise KeyError(f"phone {symbol!r} is not ARPABET")
  mark = {1: "ˈ", 2: "ˌ"}.get(stress(symbol) or 0, "")
  return mark + _ARPABET[name][0]


_FROM_IPA = {ipa: name for name, (ipa, _, _) in _ARPABET.items()} | {
  "ə": "AH0",
  "ɚ": "ER0",
  "tʃ": "CH",
  "dʒ": "JH",
  "ʧ": "CH",
  "ʤ": "JH",
  "g": "G",
  "r": "R",
  "ɜ": "ER",
  "ɐ": "AH0",
  "əʊ": "OW",
  "ɔː": "AO",
  "oː": "AO",
  "a": "AE",
  "ɒ": "AA",
  "ᵻ": "IH0",
  "e": "EH",
  "x": "K",
  "ɾ": "T",
  "ʔ": "T",
  "ɨ": "IH",
  "ʉ": "UW",
  "m̩": "M",
  "n̩": "N",
  "l̩": "L",
}


def ipa_to_arpabet(symbol: str) -> str:
  """Nearest of CMU's 39 phones for an English IPA symbol; vowels carry a stress digit (0 where unmarked); "" is SIL.

  Raises KeyError for sounds that English does not have.
  """
  plain = symbol.strip("ˈˌ").replace("ː", "").replace("͜", "͡")
  if not plain:
    return SILENCE
  for candidate in (plain, plain.replace("͡", "")):
    if candidate in _FROM_IPA:
      name = _FROM_IPA[candidate]
      break
  else:
    raise KeyError(f"phone {symbol!r} has no ARPABET counterpart")
  if name[-1].isdigit():
    return "AH1" if name == "AH0" and stress(symbol) == 1 else name[:-1] + str(stress(symbol) or 0)
  return name + str(stress(symbol) or 0) if _ARPABET[name][1] == "vowel" else name

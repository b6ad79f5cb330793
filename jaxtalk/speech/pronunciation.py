"""From the voice's one-character alphabet to ARPABET phones and words, keeping track of which character is what.

The alphabet is misaki's (American): IPA letters, capitals for diphthongs, stress marks before the vowel. Every
character is one id of the network and has a duration, stress marks, blanks and punctuation included; these fall between
phones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from jaxtalk.speech.network import MAX_IDS, Token

_VOWELS = {
  "A": "EY",
  "I": "AY",
  "O": "OW",
  "Q": "OW",
  "W": "AW",
  "Y": "OY",
  "a": "AE",
  "e": "EH",
  "i": "IY",
  "o": "OW",
  "u": "UW",
  "y": "IY",
  "æ": "AE",
  "ɐ": "AH",
  "ɑ": "AA",
  "ɒ": "AA",
  "ɔ": "AO",
  "ə": "AH",
  "ɚ": "ER",
  "ɛ": "EH",
  "ɜ": "ER",
  "ɨ": "IH",
  "ɪ": "IH",
  "ʊ": "UH",
  "ʌ": "AH",
  "ᵊ": "AH",
  "ᵻ": "IH",
}
_CONSONANTS = {
  "b": "B",
  "d": "D",
  "f": "F",
  "h": "HH",
  "j": "Y",
  "k": "K",
  "l": "L",
  "m": "M",
  "n": "N",
  "p": "P",
  "r": "R",
  "s": "S",
  "t": "T",
  "v": "V",
  "w": "W",
  "x": "K",
  "z": "Z",
  "ð": "DH",
  "ŋ": "NG",
  "ɡ": "G",
  "ɹ": "R",
  "ɾ": "T",
  "ʀ": "R",
  "ʃ": "SH",
  "ʒ": "ZH",
  "ʔ": "T",
  "ʤ": "JH",
  "ʧ": "CH",
  "T": "T",  # the flap of "butter"; CMU has no symbol of its own for it
  "θ": "TH",
}
_STRESS = {"ˈ": "1", "ˌ": "2"}
_R_COLOURED = {"ɜɹ", "əɹ"}  # one phone, ER, in two characters
PAUSES = frozenset(";:,.!?—…")


@dataclasses.dataclass(frozen=True)
class Unit:
  """A phone and the characters ``first`` to ``last`` (inclusive) that spell it; ``word`` indexes the words."""

  symbol: str
  first: int
  last: int
  word: int


@dataclasses.dataclass(frozen=True)
class Phrase:
  """What the network says in one go: characters, phones and words."""

  characters: str
  units: tuple[Unit, ...]
  words: tuple[str, ...]


def phrases(sentences: Sequence[Sequence[Token]], vocabulary: dict[str, int]) -> list[Phrase]:
  """One phrase a sentence; a sentence too long for the network is cut, after punctuation where there is any.

  Sentences without a single phone (stray punctuation) are left out.
  """
  made = (_phrase(part, vocabulary) for sentence in sentences for part in _parts(list(sentence)))
  return [phrase for phrase in made if phrase.units]


def _parts(tokens: list[Token]) -> Iterator[list[Token]]:
  """Runs of tokens that fit into the network."""
  while tokens:
    lengths, total = [], 0
    for token in tokens:
      total += len(token.phonemes) + 1
      lengths.append(total)
    fitting = max(1, sum(length < MAX_IDS - 2 for length in lengths))
    cut = fitting
    if fitting < len(tokens):
      marks = [i + 1 for i in range(fitting) if tokens[i].phonemes[-1:] in PAUSES]
      spaces = [i + 1 for i in range(fitting) if tokens[i].spaced]
      cut = (marks or spaces or [fitting])[-1]
    yield tokens[:cut]
    tokens = tokens[cut:]


def _phrase(tokens: list[Token], vocabulary: dict[str, int]) -> Phrase:
  characters = ""
  owner: list[int] = []
  words: list[str] = []
  joined = False  # whether this token continues the word before it ("do" + "n't")
  for token in tokens:
    spoken = "".join(c for c in token.phonemes if c in vocabulary)
    has_phones = any(c in _VOWELS or c in _CONSONANTS for c in spoken)
    if has_phones:
      text = token.text.strip("\"'“”‘’()[]")
      if joined and words:
        words[-1] += text
      else:
        words.append(text)
    piece = spoken + (" " if token.spaced else "")
    characters += piece
    owner += [len(words) - 1] * len(piece)
    joined = has_phones and not token.spaced
  lead = len(characters) - len(characters.lstrip())
  owner = owner[lead:]
  characters = characters.strip()[: MAX_IDS - 2]
  return Phrase(characters, tuple(_units(characters, owner)), tuple(words))


def _units(characters: str, owner: list[int]) -> Iterator[Unit]:
  stress = ""
  i = 0
  while i < len(characters):
    c = characters[i]
    end = i
    if c in _STRESS:
      stress = _STRESS[c]
    elif c in _CONSONANTS:
      end = _last(characters, i)
      yield Unit(_CONSONANTS[c], i, end, owner[i])
    elif c in _VOWELS:
      coloured = characters[i : i + 2] in _R_COLOURED
      end = _last(characters, i + coloured)
      yield Unit(("ER" if coloured else _VOWELS[c]) + (stress or "0"), i, end, owner[i])
      stress = ""
    i = end + 1


def _last(characters: str, i: int) -> int:
  """Index of the last character of the phone whose letter is at ``i``: length and other modifiers belong to it."""
  while i + 1 < len(characters) and characters[i + 1] in "ːʰʲ̃":
    i += 1
  return i

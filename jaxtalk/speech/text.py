"""Is this text something that a voice can say, and something that a child may be made to say?

Two questions, each answered with one clear line when the answer is no. The second is a small rule list, applied to
speakers under 18: it is a seat belt against accidents and plain misuse, not a moderation service; it knows English only
and judges words, not meanings. Its rules and their known exceptions are all in this file.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from jaxtalk.core import InputError

MAX_CHARS = 1000  # about a minute of speech: one clip

_TYPOGRAPHY = str.maketrans(
  {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u00ab": '"'}
  | {"\u00bb": '"', "\u2010": "-", "\u2011": "-", "\u2044": "/", "\u00ad": None, "\u200b": None, "\ufeff": None}
)
_SYMBOLS = frozenset("$£€¥¢%°&@#*+=~^<>|\\/—–―…·•§`´¿¡₹")
_PARTS_OF_EMOJI = frozenset("\u200d\ufe0e\ufe0f\u20e3")

# First word of the Unicode names of the letters of languages that are not written in Latin letters. Latin letters are
# always allowed beside them (loan words, names). Languages in neither list are not checked.
_SCRIPTS = {
  "am": "ETHIOPIC",
  "ar": "ARABIC",
  "be": "CYRILLIC",
  "bg": "CYRILLIC",
  "bn": "BENGALI",
  "el": "GREEK",
  "fa": "ARABIC",
  "he": "HEBREW",
  "hi": "DEVANAGARI",
  "hy": "ARMENIAN",
  "ja": "HIRAGANA KATAKANA KATAKANA-HIRAGANA CJK",
  "ka": "GEORGIAN",
  "kk": "CYRILLIC",
  "ko": "HANGUL",
  "mk": "CYRILLIC",
  "mr": "DEVANAGARI",
  "ne": "DEVANAGARI",
  "ru": "CYRILLIC",
  "sr": "CYRILLIC",
  "ta": "TAMIL",
  "te": "TELUGU",
  "th": "THAI",
  "uk": "CYRILLIC",
  "ur": "ARABIC",
  "zh": "CJK",
  "cmn": "CJK",
  "yue": "CJK",
}
_LATIN = frozenset(
  "en de fr es it pt nl sv da nb nn no fi is pl cs sk sl hr hu ro et lv lt tr az ca eu gl cy ga mt sq id ms sw af vi eo"
  " la".split()
)


def check_text(text: str, language: str, *, child: bool) -> str:
  """The text, tidied (NFKC, plain quotes and hyphens, single blanks), or InputError with the reason.

  Args:
    text: what is to be said.
    language: BCP-47 tag of the voice; only its first part counts.
    child: whether the speaker is under 18: then ``unfit`` is asked as well.
  """
  if not text or not text.strip():
    raise InputError("the text is empty: give it something to say")
  if len(text) > MAX_CHARS:
    raise InputError(f"the text has {len(text)} characters, at most {MAX_CHARS} fit into a clip: split it")
  tidy = unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY)).translate(_TYPOGRAPHY)
  tidy = re.sub(r"\s+", " ", tidy).strip()
  foreign = _foreign(tidy, language.split("-")[0].lower())
  if foreign:
    raise InputError(f"the {language!r} voice cannot say {_named(foreign)}")
  if not any(c.isalnum() for c in tidy):
    raise InputError(f"the text {tidy[:20]!r} has nothing that can be pronounced")
  reason = unfit(tidy) if child else None
  if reason:
    raise InputError(f"the text is not fit for a child's mouth: {reason}")
  return tidy


def _foreign(text: str, language: str) -> list[str]:
  """Characters that the language does not have, each once, in order of appearance."""
  scripts = ("LATIN", *_SCRIPTS.get(language, "").split())
  known = language in _LATIN or language in _SCRIPTS
  return list(dict.fromkeys(c for c in text if not _readable(c, scripts, known)))


def _readable(c: str, scripts: tuple[str, ...], known: bool) -> bool:
  category = unicodedata.category(c)
  if c.isascii():
    return c == " " or c.isprintable()
  if category[0] in "LM" and c not in _PARTS_OF_EMOJI:
    name = unicodedata.name(c, "")
    return not known or name.split(" ")[0] in (*scripts, "COMBINING", "MODIFIER") or category == "Mn"
  return category[0] == "P" or c in _SYMBOLS or (category == "Nd" and not known)


def _named(characters: list[str]) -> str:
  """'😀' (GRINNING FACE) and 2 more."""
  telling = [c for c in characters if c not in _PARTS_OF_EMOJI] or characters
  shown = ", ".join(f"{c!r} ({unicodedata.name(c, 'unnamed')})" for c in telling[:3])
  return shown + (f" and {len(telling) - 3} more" if len(telling) > 3 else "")


# What a child speaker does not say, by reason: regular expressions that must match whole words (a word may contain an
# apostrophe or hyphen: "cock-a-doodle-doo" is one word). So "Scunthorpe", "classic", "grape" and "heroine" pass. Words
# with a harmless everyday use are listed with the context that makes them harmful ("shoot him", not "shoot the ball"),
# or without the one that makes them harmless ("water gun", "root beer", "naked mole rat").
_PEOPLE = r"(?:you|him|her|them|me|us|people|everyone|everybody|someone|somebody|(?:my|your|his|her|the|a)\s+" + (
  r"(?:mom|mum|dad|mother|father|parents?|brother|sister|teachers?|friends?|kids?|child(?:ren)?|girl|boy|man|woman|baby"
  r"|dog|cat|self))"
)
_SELF = r"(?:myself|yourself|himself|herself|themselves|ourselves)"
_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
  (
    "sexual content",
    (
      r"sex(?:y|ual|ually|uality|ting)?|porn\w*|erotic\w*|orgasm\w*|masturbat\w*|condoms?|horny(?!\s+(?:toad|lizard))",
      r"penis(?:es)?|vaginas?|boob(?:s|ies)?|(?<!blue )(?<!great )(?<!coal )tits|nipples?|genital\w*|nudes?|nudity",
      r"naked(?!\s+(?:eye|mole|truth))|blow\s?jobs?|hand\s?jobs?|strippers?|prostitut\w*|hookers?|brothels?|incest\w*",
      r"p(?:a)?edophil\w*|molest\w*|rap(?:e|ed|es|ing|ists?)(?!\s+(?:seed|oil))|fetish\w*|seduc\w*|sugar\s+daddy",
    ),
  ),
  (
    "profanity",
    (
      r"\w*f+u+c+k+\w*|(?:bull|horse)?shit(?!ake)\w*|bitch\w*|bastards?|ass(?:es|holes?|hats?)?|arse(?:s|holes?)?|whores?|sluts?|cunts?",
      r"(?-i:dicks?)|dickheads?|cocksuckers?|pussy(?!\s+(?:cat|willow|foot))|piss\w*|crap(?:py)?|god\s?damn\w*|damn(?:ed)?",
      r"(?:what|who|where|how)\s+the\s+hell|go\s+to\s+hell|wank\w*|motherf\w*|twats?|bollocks",
    ),
  ),
  (
    "a slur",
    tuple(  # not spelt out on the page
      codecs.decode(word, "rot13")
      for word in (
        r"avtt(?:re|n|nu)f?",
        r"snttbgf?",
        r"sntf?",
        r"xvxrf?",
        r"fcvpf?",
        r"puvaxf?",
        r"tbbxf?",
        r"jrgonpxf?",
        r"genaavrf?",
        r"ergneq(?:f|rq)?",
        r"qlxrf?",
        r"cnxvf?",
      )
    ),
  ),
  (
    "violence",
    (
      rf"(?:kill(?:ed|ing|s)?|shoot(?:ing|s)?|shot|stab(?:bed|bing|s)?)\s+{_PEOPLE}",
      rf"(?:strangl\w+|drown(?:ed|ing)?|poison(?:ed|ing)?)\s+{_PEOPLE}",
      r"murder\w*|behead\w*|decapitat\w*|massacre\w*|tortur\w*|slaughter\w*|terroris\w*|genocid\w*|assassin\w*",
      r"(?<!water )(?<!toy )(?<!glue )(?<!squirt )(?<!bubble )guns?|rifles?(?!\s+through)|pistols?|grenades?",
      r"(?<!bath )(?<!photo )bomb(?:s|ing|ings)?|shotguns?|school\s+shoot\w+",
    ),
  ),
  (
    "self-harm",
    (
      rf"suicid\w*|self-harm\w*|(?:kill(?:ed|ing)?|hang(?:ed|ing)?|shoot|shot|cutting|harm(?:ed|ing)?|starv\w+)\s+{_SELF}",
      r"(?:want(?:ed|s)?|going)\s+to\s+die|wish\s+i\s+(?:was|were)\s+dead|end\s+my\s+life|slit\s+(?:my|your)\s+wrists?",
    ),
  ),
  (
    "drugs or alcohol",
    (
      r"cocaine|heroin|crystal\s+meth|meth(?:amphetamine\w*)?|marijuana|cannabis|fentanyl|lsd|ketamine|opi(?:oid|ate)s?",
      r"smok(?:e|es|ed|ing)\s+(?:weed|pot|crack|dope)|drug\s+deal\w*|(?:get|got|getting|be|was)\s+(?:drunk|stoned|wasted)",
      r"cigarettes?|cigars?|vap(?:e|es|ed|ing)|tobacco|vodka|whisk(?:e)?y|tequila|(?<!root )(?<!ginger )beers?",
    ),
  ),
)
_PERSONAL: tuple[tuple[str, str], ...] = (
  ("an e-mail address", r"[\w.+-]+\s*@\s*[\w-]+\.[a-z]{2,}"),
  ("a web address", r"(?:https?://|www\.)\S+|\b[\w-]+\.(?:com|org|net|io|co|uk|de|info|me|app)\b(?:/\S*)?"),
  ("a user name", r"(?<!\w)@[a-z_]\w{2,}"),
  ("a telephone number", r"(?<![\w.,])\+?\(?\d{2,4}\)?[\s./-]\(?\d{2,4}\)?[\s./-]?\d{3,4}(?:[\s-]?\d{2,4})?(?![\w,])"),
  ("a telephone number", r"(?<![\d.,$£€])\+?\d{7,15}(?![\d.,]\d|\d)|(?<!\d)\d{3}-\d{4}(?!\d)"),
  ("a social security number", r"\b\d{3}-\d{2}-\d{4}\b"),
)
_STREET = r"street|st|avenue|ave|road|rd|lane|ln|drive|boulevard|blvd|court|close|terrace|square"
_ADDRESS = re.compile(rf"\b\d{{1,5}}[a-z]?\s+(?:[A-Z][a-z]+\s+){{1,3}}(?i:{_STREET})\b")
_COMPILED = [
  (reason, re.compile(rf"(?<![\w'-])(?:{'|'.join(parts)})(?![\w'-])", re.IGNORECASE)) for reason, parts in _RULES
]
_COMPILED_PERSONAL = [(what, re.compile(pattern, re.IGNORECASE)) for what, pattern in _PERSONAL]
_LEET = str.maketrans("013457@$", "oieastas")


def unfit(text: str) -> str | None:
  """Why a child should not be made to say this, or None. The reason names the kind, at most one word, no more."""
  for what, pattern in _COMPILED_PERSONAL:
    if pattern.search(text):
      return f"it contains {what} (personal data)"
  if _ADDRESS.search(text):
    return "it contains a street address (personal data)"
  disguised = re.sub(r"\b(?=\w*[a-z])[\w@$]+", lambda m: m.group().translate(_LEET), text, flags=re.IGNORECASE)
  for reason, pattern in _COMPILED:
    for candidate in (text, disguised):
      found = pattern.search(candidate)
      if found:
        word = found.group().split()[0]
        return f"{reason} ({word[0]}{'*' * (len(word) - 1)})"
  return None

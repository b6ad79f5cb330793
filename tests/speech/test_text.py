"""Texts: what cannot be said and what a child should not say is refused with one line; the rest passes."""

import pytest

from jaxtalk.core import InputError
from jaxtalk.speech.text import MAX_CHARS, check_text, unfit


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("", "empty"),
    (" \n\t ", "empty"),
    ("a" * 10_000, "10000 characters, at most 1000"),
    ("Hello 😀 there 🎉", "GRINNING FACE"),
    ("Привет, мир", "CYRILLIC CAPITAL LETTER PE"),
    ("你好", "CJK UNIFIED IDEOGRAPH"),
    ("family 👨‍👩‍👧", "MAN"),
    ("\ud800 oops", "unnamed"),
    ("bell \x07", "unnamed"),
    ("?! ... --", "nothing that can be pronounced"),
  ],
)
def test_unsayable_english(text, reason):
  with pytest.raises(InputError, match=reason) as caught:
    check_text(text, "en", child=True)
  assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_many_foreign_characters_are_counted_not_listed():
  with pytest.raises(InputError, match=r"and 3 more$"):
    check_text("Привет", "en", child=True)


@pytest.mark.parametrize(
  ("text", "tidy"),
  [
    ("It’s  “fun”\n— really…", 'It\'s "fun" — really...'),
    ("ﬁsh and ½ a cake", "fish and 1/2 a cake"),
    ("naïve café, jalapeño!", "naïve café, jalapeño!"),
    ("$9.99 & 50% of 3°", "$9.99 & 50% of 3°"),
    ("x" * MAX_CHARS, "x" * MAX_CHARS),
  ],
)
def test_typography_is_tidied(text, tidy):
  assert check_text(text, "en", child=True) == tidy


@pytest.mark.parametrize(
  ("text", "language"),
  [
    ("Привет, как дела?", "ru"),
    ("Grüß Gott, Ärger!", "de-AT"),
    ("Καλημέρα", "el"),
    ("¿Qué tal?", "es"),
    ("你好", "cmn"),
  ],
)
def test_other_languages_have_their_own_letters(text, language):
  assert check_text(text, language, child=False) == text
  with pytest.raises(InputError, match="GRINNING FACE"):
    check_text(text + "😀", language, child=False)


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("I want to have sex", "sexual"),
    ("look at this p0rn", "sexual"),
    ("What the fuck", "profanity"),
    ("oh SHIT!", "profanity"),
    ("I will kill you", "violence"),
    ("He shot the teacher", "violence"),
    ("Give me the gun", "violence"),
    ("a terrorist bomb", "violence"),
    ("I want to kill myself", "self-harm"),
    ("thinking about suicide", "self-harm"),
    ("let's smoke weed", "drugs"),
    ("get drunk on vodka", "drugs"),
    ("call me at 555-123-4567", "telephone"),
    ("my number is +44 20 7946 0958", "telephone"),
    ("I live at 12 Maple Street", "street address"),
    ("write to kid@example.com", "e-mail"),
    ("go to www.example.com", "web address"),
    ("my handle is @cool_kid", "user name"),
  ],
)
def test_unfit_for_a_child(text, reason):
  with pytest.raises(InputError, match=reason) as caught:
    check_text(text, "en", child=True)
  assert text not in str(caught.value)
  assert check_text(text, "en", child=False) == text


@pytest.mark.parametrize(
  "text",
  [
    "We drove through Scunthorpe and Middlesex to my first class.",
    "Pass the ball, shoot the ball, what a shot!",
    "The heroine ate a grape in the grass.",
    "The rooster says cock-a-doodle-doo and the pussy cat runs.",
    "A naked mole rat cannot be seen with the naked eye.",
    "Let's have a root beer and play with my water gun.",
    "The killer whale and the blue tits are my favourite animals.",
    "I got the high score, I am getting so high on the swing!",
    "He'll say hello to Dickens, assess the glass and embarrass the bass.",
    "This seaweed assignment is due on 2024-03-15 at 7:30 pm.",
    "There are 1,250,000 people, and I have 300 000 stamps.",
    "I counted 10 20 30 40 50, that is a lot!",
    "We walked 3 miles down the road and 2 blocks to the street.",
    "Grandma weeds the garden; mom shoots a film about a spider.",
    "My brother's bath bomb made the tub purple.",
    "Pi is 3.14159265 and it never ends.",
    "Dick and Jane have drunk their milk; hang her coat up.",
    "Arsenal won, and we ate shitake mushrooms. I rifle through the box.",
  ],
)
def test_harmless_texts_pass(text):
  assert unfit(check_text(text, "en", child=True)) is None


def test_the_bad_word_itself_is_not_repeated():
  assert unfit("what the fuck") == "profanity (f***)"

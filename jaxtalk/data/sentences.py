"""Things a child might say, made from a small grammar: as many different sentences as training asks for.

Templates of everyday statements, questions, exclamations, lists and counts are filled from lists of a few hundred words
that between them hold all English phones in many neighbourhoods. The sentences are written to be spoken, not to be
believed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxtalk.speech.text import unfit

_STREAM = 0x53454E54  # "SENT"

_WORDS = {
  "animal": """
    alligator ant baboon badger bear beaver beetle bird buffalo butterfly camel cat caterpillar chicken cow crab
    cricket crocodile crow deer dinosaur dog dolphin donkey dove dragon dragonfly duck eagle elephant falcon ferret
    fish flamingo fly fox frog gecko giraffe goat goldfish goose gorilla guinea-pig hamster hare hedgehog hippo
    horse hummingbird jaguar jellyfish kangaroo kitten koala ladybug lamb lemur leopard lion lizard llama lobster
    magpie mole monkey moose mosquito moth mouse newt octopus ostrich otter owl oyster panda panther parrot peacock
    pelican penguin pig pigeon pony porcupine puffin puppy rabbit raccoon rhino robin rooster seahorse seal shark
    sheep shrimp sloth snail snake sparrow spider squid squirrel starfish stork swan tiger toad tortoise turkey
    turtle unicorn viper vulture walrus wasp weasel whale wolf wombat woodpecker worm yak zebra""",
  "thing": """
    airplane apron arrow bag ball balloon basket bathtub battery bed bell bench bicycle blanket block boat book
    bottle bowl box bracelet brick bridge broom brush bubble bucket button camera candle cap card carpet castle
    chair chalk chimney clock cloud coat coin computer cookie-jar costume crayon crown cup curtain dish doll door
    dress drum envelope feather fence flag flashlight flower flute fork fountain garage garden gate giant gift glove
    glue guitar hammer hat helmet house jacket jar jewel jigsaw kettle key kite ladder lamp leaf letter lunchbox
    magnet map mask mirror mitten moon mop motorbike mug napkin necklace needle newspaper notebook paintbrush
    pajamas paper peg pencil piano picture pillow pipe planet plate pocket pond pot present puddle puppet puzzle
    quilt raft rainbow ribbon ring river robot rocket roof rope ruler sandbox sandcastle scarf scissors scooter
    shell ship shoe shovel skateboard sled slide slipper snowman soap sock sofa spaceship sponge spoon stamp star
    stick stone suitcase sweater swing table teapot teddy-bear telescope tent thimble ticket toothbrush torch towel
    tower toy tractor trailer train trampoline treasure tricycle trophy trumpet tunnel umbrella van vase vest violin
    wagon wallet watch water-bottle wheelbarrow whistle window wheel xylophone yo-yo zipper""",
  "food": """
    apple-pie asparagus avocado bacon bagels bananas beans berries biscuits blueberries bread broccoli butter
    cabbage cake carrots cereal cheese cherries chips chocolate coconut corn cucumber cupcakes eggs fish-fingers
    fruit garlic ginger-bread grapes gravy ham honey ice-cream jam jelly juice ketchup lasagna lemonade lentils
    lettuce macaroni mango maple-syrup marmalade melon milk muffins mushrooms noodles nuts oatmeal olives onions
    orange-juice pancakes papaya pasta peaches peanut-butter pears peas pepper pickles pineapple pizza plums popcorn
    porridge potatoes pudding pumpkin-pie radishes raisins raspberries rhubarb rice salad sandwiches sausages soup
    spaghetti spinach strawberries sugar sweet-corn toast tofu tomatoes vanilla-pudding vegetables waffles walnuts
    watermelon yogurt zucchini""",
  "adjective": """
    amazing awful beautiful big black blue bouncy brave bright brown bumpy busy careful chilly chubby clean clever
    cold colorful cozy crooked curly cute dark deep dirty dizzy dusty easy empty enormous fancy fast favorite fluffy
    friendly funny furry fuzzy gentle giant golden gray green happy heavy hollow huge hungry invisible itchy jolly
    jumpy lazy little lonely long loud lovely lucky magic marvelous massive messy muddy mysterious narrow new noisy
    old orange pink plain pointy polite pretty prickly proud purple quick quiet red rough round rusty sad scary
    shiny shy silly silver sleepy slimy slippery slow small smelly smooth soft special spotty square sticky strange
    striped strong tall tasty tiny tired ugly velvety violet warm wavy weird wet white wide wild wise wobbly
    wonderful wooden yellow young yummy""",
  "verb": """
    ask bake balance believe blow borrow bounce break bring brush build buy call carry catch chase check choose clap
    clean climb close collect color count cover cuddle cut dance decorate dig draw dream drive drop eat examine
    explore feed feel fetch find finish fix fly fold follow forget give grab guess hang help hide hold hop hug
    imagine invent jump keep kick knock know learn leave lift like listen-to look-at lose love make measure meet
    move need open paint pat pick-up plant play-with poke polish pull pump push put-away reach read remember rub
    save see share shake show smell sniff solve squeeze stir stop swallow swap take tap taste teach thank throw
    tickle touch trade try turn unwrap use visit wake-up walk wash watch wear whisper-to win wipe wish-for wrap""",
  "person": """
    Mom Dad Grandma Grandpa Bobby Emma Peter Maya Oliver Sophie Ben Zoe Victor Penny Jack Amber Thomas Fiona Hugo
    Violet Felix Poppy George Ruby Max Bella Noah Phoebe my-brother my-sister my-teacher our-neighbor my-cousin
    my-best-friend the-baby the-doctor the-pilot the-farmer the-wizard the-queen""",
  "place": """
    in-the-bathroom behind-the-barn under-the-bed near-the-big-bridge at-the-beach in-the-kitchen on-the-bus
    above-the-clouds at-the-park in-my-backpack beside-the-river in-front-of-the-house on-the-playground at-school
    in-the-forest up-on-the-roof below-the-table over-the-mountains between-the-pillows in-the-swimming-pool
    on-a-very-small-island by-the-window at-the-zoo in-the-middle-of-the-road inside-the-cupboard around-the-corner
    on-top-of-the-fridge at-the-museum across-the-street through-the-tunnel in-outer-space under-my-umbrella""",
  "time": """
    today yesterday tomorrow this-morning every-Monday after-lunch before-breakfast last-night on-my-birthday
    all-the-time on-Wednesday at-five-o'clock in-February in-July when-it-rains when-the-moon-is-up
    for-the-first-time this-weekend in-the-evening next-Thursday once-upon-a-time right-now again-and-again as-usual""",
  "number": "two three four five six seven eight nine ten eleven twelve thirteen fifteen sixteen twenty thirty fifty",
  "feeling": """
    happy sad so-excited very-proud a-bit-worried really-thirsty super-sleepy so-hungry pretty-brave angry surprised
    bored much-better freezing very-curious ready""",
  "opening": """
    well oh wow hey guess-what um please listen you-know-what look okay maybe yes no-way of-course actually hooray
    oops""",
}
WORDS: dict[str, tuple[str, ...]] = {
  kind: tuple(word.replace("-", " ") for word in text.split()) for kind, text in _WORDS.items()
}

_TEMPLATES = (
  "I saw a {adjective} {animal} {place}.",
  "{person} has a {adjective} {thing} and a {adjective} {thing}.",
  "Can we {verb} the {thing} {time}?",
  "My {animal} likes {food} and {food}.",
  "Why does the {animal} {verb} my {thing}?",
  "{opening}, I want to {verb} that {adjective} {animal}!",
  "We had {food} with {food} {time}.",
  "There are {number} {adjective} things {place}.",
  "{person} and {person} {verb} the {adjective} {thing} {time}.",
  "If I were a {animal}, I would {verb} every {thing}.",
  "Don't {verb} the {thing}, it is {adjective} and {adjective}!",
  "Do you think a {animal} could {verb} a {animal}?",
  "{number} {adjective} {thing}s and {number} {thing}s.",
  "I feel {feeling}, because {person} gave me a {thing}.",
  "{food}, {food}, {food} and {food}.",
  "Where is my {adjective} {thing}? Is it {place}?",
  "When I grow up, I will {verb} a {adjective} {thing} {place}.",
  "{opening}! The {animal} is {place}, and it is {feeling}.",
  "{person} said that I may {verb} the {thing} {time}.",
  "It was {adjective}, {adjective} and very {adjective}.",
  "How many {thing}s do we need for the {adjective} {animal}?",
  "Once there was a {adjective} {animal} who could {verb} a {thing}.",
  "Please {verb} the {food} before you {verb} the {food}.",
  "That's not a {thing}, that's a {adjective} {animal}!",
  "I'm {feeling}. Shall we {verb} {person}?",
  "{time}, {person} found a {thing} {place}.",
  "Who put the {food} {place}?",
  "A {animal}, a {animal} and a {animal} live {place}.",
  "{person}, what's {number} and {number}?",
  "You {verb} it, then I {verb} it, and then we {verb} it together.",
)


def sentences(seed: int, count: int) -> list[str]:
  """``count`` different sentences of one seed, all fit for a child; another seed gives others, with few in common."""
  found: dict[str, None] = {}
  stream = _stream(np.random.default_rng(np.random.SeedSequence([seed, _STREAM])))
  while len(found) < count:
    sentence = next(stream)
    if not unfit(sentence):
      found[sentence] = None
  return list(found)


def _stream(rng: np.random.Generator) -> Iterator[str]:
  while True:
    text = _TEMPLATES[rng.integers(len(_TEMPLATES))]
    while "{" in text:
      kind = text[text.index("{") + 1 : text.index("}")]
      word = WORDS[kind][rng.integers(len(WORDS[kind]))]
      text = text.replace(f"{{{kind}}}", word, 1)
    text = _article(text)
    yield text[0].upper() + text[1:]


def _article(text: str) -> str:
  """ "a apple" becomes "an apple"; good enough for the words of this file."""
  words = text.split(" ")
  for i, (word, after) in enumerate(zip(words[:-1], words[1:], strict=True)):
    if word in ("a", "A") and after[0].lower() in "aeiou" and not after.startswith(("uni", "use")):
      words[i] = word + "n"
  return " ".join(words)

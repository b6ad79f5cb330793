"""Plans: what is drawn, what is pinned, what is refused."""

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import pytest

from jaxtalk import cli
from jaxtalk.clips.plan import EMOTION_SHARES, Plan, clip_seed
from jaxtalk.clips.sentences import SENTENCES
from jaxtalk.core import EMOTIONS, InputError
from jaxtalk.speech.text import check_text
from jaxtalk.studio.person import head_scale
from jaxtalk.studio.scenes import SURROUNDINGS

ROOT = Path(__file__).resolve().parents[2]


def config(**overrides):
  loaded, _ = cli.load_config("configs/quickstart.py", ROOT)
  cli.override(loaded, {name.replace("__", "."): str(value) for name, value in overrides.items()})
  return loaded


def plan(**overrides):
  return Plan(config(**overrides))


def test_a_clip_depends_on_its_seed_and_number_only():
  few, many = plan(num_clips=2), plan(num_clips=1000)
  assert [few[0], few[1]] == [many[0], many[1]]
  assert len(many) == 1000 and many[999].id == "clip_000000999"
  with pytest.raises(IndexError):
    few[2]
  other = plan(seed=1)[0]
  assert other.seed != few[0].seed and other.person != few[0].person and other.text != few[0].text


def test_clip_seeds_are_distinct_and_exact_in_json():
  seeds = {clip_seed(seed, index) for seed in range(50) for index in range(50)}
  assert len(seeds) == 2500 and max(seeds) < 2**53


@pytest.mark.parametrize(
  ("pin", "changed"),
  [
    ({"person__freckles": 0.9}, {"person"}),
    ({"person__hair": "buns"}, {"person"}),
    ({"emotion__label": "sad", "emotion__intensity": 0.25}, {"emotion"}),
    ({"camera__yaw": 40}, {"scene"}),
    ({"style__head": 0.1}, {"style"}),
    ({"text": "Hello there."}, {"text"}),
    ({"size": 128}, {"scene"}),
    ({"background": "garden"}, {"scene"}),
  ],
)
def test_a_pinned_value_changes_nothing_else(pin, changed):
  free, pinned = plan(seed=5)[0], plan(seed=5, **pin)[0]
  assert {f.name for f in dataclasses.fields(free) if getattr(free, f.name) != getattr(pinned, f.name)} == changed


def test_a_pinned_attribute_leaves_the_rest_of_the_person_and_scene():
  free, pinned = plan(seed=3)[0], plan(seed=3, person__eye_colour="green", camera__yaw=40)[0]
  assert pinned.person.look["eye_colour"] == "green"
  assert {**pinned.person.look, "eye_colour": 0} == {**free.person.look, "eye_colour": 0}
  assert pinned.person.face == free.person.face and pinned.person.age_years == free.person.age_years
  assert math.isclose(pinned.scene.camera.yaw, math.radians(40))
  assert pinned.scene.camera.pitch == free.scene.camera.pitch and pinned.scene.light == free.scene.light


def test_a_pinned_age_moves_nothing_but_the_person_and_the_distance():
  free, small = plan(seed=5, person__age=12)[0], plan(seed=5, person__age=3)[0]
  assert small.scene.camera.distance < free.scene.camera.distance
  camera = dataclasses.replace(small.scene.camera, distance=free.scene.camera.distance)
  assert dataclasses.replace(small, person=free.person, scene=dataclasses.replace(small.scene, camera=camera)) == free
  assert small.person.face.keys() == free.person.face.keys() and small.person.ancestry == free.person.ancestry


def test_built_in_sentences_do_not_repeat_and_are_fit_for_children():
  clips = plan(num_clips=len(SENTENCES) + 1)
  texts = [clips[i].text for i in range(len(clips))]
  assert len(set(texts[:-1])) == len(SENTENCES) >= 60 and texts[-1] == texts[0]
  assert all(check_text(text, "en", child=True) for text in SENTENCES)


def test_texts_file_is_used_round_and_round(tmp_path):
  (tmp_path / "texts.txt").write_text("\ufeffOne apple.\n\n  Two pears.  \n", encoding="utf-8")
  clips = plan(texts_file=tmp_path / "texts.txt", num_clips=3)
  assert [clip.text for clip in clips] == ["One apple.", "Two pears.", "One apple."]


def test_emotions_are_drawn_with_their_shares_and_pinned_in_part():
  assert set(EMOTION_SHARES) == set(EMOTIONS) and math.isclose(sum(EMOTION_SHARES.values()), 1)
  drawn = [clip.emotion for clip in plan(num_clips=300)]
  assert abs(sum(e.label == "happy" for e in drawn) / 300 - EMOTION_SHARES["happy"]) < 0.09
  assert all((e.intensity == 0) == (e.label == "neutral") for e in drawn)
  assert plan(emotion__label="sad")[0].emotion.intensity == 0.6
  strong = [clip.emotion for clip in plan(num_clips=50, emotion__intensity=0.9)]
  assert {e.intensity for e in strong} == {0.9} and "neutral" not in {e.label for e in strong}


def test_surroundings_are_resolved_and_go_together():
  scenes = [clip.scene for clip in plan(num_clips=100)]
  assert {scene.background for scene in scenes} == set(SURROUNDINGS)
  assert all(scene.light.environment in SURROUNDINGS[scene.background][1] for scene in scenes)
  assert plan(background="#aabbcc", light__environment="evening")[0].scene.background == "#aabbcc"


def test_drawn_scenes_are_mild():
  for clip in plan(num_clips=200):
    camera = clip.scene.camera
    width = camera.distance * 36 / camera.focal_mm / head_scale(clip.person.age_years)
    assert abs(camera.yaw) <= math.radians(22) and 0.3 < width < 0.5
    assert 3 <= clip.person.age_years <= 13


@pytest.mark.parametrize(
  ("text", "fps"), [("25", Fraction(25)), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001))]
)
def test_frame_rates_are_exact(text, fps):
  assert plan(fps=text)[0].fps == fps


def test_ancestry_is_a_name_or_weights():
  assert plan(person__ancestry="1,0,1")[0].person.ancestry == (0.5, 0, 0.5)
  assert plan(person__ancestry="asian")[0].person.ancestry[1] > 0.8


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    ({"person__age": 200}, "config.person.age=200: must be between 3 and 80 years"),
    ({"person__age": 2}, "must be between 3 and 80"),
    ({"person__gender": "grl"}, "config.person.gender='grl': unknown, did you mean 'girl'?"),
    ({"person__hair": "mohawk"}, "config.person.hair='mohawk': unknown"),
    ({"person__skin": 11}, "between 1 and 10"),
    ({"person__ancestry": "martian"}, "config.person.ancestry"),
    ({"person__ancestry": "1,2"}, "must be three weights"),
    ({"person__ancestry": "1,x,2"}, "name or three weights"),
    ({"person__ancestry": "0,0,0"}, "not all zero"),
    ({"size": 255}, "config.size=255: must be even"),
    ({"size": 32}, "between 64 and 1024 pixels"),
    ({"size": 4096}, "between 64 and 1024 pixels"),
    ({"fps": "fast"}, "config.fps='fast': must be a number or a ratio"),
    ({"fps": "1/0"}, "must be a number or a ratio"),
    ({"fps": 1000}, "between 5 and 120"),
    ({"num_clips": 0}, "config.num_clips=0: must be between 1"),
    ({"num_clips": -3}, "config.num_clips=-3"),
    ({"seed": -1}, "config.seed=-1"),
    ({"emotion__label": "hapy"}, "config.emotion.label='hapy': unknown, did you mean 'happy'?"),
    ({"emotion__intensity": 7}, "config.emotion.intensity=7: must be between 0 and 1"),
    ({"camera__yaw": 200}, "config.camera.yaw=200: must be between -90 and 90 degrees"),
    ({"camera__distance": "inf"}, "config.camera.distance=inf"),
    ({"style__asymmetry": -2}, "between -1 and 1"),
    ({"background": "beech"}, "config.background='beech': unknown"),
    ({"background": "#abcdeg"}, "config.background='#abcdeg': unknown"),
    ({"light__environment": "windw"}, "did you mean 'window'?"),
    ({"text": "a", "audio": "b.wav"}, "config.text and config.audio exclude each other"),
    ({"text": ""}, "the text is empty"),
    ({"text": "   "}, "the text is empty"),
    ({"text": "word " * 2000}, "10000 characters"),
    ({"text": "I like \U0001f600"}, "cannot say"),
    ({"text": "\u043f\u0440\u0438\u0432\u0435\u0442"}, "cannot say"),
    ({"text": "I will murder the teacher"}, "not fit for a child's mouth"),
    ({"texts_file": "/nowhere/texts.txt"}, "config.texts_file=/nowhere/texts.txt: cannot be read"),
    ({"language": "de"}, "the built-in sentences are English"),
  ],
)
def test_wrong_values_get_one_line_that_names_them(overrides, message):
  with pytest.raises(InputError) as caught:
    plan(**overrides)[0]
  assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_or_binary_texts_file_is_refused(tmp_path):
  (tmp_path / "empty.txt").write_text("\n \n")
  (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\xd8")
  with pytest.raises(InputError, match="holds no text"):
    plan(texts_file=tmp_path / "empty.txt")
  with pytest.raises(InputError, match="not UTF-8"):
    plan(texts_file=tmp_path / "binary.txt")


def test_the_language_is_that_of_the_voice_unless_it_is_given():
  assert plan()[0].language == "en"
  assert plan(voice__name="espeak:de", text="Guten Tag.")[0].language == "de"
  assert plan(voice__name="espeak", language="fr", text="Bonjour.")[0].language == "fr"


def test_grown_ups_may_say_more_than_children():
  text = "Let us have a beer."
  with pytest.raises(InputError, match="child"):
    plan(text=text)
  assert plan(text=text, person__age=30)[0].text == text

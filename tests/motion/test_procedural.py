import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from speeches import BOBBY, FPS, VERY, animate, during, gap, silence, speech

from jaxtalk.core import EMOTIONS, Emotion, InputError, MotionStyle, Phone
from jaxtalk.metrics import dynamics, sync
from jaxtalk.motion import make_animator, spaces
from jaxtalk.motion.head import MAX_SPEED
from jaxtalk.speech import phones as ph


@pytest.mark.parametrize("label", EMOTIONS)
def test_values_are_finite_and_in_range(label):
  said = [speech(BOBBY, 1), speech(VERY, 2)]
  for motion, one in zip(animate(said, emotion=Emotion(label=label, intensity=1.0)), said, strict=True):
    assert motion.space == spaces.ARKIT and motion.fps == FPS and motion.values.dtype == np.float32
    assert motion.num_frames == round(one.duration * 25)
    assert np.isfinite(motion.values).all()
    face = motion.values[:, spaces.FACE]
    assert face.min() >= 0.0 and face.max() <= 1.0
    assert np.abs(motion.values[:, 52:]).max() < np.deg2rad(40)


@pytest.mark.parametrize("fps", [Fraction(15), Fraction(24), FPS, Fraction(30000, 1001), Fraction(60)])
@pytest.mark.parametrize("label", ["neutral", "happy", "surprised", "fearful", "disgusted"])
def test_every_bilabial_closes_at_any_rate_and_in_any_emotion(fps, label):
  style = MotionStyle(articulation=1.4, asymmetry=0.5)
  for seed in range(3):
    said = speech(BOBBY, seed, pace=1.3)
    motion = animate([said], fps=fps, seed=seed, emotion=Emotion(label=label, intensity=1.0), style=style)[0]
    opening = np.maximum(gap(motion), 0.0)
    margin = 0.5 / float(fps)
    for p in said.phones:
      if ph.is_bilabial(p.symbol):
        assert opening[during(motion, p.start - margin, p.end + margin)].min() < 0.01, (seed, p)
    assert opening.max() > 0.2


def test_lips_are_never_pressed_into_one_another():
  for label in EMOTIONS:
    motion = animate([speech(VERY)], emotion=Emotion(label=label, intensity=1.0))[0]
    assert gap(motion).min() > -0.01


def test_sync_on_the_lip_gap():
  said = [speech(text, seed) for seed in range(10) for text in (BOBBY, VERY)]
  tracks = [sync.MouthTrack(np.maximum(gap(m), 0), FPS, s.phones) for m, s in zip(animate(said), said, strict=True)]
  assert sync.closure_rate(tracks).value == 1.0
  assert abs(sync.onset_lag(tracks).value) < 10.0
  assert abs(sync.vowel_lag(tracks).value) < 20.0


def test_labiodentals_tuck_the_lower_lip_and_show_the_teeth():
  said = speech(VERY, 3)
  motion = animate([said])[0]
  for p in said.phones:
    if ph.is_labiodental(p.symbol):
      inside = during(motion, p.start - 0.02, p.end + 0.02)
      assert motion["mouthRollLower"][inside].max() > 0.6 and motion["mouthUpperUpLeft"][inside].max() > 0.15
      assert gap(motion)[inside].min() < 0.08


def test_rounding_spreading_and_tongue():
  said = speech("SIL UW1 SIL IY1 SIL AA1 SIL TH IH1 SIL", 0)
  motion = animate([said])[0]
  at = {p.symbol: during(motion, p.start, p.end) for p in said.phones}
  assert motion["mouthPucker"][at["UW1"]].max() > 0.4 > 5 * motion["mouthPucker"][at["IY1"]].max()
  assert motion["mouthStretchLeft"][at["IY1"]].max() > 0.25 > 5 * motion["mouthStretchLeft"][at["UW1"]].max()
  assert motion["jawOpen"][at["AA1"]].max() > 2.5 * motion["jawOpen"][at["UW1"]].max()
  assert motion["tongueOut"][at["TH"]].max() > 0.3 > 10 * motion["tongueOut"][at["AA1"]].max()


def test_rounding_is_prepared_in_the_consonants_before():
  soon, seen = animate([speech("SIL S UW1 N SIL"), speech("SIL S IY1 N SIL")])
  s = speech("SIL S UW1 N SIL").phones[1]
  inside = during(soon, s.start, s.end)
  assert soon["mouthPucker"][inside].mean() > 0.1 > 3 * seen["mouthPucker"][inside].mean()


def test_fast_speech_undershoots():
  slow, fast = (animate([speech("SIL T IH1 T AA1 T IH1 S AE1 T SIL", 1, pace)])[0] for pace in (0.8, 2.2))
  assert gap(fast).max() < 0.9 * gap(slow).max()


def test_loud_vowels_open_more():
  quiet = speech("SIL AA1 SIL M AA1 SIL M AA1 SIL")
  wave = quiet.waveform.copy()
  first, last = quiet.phones[1], quiet.phones[-2]
  rate = quiet.sample_rate
  wave[int(last.start * rate) : int(last.end * rate)] *= 0.05
  motion = animate([dataclasses.replace(quiet, waveform=wave)])[0]
  heights = [gap(motion)[during(motion, p.start, p.end)].max() for p in (first, last)]
  assert heights[1] < 0.93 * heights[0]


def test_articulation_scales_and_asymmetry_mirrors():
  said = [speech(VERY)]
  small, large = (gap(animate(said, style=MotionStyle(articulation=a))[0]).mean() for a in (0.6, 1.3))
  assert large > 1.3 * small
  left, right = (
    animate(said, emotion=Emotion(label="happy", intensity=0.6), style=MotionStyle(asymmetry=a))[0] for a in (0.6, -0.6)
  )
  np.testing.assert_allclose(left["mouthSmileLeft"], right["mouthSmileRight"], atol=1e-6)
  assert left["mouthSmileLeft"].mean() > 1.2 * left["mouthSmileRight"].mean()


def test_one_seed_one_motion():
  said = [speech(BOBBY), speech(VERY)]
  first, again = animate(said, seed=5), animate(said, seed=5)
  assert all(a.values.tobytes() == b.values.tobytes() for a, b in zip(first, again, strict=True))
  alone = animate(said[1:], seed=6)[0]
  assert alone.values.tobytes() == first[1].values.tobytes()
  other = animate(said, seed=105)[0]
  assert np.abs(other.values[:, spaces.HEAD] - first[0].values[:, spaces.HEAD]).max() > 0.02


def test_frame_rates_sample_one_curve():
  coarse, fine = (animate([speech(VERY)], fps=fps)[0].values for fps in (FPS, 3 * FPS))
  upper = [
    spaces.ARKIT.index(n) for n in ("browInnerUp", "browDownLeft", "eyeBlinkLeft", "headYaw", "headPitch", "leftEyeYaw")
  ]
  count = min(len(coarse), len(fine[1::3]))
  np.testing.assert_allclose(coarse[:count, upper], fine[1::3][:count, upper], atol=1e-5)


def test_mouth_is_smooth():
  for seed in range(3):
    motion = animate([speech(VERY, seed)], fps=Fraction(50))[0]
    assert dynamics.high_frequency_share(motion["jawOpen"], motion.fps) < 0.03
    # jawOpen is 23 mm on a child: 5 units a second are 115 mm/s, about what quick jaws reach.
    assert np.abs(np.diff(motion["jawOpen"])).max() * 50 < 5.0


def test_ipa_phones_animate_too():
  symbols = [
    ("", 0.2),
    ("p", 0.1),
    ("aː", 0.15),
    ("m", 0.1),
    ("y", 0.12),
    ("f", 0.1),
    ("ʁ", 0.08),
    ("ø", 0.12),
    ("", 0.2),
  ]
  ends = np.cumsum([length for _, length in symbols])
  phones = tuple(Phone(s, e - length, e) for (s, length), e in zip(symbols, ends, strict=True))
  wave = np.random.default_rng(0).normal(0, 0.1, round(ends[-1] * 16000)).astype(np.float32)
  motion = animate([dataclasses.replace(speech(), waveform=wave, phones=phones)])[0]
  assert gap(motion)[during(motion, 0.2, 0.3)].min() < 0.01
  assert motion["mouthPucker"][during(motion, 0.55, 0.67)].max() > 0.3


def test_rest_is_nearly_closed():
  motion = animate([silence(3.0)])[0]
  assert 0.0 <= gap(motion).min() and gap(motion).max() < 0.05


@pytest.mark.parametrize("seconds", [0.05, 0.01])
def test_a_very_short_sound_is_one_frame(seconds):
  assert animate([silence(seconds)])[0].num_frames == 1
  assert animate([dataclasses.replace(silence(seconds), phones=())], "audio")[0].num_frames == 1


def test_head_is_never_jerky():
  for seed in range(12):
    motion = animate([speech(VERY, seed)], fps=Fraction(50), seed=seed, age=3.0)[0]
    assert dynamics.angular_speed(motion.values[:, spaces.HEAD], motion.fps).max() < MAX_SPEED


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"emotion": Emotion(label="bored", intensity=0.5)}, "unknown emotion 'bored'"),
    ({"emotion": Emotion(label="sad", intensity=1.5)}, "not in \\[0, 1\\]"),
  ],
)
def test_bad_emotions(change, message):
  with pytest.raises(InputError, match=message):
    animate([speech()], **change)


def test_bad_speech():
  with pytest.raises(InputError, match="needs phones"):
    animate([dataclasses.replace(speech(), phones=())])
  with pytest.raises(InputError, match="NaN"):
    animate([dataclasses.replace(speech(), waveform=np.full(16000, np.nan, np.float32))])
  with pytest.raises(InputError, match="empty"):
    animate([dataclasses.replace(speech(), waveform=np.zeros(0, np.float32))])
  with pytest.raises(InputError, match="1 speeches and 2"):
    make_animator("procedural").animate(
      [speech()], fps=FPS, seeds=[1, 2], emotions=[Emotion()], styles=[MotionStyle()], ages=[6]
    )
  with pytest.raises(InputError, match="unknown animator 'learned'"):
    make_animator("learned")

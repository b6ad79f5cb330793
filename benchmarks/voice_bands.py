"""Do the voices lie where the literature says that voices of their age and gender lie?

Pitch: median f0 of running speech as Praat's autocorrelation hears it (Boersma 1993; package praat-parselmouth, nothing
of ours), for several people of each age and gender, against the band of ``jaxtalk.speech.norms``.

Formants: the same sentences from a child and from a woman, vowel by vowel, two ways. "envelope": the shift between the
smoothed log spectra on a logarithmic frequency axis that correlates best. "praat": ratio of Praat's F2 and F3 (Burg,
ceiling 5.5 kHz for the woman and 5.5 kHz times the requested scale for the child; F1 is left out, since with harmonics
300 Hz apart no method finds it well). Both are compared with the scale that was requested.

  pip install praat-parselmouth
  python benchmarks/voice_bands.py [--out benchmarks/results/voice_bands.json]
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import parselmouth

from jaxtalk.core import ClipSpec, Emotion, MotionStyle, Person, Phone, Scene, Speech
from jaxtalk.speech import phones as ph
from jaxtalk.speech.norms import voice_norm
from jaxtalk.speech.voices import HibariVoice

SENTENCES = (
  "Bobby popped a big purple balloon in the park.",
  "My mother's father saw six shiny fish under the bridge.",
  "Why does the moon follow us home at night?",
  "We are going to build a very tall tower with these blocks.",
  "Judge Roy found a yellow feather near the garden wall.",
  "Can you help me find my other shoe, please?",
  "The hungry puppy jumped over the fence and ran away.",
  "Yesterday we made pancakes with honey and blueberries.",
  "She sells sea shells, but I only want one for my sister.",
  "Look at that enormous elephant splashing in the water!",
  "I would like to choose the green one with the long tail.",
  "Five funny frogs were fishing from a fallen log.",
  "Thank you for the birthday cake, it was lovely.",
  "Grandpa told us a story about a brave little mouse.",
  "Measure the flour, then pour the milk into the bowl.",
  "Do you think it will snow before the weekend?",
  "Zebras have stripes, and leopards have beautiful spots.",
  "A cool breeze blew through the open kitchen window.",
  "My best friend lives in a house with a bright red door.",
  "Today at school we learned how butterflies are born.",
)
AGES = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 25)
NEUTRAL = Emotion()


def make_spec(text: str, age: float, gender: str, seed: int, emotion: Emotion = NEUTRAL) -> ClipSpec:
  """A clip of a person with this voice; what the picture needs is left at its defaults."""
  person = Person(seed=seed, age_years=age, gender=gender, ancestry=(0.0, 0.0, 1.0), face={}, look={})
  return ClipSpec(
    index=0,
    seed=seed,
    text=text,
    audio=None,
    voice="hibari",
    language="en",
    person=person,
    emotion=emotion,
    style=MotionStyle(),
    scene=Scene(),
    fps=Fraction(25),
  )


def praat_f0(speech: Speech) -> float:
  """Median f0 in Hz over the voiced 10 ms frames."""
  sound = parselmouth.Sound(speech.waveform.astype(np.float64), speech.sample_rate)
  f0 = sound.to_pitch_ac(time_step=0.01, pitch_floor=75.0, pitch_ceiling=600.0).selected_array["frequency"]
  return float(np.median(f0[f0 > 0]))


def pitch_table(voice: HibariVoice, people: int) -> list[dict]:
  """One row for every age and gender."""
  rows = []
  for age in AGES:
    for gender in ("female", "male"):
      norm = voice_norm(age, gender)
      heard = []
      for seed in range(people):
        text = " ".join(SENTENCES[(2 * seed) % len(SENTENCES) :][:2])
        heard.append(praat_f0(voice.speak(make_spec(text, age, gender, 100 * age + seed))))
      inside = [norm.f0_low_hz <= f0 <= norm.f0_high_hz for f0 in heard]
      rows.append(
        {
          "age": age,
          "gender": gender,
          "band_hz": [round(norm.f0_low_hz), round(norm.f0_high_hz)],
          "median_f0_hz": round(float(np.median(heard)), 1),
          "range_hz": [round(min(heard), 1), round(max(heard), 1)],
          "inside_band": f"{sum(inside)}/{people}",
        }
      )
  return rows


def vowels(speech: Speech) -> list[Phone | None]:
  """One entry a phone: stressed vowels of at least 60 ms, None for the others."""
  spoken = [p for p in speech.phones if not ph.is_silence(p.symbol)]
  return [p if ph.is_vowel(p.symbol) and p.symbol[-1] != "0" and p.end - p.start >= 0.06 else None for p in spoken]


def envelope(speech: Speech, phone: Phone, octaves: np.ndarray) -> np.ndarray:
  """Cepstrally smoothed log spectrum of the middle of a phone on a log-frequency axis, mean and slope removed."""
  centre, half = 0.5 * (phone.start + phone.end), 0.25 * (phone.end - phone.start)
  a, b = int((centre - half) * speech.sample_rate), int((centre + half) * speech.sample_rate)
  piece = speech.waveform[a:b] * np.hanning(b - a)
  spectrum = np.log(np.abs(np.fft.rfft(piece, 4096)) ** 2 + 1e-12)
  cepstrum = np.fft.irfft(spectrum)
  keep = int(0.0022 * speech.sample_rate)  # below the shortest pitch period
  cepstrum[keep:-keep] = 0
  smooth = np.fft.rfft(cepstrum).real
  curve = np.interp(500.0 * 2**octaves, np.fft.rfftfreq(4096, 1 / speech.sample_rate), smooth)
  return curve - np.polyval(np.polyfit(octaves, curve, 1), octaves)


def envelope_ratio(child: Speech, woman: Speech) -> float:
  """Factor on the frequency axis that fits the woman's vowels to the child's best."""
  step = 0.01
  octaves = np.arange(0, 3.3, step)  # 0.5 to 5 kHz
  pairs = [(a, b) for a, b in zip(vowels(child), vowels(woman), strict=True) if a and b]
  shifts = np.arange(-20, 61)
  score = np.zeros(len(shifts))
  for a, b in pairs:
    x, y = envelope(child, a, octaves), envelope(woman, b, octaves)
    for i, shift in enumerate(shifts):
      u, v = (x[shift:], y[: len(y) - shift]) if shift >= 0 else (x[:shift], y[-shift:])
      score[i] += np.corrcoef(u, v)[0, 1]
  return float(2 ** (shifts[score.argmax()] * step))


def praat_ratio(child: Speech, woman: Speech, scale: float) -> float:
  """Median ratio of F2 and F3."""
  tracks = []
  for speech, ceiling in ((child, 5500.0 * scale), (woman, 5500.0)):
    sound = parselmouth.Sound(speech.waveform.astype(np.float64), speech.sample_rate)
    tracks.append(sound.to_formant_burg(time_step=0.005, maximum_formant=ceiling))
  ratios = []
  for a, b in zip(vowels(child), vowels(woman), strict=True):
    if a and b:
      for number in (2, 3):
        values = [_formant(track, number, p) for track, p in zip(tracks, (a, b), strict=True)]
        ratios.append(np.log(values[0] / values[1]))
  return float(np.exp(np.nanmedian(ratios)))


def _formant(track, number: int, phone: Phone) -> float:
  times = np.linspace(0.6 * phone.start + 0.4 * phone.end, 0.4 * phone.start + 0.6 * phone.end, 5)
  return float(np.nanmedian([track.get_value_at_time(number, t) for t in times]))


def formant_table(voice: HibariVoice, pairs: int) -> list[dict]:
  """Requested and measured scale of children against a woman of 30."""
  rows = []
  for age, gender in ((3, "female"), (5, "male"), (6, "female"), (8, "male"), (10, "female"), (12, "male")):
    requested, by_envelope, by_praat = [], [], []
    for seed in range(pairs):
      text = " ".join(SENTENCES[(2 * seed) % len(SENTENCES) :][:2])
      child = voice.speak(make_spec(text, age, gender, seed))
      woman = voice.speak(make_spec(text, 30, "female", seed))
      requested.append(child.meta["formant_scale"] / woman.meta["formant_scale"])
      by_envelope.append(envelope_ratio(child, woman))
      by_praat.append(praat_ratio(child, woman, requested[-1]))
    asked = np.array(requested)
    worst = 100 * float(np.abs(np.array([by_envelope, by_praat]) / asked - 1).max())
    rows.append(
      {
        "age": age,
        "gender": gender,
        "requested": round(float(asked.mean()), 3),
        "envelope": round(float(np.mean(by_envelope)), 3),
        "envelope_error_percent": round(100 * float(np.mean(np.array(by_envelope) / asked) - 1), 2),
        "praat": round(float(np.mean(by_praat)), 3),
        "praat_error_percent": round(100 * float(np.mean(np.array(by_praat) / asked) - 1), 2),
        "worst_single_error_percent": round(worst, 2),
      }
    )
  return rows


def tempo_table(voice: HibariVoice, people: int) -> list[dict]:
  """Syllables a second of speaking time (silences removed) by age."""
  rows = []
  for age in (3, 4, 5, 6, 8, 10, 12, 25):
    rates = []
    for seed in range(people):
      speech = voice.speak(make_spec(" ".join(SENTENCES[(2 * seed) % len(SENTENCES) :][:2]), age, "female", seed))
      spoken = [p for p in speech.phones if not ph.is_silence(p.symbol)]
      rates.append(sum(ph.is_vowel(p.symbol) for p in spoken) / sum(p.end - p.start for p in spoken))
    rows.append({"age": age, "syllables_per_second": round(float(np.mean(rates)), 2)})
  return rows


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=Path)
  parser.add_argument("--people", type=int, default=6)
  args = parser.parse_args()
  voice = HibariVoice()
  pitch = pitch_table(voice, args.people)
  formants = formant_table(voice, args.people)
  report = {
    "pitch": pitch,
    "voices_inside_band": f"{sum(int(r['inside_band'].split('/')[0]) for r in pitch)}/{len(pitch) * args.people}",
    "formants": formants,
    "largest_mean_formant_error_percent": max(
      max(abs(r["envelope_error_percent"]), abs(r["praat_error_percent"])) for r in formants
    ),
    "tempo": tempo_table(voice, args.people),
  }
  text = json.dumps(report, indent=2)
  print(text)
  if args.out:
    args.out.write_text(text + "\n")


if __name__ == "__main__":
  main()

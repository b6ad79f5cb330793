"""Where eSpeak NG's phones really are in its sound.

Its phone events are exact, but they mark where a stage of synthesis begins, which is not everywhere where the phone
begins (`Generate` in its synthesize.c):

- the event of a stop comes after the pause that is its closure, so that the lips' closure would belong to the vowel
  before and the phone would be the burst alone;
- the event of a vowel comes after the transition from a nasal or liquid into it, so that the consonant would go on
  into the vowel;
- a glide between two vowels (Italian "mia") and the vowel in a cluster ("ambrosia") have events without a name, like
  those of pauses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxtalk.speech import phones as ph

# Seconds at one word a minute by which a vowel after a nasal or liquid precedes its event: 13 ms at 150, which is where
# the level has risen half way (measured on /m n/ in four languages at 90 to 300 words a minute).
_TRANSITION = 2.0
_CLOSURE = 0.07  # s before the burst of a stop that follows a pause, in which its silence is the pause's
_LONGEST_CLOSURE = 0.15  # s; a longer silence before a stop is a pause that has no event
_LEFT = 0.015  # s that always stay with the phone before
_BURST = 0.001  # s by which a burst may precede its event
_SOUND = 1e-4  # of full scale; eSpeak's pauses are exact zeros

Event = tuple[str, int]


def placed(waveform: np.ndarray, rate: int, events: Sequence[Event], words_per_minute: float) -> list[Event]:
  """The events (name, first sample) of a take, moved to where their phones begin; nameless sounds are left out.

  The first sample may be negative, where a take begins with a stop.

  Args:
    waveform: (S,) float32 of the take, in which silences are exact.
    rate: its samples a second.
    events: in order of time, as eSpeak reports them.
    words_per_minute: the pace that was asked for.
  """
  out: list[Event] = []
  ends = [sample for _, sample in events[1:]] + [len(waveform)]
  for (name, sample), end in zip(events, ends, strict=True):
    if _manner(name) == "silence" and _sounds(waveform[sample:end], rate):
      continue  # its time goes to the phone before
    start = sample
    if not out and _manner(name) in ("stop", "affricate"):
      start = sample - round(_CLOSURE * rate)  # in the silence that is put before a take
    elif _manner(name) in ("stop", "affricate"):
      start = _closure_start(waveform, rate, sample, paused=_manner(out[-1][0]) == "silence")
    elif out and _manner(name) == "vowel" and _manner(out[-1][0]) in ("nasal", "liquid", "glide", ""):
      start = sample - round(_TRANSITION / words_per_minute * rate)
    earliest = out[-1][1] + round(_LEFT * rate) if out else start
    out.append((name, min(sample, max(start, earliest))))
  return out


def _manner(name: str) -> str:
  """Manner of an event; "" for a modifier such as "ʲ", which eSpeak treats as a liquid."""
  if ph.is_silence(name.strip()):
    return "silence"
  try:
    return ph.manner(name)
  except KeyError:
    return ""


def _sounds(part: np.ndarray, rate: int) -> bool:
  """True where a sound lasts to the end of a part that is long enough to be anything."""
  tail = part[len(part) // 2 :]
  return len(part) > 0.01 * rate and float(np.mean(np.abs(tail) > _SOUND)) > 0.5


def _closure_start(waveform: np.ndarray, rate: int, sample: int, *, paused: bool) -> int:
  """First sample of the silence that the burst at ``sample`` ends; ``sample`` itself where there is none."""
  last = max(0, sample - round(_BURST * rate))
  first = max(0, sample - round((_CLOSURE if paused else _LONGEST_CLOSURE) * rate))
  loud = np.flatnonzero(np.abs(waveform[first:last]) > _SOUND)
  if not len(loud):
    return first if paused else max(0, sample - round(_CLOSURE * rate))
  silent = first + int(loud[-1]) + 1
  return sample if silent == last else silent

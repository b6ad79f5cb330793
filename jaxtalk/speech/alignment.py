"""Phone boundaries: the network's own durations, then the sound itself.

The network decides on a grid of 25 ms, and gives stress marks and blanks time of their own, which belongs to the phones
around them. So each boundary is known as a window; inside it, and a little beyond, the sound is asked where it changes
in the way that the two phones would make it change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxtalk.core import Phone
from jaxtalk.speech import phones as ph

STEP = 0.005  # s between candidate boundaries
MARGIN = 0.025  # s searched beyond a window: one step of the network's grid
SHORTEST = 0.020  # s, of a phone
PAUSE = 0.045  # s; a shorter gap is no silence
QUIET_DB = -28.0  # re the loud parts: below this a gap is silent
CLOSURE = 0.060  # s of silence before a stop that are the stop itself (the mouth closes before it bursts)

# Expected level in dB of (low, middle, high) frequencies by class; only differences between neighbours matter.
_PROFILE = {
  "vowel": (0.0, 0.0, -10.0),
  "glide": (-3.0, -10.0, -18.0),
  "liquid": (-3.0, -10.0, -18.0),
  "nasal": (-4.0, -18.0, -22.0),
  "voiced stop": (-12.0, -28.0, -28.0),
  "voiceless stop": (-32.0, -28.0, -20.0),
  "voiced fricative": (-10.0, -18.0, -10.0),
  "voiceless fricative": (-28.0, -20.0, -8.0),
  "sibilant": (-24.0, -14.0, 4.0),
  "silence": (-45.0, -45.0, -35.0),
}
_BANDS = ((80.0, 900.0), (900.0, 3500.0), (3500.0, 11_000.0))


@dataclasses.dataclass(frozen=True)
class Window:
  """Where the boundary after a phone may lie, in seconds; ``pause`` if the text allows a silence there."""

  low: float
  high: float
  pause: bool = False


def align(waveform: np.ndarray, sample_rate: int, symbols: Sequence[str], windows: Sequence[Window]) -> list[Phone]:
  """Contiguous phones over the whole waveform, silences included.

  Args:
    waveform: (S,) mono.
    sample_rate: Hz.
    symbols: N phones in order, without silences.
    windows: N + 1 of them: before the first phone, between neighbours, after the last.
  """
  bands, level = _analyse(waveform, sample_rate)
  duration = len(waveform) / sample_rate
  loud = np.quantile(level, 0.95)
  quiet = level < loud + QUIET_DB
  edges = [_edge(window, quiet, symbols, i) for i, window in enumerate(windows)]
  out: list[Phone] = []
  start = 0
  begin = edges[0]
  for stop, end in enumerate(edges):
    if stop == 0 or begin is None or end is None:
      continue
    inner = _inner(bands, symbols[start:stop], windows[start + 1 : stop], begin[1], end[0])
    out += _spell(symbols[start:stop], [begin[1], *inner, end[0]])
    start, begin = stop, end
  return _with_silences(out, duration)


def _edge(window: Window, quiet: np.ndarray, symbols: Sequence[str], i: int) -> tuple[float, float] | None:
  """(end of the phone before, start of the phone after) around a silence, None where there is none."""
  first, last = i == 0, i == len(symbols)
  if not (window.pause or first or last):
    return None
  low = 0 if first else max(0, int((window.low - 0.12) / STEP))
  high = len(quiet) if last else min(len(quiet), int((window.high + 0.03) / STEP) + 1)
  run = _longest_run(quiet[low:high])
  if run is None:
    return (window.high, window.high) if first else (window.low, window.low) if last else None
  begin, end = (low + run[0]) * STEP, (low + run[1]) * STEP
  if not last and ph.manner(symbols[i]) in ("stop", "affricate"):
    end = max(begin + 0.5 * (end - begin), end - CLOSURE)
  if not first and ph.manner(symbols[i - 1]) in ("stop", "affricate"):
    begin = min(begin + 0.5 * (end - begin), begin + 0.5 * CLOSURE)
  return (begin, end) if end - begin >= PAUSE or first or last else None


def _longest_run(flags: np.ndarray) -> tuple[int, int] | None:
  """(start, stop) of the longest run of true; None if there is none.

  At the ends of the sound, too: a click in the silence there is no speech.
  """
  steps = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
  runs = zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True)
  return max(runs, key=lambda run: run[1] - run[0], default=None)


def _inner(bands, symbols, windows, begin: float, end: float) -> list[float]:
  """Best boundaries between phones without a silence between them: dynamic programming over 5 ms steps.

  Maximises the sum of the changes at the boundaries under a shortest duration of phones.
  """
  n = len(windows)
  if n == 0:
    return []
  steps = np.arange(int(begin / STEP) + 1, max(int(begin / STEP) + 2, int(end / STEP)))
  scores = np.stack([_score(bands, steps, symbols[k], symbols[k + 1], windows[k]) for k in range(n)])
  shortest = max(1, min(round(SHORTEST / STEP), len(steps) // (n + 2)))
  best = np.where(np.arange(len(steps)) >= shortest - 1, scores[0], -np.inf)
  back = np.zeros((n, len(steps)), int)
  for k in range(1, n):
    reach = np.full(len(steps), -np.inf)
    reach[shortest:] = np.maximum.accumulate(best)[:-shortest]
    argmax = np.zeros(len(steps), int)
    argmax[shortest:] = _running_argmax(best)[:-shortest]
    back[k] = argmax
    best = reach + scores[k]
  best[len(steps) - shortest + 1 :] = -np.inf
  if not np.isfinite(best.max()):
    return np.linspace(begin, end, n + 2)[1:-1].tolist()  # more phones than room: share it
  at = [int(best.argmax())]
  for k in range(n - 1, 0, -1):
    at.append(int(back[k][at[-1]]))
  return [float(steps[i] * STEP) for i in reversed(at)]


def _score(bands: np.ndarray, steps: np.ndarray, before: str, after: str, window: Window) -> np.ndarray:
  """How well each candidate step fits the boundary: change in the expected direction, less the distance."""
  wanted = np.subtract(_PROFILE[_class(after)], _PROFILE[_class(before)])
  strength = float(np.linalg.norm(wanted))
  change = bands[np.clip(steps + 2, 0, len(bands) - 1)] - bands[np.clip(steps - 2, 0, len(bands) - 1)]
  directed = change @ (wanted / strength) if strength > 6 else 0.0 * steps
  any_change = np.linalg.norm(change, axis=1)
  times = steps * STEP
  outside = np.maximum(np.maximum(window.low - times, times - window.high), 0.0)
  off_centre = np.abs(times - 0.5 * (window.low + window.high))
  evidence = (directed + 0.3 * any_change) / 10.0
  return np.where(outside <= MARGIN, evidence - (outside / 0.0125) ** 2 - off_centre / 0.1, -50.0 - outside * 100)


def _class(symbol: str) -> str:
  kind = ph.manner(symbol)
  if ph.is_sibilant(symbol) and kind == "fricative":
    return "sibilant"
  if kind in ("stop", "fricative", "affricate"):
    return ("voiced " if ph.is_voiced(symbol) else "voiceless ") + ("fricative" if kind == "fricative" else "stop")
  return kind


def _spell(symbols: Sequence[str], times: Sequence[float]) -> list[Phone]:
  return [Phone(s, float(a), float(b)) for s, a, b in zip(symbols, times, times[1:], strict=False)]


def _with_silences(spoken: list[Phone], duration: float) -> list[Phone]:
  """Fill the gaps, from 0 to the end of the sound."""
  out, clock = [], 0.0
  for phone in spoken:
    if phone.start - clock > 1e-6:
      out.append(Phone(ph.SILENCE, clock, phone.start))
    out.append(Phone(phone.symbol, max(clock, phone.start), phone.end))
    clock = phone.end
  if duration - clock > 1e-6:
    out.append(Phone(ph.SILENCE, clock, duration))
  return out


def _analyse(waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
  """(F, 3) band levels and (F,) overall level in dB, every 5 ms, from windows of 15 ms centred there."""
  hop, window = round(STEP * sample_rate), round(0.015 * sample_rate)
  padded = np.pad(waveform, (window // 2, window))
  frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(waveform) + 1 : hop]
  power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
  hertz = np.fft.rfftfreq(window, 1 / sample_rate)
  floor = 1e-7 * max(float(power.sum(1).max()), 1e-9)
  sums = [power[:, (hertz >= low) & (hertz < high)].sum(1) for low, high in _BANDS]
  levels = 10 * np.log10(np.stack(sums, axis=1) + floor)
  return levels, 10 * np.log10(power[:, hertz >= 80].sum(1) + floor)


def _running_argmax(x: np.ndarray) -> np.ndarray:
  """Index of the largest value so far."""
  best = np.maximum.accumulate(x)
  index = np.where(x >= best, np.arange(len(x)), 0)
  return np.maximum.accumulate(index)

"""eSpeak NG in a process of its own: ``python -m jaxtalk.speech.espeak_process``, a JSON request in, a take out.

Its library keeps phases and noise in globals that nothing resets, so that a take depends on all takes before; in a
fresh process the same request gives the same samples. It also keeps GPL code out of the caller's process.

Requests (stdin): a list of {"language", "variant", "text", "words_per_minute", "spread", "seed"} with "f0_hz", the
median pitch to be found, or "pitch", on the library's scale; without "text" only the language is looked up. Reply
(stdout) to each: one line of JSON {"rate", "phones": [[name, sample]], "words": [[text position, length, sample]],
"samples": n}, then n float32. Otherwise {"missing": why} or {"bad": why}. Each of several is answered by a fork, so
that every request finds the library fresh and Python is started once; where a fork dies, the replies end.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import sys

import numpy as np

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.speech.prosody import track_f0

# Numbers of speak_lib.h.
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _DONT_EXIT, _UTF8 = 2, 0x1, 0x2, 0x8000, 0x1
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORD, _PHONEME = 1, 7


class _Id(ctypes.Union):
  _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
  _fields_ = [
    ("type", ctypes.c_int),
    ("unique_identifier", ctypes.c_uint),
    ("text_position", ctypes.c_int),
    ("length", ctypes.c_int),
    ("audio_position", ctypes.c_int),
    ("sample", ctypes.c_int),
    ("user_data", ctypes.c_void_p),
    ("id", _Id),
  ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclasses.dataclass
class Take:
  """What one call of the synthesiser said; positions in samples."""

  samples: list[np.ndarray] = dataclasses.field(default_factory=list)
  phones: list[tuple[str, int]] = dataclasses.field(default_factory=list)
  words: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)  # text position, length, sample

  @property
  def waveform(self) -> np.ndarray:
    return np.concatenate(self.samples) if self.samples else np.zeros(0, np.float32)


class Engine:
  """The C library."""

  def __init__(self):
    try:
      import espeakng_loader
    except ImportError as error:
      raise MissingAssetError("voice 'espeak' needs eSpeak NG (GPL): pip install 'jaxtalk[espeak]'") from error
    try:
      self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
      raise MissingAssetError(
        f"eSpeak NG cannot be loaded ({error}): pip install --force-reinstall espeakng-loader"
      ) from error
    # text, size, position, kind of position, end, flags, out: identifier, user data
    self.lib.espeak_Synth.argtypes = [
      ctypes.c_char_p,
      ctypes.c_size_t,
      ctypes.c_uint,
      ctypes.c_int,
      ctypes.c_uint,
      ctypes.c_uint,
      ctypes.c_void_p,
      ctypes.c_void_p,
    ]
    self.lib.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    options = _PHONEME_EVENTS | _IPA | _DONT_EXIT
    path = espeakng_loader.get_data_path().encode()
    self.rate = self.lib.espeak_Initialize(_SYNCHRONOUS, 0, ctypes.c_char_p(path), options)
    if self.rate <= 0:
      raise MissingAssetError("eSpeak NG does not find its data: pip install --force-reinstall espeakng-loader")
    self._take = Take()
    self._callback = _CALLBACK(self._receive)  # kept alive here: C holds no reference
    self.lib.espeak_SetSynthCallback(self._callback)

  def has(self, language: str) -> bool:
    """Selects the voice of a language (with a variant, "de+f1"); False if there is none."""
    return self.lib.espeak_SetVoiceByName(language.encode()) == 0

  def name_of(self, language: str) -> str:
    """What eSpeak calls a BCP-47 tag: the tag itself or its first part; InputError if it has neither."""
    for name in ("en-us" if language.lower() == "en" else language, language.split("-")[0]):
      if name and self.has(name.lower()):
        return name.lower()
    raise InputError(f"voice 'espeak': eSpeak NG has no language {language!r}")

  def speak(self, text: str, language: str, *, words_per_minute: float, pitch: int, spread: float, seed: int) -> Take:
    """One take. ``pitch`` and ``spread`` on eSpeak's scales of 0 to 100, 50 is its normal."""
    self.has(language)
    for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, spread)):
      self.lib.espeak_SetParameter(parameter, round(value), 0)
    if hasattr(self.lib, "espeak_ng_SetRandSeed"):  # from 1.52 on: the breath noise
      self.lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    self._take = Take()
    data = text.encode() + b"\0"
    status = self.lib.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
    if status != 0:
      raise InputError(f"eSpeak NG could not say the text (status {status})")
    return self._take

  def _receive(self, wave, count: int, events) -> int:
    """C calls this with a block of samples and the events in it; it must not raise."""
    if wave and count > 0:
      self._take.samples.append(np.ctypeslib.as_array(wave, (count,)).astype(np.float32) / 32768)
    i = 0
    while events and events[i].type != 0:
      event = events[i]
      if event.type == _PHONEME:
        self._take.phones.append((event.id.string.decode("utf-8", "ignore"), event.sample))
      elif event.type == _WORD:
        self._take.words.append((event.text_position - 1, event.length, event.sample))
      i += 1
    return 0

  def pitched(self, text: str, name: str, f0_hz: float, words_per_minute: float, spread: float, seed: int) -> Take:
    """The take whose median pitch is nearest to ``f0_hz``: eSpeak's scale of 0 to 100 is searched by halving."""
    low, high, best, miss = 0, 100, Take(), float("inf")
    while low <= high:
      pitch = (low + high) // 2
      take = self.speak(text, name, words_per_minute=words_per_minute, pitch=pitch, spread=spread, seed=seed)
      f0, _ = track_f0(take.waveform, self.rate) if take.samples else (np.zeros(0), None)
      if not (f0 > 0).any():
        return take
      error = float(np.log(np.median(f0[f0 > 0]) / f0_hz))
      if abs(error) < miss:
        best, miss = take, abs(error)
      low, high = (pitch + 1, high) if error < 0 else (low, pitch - 1)
    return best


def answer(request: dict) -> tuple[dict, bytes]:
  """Reply and samples of one request."""
  engine = Engine()
  name = engine.name_of(request["language"])
  if "text" not in request:
    return {"rate": engine.rate}, b""
  how = "pitch" if "pitch" in request else "f0_hz"
  numbers = {k: request[k] for k in (how, "words_per_minute", "spread", "seed")}
  speak = engine.speak if how == "pitch" else engine.pitched
  take = speak(request["text"], name + request["variant"], **numbers)
  wave = take.waveform
  head = {"rate": engine.rate, "phones": take.phones, "words": take.words, "samples": len(wave)}
  return head, wave.astype("<f4").tobytes()


def reply(request: dict) -> None:
  """Writes the reply to one request."""
  try:
    head, data = answer(request)
  except MissingAssetError as error:
    head, data = {"missing": str(error)}, b""
  except InputError as error:
    head, data = {"bad": str(error)}, b""
  sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + data)
  sys.stdout.buffer.flush()


def main() -> None:
  requests = json.load(sys.stdin)
  if len(requests) == 1:  # nothing to keep apart, and no need of a fork where there is none
    reply(requests[0])
    return
  for request in requests:
    child = os.fork()
    if not child:
      reply(request)
      os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
      sys.exit(abs(status))


if __name__ == "__main__":
  main()

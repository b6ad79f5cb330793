"""Recordings: every depth, rate and channel count becomes 24 kHz mono; bad files are one clear line each."""

import numpy as np
import pytest
import soundfile

from jaxtalk.core import InputError
from jaxtalk.speech.audio import read_audio


def _tone(seconds=1.0, rate=48_000, hertz=220.0, channels=1):
  t = np.arange(round(seconds * rate)) / rate
  wave = 0.3 * np.sin(2 * np.pi * hertz * t)
  return np.stack([wave * 0.5**c for c in range(channels)], axis=1)


@pytest.mark.parametrize(
  ("name", "rate", "channels", "subtype"),
  [
    ("u8.wav", 96_000, 2, "PCM_U8"),
    ("s16.wav", 44_100, 1, "PCM_16"),
    ("s24.wav", 48_000, 6, "PCM_24"),
    ("f32.wav", 8_000, 1, "FLOAT"),
    ("f64.wav", 22_050, 2, "DOUBLE"),
    ("ulaw.wav", 8_000, 1, "ULAW"),
    ("a.flac", 48_000, 2, "PCM_24"),
    ("a.ogg", 44_100, 1, "VORBIS"),
    ("a.mp3", 44_100, 2, "MPEG_LAYER_III"),
  ],
)
def test_formats(tmp_path, name, rate, channels, subtype):
  path = tmp_path / name
  soundfile.write(path, _tone(rate=rate, channels=channels), rate, subtype=subtype)
  speech = read_audio(path)
  assert speech.sample_rate == 24_000 and speech.waveform.dtype == np.float32 and speech.waveform.ndim == 1
  assert speech.duration == pytest.approx(1.0, abs=0.06)  # lossy codecs pad
  level = 0.3 * np.mean([0.5**c for c in range(channels)])
  assert np.abs(speech.waveform[2400:-2400]).max() == pytest.approx(level, rel=0.06)
  voiced = speech.f0_hz[speech.f0_hz > 0]
  assert np.median(voiced) == pytest.approx(220.0, rel=0.005)
  assert speech.voice == "recording" and not speech.phones and not speech.text


def test_resampling_keeps_the_pitch_and_removes_what_cannot_be_kept(tmp_path):
  rate = 96_000
  t = np.arange(rate) / rate
  soundfile.write(tmp_path / "a.wav", 0.2 * np.sin(2 * np.pi * 1000 * t) + 0.2 * np.sin(2 * np.pi * 30_000 * t), rate)
  wave = read_audio(tmp_path / "a.wav").waveform
  spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
  assert np.argmax(spectrum) == pytest.approx(1000, abs=1)
  assert np.sort(spectrum)[-10] < 1e-3 * spectrum.max()  # no alias of the 30 kHz tone


def test_peaks_beyond_full_scale_are_brought_down(tmp_path):
  soundfile.write(tmp_path / "loud.wav", 10 * _tone(), 48_000, subtype="FLOAT")
  wave = read_audio(tmp_path / "loud.wav").waveform
  assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-6)


def _write(path, wave, rate=48_000, **options):
  soundfile.write(path, wave, rate, **options)
  return path


def _cut(path, share):
  data = path.read_bytes()
  path.write_bytes(data[: int(len(data) * share)])
  return path


def _text(path):
  path.write_text("this is not audio " * 100)
  return path


def _empty(path):
  path.write_bytes(b"")
  return path


_NAN = np.where(np.arange(48_000) == 500, np.nan, 0.1)
_INF = np.where(np.arange(48_000) == 7, np.inf, 0.1)
BAD = {
  "missing": (lambda p: p / "no.wav", "no such file"),
  "folder": (lambda p: p, "folder"),
  "empty": (lambda p: _empty(p / "e.wav"), "empty"),
  "text": (lambda p: _text(p / "t.wav"), "not an audio file"),
  "wav cut": (lambda p: _cut(_write(p / "a.wav", _tone()), 0.4), "truncated"),
  "wav header only": (lambda p: _cut(_write(p / "a.wav", _tone()), 0.0004), "truncated"),
  "flac cut": (lambda p: _cut(_write(p / "a.flac", _tone()), 0.4), "truncated"),
  "ogg cut to its first page": (lambda p: _cut(_write(p / "a.ogg", _tone()), 0.05), "truncated"),
  "silence": (lambda p: _write(p / "s.wav", np.zeros(48_000)), "silent"),
  "almost silence": (lambda p: _write(p / "s.wav", 1e-4 * _tone()), "silent"),
  "0.05 s": (lambda p: _write(p / "s.wav", _tone(0.05)), "0.05 s of audio is too short"),
  "no samples": (lambda p: _write(p / "s.wav", np.zeros(0)), "no audio samples"),
  "too long": (lambda p: _write(p / "l.wav", np.zeros(8000 * 601, np.int16), 8000), "601 s of audio is too long"),
  "NaN": (lambda p: _write(p / "n.wav", _NAN, subtype="FLOAT"), "sample 500 is not a number"),
  "infinite": (lambda p: _write(p / "i.wav", _INF, subtype="FLOAT"), "sample 7 is not a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, case):
  make, reason = BAD[case]
  with pytest.raises(InputError, match=reason) as caught:
    read_audio(make(tmp_path))
  assert "\n" not in str(caught.value)

"""Media files: lengths, marks, order of their parts, and the same bytes twice."""

import io
import json
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from jaxtalk.clips import marks, media

RATE = 24000


def picture(frames, size):
  x = np.linspace(20, 230, size)
  image = np.stack(np.broadcast_arrays(x[None, :, None], x[:, None, None], 120.0), -1)[:, :, 0]
  return np.repeat(image[None].astype(np.uint8), frames, 0)


def tone(seconds):
  return (0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def write(path, frames=10, fps=Fraction(25), size=64, sound=None):
  sound = tone(float(frames / fps)) if sound is None else sound
  with media.VideoFile(
    path, size=size, fps=fps, num_frames=frames, waveform=sound, sample_rate=RATE, comment=marks.comment()
  ) as file:
    images = picture(frames, size)
    file.add(images[: frames // 2])
    file.add(images[frames // 2 :])
  return path


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(10)])
@pytest.mark.parametrize("frames", [1, 2, 9, 50])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_picture_and_sound_are_equally_long_whatever_the_sound(tmp_path, frames, fps, factor):
  path = write(tmp_path / "a.mp4", frames, fps, sound=tone(factor * float(frames / fps)))
  with av.open(str(path)) as file:
    video, audio = file.streams.video[0], file.streams.audio[0]
    lengths = [float(stream.duration * stream.time_base) for stream in (video, audio)]
    assert video.average_rate == fps and video.frames == frames
    assert video.codec_context.name == "h264" and audio.codec_context.name == "aac"
    assert video.codec_context.pix_fmt == "yuv420p"
    assert sum(1 for _ in file.decode(video=0)) == frames
  assert abs(lengths[0] - frames / fps) < 1e-3
  assert abs(lengths[0] - lengths[1]) * fps < 0.1


def test_same_content_same_bytes_and_the_index_first(tmp_path):
  first, second = write(tmp_path / "a.mp4").read_bytes(), write(tmp_path / "b.mp4").read_bytes()
  assert first == second
  assert first.index(b"moov") < first.index(b"mdat")


def test_colours_survive(tmp_path):
  path = write(tmp_path / "a.mp4", 4)
  (frame,) = media.read_frames(path, [2])
  assert np.abs(frame.astype(int) - picture(1, 64)[0]).mean() < 3


def test_sound_is_in_step_with_the_picture(tmp_path):
  sound = np.zeros(RATE * 2, np.float32)
  sound[RATE : RATE + 240] = 0.9  # a click at one second
  path = write(tmp_path / "a.mp4", 50, sound=sound)
  with av.open(str(path)) as file:
    decoded = [frame for frame in file.decode(audio=0)]
  start = float(decoded[0].pts * decoded[0].time_base)
  samples = np.concatenate([frame.to_ndarray()[0] for frame in decoded])
  assert abs(np.argmax(np.abs(samples)) / RATE + start - 1.0) < 0.012


def test_every_medium_says_that_it_is_synthetic(tmp_path):
  with av.open(str(write(tmp_path / "a.mp4"))) as file:
    assert "Synthetic" in file.metadata["comment"] and marks.TRAINED_MEDIA in file.metadata["comment"]
  media.write_wav(tmp_path / "a.wav", tone(0.1), RATE, marks.comment(recording=True))
  data = (tmp_path / "a.wav").read_bytes()
  assert b"INFOICMT" in data and marks.COMPOSITE_MEDIA.encode() in data and b"no real person is shown" in data
  media.write_png(tmp_path / "a.png", picture(1, 64)[0])
  with Image.open(tmp_path / "a.png") as image:
    assert "Synthetic" in image.text["Comment"] and marks.TRAINED_MEDIA in image.text["XML:com.adobe.xmp"]


def test_wav_holds_the_samples(tmp_path):
  sound = np.array([0.0, 1.0, -1.0, 0.5, 2.0, -2.0], np.float32)
  media.write_wav(tmp_path / "a.wav", sound, RATE, "x")
  with wave.open(str(tmp_path / "a.wav")) as file:
    assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
    samples = np.frombuffer(file.readframes(10), "<i2")
  np.testing.assert_array_equal(samples, [0, 32767, -32767, 16384, 32767, -32767])


def test_npz_bytes_depend_on_the_arrays_only(tmp_path):
  arrays = {"a": np.arange(6.0), "b": np.eye(3) > 0}
  media.write_npz(tmp_path / "a.npz", arrays)
  media.write_npz(tmp_path / "b.npz", arrays)
  assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
  with np.load(io.BytesIO((tmp_path / "a.npz").read_bytes()), allow_pickle=False) as read:
    np.testing.assert_array_equal(read["b"], arrays["b"])


def test_sound_is_fitted_to_whole_frames():
  assert len(media.fit_to_frames(tone(1), RATE, 26, Fraction(25))) == RATE * 26 // 25
  fitted = media.fit_to_frames(np.ones(100, np.float32), RATE, 30, Fraction(30000, 1001))
  assert len(fitted) == round(30 * 1001 / 30000 * RATE) and fitted.sum() == 100


def test_digests_do_not_depend_on_the_order_of_keys():
  assert marks.digest({"a": 1, "b": [1, 2]}) == marks.digest(json.loads('{"b": [1, 2], "a": 1}'))
  assert marks.digest({"a": 1}) != marks.digest({"a": 2})
  assert len(marks.code_digest()) == 64

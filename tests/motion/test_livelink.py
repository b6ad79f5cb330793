from fractions import Fraction

import numpy as np
import pytest

from jaxtalk.core import InputError, Motion, MotionSpace
from jaxtalk.motion import livelink
from jaxtalk.motion.spaces import ARKIT


def _motion(frames=50, fps=Fraction(25)):
  values = np.random.default_rng(3).uniform(0, 1, (frames, 61)).astype(np.float32)
  values[:, 52:] -= 0.5
  return Motion(values=values, fps=fps, space=ARKIT)


def test_round_trip_at_sixty(tmp_path):
  motion = _motion(fps=Fraction(60))
  livelink.write(tmp_path / "a.csv", motion)
  back = livelink.read(tmp_path / "a.csv")
  assert back.fps == 60 and back.space == ARKIT
  np.testing.assert_allclose(back.values, motion.values, atol=1e-6)


def test_header_rows_and_rate(tmp_path):
  livelink.write(tmp_path / "a.csv", _motion())
  lines = (tmp_path / "a.csv").read_text().splitlines()
  header = lines[0].split(",")
  assert header[:4] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
  assert header[-9:] == [
    *("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll"),
    *("RightEyeYaw", "RightEyePitch", "RightEyeRoll"),
  ]
  assert len(lines) == 1 + 120 and len(header) == 63
  assert lines[1].startswith("00:00:00:00.000,61,") and lines[62].startswith("00:00:01:01.000,61,")


def test_resampling_is_linear_and_clamped(tmp_path):
  values = np.zeros((25, 61))
  values[:, 17] = np.linspace(-0.2, 1.4, 25)
  livelink.write(tmp_path / "a.csv", Motion(values=values, fps=Fraction(25), space=ARKIT))
  jaw = livelink.read(tmp_path / "a.csv")["jawOpen"]
  t = (np.arange(60) + 0.5) / 60
  line = np.clip((t * 25 - 0.5) / 24, 0, 1) * 1.6 - 0.2
  np.testing.assert_allclose(jaw, np.clip(line, 0, 1), atol=1e-6)


def test_reads_by_name_and_fills_dropped_frames(tmp_path):
  names = [n[0].upper() + n[1:] for n in ARKIT.channels[:52]][::-1]  # another order, no angles
  rows = [["Timecode", "BlendShapeCount", *names]]
  for frame, value in ((10, 0.0), (11, 0.1), (14, 0.4)):
    rows.append([f"01:02:03:{frame:02d}.000", "52", *(str(value) if n == "JawOpen" else "0" for n in names)])
  path = tmp_path / "b.csv"
  path.write_text("\n".join(",".join(row) for row in rows))
  motion = livelink.read(path)
  np.testing.assert_allclose(motion["jawOpen"], [0.0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)
  assert not motion["headYaw"].any()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda s: s.replace("JawOpen", "JawOpened"), "jawOpen"),
    (lambda s: s.replace("00:00:00:01.000", "yesterday"), "line 3"),
    (lambda s: s.replace("00:00:00:01.000", "00:00:00:00.000"), "does not increase"),
    (lambda s: s.replace(",61,0.", ",61,nan0.", 1), "line 2"),
    (lambda s: s.split("\n")[0], "no frames"),
    (lambda s: "", "Timecode|missing"),
  ],
)
def test_bad_files_are_one_line(tmp_path, change, message):
  path = tmp_path / "c.csv"
  livelink.write(path, _motion(4))
  path.write_text(change(path.read_text()))
  with pytest.raises(InputError, match=message) as error:
    livelink.read(path)
  assert "\n" not in str(error.value)


def test_refuses_other_spaces_nan_and_fractional_rates(tmp_path):
  other = Motion(values=np.zeros((3, 2)), fps=Fraction(25), space=MotionSpace("two", ("a", "b")))
  with pytest.raises(InputError, match="two"):
    livelink.write(tmp_path / "d.csv", other)
  with pytest.raises(InputError, match="NaN"):
    livelink.write(tmp_path / "d.csv", Motion(values=np.full((3, 61), np.nan), fps=Fraction(25), space=ARKIT))
  with pytest.raises(InputError, match="whole number"):
    livelink.write(tmp_path / "d.csv", _motion(), fps=Fraction(30000, 1001))
  assert not (tmp_path / "d.csv").exists()

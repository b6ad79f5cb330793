"""DiffPoseTalk's LMDB layout: what is read equals what was written, and damaged records are named."""

import builtins
import pickle

import numpy as np
import pytest
import tiny_motion

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.data import motion_lmdb
from jaxtalk.data.motion_lmdb import MotionDatabase, usable
from jaxtalk.systems.diffposetalk_data import Recordings, StylePairs, WindowPairs, held_out, measure
from jaxtalk.systems.diffposetalk_motion import Stats

pytest.importorskip("lmdb")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  values, truth = tiny_motion.records(people=2)
  folder = tiny_motion.write(tmp_path_factory.mktemp("data") / "lmdb", values, {"train": truth, "val": ["p1/001"]})
  return MotionDatabase(folder), truth


def test_stretches_equal_what_was_written(written):
  database, truth = written
  assert database.segment == 20 and database.split("val") == ["p1/001"] and database.frames("p0/001") == 50
  for start, stop in ((0, 50), (3, 9), (15, 42), (20, 40)):
    coef, wave = truth["p0/001"]
    stretch = database.read("p0/001", start, stop)
    np.testing.assert_array_equal(stretch.shape, coef["shape"][start:stop])
    np.testing.assert_array_equal(stretch.expression, coef["exp"][start:stop])
    np.testing.assert_array_equal(stretch.pose, coef["pose"][start:stop])
    np.testing.assert_allclose(stretch.waveform, wave[start * 640 : stop * 640], atol=1e-6)
  assert database.read("p0/000", 0, 5, audio=False).waveform is None


@pytest.mark.parametrize("protocol", (2, 4))
def test_older_pickles_are_read(tmp_path, protocol):
  values, truth = tiny_motion.records(people=1, videos=1)
  database = MotionDatabase(tiny_motion.write(tmp_path / "lmdb", values, {}, protocol))
  np.testing.assert_array_equal(database.read("p0/000", 10, 30).expression, truth["p0/000"][0]["exp"][10:30])


def test_examples_are_windows_of_the_recordings(written):
  database, truth = written
  recordings = Recordings(database, "train", 24)
  stats = measure(Recordings(database, "train", tiny_motion.FRAMES))
  every = np.concatenate([coef["exp"] for coef, _ in truth.values()])
  np.testing.assert_allclose(stats.exp_mean, every.mean(0), atol=1e-4)
  np.testing.assert_allclose(stats.exp_std, every.std(0), rtol=1e-4)

  windows = WindowPairs(recordings, stats, head=False)
  example = windows.get(1, np.random.default_rng(0))
  assert example["motion"].shape == (24, 51) and example["waveform"].shape == (24 * 640,)
  assert abs(example["waveform"].mean()) < 1e-5 and example["waveform"].std() == pytest.approx(1.0, abs=1e-3)
  motion = (truth["p0/001"][0]["exp"] - stats.exp_mean) / stats.exp_std
  assert any(np.allclose(example["motion"][:, :50], motion[i : i + 24], atol=1e-5) for i in range(27))

  pairs = StylePairs(recordings, stats, 11, head=True)
  assert len(pairs) == 2  # one example a person
  pair = pairs.get(0, np.random.default_rng(0))
  assert pair["first"].shape == pair["second"].shape == (11, 54)
  assert not np.allclose(pair["first"], pair["second"])
  batch = held_out(pairs, 3)
  assert batch["first"].shape == (3, 11, 54)
  np.testing.assert_array_equal(batch["first"], held_out(pairs, 3)["first"])


def test_damaged_records_are_skipped_counted_and_named(tmp_path):
  values, truth = tiny_motion.records(people=3)
  values["p0/000/metadata"] = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
  del values["p0/001/metadata"]
  values["p1/000/metadata"] = {"n_frames": 7}
  values["p1/001/001"] = pickle.dumps(values["p1/001/001"])[:500]
  names = list(truth)
  database = MotionDatabase(tiny_motion.write(tmp_path / "lmdb", values, {"train": names, "bad": names[:3]}))
  lengths, wrong = usable(database, names, 30)
  assert list(lengths) == names[3:] and list(wrong) == names[:3]
  assert "refused os.system" in wrong["p0/000"] and "no record p0/001/metadata" in wrong["p0/001"]
  assert "7 frames are fewer than the 30" in wrong["p1/000"]
  with pytest.warns(UserWarning, match="left out 3 of 6 recordings: p0/000"):
    recordings = Recordings(database, "train", 30)
  sizes = (("exp", 50), ("pose", 6), ("shape", 100))
  stats = Stats(**{f"{k}_{m}": np.full(n, m == "std", np.float32) for k, n in sizes for m in ("mean", "std")})
  windows = WindowPairs(recordings, stats, head=True)
  with pytest.warns(UserWarning, match=r"left out \(4 so far\).*record p1/001/001"):
    example = windows.get(0, np.random.default_rng(0))  # another recording takes its place
  assert np.isfinite(example["motion"]).all() and list(recordings.skipped)[-1] == "p1/001"
  with pytest.raises(InputError, match="no recording can be used; the first: .*os.system"):
    Recordings(database, "bad", 30)


BAD = {
  "no exp of 50 columns": lambda r: r["coef"].pop("exp"),
  "no pose of 6 columns": lambda r: r["coef"].update(pose=np.zeros((20, 3), np.float32)),
  "is too short": lambda r: r["coef"].update(shape=np.zeros((3, 100), np.float32)),
  "not finite": lambda r: r["coef"].update(exp=np.full((20, 50), np.nan, np.float32)),
  "no audio": lambda r: r.pop("audio"),
  "cannot be decoded": lambda r: r.update(audio=b"no sound"),
  "at 8000 Hz": lambda r: r.update(audio=tiny_motion.flac(np.zeros(12800), 8000)),
}


def test_every_kind_of_damage_has_a_message(tmp_path):
  values, _ = tiny_motion.records(people=1, videos=1)
  for i, (message, damage) in enumerate(BAD.items()):
    record = pickle.loads(pickle.dumps(values["p0/000/000"]))
    damage(record)
    database = MotionDatabase(tiny_motion.write(tmp_path / str(i), {**values, "p0/000/000": record}, {}))
    with pytest.raises(InputError, match=f"p0/000.*{message}"):
      database.read("p0/000", 0, 20)


def test_folders_that_are_none(tmp_path, monkeypatch):
  with pytest.raises(MissingAssetError, match="no data.mdb"):
    MotionDatabase(tmp_path)
  (tmp_path / "data.mdb").write_bytes(b"nothing" * 4000)
  with pytest.raises(InputError, match="not an LMDB database"):
    MotionDatabase(tmp_path)
  folder = tiny_motion.write(tmp_path / "other", {"metadata": {"length": 3}}, {})
  with pytest.raises(InputError, match="has no seg_len"):
    MotionDatabase(folder)
  importing = builtins.__import__

  def without(name, *args, **kwargs):
    if name == "lmdb":
      raise ImportError(name)
    return importing(name, *args, **kwargs)

  motion_lmdb._open.cache_clear()
  monkeypatch.setattr(builtins, "__import__", without)
  with pytest.raises(MissingAssetError, match="pip install lmdb"):
    MotionDatabase(folder)

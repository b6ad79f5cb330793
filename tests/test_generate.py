"""``python generate.py`` as people call it: exit codes, one-line errors, and clips that stay."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "clips")]

import fakes  # noqa: E402

import generate  # noqa: E402
from jaxtalk import cli, runtime  # noqa: E402
from jaxtalk.clips import command  # noqa: E402
from jaxtalk.clips.writer import ClipWriter  # noqa: E402

QUICK = ("--config.size=64", "--config.fps=10")


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
  """Calls the program in this process with stand-ins for voice and renderer; gives exit code, stdout and stderr."""
  monkeypatch.setattr(command, "make_voice", lambda name: fakes.Beeps())
  monkeypatch.setattr(command, "RENDERERS", {"studio": lambda maps: fakes.Blocks(maps)})
  monkeypatch.setattr(runtime, "setup_jax", lambda: None)
  monkeypatch.setattr(runtime, "cache_is_empty", lambda: False)

  def call(*argv, out=tmp_path / "out"):
    code = cli.main(generate.PROGRAM, generate.act, [f"--out={out}", *QUICK, *argv])
    printed = capsys.readouterr()
    return code, printed.out, printed.err

  return call


def wav(path, samples, rate=24000, **options):
  soundfile.write(path, samples, rate, **options)
  return f"--config.audio={path}"


def tone(seconds, rate=24000):
  return 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)


def test_clips_page_and_summary(run, tmp_path):
  code, out, err = run("--config.num_clips=2", "--config.text", "Hello there, my friend.", "--config.outputs.depth=yes")
  assert code == 0 and err == ""
  lines = out.splitlines()
  assert lines[0].startswith("clip_000000000 (1/2): ") and "2 of 2 clips" in lines[2]
  assert lines[3].startswith(f"open {tmp_path / 'out' / 'index.html'}")
  files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
  expected = {f"clips/clip_00000000{i}.{s}" for i in (0, 1) for s in ("mp4", "wav", "json", "npz", "depth.npz")}
  assert files == expected | {
    "index.html",
    "contact_sheet.png",
    "metadata.jsonl",
    "PROVENANCE.json",
    "run_log.jsonl",
  }
  documents = [json.loads((tmp_path / "out" / "clips" / f"clip_00000000{i}.json").read_text()) for i in (0, 1)]
  assert documents[0]["identity"]["id"] != documents[1]["identity"]["id"]
  assert documents[0]["provenance"]["models"] == {"voice": "hibari", "animator": "learned", "renderer": "studio"}


def test_more_clips_do_not_change_the_first(run, tmp_path):
  assert run(out=tmp_path / "one")[0] == run("--config.num_clips=3", out=tmp_path / "three")[0] == 0
  for suffix in ("mp4", "wav", "json", "npz"):
    name = f"clips/clip_000000000.{suffix}"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
  assert run("--config.seed=1", out=tmp_path / "other")[0] == 0
  assert (tmp_path / "other" / name).read_bytes() != (tmp_path / "one" / name).read_bytes()


def test_a_recording_speaks(run, tmp_path):
  code, out, _ = run(wav(tmp_path / "hm.wav", np.stack([tone(1, 96000)] * 2, 1), 96000, subtype="PCM_U8"))
  assert code == 0 and "hm.wav" in out
  document = json.loads((tmp_path / "out" / "clips" / "clip_000000000.json").read_text())
  assert document["speech"]["recording"] is True and document["speech"]["recording_name"] == "hm.wav"
  assert "compositeWithTrainedAlgorithmicMedia" in document["digital_source_type"] and "text" not in document["speech"]


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--config.persn.age=6"], "did you mean 'person.age'?"),
    (["--config.txt=hello"], "did you mean 'text'?"),
    (["--config.size=big"], "must be a whole number, not 'big'"),
    (["--config.person.age=old"], "must be a number, not 'old'"),
    (["--ot=x"], "did you mean 'out'?"),
    (["--config=configs/quickstrat.py"], "did you mean 'configs/quickstart.py'?"),
    (["docter"], "did you mean 'doctor'?"),
    (["--config.person.age=200"], "must be between 3 and 80 years"),
    (["--config.size=255"], "must be even"),
    (["--config.emotion.label=hapy"], "did you mean 'happy'?"),
    (["--config.emotion.intensity=7"], "must be between 0 and 1"),
    (["--config.num_clips=-1"], "must be between 1"),
    (["--config.text="], "the text is empty"),
    (["--config.text=" + "word " * 2000], "10000 characters"),
    (["--config.text=hi \U0001f600"], "cannot say"),
    (["--config.text=\u041f\u0440\u0438\u0432\u0435\u0442"], "cannot say"),
    (["--config.text=kill you"], "not fit for a child's mouth"),
    (["--config.text=a", "--config.audio=b.wav"], "exclude each other"),
    (["--config.audio=nowhere.wav"], "nowhere.wav: no such file"),
    (["--config.animator=telepathy"], "'telepathy'"),
    (["--config.renderer=crayon"], "config.renderer='crayon': unknown"),
  ],
)
def test_wrong_input_is_one_line_and_exit_code_2(run, tmp_path, argv, message):
  code, out, err = run(*argv) if argv[0] != "docter" else (*_plain(argv),)
  assert code == 2 and out == "" and message in err
  assert err.count("\n") == 1 and err.startswith("generate.py: ")
  assert not list(tmp_path.glob("out/clips/*"))


def _plain(argv):
  done = subprocess.run([sys.executable, ROOT / "generate.py", *argv], capture_output=True, text=True)
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "truncated", "silent", "short", "nan"])
def test_recordings_that_cannot_be_used(run, tmp_path, kind):
  path = tmp_path / "sound.wav"
  if kind == "folder":
    path.mkdir()
  elif kind == "empty":
    path.write_bytes(b"")
  elif kind == "text":
    path.write_text("this is no sound at all, " * 20)
  elif kind == "truncated":
    wav(tmp_path / "whole.flac", tone(2), format="FLAC")
    path.write_bytes((tmp_path / "whole.flac").read_bytes()[:4000])
  elif kind == "silent":
    wav(path, np.zeros(24000))
  elif kind == "short":
    wav(path, tone(0.05))
  elif kind == "nan":
    wav(path, np.where(np.arange(24000) == 500, np.nan, tone(1)), subtype="FLOAT")
  code, out, err = run(f"--config.audio={path}")
  assert code == 2 and out == "" and err.count("\n") == 1 and "sound.wav" in err


def test_some_fail_and_the_rest_is_written(run, tmp_path):
  (tmp_path / "texts.txt").write_text("one two\nmumble mumble\nkill you\nfive six\n")
  code, out, err = run(f"--config.texts_file={tmp_path / 'texts.txt'}", "--config.num_clips=4")
  assert code == 1 and "2 of 4 clips" in out
  assert err.splitlines()[0] == "generate.py: clip_000000001: this voice does not mumble"
  assert err.splitlines()[1].startswith("generate.py: clip_000000002: the text is not fit for a child's mouth")
  rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
  assert [row["id"] for row in rows] == ["clip_000000000", "clip_000000003"]


def test_a_single_clip_that_cannot_be_made_is_a_usage_error(run):
  code, _, err = run("--config.text=mumble")
  assert code == 2 and err.count("\n") == 1 and "does not mumble" in err


def test_a_voice_that_is_not_installed_is_exit_code_3(run, monkeypatch):
  from jaxtalk.core import MissingAssetError

  def missing(name):
    raise MissingAssetError(f"voice {name!r} is not installed: pip install 'jaxtalk[espeak]'")

  monkeypatch.setattr(command, "make_voice", missing)
  code, _, err = run("--config.voice.name=espeak")
  assert code == 3 and "pip install 'jaxtalk[espeak]'" in err


def test_an_output_folder_that_cannot_be_written(run, tmp_path):
  (tmp_path / "file").write_text("I am a file")
  code, out, err = run(out=tmp_path / "file")
  assert code == 2 and "cannot write into" in err and err.count("\n") == 1
  assert (tmp_path / "file").read_text() == "I am a file"


def test_a_disk_that_fills_up_keeps_what_is_there(run, tmp_path, monkeypatch):
  assert run()[0] == 0
  before = (tmp_path / "out" / "metadata.jsonl").read_text()
  real = ClipWriter._write

  def full(self, part, spec, *rest):
    if spec.index >= 1:
      raise OSError(28, os.strerror(28))
    return real(self, part, spec, *rest)

  monkeypatch.setattr(ClipWriter, "_write", full)
  code, out, err = run("--config.num_clips=3")
  assert code == 1 and "1 of 3 clips" in out
  assert err == f"generate.py: stopped: No space left on device in {tmp_path / 'out'}; 1 of 3 clips are finished\n"
  assert (tmp_path / "out" / "metadata.jsonl").read_text() == before


def test_help_is_instant_and_complete():
  start = time.perf_counter()
  code, out, _ = _plain(["--help"])
  seconds = time.perf_counter() - start
  assert code == 0 and "--config.person.age" in out and "--config.text" in out and "doctor" in out
  assert seconds < 3  # 0.4 s on an idle machine; JAX alone takes longer than that to import
  code = subprocess.run(
    [sys.executable, "-c", "import sys, generate; sys.argv[1:] = ['-h']; generate.cli.main(generate.PROGRAM, None);"
     "sys.exit('jax' in sys.modules or 'av' in sys.modules)"],
    cwd=ROOT, stdout=subprocess.DEVNULL, check=False,
  ).returncode  # fmt: skip
  assert code == 0


def test_every_field_has_a_line_of_help():
  _, out, _ = _plain(["--help"])
  rows = [line for line in out.splitlines() if line.startswith("  --config.")]
  assert len(rows) > 40 and all(len(row.split("  ", 2)[-1].split(None, 2)) == 3 for row in rows)


def test_tiny_differs_from_quickstart_in_values_only():
  quick, _ = cli.load_config("configs/quickstart.py", ROOT)
  tiny, _ = cli.load_config("configs/tiny.py", ROOT)
  assert [name for name, _ in cli.leaves(quick)] == [name for name, _ in cli.leaves(tiny)]


def test_the_cache_folder_is_the_users_and_can_be_moved(monkeypatch, tmp_path):
  monkeypatch.delenv("JAXTALK_CACHE", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert runtime.cache_dir() == tmp_path / "jaxtalk"
  monkeypatch.setenv("JAXTALK_CACHE", str(tmp_path / "here"))
  assert runtime.cache_dir() == tmp_path / "here"


def test_an_empty_cache_is_known(monkeypatch, tmp_path):
  monkeypatch.setenv("JAXTALK_CACHE", str(tmp_path))
  assert runtime.cache_is_empty()
  (tmp_path / "xla").mkdir()
  assert runtime.cache_is_empty()
  (tmp_path / "xla" / "program").write_text("")
  assert not runtime.cache_is_empty()


def test_a_first_run_is_told_why_it_takes_longer(run, monkeypatch):
  monkeypatch.setattr(runtime, "cache_is_empty", lambda: True)
  assert run()[1].startswith("The first run on a machine compiles its programs")


def test_a_cache_that_cannot_be_made_is_only_a_warning(tmp_path):
  (tmp_path / "file").write_text("")
  code = "from jaxtalk import runtime; runtime.setup_jax(); import jax; print(jax.numpy.ones(3).sum())"
  environment = {**os.environ, "JAXTALK_CACHE": str(tmp_path / "file"), "JAX_PLATFORMS": "cpu"}
  done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 0 and "no compilation cache" in done.stderr and "3.0" in done.stdout


def test_the_real_thing_end_to_end(tmp_path):
  """The tiny config with the real voice, animator and renderer, as a process of its own, twice: same bytes."""
  for name in ("a", "b"):
    code, out, err = _plain(["--config=configs/tiny.py", f"--out={tmp_path / name}"])
    assert code == 0, err
    assert "1 of 1 clips" in out
  files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a" / "clips").rglob("*") if path.is_file()]
  assert {"".join(path.suffixes) for path in files} >= {".mp4", ".wav", ".json", ".npz", ".seg.npz", ".livelink.csv"}
  for path in files:
    assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
  with np.load(tmp_path / "a" / "clips" / "clip_000000000.npz") as arrays:
    points = np.concatenate([arrays["lm3d_m"], np.ones((*arrays["lm3d_m"].shape[:2], 1))], -1)
    seen = np.einsum("ij,tjk,tpk->tpi", arrays["K"], arrays["cam_Rt"], points)
    assert np.abs(seen[..., :2] / seen[..., 2:] - arrays["lm2d_px"]).max() < 0.01  # pixels
    assert arrays["visible"].mean() > 0.6 and np.isfinite(arrays["lm2d_px"]).all()
  with np.load(tmp_path / "a" / "clips" / "clip_000000000.seg.npz") as seg:
    assert {1, 13, 15} <= set(np.unique(seg["segmentation"]))  # skin, hair, clothes


def test_the_doctor_is_content():
  code, out, _ = _plain(["doctor"])
  assert code == 0 and "devices: cpu" in out and "video: H.264 and AAC, 25 frames" in out
  assert "voice: hibari" in out and "head: head" in out and "MISSING" not in out

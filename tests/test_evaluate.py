"""``python -m jaxtalk.evaluate``: figures that follow from the change that was made, and what people get wrong."""

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

TEXTS = "one two three four five six seven eight\n" * 2 + "nine eight seven six five four three two\n"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "clips")]

import fakes  # noqa: E402

from jaxtalk import cli, evaluate  # noqa: E402
from jaxtalk.clips import pipeline  # noqa: E402
from jaxtalk.clips.plan import Plan  # noqa: E402
from jaxtalk.clips.progress import ConsoleProgress  # noqa: E402
from jaxtalk.clips.reader import read_clips  # noqa: E402
from jaxtalk.clips.writer import ClipWriter, Outputs  # noqa: E402
from jaxtalk.metrics import clip_measures, sync  # noqa: E402
from jaxtalk.metrics.studio_face import masks, studio_face  # noqa: E402
from jaxtalk.motion import make_animator  # noqa: E402
from jaxtalk.motion.spaces import ARKIT, HEAD  # noqa: E402
from jaxtalk.studio import head  # noqa: E402

PROVENANCE = {
  "config_sha256": "0" * 64,
  "models": {"voice": "beeps", "animator": "procedural", "renderer": "blocks"},
  "licenses": ["Apache-2.0"],
}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
  """Three clips of 1.6 s or more at 25 fps, as generate.py writes them, of beeps and the procedural animator."""
  out = tmp_path_factory.mktemp("truth")
  (out / "texts.txt").write_text(TEXTS)
  config, _ = cli.load_config("configs/quickstart.py", ROOT)
  choices = {"texts_file": out / "texts.txt", "num_clips": 3, "size": 64, "fps": 25}
  cli.override(config, {name: str(value) for name, value in choices.items()})
  plan = Plan(config)
  stages = pipeline.Stages(voice=fakes.Beeps(), animator=make_animator("procedural"), renderer=fakes.Blocks())
  with ConsoleProgress(out, len(plan), Console(file=io.StringIO())) as progress:
    pipeline.run(plan, stages, ClipWriter(out, Outputs(), PROVENANCE), progress)
  return out


def changed(truth, out, change):
  """The clips with other motion: ``change`` gets (T, 61) values and gives them back."""
  shutil.copytree(truth, out)
  for path in sorted((out / "clips").glob("*.npz")):
    with np.load(path) as arrays:
      kept = dict(arrays)
    np.savez(path, **kept | {"arkit": change(kept["arkit"].copy())})
  return out


def wider(values):
  """Jaw 0.1 further open, head turned by 5 degrees."""
  values[:, ARKIT.index("jawOpen")] += 0.1
  values[:, HEAD.start] += np.deg2rad(5.0)
  return values


def figures(part, name):
  return [result for result in part["results"] if result["name"] == name]


def test_errors_are_those_of_the_change_that_was_made(truth, tmp_path):
  report = evaluate.evaluate(changed(truth, tmp_path / "wide", wider), truth)
  found, clips = report["compared"], read_clips(truth)
  assert figures(found, "L1 of jawOpen")[0]["value"] == pytest.approx(0.1, rel=1e-5)
  turn = figures(found, "head-pose error")[0]
  assert turn["unit"] == "deg" and 4.5 < turn["value"] <= 5.0 + 1e-4  # yaw, seen at the head's pitch and roll
  lips = masks()["lips"]
  jaws = [head.shape(clip.person()).units[ARKIT.index("jawOpen"), lips.indices] for clip in clips]
  largest = [np.linalg.norm(0.1 * jaw, axis=-1).max() for jaw in jaws]
  frames = np.array([clip.motion.num_frames for clip in clips])
  squared, millimetres = figures(found, "LVE")[0], figures(found, "LVE_mm")[0]
  assert squared["value"] == pytest.approx(np.average(np.square(largest), weights=frames), rel=1e-4)
  assert millimetres["value"] == pytest.approx(1000 * np.average(largest, weights=frames), rel=1e-4)
  assert millimetres["macro"] == pytest.approx(1000 * np.mean(largest), rel=1e-4)
  assert squared["mask_sha256"] == lips.sha256 and squared["unit"] == "m^2" and squared["n_frames"] == frames.sum()
  assert figures(found, "mouth-opening correlation")[0]["value"] > 0.99
  assert figures(found, "jitter ratio")[0]["value"] == pytest.approx(1.0, rel=1e-4)
  assert figures(report["measured_truth"], "bilabial closure rate")[0]["value"] == 1.0
  assert figures(report["measured"], "bilabial closure rate")[0]["value"] < 0.5


def test_a_motion_that_is_late_has_that_lag(truth, tmp_path):
  late = changed(truth, tmp_path / "late", lambda values: np.roll(values, 2, axis=0))
  lags = [figures(evaluate.evaluate(place)["measured"], "viseme-onset lag")[0]["value"] for place in (late, truth)]
  assert lags[0] - lags[1] == pytest.approx(80.0, abs=20.0)  # half a frame: minima tie


def test_takes_of_one_sound_are_compared_and_kinds_of_sound_counted(truth, tmp_path):
  take = tmp_path / "takes"
  shutil.copytree(truth, take)
  for suffix in ("json", "npz", "wav"):
    name = take / "clips" / f"clip_000000000.{suffix}"
    text = name.read_bytes().replace(b"clip_000000000", b"clip_000000007") if suffix == "json" else name.read_bytes()
    (take / "clips" / f"clip_000000007.{suffix}").write_bytes(text)
  found = clip_measures.measure(read_clips(take))
  by_name = {result.name: result for result in found.results}
  assert by_name["multimodality, mouth"].value == 0.0 and by_name["multimodality, mouth"].n_clips == 2
  assert by_name["diversity"].n_clips == 3 and by_name["diversity"].value > 0.0
  assert found.not_measured["RTF"].startswith("run_log.jsonl does not say how long clip_000000007")


def test_the_face_of_the_document_is_the_face_that_was_drawn(truth):
  """Names and numbers of the JSON shape the head that the pipeline drew, to the rounding of six digits."""
  clip = read_clips(truth)[0]
  config, _ = cli.load_config("configs/quickstart.py", ROOT)
  cli.override(config, {"texts_file": str(truth / "texts.txt"), "num_clips": "3", "size": "64", "fps": "25"})
  drawn, asset = head.shape(Plan(config)[0].person), head.load_asset()
  weights = clip.motion.values[:, :52]
  wanted = drawn.vertices[asset.landmarks] + np.tensordot(weights, drawn.units[:, asset.landmarks], 1)
  np.testing.assert_allclose(studio_face(clip.person()).landmarks(weights), wanted, atol=2e-6)
  assert np.isin(asset.landmarks[48:68], masks()["lips"].indices).all()
  assert sync.lip_gap(wanted).max() > 0.002


def test_the_program_prints_a_table_and_writes_json(truth, tmp_path, capsys):
  wide = changed(truth, tmp_path / "wide", wider)
  shutil.rmtree(wide / "clips" / "clip_000000002.json", ignore_errors=True)
  (wide / "clips" / "clip_000000002.json").unlink()
  assert evaluate.main([str(wide), f"--truth={truth}", f"--out={tmp_path / 'report.json'}"]) == 0
  printed = capsys.readouterr()
  assert printed.err == "" and masks()["lips"].sha256[:8] in printed.out
  assert "value" in printed.out and "95 % CI" in printed.out and "note: the truth has 1 clips more" in printed.out
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["clips"] == ["clip_000000000", "clip_000000001"] and report["schema"] == evaluate.SCHEMA
  assert {"name", "value", "unit", "representation", "mask_sha256", "fps", "n_clips", "n_frames", "ci95"} <= set(
    report["compared"]["results"][0]
  )


def test_single_clips_go_together_whatever_their_ids_and_their_differences_are_noted(truth):
  one, two = (truth / "clips" / f"clip_00000000{i}.{suffix}" for i, suffix in ((0, "npz"), (1, "json")))
  report = evaluate.evaluate(one, two)
  assert report["clips"] == ["clip_000000000"] and figures(report["compared"], "LVE")[0]["value"] > 0
  assert [note.split()[:4] for note in report["notes"]] == [
    ["clips", "that", "show", "another"],
    ["clips", "that", "have", "another"],
  ]


def _with_nan(values):
  values[5, 3] = np.nan
  return values


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda truth, tmp: [tmp / "nowhere"], "nowhere does not exist"),
    (lambda truth, tmp: [tmp], "holds no clips: expected clips/clip_*.json"),
    (lambda truth, tmp: [truth / "texts.txt"], "is no clip's .json or .npz"),
    (lambda truth, tmp: [truth, "--truht=x"], "unrecognized arguments: --truht=x; see python -m jaxtalk.evaluate"),
    (lambda truth, tmp: [], "the following arguments are required: PREDICTED"),
    (lambda truth, tmp: [changed(truth, tmp / "nan", _with_nan)], "arkit has NaN or infinite values in frame 5"),
    (lambda truth, tmp: [changed(truth, tmp / "cut", lambda v: v[:-1])], "arkit is (39, 61), the JSON says (40, 61)"),
    (
      lambda truth, tmp: [_fps(truth, tmp, 30), f"--truth={truth}"],
      "has 30 fps, its truth 25: resample",
    ),
    (lambda truth, tmp: [_fps(truth, tmp, 30, only="clip_000000001")], "clips differ in fps (25, 30)"),
    (
      lambda truth, tmp: [truth, f"--truth={_without(truth, tmp)}"],
      "lacks 2 of 3 clips: clip_000000001, clip_",
    ),
    (lambda truth, tmp: [_edited(truth, tmp, "{")], "clip_000000000.json is not JSON"),
    (lambda truth, tmp: [_edited(truth, tmp, '{"schema": "other"}')], "clip_000000000.json: not jaxtalk.clip/1"),
    (lambda truth, tmp: [truth, f"--out={tmp / 'no' / 'report.json'}"], "choose another --out"),
  ],
)
def test_bad_input_is_one_line(truth, tmp_path, capsys, make, message):
  assert evaluate.main([str(argument) for argument in make(truth, tmp_path)]) == 2
  printed = capsys.readouterr()
  assert printed.out == "" and printed.err.count("\n") == 1 and message in printed.err


def _fps(truth, tmp, fps, only="clip_"):
  out = changed(truth, tmp / "fps", lambda values: values)
  for path in (out / "clips").glob(f"{only}*.json"):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fps": [fps, 1]}))
  return out


def _without(truth, tmp):
  out = changed(truth, tmp / "few", lambda values: values)
  for number in (1, 2):
    (out / "clips" / f"clip_00000000{number}.json").unlink()
  return out


def _edited(truth, tmp, text):
  out = changed(truth, tmp / "edited", lambda values: values)
  (out / "clips" / "clip_000000000.json").write_text(text)
  return out


def test_without_sound_the_rest_is_measured(truth, tmp_path):
  out = changed(truth, tmp_path / "mute", lambda values: values)
  (out / "clips" / "clip_000000001.wav").unlink()
  found = evaluate.evaluate(out)["measured"]
  assert "clip_000000001.wav cannot be read" in found["not_measured"]["audio-mouth correlation"]
  assert figures(found, "blink rate")


def test_help_answers_without_jax():
  begin = time.perf_counter()
  code = "import sys; from jaxtalk import evaluate; evaluate._parser().format_help(); sys.exit('jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
  assert time.perf_counter() - begin < 30

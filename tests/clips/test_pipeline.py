"""The main path with stand-ins: order, failures that stay with their clip, full disks, re-runs, the same bytes."""

import errno
import io
import json
import threading
import time
from pathlib import Path

import fakes
import jsonschema
import numpy as np
import pytest
from rich.console import Console

from jaxtalk import cli
from jaxtalk.clips import folder, media, pipeline, report, schema
from jaxtalk.clips.channel import Channel, ahead
from jaxtalk.clips.plan import Plan
from jaxtalk.clips.progress import ConsoleProgress
from jaxtalk.clips.writer import ARRAYS, ClipWriter, Outputs, check_writable
from jaxtalk.core import ClipsRenderer, Frames, InputError

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = Outputs(segmentation=True, depth=True, normals=True, livelink_csv=True, png_frames=True)
PROVENANCE = {
  "config_sha256": "0" * 64,
  "models": {"voice": "beeps", "animator": "wave", "renderer": "blocks"},
  "licenses": ["Apache-2.0"],
}


def make_plan(tmp_path, texts=("one two three", "four five", "six seven eight nine"), size=64, **overrides):
  (tmp_path / "texts.txt").write_text("\n".join(texts))
  config, _ = cli.load_config("configs/quickstart.py", ROOT)
  values = {"texts_file": tmp_path / "texts.txt", "num_clips": len(texts), "size": size, "fps": 10, **overrides}
  cli.override(config, {name: str(value) for name, value in values.items()})
  return Plan(config)


def run(plan, out, *, outputs=None, voice=None, animator=None, renderer=None, writer=None):
  outputs = outputs or Outputs()
  stages = pipeline.Stages(
    voice=voice or fakes.Beeps(),
    animator=animator or fakes.Wave(),
    renderer=renderer or fakes.Blocks(outputs.labels),
  )
  writer = writer or ClipWriter(out, outputs, PROVENANCE)
  screen = io.StringIO()
  with ConsoleProgress(out, len(plan), Console(file=screen, soft_wrap=True)) as progress:
    outcome = pipeline.run(plan, stages, writer, progress)
  return outcome, screen.getvalue()


def names(out):
  return sorted(path.name for path in (out / "clips").iterdir())


def test_clips_are_written_whole_and_in_order(tmp_path):
  plan = make_plan(tmp_path)
  outcome, screen = run(plan, tmp_path / "out")
  assert [document["index"] for document in outcome.documents] == [0, 1, 2] and not outcome.failures
  assert names(tmp_path / "out") == [
    f"clip_00000000{i}.{suffix}" for i in range(3) for suffix in ("json", "mp4", "npz", "wav")
  ]
  assert screen.count("\n") == 3 and "clip_000000001 (2/3)" in screen and "four five" in screen
  log = [json.loads(line) for line in (tmp_path / "out" / "run_log.jsonl").read_text().splitlines()]
  assert [entry["result"] for entry in log] == ["made"] * 3
  assert set(log[0]["seconds"]) == {"voice", "motion", "picture", "write"}


def test_the_document_describes_the_files(tmp_path):
  plan, out = make_plan(tmp_path, texts=["one two three"]), tmp_path / "out"
  (document,) = run(plan, out, outputs=EVERYTHING)[0].documents
  written = json.loads((out / "clips" / "clip_000000000.json").read_text())
  assert written == document
  schema.validate(written)
  assert written["synthetic"] is True and written["identity"]["real_person"] is False
  assert written["frames"] == 6 and written["fps"] == [10, 1]
  assert written["speech"]["visemes"][1][0] == "PP" and "created" not in written["provenance"]
  with np.load(out / "clips" / "clip_000000000.npz", allow_pickle=False) as arrays:
    assert set(arrays.files) == {"arkit", *ARRAYS}
    for name in arrays.files:
      assert list(arrays[name].shape) == written["arrays"][name]
    assert arrays["arkit"].shape == (6, 61) and arrays["K"].shape == (3, 3)
  for name, facts in written["files"].items():
    assert (out / "clips" / name).stat().st_size == facts["bytes"]


def test_optional_outputs(tmp_path):
  plan, out = make_plan(tmp_path, texts=["one two"], size=64), tmp_path / "out"
  run(plan, out, outputs=EVERYTHING)
  load = lambda suffix, name: np.load(out / "clips" / f"clip_000000000.{suffix}.npz")[name]  # noqa: E731
  assert load("seg", "segmentation").dtype == np.uint8 and load("seg", "segmentation").shape == (4, 64, 64)
  depth = load("depth", "depth")
  assert depth.dtype == np.uint16 and (depth == 1234).all()  # 1.2345 m in float32 lies just below
  assert load("normals", "normals").dtype == np.float16
  assert (out / "clips" / "clip_000000000.livelink.csv").read_text().startswith("Timecode,BlendShapeCount")
  frames = sorted((out / "clips" / "clip_000000000.frames").iterdir())
  assert [path.name for path in frames] == [f"{i:05d}.png" for i in range(4)]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
  plan = make_plan(tmp_path)
  run(plan, tmp_path / "a", outputs=EVERYTHING)
  run(plan, tmp_path / "b", outputs=EVERYTHING)
  for path in (tmp_path / "a" / "clips").rglob("*.*"):
    if path.is_file():
      assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


@pytest.mark.parametrize("where", ["text", "voice", "motion", "picture", "labels"])
def test_a_clip_that_fails_is_listed_and_the_others_are_written(tmp_path, where):
  texts = {"text": "shoot you", "voice": "mumble this"}.get(where, "poisoned words here")
  plan, out = make_plan(tmp_path, texts=["one two", texts, "six seven"]), tmp_path / "out"

  class Poisoned(fakes.Blocks):
    def render(self, motion, person, scene, *, seed):
      for frames in super().render(motion, person, scene, seed=seed):
        if where == "picture":
          if seed == plan[1].seed:
            raise InputError("this person cannot be drawn")
        elif where == "labels" and seed == plan[1].seed:
          frames.labels["lm3d_m"][0, 3] = np.inf
        yield frames

  animator = fakes.Wave(poison="poisoned" if where == "motion" else "")
  outcome, screen = run(plan, out, animator=animator, renderer=Poisoned())
  assert list(outcome.failures) == ["clip_000000001"] and "clip_000000001 (2/3) FAILED" in screen
  assert [document["index"] for document in outcome.documents] == [0, 2]
  assert not any("000001" in name for name in names(out))
  if where in ("motion", "labels"):
    assert "not a number" in str(outcome.failures["clip_000000001"])


def test_a_full_disk_ends_the_run_and_finished_clips_stay(tmp_path, monkeypatch):
  plan, out = make_plan(tmp_path), tmp_path / "out"
  real = media.write_npz

  def full(path, arrays):
    if "clip_000000000" not in path.name:
      path.write_bytes(b"half of it")
      raise OSError(errno.ENOSPC, "No space left on device")
    real(path, arrays)

  monkeypatch.setattr(media, "write_npz", full)
  outcome, _ = run(plan, out)
  assert outcome.stopped is not None and outcome.stopped.errno == errno.ENOSPC
  assert [document["index"] for document in outcome.documents] == [0]
  assert {name[:14] for name in names(out)} == {"clip_000000000"}
  monkeypatch.undo()
  outcome, screen = run(plan, out)
  assert len(outcome.documents) == 3 and "clip_000000000 is there already" in screen


def test_a_bug_is_not_hidden_and_does_not_hang(tmp_path):
  plan, out = make_plan(tmp_path), tmp_path / "out"
  with pytest.raises(KeyboardInterrupt):
    run(plan, out, renderer=fakes.Blocks(fail_after=0, error=KeyboardInterrupt()))
  with pytest.raises(TypeError):
    run(plan, out, renderer=fakes.Blocks(fail_after=0, error=TypeError("bug")))
  assert not list((out / "clips").iterdir())


def test_finished_clips_are_kept_and_damaged_or_different_ones_made_again(tmp_path):
  plan, out = make_plan(tmp_path), tmp_path / "out"
  run(plan, out)
  before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (out / "clips").iterdir()}
  (out / "clips" / "clip_000000001.npz").write_bytes(b"damaged")
  _, screen = run(plan, out)
  assert screen.count("is there already") == 2
  for path, (time_ns, content) in before.items():
    assert path.read_bytes() == content
    assert ("000001" in path.name) == (path.stat().st_mtime_ns != time_ns)
  assert "already" not in run(make_plan(tmp_path, **{"camera.yaw": 3}), out)[1]
  assert "already" not in run(plan, out, outputs=Outputs(depth=True))[1]
  run(plan, out)
  assert not [name for name in names(out) if "depth" in name]  # what belonged to the old clip is gone with it


def test_frames_that_do_not_fit_the_motion_are_refused(tmp_path):
  class Short(fakes.Blocks):
    def render(self, motion, person, scene, *, seed):
      yield next(iter(super().render(motion, person, scene, seed=seed)))

  plan = make_plan(tmp_path, texts=["one two three four five six seven eight"])
  outcome, _ = run(plan, tmp_path / "out", renderer=Short())
  assert "8 frames were rendered for 16 frames of motion" in str(outcome.failures["clip_000000000"])


def test_unwritable_folders_are_refused_in_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="cannot write into .*choose another --out"):
    check_writable(tmp_path / "file" / "clips")
  with pytest.raises(InputError, match="cannot write into"):
    check_writable(Path("/proc/nothing"))


def test_folder_files_follow_the_clips(tmp_path):
  plan, out = make_plan(tmp_path), tmp_path / "out"
  run(plan, out)
  (out / "clips" / "clip_000000007.json").write_text("{}")  # not a clip
  documents = folder.write_metadata(out)
  rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
  assert [row["id"] for row in rows] == [document["id"] for document in documents] and len(rows) == 3
  assert rows[1]["text"] == "four five" and all((out / name).is_file() for name in rows[1]["files"])
  assert json.loads((out / "PROVENANCE.json").read_text())["real_persons_shown"] == 0
  assert report.write(out, documents) == out / "index.html" and (out / "contact_sheet.png").stat().st_size > 10_000


def test_the_schema_is_valid_and_strict(tmp_path):
  jsonschema.Draft202012Validator.check_schema(schema.validator().schema)
  document = run(make_plan(tmp_path, texts=["one two"]), tmp_path / "out")[0].documents[0]
  for path, value in ((("synthetic",), False), (("fps",), [25]), (("seed",), -1), (("emotion", "label"), "bored")):
    broken = json.loads(json.dumps(document))
    place = broken
    for key in path[:-1]:
      place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError, match="not jaxtalk.clip/1: " + "/".join(path)):
      schema.validate(broken)
  with pytest.raises(InputError):
    schema.validate({key: value for key, value in document.items() if key != "identity"})


def test_source_date_epoch_dates_a_clip(tmp_path, monkeypatch):
  monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
  document = run(make_plan(tmp_path, texts=["one two"]), tmp_path / "out")[0].documents[0]
  assert document["provenance"]["created"] == "2023-11-14T22:13:20Z"


def test_stages_overlap(tmp_path):
  """The next voice speaks while a clip is rendered."""

  class SlowVoice(fakes.Beeps):
    def speak(self, spec):
      time.sleep(0.2)
      return super().speak(spec)

  class SlowRenderer(fakes.Blocks):
    def render(self, *args, **kwargs):
      time.sleep(0.2)
      yield from super().render(*args, **kwargs)

  events = []
  voice, renderer = SlowVoice(), SlowRenderer()
  speak = voice.speak
  voice.speak = lambda spec: (events.append(("voice", spec.index)), speak(spec))[1]
  render = renderer.render
  renderer.render = lambda motion, *a, **k: (events.append(("render", motion.num_frames)), render(motion, *a, **k))[1]
  run(make_plan(tmp_path, texts=["a b", "c d", "e f", "g h"]), tmp_path / "out", voice=voice, renderer=renderer)
  first_render = next(i for i, event in enumerate(events) if event[0] == "render")
  second_render = next(i for i, event in enumerate(events) if event[0] == "render" and i > first_render)
  assert ("voice", 1) in events[:second_render]  # the next voice spoke while the first clip was rendered


class Batched(fakes.Blocks):
  """Blocks in batches of three frames, filled with those of several clips."""

  def __init__(self, *args, refused=(), **kwargs):
    super().__init__(*args, **kwargs)
    self.refused, self.batches = refused, []

  def render_clips(self, jobs):
    waiting = []
    for number, (motion, person, scene, seed) in enumerate(jobs):
      if seed in self.refused:
        yield from self._batches(waiting, 1)
        yield number, InputError("this person cannot be drawn")
        continue
      for chunk in self.render(motion, person, scene, seed=seed):
        for i in range(len(chunk.images)):
          labels = {name: x if name == "K" else x[i : i + 1] for name, x in chunk.labels.items()}
          waiting.append((number, Frames(images=chunk.images[i : i + 1], labels=labels)))
      yield from self._batches(waiting, 3)
    yield from self._batches(waiting, 1)

  def _batches(self, waiting, least):
    while len(waiting) >= least:
      batch, waiting[:] = waiting[:3], waiting[3:]
      self.batches.append([number for number, _ in batch])
      yield from batch


def test_batches_of_several_clips_make_the_same_clips(tmp_path):
  plan = make_plan(tmp_path)
  renderer = Batched()
  assert isinstance(renderer, ClipsRenderer) and not isinstance(fakes.Blocks(), ClipsRenderer)
  outcome, _ = run(plan, tmp_path / "batched", renderer=renderer)
  run(plan, tmp_path / "single")
  assert [document["index"] for document in outcome.documents] == [0, 1, 2]
  assert any(len(set(batch)) > 1 for batch in renderer.batches)
  for path in (tmp_path / "single" / "clips").iterdir():
    assert path.read_bytes() == (tmp_path / "batched" / "clips" / path.name).read_bytes(), path


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_clip_that_fails_leaves_the_others_of_its_batch_alone(tmp_path, where):
  plan = make_plan(tmp_path)
  outcome, _ = run(plan, tmp_path / "out", renderer=Batched(refused=[plan[where].seed]))
  assert list(outcome.failures) == [f"clip_00000000{where}"]
  assert [document["index"] for document in outcome.documents] == [i for i in range(3) if i != where]


def test_a_bug_or_a_full_disk_in_batches_does_not_hang(tmp_path, monkeypatch):
  plan = make_plan(tmp_path)
  with pytest.raises(TypeError):
    run(plan, tmp_path / "bug", renderer=Batched(fail_after=0, error=TypeError("bug")))

  def full(path, arrays):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(media, "write_npz", full)
  outcome, _ = run(plan, tmp_path / "full", renderer=Batched())
  assert outcome.stopped is not None and not outcome.documents


def test_channel_bounds_and_leaves():
  channel, put = Channel(depth=2), []

  def work():
    for item in range(5):
      if not channel.put(item):
        put.append("left")
        return
      put.append(item)
    channel.finish()

  thread = threading.Thread(target=work)
  thread.start()
  reader = iter(channel)
  assert next(reader) == 0
  time.sleep(0.05)
  assert put == [0, 1, 2]  # two wait, one is taken: no more than that is made ahead
  channel.leave()
  thread.join(timeout=5)
  assert put[-1] == "left" and not thread.is_alive()


def test_ahead_keeps_order_and_passes_errors_on():
  def items():
    yield 1
    yield 2
    raise ValueError("third")

  seen = []
  with pytest.raises(ValueError, match="third"):
    for item in ahead(items(), depth=1):
      seen.append(item)
  assert seen == [1, 2]
  assert next(iter(ahead(iter(range(10**9)), depth=2))) == 0  # leaving early ends the thread

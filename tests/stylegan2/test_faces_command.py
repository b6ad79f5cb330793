"""``generate.py --config=configs/faces.py``: the factor table with labels that make every still again."""

import csv
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import golden
import numpy as np
import pickles
import pytest
import safetensors.numpy
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import generate  # noqa: E402
from jaxtalk import cli  # noqa: E402
from jaxtalk.stylegan2 import directions, faces, faces_plan, runner  # noqa: E402
from jaxtalk.stylegan2.directions import Direction, Origin  # noqa: E402
from jaxtalk.stylegan2.latents import NamedLabeller, one_hot  # noqa: E402

NAMES = (
  "age", "yaw", "pitch", "smile", "frown", "brow_raise", "jaw_open", "blink", "light_azimuth", "light_elevation",
  "skin_lightness", "hair_lightness",
)  # fmt: skip
DIM, NUM_WS = 16, 4


class Toy:
  """Twelve attributes, each a bent function of one direction, painted as twelve stripes of a picture."""

  name, z_dim, num_ws, batch = "toy", DIM, NUM_WS, 8

  def __init__(self, c_dim=2, sha256="ab" * 32):
    self.c_dim, self.sha256, self.drawn = c_dim, sha256, 0
    self.normals = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0][:, : len(NAMES)].T

  def mapping(self, z, c=None, psi=1.0):
    assert (0 if c is None else c.shape[1]) == self.c_dim
    w = psi * np.asarray(z, np.float32) + (0 if c is None else c[:, :1] * np.float32(0.3))
    return np.repeat(w[:, None], NUM_WS, axis=1)

  def images(self, ws, seeds=None):
    self.drawn += len(ws)
    level = 127.5 + 110 * np.tanh(0.35 * ws.mean(1) @ self.normals.T)
    rows = np.repeat(np.round(level)[:, :, None], len(NAMES), axis=2)
    return np.repeat(rows[..., None], 3, axis=3).astype(np.uint8)


class Stripes:
  def predict(self, images):
    return {name: images[:, i].mean((1, 2)).astype(float) / 10 for i, name in enumerate(NAMES)}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
  """Calls the program with toys for networks and a cache of its own; gives exit code, stdout and stderr."""
  monkeypatch.setenv("JAXTALK_CACHE", str(tmp_path / "cache"))
  monkeypatch.setattr("jaxtalk.runtime.use_compilation_cache", lambda: None)
  monkeypatch.setattr(faces, "load_labeller", lambda text: NamedLabeller(Stripes(), "stripes", "ef" * 32))
  networks = {"toy": Toy(), "plain": Toy(0, "cd" * 32), "boys": Toy(0, "12" * 32), "ten": Toy(10, "34" * 32)}
  opened = faces.open_network
  monkeypatch.setattr(faces, "open_network", lambda path, **kw: networks.get(path) or opened(path, **kw))

  def call(*argv, out=tmp_path / "out", snapshot="toy"):
    flags = ["--config=configs/faces.py", f"--config.snapshot={snapshot}", "--config.learn.count=600", f"--out={out}"]
    code = cli.main(generate.PROGRAM, generate.act, [*flags, *argv])
    printed = capsys.readouterr()
    return code, printed.out, printed.err

  call.networks = networks
  return call


def lines_of(folder):
  return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def files_of(folder):
  return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_tables_are_those_of_the_paper():
  def totals(table):
    config = cli.load_config(f"configs/faces.py:{table}", ROOT)[0]
    plan = faces_plan.make_plan(config)
    out = Counter()
    for row in plan.rows:
      out[row.group] += plan.wanted(row)
    return dict(out)

  assert totals("full") == {
    "base": 20_000, "expressions": 96_000, "blink": 24_000, "colour": 12_000, "ageing": 32_000, "pose": 60_000,
    "light": 80_000,
  }  # fmt: skip
  assert totals("validation") == {
    "base": 212, "expressions": 1200, "blink": 300, "colour": 300, "ageing": 400, "pose": 750, "light": 200,
  }  # fmt: skip


def test_all_factors_counted_labelled_and_kept(run, tmp_path):
  code, out, err = run("--config.subjects=2")
  assert (code, err) == (0, "")
  folder = tmp_path / "out"
  lines, toy = lines_of(folder), run.networks["toy"]
  steps = {"happy": 6, "sad": 6, "angry": 6, "surprise": 6, "blink": 6, "colour": 6, "age": 8, "yaw": 8, "pitch": 7}
  steps |= {"base": 1, "light_side": 2, "light_height": 2}
  assert Counter(line["factor"] for line in lines) == {name: 4 * count for name, count in steps.items()}
  for name in steps:
    genders = Counter(line["gender"] for line in lines if line["factor"] == name)
    assert genders["girl"] == genders["boy"]
  for line in lines:
    assert line["synthetic"] is True and line["identity_cosine"] is None and line["network_sha256"] == toy.sha256
    assert line["seed"] == line["subject"] and line["class"] == ("girl", "boy").index(line["gender"])
    path = folder / line["file_name"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == line["sha256"]
    # The label makes the still again: seed, class, psi, directions of the folder and alphas.
    z = runner.latent(line["seed"], DIM)
    ws = toy.mapping(z[None], one_hot(np.array([line["class"]]), 2), line["psi"])
    for edit in line["edits"]:
      file = folder / edit["direction"]
      assert hashlib.sha256(file.read_bytes()).hexdigest() == edit["direction_sha256"]
      ws = directions.apply(ws, directions.load(file, toy.sha256), edit["alpha"])
      if edit["quantity"] in line["measured"]:
        assert edit["measured"] == pytest.approx(line["measured"][edit["quantity"]], abs=1e-5)
    assert hashlib.sha256(z.tobytes()).hexdigest() == line["z_sha256"]
    assert hashlib.sha256(ws.astype(np.float32).tobytes()).hexdigest() == line["w_sha256"]
    with Image.open(path) as image:
      np.testing.assert_array_equal(np.asarray(image), toy.images(ws)[0])
      assert "trainedAlgorithmicMedia" in image.text["Comment"]
  # Steps are even in what is asked, and what is seen follows; an angry brow goes down.
  for line in lines:
    for edit in line["edits"]:
      assert edit["measured"] == pytest.approx(edit["requested"], abs=0.9)
  angry = [line["edits"][0]["requested"] for line in lines if line["factor"] == "angry" and line["subject"] == 0]
  np.testing.assert_allclose(np.diff(angry), (angry[-1] - angry[0]) / 5, atol=1e-5)
  assert angry[-1] < angry[0]
  hair = [line["edits"][1]["requested"] for line in lines if line["factor"] == "colour" and line["subject"] == 0]
  assert len(set(hair)) == 6 and hair != sorted(hair)
  with open(folder / "metadata.csv", newline="") as file:
    table = list(csv.DictReader(file))
  assert [row["file_name"] for row in table] == [line["file_name"] for line in lines]
  chosen = next(row for row in table if row["factor"] == "colour")
  assert chosen["quantity_2"] == "hair_lightness" and float(chosen["measured.hair_lightness"])
  counts = json.loads((folder / "PROVENANCE.json").read_text())["counts"]
  assert counts["yaw"] == {"portraits": 4, "stills": 32, "girl": 16, "boy": 16}
  with Image.open(folder / "contact_sheet.png") as sheet:
    assert sheet.height > 23 * 96
  # The same again: nothing is drawn, nothing changes; elsewhere, the same bytes.
  before, toy.drawn = files_of(folder), 0
  assert run("--config.subjects=2")[0] == 0 and toy.drawn == 0
  assert files_of(folder) == before
  assert run("--config.subjects=2", out=tmp_path / "other")[0] == 0
  assert files_of(tmp_path / "other") == before


def test_a_stopped_run_goes_on_and_more_portraits_keep_the_first(run, tmp_path, monkeypatch):
  flags = ("--config.factors=base,yaw,colour", "--config.subjects=6")
  assert run(*flags, out=tmp_path / "whole")[0] == 0
  add = faces.Index.add
  left = iter(range(20))

  def stop(self, row, series, network):
    if next(left, None) is None:
      with open(self.out / "metadata.jsonl", "ab") as file:
        file.write(b'{"half a li')
      raise KeyboardInterrupt
    return add(self, row, series, network)

  monkeypatch.setattr(faces.Index, "add", stop)
  assert run(*flags)[0] == 130
  monkeypatch.setattr(faces.Index, "add", add)
  (tmp_path / "out" / "images" / "colour" / "0000" / "0000002_3.png").write_bytes(b"damaged")
  code, out, err = run(*flags)
  assert code == 0 and "colour: 72 of 72 stills, 47 of them kept" in out
  assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
  # Fewer were made first.
  assert run(flags[0], "--config.subjects=1", out=tmp_path / "few")[0] == 0
  assert "2 of them kept" in run(*flags, out=tmp_path / "few")[1]
  assert files_of(tmp_path / "few") == files_of(tmp_path / "whole")


def test_portraits_that_do_not_move_are_replaced(run, tmp_path):
  toy = run.networks["toy"]
  plain = toy.mapping
  stuck = {runner.latent(seed, DIM).tobytes() for seed in (1, 2)}

  def mapping(z, c=None, psi=1.0):
    far = np.array([row.tobytes() in stuck for row in np.asarray(z, np.float32)])
    return plain(z, c, psi) + 400 * far[:, None, None] * toy.normals[1].astype(np.float32)

  toy.mapping = mapping
  assert run("--config.factors=yaw", "--config.subjects=2")[0] == 0
  who = {line["subject"]: line["gender"] for line in lines_of(tmp_path / "out")}
  assert len(who) == 4 and not {1, 2} & set(who) and Counter(who.values()) == {"girl": 2, "boy": 2}
  assert json.loads((tmp_path / "out" / "PROVENANCE.json").read_text())["left_out"] == {"yaw": [1, 2]}
  toy.drawn = 0
  assert run("--config.factors=yaw", "--config.subjects=2")[0] == 0 and toy.drawn == 0
  stuck.update(runner.latent(seed, DIM).tobytes() for seed in range(99))
  code, out, _ = run("--config.factors=yaw", "--config.subjects=2", out=tmp_path / "none")
  assert code == 1 and "yaw: 0 of 32 stills, 0 of them kept; 4 portraits did not move" in out


def test_networks_without_classes_and_pairs(run, tmp_path):
  assert run("--config.factors=blink", "--config.subjects=2", snapshot="plain")[0] == 0
  lines = lines_of(tmp_path / "out")
  assert {line["subject"] for line in lines} == {0, 1, 2, 3} and len(lines) == 24
  assert {(line["gender"], line["class"]) for line in lines} == {(None, None)}
  code, _, err = run("--config.factors=blink", "--config.subjects=2", snapshot="plain,boys", out=tmp_path / "pair")
  assert (code, err) == (0, "")
  lines = lines_of(tmp_path / "pair")
  assert {(line["gender"], line["network_sha256"][:2]) for line in lines} == {("girl", "cd"), ("boy", "12")}
  assert {line["edits"][0]["direction"] for line in lines} == {
    "directions/girl/blink.safetensors", "directions/boy/blink.safetensors",
  }  # fmt: skip


def test_directions_of_files(run, tmp_path):
  """A folder of an earlier run, a file that `learn` writes (its range is measured), and what does not fit."""
  assert run("--config.factors=blink,angry", "--config.subjects=1")[0] == 0
  toy = run.networks["toy"]
  folder = tmp_path / "out" / "directions"
  assert run("--config.factors=blink,angry", f"--config.directions={folder}", "--config.subjects=1")[0] == 0
  origin = Origin(method="ridge", network=toy.sha256, figures={"r2": 0.9})
  vector = toy.normals[NAMES.index("brow_raise")].astype(np.float32)
  down = Direction(name="ridge_brow_raise", space="w", vector=vector, layers=(0, 1, 2, 3), num_ws=NUM_WS, origin=origin)
  path = tmp_path / "learnt" / "any name.safetensors"
  directions.save(path, down)
  code, _, err = run("--config.factors=angry", f"--config.directions={path}", "--config.subjects=1")
  assert code == 2 and "holds stills of 'angry' by another direction" in err
  assert run("--config.factors=angry", f"--config.directions={path}", "--config.subjects=1", out=tmp_path / "b")[0] == 0
  edits = [line["edits"][0] for line in lines_of(tmp_path / "b") if line["subject"] == 0]
  assert edits[0]["measured"] > edits[-1]["measured"] and edits[0]["alpha"] < edits[-1]["alpha"]
  code, _, err = run("--config.factors=sad", f"--config.directions={path}", out=tmp_path / "c")
  assert code == 2 and "nothing for 'sad'" in err and "ridge_frown.safetensors" in err
  code, _, err = run("--config.factors=blink", f"--config.directions={folder}", out=tmp_path / "c", snapshot="plain")
  assert code == 2 and "was learnt from network abab" in err
  (tmp_path / "learnt" / "blink.safetensors").write_bytes(
    safetensors.numpy.save({"vector": vector}, {"direction": '{"format": "jaxtalk.direction/1"}'})
  )
  code, _, err = run("--config.factors=blink", f"--config.directions={tmp_path / 'learnt'}", out=tmp_path / "c")
  assert code == 2 and "blink.safetensors is a damaged direction file" in err
  code, _, err = run(f"--config.directions={tmp_path / 'nowhere'}", out=tmp_path / "c")
  assert code == 3 and "no such folder or file" in err


def test_identity_by_a_users_embedding(run, tmp_path):
  (tmp_path / "embed.py").write_text(
    "import numpy as np\ndef mean(x): return x.mean((1, 2)).astype(float)\ndef bad(x): return np.full((1, 2), np.nan)\n"
  )
  own = f"--config.identity={tmp_path / 'embed.py'}"
  assert run("--config.factors=yaw", f"{own}:mean", "--config.subjects=1")[0] == 0
  cosines = [line["identity_cosine"] for line in lines_of(tmp_path / "out")]
  assert all(0.99 < cosine <= 1 for cosine in cosines)
  code, _, err = run("--config.factors=yaw", f"{own}:bad", out=tmp_path / "b")
  assert code == 2 and "expected 4 rows of finite numbers, got (1, 2)" in err


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--config.factors=hapy"], "no factor 'hapy', did you mean 'happy'?"),
    (["--config.psi=0"], "config.psi=0: truncation goes from"),
    (["--config.psi=1.2"], "config.psi=1.2"),
    (["--config.psi=nan"], "must be a number"),
    (["--config.span=0"], "config.span=0"),
    (["--config.noise=random"], "choose const or none"),
    (["--config.batch=0"], "at least 1 each"),
    (["--config.seed=-1"], "seeds go from 0 to 2^32 - 1"),
    (["--config.seed=4294967295"], "seeds go from 0 to 2^32 - 1"),
    (["--config.subjects=0"], "at least one portrait a gender"),
    (["--config.subjects=1000000000"], "at most 100000"),
    (["--config.table=ful"], "did you mean 'full'?"),
    (["--config.table=full", "--config.subjects=3"], "exclude each other"),
    (["--config.snapsot=x"], "did you mean 'snapshot'?"),
    (["--config.classes=cat,dog"], "c_dim 2, and the classes are cat,dog"),
    (["--config.snapshot=ten"], "ten" + " has c_dim 10"),
    (["--config.snapshot=plain", "--config.classes=girl,boy"], "has no classes (c_dim 0)"),
    (["--config.snapshot=toy,boys"], "must not be conditional"),
  ],
)
def test_wrong_input_is_one_line(run, tmp_path, argv, message):
  run.networks["ten"].name = "ten"
  code, out, err = run(*argv)
  assert code == 2 and out == "" and message in err
  assert err.count("\n") == 1 and err.startswith("generate.py: ") and not (tmp_path / "out").exists()


def test_snapshots_that_are_none(run, tmp_path):
  hostile = tmp_path / "hostile.pkl"
  hostile.write_bytes(pickles.snapshot(G_ema=pickles.call("os.system", f"touch {tmp_path / 'ran'}")))
  lone = tmp_path / "lone.pkl"
  lone.write_bytes(pickles.snapshot(D=pickles.network("Discriminator")))
  foreign = tmp_path / "foreign.safetensors"
  directions.save(foreign, Direction(
    name="x", space="w", vector=np.eye(3, dtype=np.float32)[0], layers=(0,), num_ws=1,
    origin=Origin(method="sefa", network="ab"),
  ))  # fmt: skip
  for path, wanted, message in (
    (tmp_path / "nowhere.pkl", 3, "no network at"),
    (hostile, 2, "refused os.system"),
    (lone, 2, "G_ema"),
    (foreign, 2, "not a StyleGAN2 network"),
  ):
    code, out, err = run(snapshot=str(path))
    assert code == wanted and out == "" and message in err and err.count("\n") == 1, err
  assert not (tmp_path / "ran").exists()


def test_an_official_snapshot(run, tmp_path):
  """Random weights without classes, as the official code stores them: twice the portraits, no gender."""
  path = golden.path(golden.case("snapshot_ada_a")["pkl"])
  code, out, err = run("--config.factors=base,yaw", "--config.subjects=1", "--config.learn.count=100", snapshot=path)
  assert (code, err) == (0, "") and "yaw: 16 of 16 stills" in out
  lines = lines_of(tmp_path / "out")
  assert {line["network"] for line in lines} == {"snapshot_ada_a.pkl"} and {line["gender"] for line in lines} == {None}
  with Image.open(tmp_path / "out" / lines[0]["file_name"]) as image:
    assert image.size == (32, 32)


def test_folders_of_something_else(run, tmp_path):
  flags = ("--config.factors=base", "--config.subjects=1")
  assert run(*flags)[0] == 0
  for argv, snapshot, message in (
    (["--config.psi=0.5"], "toy", "holds stills with psi 0.7, not 0.5"),
    (["--config.seed=5"], "toy", "holds stills with seed 0, not 5"),
    ([], "plain", "holds stills with classes"),
  ):
    code, _, err = run(*flags, *argv, snapshot=snapshot)
    assert code == 2 and message in err and err.count("\n") == 1
  (tmp_path / "out" / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
  code, _, err = run(*flags)
  assert code == 2 and "line 1 is not of this program's stills" in err
  (tmp_path / "clips" / "clips").mkdir(parents=True)
  assert "holds clips" in run(*flags, out=tmp_path / "clips")[2]


def real(*argv):
  """The program with its own networks; gives the exit code."""
  return cli.main(generate.PROGRAM, generate.act, ["--config=configs/faces.py", *argv])


def test_the_network_that_ships_with_directions_of_a_few_samples(tmp_path, monkeypatch):
  monkeypatch.setenv("JAXTALK_CACHE", str(tmp_path / "cache"))
  monkeypatch.setattr("jaxtalk.runtime.use_compilation_cache", lambda: None)
  flags = ("--config.factors=base,yaw", "--config.subjects=1", "--config.learn.count=64", "--config.psi=0.5")
  assert real(*flags, f"--out={tmp_path / 'out'}") == 0
  lines = lines_of(tmp_path / "out")
  assert Counter(line["factor"] for line in lines) == {"base": 2, "yaw": 16}
  line = lines[-1]
  assert line["gender"] == "boy" and line["measured"]["gender"] > 0.5
  network = runner.open_network("demo")
  ws = network.mapping(runner.latent(line["seed"], network.z_dim)[None], one_hot(np.array([1]), 2), line["psi"])
  (edit,) = line["edits"]
  ws = directions.apply(ws, directions.load(tmp_path / "out" / edit["direction"], network.sha256), edit["alpha"])
  with Image.open(tmp_path / "out" / line["file_name"]) as image:
    assert np.abs(np.asarray(image, int) - network.images(ws)[0]).max() <= 1
  yaws = [line["measured"]["yaw"] for line in lines if line["factor"] == "yaw" and line["subject"] == 0]
  assert yaws[-1] - yaws[0] > 10


@pytest.mark.slow
def test_the_whole_table_of_the_network_that_ships(tmp_path, monkeypatch):
  """A minute on one core; twice, for the bytes. Look at contact_sheet.png as well."""
  monkeypatch.setenv("JAXTALK_CACHE", str(tmp_path / "cache"))
  assert real(f"--out={tmp_path / 'a'}") == 0
  assert real(f"--out={tmp_path / 'b'}") == 0
  assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
  lines = lines_of(tmp_path / "a")
  assert len(lines) == 4 * (1 + 4 * 6 + 6 + 6 + 8 + 15 + 4)
  for factor in ("happy", "angry", "surprise", "blink", "age", "yaw", "pitch", "light_side", "light_height"):
    for subject in range(4):
      edits = [line["edits"][0] for line in lines if (line["factor"], line["subject"]) == (factor, subject)]
      requested, measured = ([edit[name] for edit in edits] for name in ("requested", "measured"))
      span = abs(requested[-1] - requested[0])
      assert np.all(np.diff(measured) * np.sign(requested[-1] - requested[0]) > -0.05 * span)
      np.testing.assert_allclose(measured, requested, atol=0.2 * span)


def test_each_program_takes_its_own_configs(run, tmp_path, capsys):
  for argv, message in (
    (["--config=configs/tiny.py:x"], "takes no argument"),
    (["--config=configs/stylegan2.py"], "is for train.py"),
    (["doctor", "--config=configs/faces.py"], "the doctor looks at clips"),
  ):
    assert cli.main(generate.PROGRAM, generate.act, argv) == 2
    assert message in capsys.readouterr().err
  assert cli.main(generate.PROGRAM, generate.act, ["--config=configs/faces.py", "--help"]) == 0
  said = capsys.readouterr().out
  assert "--config.snapshot" in said and "stills only: it has no motion" in said

"""Presets: every recorded command line of the official train.py, and what is refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import golden
import pytest

from jaxtalk import cli
from jaxtalk.core import InputError
from jaxtalk.stylegan2 import presets
from jaxtalk.stylegan2.augment import pipe_named

ROOT = Path(__file__).resolve().parents[2]


def config_of(arg):
  return cli.load_config(f"configs/stylegan2.py:{arg}", ROOT)[0]


def argument(entry):
  """Our argument for an official command line."""
  options = {"resolution": entry["resolution"], **entry["options"]}
  return ",".join([options.pop("cfg", "auto"), *(f"{name}={value}" for name, value in options.items())])


def expected(options):
  """Official resolved options as fields of our config."""
  g, d, data = options["G_kwargs"], options["D_kwargs"], options["training_set_kwargs"]
  synthesis, loss, adam = g["synthesis_kwargs"], options["loss_kwargs"], options["G_opt_kwargs"]
  assert options["D_opt_kwargs"] == adam and adam["betas"][0] == 0
  for name in ("channel_base", "channel_max", "num_fp16_res", "conv_clamp"):
    assert synthesis[name] == d[name]
  mode = "ada" if "ada_target" in options else "fixed" if "augment_p" in options else "noaug"
  return {
    "train.seed": options["random_seed"],
    "train.kimg": options["total_kimg"],
    "train.batch_size": options["batch_size"],
    "train.accumulate": options["batch_size"] // (options["batch_gpu"] * options["num_gpus"]),
    "train.ema_kimg": options["ema_kimg"],
    "train.ema_ramp": options["ema_rampup"] or 0,
    "train.freeze_d": d["block_kwargs"].get("freeze_layers", 0),
    "optimizer.lr": adam["lr"],
    "optimizer.b2": adam["betas"][1],
    "optimizer.eps": adam["eps"],
    "loss.r1_gamma": loss["r1_gamma"],
    "loss.pl_weight": loss.get("pl_weight", 2),
    "loss.mixing_prob": loss.get("style_mixing_prob", 0.9),
    "augment.mode": mode,
    "augment.p": options.get("augment_p", 0),
    "augment.target": options.get("ada_target", 0.6),
    "model.networks": "conditional" if data["use_labels"] else "plain",
    "model.z_dim": g["z_dim"],
    "model.w_dim": g["w_dim"],
    "model.mapping_layers": g["mapping_kwargs"]["num_layers"],
    "model.channel_base": d["channel_base"],
    "model.channel_max": d["channel_max"],
    "model.num_half_res": d["num_fp16_res"],
    "model.conv_clamp": d["conv_clamp"] or 0,
    "model.mbstd_group": d["epilogue_kwargs"]["mbstd_group_size"],
    "model.d_architecture": d.get("architecture", "resnet"),
    "data.resolution": data["resolution"],
    "data.mirror": data["xflip"],
  }


def test_every_official_command_line_resolves_the_same():
  entries = json.loads(golden.path("train_options.json").read_text())
  assert len(entries) == 22
  for entry in entries:
    arg, options = argument(entry), entry["training_options"]
    config = dict(cli.leaves(config_of(arg)))
    for field, value in expected(options).items():
      same = config[field] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)
      assert same, f"{arg}: config.{field} is {config[field]}, officially {value}"
    assert config["data.max_size"] == entry["options"].get("subset", 0)  # officially at least the size of the set
    if config["augment.mode"] != "noaug":
      pipe = dataclasses.asdict(pipe_named(config["augment.pipe"]))
      wanted = {name: value for name, value in options["augment_kwargs"].items() if name != "class_name"}
      switches = {name: value for name, value in pipe.items() if not name.endswith(("_std", "_max", "_size", "_bands"))}
      assert {name for name, value in switches.items() if value} == set(wanted)
      assert all(pipe[name] == value for name, value in wanted.items())


def test_resuming_adapts_faster_and_has_no_ramp():
  config = config_of("auto,resume=faces.pkl,freezed=3,snap=10")
  assert (config.init, config.train.freeze_d) == ("faces.pkl", 3)
  assert (config.augment.kimg, config.train.ema_ramp) == (100, 0)
  assert config.train.save_every == 10 * 4000 // config.train.batch_size


def test_steps_follow_the_batch_size():
  config = config_of("paper256")
  assert config.train.steps == 25_000_000 // 64
  cli.override(config, {"train.batch_size": "32", "train.kimg": "100"})
  assert config.train.steps == 100_000 // 32


def test_demo_is_small_conditional_and_needs_no_jax():
  config = config_of("demo")
  assert (config.model.networks, config.data.resolution, config.model.channel_max) == ("conditional", 64, 128)
  assert config.loss.paired_weight > 0 and config_of("auto").loss.paired_weight == 0
  code = "import sys; from jaxtalk import cli; from pathlib import Path; "
  code += "cli.load_config('configs/stylegan2.py', Path('.')); print('jax' in sys.modules)"
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout == "False\n"


@pytest.mark.parametrize(
  ("arg", "message"),
  [
    ("paper255", "unknown preset 'paper255', did you mean 'paper256'"),
    ("auto,gpu=8", "unknown option 'gpu' of a preset, did you mean 'gpus'"),
    ("auto,gpus", "'gpus' in a preset is not option=value"),
    ("auto,gpus=3", "power of two"),
    ("auto,resolution=100", "resolution=100 must be a power of two"),
    ("auto,batch=7,gpus=2", "batch=7 must be at least 1 and divide by gpus=2"),
    ("auto,batch=many", "batch must be a whole number"),
    ("auto,aug=fixed", "p=... is needed with aug=fixed"),
    ("auto,p=0.5", "p=... is needed with aug=fixed and belongs to nothing else"),
    ("auto,aug=fixed,p=2", "p=2.0 must be from 0 to 1"),
    ("auto,aug=adaptive", "aug='adaptive' is not known"),
  ],
)
def test_bad_arguments_are_named(arg, message):
  with pytest.raises(InputError, match=message.replace(".", r"\.")):
    config_of(arg)


def test_every_field_of_the_config_is_explained():
  program = cli.Program(name="train.py", summary="", root=ROOT, config="configs/stylegan2.py:demo")
  text = cli.usage(program, cli.parse_config([], program))
  rows = [line for line in text.splitlines() if line.startswith("  --config.")]
  assert len(rows) > 50
  notes = cli._comments("configs/stylegan2.py", ROOT)
  assert [name for name, _ in cli.leaves(config_of("demo")) if name not in notes] == []
  assert set(presets.NAMES) == {"auto", "stylegan2", "paper256", "paper512", "paper1024", "cifar", "demo"}

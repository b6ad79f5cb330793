"""From official snapshots to pictures: parity with the official code, and the converter's command line."""

import hashlib

import golden
import jax
import numpy as np
import pickles as p
import pytest

from jaxtalk.stylegan2.convert import LICENCE, main, training_set
from jaxtalk.stylegan2.official import import_discriminator, import_generator
from jaxtalk.stylegan2.snapshots import read_snapshot
from jaxtalk.stylegan2.store import load_network

NAMES = ("snapshot_ada_a", "snapshot_ada_b", "snapshot_sg3_a", "snapshot_sg3_b")


def expected(name):
  with np.load(golden.path(golden.case(name)["expected"]), allow_pickle=False) as data:
    return dict(data)


def images(module, variables, ref):
  return jax.jit(lambda v, z, c: module.apply(v, z, c, truncation_psi=0.7))(variables, ref["io/z"], ref.get("io/c"))


@pytest.mark.parametrize("name", NAMES)
def test_images_and_logits_are_the_official_ones(name):
  networks, ref = read_snapshot(golden.path(golden.case(name)["pkl"])), expected(name)
  module, variables = import_generator(networks["G_ema"].state, **networks["G_ema"].init_kwargs)
  golden.close(golden.nchw(images(module, variables, ref)), ref["io/img_const_psi0.7_fp32"], 2e-5)
  module, variables = import_discriminator(networks["D"].state, **networks["D"].init_kwargs)
  logits = jax.jit(module.apply)(variables, golden.nhwc(ref["io/img"]), ref.get("io/d_c"))
  golden.close(logits, ref["io/logits_fp32"], 2e-5)


def test_converted_file_gives_the_same_images_and_names_its_origin(tmp_path, capsys):
  name, out = "snapshot_ada_a", tmp_path / "g.safetensors"
  snapshot = golden.path(golden.case(name)["pkl"])
  assert main([str(snapshot), str(out)]) == 0
  printed = capsys.readouterr().out
  for row in ("network     G_ema (Generator)", "resolution  32 x 32 x 3", "num_ws      8", "c_dim       0", f"{out}"):
    assert row in printed
  module, variables, facts = load_network(out)
  golden.close(golden.nchw(images(module, variables, expected(name))), expected(name)["io/img_const_psi0.7_fp32"], 2e-5)
  assert facts["source"] == snapshot.name and facts["licence"] == LICENCE and facts["synthetic"] is True
  assert facts["source_sha256"] == hashlib.sha256(snapshot.read_bytes()).hexdigest()
  assert facts["trained_on"] == "synthetic-faces-32x32.zip, resolution 32, max_size 7000, use_labels False, xflip True"


def test_discriminator_in_half_the_size(tmp_path):
  snapshot = golden.path(golden.case("snapshot_ada_a")["pkl"])
  flags = ["--network=D", "--dtype=float16", "--licence=mine", "--trained_on=my pictures"]
  assert main([str(snapshot), str(tmp_path / "d16.safetensors"), *flags]) == 0
  assert main([str(snapshot), str(tmp_path / "d32.safetensors"), "--network=D"]) == 0
  module, _, facts = load_network(tmp_path / "d16.safetensors")
  assert type(module).__name__ == "Discriminator"
  assert facts["licence"] == "mine" and facts["trained_on"] == "my pictures"
  small, large = ((tmp_path / f"d{bits}.safetensors").stat().st_size for bits in (16, 32))
  assert small < 0.75 * large


@pytest.mark.parametrize(
  ("data", "flags", "message"),
  (
    (b"not a pickle", [], "not a snapshot: no pickle"),
    (p.snapshot(G=p.call("os.system", "true")), [], "refused os.system"),
    (p.snapshot(D=p.network("Discriminator")), [], "has no G_ema; it has D"),
    (p.snapshot(G=p.network()), ["--network=G"], "the generator's arguments lack"),
    (p.snapshot(G=p.network(_init_kwargs={"magnitude_ema_beta": 0.9})), ["--network=G"], "StyleGAN3"),
    (None, [], "cannot be read"),
  ),
)
def test_bad_input_is_one_line_and_code_2(tmp_path, capsys, data, flags, message):
  snapshot, out = tmp_path / "bad.pkl", tmp_path / "out.safetensors"
  if data is not None:
    snapshot.write_bytes(data)
  assert main([str(snapshot), str(out), *flags]) == 2
  error = capsys.readouterr().err
  assert message in error and "bad.pkl" in error and error.count("\n") == 1 and not out.exists()


def test_unwritable_place(tmp_path, capsys):
  blocker = tmp_path / "file"
  blocker.touch()
  snapshot = golden.path(golden.case("snapshot_ada_a")["pkl"])
  assert main([str(snapshot), str(blocker / "out.safetensors")]) == 2
  assert "cannot be written" in capsys.readouterr().err


def test_training_set_in_one_line():
  assert training_set({}) == "unknown"
  assert training_set({"path": "/home/somebody/faces.zip", "xflip": True}) == "faces.zip, xflip True"

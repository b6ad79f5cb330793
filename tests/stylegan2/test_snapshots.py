"""Official snapshots: every tensor of the golden ones, and what else a well-formed one may contain."""

import hashlib
import json
import subprocess
import sys

import golden
import numpy as np
import pickles as p
import pytest

from jaxtalk.core import InputError
from jaxtalk.stylegan2.snapshots import MAX_FILE_BYTES, SnapshotError, read_snapshot, read_snapshot_file

NAMES = ("snapshot_ada_a", "snapshot_ada_b", "snapshot_sg3_a", "snapshot_sg3_b")


def write(tmp_path, data):
  path = tmp_path / "network-snapshot.pkl"
  path.write_bytes(data)
  return path


@pytest.mark.parametrize("name", NAMES)
def test_every_golden_tensor_and_argument(name):
  case = golden.case(name)
  snapshot = read_snapshot_file(golden.path(case["pkl"]))
  wanted = json.loads(golden.path(case["tensors"]).read_text())
  tensors = {f"{net}/{key}": x for net, state in snapshot.networks.items() for key, x in state.state.items()}
  assert tensors.keys() == wanted.keys()
  for key, facts in wanted.items():
    x = tensors[key]
    assert list(x.shape) == facts["shape"] and x.dtype == np.float32 and x.flags.c_contiguous
    assert hashlib.sha256(x.tobytes()).hexdigest() == facts["sha256"], key
  for net in ("G", "D", "G_ema"):
    assert snapshot.networks[net].init_kwargs == case[f"{net[0]}_init_kwargs"]
    assert snapshot.networks[net].class_name == ("Discriminator" if net == "D" else "Generator")
  assert ("augment_pipe" in snapshot.networks) == (case["augment_pipe"] is not None)
  if case["augment_pipe"]:
    assert snapshot.networks["augment_pipe"].init_kwargs == case["augment_pipe"]
  assert snapshot.training_set_kwargs == case["training_set_kwargs"]


def test_reading_imports_neither_torch_nor_what_the_file_names():
  path = golden.path(golden.case("snapshot_ada_a")["pkl"])
  code = (
    "import sys; from jaxtalk.stylegan2.snapshots import read_snapshot; "
    f"print(len(read_snapshot({str(path)!r})), [m for m in ('torch', 'dnnlib', 'torch_utils') if m in sys.modules])"
  )
  assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "4 []\n"


def test_strides_offsets_and_types(tmp_path):
  row = np.arange(24, dtype=np.float32)
  half = np.arange(4, dtype=np.float16)
  layer = p.module(
    "Layer",
    _parameters={"last": p.parameter(p.tensor(row, (2, 3, 2, 2), (12, 1, 6, 3)))},
    _buffers={
      "cut": p.tensor(row, (2, 2), (4, 1), offset=5),
      "scalar": p.tensor(row, (), (), offset=7),
      "half": p.tensor(half, stream=p.storage_stream(half, "torch.HalfStorage")),
      "empty": p.tensor(row[:0], (0, 3), (3, 1)),
      "nothing": None,
    },
  )
  path = write(tmp_path, p.snapshot(G=p.network(_modules={"fc": layer}), D=None, augment_pipe=None))
  state = read_snapshot(path)["G"].state
  np.testing.assert_array_equal(state["fc.last"], row.reshape(2, 2, 2, 3).transpose(0, 3, 1, 2))
  np.testing.assert_array_equal(state["fc.cut"], [[5, 6], [9, 10]])
  assert state["fc.scalar"].shape == () and state["fc.scalar"] == 7
  assert state["fc.half"].dtype == np.float16 and state["fc.half"].tolist() == [0, 1, 2, 3]
  assert state["fc.empty"].shape == (0, 3) and "fc.nothing" not in state


@pytest.mark.parametrize("home", ("numpy.core.multiarray", "numpy._core.multiarray"))
def test_arguments_become_plain_values(tmp_path, home):
  kwargs = {
    "conv_clamp": p.numpy_scalar(256.0, home),
    "mapping_kwargs": p.name("dnnlib.util.EasyDict") + b")\x81(" + p.push("num_layers") + p.push(2) + b"u",
    "resample_filter": [1, 3, 3, 1],
    "flag": None,
  }
  path = write(tmp_path, p.snapshot(G_ema=p.network(_init_args=(16, 2), _init_kwargs=kwargs)))
  networks = read_snapshot(path)
  assert list(networks) == ["G_ema"]
  assert networks["G_ema"].init_kwargs == {
    "z_dim": 16,
    "c_dim": 2,
    "conv_clamp": 256.0,
    "mapping_kwargs": {"num_layers": 2},
    "resample_filter": [1, 3, 3, 1],
    "flag": None,
  }


def test_protocol_2_bytes(tmp_path):
  stream = p.storage_stream(np.float32([1, -2, 3e-40]))
  encoded = p.call("_codecs.encode", stream.decode("latin1"), "latin1")
  storage = p.call("torch.storage._load_from_bytes", encoded)
  weight = p.call("torch._utils._rebuild_tensor_v2", storage, 0, (3,), (1,), False, p.call("collections.OrderedDict"))
  path = write(tmp_path, p.snapshot(G=p.network(weight=p.parameter(weight))))
  np.testing.assert_array_equal(read_snapshot(path)["G"].state["fc.weight"], np.float32([1, -2, 3e-40]))


OTHER_FILES = {
  "zip": (b"PK\x03\x04\x14\x00" + bytes(60), "zip archive"),
  "torch.save zip": (b"PK\x03\x04\x00" + bytes(25) + b"weights/data.pkl" + bytes(60), "torch.save"),
  "text": (b"configuration of something\nwith a second line\n", "no pickle"),
  "prose": (b"Once upon a time\n", "no pickle"),
  "html": (b"\n<!DOCTYPE html><html>", "web page"),
  "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
  "safetensors": (b"\x40\0\0\0\0\0\0\0" + b'{"a":{}}', "safetensors"),
  "empty": (b"", "empty"),
  "png": (b"\x89PNG\r\n\x1a\n", "picture"),
  "torch.save": (p.storage_stream(np.zeros(3, np.float32)), "torch.save"),
  "list": (p.pickle([1, 2]), "no dict with the networks"),
  "dict": (p.pickle({"G": 3}), "no dict with the networks"),
  "only a pipe": (p.snapshot(augment_pipe=p.module("AugmentPipe")), "no dict with the networks"),
  "nothing": (p.pickle({"G": None, "D": None, "G_ema": None}), "no dict with the networks"),
  "tensorflow": (p.pickle((p.name("dnnlib.tflib.network.Network") + b")\x81", 1)), "TensorFlow.*legacy.py"),
  "stylegan3 args": (p.snapshot(G=p.network(_init_kwargs={"magnitude_ema_beta": 0.99})), "StyleGAN3"),
  "other network": (p.snapshot(G=p.network("TriPlaneGenerator")), "TriPlaneGenerator"),
  "G for D": (p.snapshot(D=p.network()), "D is a 'Generator'"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_files_are_told_apart(tmp_path, kind):
  data, message = OTHER_FILES[kind]
  with pytest.raises(SnapshotError, match=message) as caught:
    read_snapshot(write(tmp_path, data))
  assert "network-snapshot.pkl" in str(caught.value) and "\n" not in str(caught.value)
  assert isinstance(caught.value, ValueError) and isinstance(caught.value, InputError)


def test_stylegan3_is_named_even_where_its_arrays_are_refused_first(tmp_path):
  """Its layers hold NumPy arrays, whose constructor is not on the list; the class name was read before."""
  remembered = p.text("SynthesisInput") + b"q\x05"  # as picklers do with every string
  meta = {"type": "class", "version": 6, "module_src": "", "class_name": remembered}
  state = {"size": p.name("numpy.core.multiarray._reconstruct")}
  inner = p.call("torch_utils.persistence._reconstruct_persistent_obj", {**meta, "state": state})
  with pytest.raises(SnapshotError, match=r"StyleGAN3.*numpy\.core\.multiarray\._reconstruct"):
    read_snapshot(write(tmp_path, p.snapshot(G=p.network(_modules={"synthesis": inner}))))


def test_paths_that_cannot_be_read(tmp_path):
  with pytest.raises(SnapshotError, match="missing.pkl: cannot be read"):
    read_snapshot(tmp_path / "missing.pkl")
  with pytest.raises(SnapshotError, match="cannot be read"):
    read_snapshot(tmp_path)
  huge = tmp_path / "huge.pkl"
  with huge.open("wb") as file:
    file.truncate(MAX_FILE_BYTES + 1)  # a hole: takes no space
  with pytest.raises(SnapshotError, match="huge.pkl: larger than any snapshot"):
    read_snapshot(huge)

"""Inception-v3: its graph, its resizing, and weights under the names of others; TorchScript files without torch."""

import functools
import hashlib
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.metrics import extractors, inception
from jaxtalk.metrics.torchscript import read_tensors

TINY = Path(__file__).parent / "tiny_torchscript.pt"  # saved by torch 2.13 from two small modules
STEM = {"conv": "1a_3x3", "conv_1": "2a_3x3", "conv_2": "2b_3x3", "conv_3": "3b_1x1", "conv_4": "4a_3x3"}
BLOCKS = dict(zip([f"mixed_{i}" if i else "mixed" for i in range(11)], inception._BLOCKS, strict=True))
# The branches of pytorch-fid's blocks, which are torchvision's, in the order of the TensorFlow graph's towers.
BRANCHES = {
  "5": {"conv": "1x1", "tower_conv": "5x5_1", "tower_conv_1": "5x5_2", "tower_1_conv": "3x3dbl_1",
        "tower_1_conv_1": "3x3dbl_2", "tower_1_conv_2": "3x3dbl_3", "tower_2_conv": "_pool"},
  "6a": {"conv": "3x3", "tower_conv": "3x3dbl_1", "tower_conv_1": "3x3dbl_2", "tower_conv_2": "3x3dbl_3"},
  "6": {"conv": "1x1", "tower_2_conv": "_pool", **{f"tower_conv{s}": f"7x7_{i + 1}" for i, s in
        enumerate(("", "_1", "_2"))}, **{f"tower_1_conv{s}": f"7x7dbl_{i + 1}" for i, s in
        enumerate(("", "_1", "_2", "_3", "_4"))}},
  "7a": {"tower_conv": "3x3_1", "tower_conv_1": "3x3_2", "tower_1_conv": "7x7x3_1", "tower_1_conv_1": "7x7x3_2",
         "tower_1_conv_2": "7x7x3_3", "tower_1_conv_3": "7x7x3_4"},
  "7": {"conv": "1x1", "tower_conv": "3x3_1", "tower_mixed_conv": "3x3_2a", "tower_mixed_conv_1": "3x3_2b",
        "tower_1_conv": "3x3dbl_1", "tower_1_conv_1": "3x3dbl_2", "tower_1_mixed_conv": "3x3dbl_3a",
        "tower_1_mixed_conv_1": "3x3dbl_3b", "tower_2_conv": "_pool"},
}  # fmt: skip


def layers():
  return [name.removesuffix("/kernel") for name in inception.shapes() if name.endswith("/kernel")]


def split(layer):
  """Block and the rest of a layer's name: ("mixed_10", "tower_1_conv")."""
  block = next(b for b in sorted(BLOCKS, key=len, reverse=True) if layer.startswith(b + "_"))
  return block, layer.removeprefix(block + "_")


def torchscript_name(layer):
  if layer == "output":
    return "output."
  if layer in STEM:
    return f"layers.{layer}."
  block, rest = split(layer)
  if block not in ("mixed_9", "mixed_10"):  # these two hold their convolutions directly
    rest = rest.replace("tower_1_", "tower_1.").replace("tower_2_", "tower_2.").replace("tower_conv", "tower.conv")
  return f"layers.{block}.{rest}."


def pytorch_fid_name(layer):
  if layer == "output":
    return "fc."
  if layer in STEM:
    return f"Conv2d_{STEM[layer]}."
  block, rest = split(layer)
  code = BLOCKS[block]
  return f"Mixed_{code}.branch{(BRANCHES.get(code) or BRANCHES[code[0]])[rest]}."


@functools.cache
def arrays():
  """Converted weights with everything at random, and what a normalisation is made of."""
  rng = np.random.default_rng(0)
  out = {}
  for layer in layers():
    shape = inception.shapes()[f"{layer}/kernel"]
    o, i = shape[-1], shape[-2]
    out[layer] = {
      "weight": rng.standard_normal((o, i, *shape[:-2]), np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))
    }
    if layer != "output":
      out[layer] |= {name: rng.uniform(0.5, 1.5, o).astype(np.float32) for name in ("beta", "mean", "var", "gamma")}
  return out


def foreign(family):
  """State dict of one of the families."""
  out = {}
  for layer, parts in arrays().items():
    if layer == "output":
      out |= {f"{'output' if family == 'torchscript' else 'fc'}.weight": parts["weight"]}
      out |= {f"{'output' if family == 'torchscript' else 'fc'}.bias": np.zeros(1008, np.float32)}
    elif family == "torchscript":
      out |= {torchscript_name(layer) + role: parts[role] for role in ("weight", "beta", "mean", "var")}
    else:
      names = {"bn.weight": "gamma", "bn.bias": "beta", "bn.running_mean": "mean", "bn.running_var": "var"}
      out[pytorch_fid_name(layer) + "conv.weight"] = parts["weight"]
      out |= {pytorch_fid_name(layer) + name: parts[role] for name, role in names.items()}
      out[pytorch_fid_name(layer) + "bn.num_batches_tracked"] = np.int64(0)
  return out


def test_the_graph_has_the_size_of_inception_v3():
  shapes = inception.shapes()
  assert len(layers()) == 95  # 94 convolutions and the classes
  convolutions = sum(int(np.prod(s)) for name, s in shapes.items() if not name.startswith("output"))
  assert convolutions == 21_768_352  # trainable, without the classes, as Keras counts those of the same architecture
  assert shapes["conv/kernel"] == (3, 3, 3, 32) and shapes["mixed_10_tower_1_mixed_conv/kernel"] == (1, 3, 384, 384)


def test_the_graph_ends_in_2048_features_of_8_by_8():
  params = {"params": {name: {part: jax.ShapeDtypeStruct(inception.shapes()[f"{name}/{part}"], jnp.float32)
            for part in ("kernel", "bias")} for name in layers() if name != "output"}}  # fmt: skip
  images = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
  assert jax.eval_shape(inception.Inception().apply, params, images).shape == (2, 2048)
  text = str(jax.make_jaxpr(inception.Inception().apply)(params, images))
  assert "f32[2,8,8,2048]" in text and "f32[2,17,17,768]" in text and "f32[2,35,35,288]" in text


def test_average_pools_leave_the_padding_out():
  x = jnp.ones((1, 5, 5, 1))
  np.testing.assert_allclose(inception._average(x), 1.0, atol=1e-6)


@pytest.mark.parametrize("source", [16, 299, 400])
def test_pictures_are_resized_as_tensorflow_1_did(source):
  ramp = np.tile(np.arange(source, dtype=np.float32)[:, None], (1, source))
  image = np.stack([ramp, ramp.T, 0 * ramp + 3], -1)[None]
  out = np.asarray(inception.resize(image))[0]
  wanted = np.minimum(np.arange(299) * source / 299, source - 1)  # no half-pixel shift, the last pixel repeats
  np.testing.assert_allclose(out[:, 7, 0], wanted, rtol=1e-5, atol=1e-4)
  np.testing.assert_allclose(out[7, :, 1], wanted, rtol=1e-5, atol=1e-4)
  np.testing.assert_allclose(out[..., 2], 3, rtol=1e-5)


def test_both_families_of_names_are_understood_wholly_and_alike():
  ours = inception.convert(foreign("torchscript"))
  theirs = foreign("pytorch-fid")
  for layer, parts in arrays().items():  # gamma is 1 in the real file; here it is not, so that it is seen
    if layer != "output":
      theirs[pytorch_fid_name(layer) + "bn.weight"] = np.ones_like(parts["gamma"])
  other = inception.convert(theirs)
  assert set(ours) == set(inception.shapes())
  for name in ours:
    np.testing.assert_array_equal(ours[name], other[name])


def test_normalisation_is_folded_into_the_kernels():
  found = inception.convert(foreign("pytorch-fid"))
  parts = arrays()["conv_3"]
  x = np.random.default_rng(1).normal(size=(7, 64))
  y = x @ parts["weight"][:, :, 0, 0].T
  wanted = (y - parts["mean"]) / np.sqrt(parts["var"] + 1e-3) * parts["gamma"] + parts["beta"]
  np.testing.assert_allclose(x @ found["conv_3/kernel"][0, 0] + found["conv_3/bias"], wanted, atol=1e-5)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda t: t.pop("layers.conv_2.beta"), "beta of layer conv_2 .* missing"),
    (lambda t: t.update({"layers.conv_2.weight": np.zeros((1, 1))}), "kernel of layer conv_2 should be"),
    (lambda t: t.update({"layers.mixed_11.conv.weight": np.zeros((1,))}), "layer mixed_11_conv is left over"),
    (lambda t: t.update({"AuxLogits.conv0.conv.weight": np.zeros((1,))}), "'AuxLogits.conv0.conv.weight' is no tensor"),
    (lambda t: t.update({"layers.conv.colour": np.zeros((1,))}), "'layers.conv.colour' is no tensor"),
    (lambda t: t.update({"Mixed_5b.stem.conv.weight": np.zeros((1,))}), "'Mixed_5b.stem.conv.weight' is no tensor"),
  ],
)
def test_other_weights_are_refused_by_name(change, message):
  tensors = foreign("torchscript")
  change(tensors)
  with pytest.raises(InputError, match=message):
    inception.convert(tensors)


def test_torchscript_files_are_read_without_torch():
  found = read_tensors(TINY)
  assert set(found) == {"scale", "steps", "layers.0.weight", "layers.0.mean"}
  np.testing.assert_array_equal(found["layers.0.weight"], np.arange(24.0).reshape(2, 3, 2, 2))  # channels-last inside
  np.testing.assert_array_equal(found["layers.0.mean"], [2, 4])  # strided inside
  np.testing.assert_array_equal(found["scale"], np.full(3, 0.5, np.float16))
  assert found["steps"] == 7


def rewritten(path, **changes):
  """The small file with other contents; None leaves an entry out."""
  with zipfile.ZipFile(TINY) as source, zipfile.ZipFile(path, "w") as target:
    for info in source.infolist():
      data = changes.get(info.filename.partition("/")[2].replace(".", "_").replace("/", "_"), source.read(info))
      if data is not None:
        target.writestr(info.filename, data)
  return path


class Evil:
  def __reduce__(self):
    import os

    return os.system, ("exit 1",)


def nested(levels):
  """A pickle of a dict that contains another twice, and so on: small, but 2^levels paths lead through it."""
  inner = {}
  for _ in range(levels):
    inner = {"a": inner, "b": inner}
  return pickle.dumps(inner, 2)


def outside_storage():
  """The real pickle, in which a tensor of 24 numbers lies in a storage of 23."""
  with zipfile.ZipFile(TINY) as archive:
    data = archive.read("tiny_torchscript/data.pkl")
  assert data.count(b"K\x18") == 1  # the count of the storage, 24
  return data.replace(b"K\x18", b"K\x17", 1)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data_pkl": pickle.dumps(Evil(), 2)}, r"refused \w+.system, .* nothing was run"),
    ({"data_pkl": pickle.dumps(Evil(), 4)}, r"refused \w+.system"),
    ({"data_pkl": nested(40)}, "more operations"),
    ({"data_pkl": outside_storage()}, "damaged"),
    ({"data_pkl": b"\x80\x02"}, "damaged"),
    ({"data_pkl": None}, "no data.pkl"),
    ({"data_2": None}, "data/2 is missing"),
    ({"data_2": b"1234"}, "storage 2 is shorter"),
    ({"byteorder": b"big"}, "big-endian"),
  ],
)
def test_damaged_and_hostile_files_are_refused(tmp_path, changes, message):
  with pytest.raises(InputError, match=message):
    read_tensors(rewritten(tmp_path / "bad.pt", **changes))


def test_files_that_are_none(tmp_path):
  with pytest.raises(MissingAssetError, match="there is no file"):
    read_tensors(tmp_path / "none.pt")
  (tmp_path / "text.pt").write_text("weights")
  with pytest.raises(InputError, match="not a TorchScript file"):
    read_tensors(tmp_path / "text.pt")


def test_the_converter_writes_a_file_and_says_what_is_wrong(tmp_path, capsys):
  from safetensors.numpy import load_file, save_file

  source, target = tmp_path / "w.safetensors", tmp_path / "out.safetensors"
  save_file(foreign("torchscript"), source)
  assert inception.main(["convert", str(source), str(target)]) == 0
  assert "23.83 M" in capsys.readouterr().out
  assert {name: x.shape for name, x in load_file(target).items()} == inception.shapes()
  assert inception.main(["convert", str(TINY), str(target)]) == 2
  assert "error: 'scale' is no tensor of the 2015 Inception-v3" in capsys.readouterr().err
  assert inception.main(["convert", str(tmp_path / "none.safetensors"), str(target)]) == 3
  assert inception.main(["turn"]) == 2


def converted_file(folder):
  """Weights at random, on disk as the converter leaves them."""
  (folder / "source").write_bytes(b"weights")
  inception.save(folder / "inception.safetensors", inception.convert(foreign("torchscript")), folder / "source")
  return folder / "inception.safetensors"


def test_the_extractor_has_classes_without_the_bias_of_the_output(tmp_path):
  extractor = extractors.make_extractor(str(converted_file(tmp_path)))
  assert (extractor.name, extractor.resolution, extractor.dims) == ("inception", 299, 2048)
  features = np.random.default_rng(0).uniform(size=(3, 2048))
  logits = features @ arrays()["output"]["weight"].T
  found = extractor.probabilities(features)
  np.testing.assert_allclose(found.sum(1), 1)
  np.testing.assert_allclose(np.log(found[:, 5] / found[:, 9]), logits[:, 5] - logits[:, 9], rtol=1e-5, atol=1e-6)
  assert extractor.digest == hashlib.sha256((tmp_path / "inception.safetensors").read_bytes()).hexdigest()


def test_weights_of_something_else_are_no_extractor(tmp_path):
  from safetensors.numpy import save_file

  save_file({"conv/kernel": np.zeros((3, 3, 3, 32), np.float32)}, tmp_path / "a.safetensors")
  with pytest.raises(InputError, match="not of the 2015 Inception-v3: conv/bias should be .* is missing"):
    extractors.InceptionExtractor(tmp_path / "a.safetensors")


@pytest.mark.slow
def test_the_graph_as_torch_computes_it(tmp_path):
  torch = pytest.importorskip("torch")
  f = torch.nn.functional
  state = {name: torch.as_tensor(x) for name, x in foreign("torchscript").items()}

  def conv(x, name, stride=1, padding=None):
    weight, beta, mean, var = (state[torchscript_name(name) + part] for part in ("weight", "beta", "mean", "var"))
    same = [n // 2 for n in weight.shape[2:]]
    x = f.conv2d(x, weight, stride=stride, padding=same if padding is None else padding)
    return f.relu(f.batch_norm(x, mean, var, None, beta, eps=1e-3))

  def tower(x, *names, halve=False):
    for name in names:
      x = conv(x, name, 2, 0) if halve and name == names[-1] else conv(x, name)
    return x

  def tower_of(x, block, which, count, halve=False):
    return tower(x, *[f"{block}_{which}_conv" + (f"_{i}" if i else "") for i in range(count)], halve=halve)

  def average(x):
    return f.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

  image = np.random.default_rng(5).integers(0, 256, (1, 299, 299, 3)).astype(np.uint8)
  x = torch.as_tensor(np.moveaxis((image.astype(np.float32) - 128) / 128, -1, 1))
  x = conv(conv(conv(x, "conv", 2, 0), "conv_1", 1, 0), "conv_2")
  x = f.max_pool2d(conv(conv(f.max_pool2d(x, 3, 2), "conv_3"), "conv_4", 1, 0), 3, 2)
  for b in ("mixed", "mixed_1", "mixed_2"):
    x = torch.cat([conv(x, f"{b}_conv"), tower_of(x, b, "tower", 2), tower_of(x, b, "tower_1", 3),
                   conv(average(x), f"{b}_tower_2_conv")], 1)  # fmt: skip
  x = torch.cat([conv(x, "mixed_3_conv", 2, 0), tower_of(x, "mixed_3", "tower", 3, True), f.max_pool2d(x, 3, 2)], 1)
  for b in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
    x = torch.cat([conv(x, f"{b}_conv"), tower_of(x, b, "tower", 3), tower_of(x, b, "tower_1", 5),
                   conv(average(x), f"{b}_tower_2_conv")], 1)  # fmt: skip
  b = "mixed_8"
  x = torch.cat([tower_of(x, b, "tower", 2, True), tower_of(x, b, "tower_1", 4, True), f.max_pool2d(x, 3, 2)], 1)
  for b in ("mixed_9", "mixed_10"):
    a, c = tower_of(x, b, "tower", 1), tower_of(x, b, "tower_1", 2)
    pooled = average(x) if b == "mixed_9" else f.max_pool2d(x, 3, 1, 1)
    x = torch.cat([conv(x, f"{b}_conv"), conv(a, f"{b}_tower_mixed_conv"), conv(a, f"{b}_tower_mixed_conv_1"),
                   conv(c, f"{b}_tower_1_mixed_conv"), conv(c, f"{b}_tower_1_mixed_conv_1"),
                   conv(pooled, f"{b}_tower_2_conv")], 1)  # fmt: skip
  wanted = x.mean((2, 3)).numpy()
  ours = extractors.InceptionExtractor(converted_file(tmp_path), batch_size=1).features(image)
  np.testing.assert_allclose(ours, wanted, atol=2e-5 * np.abs(wanted).max())

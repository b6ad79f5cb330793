"""Our network files: exact round trips, and one clear line for everything else."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2.networks import Discriminator, Generator
from jaxtalk.stylegan2.store import load_network, save_network

GENERATOR = Generator(
  8, 2, 8, 8, 3, mapping_layers=2, channel_base=64, channel_max=8, num_half_res=1, conv_clamp=256, w_avg_beta=0.998,
  resample_filter=(1, 2, 1), architecture="resnet", dtype=jnp.bfloat16, remat=True,
)  # fmt: skip
DISCRIMINATOR = Discriminator(
  2, 8, 1, architecture="skip", channel_base=64, channel_max=8, cmap_dim=5, mbstd_group_size=None, conv_clamp=0.5
)
FACTS = {"source": "network.pkl", "licence": "CC0-1.0", "trained_on": {"resolution": 8}, "steps": 12}


@pytest.fixture(scope="module")
def networks():
  """Each module with random variables, buffers included."""
  key, label = jax.random.key(0), np.zeros((1, 2), np.float32)
  inputs = {GENERATOR: np.zeros((1, 8), np.float32), DISCRIMINATOR: np.zeros((1, 8, 8, 1), np.float32)}
  found = {}
  for module, x in inputs.items():
    shapes = jax.eval_shape(module.init, key, x, label)
    rng = np.random.default_rng(1)
    found[module] = jax.tree.map(lambda s, rng=rng: rng.standard_normal(s.shape).astype(np.float32), dict(shapes))
  return found


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("module", (GENERATOR, DISCRIMINATOR), ids=("generator", "discriminator"))
def test_float32_round_trip_is_exact(tmp_path, networks, module):
  path = tmp_path / "new" / "net.safetensors"
  save_network(path, module, networks[module], FACTS)
  loaded, variables, facts = load_network(path)
  assert loaded == module and type(loaded) is type(module)
  same({"buffers": {}} | networks[module], variables)
  assert facts == FACTS | {"synthetic": True}
  assert [p.name for p in path.parent.iterdir()] == ["net.safetensors"]


def test_float16_stores_everything_in_half_the_bytes(tmp_path, networks):
  path, full = tmp_path / "half.safetensors", tmp_path / "full.safetensors"
  save_network(path, GENERATOR, networks[GENERATOR], FACTS, dtype="float16")
  save_network(full, GENERATOR, networks[GENERATOR], FACTS)
  with safe_open(path, framework="numpy") as file:
    assert {file.get_tensor(name).dtype for name in file.keys()} == {np.dtype(np.float16)}
    assert "synthesis.b8.conv0.noise_const" in file.keys() and "mapping.w_avg" in file.keys()
  _, variables, _ = load_network(path)
  same(jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), networks[GENERATOR]), variables)
  saved = full.stat().st_size - path.stat().st_size
  count = sum(x.size for x in jax.tree.leaves(networks[GENERATOR]))
  assert saved == pytest.approx(2 * count, rel=0.02)


def test_names_and_layouts_are_the_official_ones(tmp_path, networks):
  path = tmp_path / "net.safetensors"
  save_network(path, GENERATOR, networks[GENERATOR], FACTS)
  with safe_open(path, framework="numpy") as file:
    weight, config = file.get_tensor("synthesis.b8.conv0.weight"), json.loads(file.metadata()["config"])
  ours = networks[GENERATOR]["params"]["synthesis"]["b8"]["conv0"]["weight"]
  np.testing.assert_array_equal(weight, np.transpose(ours, (3, 2, 0, 1)))
  assert config["synthesis_kwargs"]["conv_clamp"] == 256 and config["mapping_kwargs"]["num_layers"] == 2


def test_a_failed_write_leaves_the_old_file(tmp_path, networks):
  path = tmp_path / "net.safetensors"
  save_network(path, GENERATOR, networks[GENERATOR], FACTS)
  before = path.read_bytes()
  for scale, dtype, message in ((1e6, "float16", "float16 cannot hold"), (np.nan, "float32", "cannot hold")):
    bad = jax.tree.map(lambda x, scale=scale: x * np.float32(scale), networks[GENERATOR])
    with pytest.raises(InputError, match=message):
      save_network(path, GENERATOR, bad, FACTS, dtype=dtype)
  with pytest.raises(InputError, match="must be JSON"):
    save_network(path, GENERATOR, networks[GENERATOR], {"when": object()})
  with pytest.raises(InputError, match="float32 or float16, not 'int8'"):
    save_network(path, GENERATOR, networks[GENERATOR], FACTS, dtype="int8")
  assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
  with pytest.raises(InputError, match="cannot be written"):
    save_network(path / "below.safetensors", GENERATOR, networks[GENERATOR], FACTS)


def test_other_files_are_refused_in_one_line(tmp_path, networks):
  path, other = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
  save_network(path, GENERATOR, networks[GENERATOR], FACTS)
  with safe_open(path, framework="numpy") as file:
    tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()

  def refused(message, tensors=tensors, **changes):
    save_file(tensors, other, metadata={k: v for k, v in {**metadata, **changes}.items() if v is not None})
    with pytest.raises(InputError, match=message) as caught:
      load_network(other)
    assert str(other) in str(caught.value) and "\n" not in str(caught.value)

  refused("not a StyleGAN2 network written by jaxtalk", format=None)
  refused("version '2' of the format", version="2")
  refused("holds a 'Encoder'", network="Encoder")
  refused("configuration are damaged", config="{")
  refused("configuration are damaged", config="[1]")
  refused("configuration are damaged", compute=None)
  refused("configuration are damaged", compute='{"dtype": "text", "remat": false}')
  refused("no argument 'noise_layers'", config=json.dumps(json.loads(metadata["config"]) | {"noise_layers": 3}))
  refused("lacks mapping.w_avg", tensors={k: v for k, v in tensors.items() if k != "mapping.w_avg"})
  refused("has shape", tensors=tensors | {"mapping.w_avg": np.zeros(3, np.float32)})
  refused("extra", tensors=tensors | {"extra": np.zeros(3, np.float32)})
  other.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(InputError, match="damaged"):
    load_network(other)
  pickle = tmp_path / "network-snapshot.pkl"
  pickle.write_bytes(b"\x80\x03}.")
  with pytest.raises(InputError, match="jaxtalk.stylegan2.convert reads official snapshots"):
    load_network(pickle)
  with pytest.raises(MissingAssetError, match="no such network"):
    load_network(tmp_path / "missing.safetensors")

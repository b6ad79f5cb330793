"""Folders of published checkpoints: every tensor is accounted for, and whatever is wrong is named."""

import json
import re
import shutil

import chex
import jax
import ml_dtypes
import numpy as np
import pytest
import speech_golden as golden
from safetensors.numpy import load_file, save_file

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.encoders import export_encoder, load_pretrained, save_pretrained, trainable_mask
from jaxtalk.encoders.speech_config import SpeechConfig, read_config


@pytest.fixture
def folder(tmp_path):
  """A copy of the CTC checkpoint, to be broken."""
  return shutil.copytree(golden.folder("wav2vec2_group"), tmp_path / "model", copy_function=shutil.copyfile)


def rewrite(folder, change):
  """The tensors with a change."""
  state = load_file(folder / "model.safetensors")
  change(state)
  save_file(state, folder / "model.safetensors")


def reconfigure(folder, **changes):
  config = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps(config | changes))


def refuses(folder, words, kind=InputError):
  with pytest.raises(kind, match=words) as caught:
    load_pretrained(folder)
  assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_heads_and_prefix_go_and_every_other_tensor_is_used(folder):
  state = load_file(folder / "model.safetensors")
  _, variables = load_pretrained(folder)
  ours = export_encoder(variables)
  theirs = {name.removeprefix("wav2vec2."): x for name, x in state.items() if not name.startswith("lm_head")}
  chex.assert_trees_all_equal(ours, theirs)


def test_left_over_and_missing_tensors_are_all_named(folder):
  rewrite(folder, lambda s: s.update({"wav2vec2.adapter.x": np.ones(2, np.float32), "other": np.ones(1, np.float32)}))
  refuses(folder, r"does not know 2 .*adapter\.x, other")
  rewrite(folder, lambda s: [s.pop(name) for name in ("other", "wav2vec2.adapter.x")])
  for part in ("k_proj.bias", "v_proj.weight"):
    rewrite(folder, lambda s, part=part: s.pop(f"wav2vec2.encoder.layers.1.attention.{part}"))
  refuses(folder, r"lacks 2 .*layers\.1\.attention\.k_proj\.bias, encoder\.layers\.1\.attention\.v_proj\.weight")


def test_another_size_is_refused_with_both_shapes(folder):
  reconfigure(folder, intermediate_size=48)
  refuses(folder, r"layers\.0\.feed_forward\.intermediate_dense\.weight is \(64, 32\), config.json asks for \(48, 32\)")


def test_numbers_that_are_not_finite_are_refused(folder):
  rewrite(folder, lambda s: s["wav2vec2.encoder.layer_norm.bias"].__setitem__(0, np.nan))
  refuses(folder, "is damaged 1 .*encoder.layer_norm.bias")


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"model_type": "speecht5"}, "model_type is 'speecht5'; this reads wav2vec2, hubert, wavlm, whisper"),
    ({"add_adapter": True}, "add_adapter is True"),
    ({"hidden_act": "swish"}, "activation 'swish'"),
    ({"hidden_size": "32"}, "hidden_size is '32'"),
    ({"num_attention_heads": 5}, "not a multiple"),
    ({"conv_dim": [16]}, "lists of one length"),
    ({"feat_extract_norm": "batch"}, "feat_extract_norm is 'batch'"),
  ],
)
def test_other_architectures_and_options_are_named(folder, change, words):
  reconfigure(folder, **change)
  refuses(folder, re.escape(words))


def test_missing_and_damaged_files_are_named(folder):
  with pytest.raises(MissingAssetError, match="no such folder"):
    load_pretrained(folder / "nowhere")
  (folder / "model.safetensors").write_bytes(b"not tensors")
  refuses(folder, "model.safetensors: not a safetensors file")
  (folder / "model.safetensors").unlink()
  refuses(folder, "model.safetensors: no such file", MissingAssetError)
  (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
  refuses(folder, "pytorch_model.bin only, a pickle, which is not read; convert it with")
  (folder / "config.json").write_text("{")
  refuses(folder, "config.json: not a JSON file")
  (folder / "config.json").unlink()
  refuses(folder, "config.json: no such file", MissingAssetError)


def test_shards_and_half_precision(folder):
  state = load_file(folder / "model.safetensors")
  reference = load_pretrained(folder)[1]
  (folder / "model.safetensors").unlink()
  names = sorted(state)
  where = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
  for file in set(where.values()):
    half = {n: state[n].astype(ml_dtypes.bfloat16) for n in names if where[n] == file}
    save_file(half, folder / file)
  index = folder / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": where}))
  chex.assert_trees_all_close(load_pretrained(folder)[1], reference, rtol=1e-2)
  (folder / "model-00002-of-00002.safetensors").unlink()
  refuses(folder, "lacks model-00002-of-00002.safetensors", MissingAssetError)
  index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}))
  refuses(folder, "in the same folder")


def test_a_saved_encoder_loads_as_it_was(tmp_path):
  module, variables = golden.loaded("wavlm_layer")
  save_pretrained(tmp_path / "saved", module, variables)
  again, values = load_pretrained(tmp_path / "saved")
  assert again == module
  chex.assert_trees_all_equal(values, variables)


def test_defaults_are_those_of_the_base_models_and_preparation_is_read():
  config = read_config({"model_type": "hubert"}, {"do_normalize": False, "sampling_rate": 8000})
  assert config == SpeechConfig(family="hubert", normalise=False, sample_rate=8000)
  assert (config.width, config.layers, config.frames(16_000)) == (768, 12, 49)


def test_frozen_parts_stay_and_unknown_ones_are_refused():
  _, variables = golden.loaded("wav2vec2_group")
  params = variables["params"]
  mask = trainable_mask(params, ["feature_extractor", "encoder.layers.1", "encoder.pos_conv_embed.conv.weight_g"])
  chex.assert_trees_all_equal_structs(mask, params)
  assert not any(jax.tree.leaves((mask["feature_extractor"], mask["encoder"]["layers_1"])))
  assert all(jax.tree.leaves((mask["feature_projection"], mask["encoder"]["layers_0"])))
  assert mask["encoder"]["pos_conv_embed"]["conv"] == {"bias": True, "weight_g": False, "weight_v": True}
  with pytest.raises(InputError, match="no part 'encoder.layer.1', did you mean 'encoder.layers.1'"):
    trainable_mask(params, ["encoder.layer.1"])

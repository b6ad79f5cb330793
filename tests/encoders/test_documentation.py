"""The page about the encoders does what it says: its snippets run, in order, on a tiny checkpoint."""

import functools
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import soundfile
from flax import traverse_util

from jaxtalk.encoders import SpeechConfig, SpeechEncoder, prepare, save_pretrained

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"
SIZES = {"width": 16, "layers": 1, "heads": 2, "hidden": 16, "position_kernel": 8, "position_groups": 2}
# Two convolutions that see what the seven of published models see: 400 samples, 320 apart.
TINY = SpeechConfig(family="hubert", conv_widths=(8, 8), conv_kernels=(10, 79), conv_strides=(5, 64), **SIZES)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def random_variables(module):
  """Parameters of the right shapes, without running the initialisers."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 400), jnp.float32))
  rng = np.random.default_rng(0)
  flat = traverse_util.flatten_dict(shapes["params"])
  values = {path: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32) for path, x in flat.items()}
  return {"params": traverse_util.unflatten_dict(values)}


def test_a_recording_of_40_ms_and_silence_are_the_same_alone_and_beside_a_long_one():
  assert (TINY.hop, TINY.reach) == (320, 400)
  module = SpeechEncoder(TINY)
  variables = random_variables(module)
  rng = np.random.default_rng(1)
  waves = [rng.normal(size=640), np.zeros(3000), rng.normal(size=16_000)]
  waveform, mask = prepare([wave.astype(np.float32) for wave in waves], TINY)
  apply = quick_jit(module.apply)
  states = apply(variables, waveform, mask)
  assert states.lengths.tolist() == [1, 9, 49]
  for row, frames in enumerate(states.lengths.tolist()):
    alone = apply(variables, waveform[row : row + 1, mask[row]])
    for ours, wanted in zip(states.hidden_states, alone.hidden_states, strict=True):
      assert np.isfinite(wanted).all()
      np.testing.assert_allclose(ours[row, :frames], wanted[0], rtol=0, atol=1e-4)
  assert np.abs(states.last).max() > 0.3  # not all the same


def test_every_snippet_of_the_page_runs(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(jax, "jit", quick_jit)
  module = SpeechEncoder(TINY)
  save_pretrained("hubert-base-ls960", module, random_variables(module))
  shutil.copytree(Path(__file__).parents[1] / "golden" / "speech_encoder" / "whisper", "whisper-small")
  time = np.arange(16_000) / 16_000
  soundfile.write("voice.wav", 0.3 * np.sin(2 * np.pi * 220 * time), 16_000)
  snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
  assert len(snippets) >= 8
  names: dict = {}
  for snippet in snippets:
    exec(compile(snippet, PAGE.name, "exec"), names)
  printed = capsys.readouterr().out.splitlines()
  assert printed[:2] == ["hubert 1 16", "(49, 16)"] and "(1, 30, 16)" in printed and "(2, 60, 16)" in printed
  assert printed[-1] == "(50, 16)"
  assert (tmp_path / "my-hubert" / "model.safetensors").is_file()

"""Clips of the renderer that measures its own pictures: the error goes to the arrays and the sidecar."""

import json

import numpy as np
import pytest
from test_pipeline import make_plan, names, run

from jaxtalk import cli
from jaxtalk.clips import command, reader
from jaxtalk.clips.writer import Outputs
from jaxtalk.core import Frames, InputError


class Measured:
  """The stand-in's frames with an error of 1, 2, 3 ... percent."""

  def __init__(self, blocks):
    self._blocks, self._count = blocks, 0

  def render(self, motion, person, scene, *, seed):
    for frames in self._blocks.render(motion, person, scene, seed=seed):
      errors = (self._count + 1 + np.arange(len(frames.images), dtype=np.float32)) / 100
      self._count += len(errors)
      yield Frames(images=frames.images, labels={**frames.labels, "lm_error": errors})


def test_measured_errors_are_kept_and_summed_up(tmp_path):
  import fakes

  plan = make_plan(tmp_path, texts=("one two three four five",))
  outcome, _ = run(plan, tmp_path, renderer=Measured(fakes.Blocks(Outputs().labels)))
  assert not outcome.failures
  (document,) = outcome.documents
  count = document["frames"]
  assert document["arrays"]["lm_error"] == [count]
  summary = document["landmark_error"]
  assert summary["largest"] == pytest.approx(count) and summary["median"] == pytest.approx((count + 1) / 2)
  with np.load(tmp_path / "clips" / "clip_000000000.npz") as arrays:
    np.testing.assert_allclose(arrays["lm_error"], np.arange(1, count + 1) / 100, rtol=1e-6)
  assert reader.read_clip(tmp_path / "clips" / "clip_000000000.json").document == json.loads(json.dumps(document))


def test_clips_without_a_measure_say_nothing_about_it(tmp_path):
  outcome, _ = run(make_plan(tmp_path, texts=("one",)), tmp_path)
  assert "landmark_error" not in outcome.documents[0] and "lm_error" not in outcome.documents[0]["arrays"]
  assert names(tmp_path)


def config(**overrides):
  from test_pipeline import ROOT

  loaded, _ = cli.load_config("configs/portrait.py", ROOT)
  cli.override(loaded, overrides)
  return loaded


@pytest.mark.parametrize(
  "overrides, outputs, message",
  [
    ({"portrait.weights": "none.safetensors"}, Outputs(), "no talking portrait at none.safetensors"),
    ({"renderer": "stylegan"}, Outputs(), "unknown, did you mean 'stylegan2'|unknown"),
  ],
)
def test_renderers_that_are_not_there(overrides, outputs, message):
  with pytest.raises((InputError, command.JaxtalkError), match=message):
    command.make_renderer_of(config(**overrides), outputs)


def test_provenance_names_the_weights_of_ones_own_by_content(tmp_path):
  assert command.provenance(config())["models"]["renderer"] == "stylegan2"
  file = tmp_path / "mine.safetensors"
  found = []
  for content in (b"some", b"other"):
    file.write_bytes(content)
    found.append(command.provenance(config(**{"portrait.weights": str(file)}))["models"]["renderer"])
  assert found[0] != found[1] and all(name.startswith("stylegan2:mine.safetensors:") for name in found)
  other = command.provenance(config(**{"portrait.weights": str(file), "portrait.domain": "other"}))
  assert other["models"]["renderer"] == found[1] + ":other"
  studio = command.provenance(config(**{"portrait.weights": str(file), "renderer": "studio"}))
  assert studio["models"]["renderer"] == "studio"


def test_framing_brings_the_camera_nearer_unless_a_distance_is_given(tmp_path):
  near = make_plan(tmp_path, **{"camera.framing": "face"})[0].scene.camera.distance
  far = make_plan(tmp_path)[0].scene.camera.distance
  assert near == pytest.approx(0.66 * far)
  given = make_plan(tmp_path, **{"camera.framing": "face", "camera.distance": 1.5})[0].scene.camera.distance
  assert given == 1.5
  with pytest.raises(InputError, match="config.camera.framing='feet'.*shoulders, face"):
    make_plan(tmp_path, **{"camera.framing": "feet"})

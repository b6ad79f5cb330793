"""The talking portrait: conditions, maps that follow the face, files, and the renderer with a small random network."""

import dataclasses
import functools
from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import Camera, InputError, MissingAssetError, Motion, MotionSpace, Scene
from jaxtalk.motion.spaces import ARKIT
from jaxtalk.studio import camera, points
from jaxtalk.studio.person import sample_person
from jaxtalk.studio.renderer import TARGET, StudioRenderer
from jaxtalk.systems import face_landmark_error, face_maps
from jaxtalk.systems import portrait_conditions as pc
from jaxtalk.systems import talking_portrait as tp
from jaxtalk.systems.talking_portrait_renderer import TalkingPortraitRenderer

SIZE = 32
SCENE = Scene(size=SIZE, camera=Camera(yaw=0.2, pitch=0.05, distance=0.8), background="plain")
MOVES = {"jawOpen": [0, 0, 0.6, 0.3], "headYaw": [0, 0.3, -0.4, 0.1], "eyeBlinkLeft": [0, 0, 0, 1.0]}


def motion(**channels) -> Motion:
  values = np.zeros((len(next(iter(channels.values()))), len(ARKIT)), np.float32)
  for name, value in channels.items():
    values[:, ARKIT.index(name)] = value
  return Motion(values=values, fps=Fraction(25), space=ARKIT)


@functools.cache
def small() -> tp.TalkingPortrait:
  module = tp.make_generator(resolution=SIZE, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
  variables = jax.jit(lambda key: tp.init_generator(module, key))(jax.random.key(3))
  scale = np.where(np.array(pc.NAMES) == "skin_tone", 10, 1).astype(np.float32)
  return tp.TalkingPortrait(module, variables, np.zeros(pc.C_DIM, np.float32), scale, {})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("portrait") / "small.safetensors"
  tp.save(path, small())
  return str(path)


@pytest.fixture(scope="module")
def renderer(weights):
  """On two devices; its programs are compiled once for all tests."""
  return TalkingPortraitRenderer(weights, devices=2)


# --- Conditions.


def test_latents_of_people_are_spread_like_unit_normal_ones():
  z = np.stack([pc.latent(sample_person(seed)) for seed in range(600)])
  chex.assert_shape(z, (600, pc.Z_DIM))
  assert np.abs(z.mean(0)).max() < 0.2 and np.abs(z.std(0) - 1).max() < 0.2
  assert np.abs(np.corrcoef(z.T) - np.eye(pc.Z_DIM)).max() < 0.2
  older = dataclasses.replace(sample_person(5), age_years=40.0)
  assert np.array_equal(pc.latent(sample_person(5)), pc.latent(sample_person(5)))
  assert not np.array_equal(pc.latent(older), pc.latent(sample_person(5)))


def test_conditions_say_what_their_names_say():
  rt = camera.extrinsics(SCENE.camera, TARGET)
  person = sample_person(4, age=6, gender="girl", hair="bob", skin=3, clothes="hoodie")
  c = pc.conditions(person, SCENE, motion(**MOVES).values, rt)
  chex.assert_shape(c, (4, pc.C_DIM))
  told = {name: c[:, i] for i, name in enumerate(pc.NAMES)}
  assert len(told) == pc.C_DIM
  assert told["hair_bob"].tolist() == [1] * 4 and told["hair_long"].tolist() == [0] * 4
  assert told["female"][0] == 1 and told["skin_tone"][0] == 3 and told["clothes_hoodie"][0] == 1
  np.testing.assert_allclose(told["jawOpen"], MOVES["jawOpen"], atol=1e-6)
  # A camera to the subject's left sees a head that is turned as much the other way.
  np.testing.assert_allclose(told["head_yaw"][0], -SCENE.camera.yaw, atol=0.02)
  assert (np.diff(told["head_yaw"][[2, 0, 1]]) > 0.2).all()


# --- Points and maps.


def test_labels_are_the_studios(renderer):
  person = sample_person(1)
  (studio,) = StudioRenderer(devices=2).render(motion(**MOVES), person, SCENE, seed=1)
  (own,) = renderer.render(motion(**MOVES), person, SCENE, seed=1)
  assert set(own.labels) == set(studio.labels) | {"lm_error"}
  for name in ("lm2d_px", "lm3d_m", "bbox_px", "head_aa", "gaze", "K", "cam_Rt"):
    np.testing.assert_allclose(own.labels[name], studio.labels[name], atol=2e-3, err_msg=name)
  # Both agree on what is seen but for what hair hides and for edges.
  assert (own.labels["visible"] == studio.labels["visible"]).mean() > 0.75
  chex.assert_shape(own.images, (4, SIZE, SIZE, 3))
  chex.assert_shape(own.labels["lm_error"], (4,))
  assert own.images.dtype == np.uint8 and np.isfinite(own.labels["lm_error"]).all()


def face(shift: float = 0.0, opened: float = 0.1) -> jax.Array:
  """Points of a schematic face in a picture of 64 pixels."""
  at = np.full((points.NUM, 3), 32.0, np.float32)
  angle = np.linspace(np.pi, -np.pi, 9)[:8]  # clockwise on the screen from the viewer's left
  mouth = np.stack([np.cos(angle) * 8 + 32, -np.sin(angle) * opened * 40 + 46], 1)
  at[60:68, :2] = mouth
  at[17:22, :2] = np.stack([np.linspace(14, 26, 5), np.full(5, 20)], 1)
  at[22:27, :2] = np.stack([np.linspace(38, 50, 5), np.full(5, 20)], 1)
  at[points.ANCHORS, :2] = [[32, 32], [44, 32], [32, 20]]
  at[:, 2] = 0
  at[:, 0] += shift
  return jnp.asarray(at[None])


@functools.cache
def draw():
  cover = jnp.zeros((1, 64, 64, len(points.COVERS)), jnp.uint8)
  return jax.jit(lambda p: face_maps.draw(p, cover, 64))


def test_maps_show_lines_where_landmarks_are_and_follow_them():
  maps = np.asarray(draw()(face()))[0]
  chex.assert_shape(maps, (64, 64, face_maps.NUM))
  assert np.abs(maps).max() <= 2.0
  brows = maps[..., list(face_maps.LINES).index("brows")]
  assert brows[20, 14:27].min() > 0.9 and brows[20, 38:51].min() > 0.9 and brows[30].max() < 1e-3
  moved = np.asarray(draw()(face(shift=7.0)))[0]
  np.testing.assert_allclose(moved[:, 10:60], maps[:, 3:53], atol=2e-3)  # waves too: they are fixed to the head


def test_covers_count_vertices_where_they_fall():
  kind = jnp.array([0, 0, 1, 1, 2, -1])
  at = jnp.array([[3.0, 5.0, 0], [3.5, 5.0, 0], [8, 8, -0.1], [8, 8, 0.1], [-40, 2, 0], [12, 12, 0]])
  cover = np.asarray(jax.jit(lambda k, p: points.cover(k, p, jnp.zeros(()), 16, 16))(kind, at)).astype(float)
  chex.assert_shape(cover, (16, 16, 4))
  density = -np.log(1 - cover / 255 + 1e-9) / 1.5
  skin = np.argwhere(cover[..., 0] > 0)
  assert skin.tolist() == [[5, 3], [5, 4]]  # rows and columns; half a pixel is shared
  np.testing.assert_allclose(density[5, 3:5, 0], [1.5, 0.5], atol=0.02)
  assert np.argwhere(cover[..., 1] > 2).tolist() == [[8, 8]] == np.argwhere(cover[..., 2] > 2).tolist()
  assert cover[..., 3].max() == 0 and cover[12, 12].max() == 0  # outside of the picture, and not drawn


def test_the_mouths_map_grows_with_its_opening():
  at = len(face_maps.LINES) + 1
  wide, narrow = (float(np.asarray(draw()(face(opened=o)))[0, ..., at].sum()) for o in (0.15, 0.03))
  assert wide > 2.5 * narrow > 0
  assert np.asarray(draw()(face(opened=0.15)))[0, 46, 32, at] > 0.9


def test_smaller_maps_are_means():
  cover = jnp.full((1, 64, 64, len(points.COVERS)), 51, jnp.uint8)
  maps = jax.jit(lambda p: face_maps.pyramid(p, cover, 64))(face())
  assert sorted(maps) == [4, 8, 16, 32, 64]
  np.testing.assert_allclose(maps[4][0, 0, 0], np.asarray(maps[64])[0, :16, :16].mean((0, 1)), atol=1e-5)


# --- The network and its file.


def test_a_file_holds_everything(weights):
  found = tp.load(weights)
  chex.assert_trees_all_close(found.variables, small().variables, atol=2e-3, rtol=1e-3)
  assert found.module == small().module and found.facts["synthetic"] is True


def test_foreign_files_are_refused(tmp_path, weights):
  from safetensors import safe_open
  from safetensors.numpy import save_file

  from jaxtalk.stylegan2.runner import DEMO

  with pytest.raises(MissingAssetError, match="no talking portrait at"):
    tp.load(tmp_path / "none.safetensors")
  with pytest.raises(InputError, match="configs/faces.py takes stills of such networks"):
    tp.load(DEMO)
  (tmp_path / "noise.safetensors").write_bytes(b"nothing of the kind" * 9)
  with pytest.raises(InputError, match="damaged or no safetensors file"):
    tp.load(tmp_path / "noise.safetensors")
  with safe_open(weights, framework="numpy") as file:
    header, arrays = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}
  save_file(arrays, tmp_path / "other.safetensors", metadata=header | {"conditions": '["age"]'})
  with pytest.raises(InputError, match="takes 1 conditions"):
    tp.load(tmp_path / "other.safetensors")
  arrays.pop("mean"), arrays.update(mean=np.zeros(pc.C_DIM, np.float32), extra=np.zeros(3, np.float32))
  save_file(arrays, tmp_path / "more.safetensors", metadata=header)
  with pytest.raises(InputError, match="do not fit its configuration: extra"):
    tp.load(tmp_path / "more.safetensors")


def test_conditions_out_of_reach_are_clipped_and_named():
  c = np.zeros((2, pc.C_DIM), np.float32)
  c[1, pc.NAMES.index("head_yaw")] = 9.0
  c[0, pc.NAMES.index("hair_buzz")] = 9.0  # a rare choice is not out of reach
  labels, clipped = small().standardise(c, "other")
  chex.assert_shape(labels, (2, pc.C_DIM + 1))
  c[0, pc.NAMES.index("tongueOut")], c[1, pc.NAMES.index("jawOpen")] = 1.0, 1.5  # the first is rare, the second too far
  small_scale = dataclasses.replace(small(), scale=np.where(np.array(pc.NAMES) == "tongueOut", 0.05, small().scale))
  assert set(small_scale.standardise(c)[1]) == {"head_yaw", "jawOpen"}
  assert clipped == {"head_yaw": 5.0} and labels.max() == tp.REACH and (labels[:, -1] == 1).all()
  c[0, 0] = np.nan
  with pytest.raises(InputError, match="NaN"):
    small().standardise(c)


def test_a_background_stays_where_the_matte_is_empty():
  painted = jnp.stack([jnp.full((4, 4), v) for v in (-1.0, -1.0, -1.0, -1.0)], -1)[None]
  background = jnp.full((1, 4, 4, 3), 77.0)
  assert (np.asarray(tp.composite(painted, background)) == 77).all()
  assert (np.asarray(tp.composite(painted.at[..., 3].set(1.0), background)) == 0).all()


# --- The renderer.


def test_batches_of_many_clips_are_those_of_each(renderer):
  jobs = [(motion(**MOVES), sample_person(seed), SCENE, seed) for seed in (1, 2)]
  alone = [np.concatenate([f.images for f in renderer.render(*job[:3], seed=job[3])]) for job in jobs]
  together = list(renderer.render_clips(jobs))
  assert [number for number, _ in together] == [0, 1]
  for (_, frames), single in zip(together, alone, strict=True):
    assert np.abs(frames.images.astype(int) - single).max() <= 1


def test_a_clip_that_cannot_be_drawn_and_one_of_another_size_leave_the_others_alone(renderer):
  fine, poisoned = motion(jawOpen=[0.0]), motion(jawOpen=[np.nan])
  large = dataclasses.replace(SCENE, size=2 * SIZE)
  people = [sample_person(seed) for seed in (1, 2)]
  jobs = [(fine, people[0], SCENE, 1), (poisoned, people[1], SCENE, 2), (fine, people[1], large, 2)]
  (first, a), (second, error), (third, b) = renderer.render_clips(jobs)
  assert (first, second, third) == (0, 1, 2)
  assert isinstance(error, InputError) and "NaN" in str(error)
  chex.assert_shape(a.images, (1, SIZE, SIZE, 3))
  chex.assert_shape(b.images, (1, 2 * SIZE, 2 * SIZE, 3))


def test_the_other_domain_is_drawn_whole_by_weights_that_learnt_it(weights, tmp_path):
  with pytest.raises(InputError, match="know the studio's pictures only; train with config.data.other_path"):
    TalkingPortraitRenderer(weights, domain="other")
  with pytest.raises(InputError, match="config.portrait.domain='toon': unknown .there are: studio, other."):
    TalkingPortraitRenderer(weights, domain="toon")
  two = small()
  codes = np.random.default_rng(0).normal(0, 0.1, (two.module.num_ws, two.module.w_dim)).astype(np.float32)
  variables = {**two.variables, "params": {**two.variables["params"], "domain": {"codes": codes}}}
  tp.save(tmp_path / "two.safetensors", dataclasses.replace(two, variables=variables))
  drawn = TalkingPortraitRenderer(str(tmp_path / "two.safetensors"), devices=2, domain="other")
  scenes = [dataclasses.replace(SCENE, background=name) for name in ("plain", "garden")]
  shown = [next(drawn.render(motion(jawOpen=[0.0]), sample_person(1), scene, seed=1)) for scene in scenes]
  np.testing.assert_array_equal(shown[0].images, shown[1].images)  # the network's own background
  assert np.isfinite(shown[0].labels["lm_error"]).all()


@pytest.mark.slow
def test_eight_devices_draw_what_two_do(weights, renderer):
  wide = TalkingPortraitRenderer(weights, devices=8)
  two, eight = (
    np.concatenate([f.images for f in r.render(motion(**MOVES), sample_person(1), SCENE, seed=1)])
    for r in (renderer, wide)
  )
  assert np.abs(eight.astype(int) - two).max() <= 1


@pytest.mark.slow
def test_other_sizes_are_scaled_from_the_networks(renderer):
  scene = dataclasses.replace(SCENE, size=2 * SIZE)
  (large,) = renderer.render(motion(jawOpen=[0.0]), sample_person(1), scene, seed=1)
  (native,) = renderer.render(motion(jawOpen=[0.0]), sample_person(1), SCENE, seed=1)
  chex.assert_shape(large.images, (1, 2 * SIZE, 2 * SIZE, 3))
  np.testing.assert_allclose((large.labels["lm2d_px"] + 0.5) / 2, native.labels["lm2d_px"] + 0.5, atol=1e-2)
  shrunk = large.images[0].reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
  assert np.abs(shrunk - native.images[0]).mean() < 8


def test_what_it_cannot_draw_is_refused(weights, renderer, capsys):
  flame = Motion(values=np.zeros((2, 1), np.float32), fps=Fraction(25), space=MotionSpace("flame", ("jaw",)))
  with pytest.raises(InputError, match="not by motion space 'flame'"):
    list(renderer.render(flame, sample_person(1), SCENE, seed=1))
  broken = motion(jawOpen=[0.0, np.nan])
  with pytest.raises(InputError, match="NaN or infinite values; nothing was rendered"):
    list(renderer.render(broken, sample_person(1), SCENE, seed=1))
  with pytest.raises(InputError, match="size 33 must be even"):
    list(renderer.render(motion(jawOpen=[0.0]), sample_person(1), dataclasses.replace(SCENE, size=33), seed=1))
  with pytest.raises(InputError, match=r"config.outputs.depth: config.renderer=stylegan2 has no such label"):
    TalkingPortraitRenderer(weights, maps=("depth",))
  far = dataclasses.replace(SCENE, camera=Camera(distance=4.9))
  list(renderer.render(motion(jawOpen=[0.0]), sample_person(1), far, seed=1))
  list(renderer.render(motion(jawOpen=[0.0]), sample_person(2), far, seed=1))
  assert capsys.readouterr().err.count("camera_distance") == 1  # said once


# --- The measure.


@pytest.mark.slow
def test_landmark_errors_of_studio_pictures_are_small_and_grow_with_the_labels_shift():
  scene = dataclasses.replace(SCENE, size=128, camera=Camera(distance=0.6))
  (frames,) = StudioRenderer(devices=1).render(motion(**MOVES), sample_person(3), scene, seed=1)
  at = frames.labels["lm2d_px"]
  right = face_landmark_error.measure(frames.images, at)
  apart = np.linalg.norm(at[:, 42:48].mean(1) - at[:, 36:42].mean(1), axis=-1)
  shifted = face_landmark_error.measure(frames.images, at + np.array([0.2, 0.0]) * apart[:, None, None])
  assert right.max() < 0.1 and (shifted > right + 0.07).all() and (shifted < 0.3).all()


def test_found_landmarks_come_back_from_the_crop():
  """The crop's affine map and its inverse agree: a bright dot is where it was."""
  about = np.random.default_rng(0).uniform(40, 90, (70, 2)).astype(np.float32)
  crop = face_landmark_error.face_crop(about)
  dot = crop.centre + face_landmark_error._axes(crop) @ np.array([5.0, -3.0])
  y, x = np.mgrid[:128, :128]
  glow = 255 * np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * (crop.side / 32) ** 2))
  cut = face_landmark_error._cut(np.repeat(glow[..., None], 3, 2).astype(np.uint8), crop)[..., 0].astype(float)
  seen = np.array([(cut * axis).sum() / cut.sum() for axis in np.mgrid[:64, :64][::-1]])
  np.testing.assert_allclose(seen, np.array([5.0, -3.0]) + 31.5, atol=0.3)
  np.testing.assert_allclose(face_landmark_error._back(seen, crop), dot, atol=0.3 * crop.side / 64)


# --- The network that ships.


def test_the_network_that_ships_fits_this_version():
  portrait = tp.load()
  assert portrait.module.img_resolution == 128 and portrait.facts["synthetic"] is True
  assert portrait.facts["config"]["data"]["path"] == "" and "/" not in portrait.facts["config"]["init"]
  assert tp.WEIGHTS.stat().st_size < 8e6 and tp.WEIGHTS.with_suffix(".md").is_file()


@pytest.mark.slow
def test_the_network_that_ships_draws_what_it_is_told():
  """Near the studio's picture of the same condition, and the mouth opens when it is told to."""
  scene = dataclasses.replace(SCENE, size=128, camera=Camera(distance=0.6))
  opening = motion(jawOpen=[0.0, 0.7])
  (truth,) = StudioRenderer(devices=1).render(opening, sample_person(12), scene, seed=1)
  (drawn,) = TalkingPortraitRenderer(devices=1).render(opening, sample_person(12), scene, seed=1)
  difference = np.abs(drawn.images.astype(float) - truth.images)
  assert difference.mean() < 12
  top, bottom = (truth.labels["lm2d_px"][1, i].round().astype(int) for i in (62, 66))
  inside = [i[top[1] + 1 : bottom[1], top[0] - 2 : top[0] + 3].mean() for i in drawn.images]
  assert inside[1] < inside[0] - 15  # dark where the lips were
  assert (drawn.labels["lm_error"] < 0.15).all()

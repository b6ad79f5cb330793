"""Eyes, atlas, camera, light, backdrop, regions: each against something that can be worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import Camera, InputError, Light
from jaxtalk.motion.rotations import matrix_from_ypr
from jaxtalk.studio import atlas, backdrop, camera, eyes, lighting, model, regions, shading
from jaxtalk.studio.head import load_asset
from jaxtalk.studio.person import sample_person


def test_eye_looks_where_it_is_told():
  ball, faces = eyes.sphere()
  gaze = matrix_from_ypr(jnp.array([0.3, -0.2, 0.0]))
  centre = np.float32([0.03, 0.0, 0.08])
  eye = eyes.posed(jnp.asarray(ball), jnp.asarray(centre), jnp.float32(0.012), gaze)
  position, normal, uv = (np.asarray(a) for a in eye)
  nearest = np.linalg.norm(uv, axis=1).argmin()
  toward = (position[nearest] - centre) / np.linalg.norm(position[nearest] - centre)
  assert np.degrees(np.arccos(toward @ np.asarray(gaze)[:, 2])) < 9  # half the spacing of the vertices
  np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
  iris = np.linalg.norm(uv, axis=1) < eyes.IRIS_SIN
  radius = np.linalg.norm(position - centre, axis=1)
  np.testing.assert_allclose(radius[~iris & ((uv**2).sum(1) < 4)], 0.012, rtol=eyes.CORNEA_BULGE + 1e-3)
  assert radius.max() > 0.0121 and faces.max() == len(ball) - 1


def test_sphere_fit_recovers_a_sphere():
  points = lighting.sphere_points(400) * 0.013 + np.array([0.03, 0.01, 0.07])
  centre, radius = eyes.fit(points)
  np.testing.assert_allclose(centre, [0.03, 0.01, 0.07], atol=2e-4)
  assert radius == pytest.approx(0.013, rel=0.01)


def test_colour_curves_are_inverse_and_tones_darken():
  x = np.linspace(0, 1, 101)
  np.testing.assert_allclose(atlas.to_srgb(atlas.to_linear(x)), x, atol=1e-7)
  luminance = [atlas.skin_albedo(t).mean() for t in range(1, 11)]
  assert luminance[0] > 3 * luminance[9] and all(b < a + 0.02 for a, b in zip(luminance, luminance[1:], strict=False))


def test_tone_curve_is_monotone_and_srgb_below_the_knee():
  x = np.linspace(0, 5, 20000, dtype=np.float32).reshape(200, 100)
  y = np.asarray(shading.encode([jnp.asarray(x)] * 3))[..., 1].astype(int)
  assert (np.diff(y.ravel()) >= 0).all() and y.max() <= 255
  low = x < shading.KNEE
  assert np.abs(y[low] - atlas.to_srgb(x[low]) * 255).max() < 1


def test_texels_wrap_within_their_block():
  packed = jnp.zeros((atlas.SIZE, atlas.SIZE), jnp.uint32)
  x0, y0 = atlas.CLOTH_AT
  packed = packed.at[y0 + 5, x0 + 7].set(255)
  for turns in (0, 1, 9):
    u = jnp.float32(2 * atlas.WRAP + 7.5 + turns * atlas.BLOCK)
    v = jnp.float32(2 * atlas.WRAP + 5.5 - 0 * turns)
    red, green, _ = shading.texels(packed, u, v)
    assert float(red) == 1 and float(green) == 0


def test_camera_looks_at_its_target_and_orbits_the_right_way():
  target = np.array([0.0, -0.04, 0.02])
  k = camera.intrinsics(Camera(focal_mm=85), 256)
  assert k[0, 0] == pytest.approx(85 / 36 * 256)
  for c in (Camera(), Camera(yaw=0.5), Camera(pitch=0.3, distance=0.7), Camera(yaw=-1, pitch=-0.2)):
    rt = camera.extrinsics(c, target)
    np.testing.assert_allclose(camera.project(target, k, rt), [127.5, 127.5], atol=1e-9)
    np.testing.assert_allclose(rt[:, :3] @ rt[:, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rt[:, :3]) == pytest.approx(1)
    assert (rt[:, :3] @ target + rt[:, 3])[2] == pytest.approx(c.distance)
  left = camera.extrinsics(Camera(yaw=0.5), target)
  assert (-left[:, :3].T @ left[:, 3])[0] > 0  # the subject's left is +X
  above = camera.project(target + [0, 0.05, 0], k, camera.extrinsics(Camera(), target))
  assert above[1] < 127.5  # y runs down


def test_sky_probes_cover_the_sphere_and_pad_with_nothing():
  points = lighting.sphere_points(64)
  np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
  assert np.abs(points.mean(0)).max() < 0.02
  rig = lighting.rig(Light())
  directions, counts = lighting.probes(rig, 8)
  assert len(directions) % 8 == 0 and counts[:, 1].sum() == pytest.approx(1)
  assert (directions[counts[:, 1] > 0] @ rig.key_direction).min() > np.cos(lighting.KEY_RADIUS + 1e-3)


def test_a_roof_hides_what_lies_under_it():
  square = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], np.float32)
  vertices = np.concatenate([square * 0.05 + [0, 0.1, 0], square * 0.2])
  faces = np.array([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]])
  probe = np.concatenate([vertices, [[0, 0, 0], [0.12, 0, 0.12]]]).astype(np.float32)
  normals = np.tile(np.float32([0, 1, 0]), (len(probe), 1))
  seen = lighting.seen_from(
    jnp.asarray(probe), jnp.asarray(normals), jnp.asarray(faces), jnp.ones(4, bool), jnp.ones(4, bool),
    jnp.array([0.0, 1.0, 0.0]),
  )  # fmt: skip
  assert float(seen[8]) == 0 and float(seen[9]) == 1


def test_unknown_environment_and_background_are_refused():
  with pytest.raises(InputError, match="environment 'moon'"):
    lighting.rig(Light(environment="moon"))
  with pytest.raises(InputError, match="background 'beach'"):
    backdrop.paint("beach", 64, 0)
  with pytest.raises(InputError, match="#rrggbb"):
    backdrop.paint("#12", 64, 0)


def test_backgrounds_come_from_the_seed():
  for kind in (*backdrop.KINDS, "auto"):
    a, b = backdrop.paint(kind, 48, 1), backdrop.paint(kind, 48, 1)
    assert a.shape == (48, 48, 3) and np.array_equal(a, b) and a.min() >= 0 and a.max() <= 1
    assert not np.array_equal(a, backdrop.paint(kind, 48, 2))
  assert np.allclose(backdrop.paint("#ff8000", 8, 0)[0, 0], [1, atlas.to_linear(128 / 255), 0])


def test_regions_are_symmetric_and_lips_split_by_the_jaw():
  asset = load_asset()
  faces = model.shared()["faces"]
  classes = regions.classify(asset, faces)
  counts = np.bincount(classes, minlength=16)
  for label in (regions.SKIN, regions.NOSE, regions.MOUTH_INTERIOR, regions.LIP_TOP, regions.LIP_BOTTOM, regions.NECK):
    assert counts[label] > 40, regions.NAMES[label]
  for left, right in ((regions.BROW_LEFT, regions.BROW_RIGHT), (regions.EAR_LEFT, regions.EAR_RIGHT)):
    assert counts[left] == pytest.approx(counts[right], rel=0.2)
  drop = asset.unit_delta[asset.unit["jawOpen"]].astype(np.float32)[faces].mean(1)[:, 1]
  assert drop[classes == regions.LIP_BOTTOM].mean() < 3 * drop[classes == regions.LIP_TOP].mean() - 5e-3


def test_landmarks_are_mirror_images_on_the_base_mesh():
  asset = load_asset()
  lm = asset.base[asset.landmarks]
  pairs = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)] + [(36, 45), (39, 42), (48, 54)]
  for a, b in pairs:
    np.testing.assert_allclose(lm[a] * [-1, 1, 1], lm[b], atol=3e-4)
  assert lm[8, 1] == lm[:, 1].min() and lm[30, 2] == lm[:, 2].max()


def test_atlas_of_a_person_is_reproducible():
  who = sample_person(4)
  assert np.array_equal(atlas.paint(who), atlas.paint(who))
  assert not np.array_equal(atlas.paint(who), atlas.paint(sample_person(5)))

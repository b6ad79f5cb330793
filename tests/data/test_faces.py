"""The studio's face set: aligned crops, labels that agree with the pictures, and the file that holds them."""

import dataclasses
import itertools
import json
import zipfile

import numpy as np
import pytest

from jaxtalk.core import Camera, InputError, Light
from jaxtalk.data import face_pictures, faces
from jaxtalk.data.face_pictures import Face, box_shrink, eye_aspect_ratio, make_person_faces, mouth_opening, person_of
from jaxtalk.data.face_shots import Setting, draw_setting, draw_shot, head_angles, light_angles
from jaxtalk.data.image_folder import open_images
from jaxtalk.motion.rotations import direction_from_yaw_pitch, matrix_from_ypr
from jaxtalk.motion.spaces import ARKIT, HEAD, LEFT_EYE
from jaxtalk.studio import camera
from jaxtalk.studio.face_crop import FaceCrop, crop_camera, face_crop

SIZE, SEED = 32, 5


@pytest.fixture(scope="module")
def pictures():
  """Two children, sixteen pictures."""
  return list(faces.make_faces(16, SIZE, SEED, workers=1))


def column(pictures, name):
  return np.array([face.attributes[name] for face in pictures])


def test_crop_of_a_known_face():
  points = np.zeros((70, 2))
  points[36:42], points[42:48] = (40, 50), (60, 50)  # eyes 20 apart, mouth 30 below
  points[48], points[54] = (45, 80), (55, 80)
  crop = face_crop(points)
  np.testing.assert_allclose(crop.centre, (50, 53))
  assert crop.side == pytest.approx(2 * 1.8 * 30)
  assert crop.roll == pytest.approx(0)
  points[48], points[54] = (45, 60), (55, 60)  # now the eyes decide
  assert face_crop(points).side == pytest.approx(2 * 2.0 * 20)


def test_crop_follows_turn_scale_and_shift():
  points = np.random.default_rng(0).normal(size=(70, 2)) * 3
  points[36:42] += (-10, 0)
  points[42:48] += (10, 0)
  points[[48, 54]] += (0, 20)
  turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
  before, after = face_crop(points), face_crop(3 * points @ turn.T + (7, 8))
  np.testing.assert_allclose(after.centre, 3 * turn @ before.centre + (7, 8))
  assert after.side == pytest.approx(3 * before.side)
  assert after.roll == pytest.approx(before.roll + 0.4)


def test_crop_camera_sees_what_the_crop_cuts_out():
  shot = Camera(yaw=0.3, pitch=-0.1, distance=0.9)
  k, rt = camera.intrinsics(shot, 200), camera.extrinsics(shot, np.zeros(3))
  points = np.random.default_rng(1).normal(size=(50, 3)) * 0.1
  crop = FaceCrop(centre=np.array([90.0, 120.0]), side=80.0, roll=0.3)
  offset = camera.project(points, k, rt) - crop.centre
  x, y = np.array([np.cos(0.3), np.sin(0.3)]), np.array([-np.sin(0.3), np.cos(0.3)])
  want = np.stack([offset @ x, offset @ y], 1) * (64 / 80) + 63 / 2
  np.testing.assert_allclose(camera.project(points, *crop_camera(k, rt, crop, 64)), want, atol=1e-9)


def test_pictures_are_aligned_but_for_the_drawn_roll(pictures):
  for i, face in enumerate(pictures):
    group, number = (0, 1)[i % 2], i // 2
    shot = draw_shot(SEED, face_pictures.members(group)[number], person_of(SEED, group))
    crop = face_crop(face.attributes["landmarks"])
    np.testing.assert_allclose(crop.centre, (SIZE - 1) / 2, atol=0.02)
    assert crop.side == pytest.approx(SIZE, rel=1e-3)
    assert np.degrees(crop.roll) == pytest.approx(-shot.roll, abs=0.1)


def test_sets_are_balanced_and_a_picture_does_not_depend_on_their_length(pictures):
  np.testing.assert_array_equal(column(pictures, "gender"), [0, 1] * 8)
  assert len(set(column(pictures, "identity"))) == 2
  assert len(set(column(pictures, "age"))) == 1  # a girl and a boy of one age
  for face, same in zip(faces.make_faces(3, SIZE, SEED, workers=1), pictures, strict=False):
    np.testing.assert_array_equal(face.image, same.image)
    assert face.attributes["yaw"] == same.attributes["yaw"]


def test_pictures_show_a_face_where_the_landmarks_are(pictures):
  for face in pictures:
    assert face.image.shape == (SIZE, SIZE, 3)
    assert face.image.std() > 20
    assert face.attributes["visible"][30]  # the tip of the nose
    assert ((face.attributes["landmarks"] > -4) & (face.attributes["landmarks"] < SIZE + 4)).all()
  corner = column(pictures, "landmarks")[:, 36:48].mean(1)
  np.testing.assert_allclose(corner[:, 1].mean() / SIZE, 0.47, atol=0.04)


def test_light_from_the_right_makes_the_right_of_the_picture_brighter(monkeypatch):
  def setting(seed, group, number):
    light = Light(key_yaw=(-1.2, 1.2)[number % 2], key_pitch=0.3, environment_intensity=0.6)
    return dataclasses.replace(draw_setting(seed, group, number), light=light, backdrop="#808080")

  def shot(seed, index, person):
    drawn = draw_shot(seed, index, person)
    frame = np.zeros_like(drawn.frame)
    return dataclasses.replace(drawn, frame=frame, camera=dataclasses.replace(drawn.camera, yaw=0.0), roll=0.0)

  monkeypatch.setattr(face_pictures, "draw_setting", setting)
  monkeypatch.setattr(face_pictures, "draw_shot", shot)
  made = make_person_faces(SEED, 1, SIZE)
  from_left, from_right = made[0], made[2]
  assert from_left.attributes["light_azimuth"] < -50
  assert from_right.attributes["light_azimuth"] > 50
  cheeks = [
    face.image[16:24, columns].mean() for face in (from_left, from_right) for columns in (slice(8, 14), slice(18, 24))
  ]
  assert cheeks[0] > 1.15 * cheeks[1]
  assert cheeks[3] > 1.15 * cheeks[2]


def test_measured_expression_follows_the_drawn_one(monkeypatch):
  def shot(seed, index, person):
    drawn = draw_shot(seed, index, person)
    frame = np.zeros_like(drawn.frame)
    number = face_pictures.members(1).index(index)
    frame[[ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]] = number / 8
    frame[ARKIT.index("jawOpen")] = 0.1 * number
    return dataclasses.replace(drawn, frame=frame)

  monkeypatch.setattr(face_pictures, "draw_shot", shot)
  made = make_person_faces(SEED, 1, SIZE)
  assert (np.diff(column(made, "eye_aspect_ratio")) < 0).all()
  assert (np.diff(column(made, "mouth_opening")) > 0).all()
  assert column(made, "mouth_opening")[0] < 0.05


def test_head_angles_add_camera_and_head():
  rt = camera.extrinsics(Camera(yaw=0.3, pitch=0.1), np.zeros(3))
  np.testing.assert_allclose(head_angles(np.zeros(3), rt)[:2], (-0.3, 0.1), atol=0.02)
  rt = camera.extrinsics(Camera(), np.zeros(3))
  np.testing.assert_allclose(head_angles(np.array([0.2, -0.1, 0.05]), rt), (0.2, -0.1, 0.05), atol=1e-12)


def test_light_angles_are_seen_from_the_camera():
  rt = camera.extrinsics(Camera(yaw=0.3), np.zeros(3))
  np.testing.assert_allclose(light_angles(Light(key_yaw=0.8, key_pitch=0.4), rt), (0.5, 0.4), atol=1e-6)


def test_drawn_shots_stay_in_range_and_use_it():
  person, angles, at_camera = person_of(0, 0), [], 0
  for index in range(300):
    shot = draw_shot(0, index, person)
    rt = camera.extrinsics(shot.camera, np.zeros(3))
    angles.append(np.degrees(head_angles(shot.frame[HEAD].astype(float), rt)))
    assert (shot.frame[:52] >= 0).all()
    assert (shot.frame[:52] <= 1).all()
    assert abs(shot.roll) <= 5
    look = matrix_from_ypr(shot.frame[HEAD]) @ direction_from_yaw_pitch(shot.frame[LEFT_EYE][:2].astype(float))
    at_camera += float(look @ -rt[2, :3]) > np.cos(np.radians(2))
  assert (np.abs(angles) <= (26.5, 16.5, 12)).all()
  assert (np.std(angles, 0)[:2] > (9, 5)).all()
  assert 0.5 < at_camera / 300 < 0.8


def test_measures_of_known_points():
  points = np.zeros((70, 3))
  for first, x in ((36, 0.0), (42, 10.0)):
    points[first : first + 6] = [(x, 0, 0), (x + 1, 1, 0), (x + 3, 1, 0), (x + 4, 0, 0), (x + 3, -1, 0), (x + 1, -1, 0)]
  points[62], points[66] = (5, 9, 0), (5, 11, 0)
  assert eye_aspect_ratio(points) == pytest.approx(0.5)
  assert mouth_opening(points) == pytest.approx(0.2)


def made_up(count, size=8):
  """Faces that cost nothing."""
  rng = np.random.default_rng(0)
  for i in range(count):
    attributes = {"gender": i % 2, "age": 3.0 + i, "hair": "bob", "landmarks": np.full((70, 2), float(i))}
    yield Face(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), attributes)


def write(path, count=6, size=8, **facts):
  faces.write_set(path, made_up(count, size), {"size": size, **facts}, lambda _: None)
  return path


def test_file_is_an_official_zip(tmp_path):
  path = write(tmp_path / "set.zip")
  with zipfile.ZipFile(path) as file:
    assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
    assert file.namelist()[0] == "00000/img00000000.png"
    assert json.loads(file.read("dataset.json"))["labels"][3] == ["00000/img00000003.png", 1]
    assert "no real person" in file.read("about.json").decode()
  images = open_images(path, use_labels=True)
  assert (len(images), images.c_dim, images.resolution) == (6, 2, 8)
  np.testing.assert_array_equal(images.labels.sum(0), [3, 3])
  for i, face in enumerate(made_up(6)):
    np.testing.assert_array_equal(images.image(i), face.image)
  columns = faces.read_attributes(path)
  np.testing.assert_array_equal(columns["age"], np.arange(3, 9, dtype=np.float32))
  assert columns["hair"].tolist() == ["bob"] * 6
  assert columns["landmarks"].shape == (6, 70, 2)


def test_same_set_is_the_same_file(tmp_path):
  assert write(tmp_path / "a.zip").read_bytes() == write(tmp_path / "b.zip").read_bytes()


def test_unfinished_set_leaves_nothing(tmp_path):
  def broken():
    yield from made_up(2)
    raise RuntimeError("the power went")

  with pytest.raises(RuntimeError):
    faces.write_set(tmp_path / "set.zip", broken(), {}, lambda _: None)
  assert list(tmp_path.iterdir()) == []


def test_smaller_copy_averages_and_moves_landmarks(tmp_path):
  source = write(tmp_path / "big.zip")
  faces.shrink_set(source, tmp_path / "small.zip", 4)
  big, small = open_images(source), open_images(tmp_path / "small.zip", use_labels=True)
  np.testing.assert_array_equal(small.image(1), box_shrink(big.image(1), 4))
  np.testing.assert_allclose(small.image(1), big.image(1).reshape(4, 2, 4, 2, 3).mean((1, 3)), atol=0.51)
  np.testing.assert_allclose(faces.read_attributes(tmp_path / "small.zip")["landmarks"][3], 1.25)
  with pytest.raises(InputError, match="cannot be averaged to size=3"):
    faces.shrink_set(source, tmp_path / "odd.zip", 3)


def test_set_is_made_once(tmp_path, monkeypatch):
  calls = []
  monkeypatch.setattr(faces, "make_faces", lambda *a: calls.append(a) or made_up(a[0], a[1]))
  said = []
  first = faces.ensure_faces(tmp_path / "data", 4, 8, 1, said.append)
  assert faces.ensure_faces(tmp_path / "data", 4, 8, 1, said.append) == first
  assert len(calls) == 1
  assert len(open_images(first)) == 4
  assert "4 of 4 pictures" in said[-1]
  assert faces.ensure_faces(tmp_path / "data", 4, 8, 2, said.append) != first


def test_bad_requests_are_one_clear_error(tmp_path, capsys):
  with pytest.raises(InputError, match="count=0"):
    faces.make_faces(0, 64, 0)
  with pytest.raises(InputError, match="size=48 must be one of 16, 32"):
    faces.make_faces(4, 48, 0)
  with pytest.raises(InputError, match="is not a face set"):
    faces.read_attributes(tmp_path / "nothing.zip")
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="cannot write the face set"):
    write(tmp_path / "file" / "set.zip")
  assert faces.main([str(tmp_path / "a.zip"), "--count=4", "--size=48"]) == 2
  assert capsys.readouterr().err.startswith("error: face set: size=48")


def test_settings_are_drawn_by_person_and_number():
  drawn = [draw_setting(0, group, number) for group, number in itertools.product(range(2), range(3))]
  assert all(isinstance(setting, Setting) for setting in drawn)
  assert len({setting.light.key_yaw for setting in drawn}) == 6
  assert draw_setting(0, 1, 2) == drawn[5]


@pytest.mark.slow
def test_processes_make_the_same_pictures(pictures):
  for face, same in zip(faces.make_faces(16, SIZE, SEED, workers=2), pictures, strict=True):
    np.testing.assert_array_equal(face.image, same.image)

"""FLAME: its formula against homogeneous matrices in NumPy, its files, and what they may not name."""

import dataclasses
import pickle
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import tiny_motion
from safetensors.numpy import save_file
from scipy.spatial.transform import Rotation

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.data import pickled_arrays
from jaxtalk.data.untrusted import UntrustedError
from jaxtalk.systems.diffposetalk_loss import motion_losses
from jaxtalk.systems.diffposetalk_motion import Stats
from jaxtalk.systems.flame import make_flame, read_flame

ARRAYS = tiny_motion.flame_arrays()
MODEL = make_flame(ARRAYS)
VERTICES = jax.jit(lambda s, e, p: MODEL.vertices(s, e, p))


def reference(shape, expression, pose):
  """One head by 4 x 4 matrices along the chain of joints, float64."""
  still = ARRAYS["v_template"] + ARRAYS["shapedirs"][:, :, :100] @ shape
  still = still + ARRAYS["shapedirs"][:, :, 300:350] @ expression
  joints = ARRAYS["J_regressor"] @ still
  turns = np.stack([Rotation.from_rotvec(v).as_matrix() for v in (pose[:3], np.zeros(3), pose[3:])])
  turns = np.concatenate([turns, np.tile(np.eye(3), (2, 1, 1))])
  bent = still + ARRAYS["posedirs"] @ (turns[1:] - np.eye(3)).ravel()
  places = []
  for i, parent in enumerate(ARRAYS["kintree_table"][0]):
    local = np.eye(4)
    local[:3, :3], local[:3, 3] = turns[i], joints[i] - (joints[parent] if i else 0)
    places.append(places[parent] @ local if i else local)
  result = np.zeros_like(still)
  for place, joint, weight in zip(places, joints, ARRAYS["weights"].T, strict=True):
    moved = (bent - joint) @ place[:3, :3].T + place[:3, 3]
    result += weight[:, None] * moved
  return result


def test_vertices_follow_the_chain_of_joints():
  rng = np.random.default_rng(1)
  shape, expression, pose = (rng.normal(size=(2, 3, n)) for n in (100, 50, 6))
  wanted = [[reference(shape[i, j], expression[i, j], pose[i, j]) for j in range(3)] for i in range(2)]
  got = VERTICES(*(jnp.asarray(x, jnp.float32) for x in (shape, expression, pose)))
  np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_at_rest_it_is_the_template_and_its_slope_is_finite():
  zeros = jnp.zeros(100), jnp.zeros(50), jnp.zeros(6)
  np.testing.assert_allclose(VERTICES(*zeros), ARRAYS["v_template"], atol=1e-7)
  slope = jax.jit(jax.grad(lambda pose: MODEL.vertices(zeros[0], zeros[1], pose)[3, 1]))(zeros[2])
  assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-3


def test_losses_are_in_square_metres():
  sizes = (("exp", 50), ("pose", 6), ("shape", 100))
  stats = Stats(**{f"{k}_{m}": np.full(n, m == "std", np.float32) for k, n in sizes for m in ("mean", "std")})
  truth = jnp.zeros((1, 4, 54))
  off = truth.at[:, :, 7].set(2.0)
  run = jax.jit(lambda a, b: motion_losses(a, b, None, jnp.zeros((1, 100)), stats, MODEL.vertices))
  terms = run(off, truth)
  assert float(terms["vertices"]) == pytest.approx(4 * np.square(ARRAYS["shapedirs"][:, :, 307]).mean(), rel=1e-4)
  assert float(terms["velocity"]) < 1e-12
  assert "vertices" not in motion_losses(off, truth, None, jnp.zeros((1, 100)), stats, None)


def test_widths_that_do_not_fit_are_named():
  with pytest.raises(InputError, match=r"pose is \(2, 9\).*must be \(2, 6\)"):
    MODEL.vertices(jnp.zeros((2, 100)), jnp.zeros((2, 50)), jnp.zeros((2, 9)))


class Ch:
  """What chumpy's class looks like to a pickle."""

  __module__, __qualname__ = "chumpy.ch", "Ch"

  def __init__(self, x):
    self.x, self._dirty_vars, self._itr, self._depends_on_deps = x, {"x"}, None, {}


@pytest.fixture
def chumpy(monkeypatch):
  home, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
  module.Ch, home.ch = Ch, module
  monkeypatch.setitem(sys.modules, "chumpy", home)
  monkeypatch.setitem(sys.modules, "chumpy.ch", module)


@pytest.mark.parametrize("protocol", (1, 2, 5))
def test_published_layout(tmp_path, chumpy, protocol):
  stored = {
    **ARRAYS,
    "shapedirs": Ch(ARRAYS["shapedirs"]),
    "J_regressor": scipy.sparse.csc_matrix(ARRAYS["J_regressor"]),
    "bs_style": "lbs",
    "vert_sym_idxs": np.arange(5),
  }
  path = tmp_path / "generic_model.pkl"
  path.write_bytes(pickle.dumps(stored, protocol=protocol))
  assert_same(read_flame(path))


def test_other_files_of_the_same_arrays(tmp_path):
  np.savez(tmp_path / "flame.npz", **ARRAYS)
  save_file({name: np.ascontiguousarray(x) for name, x in ARRAYS.items()}, tmp_path / "flame.safetensors")
  for name in ("flame.npz", "flame.safetensors"):
    assert_same(read_flame(tmp_path / name))


def assert_same(model):
  for field in dataclasses.fields(model):
    np.testing.assert_array_equal(getattr(model, field.name), getattr(MODEL, field.name), field.name)


def test_files_that_are_refused(tmp_path, chumpy):
  class Select(Ch):
    __module__, __qualname__ = "chumpy.ch", "Select"

  sys.modules["chumpy.ch"].Select = Select
  outside = scipy.sparse.csc_matrix(ARRAYS["J_regressor"])
  outside.indices[0] = 7
  cases = {
    r"chumpy\.ch\.Select": pickle.dumps({**ARRAYS, "shapedirs": Select(ARRAYS["shapedirs"])}),
    r"refused posix\.system": b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
    "lacks weights, f": pickle.dumps({name: x for name, x in ARRAYS.items() if name not in ("weights", "f")}),
    r"weights is \(30, 4\), not \(30, 5\)": pickle.dumps({**ARRAYS, "weights": ARRAYS["weights"][:, :4]}),
    "v_template has numbers that are not finite": pickle.dumps({**ARRAYS, "v_template": np.full((30, 3), np.nan)}),
    "rows outside": pickle.dumps({**ARRAYS, "J_regressor": outside}),
    "no tree": pickle.dumps({**ARRAYS, "kintree_table": np.array([[-1, 3, 1, 1, 1], [0, 1, 2, 3, 4]])}),
    "but a pickled list": pickle.dumps([1]),
    "truncated": pickle.dumps(ARRAYS)[:-2000],
  }
  for message, data in cases.items():
    (tmp_path / "model.pkl").write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
      read_flame(tmp_path / "model.pkl")
    assert "model.pkl" in str(error.value) and "\n" not in str(error.value)
  np.savez(tmp_path / "model.npz", v_template=np.array([None]))
  with pytest.raises(InputError, match="plain arrays"):
    read_flame(tmp_path / "model.npz")
  with pytest.raises(InputError, match=r"\.pkl, \.npz, \.safetensors"):
    read_flame(_touch(tmp_path / "model.txt"))
  with pytest.raises(MissingAssetError, match="after registration"):
    read_flame(tmp_path / "none.pkl")


def _touch(path):
  path.touch()
  return path


def test_arrays_of_python_2():
  """Text is bytes there: names of types, keys, and the numbers themselves."""
  numbers = np.array([1.5, -2.0])
  dtype = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
  array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02t" + dtype
  data = b"\x80\x02}U\x01a" + array + b"\x89U\x10" + numbers.tobytes() + b"tbs."
  np.testing.assert_array_equal(pickled_arrays.read(data)["a"].values, numbers)
  with pytest.raises(UntrustedError, match="8 bytes there"):
    pickled_arrays.read(data.replace(b"U\x10" + numbers.tobytes(), b"U\x08" + numbers[:1].tobytes()))

"""Adaptive augmentation: numbers of the official code, closed forms, statistics of the draws, bad input."""

import functools
import json
import math

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtalk.core import InputError
from jaxtalk.stylegan2 import augment as ada
from jaxtalk.stylegan2 import warp

SINGLES = ada._TRANSFORMS


@functools.cache
def _cases() -> dict[str, dict]:
  return {entry["id"]: entry for entry in golden.case("ada")["cases"]}


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
  return golden.arrays("ada")


def _stored(case: dict, data: dict[str, np.ndarray]) -> ada.AugmentParameters:
  """The parameters that the official code resolved, as ours."""
  n, color = case["n"], None
  if case["kwargs"].keys() & {"brightness", "contrast", "lumaflip", "hue", "saturation"}:
    color = data["C"][:, :3] if case["channels"] == 3 else np.broadcast_to(data["C"], (n, 3, 4))
  flat = lambda name, *shape: data[name].reshape(n, *shape) if name in data else None  # noqa: E731
  return ada.AugmentParameters(
    inverse=data.get("G_inv"),
    color=color,
    gains=data.get("g"),
    sigma=flat("sigma"),
    noise=golden.nhwc(data["noise"]) if "noise" in data else None,
    cutout_center=flat("center", 2),
    cutout_size=data["size"][:, 0].reshape(n) if "size" in data else None,
  )


@jax.jit
def _apply(images, parameters, cotangent):
  result, back = jax.vjp(lambda x: ada.apply_parameters(x, parameters), images)
  return result, back(cotangent)[0]


def test_filters_are_the_official_ones():
  golden.close(warp.symlet(6), _arrays()["const/Hz_geom"], 1e-6)
  golden.close(warp.band_filters(), _arrays()["const/Hz_fbank"], 1e-6)


@pytest.mark.parametrize("order", [2, 6])
def test_symlets_are_orthogonal_and_blind_to_polynomials(order):
  taps = warp.symlet(order)
  products = np.convolve(taps, taps[::-1])[1::2]
  np.testing.assert_allclose(products, np.eye(2 * order)[order - 1][: len(products)] / 2, atol=1e-9)
  alternating = taps * (-1.0) ** np.arange(2 * order)
  moments = [alternating @ (np.arange(2 * order) / (2 * order)) ** power for power in range(order)]
  np.testing.assert_allclose(moments, 0, atol=1e-9)


def test_bands_sum_to_the_image():
  np.testing.assert_allclose(warp.band_filters().sum(0), np.eye(43)[21], atol=1e-12)


def test_execution_and_image_gradients_equal_the_official_code():
  for name, case in _cases().items():
    data = golden.under(_arrays(), name)
    cotangent = golden.nhwc(data.get("cot", data["y"]))
    result, gradient = _apply(golden.nhwc(data["img"]), _stored(case, data), cotangent)
    golden.close(golden.nchw(result), data["y"], 1e-5, f"{name} y")
    if "d_img" in data:
      golden.close(golden.nchw(gradient), data["d_img"], 1e-5, f"{name} d_img")


def test_percentiles_resolve_to_the_official_parameters():
  for name, case in _cases().items():
    if case["how"] != "fixed":
      continue
    data = golden.under(_arrays(), name)
    shape = (case["res"], case["res"], case["channels"])
    pipe = ada.AugmentPipe(**case["kwargs"])
    ours = ada.sample_parameters(jax.random.key(0), case["n"], shape, case["p"], pipe, case["debug_percentile"])
    reference = _stored(case, data)
    for field in ("inverse", "color", "gains", "sigma", "cutout_center", "cutout_size"):
      expected, got = getattr(reference, field), getattr(ours, field)
      assert (expected is None) == (got is None), f"{name} {field}"
      if field == "color" and case["channels"] == 1:
        got = jnp.broadcast_to(got.mean(1, keepdims=True), got.shape)
      if expected is not None:
        golden.close(got, expected, 1e-5, f"{name} {field}")


def test_pipes_of_the_official_command_lines():
  options = json.loads(golden.path("train_options.json").read_text())
  seen = set()
  for entry in options:
    kwargs = dict(entry["training_options"].get("augment_kwargs", {}))
    if kwargs.pop("class_name", None):
      name = entry["options"].get("augpipe", "bgc")
      seen.add(name)
      assert ada.pipe_named(name) == ada.AugmentPipe(**kwargs), name
  assert {"bgc", "bgcf", "bgcfnc"} <= seen
  assert ada.pipe_named("noaug") is None


@functools.cache
def _images(n: int = 8, height: int = 20, width: int = 28, channels: int = 3) -> np.ndarray:
  return np.random.default_rng(0).uniform(-1, 1, (n, height, width, channels)).astype(np.float32)


def _moved(images: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
  inverse = jnp.broadcast_to(jnp.asarray(matrix, jnp.float32), (len(images), 3, 3))
  return np.asarray(jax.jit(ada.apply_parameters)(images, ada.AugmentParameters(inverse=inverse)))


def test_shifts_by_whole_pixels_are_exact():
  images = _images()
  for right, down in ((3, -5), (20, 0), (0, -13)):
    padded = np.pad(images, ((0, 0), (19, 19), (27, 27), (0, 0)), mode="reflect")
    expected = padded[:, 19 - down : 39 - down, 27 - right : 55 - right]
    np.testing.assert_allclose(_moved(images, [[1, 0, -right], [0, 1, -down], [0, 0, 1]]), expected, atol=1e-5)


def test_flips_and_turns_of_smooth_images():
  # Not exact, also in the official code: the symlet is not quite symmetric, so that it does not undo its mirror image.
  y, x = np.mgrid[:20, :20] * (np.pi / 19)
  image = (0.5 * np.cos(2 * x) + 0.3 * np.cos(x) + 0.4 * np.cos(y))[None, :, :, None].astype(np.float32)
  np.testing.assert_allclose(_moved(image, [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]), image[:, :, ::-1], atol=0.03)
  np.testing.assert_allclose(_moved(image, [[0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.rot90(image, 1, (1, 2)), atol=0.03)


def test_nothing_but_black_beyond_the_longest_padding():
  assert np.abs(_moved(_images(), [[1, 0, 28 + 28 + 6], [0, 1, 0], [0, 0, 1]])).max() == 0
  partly = _moved(_images(), [[1, 0, 27 + 14], [0, 1, 0], [0, 0, 1]])
  assert np.abs(partly[:, :, 19:]).max() < 1e-5 and np.abs(partly[:, :, :8]).min(axis=(1, 3)).max() > 0


def test_large_images_in_blocks_give_the_same(monkeypatch):
  images, matrix = _images(1, 40, 48, 1), [[0.9, 0.3, 3], [-0.3, 0.8, -2], [0, 0, 1]]
  gains = ada.AugmentParameters(gains=jnp.asarray([[0.5, 2.0, 1.5, 0.7]]))
  whole, filtered = _moved(images, matrix), np.asarray(ada.apply_parameters(images, gains))
  monkeypatch.setattr(warp, "_BLOCK", 16)
  jax.clear_caches()
  np.testing.assert_allclose(_moved(images, matrix), whole, atol=2e-6)
  np.testing.assert_allclose(np.asarray(ada.apply_parameters(images, gains)), filtered, atol=2e-6)


def test_p_zero_gives_the_images_back():
  run = jax.jit(functools.partial(ada.augment, pipe=ada.PIPES["bgcfnc"]))
  for channels in (3, 1):
    images = _images(channels=channels)
    np.testing.assert_allclose(run(images, jax.random.key(1), 0.0), images, atol=1e-5)
    assert np.abs(np.asarray(run(images, jax.random.key(1), 1.0)) - images).max() > 0.1
  assert ada.augment(images, jax.random.key(1), 1.0, None) is images


def _changed(name: str, p: float, n: int = 4000) -> np.ndarray:
  """Whether a transform did anything, for n draws; a pipe with this transform only."""
  drawn = ada.sample_parameters(jax.random.key(5), n, (64, 64, 3), p, ada.AugmentPipe(**{name: 1}))
  if drawn.inverse is not None:
    return np.abs(np.asarray(drawn.inverse) - np.eye(3)).max((1, 2)) > 1e-6
  if drawn.color is not None:
    return np.abs(np.asarray(drawn.color) - np.eye(3, 4)).max((1, 2)) > 1e-6
  if drawn.gains is not None:
    return np.abs(np.asarray(drawn.gains) - 1).max(1) > 1e-6
  return np.asarray(drawn.sigma if name == "noise" else drawn.cutout_size) > 0


@pytest.mark.parametrize("name", [name for name in SINGLES if name != "noise"])
def test_each_transform_happens_as_often_as_p_says(name):
  # A flip is drawn as heads or tails, a quarter turn as one of four: those draws can come out as no change.
  effective = {"xflip": 0.5, "lumaflip": 0.5, "rotate90": 0.75, "xint": 1 - (1 / 16) ** 2}.get(name, 1.0)
  chance = 1 - (1 - 0.4) ** 4 if name == "imgfilter" else 0.4 * effective
  sigma = math.sqrt(chance * (1 - chance) / 4000)
  assert abs(_changed(name, 0.4).mean() - chance) < 4.5 * sigma
  if effective == 1:
    assert _changed(name, 1.0, 200).all() and _changed(name, 1.7, 200).all()
  assert not _changed(name, 0.0, 200).any()


def test_strengths_of_the_draws():
  draw = lambda **kwargs: ada.sample_parameters(  # noqa: E731
    jax.random.key(2), 4000, (32, 64, 3), 1.0, ada.AugmentPipe(**kwargs)
  )
  shift = np.asarray(draw(xfrac=1).inverse)[:, :2, 2]
  np.testing.assert_allclose(shift.std(0), [8, 4], rtol=0.06)
  whole = np.asarray(draw(xint=1).inverse)[:, :2, 2]
  assert np.array_equal(whole, np.round(whole)) and np.abs(whole).max(0).tolist() == [8, 4]
  np.testing.assert_allclose(np.log2(np.asarray(draw(scale=1).inverse)[:, 0, 0]).std(), 0.2, rtol=0.06)
  stretch = np.asarray(draw(aniso=1).inverse)
  np.testing.assert_allclose(stretch[:, 0, 0] * stretch[:, 1, 1], 1, rtol=1e-5)
  np.testing.assert_allclose(np.asarray(draw(brightness=1).color)[:, 0, 3].std(), 0.2, rtol=0.06)
  np.testing.assert_allclose(np.log2(np.asarray(draw(contrast=1).color)[:, 0, 0]).std(), 0.5, rtol=0.06)
  hue = np.asarray(draw(hue=1).color)[:, :, :3]
  np.testing.assert_allclose(hue @ hue.swapaxes(1, 2), np.broadcast_to(np.eye(3), hue.shape), atol=1e-5)
  assert abs(np.trace(hue, axis1=1, axis2=2).mean() - 1) < 0.1  # 1 + 2 cos, any angle
  gains = np.asarray(draw(imgfilter=1, imgfilter_bands=(0, 0, 0, 1)).gains)
  np.testing.assert_allclose((gains**2) @ (np.array([10, 1, 1, 1]) / 13), 1, rtol=1e-5)


def test_noise_and_cutout():
  pipe = ada.AugmentPipe(noise=1, noise_std=0.3, cutout=1, cutout_size=0.25)
  drawn = ada.sample_parameters(jax.random.key(3), 400, (24, 24, 3), 1.0, pipe)
  assert abs(np.asarray(drawn.sigma).mean() - 0.3 * math.sqrt(2 / math.pi)) < 0.03
  result = np.asarray(ada.apply_parameters(jnp.full((400, 24, 24, 3), 100.0), drawn))
  whole_box = np.abs(np.asarray(drawn.cutout_center) - 0.5).max(1) < 0.37
  black = (result == 0).all(3).sum((1, 2))
  assert set(black[whole_box]) == {36} and black.max() == 36 and black.min() < 36
  noise = result[0][(result[0] != 0).all(2)] - 100
  assert abs(noise.std() - float(drawn.sigma[0])) < 0.1 * float(drawn.sigma[0])


def test_stages_that_are_off_are_not_in_the_program():
  def primitives(name: str) -> set[str]:
    run = functools.partial(ada.augment, pipe=ada.PIPES[name])
    return {str(e.primitive) for e in jax.make_jaxpr(run)(_images(), jax.random.key(0), 0.5).jaxpr.eqns}

  def text(name: str) -> str:
    run = functools.partial(ada.augment, pipe=ada.PIPES[name])
    return str(jax.make_jaxpr(run)(_images(), jax.random.key(0), 0.5))

  assert "gather[" in text("geom") and "gather[" not in text("color") and "gather[" not in text("filter")
  assert "dot_general" in primitives("filter") and "dot_general" not in primitives("color")


def test_images_do_not_depend_on_their_neighbours_and_shard_without_talking():
  images, pipe = _images(8, 12, 16), ada.AugmentPipe(rotate=1, hue=1, imgfilter=1, cutout=1)
  drawn = ada.sample_parameters(jax.random.key(7), 8, images.shape[1:], 1.0, pipe)
  together = jax.jit(ada.apply_parameters)(images, drawn)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  placed = jax.device_put((images, drawn), jax.NamedSharding(mesh, jax.P("data")))
  program = jax.jit(ada.apply_parameters).lower(*placed).compile()
  np.testing.assert_allclose(program(*placed), together, atol=1e-5)
  for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
    assert word not in program.as_text()
  alone = jax.vmap(lambda x, d: ada.apply_parameters(x[None], jax.tree.map(lambda v: v[None], d))[0])
  np.testing.assert_allclose(alone(images, drawn), together, atol=1e-5)


def test_second_order_gradients():
  # For y = A x + b, the penalty |A' v|^2 has the gradient 2 A A' v.
  images, pipe = _images(2), ada.PIPES["bgcf"]
  drawn = ada.sample_parameters(jax.random.key(8), 2, images.shape[1:], 1.0, pipe)
  forward = lambda x: ada.apply_parameters(x, drawn)  # noqa: E731
  v = jnp.asarray(np.random.default_rng(1).normal(size=images.shape), jnp.float32)

  @jax.jit
  def both(v, x):
    penalty = lambda v: jnp.sum(jax.grad(lambda x: jnp.sum(forward(x) * v))(x) ** 2)  # noqa: E731
    transposed = jax.vjp(forward, x)[1](v)[0]
    return jax.grad(penalty)(v), 2 * (forward(transposed) - forward(jnp.zeros_like(x)))

  actual, expected = both(v, images)
  golden.close(actual, np.asarray(expected), 1e-5)


def test_p_follows_the_signs():
  np.testing.assert_allclose(ada.adjust_p(0.1, 0.9, batch=64, interval=4, target=0.6, kimg=500), 0.1 + 256 / 500e3)
  np.testing.assert_allclose(ada.adjust_p(0.1, 0.2, batch=64, interval=4, target=0.6, kimg=100), 0.1 - 256 / 100e3)
  assert float(ada.adjust_p(1e-5, -1.0, batch=64, interval=4, target=0.6, kimg=100)) == 0
  assert float(ada.adjust_p(1.2, 1.0, batch=64, interval=4, target=0.6, kimg=100)) > 1.2


def test_bad_input_is_named():
  with pytest.raises(InputError, match="'bgcd'.*did you mean 'bgc'"):
    ada.pipe_named("bgcd")
  with pytest.raises(InputError, match="xflip=-1"):
    ada.AugmentPipe(xflip=-1)
  with pytest.raises(InputError, match="4 numbers, got 2"):
    ada.AugmentPipe(imgfilter_bands=(1, 1))
  with pytest.raises(InputError, match=r"\(2, 3, 16, 16\)"):
    ada.augment(jnp.zeros((2, 3, 16, 16)), jax.random.key(0), 0.5, ada.PIPES["bgc"])

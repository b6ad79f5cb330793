"""Finds the code whose picture is nearest to a given picture (Karras et al. 2020, section 5 and appendix D).

python -m jaxtalk.stylegan2.projector NETWORK.safetensors IMAGE.png OUT_DIR [--steps=1000] [--seed=303] [--label=K]

One code w for all layers and every noise map are optimised together. What "near" means is a function from images to
features. The published method takes VGG16 features with LPIPS weights; those are not ours to ship, so whoever has them
passes a function of their own to `project`. Without one, colours and edges at several scales are compared
(`pyramid_features`): enough for pose, colours and layout, less for identity.

This is meant for synthetic pictures and for pictures licensed for it. Never project the photograph of a real child.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax import lax
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from jaxtalk.cli import one_line
from jaxtalk.core import InputError, JaxtalkError
from jaxtalk.runtime import use_compilation_cache
from jaxtalk.stylegan2.networks import Generator
from jaxtalk.stylegan2.store import load_network

Features = Callable[[jax.Array], jax.Array]
Maps = dict[str, jax.Array]

_LARGEST = 256  # pixels; larger images are averaged down to it before their features are taken
_SMALLEST_MAP = 8  # the noise term looks at each map and its halves down to this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How to search; the defaults are the published ones.

  Attributes:
    num_steps: of Adam.
    w_avg_samples: latents from which the mean code and its spread are measured.
    learning_rate: at its plateau.
    rampup, rampdown: shares of the steps in which the rate rises (linear) and falls (cosine).
    noise_factor: of the normal noise on w, in units of the spread, at the start.
    noise_ramp: share of the steps after which that noise is gone.
    noise_weight: of the term that keeps noise maps free of structure.
  """

  num_steps: int = 1000
  w_avg_samples: int = 10_000
  learning_rate: float = 0.1
  rampup: float = 0.05
  rampdown: float = 0.25
  noise_factor: float = 0.05
  noise_ramp: float = 0.75
  noise_weight: float = 1e5


@dataclasses.dataclass(frozen=True)
class Projection:
  """What was found.

  Attributes:
    w: (w_dim,) the code after the last step, for every layer.
    w_steps: (num_steps, w_dim) the code after each step.
    noise: layer ("b8.conv0") -> (r, r) map.
    losses: (num_steps,) squared distance of features plus the noise term.
    w_avg, w_std: mean code (w_dim,) and its spread.
  """

  w: np.ndarray
  w_steps: np.ndarray
  noise: dict[str, np.ndarray]
  losses: np.ndarray
  w_avg: np.ndarray
  w_std: float


def project(
  module: Generator,
  variables: Mapping[str, Any],
  target: np.ndarray,
  *,
  features: Features | None = None,
  settings: Settings = Settings(),
  seed: int = 303,
  label: np.ndarray | None = None,
  initial_noise: Mapping[str, np.ndarray] | None = None,
  w_noise: np.ndarray | None = None,
) -> Projection:
  """Searches the code and noise of a picture.

  Args:
    module, variables: the generator.
    target: (R, R, C) uint8 of the generator's size.
    features: images (N, H, W, C) float32 in 0..255, at most 256 pixels wide, to features (N, ...); their squared
      difference is the loss. None is `pyramid_features`.
    settings: of the search.
    seed: of everything random but the latents of the mean code, which are always the same.
    label: (c_dim,) for conditional networks.
    initial_noise, w_noise: instead of drawing them: unit normal maps by layer, and (num_steps, w_dim) for w.

  Raises:
    InputError: a target or label of another shape.
  """
  size, channels = module.img_resolution, module.img_channels
  if target.shape != (size, size, channels) or target.dtype != np.uint8:
    raise InputError(f"the target must be uint8 {(size, size, channels)}, not {target.dtype} {target.shape}")
  features = features or pyramid_features
  w_avg, w_std = code_statistics(module, variables, settings.w_avg_samples, label)
  key_maps, key_w = jax.random.split(jax.random.key(seed))
  if w_noise is None:
    w_noise = np.asarray(jax.random.normal(key_w, (settings.num_steps, module.w_dim)))
  maps = {name: jnp.asarray(x) for name, x in (initial_noise or draw_maps(variables, key_maps)).items()}
  step = jax.jit(_stepper(module, features, settings))
  wanted = jax.jit(lambda x: features(shrink(x)))(jnp.asarray(target, jnp.float32)[None])
  point: dict[str, Any] = {"w": jnp.asarray(w_avg), "maps": maps}
  moments = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8).init(point)
  w_steps, losses = [], []
  for i in range(settings.num_steps):
    t = jnp.float32(i / settings.num_steps)
    point, moments, loss = step(point, moments, t, w_std, w_noise[i], variables, wanted)
    w_steps.append(point["w"])
    losses.append(loss)
  steps = np.stack([np.asarray(w) for w in w_steps])
  found = {name: np.asarray(x) for name, x in point["maps"].items()}
  return Projection(steps[-1], steps, found, np.asarray(losses, np.float32), w_avg, w_std)


def code_statistics(
  module: Generator, variables: Mapping[str, Any], samples: int, label: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
  """Mean code (w_dim,) and root mean squared distance from it, over codes of fixed latents.

  Raises:
    InputError: a conditional network without a label (c_dim,), or the other way round.
  """
  if (0 if label is None else np.size(label)) != module.c_dim:
    raise InputError(
      f"this network takes labels of {module.c_dim} numbers; {np.size(label) if label is not None else 0} given"
    )
  z = np.random.RandomState(123).randn(samples, module.z_dim).astype(np.float32)
  c = None if label is None else np.broadcast_to(np.asarray(label, np.float32), (samples, module.c_dim))
  codes = jax.jit(lambda v, z, c: module.apply(v, z, c, method="mapping"))(variables, z, c)
  w = np.asarray(codes, np.float64)[:, 0]
  mean = w.mean(axis=0)
  return mean.astype(np.float32), float(np.sqrt(((w - mean) ** 2).sum() / samples))


def draw_maps(variables: Mapping[str, Any], key: jax.Array) -> Maps:
  """Unit normal maps (r, r) for every layer that has noise, by layer name."""
  shapes = {name: x.shape for name, x in noise_maps(variables).items()}
  keys = jax.random.split(key, max(len(shapes), 1))
  return {name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=False)}


def noise_maps(variables: Mapping[str, Any]) -> Maps:
  """The stored noise of every layer, (r, r) by layer name: "b8.conv0"."""
  flat = traverse_util.flatten_dict(variables["buffers"].get("synthesis", {}))
  return {".".join(path[:-1]): x for path, x in flat.items() if path[-1] == "noise_const"}


def with_noise(variables: Mapping[str, Any], maps: Mapping[str, Any]) -> dict[str, Any]:
  """Variables whose layers have these noise maps; nothing is changed in place."""
  flat = traverse_util.flatten_dict(variables["buffers"])
  flat |= {("synthesis", *name.split("."), "noise_const"): x for name, x in maps.items()}
  return {**variables, "buffers": traverse_util.unflatten_dict(flat)}


def pyramid_features(images: jax.Array) -> jax.Array:
  """Colours and their differences to the right and downwards at every halving down to 4 pixels: (N, F).

  Each scale is divided by the root of its number of values, so that its share of the squared distance is a mean.
  """
  x, found = images / 127.5 - 1.0, []
  while True:
    for part in (x, x[:, :, 1:] - x[:, :, :-1], x[:, 1:] - x[:, :-1]):
      found.append(part.reshape(part.shape[0], -1) / np.sqrt(max(part[0].size, 1)))
    if x.shape[1] <= 4:
      return jnp.concatenate(found, axis=1)
    x = _halved(x)


def shrink(images: jax.Array) -> jax.Array:
  """Images (N, H, W, C) averaged down to 256 pixels where they are larger."""
  while images.shape[1] > _LARGEST:
    images = _halved(images)
  return images


def noise_term(maps: Mapping[str, jax.Array]) -> jax.Array:
  """How much neighbours resemble each other in noise maps and in their halves: zero for white noise."""
  total = jnp.zeros(())
  for noise in maps.values():
    x = noise[None, :, :, None]
    while True:
      total += jnp.mean(x * jnp.roll(x, 1, axis=2)) ** 2 + jnp.mean(x * jnp.roll(x, 1, axis=1)) ** 2
      if x.shape[1] <= _SMALLEST_MAP:
        break
      x = _halved(x)
  return total


def _halved(x: jax.Array) -> jax.Array:
  """(N, H, W, C) to means of 2x2 pixels."""
  return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0


def _stepper(module: Generator, features: Features, settings: Settings) -> Callable[..., tuple]:
  """One step of Adam as a function of the point, moments, time in [0, 1), and what stays the same."""
  adam = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)

  def loss(point: Mapping[str, Any], jitter: jax.Array, variables: Mapping[str, Any], wanted: jax.Array) -> jax.Array:
    codes = jnp.broadcast_to(point["w"] + jitter, (1, module.num_ws, module.w_dim))
    image = module.apply(with_noise(variables, point["maps"]), codes, "const", method="synthesis")
    distance = jnp.sum((wanted - features(shrink((jnp.asarray(image) + 1.0) * 127.5))) ** 2)
    return distance + settings.noise_weight * noise_term(point["maps"])

  def step(point, moments, t, w_std, unit_noise, variables, wanted):
    fade = jnp.maximum(0.0, 1.0 - t / settings.noise_ramp) ** 2
    jitter = unit_noise * (w_std * settings.noise_factor * fade)
    value, gradient = jax.value_and_grad(loss)(point, jitter, variables, wanted)
    direction, moments = adam.update(gradient, moments)
    fall = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1.0 - t) / settings.rampdown))
    rate = settings.learning_rate * fall * jnp.minimum(1.0, t / settings.rampup)
    point = jax.tree.map(lambda x, d: x - rate * d, point, direction)
    return {"w": point["w"], "maps": {name: _standard(x) for name, x in point["maps"].items()}}, moments, value

  return step


def _standard(noise: jax.Array) -> jax.Array:
  """A map of mean zero and unit root mean square."""
  centred = noise - jnp.mean(noise)
  return centred * lax.rsqrt(jnp.mean(centred**2))


def read_target(path: Path, size: int, channels: int) -> np.ndarray:
  """A picture's central square as (size, size, channels) uint8, scaled with Lanczos.

  Raises:
    InputError: not a picture.
  """
  try:
    with Image.open(path) as file:
      image = file.convert("RGB" if channels == 3 else "L")
  except (OSError, UnidentifiedImageError) as error:
    raise InputError(f"{path}: not a picture that can be read") from error
  side = min(image.size)
  left, top = (image.width - side) // 2, (image.height - side) // 2
  image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
  return np.asarray(image, np.uint8).reshape(size, size, channels)


def run(network: Path, picture: Path, out: Path, settings: Settings, seed: int, label: int | None) -> Projection:
  """Projects a picture and writes ``target.png``, ``projected.png``, ``projected_w.npz`` and ``projection.json``."""
  module, variables, facts = load_network(network)
  if not isinstance(module, Generator):
    raise InputError(f"{network}: holds a discriminator; a generator is needed")
  if label is not None and not 0 <= label < module.c_dim:
    raise InputError(f"--label={label}: {network} has {module.c_dim} classes")
  one_hot = None if label is None else np.eye(module.c_dim, dtype=np.float32)[label]
  target = read_target(picture, module.img_resolution, module.img_channels)
  found = project(module, variables, target, settings=settings, seed=seed, label=one_hot)
  codes = np.broadcast_to(found.w, (1, module.num_ws, module.w_dim))
  image = jax.jit(lambda v, ws: module.apply(v, ws, "const", method="synthesis"))(
    with_noise(variables, found.noise), codes
  )
  out.mkdir(parents=True, exist_ok=True)
  _write_png(out / "target.png", target, "The picture to project.")
  made = np.clip(np.asarray(image[0]) * 127.5 + 128.0, 0.0, 255.0).astype(np.uint8)
  _write_png(out / "projected.png", made, "Synthetic: made by a network. Made by jaxtalk.")
  arrays: dict[str, Any] = {"w": codes} | {f"noise/{name}": x for name, x in found.noise.items()}
  np.savez(out / "projected_w.npz", **arrays)
  report = {"network": network.name, "facts": facts, "seed": seed, "settings": dataclasses.asdict(settings)}
  report |= {"first_loss": float(found.losses[0]), "last_loss": float(found.losses[-1]), "synthetic": True}
  (out / "projection.json").write_text(json.dumps(report, indent=2) + "\n")
  return found


def _write_png(path: Path, image: np.ndarray, comment: str) -> None:
  mark = PngImagePlugin.PngInfo()
  mark.add_text("Comment", comment)
  Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path, pnginfo=mark)


def main(argv: Sequence[str] | None = None) -> int:
  """The command line; the exit code is that of the error, 2 for bad input."""
  lines = (__doc__ or "").strip().splitlines()
  parser = argparse.ArgumentParser(prog="python -m jaxtalk.stylegan2.projector", description=lines[0], epilog=lines[-1])
  parser.add_argument("network", type=Path, help="our safetensors file of a generator")
  parser.add_argument("picture", type=Path, help="a synthetic picture, or one licensed for this")
  parser.add_argument("out", type=Path, help="folder to write to")
  parser.add_argument("--steps", type=int, default=1000, help="of the search")
  parser.add_argument("--seed", type=int, default=303, help="of the noise")
  parser.add_argument("--label", type=int, help="class, for conditional networks")
  args = parser.parse_args(argv)
  use_compilation_cache()
  try:
    if args.steps < 1:
      raise InputError(f"--steps={args.steps}: at least one")
    found = run(args.network, args.picture, args.out, Settings(num_steps=args.steps), args.seed, args.label)
  except JaxtalkError as error:
    print(f"projector: {one_line(error)}", file=sys.stderr)
    return error.exit_code
  print(f"loss {found.losses[0]:.4g} -> {found.losses[-1]:.4g} after {args.steps} steps: {args.out}/projected.png")
  return 0


if __name__ == "__main__":
  sys.exit(main())

"""A generator ready to run: read from our files or an official snapshot, jitted once, fed in batches of one size."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxtalk.core import InputError, MissingAssetError
from jaxtalk.stylegan2.directions import sefa
from jaxtalk.stylegan2.networks import Generator
from jaxtalk.stylegan2.official import import_generator
from jaxtalk.stylegan2.snapshots import read_snapshot
from jaxtalk.stylegan2.store import load_network

NOISE_MODES = ("const", "random", "none")
DEMO = Path(__file__).parent / "weights" / "children64.safetensors"  # the network that ships; its card is beside it


def network_digest(variables: Mapping[str, Any]) -> str:
  """SHA-256 of all parameters and buffers as float32: the same network in any file, whatever its optimiser state."""
  whole = hashlib.sha256()
  for name, value in sorted(traverse_util.flatten_dict(dict(variables), sep="/").items()):
    array = np.ascontiguousarray(np.asarray(value, np.float32))
    whole.update(f"{name}{array.shape}".encode() + array.tobytes())
  return whole.hexdigest()


def latent(seed: int, z_dim: int) -> np.ndarray:
  """(z_dim,) float32 of a seed, as the official tools draw it: their picture of a seed is ours."""
  return np.random.RandomState(seed).randn(1, z_dim)[0].astype(np.float32)


def to_uint8(images: jax.Array) -> jax.Array:
  """[-1, 1] to 8 bits the way the official image tools do: truncated, not rounded."""
  return jnp.clip(127.5 * images + 128, 0, 255).astype(jnp.uint8)


class Runner:
  """A generator and its parameters, with NumPy arrays in and out.

  Args:
    module, variables: of `networks.Generator`.
    name: what messages and metadata call it.
    batch: pictures at a time; the last batch is filled up, so that one program serves all.
    noise_mode: "const", "random" (from each picture's seed) or "none".
  """

  def __init__(
    self, module: Generator, variables: Any, *, name: str = "network", batch: int = 8, noise_mode: str = "const"
  ):
    if noise_mode not in NOISE_MODES:
      raise InputError(f"noise mode {noise_mode!r}: choose {', '.join(NOISE_MODES)}")
    if batch < 1:
      raise InputError(f"batch {batch}: at least 1")
    self.name, self.batch, self.noise_mode = name, batch, noise_mode
    self.z_dim, self.c_dim, self.w_dim = module.z_dim, module.c_dim, module.w_dim
    self.resolution = module.img_resolution
    self.num_ws = module.num_ws
    self.sha256 = network_digest(variables)
    self._module, self._variables = module, jax.device_put(variables)

  @functools.cached_property
  def _map(self) -> Callable:
    return jax.jit(lambda variables, z, c: self._module.apply(variables, z, c, method="mapping"))

  @functools.cached_property
  def _draw(self) -> Callable:
    def plain(variables, ws, styles):
      drawn = self._module.apply(variables, ws, styles=styles, noise_mode=self.noise_mode, method="synthesis")
      return to_uint8(jnp.asarray(drawn))

    def noisy(variables, ws, styles, seeds):  # each picture has noise of its own, whatever batch it is in
      def one(w, style, seed):
        return self._module.apply(
          variables,
          w[None],
          styles=jax.tree.map(lambda s: s[None], style),
          noise_mode="random",
          rngs={"noise": jax.random.key(seed)},
          method="synthesis",
        )[0]

      return to_uint8(jax.vmap(one)(ws, styles, seeds))

    return jax.jit(noisy if self.noise_mode == "random" else plain)

  @functools.cached_property
  def _styles(self) -> Callable:
    return jax.jit(lambda variables, ws: self._module.apply(variables, ws, method="styles"))

  def mapping(self, z: np.ndarray, c: np.ndarray | None = None, psi: float = 1.0) -> np.ndarray:
    """(N, z_dim) and (N, c_dim) or None to (N, num_ws, w_dim), drawn in towards the mean code by ``psi``."""
    if (0 if c is None else np.shape(c)[1]) != self.c_dim:
      raise InputError(f"{self.name} wants labels of {self.c_dim} classes, not {None if c is None else np.shape(c)}")
    ws = self._batched(self._map, np.asarray(z, np.float32), c)
    mean = np.asarray(self._variables["buffers"]["mapping"]["w_avg"])
    return (mean + np.float32(psi) * (ws - mean)) if psi != 1 else ws

  def images(
    self, ws: np.ndarray, *, styles: Mapping[str, np.ndarray] | None = None, seeds: Sequence[int] | None = None
  ) -> np.ndarray:
    """(N, num_ws, w_dim) to (N, H, W, C) uint8.

    Args:
      ws: codes.
      styles: edited style vectors that replace those of the codes, layer name -> (N, channels).
      seeds: (N,) of the noise; only noise mode "random" needs them.
    """
    extra: tuple[Any, ...] = (dict(styles) if styles else {},)
    if self.noise_mode == "random":
      extra += (np.arange(len(ws), dtype=np.uint32) if seeds is None else np.asarray(seeds, np.uint32),)
    return self._batched(self._draw, np.asarray(ws, np.float32), *extra)

  def styles(self, ws: np.ndarray) -> dict[str, np.ndarray]:
    """Style vectors (StyleSpace) of codes: layer name -> (N, channels)."""
    return self._batched(self._styles, np.asarray(ws, np.float32))

  def sefa(self, layers: Sequence[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """`directions.sefa` on the convolutions that the given codes steer, and the last toRGB if its code is among them.

    Returns (count, w_dim) directions and (count,) eigenvalues.
    """
    return sefa([np.asarray(weight) for weight in self._affines(set(layers))], count)

  def _affines(self, layers: set[int]) -> Iterator[Any]:
    blocks = self._variables["params"]["synthesis"]
    for k in range(int(np.log2(self.resolution)) - 1):
      block = blocks[f"b{4 << k}"]
      for name, code in (("conv0", 2 * k - 1), ("conv1", 2 * k), ("torgb", 2 * k + 1)):
        last = 2 * k + 2 == self.num_ws
        if code in layers and name in block and (name != "torgb" or last):
          yield block[name]["affine"]["weight"]

  def _batched(self, program: Callable, *arrays: Any) -> Any:
    """Runs a program over the leading axis in pieces of one size."""
    n, parts = len(arrays[0]), []
    if n == 0:
      raise InputError(f"{self.name}: no codes given")
    for start in range(0, n, self.batch):
      rows = np.minimum(np.arange(start, start + self.batch), n - 1)
      parts.append(program(self._variables, *jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], arrays)))
    return jax.tree.map(lambda *x: np.concatenate([np.asarray(part) for part in x])[:n], *parts)


def open_network(path: str | Path, *, batch: int = 8, noise_mode: str = "const") -> Runner:
  """Reads a generator from ``.safetensors`` (ours) or ``.pkl`` (an official snapshot, its averaged generator).

  The path "demo" is the small network that ships.

  Raises:
    MissingAssetError: no such file.
    InputError: neither kind of file, or not a generator.
  """
  path = DEMO if str(path) == "demo" else Path(path)
  if not path.is_file():
    raise MissingAssetError(f"no network at {path}: give a .safetensors of ours or an official .pkl")
  if path.suffix == ".pkl":
    networks = read_snapshot(path)
    if "G_ema" not in networks:
      raise InputError(f"{path} has no averaged generator G_ema; it has {', '.join(networks) or 'no network'}")
    state = networks["G_ema"]
    module, variables = import_generator(state.state, **state.init_kwargs)
    return Runner(module, variables, name=path.name, batch=batch, noise_mode=noise_mode)
  if path.suffix != ".safetensors":
    raise InputError(f"{path}: a network is a .safetensors of ours or an official .pkl")
  found, variables, _ = load_network(path)
  if not isinstance(found, Generator):
    raise InputError(f"{path} holds a {type(found).__name__}, not a generator")
  return Runner(found, variables, name=path.name, batch=batch, noise_mode=noise_mode)

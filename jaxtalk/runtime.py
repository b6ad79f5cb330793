"""How JAX is set up for a program: a compilation cache that outlives the process, and one device a CPU core."""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path


def cache_dir() -> Path:
  """``$JAXTALK_CACHE``, or ``jaxtalk`` in the user's cache folder (``$XDG_CACHE_HOME``, by default ``~/.cache``)."""
  if chosen := os.environ.get("JAXTALK_CACHE"):
    return Path(chosen)
  return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxtalk"


def cache_is_empty() -> bool:
  """Whether nothing has been compiled on this machine before, so that the first clip takes longer."""
  folder = cache_dir() / "xla"
  return not folder.is_dir() or next(folder.iterdir(), None) is None


def num_cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_compilation_cache() -> None:
  """Keeps compiled programs between runs; a folder that cannot be used is a warning and costs only time."""
  import jax  # here, so that importing this module does not load JAX

  cache = cache_dir() / "xla"
  try:
    cache.mkdir(parents=True, exist_ok=True)
    if not os.access(cache, os.W_OK):
      raise PermissionError(13, os.strerror(13))
  except OSError as error:
    warnings.warn(f"no compilation cache in {cache} ({error.strerror}): every run compiles anew", stacklevel=2)
    return
  jax.config.update("jax_compilation_cache_dir", str(cache))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def one_device_a_core() -> None:
  """A CPU "device" a core, so that frames are shared out over them; before anything has run on a device."""
  import jax

  if "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
    return
  try:
    jax.config.update("jax_num_cpu_devices", num_cores())
  except RuntimeError:
    pass  # the program that called us has used its devices already: they stay as they are


@functools.cache
def compiler_options() -> dict[str, str] | None:
  """Options for ``jax.jit(…, compiler_options=…)`` or ``Lowered.compile`` of heavy programs, or None.

  On CPU, matrix products and convolutions go to the YNNPACK library where this JAX has it: kernel gradients of 3x3
  convolutions take a half to a third of the time (jaxlib 0.10.2; benchmarks/conv2d_gradients.py). The option is
  marked experimental by XLA, so one that is unknown is simply not used.
  """
  import jax

  if jax.default_backend() != "cpu":
    return None
  options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"}
  try:
    jax.jit(lambda x: x @ x, compiler_options=options).lower(jax.ShapeDtypeStruct((8, 8), "float32")).compile()
  except jax.errors.JaxRuntimeError:
    return None
  return options


def setup_jax() -> None:
  """Both of these: what a program that renders calls once."""
  use_compilation_cache()
  one_device_a_core()

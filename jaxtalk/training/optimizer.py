"""The optimiser and its learning-rate schedule from a config section."""

from __future__ import annotations

import jax
import optax
from ml_collections import ConfigDict

from jaxtalk.cli import nearest
from jaxtalk.core import InputError

_SCHEDULES = {
  "constant": lambda lr, steps: optax.constant_schedule(lr),
  "cosine": lambda lr, steps: optax.cosine_decay_schedule(lr, steps),
  "linear": lambda lr, steps: optax.linear_schedule(lr, 0.0, steps),
}
_OPTIMIZERS = ("adam", "adamw", "sgd")


def make_schedule(config: ConfigDict, steps: int) -> optax.Schedule:
  """Learning rate by step: linear warm-up over ``config.warmup_steps`` to ``config.lr``, then ``config.schedule``.

  Args:
    config: fields ``lr``, ``warmup_steps`` and ``schedule`` ("constant", "cosine" or "linear" to 0 at ``steps``).
    steps: length of the run in updates.
  """
  _check_name("optimizer.schedule", config.schedule, _SCHEDULES)
  if not (config.lr > 0 and 0 <= config.warmup_steps < max(steps, 1)):
    raise InputError(
      f"config.optimizer needs lr > 0 and 0 <= warmup_steps < train.steps; got lr={config.lr}, "
      f"warmup_steps={config.warmup_steps}, train.steps={steps}"
    )
  after = _SCHEDULES[config.schedule](config.lr, steps - config.warmup_steps)
  warmup = optax.linear_schedule(0.0, config.lr, config.warmup_steps)
  return optax.join_schedules([warmup, after], [config.warmup_steps])


def make_optimizer(config: ConfigDict, steps: int) -> optax.GradientTransformation:
  """Clipping by global norm, then the named optimiser with decoupled weight decay on matrices and kernels only.

  Args:
    config: fields ``name`` ("adam", "adamw", "sgd"), ``b1``, ``b2``, ``weight_decay`` (adamw only), ``clip_norm`` (0 is
      off) and those of `make_schedule`.
    steps: length of the run in updates.
  """
  _check_name("optimizer.name", config.name, _OPTIMIZERS)
  rate = make_schedule(config, steps)
  if config.name == "adamw":
    step = optax.adamw(rate, config.b1, config.b2, weight_decay=config.weight_decay, mask=_is_matrix)
  elif config.name == "adam":
    step = optax.adam(rate, config.b1, config.b2)
  else:
    step = optax.sgd(rate, momentum=config.b1)
  return optax.chain(optax.clip_by_global_norm(config.clip_norm), step) if config.clip_norm > 0 else step


def _is_matrix(params):
  """Biases and normalisation scales do not decay."""
  return jax.tree.map(lambda p: p.ndim > 1, params)


def _check_name(field, name, known):
  if name not in known:
    raise InputError(f"config.{field} is {name!r}{nearest(name, known)}; known: {', '.join(known)}")

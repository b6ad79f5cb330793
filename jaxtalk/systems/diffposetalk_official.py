"""Official DiffPoseTalk tensors and options to our modules and variables; nothing is guessed, nothing is left over."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxtalk.core import InputError
from jaxtalk.diffusion import Guidance, schedules
from jaxtalk.diffusion.guidance import Mode
from jaxtalk.nn.attention import alignment_mask
from jaxtalk.systems.diffposetalk_networks import SHAPE_WIDTH, Denoiser, StyleEncoder

State = Mapping[str, np.ndarray]
Variables = dict[str, Any]

AUDIO_ENCODER = "audio_encoder."
_SCHEDULES = {
  "cosine": lambda steps: schedules.cosine(steps, single=True),
  "linear": schedules.linear,
  "quadratic": schedules.quadratic,
  "sigmoid": schedules.sigmoid,
}


def schedule(name: str, steps: int) -> schedules.Schedule:
  """The official table of betas: "cosine" (in float32, as there), "linear", "quadratic" or "sigmoid"."""
  if name not in _SCHEDULES:
    raise InputError(f"no diffusion schedule {name!r}: one of {', '.join(_SCHEDULES)}")
  return _SCHEDULES[name](steps)


def stored_schedule(state: State, args: Mapping[str, Any]) -> schedules.Schedule:
  """The betas that a state holds, to the last bit; those of its options where it holds none."""
  betas = state.get("diffusion_sched.betas")
  if betas is None:
    return schedule(args["diff_schedule"], args["n_diff_steps"])
  return schedules.Schedule(np.asarray(betas[1:], np.float64))


def official_guidance(args: Mapping[str, Any]) -> Guidance:
  """The guidance of a checkpoint's options; its "independent" is ours in place, as its sampler computes it."""
  names = tuple(name for name in args.get("guiding_conditions", "audio,style").split(",") if name)
  modes: dict[str, Mode] = {"incremental": "incremental", "independent": "independent_in_place"}
  mode = args.get("cfg_mode", "incremental")
  if mode not in modes:
    raise InputError(f"the option cfg_mode is 'incremental' or 'independent', not {mode!r}")
  return Guidance(conditions=names, mode=modes[mode])


def import_denoiser(state: State, **args: Any) -> tuple[Denoiser, Variables]:
  """The official motion denoiser.

  Tensors of the speech encoder (``audio_encoder.*``), where a state has them, come back by their own names without the
  prefix in ``variables["audio_encoder"]``, for `encoders`; the module does not read them. Tables that follow from the
  options (noise schedule, sinusoids, alignment mask) are compared with ours and then not needed.

  Args:
    state: official names to arrays; a ``module.`` in front of all of them is taken off.
    **args: the official options. Those that shape the network are needed: n_motions, n_prev_motions, feature_dim,
      d_style, n_heads, n_layers, mlp_ratio, align_mask_width, no_use_learnable_pe, use_indicator, no_head_pose,
      n_diff_steps, diff_schedule. Others (training, paths) do not concern it.

  Raises:
    InputError: an option that is missing or not supported; tensors that are missing, left over or of another shape,
      all named.
  """
  options = _Options.of(args)
  if options.architecture != "decoder" or options.target != "sample":
    raise InputError(
      "only denoisers with architecture 'decoder' and target 'sample' can be imported, "
      f"not {options.architecture!r} and {options.target!r}"
    )
  tensors = _Tensors(state)
  module = Denoiser(
    motion_width=options.motion_width,
    style_width=options.d_style,
    audio_width=tensors.peek("audio_feature_map.weight").shape[-1],
    width=options.feature_dim,
    heads=options.n_heads,
    layers=options.n_layers,
    mlp_ratio=options.mlp_ratio,
    frames=options.n_motions,
    previous=options.n_prev_motions,
    align_width=options.align_mask_width,
    positions="shared" if options.no_use_learnable_pe else "learned",
    indicator=options.use_indicator,
  )
  params = _denoiser_params(tensors, module)
  _compare_tables(tensors, module, options)
  speech = tensors.below(AUDIO_ENCODER)
  tensors.finish("denoiser")
  return module, {"params": params, **({"audio_encoder": speech} if speech else {})}


def import_style_encoder(state: State, **args: Any) -> tuple[StyleEncoder, Variables]:
  """The official style encoder.

  Args:
    state: official names to arrays.
    **args: the official options; feature_dim, n_heads, n_layers, mlp_ratio and no_head_pose are needed.

  Raises:
    InputError: as for `import_denoiser`.
  """
  _need(args, ("feature_dim", "n_heads", "n_layers", "mlp_ratio", "no_head_pose"))
  _check_rotation(args)
  module = StyleEncoder(
    motion_width=51 if args["no_head_pose"] else 54,
    width=args["feature_dim"],
    heads=args["n_heads"],
    layers=args["n_layers"],
    mlp_ratio=args["mlp_ratio"],
  )
  tensors, width = _Tensors(state), module.width
  params = {"motion": tensors.dense("encoder.motion_proj", module.motion_width, width)}
  for i in range(module.layers):
    name = f"encoder.transformer.layers.{i}"
    params[f"layer_{i}"] = _layer(tensors, name, width, module.mlp_ratio * width, memory=False)
  tensors.drop("encoder.PE.pe")
  tensors.finish("style encoder")
  return module, {"params": params}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
  """The official options that matter to the denoiser, by their official names."""

  n_motions: int
  n_prev_motions: int
  feature_dim: int
  d_style: int
  n_heads: int
  n_layers: int
  mlp_ratio: int
  align_mask_width: int
  no_use_learnable_pe: bool
  use_indicator: bool
  no_head_pose: bool
  n_diff_steps: int
  diff_schedule: str
  architecture: str = "decoder"
  target: str = "sample"

  @property
  def motion_width(self) -> int:
    return 51 if self.no_head_pose else 54

  @classmethod
  def of(cls, args: Mapping[str, Any]) -> _Options:
    fields = dataclasses.fields(cls)
    _need(args, [f.name for f in fields if f.default is dataclasses.MISSING])
    _check_rotation(args)
    return cls(**{f.name: args[f.name] for f in fields if f.name in args})


def _need(args, names) -> None:
  missing = [name for name in names if name not in args]
  if missing:
    raise InputError(f"official options are missing: {', '.join(missing)}; give the checkpoint's 'args'")


def _check_rotation(args) -> None:
  if args.get("rot_repr", "aa") != "aa":
    raise InputError(f"head poses are axis-angle (rot_repr 'aa'), not {args['rot_repr']!r}")


class _Tensors:
  """A state that remembers what has been taken, and collects what is wrong with it."""

  def __init__(self, state: State):
    prefix = "module."
    strip = len(prefix) if state and all(name.startswith(prefix) for name in state) else 0
    self._left = {name[strip:]: np.asarray(x) for name, x in state.items()}
    self._problems: list[str] = []

  def peek(self, name: str) -> np.ndarray:
    """A tensor that decides a size, not taken yet; zeros (1, 1) where it is missing, which `take` reports."""
    return self._left.get(name, np.zeros((1, 1), np.float32))

  def take(self, name: str, *shape: int) -> np.ndarray:
    """A tensor of that shape as float32; zeros, and a note, where it is missing or of another shape."""
    x = self._left.pop(name, None)
    if x is None:
      self._problems.append(f"{name} is missing")
    elif x.shape != shape:
      self._problems.append(f"{name} is {x.shape}, not {shape}")
    else:
      return x.astype(np.float32)
    return np.zeros(shape, np.float32)

  def maybe(self, name: str) -> np.ndarray | None:
    return self._left.pop(name, None)

  def drop(self, name: str) -> None:
    """A table of constants that may be there and is not needed."""
    self._left.pop(name, None)

  def dense(self, name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    return {"kernel": self.take(f"{name}.weight", outputs, inputs).T, "bias": self.take(f"{name}.bias", outputs)}

  def norm(self, name: str, width: int) -> dict[str, np.ndarray]:
    return {"scale": self.take(f"{name}.weight", width), "bias": self.take(f"{name}.bias", width)}

  def attention(self, name: str, width: int) -> dict[str, dict[str, np.ndarray]]:
    """Query, key and value lie stacked in one matrix."""
    kernels = np.split(self.take(f"{name}.in_proj_weight", 3 * width, width), 3)
    biases = np.split(self.take(f"{name}.in_proj_bias", 3 * width), 3)
    parts = {
      part: {"kernel": kernel.T, "bias": bias}
      for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
    }
    return {**parts, "out": self.dense(f"{name}.out_proj", width, width)}

  def below(self, prefix: str) -> dict[str, np.ndarray]:
    """Takes everything below a prefix, under the names that are left."""
    names = [name for name in self._left if name.startswith(prefix)]
    return {name[len(prefix) :]: self._left.pop(name) for name in names}

  def note(self, problem: str) -> None:
    self._problems.append(problem)

  def finish(self, what: str) -> None:
    """Raises where anything was wrong or is left over."""
    problems = [*self._problems, *(f"{name} is left over" for name in sorted(self._left))]
    if problems:
      raise InputError(f"these tensors are not a {what} of these options: {'; '.join(problems)}")


def _layer(tensors: _Tensors, name: str, width: int, hidden: int, *, memory: bool) -> dict[str, Any]:
  params = {
    "self_attention": tensors.attention(f"{name}.self_attn", width),
    "norm_self": tensors.norm(f"{name}.norm1", width),
    "up": tensors.dense(f"{name}.linear1", width, hidden),
    "down": tensors.dense(f"{name}.linear2", hidden, width),
    "norm_out": tensors.norm(f"{name}.norm{3 if memory else 2}", width),
  }
  if memory:
    params["cross_attention"] = tensors.attention(f"{name}.multihead_attn", width)
    params["norm_cross"] = tensors.norm(f"{name}.norm2", width)
  return params


def _denoiser_params(tensors: _Tensors, m: Denoiser) -> dict[str, Any]:
  net, width = "denoising_net", m.width
  params: dict[str, Any] = {
    "audio_map": tensors.dense("audio_feature_map", m.audio_width, width),
    "person": tensors.dense(f"{net}.person_proj", SHAPE_WIDTH + m.style_width, width),
    "motion": tensors.dense(f"{net}.feature_proj", m.motion_width + m.indicator, width),
    "time_in": tensors.dense(f"{net}.diff_step_map.0", width, width),
    "time_out": tensors.dense(f"{net}.diff_step_map.2", width, width),
    "head_in": tensors.dense(f"{net}.motion_dec.0", width, width // 2),
    "head_out": tensors.dense(f"{net}.motion_dec.2", width // 2, m.motion_width),
    "start_motion": tensors.take("start_motion_feat", 1, m.previous, m.motion_width)[0],
    "start_audio": tensors.take("start_audio_feat", 1, m.previous, width)[0],
    "null_style": tensors.take("null_style_feat", 1, 1, m.style_width)[0, 0],
    "null_audio": tensors.take("null_audio_feat", 1, 1, width)[0, 0],
  }
  for i in range(m.layers):
    name = f"{net}.transformer.layers.{i}"
    params[f"layer_{i}"] = _layer(tensors, name, width, m.mlp_ratio * width, memory=True)
  if m.positions == "learned":
    params["place"] = tensors.take(f"{net}.PE", 1, 1 + m.previous + m.frames, width)[0]
  else:
    tensors.drop(f"{net}.PE.pe")
  tensors.drop(f"{net}.TE.pe")
  return params


def _compare_tables(tensors: _Tensors, m: Denoiser, options: _Options) -> None:
  """Tables in the state must be those that the options say; one that differs would be another model."""
  table = schedule(options.diff_schedule, options.n_diff_steps)
  bars, betas = table.alpha_bars, np.concatenate([[0.0], table.betas])
  posterior = np.sqrt((1 - bars[:-1]) / (1 - bars[1:]) * betas[1:])
  tokens = m.previous + m.frames
  tables = {
    "diffusion_sched.betas": betas,
    "diffusion_sched.alphas": 1 - betas,
    "diffusion_sched.alpha_bars": bars,
    "diffusion_sched.sigmas_flex": np.sqrt(betas),
    "diffusion_sched.sigmas_inflex": np.concatenate([[0.0], posterior]),
    "denoising_net.alignment_mask": ~alignment_mask(tokens, tokens, m.align_width, leading=1),
  }
  for name, wanted in tables.items():
    found = tensors.maybe(name)
    if found is None:
      continue
    if found.shape != wanted.shape or not np.allclose(found.astype(np.float64), wanted, atol=1e-4):
      tensors.note(f"{name} is not that of the options")

"""DiffPoseTalk's official-size denoiser: four evaluations with folded guidance beside the official 500 x 3 sampler.

  python benchmarks/diffposetalk_speed.py [--official=DiffPoseTalk] [--official-steps=500] [--clips=1]

One window (4 s) of motion with incremental guidance over speech and style, random weights, float32; speech features are
given, so the speech encoder counts on neither side. In one process, in turns:

  unfolded    the official sampler: 500 steps of a Python loop, three calls of the network a step, cross-attention
              through the mask
  batched     the same with the three branches in one batch, as the released code runs it
  official    the released PyTorch code itself, where ``--official`` names a checkout of
              https://github.com/DiffPoseTalk/DiffPoseTalk (your own copy; nothing of it is in jaxtalk;
              pip install torch==2.13.0)
  ours        DPM-Solver++(2M), ``--steps`` evaluations in one compiled loop, branches in one batch, cross-attention to
              the aligned frame as a projection outside the loop

Steps of a sampler cost the same, so ``--official-steps`` below 500 times that many and scales up; the JSON then says
so. Checks first that "unfolded", "batched" and the compiled loop give the same numbers. Writes
benchmarks/results/diffposetalk_speed.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk import runtime
from jaxtalk.diffusion import Guidance, cosine, ddpm, dpm_solver
from jaxtalk.systems import diffposetalk as dpt
from jaxtalk.systems.diffposetalk_motion import FPS

STEPS, SCALES = 500, (1.15, 3.0)
BOTH = Guidance(conditions=("audio", "style"))


def conditions_of(module, clips):
  rng = np.random.default_rng(0)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
  length, before = module.frames, module.previous
  return dpt.Conditions(
    shape=normal(clips, 100),
    audio=normal(clips, length, module.width),
    style=normal(clips, module.style_width),
    prev_motion=normal(clips, before, module.motion_width),
    prev_audio=normal(clips, before, module.width),
    indicator=jnp.ones((clips, length)),
  ), normal(clips, length, module.motion_width)


def looped(module, variables, conditions, x, plan, noise, options, *, folded):
  """The official loop over the rows of a plan; ``folded`` puts the branches of the guidance into one batch."""

  def network(v, c, x, t, keep):
    given = (x, c.audio, c.shape, c.style, c.prev_motion, c.prev_audio, t, c.indicator)
    return module.apply(v, *given, keep=keep)[:, module.previous :]

  call = jax.jit(network, compiler_options=options)
  update = jax.jit(lambda x, estimates, keep, data, noise: keep * x + data * BOTH.combine(estimates, SCALES) + noise)
  count, clips = len(BOTH.branches), len(x)
  tiled = jax.tree.map(lambda a: jnp.concatenate([a] * count), conditions)
  keeps = [{name: jnp.full(clips, bool(row[i])) for i, name in enumerate(BOTH.conditions)} for row in BOTH.branches]

  def run(rows):
    y = x
    for i in range(rows):
      t = jnp.full(clips, plan.times[i])
      if folded:
        out = call(variables, tiled, jnp.concatenate([y] * count), jnp.concatenate([t] * count), BOTH.keep(clips))
        estimates = out.reshape(count, *y.shape)
      else:
        estimates = jnp.stack([call(variables, conditions, y, t, keep) for keep in keeps])
      y = update(y, estimates, np.float32(plan.keep[i]), np.float32(plan.data[i]), plan.noise[i] * noise[i])
    return jax.block_until_ready(y)

  return run


def compiled(module, variables, conditions, x, plan, noise, options):
  def sample(v, c, x, noise):
    return dpt.sample_window(module, v, c, plan, x, noise, guidance=BOTH, scales=SCALES)

  run = jax.jit(sample, compiler_options=options)
  return lambda: jax.block_until_ready(run(variables, conditions, x, noise))


def official(folder, module, conditions, x):
  """The released sampler with random weights of the same size; None where it cannot run."""
  try:
    import torch
  except ImportError:
    return None, "PyTorch is not installed"
  sys.path.insert(0, str(folder.resolve()))
  models = types.ModuleType("models")  # only the files that are needed; its own __init__ wants more packages
  models.__path__ = [str(folder / "models")]
  sys.modules["models"] = models
  from models import diff_talking_head as theirs

  torch.set_num_threads(runtime.num_cores())
  mask = theirs.enc_dec_mask
  theirs.enc_dec_mask = lambda *sizes: mask(*sizes, device="cpu")  # its default is a GPU
  options = types.SimpleNamespace(
    style_enc_ckpt="x",
    rot_repr="aa",
    no_head_pose=False,
    use_indicator=True,
    architecture="decoder",
    feature_dim=module.width,
    d_style=module.style_width,
    n_heads=module.heads,
    n_layers=module.layers,
    mlp_ratio=module.mlp_ratio,
    align_mask_width=1,
    no_use_learnable_pe=False,
    n_prev_motions=module.previous,
    n_motions=module.frames,
    n_diff_steps=STEPS,
  )
  sampler = theirs.DiffTalkingHead.__new__(theirs.DiffTalkingHead)  # without its speech encoder, which is a download
  torch.nn.Module.__init__(sampler)
  sampler.target, sampler.use_style, sampler.cfg_mode = "sample", True, "incremental"
  sampler.guiding_conditions, sampler.n_motions, sampler.motion_feat_dim = ["audio", "style"], module.frames, 54
  sampler.null_style_feat = torch.nn.Parameter(torch.randn(1, 1, module.style_width))
  sampler.null_audio_feat = torch.nn.Parameter(torch.randn(1, 1, module.width))
  sampler.denoising_net = theirs.DenoisingNetwork(options, "cpu")
  sampler.diffusion_sched = theirs.DiffusionSchedule(STEPS, "cosine")
  sampler.eval()
  c = {f.name: torch.from_numpy(np.array(getattr(conditions, f.name))) for f in dataclasses.fields(conditions)}

  def run(rows):
    sampler.diffusion_sched.num_steps = rows  # the last ``rows`` steps; a step costs the same wherever it is
    with torch.no_grad():
      sampler.sample(
        c["audio"],
        c["shape"],
        c["style"],
        c["prev_motion"],
        c["prev_audio"],
        torch.from_numpy(np.array(x)),
        c["indicator"],
        cfg_scale=list(SCALES),
      )

  return run, torch.__version__


def seconds(run, *args):
  start = time.perf_counter()
  run(*args)
  return time.perf_counter() - start


def check(baselines, module, variables, conditions, x, noise, options):
  """Largest difference between the loops and the compiled program over three steps."""
  plan = ddpm(cosine(STEPS).levels()).part(0, 3)
  wanted = compiled(module, variables, conditions, x, plan, noise[:3], options)()
  errors = {name: float(jnp.abs(run(3) - wanted).max()) for name, run in baselines.items()}
  assert max(errors.values()) < 1e-3, f"the loops disagree: {errors}"
  return errors


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--official", type=Path, help="checkout of the released code")
  parser.add_argument("--official-steps", type=int, default=STEPS, help="steps of the 500 that are timed")
  parser.add_argument("--steps", type=int, default=4, help="evaluations of ours")
  parser.add_argument("--clips", type=int, default=1)
  parser.add_argument("--rounds", type=int, default=3, help="of ours between each of the others")
  parser.add_argument("--layers", type=int, default=8, help="fewer than 8 is not the official size: a smoke test")
  parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "diffposetalk_speed.json")
  args = parser.parse_args()
  runtime.use_compilation_cache()
  options, rows = runtime.compiler_options(), min(args.official_steps, STEPS)

  module = dpt.Denoiser(layers=args.layers)
  masked = dataclasses.replace(module, shortcut=False)
  variables = jax.jit(lambda key: module.init(key, method="initialise"))(jax.random.key(0))
  conditions, x = conditions_of(module, args.clips)
  noise = jax.random.normal(jax.random.key(1), (rows, *x.shape))
  plan = ddpm(cosine(STEPS).levels())
  given = (masked, variables, conditions, x, plan, noise, options)
  baselines = {"unfolded": looped(*given, folded=False), "batched": looped(*given, folded=True)}
  few = dpm_solver(cosine(STEPS).levels(args.steps))
  ours = compiled(module, variables, conditions, x, few, None, options)
  errors = check(baselines, module, variables, conditions, x, noise, options)
  torch_version = None
  if args.official:
    run, torch_version = official(args.official, module, conditions, x)
    if run is not None:
      run(2)
      baselines["official"] = run

  ours()
  times, fast = {}, []
  for name, run in baselines.items():
    run(2)
    fast += [seconds(ours) for _ in range(args.rounds)]
    times[name] = seconds(run, rows)
    fast += [seconds(ours) for _ in range(args.rounds)]
    print(f"{name}: {times[name]:.2f} s for {rows} steps; ours {statistics.median(fast):.3f} s", flush=True)
  middle = statistics.median(fast)
  audio = args.clips * module.frames / FPS
  result = {
    "cores": runtime.num_cores(),
    "jax": jax.__version__,
    "torch": torch_version,
    "device": jax.devices()[0].device_kind,
    "what": "one window, denoiser only, speech features given; float32, random weights",
    "official_size": args.layers == 8,
    "layers": args.layers,
    "clips": args.clips,
    "seconds_of_motion": audio,
    "largest_difference_after_3_steps": errors,
    "ours": {
      "evaluations": args.steps,
      "sampler": "DPM-Solver++(2M)",
      "wall_s": round(middle, 4),
      "range_s": [round(min(fast), 4), round(max(fast), 4)],
      "times_real_time": round(audio / middle, 1),
    },
    "official_sampler": {
      "steps": STEPS,
      "branches": 3,
      "steps_timed": rows,
      "extrapolated": rows < STEPS,
      "timed_s": {name: round(t, 3) for name, t in times.items()},
      "wall_s": {name: round(t * STEPS / rows, 2) for name, t in times.items()},
    },
    "speed_ratio": {name: round(t * STEPS / rows / middle, 1) for name, t in times.items()},
  }
  args.out.write_text(json.dumps(result, indent=2) + "\n")
  print(json.dumps(result, indent=2))


if __name__ == "__main__":
  main()

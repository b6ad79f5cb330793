"""Our StyleGAN2 beside the official PyTorch code on this machine's CPU: same weights, float32, both in one process.

  pip install torch==2.13.0 requests pillow psutil
  python benchmarks/stylegan2_vs_official.py --official=stylegan2-ada-pytorch

``--official`` is a checkout of https://github.com/NVlabs/stylegan2-ada-pytorch (NVIDIA Source Code License,
non-commercial: your own copy, nothing of it is in jaxtalk). Checks first that images and losses agree, then times the
generator at 256 px (channel base 16384, 8 mapping layers) and an average training iteration at 64 px (channel base
4096, at most 128 channels, batch 8: Gmain + Greg / 4 + Dmain + Dreg / 16, Adam steps included), in rounds that take
turns. Writes benchmarks/results/stylegan2_vs_official.json.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk import runtime
from jaxtalk.stylegan2.losses import Losses
from jaxtalk.stylegan2.official import import_discriminator, import_generator
from jaxtalk.stylegan2.phases import Phases, Settings, make_optimizer

BATCH, RESOLUTION, LAZY = 8, 64, {"Gmain": 1, "Greg": 4, "Dmain": 1, "Dreg": 16}
SMALL_G = {
  "z_dim": 128,
  "c_dim": 0,
  "w_dim": 128,
  "img_resolution": RESOLUTION,
  "img_channels": 3,
  "mapping_kwargs": {"num_layers": 2},
  "synthesis_kwargs": {"channel_base": 4096, "channel_max": 128, "num_fp16_res": 0},
}
SMALL_D = {"c_dim": 0, "img_resolution": RESOLUTION, "img_channels": 3, "channel_base": 4096, "channel_max": 128}
LARGE_G = {
  "z_dim": 512,
  "c_dim": 0,
  "w_dim": 512,
  "img_resolution": 256,
  "img_channels": 3,
  "mapping_kwargs": {"num_layers": 8},
  "synthesis_kwargs": {"channel_base": 16384, "channel_max": 512, "num_fp16_res": 0},
}


def clocks(run):
  """Wall and processor seconds of a call."""
  wall, cpu = time.perf_counter(), time.process_time()
  run()
  return time.perf_counter() - wall, time.process_time() - cpu


def take_turns(runs, rounds):
  """{name: callable} to {name: median wall and processor seconds}; the first round warms up."""
  seen = {name: [] for name in runs}
  for i in range(rounds + 1):
    for name, run in runs.items():
      seen[name].append(clocks(run))
    print(f"  round {i} " + " ".join(f"{n} {v[-1][0]:.3f}" for n, v in seen.items()), flush=True)
  return {
    name: {
      "wall_s": round(statistics.median(w for w, _ in values[1:]), 4),
      "wall_range_s": [round(f(w for w, _ in values[1:]), 4) for f in (min, max)],
      "cpu_s": round(statistics.median(c for _, c in values[1:]), 4),
    }
    for name, values in seen.items()
  }


def randomise(torch, module):
  """Noise strengths and biases start at 0, where a mistake would not show."""
  generator = torch.Generator().manual_seed(1)
  for name, tensor in module.named_parameters():
    if name.endswith(("noise_strength", "bias")):
      tensor.data += 0.1 * torch.randn(tensor.shape, generator=generator)
  return module.eval().requires_grad_(False)


def numpy_state(module):
  return {k: v.detach().numpy() for k, v in module.state_dict().items()}


def compare_generator(torch, networks, rounds):
  theirs = randomise(torch, networks.Generator(**LARGE_G))
  module, variables = import_generator(numpy_state(theirs), **LARGE_G)
  options = runtime.compiler_options()
  forward = jax.jit(lambda v, z: module.apply(v, z), compiler_options=options)
  result = {}
  for batch in (1, 4):
    z = np.random.default_rng(0).normal(size=(batch, 512)).astype(np.float32)
    torch_z = torch.from_numpy(z)

    def official(torch_z=torch_z):
      with torch.no_grad():
        return theirs(torch_z, None, noise_mode="const", force_fp32=True).numpy()

    def ours(z=z):
      return np.asarray(forward(variables, z))

    wanted = official().transpose(0, 2, 3, 1)
    error = float(np.abs(ours() - wanted).max() / np.abs(wanted).max())
    assert error < 2e-5, f"images differ by {error:.1e}"
    times = take_turns({"official": official, "ours": ours}, rounds)
    result[f"batch_{batch}"] = {"max_relative_difference": error, **times, "speed_ratio": ratio(times)}
  return result


def ratio(times):
  """How many times as fast we are."""
  return {clock: round(times["official"][f"{clock}_s"] / times["ours"][f"{clock}_s"], 3) for clock in ("wall", "cpu")}


def official_phases(torch, networks, loss_module, g, d, real, z):
  """One callable a phase, with its optimiser step as in the official loop; and a function that gives its losses."""
  loss = loss_module.StyleGAN2Loss(
    device=torch.device("cpu"),
    G_mapping=g.mapping,
    G_synthesis=g.synthesis,
    D=d,
    style_mixing_prob=0.9,
    r1_gamma=1.0,
    pl_batch_shrink=2,
    pl_decay=0.01,
    pl_weight=2,
  )
  optimizers = {}
  for name, net, every in (("G", g, 4), ("D", d, 16)):
    q = every / (every + 1)
    optimizers[name] = torch.optim.Adam(net.parameters(), lr=0.0025 * q, betas=(0.0, 0.99**q), eps=1e-8)
  c = torch.zeros([BATCH, 0])

  def phase(name):
    net, optimizer = (g, optimizers["G"]) if name[0] == "G" else (d, optimizers["D"])

    def run():
      optimizer.zero_grad(set_to_none=True)
      net.requires_grad_(True)
      loss.accumulate_gradients(phase=name, real_img=real, real_c=c, gen_z=z, gen_c=c, sync=True, gain=LAZY[name])
      net.requires_grad_(False)
      for p in net.parameters():
        if p.grad is not None:
          torch.nan_to_num(p.grad, nan=0, posinf=1e5, neginf=-1e5, out=p.grad)
      optimizer.step()

    return run

  return {name: phase(name) for name in LAZY}


def our_phases(gan, dan, real, z):
  """One callable a phase; the same arithmetic as in training, compiled once."""
  (g_module, g), (d_module, d) = gan, dan
  settings = Settings(batch_size=BATCH)
  losses = Losses(generator=g_module, discriminator=d_module, r1_gamma=1.0)
  optimizers = {n: make_optimizer(0.0025, (0.0, 0.99), 1e-8, every) for n, every in (("G", 4), ("D", 16))}
  phases = Phases(losses=losses, settings=settings, optimizers=optimizers)
  state = jax.jit(phases.init, static_argnums=3)(jax.random.key(0), g, d, 0.0)
  batch = {"image": real, "label": jnp.zeros((BATCH, 0)), "gen_label": jnp.zeros((BATCH, 4, 0))}
  holder, options = {"state": state}, runtime.compiler_options()

  def phase(stage):
    compiled = jax.jit(stage.run, donate_argnums=0).lower(state, batch).compile(compiler_options=options)

    def run():
      holder["state"], metrics = compiled(holder["state"], batch)
      jax.block_until_ready((holder["state"], metrics))

    return run

  return {stage.name: phase(stage) for stage in phases.stages()}


def check_losses(torch, g, d, gan, dan, real, z):
  """Largest relative difference of the non-saturating losses on one batch."""
  (g_module, gv), (d_module, dv) = gan, dan
  with torch.no_grad():
    fake = g(z, None, noise_mode="const")
    wanted = [torch.nn.functional.softplus(-d(fake, None)).mean(), torch.nn.functional.softplus(-d(real, None)).mean()]
  images = g_module.apply(gv, z.numpy())
  photos = real.numpy().transpose(0, 2, 3, 1)
  got = [jax.nn.softplus(-d_module.apply(dv, x)).mean() for x in (images, photos)]
  return max(abs(float(a) / float(b) - 1) for a, b in zip(got, wanted, strict=True))


def compare_training(torch, networks, loss_module, rounds):
  g, d = randomise(torch, networks.Generator(**SMALL_G)), randomise(torch, networks.Discriminator(**SMALL_D))
  gan, dan = import_generator(numpy_state(g), **SMALL_G), import_discriminator(numpy_state(d), **SMALL_D)
  rng = np.random.default_rng(0)
  photos = rng.uniform(-1, 1, size=(BATCH, 3, RESOLUTION, RESOLUTION)).astype(np.float32)
  real, z = torch.from_numpy(photos), torch.from_numpy(rng.normal(size=(BATCH, 128)).astype(np.float32))
  error = check_losses(torch, g, d, gan, dan, real, z)
  assert error < 1e-3, f"losses differ by {error:.1e}"
  g.train()
  d.train()
  theirs = official_phases(torch, networks, loss_module, g, d, real, z)
  ours = our_phases(gan, dan, jnp.asarray(photos.transpose(0, 2, 3, 1)), z.numpy())
  result, total = {"max_relative_difference_of_losses": error}, {"official": [0.0, 0.0], "ours": [0.0, 0.0]}
  for name, every in LAZY.items():
    print(name)
    times = take_turns({"official": theirs[name], "ours": ours[name]}, rounds)
    result[name] = {**times, "speed_ratio": ratio(times)}
    for who, sums in total.items():
      sums[0] += times[who]["wall_s"] / every
      sums[1] += times[who]["cpu_s"] / every
  iteration = {who: {"wall_s": round(w, 4), "cpu_s": round(c, 4)} for who, (w, c) in total.items()}
  speeds = {who: round(BATCH / row["wall_s"], 2) for who, row in iteration.items()}
  return result | {"iteration": iteration, "img_per_s": speeds, "speed_ratio": ratio(iteration)}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--official", type=Path, required=True, help="checkout of stylegan2-ada-pytorch")
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stylegan2_vs_official.json")
  args = parser.parse_args()
  try:
    import torch
  except ImportError:
    sys.exit("skipped: needs PyTorch (pip install torch==2.13.0)")
  if not (args.official / "training" / "networks.py").is_file():
    sys.exit(f"skipped: {args.official} is not a checkout of stylegan2-ada-pytorch")
  sys.path.insert(0, str(args.official.resolve()))
  from training import loss as loss_module
  from training import networks

  torch.set_num_threads(runtime.num_cores())
  result = {
    "cores": runtime.num_cores(),
    "torch": torch.__version__,
    "jax": jax.__version__,
    "rounds": args.rounds,
    "training_64px": compare_training(torch, networks, loss_module, args.rounds),
    "generator_256px": compare_generator(torch, networks, args.rounds),
  }
  args.out.write_text(json.dumps(result, indent=2) + "\n")
  print(json.dumps(result, indent=2))


if __name__ == "__main__":
  main()

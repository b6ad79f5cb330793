"""How fast the motion flow is: one recording from file to motion, and many windows at once on the device.

Prints one JSON object and writes it to ``--out``: device, steps, real-time factor (seconds computed for a second of
motion; reading the file, hearing, sampling and decoding included, programs compiled before) of a recording of
``--seconds``, median and 5-95 % range over ``--repeats``; and seconds of motion made in a second by batches of
``--batch`` windows of two seconds.

  python benchmarks/motion_flow_speed.py [--steps=4] [--batch=512] [--out=benchmarks/results/motion_flow_speed.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import soundfile

from jaxtalk import runtime
from jaxtalk.core import Emotion, MotionStyle
from jaxtalk.motion.performance import Manner
from jaxtalk.speech.audio import read_audio
from jaxtalk.systems import motion_flow as mf
from jaxtalk.systems import motion_flow_net as net
from jaxtalk.systems.motion_flow_stream import HOP, MotionFlowAnimator

FPS = Fraction(25)


def main() -> None:
  """Measures, prints, writes."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--steps", type=int, default=4, choices=mf.STEPS)
  parser.add_argument("--seconds", type=float, default=10.0, help="length of the recording")
  parser.add_argument("--batch", type=int, default=32 if jax.default_backend() == "cpu" else 1024)
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "motion_flow_speed.json")
  args = parser.parse_args()
  runtime.use_compilation_cache()
  animator = MotionFlowAnimator(steps=args.steps)
  device = jax.devices()[0]
  factors = one_recording(animator, args.seconds, args.repeats)
  seconds = many_windows(animator.flow, args.steps, args.batch, args.repeats)
  facts = {
    "device": f"{device.platform}: {device.device_kind}, {jax.local_device_count()} of them; jax {jax.__version__}",
    "steps": args.steps,
    "recording_seconds": args.seconds,
    "real_time_factor": spread(factors),
    "batch_windows": args.batch,
    "seconds_of_motion_per_second": spread(args.batch * HOP * net.TOKEN_SAMPLES / net.SAMPLE_RATE / seconds),
  }
  args.out.parent.mkdir(parents=True, exist_ok=True)
  args.out.write_text(json.dumps(facts, indent=2) + "\n")
  print(json.dumps(facts, indent=2))


def one_recording(animator: MotionFlowAnimator, seconds: float, repeats: int) -> np.ndarray:
  """(repeats,) real-time factors of a WAV of syllables of noise, after one run that compiles."""
  t = np.arange(int(seconds * 44_100)) / 44_100
  sound = 0.1 * np.random.default_rng(0).standard_normal(len(t)) * np.maximum(0.0, np.sin(2 * np.pi * 3 * t))
  manner = Manner(emotion=Emotion(), style=MotionStyle(), age=6.0, seed=0)
  taken = []
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "recording.wav"
    soundfile.write(path, sound, 44_100)
    for _ in range(repeats + 1):
      start = time.perf_counter()
      motion = animator.animate_one(read_audio(str(path)), FPS, manner)
      taken.append((time.perf_counter() - start) / (motion.num_frames / float(FPS)))
  return np.array(taken[1:])


def many_windows(flow: mf.MotionFlow, steps: int, batch: int, repeats: int) -> np.ndarray:
  """(repeats,) seconds that a batch of windows takes, after one run that compiles."""
  x, _, conditions, _ = mf.example(batch)
  rng = np.random.default_rng(0)
  start = jnp.asarray(rng.standard_normal(x.shape, np.float32))
  sound = jnp.asarray(0.1 * rng.standard_normal((batch, (mf.PAST + mf.LENGTH) * net.TOKEN_SAMPLES), np.float32))
  params = jax.device_put(flow.params["flow"])
  taken = []
  for _ in range(repeats + 1):
    begin = time.perf_counter()
    made = mf.sample_window(flow.net, params, sound, conditions, start, jnp.ones(2), steps=steps)
    made.block_until_ready()
    taken.append(time.perf_counter() - begin)
  return np.array(taken[1:])


def spread(values: np.ndarray) -> dict[str, float]:
  """Median and 5-95 % range."""
  low, middle, high = np.percentile(values, [5, 50, 95])
  return {"median": round(float(middle), 5), "p5": round(float(low), 5), "p95": round(float(high), 5)}


if __name__ == "__main__":
  main()

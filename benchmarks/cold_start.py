"""How long a newcomer waits: the first four-second 256-pixel clip as a whole process, with and without a warm cache.

  python benchmarks/cold_start.py

Runs ``generate.py`` three times into new folders: with an empty compilation cache, then twice with the one that this
left behind, of which the faster counts. Writes ``benchmarks/results/cold_start.json``. Wall-clock time includes Python,
imports, compilation, the voice, rendering, encoding and the page; installation is not counted. Processor time is what
an idle machine of that many cores has to share out.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxtalk import runtime

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "cold_start.json"
TEXT = "My puppy jumped over the puddle, and then he fell in the mud, plop!"
TARGETS = {"cold": 90.0, "warm": 25.0}


def run(out: Path, cache: Path) -> tuple[float, float, float]:
  """Seconds that the process took, seconds of processor time in it, and seconds of the clip that it made."""
  start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
  subprocess.run(
    [sys.executable, "generate.py", f"--out={out}", f"--config.text={TEXT}", "--config.person.age=6"],
    cwd=ROOT,
    env={**os.environ, "JAXTALK_CACHE": str(cache)},
    check=True,
  )
  seconds, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
  processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
  document = json.loads((out / "clips" / "clip_000000000.json").read_text())
  return seconds, processor, document["speech"]["seconds"]


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    cache = Path(folder) / "cache"
    cold, cold_cpu, clip = run(Path(folder) / "cold", cache)
    warm, warm_cpu, _ = min(run(Path(folder) / f"warm{i}", cache) for i in range(2))
    megabytes = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 1e6
  result = {
    "clip_seconds": clip,
    "size": 256,
    "seconds": {"cold": round(cold, 1), "warm": round(warm, 1)},
    "processor_seconds": {"cold": round(cold_cpu, 1), "warm": round(warm_cpu, 1)},
    "seconds_per_second_of_clip": {"cold": round(cold / clip, 2), "warm": round(warm / clip, 2)},
    "warm_to_cold": round(warm / cold, 3),
    "targets": TARGETS,
    "cache_megabytes": round(megabytes, 1),
    "machine": {
      "processor": platform.machine(),
      "cores": runtime.num_cores(),
      "python": platform.python_version(),
      "load_average": round(os.getloadavg()[0], 2),
    },
  }
  RESULT.parent.mkdir(parents=True, exist_ok=True)
  RESULT.write_text(json.dumps(result, indent=1) + "\n")
  print(json.dumps(result, indent=1))


if __name__ == "__main__":
  main()

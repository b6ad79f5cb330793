"""How near the portraits of a network are to studio faces that nobody trained on, by the built-in extractor.

  python -m jaxtalk.data.faces held_out.zip --count=1024 --size=128 --seed=1
  python benchmarks/stylegan2_quality.py demo --held_out=held_out.zip [--trained_on=faces.zip]

Portraits are drawn without truncation, with noise of their own, girls and boys in equal parts. The distance between
the two halves of the held-out children, and between training and held-out children, say what a perfect network would
get. Writes benchmarks/results/stylegan2_quality.json.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from jaxtalk import runtime
from jaxtalk.data.image_folder import open_images
from jaxtalk.metrics.extractors import make_extractor
from jaxtalk.metrics.image_quality import compare_features, real_features
from jaxtalk.stylegan2.sample import open_cast

METRICS = ("frechet", "kernel", "precision_recall")
BATCH = 32


def portraits(cast, count):
  """Batches of pictures, and how many girls there are."""
  subjects = cast.subjects(count, seed=100_000, girls=None)
  for start in range(0, count, BATCH):
    some = subjects[start : start + BATCH]
    yield cast.networks[0].images(cast.codes(some, psi=1.0), seeds=[s.seed for s in some])


def figures(real, fake, extractor):
  return {
    r.name: {"value": round(float(r.value), 4), "n_real": len(real), "n_generated": len(fake)}
    for r in compare_features(real, fake, extractor, METRICS)
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("network", help="demo, or a .safetensors or .pkl")
  parser.add_argument("--held_out", required=True, help="studio faces of children that were not trained on")
  parser.add_argument("--trained_on", help="studio faces of the training children")
  parser.add_argument("--extractor", default="face_attributes")
  parser.add_argument("--count", type=int, default=2048, help="portraits")
  parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stylegan2_quality.json")
  args = parser.parse_args()
  runtime.use_compilation_cache()
  extractor = make_extractor(args.extractor)
  cast = open_cast(args.network, classes="girl,boy", batch=BATCH, noise_mode="random")
  fake = np.concatenate([extractor.features(batch) for batch in portraits(cast, args.count)])
  size = cast.networks[0].resolution
  held_out = real_features(open_images(args.held_out, resolution=size), extractor)
  half = len(held_out) // 2
  result = {
    "network": cast.networks[0].name,
    "network_sha256": cast.networks[0].sha256,
    "extractor": f"{extractor.name} {extractor.digest[:12]}",
    "portraits against held-out children": figures(held_out, fake, extractor),
    "one half of the held-out children against the other": figures(held_out[:half], held_out[half:], extractor),
  }
  if args.trained_on:
    trained = real_features(open_images(args.trained_on, resolution=size), extractor)
    result["portraits against training children"] = figures(trained, fake, extractor)
    result["training children against held-out children"] = figures(held_out, trained, extractor)
  args.out.write_text(json.dumps(result, indent=2) + "\n")
  print(json.dumps(result, indent=2))


if __name__ == "__main__":
  main()

"""Frames per hour of the studio against Blender Cycles: the same mesh, camera and size, both with all label passes.

  python benchmarks/studio_vs_cycles.py --bpy-python=/path/to/python-with-bpy

Cycles gets every advantage that costs it no label: 16 samples without denoising, plain Principled materials, one area
light and a uniform sky, persistent data, pictures left in memory. Both sides use two threads, take turns in one run,
and are timed (medians) from changed vertices to finished picture and passes: combined, depth, normal and object index
for Cycles; picture, segmentation, depth, normals, landmarks and boxes for the studio. Start-up and compilation are
left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
CYCLES_SAMPLES = 16
MARK = "@@"  # what the worker says to us; Blender talks on the same pipe


class Clock:
  """Wall time, and processor time over all threads of this process, which neighbours on a busy machine disturb less."""

  def __init__(self):
    self._wall, self._cpu = time.perf_counter(), time.process_time()

  def read(self, frames: int = 1) -> tuple[float, float]:
    """Milliseconds a frame: (wall, processor)."""
    wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
    return wall / frames * 1e3, cpu / frames * 1e3


# --- the Cycles half: runs in the other Python, which has bpy and numpy only


def build_cycles_scene(bpy, data) -> object:
  """One object per segmentation class, so that the object-index pass is the segmentation."""
  import mathutils

  bpy.ops.wm.read_factory_settings(use_empty=True)
  scene = bpy.context.scene
  scene.render.engine = "CYCLES"
  scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", CYCLES_SAMPLES, False
  scene.cycles.use_adaptive_sampling = False
  scene.render.threads_mode, scene.render.threads = "FIXED", THREADS
  scene.render.use_persistent_data = True
  size = int(data["size"])
  scene.render.resolution_x = scene.render.resolution_y = size
  layer = scene.view_layers[0]
  layer.use_pass_z = layer.use_pass_normal = layer.use_pass_object_index = True

  world = bpy.data.worlds.new("sky")
  world.color = (0.5, 0.5, 0.5)
  scene.world = world
  light = bpy.data.lights.new("key", "AREA")
  light.energy, light.size = 30.0, 0.6
  lamp = bpy.data.objects.new("key", light)
  lamp.location, lamp.rotation_euler = (0.6, 0.7, 1.0), (-0.5, 0.5, 0.0)
  scene.collection.objects.link(lamp)

  camera = bpy.data.cameras.new("camera")
  camera.sensor_width = 36.0
  camera.lens = float(data["k"][0, 0]) / size * 36.0
  viewer = bpy.data.objects.new("camera", camera)
  world_from_camera = np.linalg.inv(np.vstack([data["rt"], [0, 0, 0, 1]])) @ np.diag([1.0, -1.0, -1.0, 1.0])
  viewer.matrix_world = mathutils.Matrix(world_from_camera.tolist())
  scene.collection.objects.link(viewer)
  scene.camera = viewer
  return scene


def add_meshes(bpy, scene, data) -> list:
  meshes = []
  colours = np.random.default_rng(0).uniform(0.2, 0.9, (256, 3))
  for label in np.unique(data["classes"]):
    faces = data["faces"][data["classes"] == label]
    used, local = np.unique(faces, return_inverse=True)
    mesh = bpy.data.meshes.new(f"class {label}")
    mesh.from_pydata(data["vertices"][0][used].tolist(), [], local.reshape(-1, 3).tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    material = bpy.data.materials.new(f"class {label}")
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*colours[label], 1.0)
    mesh.materials.append(material)
    body = bpy.data.objects.new(mesh.name, mesh)
    body.pass_index = int(label)
    scene.collection.objects.link(body)
    meshes.append((mesh, used))
  return meshes


def worker(scene_file: str) -> None:
  """Reads frame numbers from standard input and answers each with the seconds that it took."""
  import bpy

  data = dict(np.load(scene_file))
  scene = build_cycles_scene(bpy, data)
  meshes = add_meshes(bpy, scene, data)
  print(MARK + json.dumps({"blender": bpy.app.version_string}), flush=True)
  for line in sys.stdin:
    frame, _, picture = line.strip().partition(" ")
    clock = Clock()
    for mesh, used in meshes:
      mesh.vertices.foreach_set("co", data["vertices"][int(frame)][used].ravel())
      mesh.update()
    scene.render.filepath = picture
    bpy.ops.render.render(write_still=bool(picture))
    print(MARK + json.dumps(clock.read()), flush=True)


# --- our half


def demo_motion(num_frames: int):
  """Talking-like movement of jaw, lips, lids, eyes and head."""
  from fractions import Fraction

  from jaxtalk.core import Motion
  from jaxtalk.motion.spaces import ARKIT

  t = np.arange(num_frames) / 25.0
  values = np.zeros((num_frames, len(ARKIT)), np.float32)
  values[:, ARKIT.index("jawOpen")] = 0.25 * (1 + np.sin(2 * np.pi * 3 * t))
  values[:, ARKIT.index("mouthPucker")] = 0.3 * (1 + np.sin(2 * np.pi * 1.3 * t)) / 2
  values[:, ARKIT.index("eyeBlinkLeft")] = values[:, ARKIT.index("eyeBlinkRight")] = np.maximum(0, np.sin(4 * t)) ** 8
  values[:, ARKIT.index("headYaw")] = 0.2 * np.sin(1.7 * t)
  return Motion(values=values, fps=Fraction(25), space=ARKIT)


def posed_scene(model, shot_k: np.ndarray, shot_rt: np.ndarray, motion, size: int) -> dict:
  """The drawn faces and the vertices of every frame, as the studio itself poses them."""
  import jax

  from jaxtalk.studio.pose import pose

  drawn = np.asarray(model.face_mask)
  posed = jax.jit(lambda frame: pose(model, frame)[0])
  return {
    "vertices": np.stack([np.asarray(posed(frame)) for frame in motion.values]).astype(np.float32),
    "faces": np.asarray(model.faces)[drawn],
    "classes": np.asarray(model.face_class)[drawn],
    "k": shot_k,
    "rt": shot_rt,
    "size": np.array(size),
  }


class CyclesProcess:
  """A worker in the other interpreter."""

  def __init__(self, python: str, scene_file: Path):
    command = [python, __file__, "--worker", str(scene_file)]
    self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    self.version = self._answer()["blender"]

  def _answer(self) -> Any:
    for line in self.process.stdout:
      if line.startswith(MARK):
        return json.loads(line[len(MARK) :])
    raise RuntimeError(f"the Blender process ended early, exit code {self.process.wait()}")

  def render(self, frame: int, picture: str = "") -> tuple[float, float]:
    """(wall, processor) milliseconds."""
    print(frame, picture, file=self.process.stdin, flush=True)
    wall, cpu = self._answer()
    return wall, cpu

  def close(self) -> None:
    self.process.stdin.close()
    self.process.wait()


def compare(args: argparse.Namespace) -> dict:
  import jax

  jax.config.update("jax_num_cpu_devices", THREADS)
  from jaxtalk.core import Scene
  from jaxtalk.studio.model import build
  from jaxtalk.studio.person import sample_person
  from jaxtalk.studio.renderer import LABEL_MAPS, StudioRenderer

  renderer = StudioRenderer(maps=LABEL_MAPS)
  person, scene = sample_person(args.seed, age=6.0), Scene(size=args.size)
  warm = renderer.render(demo_motion(1), person, scene, seed=args.seed)
  next(warm)
  motion = demo_motion(args.rounds * 16)
  model = build(person)
  _, k, rt = renderer.shot(model, scene, args.seed)
  chunks = renderer.render(motion, person, scene, seed=args.seed)
  step = 16
  ours, theirs = [], []
  with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "scene.npz"
    data = posed_scene(model, k, rt, motion, args.size)
    np.savez(file, **data)
    cycles = CyclesProcess(args.bpy_python, file)
    cycles.render(0, str(Path(args.pictures).resolve() / "cycles.png") if args.pictures else "")
    for round_ in range(args.rounds):
      clock = Clock()
      frames = next(chunks)
      spent = clock.read(len(frames.images))
      if round_ > 0 or args.rounds == 1:  # the first also builds the person
        ours.append(spent)
      theirs += [cycles.render((round_ * step + i * 5) % len(data["vertices"])) for i in range(args.cycles_per_round)]
      print(f"round {round_}: studio {spent[0]:.1f} ms, Cycles {theirs[-1][0]:.0f} ms a frame", flush=True)
    cycles.close()
  if args.pictures:
    from PIL import Image

    Image.fromarray(frames.images[0]).save(Path(args.pictures) / "studio.png")
  mine, blender = np.array(ours), np.array(theirs)
  figures = {"size": args.size, "triangles": int(len(data["faces"]))}
  for column, kind in enumerate(("wall", "processor")):
    ms = [float(np.median(t[:, column])) for t in (mine, blender)]
    figures |= {f"studio_ms_{kind}": round(ms[0], 2), f"cycles_ms_{kind}": round(ms[1], 1)}
    figures[f"ratio_{kind}"] = round(ms[1] / ms[0], 1)
  return figures | {
    "studio_frames_per_hour": round(3.6e6 / float(np.median(mine[:, 0]))),
    "studio_frames_timed": len(ours) * len(frames.images),
    "cycles_frames_timed": len(theirs),
    "cycles_samples": CYCLES_SAMPLES,
    "threads": THREADS,
    "blender": cycles.version,
    "jax": jax.__version__,
    "load_average_at_end": [round(v, 2) for v in os.getloadavg()],
    "machine": machine(),
  }


def machine() -> str:
  names = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
  return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.system()}"


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--bpy-python", default=os.environ.get("JAXTALK_BPY_PYTHON", ""))
  parser.add_argument("--size", type=int, default=256)
  parser.add_argument("--rounds", type=int, default=8)
  parser.add_argument("--cycles-per-round", type=int, default=3)
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--pictures", default="", help="folder for one picture of each")
  parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "studio_vs_cycles.json"))
  parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.worker:
    worker(args.worker)
    return 0
  check = [args.bpy_python, "-c", "import bpy"]
  if not args.bpy_python or subprocess.run(check, capture_output=True, check=False).returncode != 0:
    print("skipped: no Python with bpy; pip install bpy into an environment of its own and name its --bpy-python")
    return 0
  result = compare(args)
  Path(args.out).parent.mkdir(parents=True, exist_ok=True)
  Path(args.out).write_text(json.dumps(result, indent=2) + "\n")
  print(json.dumps(result, indent=2))
  return 0


if __name__ == "__main__":
  sys.exit(main())

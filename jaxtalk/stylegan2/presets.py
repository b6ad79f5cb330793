"""Training presets of StyleGAN2 with adaptive augmentation, by the names and options of the official command line.

``resolve("paper256", {"gpus": "8", "mirror": "true"})`` gives the settings that the official train.py would choose with
``--cfg=paper256 --gpus=8 --mirror=1``; "demo" is our own small network. No JAX here: the config file asks for these
before ``--help`` is printed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxtalk.cli import convert, nearest
from jaxtalk.core import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
  """Every choice of a run; 0 is "none" for ``ema_ramp`` and ``conv_clamp``.

  Attributes:
    resolution: of the images.
    kimg: length of the run in thousand real images.
    batch_size, batch_gpu: of an update, and of a micro-batch on one device.
    gpus: devices that the batch is meant for.
    mbstd_group: images whose statistics are compared in the discriminator.
    channel_base, channel_max: of both networks.
    latent: size of z and w.
    mapping_layers: of the generator.
    d_architecture: of the discriminator.
    use_noise: whether the generator adds noise to its features.
    half_res, dtype: resolutions that compute in another type, and which.
    conv_clamp: limit of activations.
    lr, gamma, pl_weight, mixing: rate of both optimisers and weights of regularisers.
    paired_weight, paired_only_kimg: of teaching the generator single pictures.
    ema_kimg, ema_ramp: of the average generator.
    augment, augment_p, augment_pipe, ada_target, ada_kimg: "ada", "fixed" or "noaug", and its settings.
    conditional, mirror, subset: of the data; subset 0 is all.
    seed: of everything.
    freeze_d: layers of the discriminator that do not learn.
    tick, snap: thousand images between lines of the log; ticks between checkpoints and evaluations.
    init: weights to start from.
  """

  resolution: int
  kimg: int = 25000
  batch_size: int
  batch_gpu: int
  gpus: int = 1
  mbstd_group: int
  channel_base: int
  channel_max: int = 512
  latent: int = 512
  mapping_layers: int
  d_architecture: str = "resnet"
  use_noise: bool = True
  half_res: int = 4
  dtype: str = "bfloat16"
  conv_clamp: float = 256.0
  lr: float
  gamma: float
  pl_weight: float = 2.0
  paired_weight: float = 0.0
  paired_only_kimg: float = 0.0
  mixing: float = 0.9
  ema_kimg: float
  ema_ramp: float = 0.0
  augment: str = "ada"
  augment_p: float = 0.0
  augment_pipe: str = "bgc"
  ada_target: float = 0.6
  ada_kimg: float = 500.0
  conditional: bool = False
  mirror: bool = False
  subset: int = 0
  seed: int = 0
  freeze_d: int = 0
  tick: int = 4
  snap: int = 50
  init: str = ""

  @property
  def accumulate(self) -> int:
    """Micro-batches an update."""
    return self.batch_size // (self.batch_gpu * self.gpus)


def _auto(resolution: int, gpus: int) -> Preset:
  batch = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
  return Preset(
    resolution=resolution,
    batch_size=batch,
    batch_gpu=batch // gpus,
    gpus=gpus,
    mbstd_group=min(batch // gpus, 4),
    channel_base=32768 if resolution >= 512 else 16384,
    mapping_layers=2,
    lr=0.002 if resolution >= 1024 else 0.0025,
    gamma=0.0002 * resolution**2 / batch,
    ema_kimg=batch * 10 / 32,
    ema_ramp=0.05,
  )


def _fixed(reference_gpus: int, **fields: Any) -> Callable[[int, int], Preset]:
  """A preset whose micro-batch was chosen for so many devices; fewer take more rounds."""
  batch_gpu = fields["batch_size"] // reference_gpus
  return lambda resolution, gpus: Preset(resolution=resolution, gpus=gpus, batch_gpu=batch_gpu, **fields)


def _demo(resolution: int, gpus: int) -> Preset:
  """Small enough for two CPU cores; conditional on gender.

  Tuned for runs of a hundred thousand pictures or less: a strong R1 (with the weak one of "auto" the discriminator runs
  away), no noise (eyes and mouths came out as speckles of it), and neither path length, style mixing nor augmentation,
  whose gains come later. First the generator is taught single pictures by their labels, without a discriminator: that
  is five times as fast a picture, and tells it where eyes and mouths belong.
  """
  batch = 16
  return Preset(
    resolution=resolution,
    kimg=100,
    batch_size=batch,
    batch_gpu=batch // gpus,
    gpus=gpus,
    mbstd_group=4,
    channel_base=2048,
    channel_max=128,
    latent=128,
    mapping_layers=4,
    half_res=0,
    dtype="float32",
    conv_clamp=0.0,
    use_noise=False,
    lr=0.0025,
    gamma=0.0003 * resolution**2,
    pl_weight=0.0,
    mixing=0.0,
    paired_weight=1.0,
    paired_only_kimg=40.0,
    ema_kimg=5.0,
    ema_ramp=0.02,
    augment="noaug",
    ada_kimg=100.0,
    conditional=True,
    mirror=True,
    tick=1,
    snap=10,
  )


_WIDE = {"channel_base": 32768, "mapping_layers": 8}
_CIFAR = {"d_architecture": "orig", "pl_weight": 0.0, "mixing": 0.0, "kimg": 100000, "mapping_layers": 2}
_PRESETS: dict[str, tuple[int, Callable[[int, int], Preset]]] = {  # name -> usual resolution, maker
  "auto": (256, _auto),
  "stylegan2": (1024, _fixed(8, batch_size=32, mbstd_group=4, lr=0.002, gamma=10.0, ema_kimg=10.0, **_WIDE)),
  "paper256": (
    256,
    _fixed(8, batch_size=64, mbstd_group=8, channel_base=16384, mapping_layers=8, lr=0.0025, gamma=1.0, ema_kimg=20.0),
  ),
  "paper512": (512, _fixed(8, batch_size=64, mbstd_group=8, lr=0.0025, gamma=0.5, ema_kimg=20.0, **_WIDE)),
  "paper1024": (1024, _fixed(8, batch_size=32, mbstd_group=4, lr=0.002, gamma=2.0, ema_kimg=10.0, **_WIDE)),
  "cifar": (
    32,
    _fixed(
      2,
      batch_size=64,
      mbstd_group=32,
      channel_base=32768,
      lr=0.0025,
      gamma=0.01,
      ema_kimg=500.0,
      ema_ramp=0.05,
      **_CIFAR,
    ),
  ),
  "demo": (64, _demo),
}
NAMES = tuple(_PRESETS)

# Options by their official names, with the field they set; those without a field are read below.
_FIELDS = {
  "kimg": "kimg",
  "gamma": "gamma",
  "cond": "conditional",
  "mirror": "mirror",
  "subset": "subset",
  "seed": "seed",
  "aug": "augment",
  "target": "ada_target",
  "augpipe": "augment_pipe",
  "freezed": "freeze_d",
  "snap": "snap",
}
_TYPES: dict[str, type] = {
  **{option: str for option in ("aug", "augpipe", "resume")},
  **{option: float for option in ("gamma", "p", "target")},
  **{option: bool for option in ("cond", "mirror", "fp32", "nhwc")},
  **{option: int for option in ("gpus", "resolution", "batch", "kimg", "subset", "seed", "freezed", "snap")},
}


def resolve(name: str, options: Mapping[str, str] | None = None) -> Preset:
  """The settings of a preset with official options.

  Args:
    name: one of ``NAMES``.
    options: option -> text: gpus, resolution, batch, kimg, gamma, cond, mirror, subset, seed, aug (ada, fixed, noaug),
      p, target, augpipe, resume (path of a snapshot), freezed, fp32, nhwc (no effect: it is our only layout), snap.

  Raises:
    InputError: an unknown name or option, or values that do not fit together.
  """
  if name not in _PRESETS:
    raise InputError(f"unknown preset {name!r}{nearest(name, NAMES)}; there are: {', '.join(NAMES)}")
  values = {}
  for option, text in (options or {}).items():
    if option not in _TYPES:
      raise InputError(f"unknown option {option!r} of a preset{nearest(option, _TYPES)}; known: {', '.join(_TYPES)}")
    values[option] = convert(option, text, _TYPES[option])
  resolution, make = _PRESETS[name]
  gpus = values.get("gpus", 1)
  if gpus < 1 or gpus & (gpus - 1):
    raise InputError(f"gpus={gpus}: the number of devices must be a power of two")
  resolution = values.get("resolution", resolution)
  if resolution < 8 or resolution & (resolution - 1):
    raise InputError(f"resolution={resolution} must be a power of two and at least 8")
  return _with_options(make(resolution, gpus), values)


def parse(arg: str) -> Preset:
  """`resolve` from ``NAME,option=value,...``."""
  name, *rest = arg.split(",")
  options = {}
  for pair in rest:
    option, equals, value = pair.partition("=")
    if not equals:
      raise InputError(f"{pair!r} in a preset is not option=value, as in paper256,gpus=8")
    options[option.strip()] = value.strip()
  return resolve(name, options)


def _with_options(preset: Preset, values: Mapping[str, Any]) -> Preset:
  changes = {field: values[option] for option, field in _FIELDS.items() if option in values}
  if "batch" in values:
    batch = values["batch"]
    if batch < 1 or batch % preset.gpus:
      raise InputError(f"batch={batch} must be at least 1 and divide by gpus={preset.gpus}")
    changes |= {"batch_size": batch, "batch_gpu": batch // preset.gpus}
  if values.get("fp32"):
    changes |= {"half_res": 0, "conv_clamp": 0.0, "dtype": "float32"}
  if values.get("resume"):
    changes |= {"init": values["resume"], "ada_kimg": 100.0, "ema_ramp": 0.0}
  preset = dataclasses.replace(preset, **changes)
  return dataclasses.replace(preset, augment_p=_strength(preset, values))


def _strength(preset: Preset, values: Mapping[str, Any]) -> float:
  if preset.augment not in ("ada", "fixed", "noaug"):
    raise InputError(f"aug={preset.augment!r} is not known; ada, fixed and noaug are")
  if (preset.augment == "fixed") != ("p" in values):
    raise InputError("p=... is needed with aug=fixed and belongs to nothing else")
  p = values.get("p", 0.0)
  if not 0 <= p <= 1:
    raise InputError(f"p={p} must be from 0 to 1")
  return p

"""DiffPoseTalk: speech and a style to stochastic FLAME motion with head pose (Sun et al. 2024, arXiv 2310.00434).

  module, variables = import_denoiser(state, **args)         # official tensors and options
  system = import_official(state, args, audio_config, stats)  # with the speech encoder
  expression, pose = system.generate(waveform, shape, style, key, plan=dpm_solver(system.schedule.levels(10)))

  vertices = read_flame(path).vertices(shape_of_each_frame, expression, pose)  # the user's own FLAME model

Trained by configs/diffposetalk.py, whose results come back with `load_trained` and `extract_style`. The parts:
`diffposetalk_networks`, `diffposetalk_official` (import), `diffposetalk_motion` (coefficients), `diffposetalk_sample`
and `diffposetalk_windows` (inference), `diffposetalk_data`, `diffposetalk_style_task`, `diffposetalk_task`,
`diffposetalk_train` and `diffposetalk_loss` (training), `diffposetalk_files` (what it writes), `flame`. Quirks of the
released code that its weights depend on are options: ``positions="shared"`` of the networks, guidance mode
"independent_in_place", the same start noise for all windows. On a GPU, parity with recorded numbers needs
``jax.default_matmul_precision("float32")``.
"""

from jaxtalk.systems.diffposetalk_files import extract_style, load_trained
from jaxtalk.systems.diffposetalk_networks import Denoiser, StyleEncoder
from jaxtalk.systems.diffposetalk_official import import_denoiser, import_style_encoder, schedule
from jaxtalk.systems.diffposetalk_sample import Conditions, Threshold, sample_window
from jaxtalk.systems.diffposetalk_windows import DiffPoseTalk, Style, generate_windows, import_official
from jaxtalk.systems.flame import read_flame

__all__ = [
  "Conditions",
  "Denoiser",
  "DiffPoseTalk",
  "Style",
  "StyleEncoder",
  "Threshold",
  "extract_style",
  "generate_windows",
  "import_denoiser",
  "import_official",
  "import_style_encoder",
  "load_trained",
  "read_flame",
  "sample_window",
  "schedule",
]

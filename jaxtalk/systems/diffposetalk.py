"""DiffPoseTalk: speech and a style to stochastic FLAME motion with head pose (Sun et al. 2024, arXiv 2310.00434).

  module, variables = import_denoiser(state, **args)         # official tensors and options
  system = import_official(state, args, audio_config, stats)  # with the speech encoder
  expression, pose = system.generate(waveform, shape, style, key, plan=dpm_solver(system.schedule.levels(10)))

The parts: `diffposetalk_networks`, `diffposetalk_official` (import), `diffposetalk_motion` (coefficients),
`diffposetalk_sample` and `diffposetalk_windows` (inference), `diffposetalk_train` and `diffposetalk_loss`. Quirks of
the released code that its weights depend on are options: ``positions="shared"`` of the networks, guidance mode
"independent_in_place", the same start noise for all windows. On a GPU, parity with recorded numbers needs
``jax.default_matmul_precision("float32")``.
"""

from jaxtalk.systems.diffposetalk_networks import Denoiser, StyleEncoder
from jaxtalk.systems.diffposetalk_official import import_denoiser, import_style_encoder, schedule
from jaxtalk.systems.diffposetalk_sample import Conditions, Threshold, sample_window
from jaxtalk.systems.diffposetalk_windows import DiffPoseTalk, Style, generate_windows, import_official

__all__ = [
  "Conditions",
  "Denoiser",
  "DiffPoseTalk",
  "Style",
  "StyleEncoder",
  "Threshold",
  "generate_windows",
  "import_denoiser",
  "import_official",
  "import_style_encoder",
  "sample_window",
  "schedule",
]

"""Diffusion and flow matching as parts: schedules, predictions, samplers as tables of coefficients, guidance, one loop.

  levels = cosine(500).levels(20)                       # or flow_levels(8)
  x = sample(predict_x0, dpm_solver(levels), x_T, key)  # one lax.scan

Notation, everywhere: ``x = alpha * x0 + sigma * epsilon``. A network is told a time; its level is (alpha, sigma).
"""

from jaxtalk.diffusion.guidance import Guidance, guided
from jaxtalk.diffusion.predictions import Prediction, convert
from jaxtalk.diffusion.samplers import Plan, ddim, ddpm, dpm_solver, euler, heun
from jaxtalk.diffusion.sampling import sample
from jaxtalk.diffusion.schedules import Levels, Schedule, cosine, flow_levels, linear, quadratic, sigmoid

__all__ = [
  "Guidance",
  "Levels",
  "Plan",
  "Prediction",
  "Schedule",
  "convert",
  "cosine",
  "ddim",
  "ddpm",
  "dpm_solver",
  "euler",
  "flow_levels",
  "guided",
  "heun",
  "linear",
  "quadratic",
  "sample",
  "sigmoid",
]

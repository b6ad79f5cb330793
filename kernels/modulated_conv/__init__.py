"""Modulated convolution (StyleGAN2) with its implementations; `modulated_conv` picks one."""

from jaxtalk.kernels.modulated_conv.api import modulated_conv
from jaxtalk.kernels.modulated_conv.choice import Implementation

__all__ = ["Implementation", "modulated_conv"]

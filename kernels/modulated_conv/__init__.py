"""Modulated convolution (StyleGAN2) with its implementations; `modulated_conv` picks one."""

from jaxtalk.kernels.modulated_conv.api import Implementation, modulated_conv

__all__ = ["Implementation", "modulated_conv"]

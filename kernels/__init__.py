"""Kernels for the hot paths, one folder an operation; imported as ``jaxtalk.kernels``. Imports nothing of jaxtalk."""

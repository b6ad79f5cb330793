"""Waveforms to features at the motion rate."""

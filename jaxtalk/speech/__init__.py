"""Voices, child-voice conversion, phones and visemes, reading any audio. Needs no accelerator and no JAX."""

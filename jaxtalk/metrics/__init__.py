"""Exact definitions of measures, with units; no weights and no accelerator needed."""

"""Training: one loop for every system.

A system brings a `task.Task` (its state, one update, batches, evaluation, export) and a config; `loop.train` does the
rest: mesh and shardings, compilation, checkpoints and resuming, logs, clean stops.
"""

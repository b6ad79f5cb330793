"""Eight fake CPU devices and rank promotion as an error, before anything touches JAX."""

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

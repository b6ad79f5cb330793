"""StyleGAN2's losses and lazy regularisers, each with its gradient (Karras et al. 2020, section 3 and appendix B).

Every function here handles one micro-batch and takes its random draws as an argument, so that a whole update can be
checked against recorded ones. Images are (N, H, W, C) float32 in [-1, 1], labels (N, c_dim). Reports hold a value for
each sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxtalk.stylegan2.layers import NoiseMode
from jaxtalk.stylegan2.networks import Discriminator, Generator, update_w_avg
from jaxtalk.stylegan2.paired_loss import pyramid_l1

Params = Mapping[str, Any]
Report = dict[str, jax.Array]


@struct.dataclass
class Draws:
  """Random numbers of one phase in one micro-batch.

  Attributes:
    z: (N, z_dim) latents.
    z_mix: (N, z_dim) latents whose codes the layers from ``cutoff`` on take.
    cutoff: () int32; num_ws is no mixing.
    noise: key of the pixel noise.
    augment: (2,) keys of the augmentation, of generated and of real images.
    directions: (N, H, W, C) unit normal, the random image of the path-length regulariser; None in other phases.
  """

  z: jax.Array
  z_mix: jax.Array
  cutoff: jax.Array
  noise: jax.Array
  augment: jax.Array
  directions: jax.Array | None = None


@struct.dataclass
class Statistics:
  """What the phases keep up to date besides parameters.

  Attributes:
    buffers: the generator's buffers; ``w_avg`` follows the mean code.
    pl_mean: () mean path length so far.
  """

  buffers: Params
  pl_mean: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
  """The four phases of an update, for two networks and fixed settings.

  Attributes:
    generator, discriminator: the networks.
    augment: (images, key) -> images, applied to everything that the discriminator sees; None is nothing.
    mixing: whether `Draws` may ask for style mixing.
    noise_mode: of the generator.
    r1_gamma: weight of the gradient penalty on real images.
    pl_weight: weight of the path-length penalty.
    paired_weight: weight of the distance to the pictures that latents from labels belong to.
    pl_decay: share of a new batch in the mean path length.
    w_avg_beta: share of the old average in ``w_avg``.
  """

  generator: Generator
  discriminator: Discriminator
  augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None
  mixing: bool = True
  noise_mode: NoiseMode = "random"
  r1_gamma: float = 10.0
  pl_weight: float = 2.0
  paired_weight: float = 0.0
  pl_decay: float = 0.01
  w_avg_beta: float = 0.995

  def codes(self, g: Params, stats: Statistics, draws: Draws, c: jax.Array) -> tuple[jax.Array, Statistics]:
    """Codes (N, num_ws, w_dim) with style mixing, and the statistics with a newer ``w_avg``."""
    variables = {"params": g, "buffers": stats.buffers}
    ws = jnp.asarray(self.generator.apply(variables, draws.z, c, method="mapping"))
    buffers = update_w_avg(stats.buffers, jax.lax.stop_gradient(ws[:, 0]), self.w_avg_beta)
    if self.mixing:
      other = jnp.asarray(self.generator.apply(variables, draws.z_mix, c, method="mapping"))
      ws = jnp.where((jnp.arange(ws.shape[1]) < draws.cutoff)[None, :, None], ws, other)
    return ws, dataclasses.replace(stats, buffers=buffers)

  def paint(self, g: Params, stats: Statistics, ws: jax.Array, draws: Draws) -> jax.Array:
    """Images of codes (N, num_ws, w_dim)."""
    variables, keys = {"params": g, "buffers": stats.buffers}, {"noise": draws.noise}
    images = self.generator.apply(variables, ws, noise_mode=self.noise_mode, method="synthesis", rngs=keys)
    return jnp.asarray(images)

  def judge(self, d: Params, images: jax.Array, c: jax.Array, key: jax.Array) -> jax.Array:
    """Logits (N,) of augmented images: positive is real."""
    if self.augment is not None:
      images = self.augment(images, key)
    return jnp.asarray(self.discriminator.apply({"params": d}, images, c))[:, 0]

  def g_main(
    self, g: Params, d: Params, stats: Statistics, draws: Draws, c: jax.Array
  ) -> tuple[Params, Statistics, Report]:
    """Gradient for ``g`` of the non-saturating loss; the discriminator's weights get none."""

    def loss(g):
      ws, after = self.codes(g, stats, draws, c)
      logits = self.judge(d, self.paint(g, after, ws, draws), c, draws.augment[0])
      values = jax.nn.softplus(-logits)
      return values.mean(), (after, {"loss_G": values})

    grads, (after, report) = jax.grad(loss, has_aux=True)(g)
    return grads, after, report

  def g_paired(
    self, g: Params, stats: Statistics, draws: Draws, c: jax.Array, pairs: tuple[jax.Array, jax.Array, jax.Array]
  ) -> tuple[Params, Statistics, Report]:
    """Gradient for ``g`` of the distance between its pictures of the latents in ``pairs`` and the pictures there.

    ``pairs`` are latents (N, z_dim), images, and where faces have their features (N, K, 2), see `paired_loss`.
    """
    z, real, centres = pairs

    def loss(g):
      ws, after = dataclasses.replace(self, mixing=False).codes(g, stats, dataclasses.replace(draws, z=z), c)
      values = pyramid_l1(self.paint(g, after, ws, draws), real, centres)
      return self.paired_weight * values.mean(), (after, {"loss_pair": values})

    grads, (after, report) = jax.grad(loss, has_aux=True)(g)
    return grads, after, report

  def g_regularise(self, g: Params, stats: Statistics, draws: Draws, c: jax.Array) -> tuple[Params, Statistics, Report]:
    """Gradient for ``g`` of the path-length penalty; it flows through the mean length as well."""
    assert draws.directions is not None
    pixels = draws.directions.shape[1] * draws.directions.shape[2]
    directions = draws.directions / pixels**0.5

    def loss(g):
      ws, after = self.codes(g, stats, draws, c)
      slopes = jax.grad(lambda ws: jnp.sum(self.paint(g, after, ws, draws) * directions))(ws)
      lengths = jnp.sqrt(jnp.square(slopes).sum(2).mean(1))
      mean = after.pl_mean + self.pl_decay * (lengths.mean() - after.pl_mean)
      penalty = jnp.square(lengths - mean)
      report = {"pl_length": lengths, "pl_penalty": penalty, "loss_G_reg": penalty * self.pl_weight}
      return self.pl_weight * penalty.mean(), (dataclasses.replace(after, pl_mean=mean), report)

    grads, (after, report) = jax.grad(loss, has_aux=True)(g)
    return grads, after, report

  def d_main(
    self, d: Params, fake: jax.Array, real: jax.Array, draws: Draws, c: jax.Array, real_c: jax.Array
  ) -> tuple[Params, Report]:
    """Gradient for ``d`` of the logistic loss; batch statistics of fake and real images do not mix."""

    def loss(d):
      on_fake = self.judge(d, fake, c, draws.augment[0])
      on_real = self.judge(d, real, real_c, draws.augment[1])
      values = jax.nn.softplus(on_fake) + jax.nn.softplus(-on_real)
      return values.mean(), {"scores_fake": on_fake, "scores_real": on_real, "loss_D": values}

    return jax.grad(loss, has_aux=True)(d)

  def d_regularise(self, d: Params, real: jax.Array, draws: Draws, real_c: jax.Array) -> tuple[Params, Report]:
    """Gradient for ``d`` of R1: the squared slope of the logits on real images, through the augmentation."""

    def total(real, d):
      logits = self.judge(d, real, real_c, draws.augment[1])
      return logits.sum(), logits

    def loss(d):
      slopes, logits = jax.grad(total, has_aux=True)(real, d)
      penalty = jnp.square(slopes).sum((1, 2, 3))
      values = penalty * (self.r1_gamma / 2)
      return values.mean(), {"scores_real_reg": logits, "r1_penalty": penalty, "loss_D_reg": values}

    return jax.grad(loss, has_aux=True)(d)

"""Named real shapes: every modulated 3x3 convolution of the usual generators, for tests, tables and benchmarks."""

from __future__ import annotations

import dataclasses

from jaxtalk.kernels.modulated_conv import choice

CONFIGURATIONS = {256: 16384, 512: 32768, 1024: 32768}
"""Resolution to channel base, as the official presets pair them; block r has min(base / r, 512) channels."""


@dataclasses.dataclass(frozen=True)
class Layer:
  """One modulated convolution: from ``size / up`` to ``size`` pixels a side."""

  size: int
  channels: tuple[int, int]
  up: int

  @property
  def name(self) -> str:
    return choice.size_name(self.size, self.channels, self.up)

  @property
  def products(self) -> int:
    """Multiplications of one image that no algorithm of this form avoids; upsampling as a transposed convolution."""
    return 9 * self.channels[0] * self.channels[1] * (self.size // self.up) ** 2


def layers(resolution: int) -> list[Layer]:
  """The convolutions of a configuration in the order in which they run.

  Raises:
    KeyError: a resolution that is not in `CONFIGURATIONS`.
  """
  base, found, below = CONFIGURATIONS[resolution], [], 0
  for size in (1 << i for i in range(2, resolution.bit_length())):
    channels = min(base // size, 512)
    if below:
      found.append(Layer(size, (below, channels), 2))
    found.append(Layer(size, (channels, channels), 1))
    below = channels
  return found

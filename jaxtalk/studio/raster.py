"""Triangle visibility and interpolation in plain JAX: static shapes, no callbacks, the same on CPU, GPU and TPU.

How it works. Vertices are snapped to a fixed-point grid, so that coverage is decided in exact 32-bit integers: every
sample inside a mesh without holes belongs to exactly one front triangle (a shared edge is owned by one side). The
bounding box of each surviving triangle is cut into tiles of ``TILE`` samples; the tiles of all triangles form one
list, which a ``while_loop`` works off in chunks: 8x8 edge tests at once, then one windowed scatter-max of keys
(depth above, triangle below). A triangle of any size is thus a number of tiles, and nothing is ever dropped for lack
of room. Samples are at integer coordinates, x to the right, y down.

Edge functions: Pineda, "A parallel algorithm for polygon rasterization" (SIGGRAPH 1988). Attributes as planes over the
screen: Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates" (1997).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

TILE = 8
FAR_AWAY = 2.0**20  # samples; vertices are clamped to this before they become integers


def exact_extent(bits: int) -> int:
  """Largest extent of a triangle, in samples, whose edge functions fit into int32 at so many fractional bits."""
  return int(0.92 * 2.0 ** ((30 - bits) / 2))


def fixed_point_bits(height: int, width: int) -> int:
  """Fractional bits of a snapped coordinate: 8 up to a grid of 1256 samples, then fewer (6 up to 2512)."""
  bits = 8
  while exact_extent(bits) < 1.5 * max(height, width):
    bits -= 1
  return bits


def _snap(screen: Array, bits: int) -> Array:
  """(V, 3) screen positions to (V, 2) int32 fixed point; what is not finite goes to a corner far away."""
  xy = jnp.nan_to_num(screen[:, :2], nan=FAR_AWAY)
  return jnp.round(jnp.clip(xy, -FAR_AWAY, FAR_AWAY) * 2.0**bits).astype(jnp.int32)


def _take(rows: Array, index: Array) -> Array:
  return jnp.asarray(rows).at[index].get(mode="clip")


def _determinant(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
  """Exact ``a * d - b * c`` of int32 below 2**19, as (high, low) with value ``high * 1024 + low``, 0 <= low < 1024."""
  d_high, d_low, c_high, c_low = d >> 10, d & 1023, c >> 10, c & 1023
  low = a * d_low - b * c_low
  return a * d_high - b * c_high + (low >> 10), low & 1023


def _edge(p: Array, q: Array, sign: Array, first: Array, bits: int, exact: Array) -> tuple[Array, Array, Array]:
  """Integer edge function ``a * i + b * j + c``, >= 0 inside, for samples ``first + (i, j)``.

  p, q: (F, 2) fixed-point ends; sign: (F,) +1 or -1, so that inside is positive; first: (F, 2) samples. Where not
  ``exact`` (a vertex far outside the picture), a 16-bit approximation of the same line.
  """
  step = (q - p) * sign[:, None]
  a, b = -step[:, 1], step[:, 0]
  # At the sample just above-left of p the edge function is small enough for int32; whole samples away from it the
  # function changes by multiples of 2**bits, so the fraction can be floored without changing any sign.
  whole, part = p >> bits, p & ((1 << bits) - 1)
  owns_zero = (a > 0) | ((a == 0) & (b > 0))
  start = (-a * part[:, 0] - b * part[:, 1] - jnp.where(owns_zero, 0, 1)) >> bits
  offset = first - whole
  c = start + a * offset[:, 0] + b * offset[:, 1]
  af, bf, distance = a.astype(jnp.float32), b.astype(jnp.float32), first.astype(jnp.float32) - p * 2.0**-bits
  scale = 2.0**16 / jnp.maximum(jnp.maximum(jnp.abs(af), jnp.abs(bf)), 1.0)
  cf = (af * distance[:, 0] + bf * distance[:, 1]) * scale
  near = [jnp.round(v).astype(jnp.int32) for v in (af * scale, bf * scale, jnp.clip(cf, -(2.0**29), 2.0**29))]
  return tuple(jnp.where(exact, u, v) for u, v in zip((a, b, c), near, strict=True))


def _setup(screen: Array, faces: Array, keep: Array, two_sided: Array, height: int, width: int):
  """One row of 18 int32 words a face (see the end), the number of its tiles (F,), and the range of 1/depth."""
  bits = fixed_point_bits(height, width)
  v = _take(_snap(screen, bits), faces)
  z = _take(screen[:, 2], faces)
  reach, size = (exact_extent(bits) - max(height, width)) // 2, jnp.array([[[width, height]]], jnp.int32)
  exact = jnp.all((v >= -reach << bits) & (v <= (size + reach) << bits), axis=(1, 2))

  e1, e2 = v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]
  high, low = _determinant(e1[:, 0], e1[:, 1], e2[:, 0], e2[:, 1])
  f1, f2 = e1 * 2.0**-bits, e2 * 2.0**-bits
  area = f1[:, 0] * f2[:, 1] - f1[:, 1] * f2[:, 0]
  area = jnp.where(exact, (high * 1024.0 + low) * 2.0 ** (-2 * bits), area)
  sign = jnp.where(area < 0, -1, 1).astype(jnp.int32)

  lower, upper = jnp.min(v, axis=1), jnp.max(v, axis=1)
  first = jnp.maximum((lower + (1 << bits) - 1) >> bits, 0)
  last = jnp.minimum(upper >> bits, jnp.array([[width - 1, height - 1]], jnp.int32))
  shown = keep & jnp.all(z > 0, axis=1) & ((area < 0) | (two_sided & (area != 0))) & jnp.all(last >= first, axis=1)
  tiles = jnp.where(shown[:, None], (last - first) // TILE + 1, 0)

  edges = [_edge(v[:, k], v[:, (k + 1) % 3], sign, first, bits, exact) for k in range(3)]
  dz1, dz2, inverse = z[:, 1] - z[:, 0], z[:, 2] - z[:, 0], 1.0 / jnp.where(area == 0, 1.0, area)
  zx = (dz1 * f2[:, 1] - dz2 * f1[:, 1]) * inverse
  zy = (dz2 * f1[:, 0] - dz1 * f2[:, 0]) * inverse
  offset = first - v[:, 0] * 2.0**-bits
  z_first = z[:, 0] + zx * offset[:, 0] + zy * offset[:, 1]
  z_low, z_high = jnp.min(z, axis=1), jnp.max(z, axis=1)
  floats = lax.bitcast_convert_type(jnp.stack([zx, zy, z_first, z_low, z_high], axis=1), jnp.int32)
  columns = [column for edge in edges for column in edge] + [first[:, 0], first[:, 1], tiles[:, 0]]
  rows = jnp.concatenate([jnp.stack(columns, axis=1), floats], axis=1)
  span = jnp.min(jnp.where(shown, z_low, jnp.inf)), jnp.max(jnp.where(shown, z_high, 0.0))
  return rows, tiles[:, 0] * tiles[:, 1], span


def _tile_keys(rows: Array, number: Array, face: Array, span: tuple[Array, Array], id_bits: int):
  """Corners (K, 2) (row, column) and uint32 keys (K, TILE, TILE) of tiles; 0 is a sample not covered."""
  ix, iy = number % rows[:, 11], number // rows[:, 11]
  i = (ix * TILE)[:, None, None] + jnp.arange(TILE, dtype=jnp.int32)[None, None, :]
  j = (iy * TILE)[:, None, None] + jnp.arange(TILE, dtype=jnp.int32)[None, :, None]
  r = rows[:, :, None, None]
  e0, e1, e2 = (r[:, k] * i + r[:, k + 1] * j + r[:, k + 2] for k in (0, 3, 6))
  inside = (e0 | e1 | e2) >= 0
  zx, zy, z_first, z_low, z_high = (lax.bitcast_convert_type(r[:, k], jnp.float32) for k in range(12, 17))
  z = jnp.clip(zx * i + zy * j + z_first, z_low, z_high)
  levels = float(2 ** (32 - id_bits) - 512)  # whole in float32, with room for the +1
  unit = (z - span[0]) * (levels / jnp.maximum(span[1] - span[0], 1e-20))
  key = ((unit.astype(jnp.uint32) + 1) << id_bits) | face.astype(jnp.uint32)[:, None, None]
  corner = jnp.stack([rows[:, 10] + iy * TILE, rows[:, 9] + ix * TILE], axis=1)
  return corner, jnp.where(inside, key, jnp.uint32(0))


def visibility(
  screen: Array,
  faces: Array,
  face_mask: Array,
  *,
  height: int,
  width: int,
  face_two_sided: Array | None = None,
  chunk: int | None = None,
) -> Array:
  """Which triangle each sample sees.

  Args:
    screen: (V, 3) float32: x, y in samples (centres at integers, y down) and z = 1 / depth, positive in front of the
      camera. A triangle with a vertex at z <= 0 (behind the camera) is not drawn.
    faces: (F, 3) int32, counter-clockwise seen from outside; F < 2**20.
    face_mask: (F,) bool; False for padding and for hidden faces.
    height: rows of samples, at most 4096.
    width: columns of samples, at most 4096.
    face_two_sided: (F,) bool; True keeps a face that shows its back (hair cards, lashes). Default: none.
    chunk: tiles worked off at a time; a matter of speed and memory only.

  Returns:
    (height, width) int32 face indices, -1 where nothing is. Nearest wins; of equal keys the larger index. The depth
    key has 32 - ceil(log2 F) bits over the visible range of 1/depth (F = 32768: 5 micrometres over 0.6 m at 1 m).

  Coverage is exact and watertight for triangles of any size whose corners lie at most a quarter of a picture outside
  the picture; those that reach further are drawn to within an eighth of a sample.
  """
  num_faces = faces.shape[0]
  id_bits = max((num_faces - 1).bit_length(), 1)
  two_sided = jnp.zeros(num_faces, bool) if face_two_sided is None else face_two_sided
  chunk = chunk or default_chunk(num_faces, height, width)
  rows, tiles, span = _setup(screen, faces, face_mask, two_sided, height, width)
  ends = jnp.cumsum(tiles)
  starts = ends - tiles

  def draw(state):
    done, keys = state
    # Every face that has tiles marks its first one in this chunk; the running maximum then names the owner of each.
    mark = jnp.where(tiles > 0, jnp.clip(starts - done, 0, chunk), chunk)
    mark = jnp.where(ends > done, mark, chunk)
    owner = jnp.zeros(chunk + 1, jnp.int32).at[mark].max(jnp.arange(num_faces, dtype=jnp.int32))[:chunk]
    owner = lax.cummax(owner)
    item = done + jnp.arange(chunk, dtype=jnp.int32)
    row = _take(rows, owner)
    corner, key = _tile_keys(row, item - _take(starts, owner), owner, span, id_bits)
    valid = item < ends[-1]
    corner = jnp.where(valid[:, None], corner, 0)
    key = jnp.where(valid[:, None, None], key, jnp.uint32(0))
    numbers = lax.ScatterDimensionNumbers((1, 2), (), (0, 1))
    return done + chunk, lax.scatter_max(keys, corner, key, numbers, mode="promise_in_bounds")

  zero = ends[-1] * 0  # not a constant: under shard_map the carry must vary over devices like the data
  empty = jnp.zeros((height + TILE, width + TILE), jnp.uint32) + zero.astype(jnp.uint32)
  keys = lax.while_loop(lambda state: state[0] < ends[-1], draw, (zero, empty))[1][:height, :width]
  found = (keys & jnp.uint32((1 << id_bits) - 1)).astype(jnp.int32)
  return jnp.where(keys > 0, found, -1)


def default_chunk(num_faces: int, height: int, width: int) -> int:
  """Tiles that a scene of this size usually has, so that one round suffices."""
  return max(num_faces // 2 + height * width // TILE**2 // 2, 64)


def attribute_planes(screen: Array, faces: Array, attributes: Array, *, height: int, width: int) -> Array:
  """Attributes as affine functions of the sample position, one per face.

  Args:
    screen: (V, 3) as for ``visibility``.
    faces: (F, 3) int32.
    attributes: (V, A) float32, taken as linear over the screen; include ``screen[:, 2:]``, and multiply the others
      by it, for perspective-correct values (see ``interpolate``).
    height: rows of samples (they set the snapping grid).
    width: columns of samples.

  Returns:
    (F, A, 3): the value at sample (x, y) is ``p[0] * x + p[1] * y + p[2]``. Faces thinner than 1/32 of a sample, whose
    gradients mean nothing, are constant at their mean.
  """
  bits = fixed_point_bits(height, width)
  v = _take(_snap(screen, bits), faces) * 2.0**-bits
  f1, f2 = v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]
  area = f1[:, 0] * f2[:, 1] - f1[:, 1] * f2[:, 0]
  longest = jnp.max(jnp.abs(jnp.concatenate([f1, f2, f2 - f1], axis=1)), axis=1)
  thin = jnp.abs(area) <= longest / 32
  inverse = jnp.where(thin, 0.0, 1.0 / jnp.where(thin, 1.0, area))[:, None]
  corner = _take(attributes, faces)
  d1, d2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
  px = (d1 * f2[:, 1:2] - d2 * f1[:, 1:2]) * inverse
  py = (d2 * f1[:, 0:1] - d1 * f2[:, 0:1]) * inverse
  centre = jnp.mean(v, axis=1)
  constant = jnp.mean(corner, axis=1) - px * centre[:, 0:1] - py * centre[:, 1:2]
  return jnp.stack([px, py, constant], axis=-1)


def interpolate(planes: Array, triangle_ids: Array, x: Array, y: Array, *, one_over_depth: int | None = None) -> Array:
  """Values of attribute planes at points.

  Args:
    planes: (F, A, 3) from ``attribute_planes``.
    triangle_ids: (...,) int32 from ``visibility``; -1 gives zeros.
    x: (...,) float32 sample coordinates; may lie between samples.
    y: (...,) the same.
    one_over_depth: index of the attribute that is 1/depth. If given, all attributes are divided by it and it becomes
      depth: exact perspective when the others were multiplied by 1/depth at the vertices.

  Returns:
    (..., A) float32.
  """
  p = _take(planes, jnp.maximum(triangle_ids, 0))
  values = p[..., 0] * x[..., None] + p[..., 1] * y[..., None] + p[..., 2]
  if one_over_depth is not None:
    depth = 1.0 / jnp.maximum(values[..., one_over_depth], 1e-9)
    is_depth = jnp.arange(values.shape[-1]) == one_over_depth
    values = jnp.where(is_depth, depth[..., None], values * depth[..., None])
  return jnp.where((triangle_ids >= 0)[..., None], values, 0.0)


def resolve(samples: Array, factor: int) -> Array:
  """Box filter of (factor * H, factor * W, C) samples, with colour premultiplied by alpha, to (H, W, C) pixels."""
  height, width, channels = samples.shape[0] // factor, samples.shape[1] // factor, samples.shape[2]
  return jnp.mean(samples.reshape(height, factor, width, factor, channels), axis=(1, 3))

"""Hair combed towards ties: ponytails, pigtails, plaits and buns."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtalk.studio.locks import Field, cap, cut_curves, edge_hairs, grow, mass_normal, ribbons, scatter_roots, stop_at
from jaxtalk.studio.mesh import (
  SurfacePart,
  curve_tangents,
  grid_faces,
  repeat_faces,
  resample,
  smoothstep,
  surface_part,
  unit,
)
from jaxtalk.studio.scalp import AROUND, Skull

STEP = 0.007


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gathered:
  """Metres on an adult head.

  Attributes:
    anchors: directions (x, y, z) from the skull's centre to each tie; locks go to the nearest on their side.
    tail: "tail", "plait" or "bun".
    tail_length, tail_radius: of what hangs from (or sits at) each tie.
    part: offset of the parting for two ties.
    lift: height of the combed layer.
    edge: how many fine hairs along the hairline.
    fringe: cut of a fringe, or None.
  """

  anchors: tuple[tuple[float, float, float], ...]
  tail: str
  tail_length: float
  tail_radius: float
  part: float = 0.0
  lift: float = 0.008
  width: float = 0.009
  locks: int = 180
  points: int = 7
  edge: int = 90
  fringe: tuple[tuple[float, float], ...] | None = None


def grow_gathered(skull: Skull, style: Gathered, rng: np.random.Generator) -> list[SurfacePart]:
  """Cap, combed locks, ties and tails."""
  directions = unit(np.array(style.anchors))
  surface = [_anchor(skull, d) for d in directions]
  anchors = np.stack([point for point, _ in surface])
  edge = style.locks // 3  # every third lock starts at the hairline, so that it is a line of hair and not of the cap
  inner, outer = scatter_roots(skull, style.locks - edge, rng), scatter_roots(skull, edge, rng, start=0.95, stop=1.0)
  around, rows = (np.concatenate(pair) for pair in zip(inner, outer, strict=True))
  roots = skull.at(around, rows)[0]
  if len(anchors) == 1:
    own = np.zeros(len(roots), int)
  else:
    own = np.where(roots[:, 0] - skull.centre[0] >= style.part * skull.scale, 0, 1)
  target = (anchors[own] - skull.centre) / skull.scale
  sway = rng.normal(0, 0.05, (len(roots), 3))

  def field(q: np.ndarray, normals: np.ndarray, arc: float) -> np.ndarray:
    return comb_to(target)(q, normals, arc) + sway

  lift = style.lift * rng.uniform(0.6, 1.1, len(roots))
  curves = grow(skull, around, rows, field, lift=lift, steps=34, hug=0.8, rise=0.02, inertia=0.3)
  close = 0.014 * skull.scale - np.linalg.norm(curves - anchors[own][:, None], axis=2)
  stops = stop_at(curves, np.full(len(curves), 0.24 * skull.scale), close)
  curves = resample(curves, np.maximum(stops, 0.01 * skull.scale), style.points)
  v = np.linspace(0, 1, style.points)
  shade = (0.8 + 0.2 * (lift / style.lift - 0.6) / 0.5)[:, None] * (0.85 + 0.15 * smoothstep(0, 0.3, v))[None]
  width = style.width * skull.scale * rng.uniform(0.8, 1.2, len(curves))
  outward = mass_normal(curves, skull.centre)
  combed = ribbons(curves, width, outward, rng=rng, shade=shade, tip=0.6, root=0.5, bulge=0.25, softness=0.6)
  parts = [cap(skull, lambda column, part: np.full_like(part, 0.4 * style.lift), shade=0.7, knots=anchors), combed]
  back = comb_to(np.array([0.0, 0.06, -0.06]))
  parts.append(edge_hairs(skull, style.edge, back, rng, length=0.012))
  if style.fringe is not None:
    parts.append(fringe(skull, style.fringe, rng))
  for point, normal in surface:
    parts += TAILS[style.tail](skull, style, point, normal, rng)
  return parts


def comb_to(target: np.ndarray) -> Field:
  """The direction field along the scalp to ``target`` (L, 3) or (3,), relative to the skull's centre."""

  def field(q: np.ndarray, normals: np.ndarray, arc: float) -> np.ndarray:
    towards = target - q
    return unit(towards - 0.85 * normals * (towards * normals).sum(1, keepdims=True))

  return field


def fringe(skull: Skull, cut: tuple[tuple[float, float], ...], rng: np.random.Generator) -> SurfacePart:
  """Bangs: locks from behind the front hairline that fall over the forehead."""
  locks = 44
  side = np.linspace(-1, 1, locks) + rng.normal(0, 0.03, locks)
  around = (side * 9.0) % AROUND
  rows = skull.hairline(around) * rng.uniform(0.72, 0.97, locks)
  sway = rng.normal(0, 0.08, (locks, 3))

  def field(q: np.ndarray, normals: np.ndarray, arc: float) -> np.ndarray:
    ahead = np.stack([0.25 * q[:, 0] / 0.07, np.full(locks, -0.8), np.full(locks, 0.6)], 1)
    return ahead - 0.7 * normals * (ahead * normals).sum(1, keepdims=True) + sway

  lift = rng.uniform(0.007, 0.014, locks)
  curves = grow(skull, around, rows, field, lift=lift, steps=22, hug=0.7, spread=0.5, rise=0.018)
  curves, kept = cut_curves(skull, curves, cut, np.full(locks, 0.13), rng, jitter=0.06, points=7)
  v = np.linspace(0, 1, 7)
  shade = (0.8 + 0.2 * (lift[kept] - 0.007) / 0.007)[:, None] * (0.8 + 0.2 * smoothstep(0, 0.4, v))[None]
  width = 0.0085 * skull.scale * rng.uniform(0.8, 1.25, len(kept))
  return ribbons(curves, width, mass_normal(curves, skull.centre), rng=rng, shade=shade, tip=0.2)


def _anchor(skull: Skull, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The scalp point and normal in a direction from the skull's centre."""
  rays = unit(skull.points.reshape(-1, 3) - skull.centre)
  best = np.argmax(rays @ direction)
  return skull.points.reshape(-1, 3)[best], skull.normals.reshape(-1, 3)[best]


def _hang(skull: Skull, start: np.ndarray, normal: np.ndarray, length: float, radius: float) -> np.ndarray:
  """The middle line (S, 3) of a tail: out of the tie, then down, staying a radius away from the body."""
  point, direction, points = start.copy(), unit(normal), [start]
  for k in range(int(length / STEP)):
    pull = 0.16 + 0.2 * min(k * STEP / 0.04, 1.0)
    direction = unit((1 - pull) * direction + pull * np.array([0.0, -1.0, 0.0]))
    point = point + direction * STEP * skull.scale
    gap, out = skull.distance(point[None])
    clear = 0.75 * radius * skull.scale * min(1.0, (k + 3) / 8)
    out = unit(out[0] * [1.0, 0.3, 1.0])
    point = point + out * max(clear - gap[0], 0.0) * 0.7
    points.append(point)
  line = np.stack(points)
  for _ in range(4):
    line[1:-1] = 0.5 * line[1:-1] + 0.25 * (line[:-2] + line[2:])
  return line


def _frame(line: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Tangent and two directions across a curve (K, 3), carried along without twist."""
  tangent = curve_tangents(line)
  a = np.zeros_like(line)
  across = np.cross(normal, tangent[0])
  across = across if np.linalg.norm(across) > 0.1 else np.cross([1.0, 0.0, 0.0], tangent[0])
  for k in range(len(line)):
    across = unit(across - tangent[k] * (across @ tangent[k]))
    a[k] = across
  return tangent, a, np.cross(tangent, a)


def _tie(line: np.ndarray, normal: np.ndarray, at: int, radius: float) -> SurfacePart:
  """A soft ring around the tail."""
  _, a, b = _frame(line, normal)
  ring, tube = np.linspace(0, 2 * np.pi, 18, endpoint=False), np.linspace(0, 2 * np.pi, 8, endpoint=False)
  radial = np.cos(ring)[:, None] * a[at] + np.sin(ring)[:, None] * b[at]
  forward = np.cross(a[at], b[at])
  normals = np.cos(tube)[None, :, None] * radial[:, None] + np.sin(tube)[None, :, None] * forward
  vertices = line[at] + radius * radial[:, None] + 0.38 * radius * normals
  rows = np.concatenate([vertices, vertices[:1]]), np.concatenate([normals, normals[:1]])
  return surface_part(
    rows[0].reshape(-1, 3),
    grid_faces(19, 8, wrap=True),
    normals=rows[1].reshape(-1, 3),
    layer=1.0,
    shade=0.9,
    two_sided=True,
  )


def _tail(
  skull: Skull, style: Gathered, point: np.ndarray, normal: np.ndarray, rng: np.random.Generator
) -> list[SurfacePart]:
  """Loose hair from a tie."""
  locks, along = 60 if len(style.anchors) == 1 else 32, 9
  start = point + normal * style.lift * skull.scale
  line = _hang(skull, start, normal, style.tail_length, style.tail_radius)
  line = resample(line[None], np.array([9.0]), along * 2)[0]
  tie = _tie(line, normal, 2, 0.5 * style.tail_radius * skull.scale)
  v = np.linspace(0, 1, along)
  spread = np.sqrt((np.arange(locks) + 0.5) / locks)
  angle = np.arange(locks) * 2 * np.pi * 0.618 + rng.uniform(0, 6)
  girth = (
    style.tail_radius * skull.scale * (0.42 + 0.58 * smoothstep(0.05, 0.45, v)) * (1 - 0.55 * smoothstep(0.5, 1, v))
  )
  _, a, b = _frame(line, normal)
  reach = rng.uniform(0.78, 1.0, locks)
  steps = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
  curves = resample(np.broadcast_to(line, (locks, *line.shape)), reach * steps, along)
  index = np.clip(np.round(reach[:, None] * v[None] * (len(line) - 1)).astype(int), 0, len(line) - 1)
  turn = angle[:, None] + 0.5 * v[None] * rng.normal(0, 0.6, locks)[:, None]
  radial = np.cos(turn)[..., None] * a[index] + np.sin(turn)[..., None] * b[index]
  curves = curves + radial * (spread[:, None] * girth[None])[..., None]
  gap, push = skull.distance(curves.reshape(-1, 3))
  curves += (np.maximum(0.004 * skull.scale - gap, 0)[:, None] * push).reshape(curves.shape)
  shade = (0.6 + 0.4 * spread)[:, None] * (0.85 + 0.15 * v)[None]
  width = 0.009 * skull.scale * rng.uniform(0.8, 1.2, locks)
  return [tie, ribbons(curves, width, radial, rng=rng, shade=shade, tip=0.1, root=0.8)]


def _tubes(curves: np.ndarray, radius: np.ndarray, rng: np.random.Generator, *, sides: int = 6) -> SurfacePart:
  """Round strands: curves (L, K, 3) with radii (L, K)."""
  locks, along = curves.shape[:2]
  frames = [_frame(c, np.array([0.0, 0.3, 1.0])) for c in curves]
  a, b = np.stack([f[1] for f in frames]), np.stack([f[2] for f in frames])
  angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
  normals = np.cos(angle)[None, None, :, None] * a[:, :, None] + np.sin(angle)[None, None, :, None] * b[:, :, None]
  vertices = curves[:, :, None] + radius[..., None, None] * normals
  tangent = np.broadcast_to(curve_tangents(curves)[:, :, None], vertices.shape)
  u = np.abs(angle - np.pi) / np.pi * radius.max() * 2200 + rng.uniform(0, 1000, (locks, 1, 1))
  v = np.linspace(0, 1, along)
  coord = np.stack([np.broadcast_to(u, vertices.shape[:3]), np.broadcast_to(v[None, :, None], vertices.shape[:3])], -1)
  return surface_part(
    vertices.reshape(-1, 3),
    repeat_faces(grid_faces(along, sides, wrap=True)[:, ::-1], locks, along * sides),
    normals=normals.reshape(-1, 3),
    tangent=tangent.reshape(-1, 3),
    coord=coord.reshape(-1, 2),
    shade=0.92,
    tint=np.repeat(rng.uniform(-0.4, 0.4, locks), along * sides),
    two_sided=True,
  )


def _plait(
  skull: Skull, style: Gathered, point: np.ndarray, normal: np.ndarray, rng: np.random.Generator
) -> list[SurfacePart]:
  """A three-strand plait with a tuft below its lower tie."""
  along = 44
  start = point + normal * style.lift * skull.scale
  line = _hang(skull, start, normal, style.tail_length, style.tail_radius)
  steps = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
  line = resample(line[None], np.array([0.88 * steps]), along)[0]
  _, a, b = _frame(line, normal)
  size = style.tail_radius * skull.scale
  v = np.linspace(0, 1, along)
  taper = (0.55 + 0.45 * smoothstep(0, 0.15, v)) * (1 - 0.45 * smoothstep(0.3, 1.0, v))
  bends = style.tail_length / (style.tail_radius * 3.4)
  phase = 2 * np.pi * (bends * v[None] + np.arange(3)[:, None] / 3)
  curves = (
    line[None]
    + (0.5 * size * taper * np.sin(phase))[..., None] * a
    + (0.3 * size * taper * np.sin(2 * phase))[..., None] * b
  )
  strands = _tubes(curves, np.broadcast_to(0.56 * size * taper, (3, along)), rng)
  tuft = dataclasses.replace(style, tail_length=0.04, tail_radius=0.6 * style.tail_radius)
  end = line[-1]
  tie = _tie(line, normal, along - 3, 0.42 * size)
  top = _tie(line, normal, 2, 0.62 * size)
  return [strands, tie, top, *_tuft(skull, tuft, end, unit(line[-1] - line[-4]), rng)]


def _tuft(
  skull: Skull, style: Gathered, point: np.ndarray, direction: np.ndarray, rng: np.random.Generator
) -> list[SurfacePart]:
  locks, along = 14, 6
  angle = np.arange(locks) * 2 * np.pi * 0.618
  v = np.linspace(0, 1, along)
  helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
  a = unit(np.cross(direction, helper))
  b = np.cross(direction, a)
  radial = np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
  girth = style.tail_radius * skull.scale * np.sin(np.pi * (0.2 + 0.75 * v))
  length = style.tail_length * skull.scale * rng.uniform(0.75, 1.0, locks)
  curves = point + direction * (length[:, None] * v)[..., None] + radial[:, None] * (girth * 0.8)[None, :, None]
  outward = np.broadcast_to(radial[:, None], curves.shape)
  return [ribbons(curves, np.full(locks, 0.006 * skull.scale), outward, rng=rng, shade=np.full((locks, along), 0.9))]


def _bun(
  skull: Skull, style: Gathered, point: np.ndarray, normal: np.ndarray, rng: np.random.Generator
) -> list[SurfacePart]:
  """A ball of wound locks."""
  radius = style.tail_radius * skull.scale
  centre = point + normal * (0.72 * radius + style.lift * skull.scale)
  locks, along = 34 if len(style.anchors) > 1 else 60, 10
  helper = np.array([0.0, 1.0, 0.0]) if abs(normal[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
  a = unit(np.cross(normal, helper))
  b = np.cross(normal, a)
  v = np.linspace(0, 1, along)
  polar = np.pi * (0.86 - 0.8 * v)[None] * np.ones((locks, 1))
  spin = (np.arange(locks) / locks * 2 * np.pi)[:, None] + 2.6 * v[None] + rng.normal(0, 0.12, locks)[:, None]
  ball = (np.sin(polar) * np.cos(spin))[..., None] * a + (np.sin(polar) * np.sin(spin))[..., None] * b
  ball = ball + np.cos(polar)[..., None] * normal
  size = radius * rng.uniform(0.92, 1.06, locks)
  curves = centre + size[:, None, None] * ball * [1.0, 1.0, 1.0]
  shade = 0.62 + 0.38 * smoothstep(0.0, 0.35, v)[None] * rng.uniform(0.85, 1.0, locks)[:, None]
  width = np.full(locks, radius * 0.33)
  return [ribbons(curves, width, unit(ball), rng=rng, shade=shade, root=0.8, tip=0.25, bulge=0.4)]


TAILS = {"tail": _tail, "plait": _plait, "bun": _bun}

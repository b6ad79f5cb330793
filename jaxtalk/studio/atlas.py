"""One texture a person: skin, eye, hair, cloth and a few swatches, painted with NumPy from the person's look.

The atlas is (SIZE, SIZE) uint32, one packed sRGB colour a texel, so that a sample costs a single gather. Skin has its
own coordinates: angle around the head and height on the *base* mesh, so that a feature painted once lies in the same
place on everybody, and moves with the mesh.
"""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxtalk.core import Person
from jaxtalk.studio.eyes import IRIS_SIN
from jaxtalk.studio.head import load_asset
from jaxtalk.studio.person import CLOTHES_COLOURS, EYE_COLOURS, HAIR_COLOURS, SKIN_TONES

SIZE = 1024
SKIN = 768  # the skin is the square at the origin
HALF_ANGLE = np.radians(118)
TOP, BOTTOM = 0.135, -0.215  # height range in metres about the eyes of the base mesh
AXIS_Z = 0.045  # the axis of the cylinder on the base mesh
RADIUS = 0.085  # metres of arc per radian, for painting in millimetres
BLOCK = 256
EYE_AT, HAIR_AT, CLOTH_AT = (768, 0), (768, 256), (768, 512)
WRAP = 4096  # texels beyond this repeat within a block, so that hair and cloth may have coordinates of any size
SWATCHES = ("teeth", "gum", "tongue", "mouth", "lash", "trim", "bib", "button")
BIBS = ((58, 82, 128), (86, 98, 120), (122, 92, 66), (150, 70, 74), (70, 110, 92))  # dungarees: denims and cords
_TEXEL = np.array([2 * HALF_ANGLE * RADIUS, TOP - BOTTOM]) / SKIN  # metres


def to_linear(srgb: np.ndarray) -> np.ndarray:
  """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
  return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> np.ndarray:
  linear = np.clip(linear, 0, 1)
  return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def skin_uv(base: np.ndarray) -> np.ndarray:
  """Texture coordinates (K, 2) in texels of points (K, 3) on the base mesh, metres about its eyes' height."""
  angle = np.arctan2(base[:, 0], base[:, 2] - AXIS_Z)
  u = (angle / HALF_ANGLE * 0.5 + 0.5) * (SKIN - 1)
  v = (TOP - base[:, 1]) / (TOP - BOTTOM) * (SKIN - 1)
  return np.clip(np.stack([u, v], 1), 1, SKIN - 2).astype(np.float32)


@functools.lru_cache(maxsize=1)
def base_about_eyes() -> np.ndarray:
  """(K, 3) base vertices with y = 0 at the eyes."""
  asset = load_asset()
  k = asset.num_vertices
  out = asset.base[:k].copy()
  out[:, 1] -= asset.base[k + asset.joint_names.index("l-eye"), 1]
  return out


@functools.lru_cache(maxsize=1)
def landmark_uv() -> np.ndarray:
  """(68, 2) texels."""
  return skin_uv(base_about_eyes()[load_asset().landmarks])


def swatch_uv(name: str) -> np.ndarray:
  """(2,) texel in the middle of a swatch."""
  return np.array([16 + 32 * SWATCHES.index(name), SKIN + 16], np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
  """Smooth noise with unit variance and features of about ``scale`` texels."""
  small = (max(2, int(shape[0] / scale) + 2), max(2, int(shape[1] / scale) + 2))
  grid = Image.fromarray(rng.normal(size=small).astype(np.float32))
  out = np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
  return out / max(float(out.std()), 1e-6)


def _blob(centre, radius_mm: float, squash: float = 1.0) -> np.ndarray:
  """(SKIN, SKIN) Gaussian bump about a texel, radius in millimetres; ``squash`` > 1 flattens it."""
  y, x = np.mgrid[0:SKIN, 0:SKIN].astype(np.float32)
  dx = (x - centre[0]) * _TEXEL[0] * 1e3 / radius_mm
  dy = (y - centre[1]) * _TEXEL[1] * 1e3 / radius_mm * squash
  return np.exp(-0.5 * (dx * dx + dy * dy))


def _spline(points: np.ndarray, closed: bool, per: int = 12) -> np.ndarray:
  """Catmull-Rom curve through (N, 2) points."""
  p = np.concatenate([points[-1:], points, points[:2]]) if closed else np.concatenate([points[:1], points, points[-1:]])
  t = np.linspace(0, 1, per, endpoint=False)[:, None]
  out = []
  for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
    out.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
  return np.concatenate([*out, points[:1] if closed else points[-1:]])


def _mask(draw_on, blur_texels: float, box: tuple[int, int, int, int], over: int = 3) -> np.ndarray:
  """(SKIN, SKIN) in [0, 1]: what ``draw_on(draw, to_canvas)`` draws within ``box`` (x0, y0, x1, y1), anti-aliased."""
  x0, y0, x1, y1 = box
  image = Image.new("L", ((x1 - x0) * over, (y1 - y0) * over))
  draw_on(ImageDraw.Draw(image), lambda p: [tuple(q) for q in (np.asarray(p) - (x0, y0)) * over])
  if blur_texels:
    image = image.filter(ImageFilter.GaussianBlur(blur_texels * over))
  out = np.zeros((SKIN, SKIN), np.float32)
  out[y0:y1, x0:x1] = np.asarray(image.resize((x1 - x0, y1 - y0), Image.Resampling.BOX), np.float32) / 255
  return out


def _box(points: np.ndarray, margin: int) -> tuple[int, int, int, int]:
  low, high = points.min(0).astype(int) - margin, points.max(0).astype(int) + margin
  return int(max(low[0], 0)), int(max(low[1], 0)), int(min(high[0], SKIN)), int(min(high[1], SKIN))


@functools.lru_cache(maxsize=1)
def feature_masks() -> dict[str, np.ndarray]:
  """Masks that are the same for everybody: lips, lips' seam, lid lines, blush, shadow under the eyes."""
  uv = landmark_uv()
  outer = uv[48:60]
  seam = uv[[60, 61, 62, 63, 64]]
  lips = _mask(lambda d, c: d.polygon(c(_spline(outer, True)), fill=255), 1.3, _box(outer, 16))
  line = _mask(lambda d, c: d.line(c(_spline(seam, False)), fill=255, width=4), 1.4, _box(outer, 16))
  upper_lids = np.zeros((SKIN, SKIN), np.float32)
  lower_lids = np.zeros((SKIN, SKIN), np.float32)
  bags = np.zeros((SKIN, SKIN), np.float32)
  for top, bottom in (([36, 37, 38, 39], [36, 41, 40, 39]), ([42, 43, 44, 45], [42, 47, 46, 45])):
    box = _box(uv[top + bottom], 30)
    upper_lids += _mask(lambda d, c, t=top: d.line(c(_spline(uv[t], False)), fill=255, width=9), 1.3, box)
    lower_lids += _mask(lambda d, c, b=bottom: d.line(c(_spline(uv[b], False)), fill=255, width=5), 1.2, box)
    bags += _blob(uv[bottom].mean(0) + (0, 12), 9, 2.2)
  cheeks = sum(_blob(0.45 * uv[e] + 0.55 * uv[m] + (s * 34, 4), 15) for e, m, s in ((36, 48, -0.6), (45, 54, 0.6)))
  ears = sum(_blob((0.5 + s * 0.30, 0) * np.array([SKIN, 0]) + (0, uv[2, 1] - 45), 22) for s in (-1, 1))
  return {
    "lips": lips,
    "seam": line,
    "upper_lids": np.clip(upper_lids, 0, 1),
    "lower_lids": np.clip(lower_lids, 0, 1),
    "bags": np.clip(bags, 0, 1),
    "cheeks": np.clip(cheeks, 0, 1),
    "nose": _blob(uv[30] + (0, 4), 9),
    "chin": _blob(uv[8] + (0, -14), 10),
    "ears": np.clip(ears, 0, 1),
  }


def brow_mask(rng: np.random.Generator, thickness: float, density: float) -> np.ndarray:
  """Eyebrows as a few hundred hair strokes that lean outwards, over a soft shadow."""
  uv = landmark_uv()
  out = np.zeros((SKIN, SKIN), np.float32)
  for ids, side in (((21, 20, 19, 18, 17), -1.0), ((22, 23, 24, 25, 26), 1.0)):
    spine = _spline(uv[list(ids)], False, 20)
    box = _box(spine, 30)
    along = np.linspace(0, 1, len(spine))
    half = thickness * 7.0 * np.clip(np.minimum(0.55 + 2.2 * along, 1.9 * (1.02 - along)), 0.12, 1.0)
    tangent = np.gradient(spine, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)

    def strokes(draw, canvas, spine=spine, half=half, tangent=tangent, side=side):
      for _ in range(int(430 * density)):
        i = int(rng.integers(len(spine)))
        offset = rng.normal() * 0.45
        if abs(offset) > 1:
          continue
        normal = np.array([tangent[i, 1], -tangent[i, 0]]) * side
        start = spine[i] + normal * offset * half[i]
        lean = 0.35 + 0.75 * i / len(spine) + 0.15 * rng.normal()
        # Hairs rise at the inner end, lie flat at the outer one, and converge on the spine.
        way = tangent[i] * lean + normal * (0.75 - 0.75 * i / len(spine) - 0.35 * offset)
        way /= np.linalg.norm(way)
        end = start + way * rng.uniform(7, 13)
        draw.line(canvas([start, end]), fill=int(rng.uniform(120, 230)), width=int(rng.integers(2, 4)))

    def shadow(draw, canvas, spine=spine, half=half, tangent=tangent):
      normal = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
      ring = np.concatenate([spine + normal * half[:, None] * 0.75, (spine - normal * half[:, None] * 0.75)[::-1]])
      draw.polygon(canvas(ring), fill=255)

    hair, under = _mask(strokes, 0.35, box), _mask(shadow, 3.0, box)
    out = np.maximum(out, np.clip(hair * 0.85 + 0.42 * under, 0, 1))
  return out


def freckle_mask(rng: np.random.Generator, amount: float) -> np.ndarray:
  """Small soft dots on nose and cheeks."""
  masks = feature_masks()
  where = np.clip(masks["cheeks"] + 0.9 * masks["nose"] + 0.25 * masks["bags"], 0, 1)
  uv = landmark_uv()
  box = _box(uv[[0, 16, 27, 33]], 10)

  def dots(draw, canvas):
    for _ in range(int(900 * amount)):
      x, y = rng.uniform(box[0], box[2]), rng.uniform(box[1], box[3])
      if rng.random() < where[int(y), int(x)] ** 0.7:
        r = rng.uniform(0.7, 1.9)
        draw.ellipse([*canvas([(x - r, y - r)]), *canvas([(x + r, y + r)])], fill=int(rng.uniform(60, 190)))

  return _mask(dots, 0.4, box)


def skin_albedo(tone: int) -> np.ndarray:
  """Linear albedo (3,) of a Monk tone. The swatches are flat and greyish; living skin is warmer and never white."""
  colour = to_linear(np.array(SKIN_TONES[tone - 1]) / 255)
  luminance = float(colour @ (0.2126, 0.7152, 0.0722))
  # Hue of skin: the lighter the rosier, from brown at the dark end; the tone sets how light it is.
  rosy = np.array([1.36, 0.95, 0.68])
  brown = np.array([1.62, 0.88, 0.52])
  share = np.clip((luminance - 0.05) / 0.55, 0, 1)
  hue = brown + (rosy - brown) * share
  hue /= hue @ (0.2126, 0.7152, 0.0722)
  level = 0.028 + 0.52 * luminance**0.92
  return np.clip(0.3 * colour / luminance + 0.7 * hue, 0, None) * level


def paint_skin(person: Person, rng: np.random.Generator) -> np.ndarray:
  """(SKIN, SKIN, 3) linear albedo."""
  tone = person.look["skin"]
  base = skin_albedo(tone)
  masks = feature_masks()
  fair = float(np.clip((8 - tone) / 6, 0.25, 1))
  shape = (SKIN, SKIN)
  # Blood: a reddening keeps red and takes green and blue; the darker the skin, the less it shows.
  blood = 0.62 * masks["cheeks"] + 0.42 * masks["nose"] + 0.55 * masks["ears"] + 0.22 * masks["chin"]
  blood = blood * (1 + 0.12 * noise(rng, shape, 22)) + 0.05 * noise(rng, shape, 46)
  blood += 0.30 * masks["upper_lids"] + 0.12 * masks["bags"]
  blood = np.clip(blood, -0.2, 1.0)[..., None] * fair
  skin = base * (1 - blood * np.array([0.04, 0.36, 0.34]))
  skin *= 1 - 0.07 * masks["bags"][..., None] * np.array([1.0, 1.0, 0.8])
  skin *= 1 + 0.018 * noise(rng, shape, 2.0)[..., None] + 0.012 * noise(rng, shape, 7)[..., None]
  if person.look["freckles"] > 0.02:
    spots = freckle_mask(rng, person.look["freckles"])[..., None]
    skin *= 1 - spots * np.array([0.30, 0.48, 0.58])
  lip = base * np.array([0.92, 0.52, 0.50]) if tone <= 7 else base * np.array([1.15, 0.78, 0.78]) + 0.012
  lip = lip * (1 + 0.05 * noise(rng, shape, 3)[..., None])
  skin = skin + (lip - skin) * (0.88 * masks["lips"])[..., None]
  skin *= 1 - 0.45 * masks["seam"][..., None] * np.array([0.7, 1.0, 1.0])
  hair = to_linear(np.array(HAIR_COLOURS[person.look["hair_colour"]]) / 255)
  ink = np.minimum(hair * 0.6, base * 0.35)
  lids = 0.62 * masks["upper_lids"] + 0.16 * masks["lower_lids"]
  skin = skin + (ink * 0.5 - skin) * np.clip(lids, 0, 0.8)[..., None]
  light_hair = float(hair.mean()) > 0.12
  brows = brow_mask(rng, person.look["brow_thickness"], 0.8 if light_hair else 1.0)
  brow_ink = np.minimum(hair * 0.75, base * 0.5)
  return skin + (brow_ink - skin) * np.clip(brows * (0.8 if light_hair else 0.92), 0, 1)[..., None]


def paint_eye(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """(BLOCK, BLOCK, 3) linear: sclera, limbal ring, iris with fibres, pupil; coordinates as in `eyes.posed`, +-1.4."""
  axis = (np.arange(BLOCK) + 0.5) / BLOCK * 2.8 - 1.4
  x, y = np.meshgrid(axis, -axis)
  r, angle = np.hypot(x, y) / IRIS_SIN, np.arctan2(y, x)
  sclera = np.array([0.80, 0.775, 0.75]) * (1 - 0.10 * np.clip(np.abs(x) - 0.55, 0, 1))[..., None]
  sclera = sclera * (1 - np.array([0.0, 0.10, 0.10]) * np.clip((np.hypot(x, y) - 0.62) / 0.5, 0, 1)[..., None])
  fibres = np.zeros_like(r)
  for k in (17, 31, 53, 71):
    fibres += np.sin(angle * k + rng.uniform(0, 6.3) + 2.2 * r * rng.normal()) / k**0.35
  iris = to_linear(colour / 255) * (1.25 + 0.30 * fibres[..., None] / 2.2)
  collar = np.exp(-(((r - 0.50) / 0.13) ** 2))[..., None]
  iris = iris * (1 + np.array([0.55, 0.38, 0.12]) * collar)
  # Light gathers in the lower half of an iris under a key light from above.
  iris = iris * (0.85 + 0.75 * np.clip(-y / IRIS_SIN, 0, 1) * np.clip(1 - r, 0, 1))[..., None]

  def step(edge: float, width: float) -> np.ndarray:
    return np.clip((r - edge) / width + 0.5, 0, 1)[..., None]

  iris = iris * (1 - 0.75 * step(0.93, 0.2)) * (0.02 + 0.98 * step(0.40, 0.07))
  return np.clip(iris + (sclera - iris) * step(1.0, 0.11), 0.002, 1)


def paint_hair(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """(BLOCK, BLOCK, 3) linear; x is across the strands (periodic), y runs from root to tip."""
  across = np.zeros(BLOCK)
  for k, a in ((5, 0.35), (16, 0.5), (43, 0.7), (90, 0.5)):
    phase = rng.uniform(0, 2 * np.pi, 3)
    for j, p in enumerate(phase):
      across += a * np.sin(2 * np.pi * (k + 3 * j) * np.arange(BLOCK) / BLOCK + p) / 2
  along = np.linspace(0, 1, BLOCK)[:, None]
  gain = 1 + 0.20 * across[None] * (0.6 + 0.4 * along) + 0.22 * (along - 0.4)
  return np.clip(to_linear(colour / 255) * np.clip(gain, 0.35, 1.9)[..., None], 0, 1)


def paint_cloth(person: Person, rng: np.random.Generator) -> np.ndarray:
  """(BLOCK, BLOCK, 3) linear, repeats both ways: plain, striped or dotted knit."""
  main = to_linear(np.array(CLOTHES_COLOURS[person.look["clothes_colour"]]) / 255)
  y, x = np.mgrid[0:BLOCK, 0:BLOCK] / BLOCK
  weave = 1 + 0.035 * np.sin(2 * np.pi * 42 * x) * np.sin(2 * np.pi * 42 * y) + 0.02 * rng.normal(size=(BLOCK, BLOCK))
  kind = rng.choice(4, p=(0.45, 0.3, 0.1, 0.15))
  second = np.clip(main * 0.35 + 0.55, 0, 1) if main.mean() < 0.4 else main * 0.45
  blend = np.zeros((BLOCK, BLOCK))
  if kind == 1:
    blend = np.clip((np.sin(2 * np.pi * 4 * y) - 0.15) * 14, 0, 1)
  elif kind == 2:
    blend = np.clip((np.sin(2 * np.pi * 2 * y) - 0.55) * 14, 0, 1)
  elif kind == 3:
    dx, dy = (x * 5 + 0.5 * (np.floor(y * 5) % 2)) % 1 - 0.5, (y * 5) % 1 - 0.5
    blend = np.clip((0.2 - np.hypot(dx, dy)) * 22, 0, 1)
  colour = main + (second - main) * (0.85 * blend)[..., None]
  return np.clip(colour * weave[..., None], 0, 1)


def paint(person: Person) -> np.ndarray:
  """The person's atlas (SIZE, SIZE) uint32: red in the low byte, then green, then blue; square-root coded."""
  rng = np.random.default_rng(np.random.SeedSequence([person.seed, 0x7E]))
  hair = np.array(HAIR_COLOURS[person.look["hair_colour"]], float)
  canvas = np.zeros((SIZE, SIZE, 3), np.float32)
  canvas[:SKIN, :SKIN] = paint_skin(person, rng)
  for (x, y), block in (
    (EYE_AT, paint_eye(np.array(EYE_COLOURS[person.look["eye_colour"]], float), rng)),
    (HAIR_AT, paint_hair(hair * rng.uniform(0.9, 1.12), rng)),
    (CLOTH_AT, paint_cloth(person, rng)),
  ):
    canvas[y : y + BLOCK, x : x + BLOCK] = block
  cloth = canvas[CLOTH_AT[1] : CLOTH_AT[1] + BLOCK, CLOTH_AT[0] : CLOTH_AT[0] + BLOCK].mean((0, 1))
  trim = cloth * 0.72 if cloth.mean() > 0.2 else cloth * 1.5 + 0.03
  swatches = {
    "teeth": (0.88, 0.82, 0.72),
    "gum": (0.48, 0.16, 0.15),
    "tongue": (0.52, 0.17, 0.16),
    "mouth": (0.30, 0.07, 0.06),
    "lash": tuple(np.minimum(to_linear(hair / 255) * 0.35, 0.02)),
    "trim": tuple(trim),
    "bib": tuple(to_linear(np.array(BIBS[int(rng.integers(len(BIBS)))]) / 255)),
    "button": (0.55, 0.53, 0.5),
  }
  for name, colour in swatches.items():
    x, y = swatch_uv(name).astype(int)
    canvas[y - 16 : y + 16, x - 16 : x + 16] = colour
  # Square-root coding: eight bits suffice, and decoding is one multiplication.
  rgb = np.round(np.sqrt(np.clip(canvas, 0, 1)) * 255).astype(np.uint32)
  return rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16

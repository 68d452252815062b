"""Colour: what skin, eyes, teeth, hair, cloth and the background look like before light falls on them.

Everything is painted from its place on the template head, so textures follow every deformation and have no resolution
of their own. Colours are linear RGB triples. All functions are parts of the painter's kernel and see one sample.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from swaplib.synthetic.compiled import (
    add,
    bump,
    clamp,
    cross,
    dot,
    interpolate,
    minus,
    mix,
    noise,
    normalize,
    part,
    scale,
    smoothstep,
    times,
    tint,
    triple,
)
from swaplib.synthetic.hair import beard_cover


@part
def _linear(value):
    """Turn one sRGB value into a linear one."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _rgb(code: str) -> tuple[float, float, float]:
    """Turn hexadecimal sRGB into linear RGB."""
    return tuple(_linear.py_func(int(code[k : k + 2], 16) / 255) for k in (0, 2, 4))


# Skin tones from the lightest to the deepest, evenly spaced in `tone`.
_TONES = np.array([
    _rgb(code) for code in ("dfbaa6", "d5ab93", "c99b81", "ba8a70", "a8775d", "93654d", "7f5640", "6d4937", "5c3e2e")
])  # fmt: skip
# Hair from no eumelanin (platinum) to much (black), evenly spaced; and hair without pigment.
_MELANIN = np.array((
    (0.66, 0.53, 0.34), (0.47, 0.335, 0.185), (0.23, 0.148, 0.083), (0.088, 0.053, 0.031), (0.036, 0.023, 0.016),
    (0.013, 0.011, 0.010),
))  # fmt: skip
_WHITE_HAIR = (0.46, 0.44, 0.415)
_IRISES = np.array([_rgb(code) for code in ("38200f", "5b3a1e", "675f38", "586d70", "617688")])
_FRAMES = np.array([_rgb(code) for code in ("14110f", "2b1a12", "5a4632", "3c3f45", "20262e")])
_SCLERA, _VEINS = tuple(0.58 * value for value in _rgb("e9e1dc")), (0.80, 0.60, 0.56)
_IVORY, _GUM = tuple(0.92 * value for value in _rgb("efe6d6")), _rgb("b8686a")


@part
def hsv(hue, saturation, value):
    """Turn hue, saturation and value in 0…1 into linear RGB."""
    red = clamp(abs((hue % 1.0) * 6.0 - 3.0) - 1.0, 0.0, 1.0)
    green = clamp(abs(((hue + 2.0 / 3.0) % 1.0) * 6.0 - 3.0) - 1.0, 0.0, 1.0)
    blue = clamp(abs(((hue + 1.0 / 3.0) % 1.0) * 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return (
        _linear(clamp(value * (1.0 - saturation * (1.0 - red)), 0.0, 1.0)),
        _linear(clamp(value * (1.0 - saturation * (1.0 - green)), 0.0, 1.0)),
        _linear(clamp(value * (1.0 - saturation * (1.0 - blue)), 0.0, 1.0)),
    )


# --------------------------------------------------------------------------------------------------- the palette


class Palette(NamedTuple):
    """The colours of one picture that don't vary over it."""

    skin: tuple[float, float, float]
    lips: tuple[float, float, float]
    eyeshadow: tuple[float, float, float]
    iris: tuple[float, float, float]
    scalp: tuple[float, float, float]  # hair at its roots
    strands: tuple[float, float, float]  # hair before it turns grey
    brow: tuple[float, float, float]
    beard: tuple[float, float, float]
    cloth: tuple[float, float, float]
    frame: tuple[float, float, float]


@part
def choose_palette(skin, hair, glasses, body):
    base = _between(_TONES, skin.tone * (len(_TONES) - 1.0))
    base = tint(base, (0.04, 0.0, -0.06), skin.undertone)
    melanin = max(0.38 + 0.5 * skin.brow_darkness, 0.45 + 0.5 * skin.tone)
    warmth, grey = 0.15 + 0.45 * skin.brow_warmth, smoothstep(0.62, 0.95, skin.age)
    return Palette(
        base,
        _lip_colour(skin, base),
        hsv(skin.eyeshadow_hue, 0.5, 0.9),
        scale(_between(_IRISES, clamp(skin.iris_hue, 0.0, 1.0) * (len(_IRISES) - 1.0)), 0.55 + 0.5 * skin.iris_light),
        _hair_colour(hair.melanin, hair.redness, hair.grey),
        _hair_colour(hair.melanin, hair.redness, 0.0),
        _hair_colour(melanin, warmth, grey * 0.6),
        _hair_colour(melanin, warmth, grey * 0.9),
        hsv(body.hue, body.saturation * 0.5, 0.12 + 0.78 * body.brightness),
        triple(_FRAMES, min(int(glasses.colour * len(_FRAMES)), len(_FRAMES) - 1)),
    )


@part
def _between(stops, position):
    """Blend the two stops next to a position."""
    low = min(int(position), len(stops) - 2)
    return mix(triple(stops, low), triple(stops, low + 1), position - low)


@part
def _lip_colour(skin, base):
    natural = scale(add(times(base, (0.80, 0.53, 0.56)), (0.03, 0.008, 0.012)), 0.85 + 0.3 * skin.lip_colour)
    stick = hsv((0.93 + 0.11 * skin.lipstick_hue) % 1.0, 0.72, 0.45 + 0.35 * skin.lip_colour)
    return mix(natural, stick, 0.75 * skin.lipstick)


@part
def _hair_colour(melanin, redness, grey):
    base = _between(_MELANIN, clamp(melanin, 0.0, 0.999) * (len(_MELANIN) - 1.0))
    ginger = scale((1.45, 0.62, 0.30), (base[0] + base[1] + base[2]) / 3.0)
    return mix(mix(base, ginger, redness), _WHITE_HAIR, grey)


# ----------------------------------------------------------------------------------------------------------- skin


# The rim of the upper lid, where lashes darken it: height over the distance from the midline (dm, template).
_LID = np.array(((0.200, 7.275), (0.218, 7.305), (0.271, 7.328), (0.332, 7.336), (0.402, 7.326), (0.430, 7.288)))


class Place(NamedTuple):
    """A place on the skin and what several layers share there: two noises of two values each."""

    x: float
    y: float
    z: float
    aside: float  # distance from the midline
    front: float
    coarse: tuple[float, float]
    fine: tuple[float, float]
    shifted: tuple[float, float, float]  # where this person's noise is


@part
def _spot(place, cx, cy, rx, ry):
    """Return a soft elliptic spot on both sides of the face."""
    return bump(place.aside, place.y, cx, cy, rx, ry)


@part
def paint_skin(skin, hair, palette, volume, template, lips, ears, scalp, brow, weakest):
    """Return colour and shine of skin, lips and the roots of hair at a template place.

    scalp, brow: the cover of hair and brow there; weakest: strength of the finest variation that the picture can show.
    """
    x, y, z = template
    seed = skin.texture_seed - 97.0 * math.floor(skin.texture_seed / 97.0)
    shifted = (x + seed, y + seed, z + seed)
    coarse, fine = noise(volume, shifted, 2.2, 0.5), noise(volume, shifted, 14.0, weakest)
    place = Place(x, y, z, abs(x), smoothstep(0.7, 1.2, z), coarse, fine, shifted)
    colour = scale(palette.skin, 1.0 + 0.05 * coarse[0] + 0.055 * fine[0])
    colour = tint(colour, (0.03, -0.05, -0.05), fine[1])
    colour = _add_spots(skin, place, volume, _add_blood(skin, place, colour, ears))
    colour = tint(colour, (-0.55, -0.68, -0.70), _line_depth(skin, place))
    shine = 0.55 + 0.5 * bump(place.aside, y, 0.0, 7.3, 0.25, 0.6) + 0.3 * _spot(place, 0.42, 7.05, 0.16, 0.1)
    shine *= skin.shine
    amount = smoothstep(0.18, 0.72, lips + 0.06 * fine[1])
    if amount > 0:
        colour = mix(colour, scale(palette.lips, 1.0 + 0.10 * fine[0]), amount * (0.78 + 0.16 * skin.lipstick))
        shine += amount * (0.25 + 0.6 * skin.lipstick)
    if place.front > 0 and 7.25 < y < 7.36:
        colour = _add_eyeshadow(skin, palette, place, colour)
        line = math.exp(-(((y - interpolate(_LID, place.aside)) / 0.010) ** 2)) if 0.2 < place.aside < 0.43 else 0.0
        colour = mix(colour, (0.015, 0.010, 0.008), (0.7 + 0.25 * smoothstep(0.0, 0.3, skin.eyeshadow)) * line)
    return _add_roots(skin, hair, palette, place, colour, scalp, brow), shine


@part
def _add_blood(skin, place, colour, ears):
    """Add the blood under cheeks, nose, ears, chin and lids: visible on light skin, a deeper tone on dark skin."""
    red = 0.75 * _spot(place, 0.40, 6.95, 0.20, 0.16) + 0.45 * ears
    tired = 0.0
    if place.front > 0:
        red += 0.8 * _spot(place, 0.0, 6.93, 0.16, 0.13) * place.front
        red += 0.35 * _spot(place, 0.0, 6.33, 0.2, 0.12) * place.front
        red += 0.35 * _spot(place, 0.31, 7.28, 0.20, 0.12) * place.front
        tired = (0.25 + 0.75 * skin.age) * _spot(place, 0.30, 7.21, 0.17, 0.07) * place.front
    red = (red * (1.0 - 0.45 * skin.tone) + 0.25 * place.coarse[0]) * skin.redness
    colour = tint(colour, (0.02, -0.16, -0.13), clamp(red, -0.5, 1.5))
    colour = tint(colour, (-0.10, -0.16, -0.12), tired)
    if skin.blush > 0:
        colour = tint(colour, (0.10, -0.26, -0.16), skin.blush * _spot(place, 0.47, 6.98, 0.19, 0.13))
    return colour


@part
def _add_spots(skin, place, volume, colour):
    """Add freckles, moles and blemishes."""
    freckle = 0.0
    if skin.freckles > 0 and place.front > 0:
        where = _spot(place, 0.28, 7.0, 0.34, 0.24) + 0.4 * _spot(place, 0.0, 7.7, 0.5, 0.3)
        grain = noise(volume, add(place.shifted, (31.0, 31.0, 31.0)), 20.0, 1.0)[0]
        freckle = smoothstep(0.35, 0.7, grain) * where * place.front * skin.freckles
    patch = smoothstep(0.55, 0.95, 0.8 * place.coarse[1] + 0.3 * place.fine[1])
    patch *= skin.blemishes * (0.2 + skin.age)
    return tint(colour, (-0.20, -0.32, -0.38), freckle + 0.30 * patch)


@part
def _line_depth(skin, place):
    """Return the depth of wrinkles: on the forehead, between the brows, crow's feet, from nose to mouth."""
    age = max(0.0, skin.age - 0.25) / 0.75
    if age <= 0:
        return 0.0
    x, y = place.aside, place.y
    depth = 0.0
    if place.front > 0:
        wave = 0.05 * place.coarse[1] + 0.02 * math.cos(6.0 * x)
        depth += 0.28 * (math.sin((y + wave) * 62.0) * 0.5 + 0.5) ** 4 * _spot(place, 0.0, 7.80, 0.34, 0.16)
        depth += 0.25 * _spot(place, 0.055, 7.46, 0.012, 0.07)
        fold = math.exp(-(((x - 0.17 - 0.62 * (6.95 - y)) / 0.018) ** 2))
        depth += 0.42 * fold * smoothstep(6.58, 6.68, y) * (1.0 - smoothstep(6.88, 6.96, y))
        depth *= place.front
    fan = math.sin((y - 7.26 - (x - 0.5) * (y - 7.26) * 3.0) * 120.0) * 0.5 + 0.5
    return age * (depth + 0.28 * fan**3 * _spot(place, 0.55, 7.27, 0.06, 0.08))


@part
def _add_eyeshadow(skin, palette, place, colour):
    amount = skin.eyeshadow * smoothstep(7.28, 7.31, place.y) * _spot(place, 0.31, 7.34, 0.19, 0.055) * place.front
    shadow = scale(times(colour, add(palette.eyeshadow, (0.5, 0.5, 0.5))), 0.55)
    return mix(colour, shadow, 0.75 * amount)


@part
def _add_roots(skin, hair, palette, place, colour, scalp, brow):
    """Darken the skin where hair, brows and beard grow out of it."""
    speckle = min(max(0.85 + 0.4 * place.fine[0], 0.0), 1.0)
    if scalp > 0:
        scalp *= smoothstep(0.3, 0.6, hair.density + 0.2 * place.fine[1])
        colour = mix(colour, scale(palette.scalp, 0.6), 0.97 * scalp * math.sqrt(speckle))
    if brow > 0:
        colour = mix(colour, palette.brow, brow * (0.30 + 0.40 * skin.brow_density) * speckle)
    if place.z > 0.3:
        long = skin.beard_length > 0.01 and skin.goatee + skin.moustache > 0
        strength = 0.6 if long else 0.55 * math.sqrt(skin.stubble)
        beard = clamp(beard_cover(skin, (place.x, place.y, place.z)) * strength * speckle, 0.0, 0.9)
        colour = mix(colour, add(scale(palette.beard, 0.8), scale(colour, 0.06)), beard)
    return colour


@part
def vary_strand(hair, palette, seeds):
    """Return the colour of one strand: some are lighter, some turn grey before the others."""
    share = smoothstep(-0.7, 0.7, hair.grey * 1.6 - 0.3 - seeds[0])
    return scale(mix(palette.strands, _WHITE_HAIR, share), 0.82 + 0.36 * seeds[1])


# ------------------------------------------------------------------------------------------------ eyes, mouth, cloth


@part
def paint_eye(palette, offset, gaze, up):
    """Return colour and wetness of an eyeball at a unit offset from its centre, for the direction of its gaze."""
    angle = math.acos(clamp(dot(offset, gaze), -1.0, 1.0))
    share = smoothstep(0.435, 0.495, angle)
    sclera = times(_SCLERA, mix((1.0, 1.0, 1.0), _VEINS, smoothstep(0.55, 1.1, angle)))
    around = math.atan2(dot(offset, up), dot(offset, normalize(cross(up, gaze))))
    rays = 0.5 + 0.25 * math.sin(around * 23.0 + 3.0 * math.sin(around * 5.0)) + 0.25 * math.sin(around * 41.0 + 1.7)
    radius = clamp(angle / 0.46, 0.0, 1.2)
    bright = (0.65 + 0.7 * rays * (0.4 + 0.6 * radius)) * (1.25 - 0.5 * abs(radius - 0.55))
    bright *= 1.0 - 0.9 * dot(minus(offset, gaze), up)  # light gathers opposite to where it enters
    iris = scale(palette.iris, bright * (1.0 - 0.72 * smoothstep(0.82, 1.0, radius)))
    iris = mix(iris, (0.006, 0.006, 0.006), 1.0 - smoothstep(0.33, 0.41, radius))
    return mix(iris, sclera, share), 1.0 - 0.55 * share


@part
def paint_tooth(x, height):
    """Return the colour of teeth by x (dm from the middle) and height: 0 at the edge, 1 in the gum."""
    width = 0.064 if abs(x) < 0.055 else 0.052
    gap = math.cos(x / width * math.pi) ** 48
    root = smoothstep(0.62, 0.78, height + 0.12 * math.cos(x / width * 6.28))
    return mix(scale(_IVORY, 1.0 - 0.6 * gap), _GUM, root)


@part
def paint_cloth(body, palette, volume, place):
    """Return the colour of the garment at a template place."""
    weave = noise(volume, place, 26.0, 1.0)[0]
    folds = noise(volume, (place[0], place[1] * 0.35, place[2]), 3.0, 0.5)[0]
    colour = scale(palette.cloth, 1.0 + 0.06 * weave + 0.10 * folds)
    kind = round(body.pattern)
    if kind == 1:
        stripe = smoothstep(-0.2, 0.2, math.sin(place[1] * 55.0))
        colour = mix(colour, add(scale(colour, 0.55), (0.05, 0.05, 0.05)), stripe * 0.8)
    elif kind == 2:
        check = smoothstep(-0.1, 0.1, math.sin(place[0] * 38.0)) + smoothstep(-0.1, 0.1, math.sin(place[1] * 38.0))
        colour = scale(colour, 1.0 - 0.22 * check)
    return colour


# ------------------------------------------------------------------------------------------------------ background


class Backdrop(NamedTuple):
    """What is the same everywhere behind the head."""

    first: tuple[float, float, float]
    second: tuple[float, float, float]
    other: tuple[float, float, float]
    slope: tuple[float, float]
    seed: float
    edges: np.ndarray  # places of upright and level edges (3,)
    lights: np.ndarray  # lights out of focus: x, y, radius, colour (7, 6)


@part
def set_backdrop(background, volume):
    seed, blur, bright = background.seed % 89.0, background.blur, background.brightness
    edges, lights = np.zeros(3), np.zeros((7, 6))
    for k in range(3):
        edges[k] = 0.9 * noise(volume, (k * 3.7 + seed, 0.5, 0.5), 1.0, 1.0)[0]
    for k in range(7):
        x, y = noise(volume, (k * 5.3 + seed, 1.5, 2.5), 1.0, 1.0)
        tone, wide = noise(volume, (k * 7.7 + seed, 3.5, 0.5), 1.0, 1.0)
        lights[k, 0], lights[k, 1], lights[k, 2] = 1.4 * x, 1.2 * y - 0.2, 0.10 + 0.16 * blur * (0.5 + abs(wide))
        colour = hsv((background.hue2 + 0.2 * tone) % 1.0, background.saturation * 0.9, 0.9)
        lights[k, 3], lights[k, 4], lights[k, 5] = scale(colour, 0.22 * bright)
    darker = clamp(bright * (1.0 - 0.7 * background.contrast), 0.0, 1.0)
    angle = math.radians(background.angle)
    return Backdrop(
        hsv(background.hue, background.saturation, clamp(bright, 0.0, 1.0)),
        hsv(background.hue + 0.12 * (background.hue2 - 0.5), background.saturation * 0.8, darker),
        hsv(background.hue2, background.saturation, bright * 0.8),
        (math.cos(angle), math.sin(angle)),
        seed,
        edges,
        lights,
    )


@part
def _sigmoid(value):
    return 1.0 / (1.0 + math.exp(-value))


@part
def paint_background(background, backdrop, volume, x, y):
    """Return radiance behind the head at picture coordinates in [-1, 1]; developed with the rest."""
    share = smoothstep(-1.3, 1.3, x * backdrop.slope[0] + y * backdrop.slope[1])
    glow = math.exp(-(x * x + (y + 0.1) ** 2) / 0.9)
    colour = scale(mix(backdrop.first, backdrop.second, share), 0.82 + 0.30 * glow)
    kind = round(background.kind)
    if kind == 1:  # blurred foliage or a room far away
        cloud = noise(volume, (x + backdrop.seed, y + backdrop.seed, backdrop.seed), 1.0, 0.25)
        colour = mix(colour, backdrop.other, clamp(0.5 + 0.5 * cloud[0], 0.0, 1.0) * 0.8)
        colour = scale(colour, 1.0 + 0.35 * cloud[1])
    elif kind == 2:  # a wall with a window or a shelf: blurred upright and level edges
        for k in range(3):
            across, sign = (x, 1.0) if k % 2 == 0 else (y, -1.0)
            step = _sigmoid((across - backdrop.edges[k]) / (0.03 + 0.12 * background.blur))
            colour = scale(colour, 1.0 + background.contrast * (step - 0.5) * sign)
    elif kind == 3:  # lights out of focus
        for k in range(len(backdrop.lights)):
            spot = backdrop.lights[k]
            disc = _sigmoid((spot[2] - math.hypot(x - spot[0], y - spot[1])) / 0.02)
            colour = add(colour, scale((spot[3], spot[4], spot[5]), disc))
    return max(colour[0], 0.0) * 1.35, max(colour[1], 0.0) * 1.35, max(colour[2], 0.0) * 1.35

"""Light: key light, sky and rim light of one picture, how materials answer, where shadows fall, and the exposure."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from swaplib.synthetic.compiled import (
    add,
    bare,
    clamp,
    cross,
    dot,
    kernel,
    mix,
    normalize,
    part,
    scale,
    times,
    tint,
    triple,
    turn_back,
)
from swaplib.synthetic.raster import fill_triangles

SHADOW_SIZE, HAIR_SHADOW_SIZE = 112, 96
LIT_WIDTH = 3.4  # dm across a shadow map
# Warmth moves along the daylight locus only: light is amber or faintly blue, never green or magenta.
_AMBER = (0.10, -0.015, -0.16)
_WHITE = (1.0, 1.0, 1.0)
_WRAP = (0.50, 0.28, 0.20)  # how far light bleeds around skin, by channel


class Light(NamedTuple):
    """The lights of one picture: the direction to the key light, and colours and strengths."""

    direction: tuple[float, float, float]
    key: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    rim: float
    exposure: float


@part
def set_up(light):
    """Turn the factors of the light into a `Light`."""
    azimuth, elevation = math.radians(light.azimuth), math.radians(light.elevation)
    flat = math.cos(elevation)
    return Light(
        (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)),
        scale(tint(_WHITE, _AMBER, light.warmth * 1.4), light.strength * 1.95),
        scale(tint(_WHITE, _AMBER, light.sky_warmth), light.fill * 0.50),
        scale((1.0, 0.94, 0.88), light.ground * light.fill * 0.5),
        light.rim,
        0.61 * 2.0**light.exposure,
    )


# ------------------------------------------------------------------------------------------------------ materials


@part
def ambient(light, normal):
    """Return the light of sky and ground on a surface."""
    colour = mix(light.ground, light.sky, clamp(normal[1] * 0.5 + 0.5, 0.0, 1.0))
    return scale(colour, 0.85 + 0.15 * clamp(normal[2], -1.0, 1.0))


@part
def specular(light, normal, view, roughness):
    """Return the GGX highlight with Smith visibility folded into a constant."""
    half = normalize(add(light.direction, view))
    nh, nl = clamp(dot(normal, half), 0.0, 1.0), clamp(dot(normal, light.direction), 0.0, 1.0)
    a2 = roughness**4
    return a2 / max(math.pi * (nh * nh * (a2 - 1.0) + 1.0) ** 2, 1e-6) * nl * 3.0


@part
def _wrap(facing, width):
    """Return the light on a surface into which it seeps `width` beyond the terminator, ending softly."""
    t = clamp((facing + width) / (1.0 + width), 0.0, 1.0)
    return t * (1.0 - width * (1.0 - t))


@part
def shade_skin(light, albedo, normal, view, shadow, occlusion, shine):
    """Shade skin: diffuse, with light bleeding red into the shadow, and two specular lobes."""
    facing = dot(normal, light.direction)
    sky = ambient(light, normal)
    depth = math.log(max(occlusion, 1e-30))
    sky = (
        sky[0] * math.exp(1.1 * depth),
        sky[1] * math.exp(1.5 * depth),
        sky[2] * math.exp(1.7 * depth),
    )
    soft = math.sqrt(shadow)  # red light seeps farther into the shadow than green and blue
    lit = (
        _wrap(facing, _WRAP[0]) * (0.10 + 0.90 * soft),
        _wrap(facing, _WRAP[1]) * (0.05 + 0.35 * soft + 0.60 * shadow),
        _wrap(facing, _WRAP[2]) * (0.04 + 0.20 * soft + 0.76 * shadow),
    )
    diffuse = times(albedo, add(scale(times(lit, light.key), 0.45 + 0.55 * occlusion), sky))
    gloss = specular(light, normal, view, 0.55) * 0.0100 + specular(light, normal, view, 0.38) * 0.0024
    fresnel = (1.0 - clamp(dot(normal, view), 0.0, 1.0)) ** 4
    shiny = add(scale(light.key, gloss * shadow * shine), scale(light.sky, 0.045 * fresnel * occlusion))
    return add(diffuse, shiny)


@part
def shade_hair(light, albedo, tangent, outward, view, shadow, depth, shine):
    """Shade hair: two Kajiya–Kay lobes over a volume that darkens towards the skull."""
    tl, tv = dot(tangent, light.direction), dot(tangent, view)
    sin_l, sin_v = math.sqrt(clamp(1.0 - tl * tl, 0.0, 1.0)), math.sqrt(clamp(1.0 - tv * tv, 0.0, 1.0))
    cosine = sin_l * sin_v - tl * tv
    white = clamp(cosine, 0.0, 1.0) ** 70 * 0.26 * shine
    coloured = clamp(cosine + 0.06, 0.0, 1.0) ** 18 * 0.40 * shine
    facing = clamp(0.5 + 0.5 * dot(outward, light.direction), 0.0, 1.0)
    rim = (1.0 - clamp(dot(outward, view), 0.0, 1.0)) ** 3 * 0.12 * light.rim
    root = (math.sqrt(albedo[0]), math.sqrt(albedo[1]), math.sqrt(albedo[2]))
    diffuse = add(scale(light.key, sin_l * (0.25 + 0.75 * facing) * shadow * 0.9), scale(ambient(light, outward), 0.9))
    gloss = scale(add(scale(_WHITE, white * 0.5), scale(root, coloured * 0.8)), facing * shadow * 0.55)
    colour = add(add(times(albedo, diffuse), times(light.key, gloss)), scale(root, rim))
    return scale(colour, 0.52 + 0.48 * depth)


@part
def shade_plain(light, albedo, normal, shadow, occlusion):
    """Shade what is neither shiny nor translucent."""
    facing = clamp((dot(normal, light.direction) + 0.1) / 1.1, 0.0, 1.0)
    return times(albedo, add(scale(light.key, facing * shadow), scale(ambient(light, normal), occlusion)))


# Contrast in the logarithm of light, around middle grey; below the toe the curve is a straight line.
_CONTRAST = 1.15
_GAIN = 0.18 ** ((1.0 - _CONTRAST) / 2.4)
_TOE = 0.006
_TOE_SLOPE = (1.055 * _GAIN * _TOE ** (_CONTRAST / 2.4) - 0.055) / _TOE


@part
def _develop_channel(value):
    knee = 0.45
    if value > knee:
        value = knee + (1.0 - knee) * (1.0 - math.exp(-(value - knee) / (1.0 - knee)))
    value = clamp(value, 0.0, 1.0)
    if value <= _TOE:
        return value * _TOE_SLOPE
    return 1.055 * _GAIN * np.float32(value) ** np.float32(_CONTRAST / 2.4) - 0.055


@part
def develop(light, radiance):
    """Turn linear radiance into sRGB in 0…1: exposure, then a film-like shoulder."""
    return (
        _develop_channel(radiance[0] * light.exposure),
        _develop_channel(radiance[1] * light.exposure),
        _develop_channel(radiance[2] * light.exposure),
    )


# -------------------------------------------------------------------------------------------------------- shadows


class Shadows(NamedTuple):
    """What the key light sees.

    axes (3, 3): across, up and towards the light, as columns; head (S, S): depth of the head, 0 where there is none;
    hair (s, s, 2): cover and mean depth of the hair, blurred so that strands shade softly;
    spread: how far from a place its shadow is looked up, in samples of `head`
    """

    axes: np.ndarray
    head: np.ndarray
    hair: np.ndarray
    spread: float


def cast_shadows(light: np.void, points: np.ndarray, triangles: np.ndarray, strands: np.ndarray) -> Shadows:
    """Look from the key light at a head's points (V, 3) and triangles (T, 3) and its hair's points (N, K, 3)."""
    size, hair_size = (SHADOW_SIZE, SHADOW_SIZE), (HAIR_SHADOW_SIZE, HAIR_SHADOW_SIZE)
    hair = np.zeros((*hair_size, 2), np.float32)
    shadows = Shadows(np.empty((3, 3)), np.zeros(size, np.float32), hair, 1.5 + 1.5 * light["softness"])
    _look_from(
        light, points, triangles, strands, shadows,
        np.empty_like(points), np.full(size, -1, np.int32), np.zeros(size, np.float32),
        np.zeros(hair_size, np.float32), np.empty_like(hair),
    )  # fmt: skip
    return shadows


@part
def place_in_light(axes, point, size):
    """Return x, y in samples of a shadow map and a positive depth that grows towards the light."""
    x, y, depth = turn_back(axes, point)
    return x * (size / LIT_WIDTH) + 0.5 * size, 0.5 * size - y * (size / LIT_WIDTH), depth + 10.0


@kernel
def _look_from(light, points, triangles, strands, shadows, screen, ids, nearest, depth, rows):
    points, triangles, strands, shadows = bare((points, triangles, strands, shadows))
    screen, ids, nearest, depth, rows = bare((screen, ids, nearest, depth, rows))
    toward = set_up(light).direction
    across = normalize(cross((0.0, 1.0, 0.02), toward))
    above = cross(toward, across)
    for k in range(3):
        shadows.axes[k, 0], shadows.axes[k, 1], shadows.axes[k, 2] = across[k], above[k], toward[k]
    _look_at_head(points, triangles, shadows, screen, ids, nearest)
    for n in range(strands.shape[0]):
        for k in range(strands.shape[1]):
            x, y, away = place_in_light(shadows.axes, triple(strands[n], k), len(depth))
            row, column = _nearest(y, len(depth)), _nearest(x, len(depth))
            depth[row, column] = max(depth[row, column], away)
    for row in range(len(depth)):
        for column in range(len(depth)):
            shadows.hair[row, column, 0] = 1.0 if depth[row, column] > 0 else 0.0
            shadows.hair[row, column, 1] = depth[row, column]
    for _ in range(2):
        _blur(shadows.hair, rows)
    for row in range(len(depth)):
        for column in range(len(depth)):
            cover = shadows.hair[row, column, 0]
            # Strands are looked up at their points only: what is half covered by them is covered.
            shadows.hair[row, column, 0] = clamp(1.6 * cover, 0.0, 1.0)
            shadows.hair[row, column, 1] /= max(cover, 1e-4)


@part
def _look_at_head(points, triangles, shadows, screen, ids, nearest):
    for k in range(len(points)):
        screen[k, 0], screen[k, 1], screen[k, 2] = place_in_light(shadows.axes, triple(points, k), len(ids))
    fill_triangles(screen, triangles, ids, nearest)
    for row in range(len(ids)):
        for column in range(len(ids)):
            k = ids[row, column]
            if k >= 0:  # the mean of a triangle's corners is exact enough for a shadow
                a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
                shadows.head[row, column] = (screen[a, 2] + screen[b, 2] + screen[c, 2]) / 3.0


@part
def _nearest(place, size):
    """Return the number of the sample nearest to a place, inside the map."""
    return min(max(math.floor(place + 0.5), 0), size - 1)


@part
def _blur(values, rows):
    """Take the mean over 5 × 5 samples of two maps (S, S, 2), in place; there is nothing outside. rows: scratch."""
    size = len(values)
    for row in range(size):
        for column in range(size):
            first = second = 0.0
            for other in range(max(row - 2, 0), min(row + 3, size)):
                first += values[other, column, 0]
                second += values[other, column, 1]
            rows[row, column, 0], rows[row, column, 1] = first, second
    for row in range(size):
        for column in range(size):
            first = second = 0.0
            for other in range(max(column - 2, 0), min(column + 3, size)):
                first += rows[row, other, 0]
                second += rows[row, other, 1]
            values[row, column, 0], values[row, column, 1] = first / 25.0, second / 25.0


@part
def find_light(shadows, point, bias, fade):
    """Return the share of key light that reaches a point; hair darkens gradually over `fade` dm of depth."""
    size, reach = len(shadows.head), shadows.spread
    x, y, away = place_in_light(shadows.axes, point, size)
    blocked, total = 0.0, 0.0
    for row in range(math.ceil(y - reach), math.floor(y + reach) + 1):
        for column in range(math.ceil(x - reach), math.floor(x + reach) + 1):
            share = (reach - abs(x - column)) * (reach - abs(y - row))
            total += share
            if 0 <= row < size and 0 <= column < size:
                blocked += share * clamp((shadows.head[row, column] - away - bias) / 0.06, 0.0, 1.0)
    blocked /= max(total, 1e-9)
    ratio = len(shadows.hair) / size
    cover, depth = _look_up(shadows.hair, x * ratio - 0.5, y * ratio - 0.5)
    veil = cover * clamp((depth - away - bias) / fade, 0.0, 1.0)
    return (1.0 - blocked) * (1.0 - 0.8 * veil)


@part
def _look_up(values, x, y):
    """Interpolate two values (S, S, 2) between samples; they are 0 outside."""
    left, top = math.floor(x), math.floor(y)
    first = second = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < len(values) and 0 <= column < len(values):
                share = (1.0 - abs(x - column)) * (1.0 - abs(y - row))
                first += share * values[row, column, 0]
                second += share * values[row, column, 1]
    return first, second

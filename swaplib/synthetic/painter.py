"""From the triangle at every sample to the picture: each material's look and label, sample by sample.

Skin and cloth are smooth and shaded once per pixel, and so is the background; a strand's segment is small and shaded
once wherever it is seen; eyes, teeth and glasses are shaded at every sample.
"""

from __future__ import annotations

import math
from collections import namedtuple
from functools import cache
from typing import NamedTuple

import numpy as np

from swaplib.faces import CELEBAMASK_HQ
from swaplib.synthetic import head
from swaplib.synthetic.appearance import (
    choose_palette,
    paint_background,
    paint_cloth,
    paint_eye,
    paint_skin,
    paint_tooth,
    set_backdrop,
    vary_strand,
)
from swaplib.synthetic.compiled import (
    add,
    bare,
    clamp,
    column_of,
    cross,
    dot,
    interpolate,
    kernel,
    minus,
    mix,
    noise,
    noise_volume,
    normalize,
    on_triangle,
    part,
    read,
    scale,
    smoothstep,
    times,
    triple,
    turn_back,
    turn_by,
)
from swaplib.synthetic.hair import BROW, LASH, SCALP, Strands, brow_cover, scalp_cover
from swaplib.synthetic.light import (
    Shadows,
    develop,
    find_light,
    set_up,
    shade_hair,
    shade_plain,
    shade_skin,
    specular,
)
from swaplib.synthetic.mesh import SKULL_CENTRE, Mesh, neckline
from swaplib.synthetic.raster import barycentric, half_across, place_camera, tangent

LABEL = namedtuple("Label", CELEBAMASK_HQ)(*range(len(CELEBAMASK_HQ)))
MATERIAL = namedtuple("Material", head.MATERIALS)(*range(len(head.MATERIALS)))
_UNSEEN = 255  # label of a slot that holds no shade yet
# Half width of the nose over the height (dm, template).
_NOSE = np.array((
    (6.76, 0.0), (6.78, 0.13), (6.86, 0.185), (6.95, 0.165), (7.08, 0.11), (7.22, 0.08), (7.34, 0.06), (7.36, 0.0),
))  # fmt: skip


class Look(NamedTuple):
    """The factors of one face, as records of named columns."""

    skin: np.void
    hair: np.void
    glasses: np.void
    light: np.void
    background: np.void
    camera: np.void
    body: np.void


class Scene(NamedTuple):
    """What stands before the camera.

    points, screen (V, 3): vertices of head and frame in the world and projected; triangles (T, 3) of both, the head's
    first; strands: all kinds' points one after the other; kinds (5, 3): of each kind the first point, the points per
    strand and the first strand, and an end; samples: along each side of the picture
    """

    mesh: Mesh
    points: np.ndarray
    screen: np.ndarray
    triangles: np.ndarray
    strands: Strands
    kinds: np.ndarray
    shadows: Shadows
    samples: int


class Template(NamedTuple):
    """What doesn't depend on the face: the noise, and places, masks and materials of the template head."""

    volume: np.ndarray
    vertices: np.ndarray
    masks: np.ndarray
    materials: np.ndarray
    poles: np.ndarray  # vertices around the pupil of either eyeball (2, 8)


class Shades(NamedTuple):
    """Colours (N, 3) and labels (N,) of what is shaded once: each segment, and the pixel's skin and background."""

    colours: np.ndarray
    labels: np.ndarray


class Hit(NamedTuple):
    """A sample of the head."""

    material: int
    template: tuple[float, float, float]
    world: tuple[float, float, float]
    normal: tuple[float, float, float]
    sight: tuple[float, float, float]  # direction to the camera
    lips: float
    ears: float
    jaw: float
    occlusion: float
    shadow: float


@cache
def _template() -> Template:
    baked = head.arrays()
    poles = []
    for name in ("left_eye", "right_eye"):
        rows = head.material_rows(name)
        poles.append(rows[np.argsort(-baked["vertices"][rows, 2], kind="stable")[:8]])
    return Template(noise_volume(), baked["vertices"], baked["masks"], baked["materials"], np.stack(poles))


def paint(scene: Scene, look: Look, ids: np.ndarray, lenses: np.ndarray, grain: np.ndarray) -> tuple:
    """Paint a picture (3, S, S) in [-1, 1] and its labels (S, S).

    ids, lenses (samples, samples): number of the triangle or segment at each sample, and of the lens before it; −1
    where there is none. grain (S, S, 3): the sensor's noise.
    """
    size, slots = len(grain), 2 * scene.kinds[-1, 0] + 2
    image, labels = np.empty((3, size, size), np.float32), np.empty((size, size), np.uint8)
    shades = Shades(np.empty((slots, 3), np.float32), np.full(slots, _UNSEEN, np.uint8))
    votes = np.empty((len(ids) // size) ** 2, np.uint8)
    _paint(_template(), scene, look, ids, lenses, grain, shades, votes, image, labels)
    return image, labels


@kernel
def _paint(template, scene, look, ids, lenses, grain, shades, votes, image, labels):
    template, scene, ids, lenses, grain = bare((template, scene, ids, lenses, grain))
    shades, votes, image, labels = bare((shades, votes, image, labels))
    size = len(labels)
    each = scene.samples // size
    light = set_up(look.light)
    palette = choose_palette(look.skin, look.hair, look.glasses, look.body)
    backdrop = set_backdrop(look.background, template.volume)
    for row in range(size):
        for column in range(size):
            total, count = (0.0, 0.0, 0.0), 0
            shades.labels[-2] = shades.labels[-1] = _UNSEEN
            for y in range(row * each, (row + 1) * each):
                for x in range(column * each, (column + 1) * each):
                    number = ids[y, x]
                    slot = _find_slot(template, scene, number, len(shades.labels))
                    if slot >= 0 and shades.labels[slot] != _UNSEEN:
                        colour, label = triple(shades.colours, slot), int(shades.labels[slot])
                    else:
                        radiance, label = _look_at(template, scene, look, light, palette, backdrop, number, x, y, each)
                        colour = develop(light, radiance)
                        if slot >= 0:
                            shades.labels[slot] = label
                            shades.colours[slot, 0], shades.colours[slot, 1], shades.colours[slot, 2] = colour
                    if lenses[y, x] >= 0:
                        colour, label = _look_through(look.glasses, colour, label, (x + y) / scene.samples)
                    total = add(total, colour)
                    votes[count] = label
                    count += 1
            for channel in range(3):
                value = total[channel] / count + grain[row, column, channel]
                image[channel, row, column] = 2.0 * clamp(value, 0.0, 1.0) - 1.0
            labels[row, column] = _most_frequent(votes)


@part
def _find_slot(template, scene, number, count):
    """Return where the shade of what a sample shows is kept, −1 for what is shaded at every sample.

    Of `count` slots the last two are the pixel's background and skin; the others are the segments of strands.
    """
    if number < 0:
        return count - 1
    if number < len(template.materials):
        return count - 2 if template.materials[number] == MATERIAL.skin else -1
    return max(number - len(scene.triangles), -1)


@part
def _look_at(template, scene, look, light, palette, backdrop, number, x, y, each):
    """Return radiance and label of what the sample (x, y) shows."""
    if number < 0:  # seen through the middle of the pixel
        pixel = 2.0 * each / scene.samples
        u, v = (x // each + 0.5) * pixel - 1.0, (y // each + 0.5) * pixel - 1.0
        return paint_background(look.background, backdrop, template.volume, u, v), LABEL.background
    if number < len(template.materials):
        return _paint_head(template, scene, look, light, palette, number, x, y)
    if number < len(scene.triangles):
        return _paint_frame(scene, look, light, palette, number, x, y), LABEL.eye_glasses
    return _paint_segment(scene, look, light, palette, number - len(scene.triangles))


@part
def _most_frequent(votes):
    """Return the most frequent label; in a tie, the first."""
    best, most = votes[0], 0
    for k in range(len(votes)):
        count = 0
        for other in votes:
            if other == votes[k]:
                count += 1
        if count > most:
            best, most = votes[k], count
    return best


# ----------------------------------------------------------------------------------------------------------- head


@part
def _corners(screen, triangles, number):
    a, b, c = triangles[number, 0], triangles[number, 1], triangles[number, 2]
    return triple(screen, a), triple(screen, b), triple(screen, c)


@part
def _paint_head(template, scene, look, light, palette, number, x, y):
    """Return radiance and label of the head at a sample."""
    a, b, c = _corners(scene.screen, scene.triangles, number)
    weights = barycentric(a, b, c, np.float64(x), np.float64(y))
    corners = scene.triangles[number]
    place = on_triangle(template.vertices, corners, weights)
    world = on_triangle(scene.points, corners, weights)
    normal = normalize(on_triangle(scene.mesh.normals, corners, weights))
    masks = (0.0, 0.0, 0.0, 0.0)
    for k in range(3):
        vertex = corners[k]
        masks = (
            masks[0] + weights[k] * template.masks[vertex, 0],
            masks[1] + weights[k] * template.masks[vertex, 1],
            masks[2] + weights[k] * template.masks[vertex, 2],
            masks[3] + weights[k] * template.masks[vertex, 3],
        )
    eye = place_camera(look.camera)
    shadow = find_light(scene.shadows, add(world, scale(normal, 0.02)), 0.03, 0.35)
    material = template.materials[number]
    view = normalize(minus(eye, world))
    hit = Hit(material, place, world, normal, view, masks[0], masks[1], masks[2], masks[3], shadow)
    if material == MATERIAL.skin or material == MATERIAL.eye_socket:
        edge = neckline(look.body, place)
        if material == MATERIAL.skin and place[1] < 6.3 and edge > 0:
            return _paint_cloth(template, look, light, palette, hit, edge), LABEL.cloth
        return _paint_skin(template, scene, look, light, palette, hit, edge)
    if material == MATERIAL.left_eye or material == MATERIAL.right_eye:
        return _paint_eye(template, scene, light, palette, hit)
    if material == MATERIAL.upper_teeth or material == MATERIAL.lower_teeth:
        return _paint_teeth(light, hit), LABEL.mouth
    return _paint_inside(light, hit)


@part
def _paint_skin(template, scene, look, light, palette, hit, edge):
    x, y, z = hit.template
    scalp, brow = scalp_cover(look.hair, minus(hit.template, SKULL_CENTRE)), 0.0
    if z > 0.9:
        brow = brow_cover(look.skin, x, y)
    albedo, shine = paint_skin(
        look.skin,
        look.hair,
        palette,
        template.volume,
        hit.template,
        hit.lips,
        hit.ears,
        scalp,
        brow,
        0.5 if scene.samples < 384 else 0.2,
    )
    normal, turn = hit.normal, scene.mesh.turn
    if scene.samples >= 512:  # pores are finer than the samples of a smaller picture
        grain = noise(template.volume, hit.template, 30.0, 0.5)
        bend = turn_by(turn, (0.05 * grain[0], 0.05 * grain[1], 0.0))
        normal = normalize(add(normal, bend))
    occlusion = clamp(hit.occlusion * 1.05, 0.0, 1.0)
    if hit.template[1] < 6.3:
        occlusion *= 1.0 - 0.4 * smoothstep(-0.12, 0.0, edge)
    if hit.material == MATERIAL.eye_socket:
        albedo, occlusion = times(albedo, (0.95, 0.72, 0.70)), max(occlusion, 0.4)
    radiance = shade_skin(light, albedo, normal, hit.sight, hit.shadow, occlusion, shine)
    return radiance, _label_skin(hit, turn_back(turn, normal)[1], scalp, brow)


@part
def _label_skin(hit, upward, scalp, brow):
    """Return the label of skin at a place; upward: the share of its normal along the head's axis."""
    x, y, z = hit.template
    left, ears = x > 0, hit.ears > 0.5
    if not ears and scalp > 0.6:
        return LABEL.hair
    if brow > 0.35:
        return LABEL.left_brow if left else LABEL.right_brow
    if hit.lips > 0.45:
        return LABEL.lower_lip if hit.jaw > 0.42 else LABEL.upper_lip
    if ears:
        return LABEL.left_ear if left else LABEL.right_ear
    if z > 1.2 and abs(x) < interpolate(_NOSE, y):
        return LABEL.nose
    # The neck starts behind the jaw line, where the skin under the chin turns down or back.
    jaw = 6.42 + 0.42 * max(0.95 - z, 0.0) / 0.6
    if y < 6.12 or (y < min(jaw, 6.75) and (upward < -0.55 or z < 0.8)):
        return LABEL.neck
    return LABEL.skin


@part
def _paint_cloth(template, look, light, palette, hit, edge):
    x, y, z = hit.template
    albedo = paint_cloth(look.body, palette, template.volume, hit.template)
    seam = 1.0 - 0.25 * math.exp(-(((edge - 0.07) / 0.012) ** 2)) + 0.12 * math.exp(-(((edge - 0.03) / 0.03) ** 2))
    fold = 0.16 * noise(template.volume, (x, y * 0.4, z), 4.0, 0.5)[0]
    normal = normalize(add(hit.normal, (fold, 0.0, 0.3 * fold)))
    return shade_plain(light, scale(albedo, seam), normal, hit.shadow, clamp(hit.occlusion, 0.4, 1.0))


@part
def _paint_eye(template, scene, light, palette, hit):
    left = hit.material == MATERIAL.left_eye
    side = 0 if left else 1
    up = column_of(scene.mesh.turn, 1)
    centre = triple(scene.mesh.eyes, side)
    pole = (0.0, 0.0, 0.0)
    for vertex in template.poles[side]:
        pole = add(pole, triple(scene.points, vertex))
    gaze = normalize(minus(scale(pole, 1.0 / template.poles.shape[1]), centre))
    offset = normalize(minus(hit.world, centre))
    colour, wet = paint_eye(palette, offset, gaze, up)
    lid = 1.0 - 0.55 * smoothstep(0.05, 0.42, dot(offset, up))  # the lids shade the upper part of the ball
    hidden = clamp(hit.occlusion, 0.25, 1.0) * lid
    radiance = shade_plain(light, colour, offset, (0.35 + 0.65 * hit.shadow) * lid, hidden)
    spark = specular(light, offset, hit.sight, 0.10) * 0.004 * wet + specular(light, offset, hit.sight, 0.30) * 0.002
    radiance = add(radiance, scale(light.key, spark * lid * (0.3 + 0.7 * hit.shadow)))
    return radiance, LABEL.left_eye if left else LABEL.right_eye


@part
def _paint_teeth(light, hit):
    y, upper = hit.template[1], hit.material == MATERIAL.upper_teeth
    height = (y - 6.60) / 0.23 if upper else (6.71 - y) / 0.29
    inside = (0.25 + 0.75 * smoothstep(0.9, 1.45, hit.template[2])) * (0.95 if upper else 0.75)
    colour = paint_tooth(hit.template[0], height)
    return scale(shade_plain(light, colour, hit.normal, 0.5 + 0.5 * hit.shadow, 0.8), inside)


@part
def _paint_inside(light, hit):
    """Return radiance and label of the tongue and the mouth's cavity."""
    if hit.material == MATERIAL.tongue:
        flesh, dim = (0.42, 0.13, 0.13), 0.35
    else:
        flesh, dim = (0.20, 0.045, 0.045), 0.10 + 0.75 * smoothstep(0.95, 1.5, hit.template[2]) ** 2
    label = LABEL.mouth
    if hit.lips > 0.45:
        label = LABEL.lower_lip if hit.jaw > 0.42 else LABEL.upper_lip
    return scale(shade_plain(light, flesh, hit.normal, 0.5 * hit.shadow, 0.8), dim), label


# ------------------------------------------------------------------------------------------------ glasses and hair


@part
def _paint_frame(scene, look, light, palette, number, x, y):
    a, b, c = _corners(scene.screen, scene.triangles, number)
    weights = barycentric(a, b, c, np.float64(x), np.float64(y))
    world = on_triangle(scene.points, scene.triangles[number], weights)
    a, b, c = _corners(scene.points, scene.triangles, number)
    normal = normalize(cross(minus(b, a), minus(c, a)))
    eye = place_camera(look.camera)
    view = normalize(minus(eye, world))
    if dot(normal, view) < 0:
        normal = scale(normal, -1.0)
    radiance = shade_plain(light, palette.frame, normal, 1.0, 1.0)
    return add(radiance, scale(light.key, specular(light, normal, view, 0.25) * 0.05))


@part
def _look_through(glasses, colour, label, across):
    """Lay a lens over a finished sample; across: where it is, from 0 in one corner to 2 in the other."""
    # Frame and hair in front of the lens stay in front.
    if label == LABEL.hair or label == LABEL.eye_glasses or label == LABEL.background:
        return colour, label
    clear, sheen = 0.96 - 0.80 * glasses.tint, 0.02 + 0.05 * max(math.sin(across * 9.0), 0.0) ** 3
    colour = (
        clamp(colour[0] * clear + sheen, 0.0, 1.0),
        clamp(colour[1] * clear + sheen, 0.0, 1.0),
        clamp(colour[2] * clear + sheen, 0.0, 1.0),
    )
    return colour, LABEL.eye_glasses if label == LABEL.skin or glasses.tint >= 0.5 else label


@part
def _paint_segment(scene, look, light, palette, segment):
    """Return radiance and label of a strand's segment: what holds at its first corner holds for all of it."""
    strands, k, kind = scene.strands, segment // 2, 0
    while k >= scene.kinds[kind + 1, 0]:
        kind += 1
    first, count = scene.kinds[kind, 0], scene.kinds[kind, 1]
    strand = scene.kinds[kind, 2] + (k - first) // count
    start = k - (k - first) % count
    eye = place_camera(look.camera)
    curve, width = strands.points[start : start + count], strands.width[start : start + count]
    edge = half_across(curve, width, k - start, eye)
    world = add(triple(strands.points, k), scale(edge, 2.0 * (segment % 2) - 1.0))
    along = tangent(curve, k - start)
    view, outward = normalize(minus(eye, world)), normalize(minus(world, read(scene.mesh.centre)))
    seeds, depth = strands.seeds[strand], np.float64(strands.height[k])
    if kind == SCALP:
        depth = 1.0 + (depth - 1.0) * (0.3 + 0.7 * clamp(look.hair.volume / 0.15, 0.0, 1.0))
        shadow, shine = find_light(scene.shadows, world, 0.06, 0.5), look.hair.shine
        albedo = vary_strand(look.hair, palette, seeds)
        return shade_hair(light, albedo, along, outward, view, shadow, depth, shine), LABEL.hair
    shadow = find_light(scene.shadows, world, 0.08, 0.1)
    albedo = scale(palette.beard, 0.7 + 0.6 * seeds[1])
    if kind == BROW:  # fine enough for the skin to show between
        albedo = mix(palette.skin, scale(palette.brow, 0.7 + 0.6 * seeds[1]), 0.92)
    elif kind == LASH:
        albedo = scale(albedo, 0.4)
    left = dot(world, column_of(scene.mesh.turn, 0)) > 0
    label = LABEL.skin
    if kind == BROW:
        label = LABEL.left_brow if left else LABEL.right_brow
    elif kind == LASH:
        label = LABEL.left_eye if left else LABEL.right_eye
    return shade_hair(light, albedo, along, outward, view, shadow, 0.45 + 0.55 * depth, 0.25), label

"""Hair, brows and beard as strands: curves that grow from roots on the head, lie on the skull, hang, curl and clump.

Strands grow in the head's own frame around the centre of the skull, where the head is star-shaped: a point is inside
the head when its distance from the centre is below the surface's distance in that direction, so pushing hair out of the
head is one look-up. Each strand is drawn as a ribbon that faces the camera.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from swaplib.synthetic import head
from swaplib.synthetic.compiled import (
    add,
    bare,
    blend,
    clamp,
    column_of,
    cross,
    dot,
    interpolate,
    kernel,
    length,
    minus,
    mix,
    normalize,
    on_triangle,
    part,
    read,
    scale,
    smoothstep,
    triple,
    turn_back,
    turn_by,
)
from swaplib.synthetic.factors import HAIR_STYLES, Factors, blank, record
from swaplib.synthetic.mesh import SKULL_CENTRE, Mesh

_FREE = -1.15  # height over the skull's centre (dm) below which hair no longer rests on the head
_MOST = 3000  # strands of one kind; more cost time and are not seen below 256 pixels
_GUIDES = 170  # strands that the others clump around
KINDS = ("scalp", "brow", "beard", "lash")
SCALP, BROW, BEARD, LASH = range(4)
_BALD, _TIED_BACK = HAIR_STYLES.index("bald"), HAIR_STYLES.index("tied_back")
_WHORL, _KNOT = (0.0, 0.95, -0.3), (0.0, 0.15, -1.02)  # relative to the skull's centre; where tied hair comes together

# Height of the hairline (dm, template) over the azimuth (degrees from the face).
_HAIRLINE = np.array((
    (0, 8.00), (14, 8.00), (26, 7.99), (38, 7.90), (50, 7.70), (60, 7.50), (68, 7.22), (76, 7.12), (84, 7.30),
    (92, 7.50), (104, 7.42), (115, 7.05), (130, 6.72), (155, 6.58), (180, 6.55),
))  # fmt: skip
# Centre line of the brow: height over the distance from the midline (dm, template). The bake's landmarks use the same.
_BROW = np.array(((0.11, 7.47), (0.22, 7.493), (0.33, 7.505), (0.44, 7.49), (0.57, 7.42)))
# How far from the middle of the face (degrees of azimuth) hair without a fringe stays, over the height (dm, template).
_CURTAIN = np.array(((5.6, 30), (6.1, 44), (6.5, 56), (7.0, 62), (7.35, 60), (7.6, 50), (7.85, 26), (8.05, 0)))
_CURTAIN_END = math.radians(_CURTAIN[:, 1].max())


class Strands(NamedTuple):
    """Strands of one face: N strands of K points each.

    points (N, K, 3) in the world; width (N, K) in dm; seeds (N, 2) in 0…1, for the colour; height (N, K): how far
    outside in the hair's volume a point lies, 0 at the skin, 1 outermost
    """

    points: np.ndarray
    width: np.ndarray
    seeds: np.ndarray
    height: np.ndarray


class Roots(NamedTuple):
    """Where hairs grow.

    Template places (N, 3), the triangles' vertices and weights there (N, 3), random numbers that belong to each root
    (N, 4), and the number of the nearest guide (N,).
    """

    places: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    seeds: np.ndarray
    guides: np.ndarray


# -------------------------------------------------------------------------------------------- where hair can grow


@part
def azimuth(place):
    """Return degrees from straight ahead, positive to the person's left, of a place relative to the skull's centre."""
    return math.degrees(math.atan2(place[0], place[2]))


@part
def hairline_height(hair, place):
    """Return the height over the hairline (dm, negative below) of a place relative to the skull's centre."""
    angle = abs(azimuth(place))
    line = interpolate(_HAIRLINE, angle)
    line += hair.receding * (0.30 * math.exp(-(((angle - 30.0) / 17.0) ** 2)) + (0.07 if angle < 40 else 0.0))
    above = place[1] + SKULL_CENTRE[1] - line
    if hair.crown_bald > 0:  # distance from the whorl on top of the head, measured along the surface
        above = min(above, length(minus(place, (0.0, 0.95, -0.25))) - 0.75 * hair.crown_bald)
    return above


@part
def scalp_cover(hair, place):
    """Return the share of scalp hidden by hair (0…1) at a place relative to the skull, for painting the roots."""
    if round(hair.style) == _BALD:
        return 0.0
    return smoothstep(-0.02, 0.15, hairline_height(hair, place))


@part
def brow_fields(skin, x, y):
    """Return the brow's coordinates at a template place.

    They are the position from the inner end (0…1) and the height above the brow's centre line, in units of its half
    thickness.
    """
    along = (abs(x) - 0.115) / 0.45
    centre = interpolate(_BROW, abs(x)) - 0.015 * skin.brow_arch
    centre += 0.035 * skin.brow_arch * math.exp(-(((along - 0.62) / 0.28) ** 2))
    half = (0.018 + 0.034 * skin.brow_thickness) * (0.85 + 0.35 * math.exp(-(((along - 0.3) / 0.35) ** 2)))
    half *= (1.0 - 0.75 * clamp(along, 0.0, 1.1) ** 2.5) * (0.45 + 0.55 * smoothstep(-0.05, 0.3, along))
    return along, (y - centre) / max(half, 0.006)


@part
def brow_cover(skin, x, y):
    """Return how much brow there is at a template place (0…1)."""
    if abs(x) > 0.63 or y < 7.0 or y > 8.0:  # far from any brow
        return 0.0
    along, height = brow_fields(skin, x, y)
    ends = smoothstep(-0.06, 0.08, along) * (1.0 - smoothstep(0.92, 1.06, along))
    return ends * (1.0 - smoothstep(0.5, 1.25, abs(height)))


@part
def beard_cover(skin, place):
    """Return how much beard grows at a template place (0…1)."""
    if place[1] > 7.4 or max(skin.moustache, skin.goatee, skin.cheek_beard, skin.stubble) <= 0:
        return 0.0
    x, y, z = abs(place[0]), place[1], place[2]
    lip = smoothstep(6.68, 6.74, y) * (1.0 - smoothstep(6.77, 6.84, y)) * (1.0 - smoothstep(0.22, 0.33, x))
    beside = (1.0 - smoothstep(0.26, 0.38, x)) * smoothstep(0.18, 0.25, x)
    beside *= smoothstep(6.25, 6.4, y) * (1.0 - smoothstep(6.68, 6.80, y))
    chin = (1.0 - smoothstep(0.16, 0.36, x)) * (1.0 - smoothstep(6.43, 6.52, y)) * smoothstep(5.98, 6.14, y)
    patch = (1.0 - smoothstep(0.03, 0.10, x)) * (1.0 - smoothstep(6.48, 6.54, y)) * smoothstep(6.28, 6.36, y)
    upper = 6.72 + 0.55 * clamp((x - 0.30) / 0.40, 0.0, 1.0) ** 1.6
    cheek = smoothstep(0.24, 0.38, x) * (1.0 - smoothstep(-0.10, 0.06, y - upper))
    cheek = max(cheek, 1.0 - smoothstep(6.34, 6.48, y)) * smoothstep(5.95, 6.15, y) * smoothstep(0.40, 0.62, z)
    full = max(skin.moustache * lip, skin.goatee * max(chin, beside, patch), skin.cheek_beard * cheek)
    return max(full, 0.55 * skin.stubble * max(lip, chin, patch, cheek, beside))


@cache
def _roots(kind: str) -> Roots:
    """Return the baked roots of one kind, without those from which nothing grows on anybody."""
    baked = head.tensors()
    ids, weights = baked[f"{kind}_ids"], baked[f"{kind}_weights"]
    places = head.surface_points(baked["vertices"][None], ids, weights)[0] - torch.tensor(SKULL_CENTRE)
    seeds = torch.rand(len(places), 4, generator=torch.Generator().manual_seed(KINDS.index(kind)))
    if kind == "scalp":
        useful = _measure(kind, places) > -0.025
    elif kind == "brow":
        arches = (-0.7, -0.2, 0.3, 0.8, 1.2)
        useful = np.max([_measure(kind, places, brow_thickness=1, brow_arch=arch) for arch in arches], 0) > 0
    else:
        useful = _measure(kind, places, moustache=1, goatee=1, cheek_beard=1) > 0.25
    rows = np.flatnonzero(useful)[:_MOST]  # in random order: what is cut off leaves no gap
    guides = torch.cdist(places[rows], places[rows[:_GUIDES]]).argmin(1)
    parts = (places[rows], ids[rows].int(), weights[rows], seeds[rows], guides.int())
    return Roots(*(part.numpy() for part in parts))


def _measure(kind: str, places: torch.Tensor, **skin: float) -> np.ndarray:
    """Return the height over the hairline or the cover of brow or beard, of people with these numbers only."""
    out = np.empty(len(places), np.float32)
    _measure_places(KINDS.index(kind), places.numpy(), blank("hair"), blank("skin", **skin), out)
    return out


@kernel
def _measure_places(kind, places, hair, skin, out):
    for k in range(len(places)):
        place = add(triple(places, k), SKULL_CENTRE)
        if kind == SCALP:
            out[k] = hairline_height(hair, triple(places, k))
        elif kind == BROW:
            out[k] = brow_cover(skin, place[0], place[1])
        else:
            out[k] = beard_cover(skin, place)


# --------------------------------------------------------------------------------------------------- scalp hair


@part
def _toward(point):
    """Return the angle of a point around the skull's axis, 0 in front, positive to the person's left."""
    return math.atan2(point[0], point[2])


@part
def _push_out(radius, point, angle, height):
    """Move a point that lies inside the head outwards, to `height` dm above its surface.

    radius: see `Mesh`; angle: the point's own around the skull's axis. Below the jaw hair hangs free, and a point far
    below the surface is not inside the head but in the hollow between neck and shoulder, where the head is not
    star-shaped.
    """
    if point[1] <= _FREE:
        return point
    rows, cols = radius.shape
    away = length(point)
    elevation = (math.asin(clamp(point[1] / max(away, 1e-12), -1.0, 1.0)) / math.pi + 0.5) * (rows - 1)
    around = (angle / (2.0 * math.pi) + 0.5) * cols
    row = min(max(math.floor(elevation), 0), rows - 2)
    y, x = elevation - row, around - math.floor(around)
    left = math.floor(around) % cols
    right = (left + 1) % cols
    low, high = blend(radius[row, left], radius[row, right], x), blend(radius[row + 1, left], radius[row + 1, right], x)
    surface = blend(low, high, y)
    limit = surface + height
    hollow = 0.08 if point[1] < -0.3 else 0.25  # under the ear lobe it is shallow
    if away < limit and away > surface - hollow:
        return scale(point, limit / max(away, 1e-6))
    return point


@part
def _draw_curtain(point, angle, side):
    """Turn a point that hangs over the face to the side (±1) of its root; return its angle, too."""
    if not (-1.6 < angle * side < _CURTAIN_END and point[1] < 0.6):  # the table ends there
        return point, angle
    least = math.radians(interpolate(_CURTAIN, point[1] + SKULL_CENTRE[1]))
    if least > 0.02 and angle * side < least:
        flat = math.hypot(point[0], point[2])
        return (flat * math.sin(least * side), point[1], flat * math.cos(least * side)), least * side
    return point, angle


@part
def _side(hair, place):
    """Return the side of the face (±1) on which the strand at a place falls: of the parting, if there is one."""
    return -1.0 if place[0] < (hair.part if hair.parted > 0.4 else 0.0) else 1.0


@part
def _has_fringe(hair, place):
    """Return whether the strand at a place is combed forward over the forehead."""
    return hair.forward > 0.42 and place[2] > 0.2 and place[1] > 0.3 and abs(azimuth(place)) < 45


@part
def _length(hair, place, seeds, above, top):
    """Return the length of a strand (dm)."""
    front = smoothstep(0.42, 0.8, place[2]) * smoothstep(0.3, 0.45, place[1])
    side = blend(hair.length_back, hair.length_side, smoothstep(-0.4, 0.05, place[2]))
    long = blend(blend(side, hair.length_top, top), hair.fringe, front)
    long *= (0.82 + 0.3 * seeds[2]) * max(smoothstep(-0.02, 0.22, above), 0.35)
    if side < 0.75 and place[1] < 0.4:  # short hair is cut shorter towards the hairline at the sides and the nape
        cut = 0.05 + (0.25 + 0.35 * smoothstep(-0.3, 0.2, place[1])) * max(above, 0.0)
        if place[1] < 0.1:
            cut *= 1.0 - 0.65 * math.exp(-(((abs(azimuth(place)) - 86.0) / 24.0) ** 2))
        long = min(long, cut)
    if _has_fringe(hair, place):  # a fringe ends a little above the eyes, wherever it starts
        rise = math.asin(clamp(place[1] / length(place), -1.0, 1.0)) - 0.13
        long = min(long, 1.15 * rise - 0.05 + 0.10 * seeds[3])
    if round(hair.style) == _TIED_BACK:
        long = length(minus(_KNOT, place)) * (0.9 + 0.15 * seeds[3])
    return max(long, 0.02)


@part
def _comb(hair, place, normal, top):
    """Return the direction in which the hair is combed at a root, tangent to the head."""
    radial = normalize(minus(place, _WHORL))
    parted = hair.parted * math.tanh((place[0] - hair.part) / 0.03)
    on_top = (
        hair.forward * radial[0] + hair.sideways + parted + 1e-4 * radial[0],
        hair.forward * radial[1] + 1e-4 * radial[1],
        hair.forward * radial[2] - hair.backward - 0.12 * hair.parted + 1e-4 * radial[2],
    )
    below = (0.0, -1.0, -(0.3 + 0.9 * hair.backward) * smoothstep(-0.2, 0.3, place[1]))
    direction = mix(below, normalize(on_top), top)
    if round(hair.style) == _TIED_BACK:
        direction = minus(_KNOT, place)
    return normalize(minus(direction, scale(normal, dot(direction, normal))))


@part
def _grow(hair, mesh, place, seeds, root, normal, above, curve):
    """Grow one strand step by step, by inertia and gravity, outside the head and off the face; return its length."""
    top = smoothstep(0.25, 0.62, place[1] + (0.15 if place[2] > 0.2 else 0.0))
    long = _length(hair, place, seeds, above, top)
    direction = _comb(hair, place, normal, top)
    down = scale(triple(mesh.turn, 1), -1.0)  # in the head's frame
    tied = 1.0 if round(hair.style) == _TIED_BACK else 0.0
    straight = 0.0 if hair.lift > 1.2 else 1.0  # an afro stands off
    flat = 1.0
    if hair.parted > 0.4:  # hair lies flat along a parting
        flat = 0.15 + 0.85 * smoothstep(0.0, 0.22, abs(place[0] - hair.part))
    if hair.lift < 1.2 and hair.curl_radius < 0.02:  # straight hair lies flat at the sides of the head
        flat *= 0.25 + 0.75 * top
    lift, bulk = hair.lift * flat, hair.volume * flat * (0.2 + 0.8 * seeds[2])
    fringe, side = _has_fringe(hair, place), _side(hair, place)
    heading = normalize(add(scale(normal, lift), direction))
    steps = len(curve) - 1
    bend = 1.0 if hair.curl_radius > 0.02 else 1.6  # the steps of straight hair are short where it follows the skull
    weight = 5.0 * 0.55 / min(1.0 / (0.35 + long), 2.5) * (1.0 - 0.9 * (1.0 - straight)) * (1.0 - tied)
    position = root
    curve[0, 0], curve[0, 1], curve[0, 2] = root
    for k in range(1, steps + 1):
        t = (k / steps) ** bend
        step = long * (t - ((k - 1.0) / steps) ** bend)
        heading = add(add(heading, scale(down, weight * step)), scale(direction, 0.10 * straight * (1.0 - t)))
        if tied > 0:
            heading = add(heading, scale(normalize(minus(_KNOT, position)), 0.5))
        heading = normalize(heading)
        before = position
        position = add(position, scale(heading, step))
        angle = _toward(position)
        position = _push_out(mesh.radius, position, angle, 0.012 + bulk * min(1.0, 3.0 * t))
        if not fringe:
            position, angle = _draw_curtain(position, angle, side)
        moved = add(minus(position, before), scale(normalize(before), 1e-6))
        heading = normalize(add(scale(heading, 0.6), scale(normalize(moved), 0.4)))
        curve[k, 0], curve[k, 1], curve[k, 2] = position
    return long


@part
def _clump(hair, place, guide_place, guide, curve):
    """Draw a strand towards its guide, growing with the distance from the root."""
    # A strand joins its guide only on the same side of the parting.
    apart = (place[0] - hair.part) * (guide_place[0] - hair.part) <= 0
    if apart and hair.parted >= 0.3:
        return
    root = minus(triple(curve, 0), triple(guide, 0))
    for k in range(len(curve)):
        pull = hair.clump * 0.75 * smoothstep(0.15, 0.9, k / (len(curve) - 1))
        wanted = add(triple(guide, k), scale(root, 1.0 - 0.55 * pull))
        curve[k, 0], curve[k, 1], curve[k, 2] = mix(triple(curve, k), wanted, pull)


@part
def _curl(hair, seeds, guide_seeds, long, curve, out):
    """Add waves across the strand, curls around it, and frizz, all of them zero at the root."""
    last = len(curve) - 1
    phase = 6.28 * guide_seeds[0] + 0.9 * (seeds[0] - 0.5)
    turns = min(hair.curl_turns * (0.75 + 0.5 * guide_seeds[1]), 3.8)  # a turn needs four points
    for k in range(1, last + 1):
        t = k / last
        point = triple(curve, k)
        along = minus(triple(curve, min(k + 1, last)), triple(curve, min(k, last - 1)))
        along = normalize((along[0] + 1e-9, along[1] + 1e-9, along[2] + 1e-9))
        across = normalize(cross(along, point))
        ramp = smoothstep(0.0, 0.25, t)
        sway = hair.wave * 0.06 * ramp * math.sin(9.0 * t * math.sqrt(long) + 2.0 * phase)
        wild = hair.frizz * 0.10 * t * math.sqrt(t) * min(long, 0.8)
        point = add(point, scale((seeds[0] - 0.5, seeds[1] - 0.5, seeds[2] - 0.5), wild))
        if hair.curl_radius > 0:
            angle = 6.28 * turns * t + phase
            radius = hair.curl_radius * ramp * (0.6 + 0.8 * seeds[1])
            sway += radius * math.cos(angle)
            point = add(point, scale(cross(across, along), radius * math.sin(angle)))
        out[k, 0], out[k, 1], out[k, 2] = add(point, scale(across, sway))


@part
def _scatter(seeds, copy):
    """Return how far aside (dm) one of several strands grows from their common root; the first stays there."""
    if copy == 0:
        return 0.0, 0.0, 0.0
    turn, away = 6.28 * (seeds[2] + 0.38 * copy), 0.018 + 0.012 * seeds[3]
    return away * math.cos(turn), away * math.sin(turn), away * math.sin(2.0 * turn)


@kernel
def _grow_scalp(hair, mesh, roots, copies, strands, guides, curve, curled):
    """Grow the hair of one head into `strands`; return how many there are. The last three arrays are scratch paper.

    copies: strands that grow at each root, the finer the more.
    """
    mesh, roots, strands, guides, curve, curled = bare((mesh, roots, strands, guides, curve, curled))
    last = len(curve) - 1
    centre = read(mesh.centre)
    count = 0
    for k in range(len(roots.places)):
        place, seeds, guide = triple(roots.places, k), roots.seeds[k], roots.guides[k]
        above = hairline_height(hair, place)
        hairy = above + 0.10 * (seeds[0] - 0.5) > 0 and seeds[1] < hair.density
        if not (hairy or k < _GUIDES):  # the others clump around the guides, even where those don't grow themselves
            continue
        root = turn_back(mesh.turn, minus(on_triangle(mesh.points, roots.ids[k], roots.weights[k]), centre))
        normal = turn_back(mesh.turn, normalize(on_triangle(mesh.normals, roots.ids[k], roots.weights[k])))
        long = _grow(hair, mesh, place, seeds, root, normal, above, curve)
        if k < _GUIDES:
            for i in range(last + 1):
                guides[k, i, 0], guides[k, i, 1], guides[k, i, 2] = curve[i, 0], curve[i, 1], curve[i, 2]
        if not hairy:
            continue
        _clump(hair, place, triple(roots.places, guide), guides[guide], curve)
        _curl(hair, seeds, roots.seeds[guide], long, curve, curled)
        thick = (0.022 + 0.011 * seeds[3]) * (1.0 + 0.6 * clamp(long - 0.5, 0.0, 1.0))  # long strands cover more
        thick *= max(min(long, 0.3) / 0.3, 0.35) * (0.6 + 0.4 * smoothstep(0.0, 0.12, above)) / math.sqrt(copies)
        fringe, side = _has_fringe(hair, place), _side(hair, place)
        for copy in range(copies):
            aside = _scatter(seeds, copy)
            for i in range(last + 1):
                t = i / last
                point = root
                if i > 0:
                    point = triple(curled, i)
                point = add(point, scale(aside, 0.6 + 0.8 * t))
                if i > 0:
                    angle = _toward(point)
                    if not fringe:
                        point, angle = _draw_curtain(point, angle, side)
                    point = _push_out(mesh.radius, point, angle, 0.008)
                point = add(turn_by(mesh.turn, point), centre)
                strands.points[count, i, 0], strands.points[count, i, 1], strands.points[count, i, 2] = point
                strands.width[count, i] = (1.0 - 0.85 * t**3) * thick
                strands.height[count, i] = (0.2 + 0.8 * seeds[2]) * min(1.0, 2.0 * t)
            strands.seeds[count, 0], strands.seeds[count, 1] = seeds[2], (seeds[3] + 0.37 * copy) % 1.0
            count += 1
    return count


# ---------------------------------------------------------------------------------------- brows, beard and lashes


@kernel
def _grow_on_face(beard, skin, mesh, roots, copies, strands):
    """Grow brows or a beard into `strands`: short, straight, combed outwards or downwards; return how many hairs.

    copies: as in `_grow_scalp`.
    """
    mesh, roots, strands = bare((mesh, roots, strands))
    last = strands.points.shape[1] - 1
    left, up = column_of(mesh.turn, 0), column_of(mesh.turn, 1)
    count = 0
    for k in range(len(roots.places)):
        place, seeds = add(triple(roots.places, k), SKULL_CENTRE), roots.seeds[k]
        side = -1.0 if place[0] < 0 else 1.0
        if beard:
            cover = beard_cover(skin, place)
            # Stubble is painted: hairs of a beard thin out and get shorter towards its edge.
            if max(skin.moustache, skin.goatee, skin.cheek_beard) <= 0 or cover <= 0.25 or seeds[0] >= cover:
                continue
        elif seeds[0] >= brow_cover(skin, place[0], place[1]) * (0.25 + 0.5 * skin.brow_density):
            continue
        root = on_triangle(mesh.points, roots.ids[k], roots.weights[k])
        normal = normalize(on_triangle(mesh.normals, roots.ids[k], roots.weights[k]))
        if beard:
            direction = minus(scale(normal, 0.28), up)
            if place[1] > 6.6:  # a moustache parts in the middle
                direction = add(direction, scale(left, 0.7 * side * smoothstep(0.0, 0.08, abs(place[0]))))
            direction = add(direction, (0.5 * (seeds[1] - 0.5), 0.5 * (seeds[2] - 0.5), 0.5 * (seeds[3] - 0.5)))
            long, thick, sag = skin.beard_length * (0.6 + 0.8 * seeds[1]) * (0.4 + 0.6 * cover), 0.011, 0.3
        else:
            along, height = brow_fields(skin, place[0], place[1])
            rise = 0.75 - 1.3 * along - 0.5 * clamp(height, -1.0, 1.0) + 0.3 * (seeds[2] - 0.5)
            direction = add(add(scale(left, side), scale(up, rise)), scale(normal, 0.25))
            long, thick, sag = 0.045 + 0.04 * seeds[1], 0.0055, 0.0
            root = add(
                root, add(scale(direction, -0.4 * long), scale(normal, 0.008))
            )  # half before its place, half after
        direction, root = normalize(direction), add(root, scale(normal, 0.006))
        for copy in range(copies):
            start = add(root, scale(_scatter(seeds, copy), 0.5))
            for i in range(last + 1):
                t = i / last
                point = add(add(start, scale(direction, long * t)), scale(up, -sag * long * t * t))
                strands.points[count, i, 0], strands.points[count, i, 1], strands.points[count, i, 2] = point
                strands.width[count, i] = thick * (1.0 - 0.7 * t * t) / math.sqrt(copies)
                strands.height[count, i] = t
            strands.seeds[count, 0], strands.seeds[count, 1] = seeds[2], (seeds[3] + 0.37 * copy) % 1.0
            count += 1
    return count


def _lashes(mesh: Mesh) -> Strands:
    """Build the upper lashes along the rims of the lids."""
    ids, share, along = _lash_roots()
    root = mesh.points[ids[:, 0]] * (1 - share[:, None]) + mesh.points[ids[:, 1]] * share[:, None]
    left, up, front = mesh.turn.T.astype(np.float32)
    bend = np.abs(along)[:, None]
    t = np.linspace(0, 1, 4, dtype=np.float32)
    root = root + 0.025 * front  # the rim's vertices are behind its edge
    direction = front + np.sign(along)[:, None] * left * (bend - 0.25) * 1.3 - 0.15 * up
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    long = 0.034 + 0.022 * bend
    curve = root[:, None] + direction[:, None] * (long * t)[..., None] + (long * 0.5 * t**2)[..., None] * up
    height = np.tile(t, (len(ids), 1))
    return Strands(curve, 0.008 * (1 - 0.8 * height), np.zeros((len(ids), 2), np.float32), height)


@cache
def _lash_roots(between: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where lashes stand on the lids' rims.

    Pairs of neighbouring rim vertices (N, 2), where between them a lash stands (N,), and its signed place: 0 at the
    inner corner, ±1 at the outer one (positive on the left eye).
    """
    points = head.arrays()["vertices"]
    rim = np.intersect1d(head.material_rows("eye_socket"), head.material_rows("skin"))
    ids, share, along = [], [], []
    for side in (1, -1):
        loop = rim[points[rim, 0] * side > 0]
        x = np.abs(points[loop, 0])
        inner, outer = loop[x.argmin()], loop[x.argmax()]
        chord = points[inner, 1] + (x - x.min()) / (x.max() - x.min()) * (points[outer, 1] - points[inner, 1])
        upper = loop[points[loop, 1] >= chord - 1e-4]
        upper = upper[np.abs(points[upper, 0]).argsort(kind="stable")]
        for a, b in pairwise(upper):
            for k in range(between):
                ids.append((a, b))
                share.append(k / between)
                place = abs(points[a, 0]) + (k / between) * (abs(points[b, 0]) - abs(points[a, 0]))
                along.append(side * (place - x.min()) / (x.max() - x.min()))
    return np.array(ids), np.array(share, np.float32), np.array(along, np.float32)


# ------------------------------------------------------------------------------------------------- all of one face


def _points_per_strand(hair: np.void, copies: int) -> int:
    """Return enough points per strand to follow the curls and the fall of the hair; curls are rounder in big pictures.

    copies: as `_grow_scalp` takes them.
    """
    curly, long = hair["curl_radius"] > 0.02, hair["length_top"] > 1.0
    return (28 if copies > 1 else 16) if curly else 11 if long else 7


def grow(factors: Factors, mesh: Mesh, copies: int = 1) -> tuple[Strands, ...]:
    """Grow what grows on one face (B is 1), in the order of KINDS; copies: as `_grow_scalp` takes them."""
    hair, skin = record(factors, "hair"), record(factors, "skin")
    roots, length = _roots("scalp"), _points_per_strand(hair, copies)
    scalp, paper = (
        _room(roots, length, copies),
        [np.empty(shape) for shape in ((_GUIDES, length, 3), (length, 3), (length, 3))],
    )
    count = 0 if round(hair["style"]) == _BALD else _grow_scalp(hair, mesh, roots, copies, scalp, *paper)
    grown = [_first(scalp, count)]
    for kind in ("brow", "beard"):
        hairs = _room(_roots(kind), 4, copies)
        grown.append(_first(hairs, _grow_on_face(kind == "beard", skin, mesh, _roots(kind), copies, hairs)))
    return (*grown, _lashes(mesh))


def _room(roots: Roots, length: int, copies: int = 1) -> Strands:
    count = copies * len(roots.places)
    shapes = ((count, length, 3), (count, length), (count, 2))
    points, width, seeds = (np.empty(shape, np.float32) for shape in shapes)
    return Strands(points, width, seeds, np.empty_like(width))


def _first(strands: Strands, count: int) -> Strands:
    return Strands(*(values[:count] for values in strands))

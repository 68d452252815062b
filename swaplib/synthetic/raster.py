"""The triangle visible at each sample: a z-buffer for the meshes and for the ribbons of hair.

Ribbons are never built: their four corners per segment follow from the strand's points while the samples are filled.
"""

from __future__ import annotations

import numpy as np

from swaplib.synthetic.compiled import (
    add,
    bare,
    clamp,
    cross,
    kernel,
    minus,
    normalize,
    part,
    scale,
    triple,
)

_TILE = 8  # samples
SLACK = 1e-4  # a sample on an edge belongs to both triangles; rounding must not let it fall between them


@part
def place_camera(camera):
    """Return where the camera stands; it looks along −z at the picture plane through the eyes."""
    return camera.shift_x, camera.shift_y, camera.distance


@part
def project(camera, point, size):
    """Project a point to x, y in samples (the first one's centre at 0, 0) and inverse depth."""
    depth = camera.distance - point[2]
    factor = camera.distance / depth / camera.half_width * (0.5 * size)
    x = (point[0] - camera.shift_x) * factor + 0.5 * size - 0.5
    return np.float32(x), np.float32(0.5 * size - 0.5 - (point[1] - camera.shift_y) * factor), np.float32(1.0 / depth)


@kernel
def project_points(camera, points, size, screen):
    """Project points (N, 3) into `screen` (N, 3)."""
    points, screen = bare((points, screen))
    for k in range(len(points)):
        screen[k, 0], screen[k, 1], screen[k, 2] = project(camera, triple(points, k), size)


@kernel
def rasterize(screen, triangles, ids, nearest):
    """Write the number of the nearest triangle (T, 3) into `ids` (S, S), where one is nearer than `nearest` (S, S).

    screen: vertices (V, 3) as x, y in samples and inverse depth, larger nearer.
    """
    screen, triangles, ids, nearest = bare((screen, triangles, ids, nearest))
    fill_triangles(screen, triangles, ids, nearest)


@part
def fill_triangles(screen, triangles, ids, nearest):
    """Do the work of `rasterize` inside other kernels."""
    for k in range(len(triangles)):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        _fill(
            (screen[a, 0], screen[a, 1], screen[a, 2]),
            (screen[b, 0], screen[b, 1], screen[b, 2]),
            (screen[c, 0], screen[c, 1], screen[c, 2]),
            k, ids, nearest,
        )  # fmt: skip


@part
def _fill(a, b, c, number, ids, nearest):
    """Fill the samples of one triangle in which it is the nearest so far."""
    one, zero = np.float32(1), np.float32(0)
    slack, last = np.float32(-SLACK), np.float32(ids.shape[0] - 1)
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = a, b, c
    left, right = max(zero, np.ceil(min(ax, bx, cx))), min(last, np.floor(max(ax, bx, cx)))
    top, bottom = max(zero, np.ceil(min(ay, by, cy))), min(last, np.floor(max(ay, by, cy)))
    if not (left <= right and top <= bottom):  # most strands of hair fall between the samples
        return
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area == zero or not np.isfinite(area):
        return
    inverse = one / area
    wide, front = right - left, max(az, bz, cz) * np.float32(1.0001)
    ac, ac_slope = _follow_edge(ax, ay, cx, cy, inverse, wide)
    ab, ab_slope = _follow_edge(bx, by, ax, ay, inverse, wide)
    bc, bc_slope = _follow_edge(cx, cy, bx, by, inverse, wide)
    for row in range(int(top), int(bottom) + 1):
        y = np.float32(row)
        first, end = left, right
        if wide > 3:
            first, end = _cut(first, end, ac, ax + (y - ay) * ac_slope)
            first, end = _cut(first, end, ab, ax + (y - ay) * ab_slope)
            first, end = _cut(first, end, bc, bx + (y - by) * bc_slope)
        for column in range(int(first), int(end) + 1):
            if front <= nearest[row, column]:
                continue
            x = np.float32(column)
            u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
            v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
            w = one - u - v
            if u < slack or v < slack or w < slack:
                continue
            depth = w * az + u * bz + v * cz
            if depth > nearest[row, column]:
                nearest[row, column] = depth
                ids[row, column] = number


@part
def _follow_edge(px, py, qx, qy, inverse, wide):
    """Return on which side of an edge the triangle lies (1: right, −1: left, 0: it crosses too few rows), its slope."""
    growth = (qy - py) * inverse
    if wide <= 3 or abs(growth) * wide < np.float32(0.01):
        return 0, np.float32(0)
    return 1 if growth > 0 else -1, (qx - px) / (qy - py)


@part
def _cut(first, end, side, crossing):
    """Cut off columns beyond an edge, but for one; the samples are tested exactly afterwards."""
    if side > 0:
        return max(first, np.ceil(crossing - np.float32(1))), end
    if side < 0:
        return first, min(end, np.floor(crossing + np.float32(1)))
    return first, end


@part
def tangent(points, k):
    """Return the direction of a strand (K, 3) at its point k."""
    last = len(points) - 1
    x, y, z = minus(triple(points, min(k + 1, last)), triple(points, min(k, last - 1)))
    return normalize((x + 1e-9, y + 1e-9, z + 1e-9))


@part
def half_across(points, width, k, eye):
    """Return the way from a strand's point k to the edge of its ribbon, which faces the camera at `eye`."""
    view = normalize(minus(eye, triple(points, k)))
    return scale(normalize(cross(tangent(points, k), view)), 0.5 * width[k])


def rasterize_ribbons(camera, strands, first: int, ids: np.ndarray, nearest: np.ndarray) -> None:
    """Draw strands as `rasterize` does triangles; segment s of strand n of K points gets first + 2·(n·K + s) + (0, 1).

    The first of its two triangles has the corners left, right and next left, the second right, next right, next left.
    """
    tiles = np.empty((len(ids) // _TILE + 1,) * 2, np.float32)
    middle = strands.points[:, strands.points.shape[1] // 2, 2]
    _draw_ribbons(camera, strands, np.argsort(-middle, kind="stable"), first, ids, nearest, tiles)


@kernel
def _draw_ribbons(camera, strands, order, first, ids, nearest, tiles):
    strands, order, ids, nearest, tiles = bare((strands, order, ids, nearest, tiles))
    size = len(ids)
    eye = place_camera(camera)
    count, length = strands.width.shape
    for rank in range(count):
        if rank % 200 == 0:
            _measure_tiles(nearest, tiles)
        n = order[rank]
        points, width = strands.points[n], strands.width[n]
        left = right = (np.float32(0), np.float32(0), np.float32(0))
        for k in range(length):
            point, edge = triple(points, k), half_across(points, width, k, eye)
            next_left, next_right = project(camera, minus(point, edge), size), project(camera, add(point, edge), size)
            if k > 0 and not _is_hidden(left, right, next_left, next_right, tiles):
                number = first + 2 * (n * length + k - 1)
                _fill(left, right, next_left, number, ids, nearest)
                _fill(right, next_right, next_left, number + 1, ids, nearest)
            left, right = next_left, next_right


@part
def _measure_tiles(nearest, tiles):
    """Note of each tile of samples how near the farthest of them is."""
    size = len(nearest)
    for row in range(len(tiles)):
        for column in range(len(tiles)):
            least = np.float32(np.inf)
            for y in range(row * _TILE, min((row + 1) * _TILE, size)):
                for x in range(column * _TILE, min((column + 1) * _TILE, size)):
                    least = min(least, nearest[y, x])
            tiles[row, column] = least


@part
def _is_hidden(a, b, c, d, tiles):
    """Return whether all that lies between four points is behind what every tile there shows already."""
    front, last = max(a[2], b[2], c[2], d[2]) * np.float32(1.0001), len(tiles) - 1.0
    left, right = min(a[0], b[0], c[0], d[0]) / _TILE, max(a[0], b[0], c[0], d[0]) / _TILE
    top, bottom = min(a[1], b[1], c[1], d[1]) / _TILE, max(a[1], b[1], c[1], d[1]) / _TILE
    if not (left <= right and top <= bottom):  # not numbers
        return True
    for row in range(int(clamp(top, 0.0, last)), int(clamp(bottom, 0.0, last)) + 1):
        for column in range(int(clamp(left, 0.0, last)), int(clamp(right, 0.0, last)) + 1):
            if front > tiles[row, column]:
                return False
    return True


@part
def barycentric(a, b, c, x, y):
    """Return perspective-correct weights of the sample (x, y) in a projected triangle."""
    inverse = 1.0 / ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
    u = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) * inverse
    v = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) * inverse
    wa, wb, wc = (1.0 - u - v) * a[2], u * b[2], v * c[2]
    total = wa + wb + wc
    return wa / total, wb / total, wc / total

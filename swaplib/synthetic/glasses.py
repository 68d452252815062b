"""Spectacles: rims, bridge and temples as tubes, and two lenses. Built on the posed head, so they fit everybody."""

from __future__ import annotations

from functools import cache

import numpy as np

from swaplib.synthetic import head
from swaplib.synthetic.mesh import Mesh

_RIM, _SIDES, _BRIDGE, _TEMPLE = 30, 6, 7, 8  # points around a lens, around a tube, along the bridge and a temple


@cache
def _tube_triangles(length: int, closed: bool) -> np.ndarray:
    rings = length if closed else length - 1
    out = []
    for ring in range(rings):
        for side in range(_SIDES):
            a, b = ring * _SIDES + side, ring * _SIDES + (side + 1) % _SIDES
            c, d = ((ring + 1) % length) * _SIDES + side, ((ring + 1) % length) * _SIDES + (side + 1) % _SIDES
            out += [(a, b, c), (b, d, c)]
    return np.array(out, np.int32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _tube(path: np.ndarray, radius: float) -> np.ndarray:
    """Return ring vertices (L·sides, 3) around a path (L, 3)."""
    along = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    along[0], along[-1] = path[1] - path[0], path[-1] - path[-2]
    along = _unit(along)
    one = _unit(np.cross(along, (0.35, 0.05, 1.0)))
    two = np.cross(along, one)
    angle = np.arange(_SIDES)[:, None] * (2 * np.pi / _SIDES)
    ring = np.cos(angle) * one[:, None] + np.sin(angle) * two[:, None]
    return (path[:, None] + radius * ring).reshape(-1, 3)


@cache
def triangles() -> tuple[np.ndarray, np.ndarray]:
    """Return the triangles of the frame and of the lenses over the vertices that `build` returns."""
    parts, offset = [], 0
    for length, closed in ((_RIM, True), (_RIM, True), (_BRIDGE, False), (_TEMPLE, False), (_TEMPLE, False)):
        parts.append(_tube_triangles(length, closed) + offset)
        offset += length * _SIDES
    ring, lenses = np.arange(_RIM), []
    for _ in range(2):
        lenses.append(np.stack([offset + ring, offset + (ring + 1) % _RIM, np.full(_RIM, offset + _RIM)], -1))
        offset += _RIM + 1
    return np.concatenate(parts).astype(np.int32), np.concatenate(lenses).astype(np.int32)


def build(glasses: np.void, mesh: Mesh) -> np.ndarray:
    """Build vertices (N, 3) on the posed head of one face."""
    get = {name: float(glasses[name]) for name in glasses.dtype.names}
    turn, eyes = mesh.turn, mesh.eyes @ mesh.turn
    x0, y0, z0 = eyes.mean(0)
    apart = float(np.linalg.norm(eyes[0] - eyes[1])) / 2
    angle = np.arange(_RIM) * (2 * np.pi / _RIM)
    power = 2 + 2.6 * (1 - get["roundness"])
    cos, sin = np.cos(angle), np.sin(angle)
    reach = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    wide, high = (0.81 + 0.07 * get["width"]) * apart, 0.185 + 0.03 * get["height"]
    front = max(z0 + 0.30, (mesh.points[_bridge()] @ turn)[:, 2].mean() + 0.02)
    rims = []
    for side in (1, -1):
        x = side * apart * 1.04 + wide * reach * cos
        bend = 0.14 * np.maximum(np.abs(x) - apart, -0.2)
        rims.append(np.stack([x + x0, y0 - 0.045 + high * reach * sin, front - bend], -1))
    span = np.linspace(-1, 1, _BRIDGE)
    gap = (apart * 1.04 - wide) * 1.02
    bridge = np.stack([gap * span + x0, y0 + 0.02 + 0.035 * (1 - span**2), front + 0.02 + 0 * span], -1)
    radius = 0.007 + 0.013 * get["thickness"]
    parts = [_tube(rims[0], radius), _tube(rims[1], radius), _tube(bridge, radius)]
    for ear, side in zip(_ear_tops(), (1, -1), strict=True):
        tip = mesh.points[ear] @ turn + (-0.01 * side, 0.03, 0.0)
        start = np.array([side * (apart * 1.04 + wide * 0.98) + x0, y0 + 0.06, front - 0.10])
        out = np.array([tip[0], (start[1] + tip[1]) / 2, start[2] - 0.25])
        t = np.linspace(0, 1, _TEMPLE)[:, None]
        parts.append(_tube((1 - t) ** 2 * start + 2 * t * (1 - t) * out + t**2 * tip, radius * 0.9))
    for rim in rims:
        parts.append(np.concatenate([rim, rim.mean(0, keepdims=True)]))
    return (np.concatenate(parts) @ turn.T).astype(np.float32)


@cache
def _ear_tops() -> list[int]:
    """Return the vertices where the ear meets the head at the top, left and right."""
    baked = head.arrays()
    points, ears = baked["vertices"], baked["masks"][:, head.MASKS.index("ears")]
    out = []
    for side in (1, -1):
        score = points[:, 1] + 0.5 * points[:, 2] - 10 * (ears < 0.4) - 10 * (points[:, 0] * side < 0)
        out.append(int(score.argmax()))
    return out


@cache
def _bridge() -> np.ndarray:
    """Return the vertices of the bridge of the nose where the frame rests."""
    x, y, z = head.arrays()["vertices"].T
    return np.flatnonzero((np.abs(x) < 0.05) & (y > 7.17) & (y < 7.3) & (z > 1.3))

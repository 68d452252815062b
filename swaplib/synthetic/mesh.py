"""The posed head as a mesh of one face: blend shapes, the turn of the head on the shoulders, the garment, normals."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from swaplib.synthetic import head
from swaplib.synthetic.compiled import (
    add,
    bare,
    clamp,
    cross,
    kernel,
    length,
    minus,
    normalize,
    on_triangle,
    part,
    scale,
    smoothstep,
    triple,
    turn_by,
)
from swaplib.synthetic.factors import Factors, column, record, shoulders
from swaplib.synthetic.head import NECK_PIVOT

SKULL_CENTRE = (0.0, 7.45, 0.55)  # of the template: from here the head is star-shaped
_GARMENT = 0.035  # dm that the garment stands off the skin


class Mesh(NamedTuple):
    """One posed head, the midpoint of the eyes at the origin; its triangles are those of `head.arrays`.

    points, normals (V, 3); turn (3, 3) of the head; eyes (2, 3): the eyeballs' centres, left and right;
    centre (3,): where the skull's centre went; radius (48, 96): the skin's distance from it by elevation and azimuth
    """

    points: np.ndarray
    normals: np.ndarray
    turn: np.ndarray
    eyes: np.ndarray
    centre: np.ndarray
    radius: np.ndarray


@cache
def _template() -> tuple[np.ndarray, ...]:
    """Return what the kernel needs to know of the template.

    The share of each vertex that turns with the head, how teeth, tongue and eyes are fitted in, the vertices of the
    eyeballs and of the skull's cap, and the normals.
    """
    points = head.arrays()["vertices"]
    high = np.clip((points[:, 1] - 5.55) / (6.35 - 5.55), 0, 1)
    turning = high * high * (3 - 2 * high)
    normals = head.normals(head.tensors()["vertices"][None], head.tensors()["triangles"])[0].numpy()
    cap = np.flatnonzero(points[:, 1] > 7.9).astype(np.int32)
    eyes = head.material_rows("left_eye"), head.material_rows("right_eye")
    return turning, *head.fit_inner_parts(), *eyes, cap, normals


def weigh(factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Return the blend-shape weights (B, K) of the people, and of those who lend their shoulders."""
    macro = {name: column(factors, "body", name) for name in ("masculine", "age", "weight", "muscle")}
    build = head.weights(shoulders(macro, factors["shape"]))
    return head.weights(factors["shape"], factors["expression"]).numpy(), build.numpy()


def pose(factors: Factors, person: np.ndarray, build: np.ndarray) -> Mesh:
    """Build the posed mesh of one face (B is 1) of weights (K,), as `weigh` returns, the garment off the skin."""
    baked = head.arrays()
    turn = head.rotation(factors["pose"].double())[0].numpy()
    points, ring = baked["vertices"], baked["skull_ids"].shape[:2]
    mesh = Mesh(np.empty_like(points), np.empty_like(points), turn, np.empty((2, 3)), np.empty(3), np.empty(ring))
    _pose(
        baked["vertices"], baked["triangles"], baked["shape_offsets"], baked["shape_rows"], baked["shape_deltas"],
        person, build, *_template(), record(factors, "body"), baked["skull_ids"], baked["skull_weights"],
        np.empty_like(mesh.points), mesh,
    )  # fmt: skip
    return mesh


@kernel
def _pose(
    template, triangles, offsets, rows, deltas, person, build, turning, wide, inner, left, right, cap, flat, body,
    skull_ids, skull_weights, trunk, mesh,
):  # fmt: skip
    mesh, template, triangles, trunk = bare((mesh, template, triangles, trunk))
    offsets, rows, deltas, flat = bare((offsets, rows, deltas, flat))
    points, turn = mesh.points, mesh.turn
    _add_shapes(points, template, offsets, rows, deltas, person)
    _add_shapes(trunk, template, offsets, rows, deltas, build)
    for k in range(len(points)):
        x, y, z = triple(points, k)
        points[k, 0], points[k, 1], points[k, 2] = add((x * wide[k], y, z), triple(inner, k))
    middle = scale(add(_mean(points, left), _mean(points, right)), 0.5)
    # The person's eyes stand where those stood who lent the shoulders.
    eye = turn_by(turn, minus((body.eye_x, body.eye_y, body.eye_z), NECK_PIVOT))
    for k in range(len(points)):
        above = turn_by(turn, minus(triple(points, k), middle))
        below = minus(minus(triple(trunk, k), NECK_PIVOT), eye)
        share = turning[k]
        cloth = 0.0
        if template[k, 1] < 6.3:
            cloth = _GARMENT * smoothstep(-0.01, 0.05, neckline(body, triple(template, k)))
        for axis in range(3):
            points[k, axis] = below[axis] + share * (above[axis] - below[axis]) + cloth * flat[k, axis]
    _find_normals(points, triangles, mesh.normals)
    for k, rows_of_eye in enumerate((left, right)):
        eye = _mean(points, rows_of_eye)
        for axis in range(3):
            mesh.eyes[k, axis] = eye[axis]
    # The centre of the skull moves with the mean of its cap.
    shift = turn_by(turn, minus(SKULL_CENTRE, _mean(template, cap)))
    centre = add(_mean(points, cap), shift)
    for axis in range(3):
        mesh.centre[axis] = centre[axis]
    for i in range(skull_ids.shape[0]):
        for j in range(skull_ids.shape[1]):
            place = on_triangle(points, skull_ids[i, j], skull_weights[i, j])
            mesh.radius[i, j] = length(minus(place, centre))


@part
def _add_shapes(points, template, offsets, rows, deltas, weights):
    for k in range(len(points)):
        points[k, 0], points[k, 1], points[k, 2] = template[k, 0], template[k, 1], template[k, 2]
    for shape in range(len(weights)):
        if weights[shape] != 0:
            for k in range(offsets[shape], offsets[shape + 1]):
                row = rows[k]
                points[row, 0] += weights[shape] * deltas[k, 0]
                points[row, 1] += weights[shape] * deltas[k, 1]
                points[row, 2] += weights[shape] * deltas[k, 2]


@part
def _mean(points, rows):
    x = y = z = 0.0
    for row in rows:
        x += points[row, 0]
        y += points[row, 1]
        z += points[row, 2]
    return x / len(rows), y / len(rows), z / len(rows)


@part
def _find_normals(points, triangles, normals):
    """Fill in area-weighted unit normals of all vertices."""
    for k in range(len(normals)):
        normals[k, 0], normals[k, 1], normals[k, 2] = 0.0, 0.0, 0.0
    for k in range(len(triangles)):
        corner = triple(points, triangles[k, 0])
        face = cross(minus(triple(points, triangles[k, 1]), corner), minus(triple(points, triangles[k, 2]), corner))
        for vertex in triangles[k]:
            for axis in range(3):
                normals[vertex, axis] += face[axis]
    for k in range(len(normals)):
        normals[k, 0], normals[k, 1], normals[k, 2] = normalize(triple(normals, k))


@part
def neckline(body, place):
    """Return how far (dm) a template place lies below the garment's edge; positive on cloth."""
    x, y, z = place
    # A ring around the neck that dips in front; a V for collar kind 2, a standing collar for kind 1.
    front = smoothstep(-0.2, 0.9, z)
    if body.collar > 1.5:
        edge = 6.0 - (0.55 + 0.25 * body.neckline) * front * (1.0 - clamp(abs(x) / 0.55, 0.0, 1.0))
    elif body.collar > 0.5:
        edge = 6.10 - (0.14 + 0.14 * body.neckline) * front
    else:
        edge = 5.98 - (0.10 + 0.26 * body.neckline) * front - 0.16 * smoothstep(0.55, 1.0, abs(x))
    # Shoulders are always covered, however low the front is cut.
    shoulder = 0.5 * (math.hypot(x, z - 0.2) - 0.95) if y < 6.1 else -1.0
    return max(edge - y, shoulder)

"""One picture with labels and landmarks: mesh, glasses and strands, what each sample sees, and the painter.

This module and those it imports hold the compiled parts; `renderer` imports it when the first picture is rendered.
"""

from __future__ import annotations

import numpy as np
import torch

from swaplib.synthetic import glasses, hair, head, light, mesh, painter, raster
from swaplib.synthetic.factors import Factors, record

Picture = tuple[np.ndarray, np.ndarray, np.ndarray]


def render_all(factors: Factors, size: int, supersample: int) -> list[Picture]:
    """Render each face: image (3, S, S) in [-1, 1], labels (S, S) and landmarks (68, 2)."""
    weights = zip(*mesh.weigh(factors), strict=True)
    return [
        _render_one({group: values[k : k + 1] for group, values in factors.items()}, *both, size, supersample)
        for k, both in enumerate(weights)
    ]


def _render_one(factors: Factors, person: np.ndarray, build: np.ndarray, size: int, supersample: int) -> Picture:
    samples = size * supersample
    look = painter.Look(*(record(factors, group) for group in painter.Look._fields))
    body = mesh.pose(factors, person, build)
    strands = hair.grow(factors, body, copies=1 if samples < 384 else 2 if samples < 768 else 4)
    shadows = light.cast_shadows(look.light, body.points, head.arrays()["triangles"], strands[hair.SCALP].points)
    points, triangles, lenses = _put_on_glasses(look.glasses, body)
    screen = _project(look.camera, points, samples)
    ids, nearest = np.full((samples, samples), -1, np.int32), np.zeros((samples, samples), np.float32)
    raster.rasterize(screen, triangles, ids, nearest)
    kinds = _number(strands)
    for some, (first, _, _) in zip(strands, kinds, strict=False):
        raster.rasterize_ribbons(look.camera, some, len(triangles) + 2 * first, ids, nearest)
    before = np.full((samples, samples), -1, np.int32)
    raster.rasterize(screen, lenses, before, np.zeros((samples, samples), np.float32))
    scene = painter.Scene(body, points, screen, triangles, _join(strands), kinds, shadows, samples)
    image, labels = painter.paint(scene, look, ids, before, _grain(look.camera, size))
    marks = head.landmark_points(body.points, lambda points: _project(look.camera, points, size)[:, :2])
    return image, labels, marks


def _put_on_glasses(worn: np.void, body: mesh.Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices and triangles of head and frame, and the triangles of the lenses; no glasses have none."""
    triangles = head.arrays()["triangles"]
    if worn["worn"] < 0.5:
        return body.points, triangles, triangles[:0]
    frame, lenses = (some + len(body.points) for some in glasses.triangles())
    return np.concatenate([body.points, glasses.build(worn, body)]), np.concatenate([triangles, frame]), lenses


def _number(strands: tuple[hair.Strands, ...]) -> np.ndarray:
    """Return `painter.Scene.kinds` of strands that are laid one after the other."""
    sizes = np.array([(some.width.size, 0, len(some.width)) for some in strands])
    kinds = np.concatenate([np.zeros((1, 3), np.int64), sizes.cumsum(0)])
    kinds[:-1, 1] = [some.width.shape[1] for some in strands]
    return kinds


def _join(strands: tuple[hair.Strands, ...]) -> hair.Strands:
    points, width, seeds, height = zip(*strands, strict=True)
    flat = ([values.reshape(-1, *values.shape[2:]) for values in some] for some in (points, width, height))
    points, width, height = (np.concatenate(some) for some in flat)
    return hair.Strands(points, width, np.concatenate(seeds), height)


def _project(camera: np.void, points: np.ndarray, size: int) -> np.ndarray:
    screen = np.empty(points.shape, np.float32)
    raster.project_points(camera, points, size, screen)
    return screen


def _grain(camera: np.void, size: int) -> np.ndarray:
    """Draw the sensor's noise."""
    generator = torch.Generator().manual_seed(int(camera["seed"]))
    return (torch.randn(size, size, 3, generator=generator) * float(camera["noise"])).numpy()

"""What lies over a face: a bar or a hand, drawn over pixels and labels, alike over a target and over its true swap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from swaplib.faces import Faces, from_uint8, to_uint8

Rod = tuple[tuple[float, float], tuple[float, float], float, float]
"""Two ends, and the radius at each, in shares of the picture's width."""
_SAMPLES = 4  # per pixel along each axis


def put_bar(faces: Faces, number: int) -> Faces:
    """Put a round bar over some part of the faces, aslant; number: which one."""
    random = np.random.default_rng([20, number])
    angle, radius = random.uniform(-0.6, 0.6), random.uniform(0.03, 0.06)
    middle = np.array([random.uniform(0.4, 0.6), random.uniform(0.4, 0.75)])
    along = np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(middle - 1.2 * along), tuple(middle + 1.2 * along)]
    colour = random.uniform(0.1, 0.9, 3)
    return _draw(faces, [(*ends, radius, radius)], colour, random.uniform(-1, 1))


def put_hand(faces: Faces, number: int) -> Faces:
    """Put a hand over cheek, mouth or an eye, from the left or the right; number: which one."""
    random = np.random.default_rng([21, number])
    side = 1 if random.random() < 0.5 else -1
    tip = np.array([0.5 - side * random.uniform(-0.02, 0.14), random.uniform(0.48, 0.7)])
    angle = random.uniform(0.35, 1.0)  # of the fingers, upwards
    along = np.array([-side * np.cos(angle), -np.sin(angle)])
    across = np.array([-along[1], along[0]]) * side
    rods: list[Rod] = []
    for finger, (length, place) in enumerate([(0.20, -1.5), (0.235, -0.5), (0.225, 0.5), (0.18, 1.5)]):
        end = tip + place * 0.062 * across + along * (length - 0.235)
        bend = tip + place * 0.058 * across - along * 0.14
        knuckle = tip + place * 0.055 * across - along * (0.25 + 0.02 * abs(place))
        rods += [(tuple(knuckle), tuple(bend), 0.034, 0.031), (tuple(bend), tuple(end), 0.031, 0.023 + 0.002 * finger)]
    palm = tip - along * 0.34
    rods = [(tuple(palm - along * 0.5), tuple(palm), 0.12, 0.125), *rods]
    tone = random.uniform(0, 1)
    colour = (1 - tone) * np.array([0.90, 0.72, 0.62]) + tone * np.array([0.36, 0.23, 0.17])
    return _draw(faces, rods, colour, random.uniform(-1, 1))


def _draw(faces: Faces, rods: Sequence[Rod], colour: np.ndarray, light: float) -> Faces:
    """Draw rods over pictures, each over those before it; what they cover is no face. light: from −1, left, to 1."""
    size = faces.size[0]
    painted, covered = _paint(rods, colour, light, size * _SAMPLES)
    shape = (size, _SAMPLES, size, _SAMPLES)
    share = covered.reshape(shape).mean((1, 3))
    mean = (painted * covered[..., None]).reshape(*shape, 3).mean((1, 3)) / np.maximum(share, 1e-6)[..., None]
    mixed = to_uint8(faces.images) * (1 - share[..., None]) + 255 * mean * share[..., None]
    hidden = torch.from_numpy(share > 0.5)
    labels = None if faces.labels is None else torch.where(hidden, torch.zeros_like(faces.labels), faces.labels)
    return replace(faces, images=from_uint8(np.round(mixed).astype(np.uint8)), labels=labels)


def _paint(rods: Sequence[Rod], colour: np.ndarray, light: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (S, S, 3) in [0, 1], and where rods are, bool (S, S)."""
    rows, columns = (np.indices((size, size)) + 0.5) / size
    painted, covered = np.zeros((size, size, 3)), np.zeros((size, size), bool)
    beam = np.array([0.55 * light, -0.45, 0.7])
    for start, end, wide, narrow in rods:
        (x0, y0), (x1, y1) = start, end
        dx, dy = x1 - x0, y1 - y0
        at = np.clip(((columns - x0) * dx + (rows - y0) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        away = np.stack([columns - x0 - at * dx, rows - y0 - at * dy])
        radius = wide + (narrow - wide) * at
        off = np.sqrt((away**2).sum(0)) / radius
        inside = off < 1
        height = np.sqrt(np.clip(1 - off**2, 0, 1))
        bright = np.clip((away[0] * beam[0] + away[1] * beam[1]) / radius + height * beam[2], 0, None)
        shade = (0.35 + 0.65 * bright)[..., None] * (0.75 + 0.25 * height)[..., None]
        painted[inside] = np.clip(shade * colour, 0, 1)[inside]
        covered |= inside
    return painted, covered

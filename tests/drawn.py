"""Faces drawn with a few ellipses, for tests that need a record with everything in it but no renderer."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from swaplib.faces import CELEBA_ATTRIBUTES, CELEBAMASK_HQ, LANDMARK_MIRROR, Faces, from_uint8

# One half of a plain face, in widths of the face; the other half is its mirror image.
_HALF = {
    **{k: (-0.5 * np.cos(np.pi * k / 16), 0.05 + 0.55 * np.sin(np.pi * k / 16)) for k in range(9)},
    **{17 + k: (-0.4 + 0.08 * k, -0.36 - 0.05 * np.sin(np.pi * k / 4)) for k in range(5)},
    **{27 + k: (0, -0.22 + 0.08 * k) for k in range(4)},
    **{31 + k: (-0.1 + 0.05 * k, 0.09) for k in range(3)},
    36: (-0.3, -0.2), 37: (-0.25, -0.24), 38: (-0.18, -0.24), 39: (-0.13, -0.2), 40: (-0.18, -0.17), 41: (-0.25, -0.17),
    48: (-0.18, 0.28), 49: (-0.12, 0.24), 50: (-0.05, 0.22), 51: (0, 0.23), 57: (0, 0.36), 58: (-0.06, 0.35),
    59: (-0.12, 0.33), 60: (-0.15, 0.28), 61: (-0.05, 0.26), 62: (0, 0.26), 66: (0, 0.31), 67: (-0.05, 0.31),
}  # fmt: skip


class Pictures:
    """As much of a dataset as a report asks for."""

    def __init__(self, faces):
        self.faces = faces

    def __len__(self):
        return len(self.faces)

    def batches(self, size):
        return (self.faces[first : first + size] for first in range(0, len(self), size))


def faces(count: int, size: int = 64, seed: int = 0) -> Faces:
    """Random drawn faces with labels, landmarks, attributes and identities."""
    rng = np.random.default_rng(seed)
    rows = [_draw(size, rng) for _ in range(count)]
    images, labels, landmarks = zip(*rows, strict=True)
    return Faces(
        from_uint8(np.stack(images)),
        torch.from_numpy(np.stack(labels)),
        torch.from_numpy(np.stack(landmarks)).float(),
        torch.from_numpy(rng.integers(0, 2, (count, len(CELEBA_ATTRIBUTES)))).float(),
        torch.arange(count),
    )


def _draw(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = np.zeros((68, 2))
    for k, (x, y) in _HALF.items():
        shape[k], shape[LANDMARK_MIRROR[k]] = (x, y), (-x, y)
    points = shape * rng.uniform(0.48, 0.56, 2) * size + size * rng.uniform(0.47, 0.53, 2)
    noise = cv2.resize(rng.uniform(0, 255, (8, 8, 3)), (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    image, labels = noise.astype(np.uint8), np.zeros((size, size), np.uint8)
    _fill(image, labels, np.concatenate((points[:17], points[17:27] - [0, 0.2 * size])), "hair", rng.uniform(0, 255, 3))
    skin = rng.uniform(60, 220) * np.array([1, 0.8, 0.7])
    _fill(image, labels, points[:27], "skin", skin)
    _fill(image, labels, points[27:36], "nose", skin * 0.9)
    for name, part in (("left_brow", slice(22, 27)), ("right_brow", slice(17, 22))):
        _fill(image, labels, np.concatenate((points[part], points[part] + [0, 0.03 * size])), name, skin * 0.4)
    for name, part in (("left_eye", slice(42, 48)), ("right_eye", slice(36, 42))):
        _fill(image, labels, points[part], name, rng.uniform(0, 255, 3))
    _fill(image, labels, points[48:55], "upper_lip", skin * [1, 0.5, 0.5])
    _fill(image, labels, points[[54, 55, 56, 57, 58, 59, 48]], "lower_lip", skin * [1, 0.6, 0.6])
    _fill(image, labels, points[60:68], "mouth", np.array([40, 10, 10]))
    grain = rng.normal(0, 6, image.shape)
    return (image + grain).clip(0, 255).astype(np.uint8), labels, points


def _fill(image: np.ndarray, labels: np.ndarray, points: np.ndarray, name: str, colour: np.ndarray) -> None:
    hull = cv2.convexHull(np.round(points).astype(np.int32))
    cv2.fillConvexPoly(image, hull, tuple(float(c) for c in colour))
    cv2.fillConvexPoly(labels, hull, CELEBAMASK_HQ.index(name))

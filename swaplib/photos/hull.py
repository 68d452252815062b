"""RSGAN's face mask, the stretched hull of landmarks, and its two crops (Natsume et al. 2018, section 3.2)."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from swaplib.faces import Faces

# ---------------------------------------------------------------------------------------------- RSGAN's data


def rsgan_mask(landmarks: np.ndarray | torch.Tensor, size: int | tuple[int, int], first: int = 27) -> torch.Tensor:
    """Return RSGAN's face mask (Natsume et al. 2018, section 3.2), bool (H, W), or (B, H, W) for landmarks (B, 68, 2).

    The convex hull of eyes, nose and mouth (landmarks 27 to 67), stretched 1.3 times in width and 1.4 times in
    height about the centre of its bounding box; the paper doesn't name the centre. first: the first landmark of the
    hull; from 17 on it includes the brows, from 0 on the cheeks, which are not stretched in width.
    """
    points = np.asarray(torch.as_tensor(landmarks).cpu(), float)
    if points.ndim == 3:
        return torch.stack([rsgan_mask(one, size, first) for one in points])
    height, width = (size, size) if isinstance(size, int) else size
    used = points[first:68]
    centre = (used.min(0) + used.max(0)) / 2
    stretch = (1.3, 1.4) if first else (1.0, 1.15)
    return torch.from_numpy(_hull((used - centre) * stretch + centre, height, width))


def _hull(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill the convex hull of points (N, 2), bool (height, width); fixed-point coordinates of 1/16 pixel."""
    hull = cv2.convexHull(np.rint(points * 16).astype(np.int32))
    return cv2.fillConvexPoly(np.zeros((height, width), np.uint8), hull, 1, shift=4).astype(bool)


def rsgan_crops(faces: Faces, size: int = 128) -> tuple[Faces, Faces]:
    """Cut RSGAN's two crops from faces aligned as CelebA (218 x 178): face and hair region, each size x size.

    Face: corner (30, 70), 118 x 118. Hair: corner (0, 20), 178 x 178 (Natsume et al. 2018, section 3.2).
    """
    if faces.size != (218, 178):
        raise ValueError(
            f"RSGAN's crops are for 218 x 178 pictures, got {faces.size}: use photos.align(faces, 'celeba')"
        )
    return _crop(faces, 30, 70, 118).resize(size), _crop(faces, 0, 20, 178).resize(size)


def _crop(faces: Faces, left: int, top: int, side: int) -> Faces:
    rows, columns = slice(top, top + side), slice(left, left + side)
    return replace(
        faces,
        images=faces.images[..., rows, columns],
        labels=None if faces.labels is None else faces.labels[..., rows, columns],
        landmarks=None if faces.landmarks is None else faces.landmarks - faces.landmarks.new_tensor([left, top]),
    )

"""Region labels of a photograph in any framing, found by a parser in its portrait crop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from swaplib.faces import from_uint8
from swaplib.photos.alignment import (
    alignment,
    canvas,
    warp_labels,
    warp_photo,
)

# ---------------------------------------------------------------------------------------------- labels

Parser = Callable[[torch.Tensor], torch.Tensor]
"""Images (B, 3, H, W) in [-1, 1], in portrait framing -> labels (B, H, W), uint8, CelebAMask-HQ's 19 classes: the
`parse` of a judge."""


def parse(image: np.ndarray, landmarks: np.ndarray, parser: Parser, size: int = 256) -> np.ndarray:
    """Label a picture in any framing, uint8 (H, W, 3), with landmarks (68, 2): CelebAMask-HQ's classes, uint8 (H, W).

    The parser sees the picture's portrait crop, `size` pixels high; what lies beyond the crop is background.
    """
    matrix = alignment(np.asarray(landmarks, float), "portrait", size, image.shape)
    crop = warp_photo(image, matrix, canvas("portrait", size))
    labels = parser(from_uint8(crop)[None])[0].cpu().numpy()
    return warp_labels(labels, np.linalg.inv(matrix), image.shape[:2])

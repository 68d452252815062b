"""Mask-Guided Portrait Editing's components: where they lie in a mask, and the boxes that follow them.

Masks are integers (B, H, W) in the order of `faces.MGPE`. After Gu et al. 2019, arXiv:1905.10346, and the authors'
code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from swaplib.faces import MGPE


@dataclass(frozen=True)
class Region:
    """Where a component is.

    labels   its classes of the mask
    box      height and width around the middle of the classes, in pixels at 256 px; None: the whole picture
    middle   (y, x) at 256 px where the mask has no such class
    masked   whether the rest of the box is grey
    """

    labels: tuple[str, ...]
    box: tuple[int, int] | None = None
    middle: tuple[int, int] = (128, 128)
    masked: bool = True


# In the order in which the authors' generator takes their features.
LOCAL = {
    "left_eye": Region(("image_left_eye",), (32, 48), (116, 96), masked=False),
    "right_eye": Region(("image_right_eye",), (32, 48), (116, 160), masked=False),
    "skin": Region(("skin", "image_left_brow", "image_right_brow", "nose")),
    "hair": Region(("hair",)),
    "mouth": Region(("upper_lip", "mouth", "lower_lip"), (80, 144), (184, 128)),
}
GLOBAL = {"face": Region(MGPE[1:])}
SEEDS = {None: (2, 2), (32, 48): (2, 3), (80, 144): (5, 9)}
"""Box -> height and width of the coarsest map of its auto-encoder."""


INNER = tuple(name for name in MGPE if name not in ("background", "hair"))
"""Classes whose shape a recomposed mask takes from the source."""


def find_region(mask: torch.Tensor, region: Region) -> torch.Tensor:
    """Return where a mask (B, S, S) shows a component, bool."""
    wanted = torch.tensor([MGPE.index(name) for name in region.labels], device=mask.device, dtype=mask.dtype)
    return torch.isin(mask, wanted)


def find_middles(mask: torch.Tensor, region: Region) -> torch.Tensor:
    """Return the middle (y, x) of the box around a component in each mask (B, S, S), int64 (B, 2).

    Where a mask has no such component, it is the region's own middle.
    """
    there, size = find_region(mask, region), mask.shape[-1]
    found = []
    for line, otherwise in zip((there.any(2), there.any(1)), region.middle, strict=True):
        first, last = line.int().argmax(1), size - 1 - line.flip(1).int().argmax(1)
        found.append(torch.where(line.any(1), (first + last) // 2, otherwise * size // 256))
    return torch.stack(found, 1)


def place_boxes(middle: torch.Tensor, box: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """Return the top left corners (y, x) of boxes around middles (B, 2), moved into a square of `size`."""
    height, width = box
    return [
        (min(max(y - height // 2, 0), size - height), min(max(x - width // 2, 0), size - width))
        for y, x in middle.tolist()
    ]


def crop_boxes(images: torch.Tensor, at: list[tuple[int, int]], box: tuple[int, int]) -> torch.Tensor:
    """Crop boxes (B, C, h, w) from images (B, C, S, S)."""
    (h, w), pairs = box, zip(images, at, strict=True)
    return torch.stack([image[:, y : y + h, x : x + w] for image, (y, x) in pairs])


def paste_boxes(features: torch.Tensor, at: list[tuple[int, int]], size: int) -> torch.Tensor:
    """Paste features (B, C, h, w) at their places into a grid (B, C, size, size) of zeros."""
    h, w = features.shape[-2:]
    pairs = zip(features, at, strict=True)
    return torch.stack([F.pad(one, (x, size - w - x, y, size - h - y)) for one, (y, x) in pairs])


def enlarge(mask: torch.Tensor, factor: float) -> torch.Tensor:
    """Enlarge eyes and mouth of the mask (B, S, S) about their middles."""
    rows = torch.arange(mask.shape[-1], device=mask.device)
    batch = torch.arange(len(mask), device=mask.device)[:, None, None]
    larger = mask
    for name in ("left_eye", "right_eye", "mouth"):
        middle = find_middles(mask, LOCAL[name])
        y, x = ((rows + (1 / factor - 1) * (rows - at[:, None])).round().long() for at in middle.T)
        zoomed = mask[batch, y[:, :, None], x[:, None]]
        larger = torch.where(find_region(zoomed, LOCAL[name]), zoomed, larger)
    return larger

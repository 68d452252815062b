"""Photographs: reading them, finding and aligning faces, RSGAN's masks and crops, blending, dlib's descriptor.

A photo is a uint8 RGB array (H, W, 3); an aligned face is a `Faces` record.
"""

from __future__ import annotations

from swaplib.photos.alignment import (
    KINDS,
    Kind,
    align,
    alignment,
    canvas,
    move,
    paste_back,
    resizing,
    warp,
    warp_labels,
    warp_photo,
)
from swaplib.photos.descriptors import describe, describe_photo
from swaplib.photos.detection import Detection, Prepared, choose, detect, find, prepare, search
from swaplib.photos.hull import rsgan_crops, rsgan_mask
from swaplib.photos.parsing import Parser, parse
from swaplib.photos.reading import (
    ON_WHITE,
    PhotoError,
    load,
    open_image,
    read,
    read_alpha,
    refuse_address,
    restore_alpha,
)

__all__ = (
    "KINDS", "ON_WHITE", "Detection", "Kind", "Parser", "PhotoError", "Prepared", "align", "alignment", "canvas",
    "choose", "describe", "describe_photo", "detect", "find", "load", "move", "open_image", "parse", "paste_back",
    "prepare", "read", "read_alpha", "refuse_address", "resizing", "restore_alpha", "rsgan_crops", "rsgan_mask",
    "search", "warp", "warp_labels", "warp_photo",
)  # fmt: skip

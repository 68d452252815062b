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
from swaplib.photos.detection import Detection, Prepared, choose, detect, find, prepare
from swaplib.photos.hull import rsgan_crops, rsgan_mask
from swaplib.photos.parsing import Parser, parse
from swaplib.photos.reading import PhotoError, load, open_image, read, refuse_address

__all__ = (
    "KINDS", "Detection", "Kind", "Parser", "PhotoError", "Prepared", "align", "alignment", "canvas", "choose",
    "describe", "describe_photo", "detect", "find", "load", "move", "open_image", "parse", "paste_back", "prepare",
    "read", "refuse_address", "resizing", "rsgan_crops", "rsgan_mask", "warp", "warp_labels", "warp_photo",
)  # fmt: skip

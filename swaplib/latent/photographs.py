"""Swaps between photographs of any size: aligned, swapped, pasted back."""

from __future__ import annotations

import os
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from PIL import Image

from swaplib import photos
from swaplib.families import Family
from swaplib.photos import PhotoError

Photo = str | os.PathLike | Image.Image | np.ndarray
Face = str | int | tuple[float, float]


# ---------------------------------------------------------------------------------------------- photographs


def swap_photographs(
    family: Family,
    source: Photo,
    target: Photo,
    kind: photos.Kind | None = None,
    size: int | None = None,
    source_face: Face = "largest",
    target_face: Face = "largest",
    amounts: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Put the source's face into the target photograph: align both, swap them, paste the result back.

    source, target: a path, a PIL image or an array. kind: the alignment; None for the family's own. size: height of the
    aligned pictures in pixels; None for the family's own, or, where it takes any size, for that of the face in the
    target photograph. source_face, target_face: which face, as in `photos.choose`. amounts: as in `Family.mix`; None
    for a plain swap. Returns the photograph, uint8 RGB (H, W, 3), bit for bit the target's where the swap changes
    nothing, and notes on what was done. Raises PhotoError with one sentence that names the photograph and the remedy.
    """
    kind = kind or family.framing
    into = prepare_photo("target", target, kind, size or family.config.size, target_face)
    if size is None and family.any_size:
        scale = np.sqrt(abs(np.linalg.det(into.matrix[:2, :2])))
        size = int(np.clip(family.config.size / scale, 64, 1024))
        into = prepare_photo("target", target, kind, size, target_face)
    own = prepare_photo("source", source, kind, into.faces.size[0], source_face)
    try:
        device = next((parameter.device for parameter in family.parameters()), "cpu")
        picture = family.swap(own.faces.to(device), into.faces.to(device), amounts).cpu()
    except ValueError as error:
        raise PhotoError(f"{family.name} can't swap these photographs: {error}", "family") from error
    photo = photos.paste_back(into.photo, picture, into.matrix, mark_changes(picture, into.faces.images))
    notes = [f"{name}: {one.note}" for name, one in (("source", own), ("target", into)) if one.note]
    return photo, notes


def prepare_photo(role: str, photo: Photo, kind: photos.Kind, size: int, face: Face) -> photos.Prepared:
    """Prepare a photograph as `photos.prepare` does, naming its role in errors."""
    try:
        return photos.prepare(photo, kind, size, face)
    except PhotoError as error:
        raise PhotoError(f"{role}: {error}", error.cause) from error


def mark_changes(picture: torch.Tensor, before: torch.Tensor) -> np.ndarray:
    """Return weights (H, W): 1 where the picture differs from what was there before, falling to 0 around it."""
    changed = ((picture - before).abs().amax(1)[0] > 1 / 255).numpy().astype(np.float32)
    reach = max(1, round(max(changed.shape) / 100))
    wide = cv2.dilate(changed, np.ones((3, 3)), iterations=2 * reach)
    return cv2.GaussianBlur(wide, (0, 0), reach)

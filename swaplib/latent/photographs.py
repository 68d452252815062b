"""Swaps between photographs of any size: aligned, swapped, pasted back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

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
    source: Photo | Sequence[Photo],
    target: Photo,
    kind: photos.Kind = "portrait",
    size: int | None = None,
    source_face: Face = "largest",
    target_face: Face = "largest",
    amounts: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Put the source's face into the target photograph: align both, swap them, paste the result back.

    source, target: a path, a PIL image or an array; several photographs of the source's person as a list, whose codes
    are averaged (`Family.average`). kind: the alignment. size: height of the aligned pictures in pixels; None for the
    family's own, or, where it takes any size, for that of the face in the target photograph.
    source_face, target_face: which face, as in `photos.choose`. amounts: as in `Family.mix`; None for a plain swap.
    Returns the photograph, uint8 RGB (H, W, 3), bit for bit the target's where the swap changes nothing, and notes
    on what was done. Raises PhotoError with one sentence that names the photograph and the remedy.
    """
    into = prepare_photo("target", target, kind, size or family.config.size, target_face)
    if size is None and family.any_size:
        scale = np.sqrt(abs(np.linalg.det(into.matrix[:2, :2])))
        size = int(np.clip(family.config.size / scale, 64, 1024))
        into = prepare_photo("target", target, kind, size, target_face)
    several = [*source] if isinstance(source, (list, tuple)) else [source]
    if not several:
        raise PhotoError("no source given: name a photograph of the person whose face is swapped in", "missing")
    roles = ["source"] if len(several) == 1 else [f"source {k + 1}" for k in range(len(several))]
    prepared = [
        prepare_photo(role, one, kind, into.faces.size[0], source_face)
        for role, one in zip(roles, several, strict=True)
    ]
    try:
        device = next((parameter.device for parameter in family.parameters()), "cpu")
        own, *also = (one.faces.to(device) for one in prepared)
        picture, weights = family.overlay(own, into.faces.to(device), amounts, also)
    except ValueError as error:
        raise PhotoError(f"{family.name} can't swap these photographs: {error}", "family") from error
    mask = weigh(picture.cpu(), into.faces.images, weights)[0]
    photo = photos.paste_back(into.photo, picture.cpu(), into.matrix, mask)
    both = zip((*roles, "target"), (*prepared, into), strict=True)
    notes = [f"{name}: {one.note}" for name, one in both if one.note]
    return photo, notes


def prepare_photo(role: str, photo: Photo, kind: photos.Kind, size: int, face: Face) -> photos.Prepared:
    """Prepare a photograph as `photos.prepare` does, naming its role in errors."""
    try:
        return photos.prepare(photo, kind, size, face)
    except PhotoError as error:
        raise PhotoError(f"{role}: {error}", error.cause) from error


def weigh(images: torch.Tensor, before: torch.Tensor, weights: torch.Tensor | None = None) -> np.ndarray:
    """Return the weights (B, H, W) by which swapped pictures go back into their photographs: an `Overlay`'s.

    Without any, they are 1 where a picture differs from what was there before, falling to 0 around it.
    """
    if weights is not None:
        return weights.cpu().numpy()
    changed = ((images - before).abs().amax(1) > 1 / 255).numpy().astype(np.float32)
    reach = max(1, round(max(changed.shape[1:]) / 100))
    wide = [cv2.dilate(one, np.ones((3, 3)), iterations=2 * reach) for one in changed]
    return np.stack([cv2.GaussianBlur(one, (0, 0), reach) for one in wide])

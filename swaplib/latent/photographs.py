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
Who = Face | Photo
"""A face as in `photos.choose`, "all", or a photograph: the face that is likest to it."""
ALIKE = 0.6  # distance of descriptors up to which dlib takes two faces for one person


# ---------------------------------------------------------------------------------------------- photographs


def swap_photographs(
    family: Family,
    source: Photo,
    target: Photo,
    kind: photos.Kind = "portrait",
    size: int | None = None,
    source_face: Face = "largest",
    target_face: Who = "largest",
    amounts: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Put the source's face into the target photograph: align both, swap them, paste the result back.

    source, target: a path, a PIL image or an array. kind: the alignment. size: height of the aligned pictures in
    pixels; None for the family's own, or, where it takes any size, for that of the face in the target photograph.
    source_face, target_face: which face, as in `Who`; for all, see `swap_everyone`. amounts: as in `Family.mix`; None
    for a plain swap.
    Returns the photograph, uint8 RGB (H, W, 3), or RGBA where the target is transparent somewhere, bit for bit the
    target's where the swap changes nothing and all is opaque, and notes on what was done. Raises PhotoError with one
    sentence that names the photograph and the remedy.
    """
    if (code := describe_likeness(target_face)) is not None:
        target_face = find_alike(target, code)
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
    if (alpha := photos.read_alpha(target)) is not None:
        photo = photos.restore_alpha(photo, alpha)
        notes = [note.replace(photos.ON_WHITE, "its transparency was kept") for note in notes]
    return photo, notes


def swap_everyone(
    family: Family,
    sources: Sequence[Photo],
    target: Photo,
    kind: photos.Kind = "portrait",
    size: int | None = None,
    amounts: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Swap all faces of a photograph, the largest first: with the one source, or each with the next source.

    Otherwise as `swap_photographs`. Faces beyond the last of several sources stay.
    """
    photo, notes = photos.read(target)
    found, turned = photos.search(photo)
    if not found:
        prepare_photo("target", target, kind, size or family.config.size, "largest")  # says why
    given = [sources[0]] * len(found) if len(sources) == 1 else sources
    done = 0
    for face, source in zip(found, given, strict=False):
        photo, told = swap_photographs(
            family, source, photo, kind, size, target_face=tuple(face.centre.tolist()), amounts=amounts
        )
        notes += [note for note in told if note.startswith("source")]
        done += 1
    if (alpha := photos.read_alpha(target)) is not None:
        photo = photos.restore_alpha(photo, alpha)
        notes = [note.replace(photos.ON_WHITE, "its transparency was kept") for note in notes]
    return photo, [*dict.fromkeys([*notes, *turned]), f"{done} of {len(found)} faces were swapped"]


def describe_likeness(face: Who) -> np.ndarray | None:
    """Return the descriptor (128,) of the face in a photograph that says whom to swap; None where `face` is no photo.

    Raises PhotoError for a photograph without a face.
    """
    if isinstance(face, (int, np.integer, tuple)) or (isinstance(face, str) and face in ("largest", "central", "all")):
        return None
    photo, found, _ = photos.find(face)
    return photos.describe_photo(photo, [found.landmarks])[0].numpy()


def find_alike(photo: Photo, code: np.ndarray) -> tuple[float, float]:
    """Return the middle of the face in a photograph that is likest to a descriptor; raise PhotoError if none is."""
    array, _ = photos.read(photo)
    found, _ = photos.search(array)
    codes = photos.describe_photo(array, [one.landmarks for one in found]).numpy()
    apart = np.linalg.norm(codes - code, axis=1)
    if not (apart <= ALIKE).any():
        raise PhotoError("target: nobody in it looks like the chosen face: swaplib faces shows who is there", "who")
    return tuple(found[int(apart.argmin())].centre.tolist())


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

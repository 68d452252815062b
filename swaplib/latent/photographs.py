"""Swaps between photographs of any size: aligned, swapped, pasted back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from PIL import Image

from swaplib import photos
from swaplib.families import Family, Overlay
from swaplib.photos import PhotoError

Photo = str | os.PathLike | Image.Image | np.ndarray
Face = str | int | tuple[float, float]
Who = Face | Photo
"""A face as in `photos.choose`, "all", or a photograph: the face that is likest to it."""
ALIKE = 0.6  # distance of descriptors up to which dlib takes two faces for one person


# ---------------------------------------------------------------------------------------------- photographs


def swap_photographs(
    family: Family,
    source: Photo | Sequence[Photo],
    target: Photo,
    kind: photos.Kind | None = None,
    size: int | None = None,
    source_face: Face = "largest",
    target_face: Who = "largest",
    amounts: Mapping[str, float] | None = None,
    strict: bool = False,
) -> tuple[np.ndarray, list[str]]:
    """Put the source's face into the target photograph: align both, swap them, paste the result back.

    source, target: a path, a PIL image or an array; several photographs of the source's person as a list, whose codes
    are averaged (`Family.average`). kind: the alignment; None for the family's own. size: height of the aligned
    pictures in pixels; None for the family's own, or, where it takes any size, for that of the face in the target
    photograph. source_face, target_face: which face, as in `Who`; for all, see `swap_everyone`. amounts: as in
    `Family.mix`; None for a plain swap. strict: refuse a swap that changes nothing.
    Returns the photograph, uint8 RGB (H, W, 3), or RGBA where the target is transparent somewhere, bit for bit the
    target's where the swap changes nothing and all is opaque, and notes on what was done. Raises PhotoError with one
    sentence that names the photograph and the remedy.
    """
    kind = kind or family.framing
    if (code := describe_likeness(target_face)) is not None:
        target_face = find_alike(target, code)
    into = prepare_photo("target", target, kind, size or family.config.size, target_face)
    if size is None and family.any_size:
        into = prepare_photo("target", target, kind, measure_crop(into), target_face)
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
        overlay = family.overlay(own, into.faces.to(device), amounts, also)
    except ValueError as error:
        raise PhotoError(f"{family.name} can't swap these photographs: {error}", "family") from error
    photo = lay_back(overlay, into, target)
    if strict and np.array_equal(photo, restore(into.photo, target)):
        raise PhotoError(describe_unchanged(family, target), "family")
    both = zip((*roles, "target"), (*prepared, into), strict=True)
    notes = [f"{name}: {one.note}" for name, one in both if one.note]
    if photo.shape[2] == 4:
        notes = [note.replace(photos.ON_WHITE, "its transparency was kept") for note in notes]
    return photo, notes


def measure_crop(prepared: photos.Prepared) -> int:
    """Return how many pixels of its photograph an aligned face is high: the size to swap at, from 64 to 1024."""
    scale = np.sqrt(abs(np.linalg.det(prepared.matrix[:2, :2])))
    return int(np.clip(prepared.faces.size[0] / scale, 64, 1024))


def lay_back(overlay: Overlay, into: photos.Prepared, target: Photo) -> np.ndarray:
    """Return a photograph with a swap of the face that was prepared of it: uint8 RGB (H, W, 3), or RGBA.

    As `swap_photographs`, which says what stays; target: what `into` was prepared of.
    """
    picture, weights = overlay.to("cpu")
    mask = weigh(picture, into.faces.images, weights)[0]
    return restore(photos.paste_back(into.photo, picture, into.matrix, mask), target)


def restore(photo: np.ndarray, target: Photo) -> np.ndarray:
    """Give a photograph the transparency back that its target has, if any."""
    alpha = photos.read_alpha(target)
    return photo if alpha is None else photos.restore_alpha(photo, alpha)


def swap_everyone(
    family: Family,
    source: Photo | Sequence[Photo],
    target: Photo,
    others: Sequence[Photo] = (),
    kind: photos.Kind | None = None,
    size: int | None = None,
    amounts: Mapping[str, float] | None = None,
    strict: bool = False,
) -> tuple[np.ndarray, list[str]]:
    """Swap all faces of a photograph, the largest first: with the source, or the next ones with those of others.

    others: photographs of further people. Otherwise as `swap_photographs`. With others, faces beyond the last stay.
    """
    before, notes = photos.read(target)
    photo = before
    found, turned = photos.search(photo)
    if not found:
        prepare_photo("target", target, kind or family.framing, size or family.config.size, "largest")  # says why
    given = [source, *others] if others else [source] * len(found)
    for one in given[len(found) :]:  # of nobody here, and to be told all the same if it can't be used
        prepare_photo("source", one, kind or family.framing, size or family.config.size, "largest")
    done = 0
    for face, one in zip(found, given, strict=False):
        photo, told = swap_photographs(
            family, one, photo, kind, size, target_face=tuple(face.centre.tolist()), amounts=amounts
        )
        notes += [note for note in told if note.startswith("source")]
        done += 1
    if strict and np.array_equal(photo, before):
        raise PhotoError(describe_unchanged(family, target), "family")
    photo = restore(photo, target)
    if photo.shape[2] == 4:
        notes = [note.replace(photos.ON_WHITE, "its transparency was kept") for note in notes]
    return photo, [*dict.fromkeys([*notes, *turned]), f"{done} of {len(found)} faces were swapped"]


def describe_unchanged(family: Family, target: Photo) -> str:
    """Return the sentence about a swap that changes nothing."""
    name = target if isinstance(target, (str, os.PathLike)) else "the target"
    return f"{name} stays as it is: {family.name} takes nothing from the source, so choose larger amounts or another"


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

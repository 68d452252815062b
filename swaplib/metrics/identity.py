"""Who is in a swapped picture, by dlib; and what is left of a face that was swapped and swapped back."""

from __future__ import annotations

from dataclasses import replace

import torch

from swaplib import photos
from swaplib.faces import Faces, to_uint8
from swaplib.families import Family
from swaplib.metrics.image import SIZE, absolute_error, ms_ssim, resized


def score_identity(swapped: Faces, source: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """dlib's verdict on swaps: squared Euclidean distances of its descriptors, (B,) each; NaN where it finds no face.

    source, target: their descriptors (B, 128), from `photos.descriptor`. Landmarks, where the swapped faces have
    them, decide which part of a picture dlib describes.
    """
    found = photos.descriptor(swapped)
    to_source, to_target = ((found - other).pow(2).sum(-1) for other in (source, target))
    nearer = torch.where(torch.isnan(to_source + to_target), torch.nan, (to_source < to_target).float())
    return {"to_source": to_source, "to_target": to_target, "nearer_source": nearer}


@torch.no_grad()
def self_consistency(family: Family, faces: Faces, others: Faces) -> dict[str, torch.Tensor]:
    """Reconstruction, and what is left of a face that was swapped and swapped back (RSGAN, section 4.2).

    Twice: the two faces of a pair are exchanged, then exchanged again; the first picture should come back. A swapped
    picture is a new photograph: its landmarks are found in it anew, and what else a family needs beside the image
    (labels) it takes over from its target, as it does the landmarks where dlib finds no face.
    """
    into_others, into_faces = family.swap(faces, others), family.swap(others, faces)
    back = family.swap(_as_photograph(into_others, others), _as_photograph(into_faces, faces))
    truth = resized(faces.images, SIZE)
    scores = {}
    for name, images in (("reconstruction", family.decode(family.encode(faces))), ("twice", back)):
        images = resized(images, SIZE)
        scores[f"{name}_error"] = absolute_error(images, truth)
        scores[f"{name}_ms_ssim"] = ms_ssim(images, truth)
    return scores


def as_target(images: torch.Tensor, target: Faces) -> Faces:
    """A swapped picture as a record: it shows the target's shot, but not the target's identity and attributes."""
    return replace(target, images=images, attributes=None, identity=None, factors=None)


def _as_photograph(images: torch.Tensor, target: Faces) -> Faces:
    """A swapped picture as a record whose landmarks are those that dlib finds in it."""
    record = as_target(images, target)
    if target.landmarks is None:
        return record
    landmarks, scale = target.landmarks.clone(), target.size[0] / SIZE
    for k, picture in enumerate(to_uint8(resized(images, SIZE))):
        if found := photos.detect(picture):
            landmarks[k] = torch.from_numpy((found[0].landmarks + 0.5) * scale - 0.5)
    return replace(record, landmarks=landmarks)

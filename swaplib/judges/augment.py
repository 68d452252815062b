"""Random changes of training pictures, as photographs show them: framing, light, colour, blur, noise, occlusion."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from swaplib.faces import Faces


def augment(
    faces: Faces,
    turn: float = 12,
    shift: float = 0.06,
    scale: float = 0.12,
    strength: float = 1.0,
    mirror: bool = True,
) -> Faces:
    """Change each face of a batch in its own way, moving labels and landmarks along.

    turn: degrees; shift: share of the picture; scale: share. strength: of changes in colour and sharpness.
    mirror: flip each face with probability 1/2.
    Random numbers come from torch's global generator. What lies beyond the picture's edge is filled by reflection, in
    labels too.
    """
    faces = _mirrored(faces) if mirror else faces
    kornia = _kornia()
    count, size = len(faces), faces.size
    angle, zoom = _spread(count, turn), 1 + _spread(count, scale)
    shifts = torch.stack([_spread(count, shift) * size[1], _spread(count, shift) * size[0]], 1)
    centre = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2]).expand(count, 2)
    matrix = kornia.geometry.get_affine_matrix2d(shifts, centre, zoom[:, None].expand(-1, 2), angle)[:, :2]
    matrix = matrix.to(faces.images)

    def warp(pictures: torch.Tensor, mode: str) -> torch.Tensor:
        return kornia.geometry.warp_affine(pictures, matrix, size, mode, "reflection")

    labels, landmarks = faces.labels, faces.landmarks
    if labels is not None:
        labels = warp(labels[:, None].float(), "nearest")[:, 0].round().to(torch.uint8)
    if landmarks is not None:
        landmarks = landmarks @ matrix[:, :, :2].transpose(1, 2).to(landmarks) + matrix[:, None, :, 2].to(landmarks)
    images = _looks(strength)(warp((faces.images + 1) / 2, "bilinear").clamp(0, 1)) * 2 - 1
    return replace(faces, images=images.clamp(-1, 1), labels=labels, landmarks=landmarks)


def _kornia():
    with warnings.catch_warnings():  # kornia uses names that torch has deprecated
        warnings.simplefilter("ignore")
        import kornia
        import kornia.augmentation
    return kornia


def _spread(count: int, width: float) -> torch.Tensor:
    return (2 * torch.rand(count) - 1) * width


def _mirrored(faces: Faces) -> Faces:
    chosen = torch.rand(len(faces)) < 0.5
    order = torch.cat([(~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]]).argsort()
    parts = [faces[~chosen], faces[chosen].mirror()]
    return Faces.cat([part for part in parts if len(part)])[order]


def _looks(strength: float):
    a = _kornia().augmentation
    return a.AugmentationSequential(
        a.ColorJiggle(0.3 * strength, 0.3 * strength, 0.3 * strength, 0.03 * strength, p=0.8),
        a.RandomGrayscale(p=0.05 * strength),
        a.RandomGaussianBlur((5, 5), (0.3, 1.2), p=0.3 * strength),
        a.RandomGaussianNoise(0.0, 0.03, p=0.3 * strength),
        a.RandomErasing((0.02, 0.08), (0.4, 2.5), p=0.15 * strength),
        data_keys=["input"],
    )

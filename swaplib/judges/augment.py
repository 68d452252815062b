"""Random changes of training pictures, as photographs show them: framing, light, noise, files, hands before a face."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from swaplib.faces import Faces, to_uint8


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
    images = _change_looks(warp((faces.images + 1) / 2, "bilinear").clamp(0, 1), strength) * 2 - 1
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


# ---------------------------------------------------------------------------------------------- looks


def _change_looks(pictures: torch.Tensor, strength: float) -> torch.Tensor:
    """Change light and colour of pictures (B, 3, H, W) in [0, 1], then what a camera and a file take from them."""
    a = _kornia().augmentation
    pictures = _recolour(pictures, strength)
    for share, change in (
        (0.25, a.RandomGaussianBlur((5, 5), (0.3, 1.2), p=1.0)),
        (0.3, _lose_pixels),
        (0.3, a.RandomGaussianNoise(0.0, 0.03, p=1.0)),
        (0.3, _compress),
        (0.15, a.RandomErasing((0.02, 0.08), (0.4, 2.5), p=1.0)),
    ):
        chosen = (torch.rand(len(pictures)) < share * strength).nonzero()[:, 0]
        if len(chosen):
            pictures = pictures.index_copy(0, chosen, change(pictures[chosen]))
    return pictures


_GREY = torch.tensor([0.299, 0.587, 0.114])


def _recolour(pictures: torch.Tensor, strength: float) -> torch.Tensor:
    """Change exposure, contrast, saturation, hue and the light's colour of each picture: one matrix and one shift."""
    count = len(pictures)
    gain = 1 + _spread(count, 0.3 * strength)[:, None] + torch.randn(count, 3) * 0.03 * strength
    contrast = 1 + _spread(count, 0.3 * strength)
    grey = torch.rand(count) < 0.05 * strength
    saturation = torch.where(grey, 0.0, 1 + _spread(count, 0.3 * strength))
    # Hue turns about the axis of greys (Rodrigues' formula with the unit vector (1, 1, 1) / √3).
    angle = _spread(count, 0.03 * strength) * 2 * torch.pi
    axis = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    turned = torch.cos(angle)[:, None, None] * (torch.eye(3) - axis) + torch.sin(angle)[:, None, None] * across + axis
    greyed = _GREY.expand(3, 3)
    matrix = saturation[:, None, None] * (turned - greyed) + greyed
    matrix = contrast[:, None, None] * matrix * gain[:, None]
    middle = torch.einsum("bij,bj->bi", matrix.to(pictures), pictures.mean((2, 3)))
    kept = middle * (1 / contrast - 1).to(pictures)[:, None]
    changed = torch.einsum("bij,bjhw->bihw", matrix.to(pictures), pictures) + kept[:, :, None, None]
    return changed.clamp(0, 1)


def _lose_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """Shrink pictures to 3/8 to 7/8 of their size, all alike, and enlarge them again."""
    size = pictures.shape[-2:]
    share = 0.375 + 0.5 * float(torch.rand(()))
    small = [max(8, round(share * edge)) for edge in size]
    shrunk = F.interpolate(pictures, small, mode="bilinear", antialias=True)
    return F.interpolate(shrunk, size, mode="bilinear" if torch.rand(()) < 0.5 else "bicubic").clamp(0, 1)


def _compress(pictures: torch.Tensor) -> torch.Tensor:
    """Save pictures as JPEG of quality 30 to 90 and read them again; gradients pass as if nothing had happened."""
    qualities = torch.randint(30, 91, (len(pictures),)).tolist()
    read = []
    for picture, quality in zip(to_uint8(pictures * 2 - 1), qualities, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        read.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return pictures + (torch.stack(read).to(pictures) / 255 - pictures).detach()


# ---------------------------------------------------------------------------------------------- before the face


def occlude(faces: Faces, share: float = 0.25) -> Faces:
    """Hold something before a share of the faces: a hand, a bar, a microphone or a patch, whose labels are background.

    Random numbers come from torch's global generator. Landmarks stay where they are, seen or not.
    """
    images, labels = faces.images.clone(), None if faces.labels is None else faces.labels.clone()
    for k in (torch.rand(len(faces)) < share).nonzero()[:, 0].tolist():
        picture, cover = draw_object(faces.size, np.random.default_rng(int(torch.randint(2**31, ()))))
        picture, cover = torch.from_numpy(picture).movedim(-1, 0).to(images), torch.from_numpy(cover).to(images)
        images[k] = torch.lerp(images[k], picture, cover)
        if labels is not None:
            labels[k][cover > 0.5] = 0
    return replace(faces, images=images, labels=labels)


def draw_object(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an object: its picture (H, W, 3) in [-1, 1], and how much of each pixel it covers, (H, W) in [0, 1]."""
    height, width = size
    mask = np.zeros((4 * height, 4 * width), np.uint8)
    edge = max(mask.shape)
    middle, turn = edge * rng.uniform(0.2, 0.8, 2), rng.uniform(0, 2 * np.pi)

    def line(start: np.ndarray, angle: float, length: float, thickness: float) -> None:
        end = start + edge * length * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(mask, *(tuple(map(int, point)) for point in (start, end)), 255, max(1, int(edge * thickness)))

    def disc(radii: tuple[float, float]) -> None:
        axes = tuple(int(edge * radius) for radius in radii)
        cv2.ellipse(mask, tuple(map(int, middle)), axes, np.degrees(turn), 0, 360, 255, -1)

    kind = rng.choice(("hand", "bar", "microphone", "patch"))
    if kind == "hand":
        breadth = rng.uniform(0.025, 0.045)
        disc((2.2 * breadth, 2.2 * breadth))
        line(middle, turn + np.pi, 1.0, 3.2 * breadth)  # the arm
        for k, bend in enumerate(rng.uniform(-0.15, 0.15, 5)):
            line(middle, turn + 0.45 * (k - 2) + bend, rng.uniform(3.5, 5.5) * breadth, breadth)
    elif kind == "bar":
        line(middle, turn, 2.0, thickness := rng.uniform(0.04, 0.14))
        line(middle, turn + np.pi, 2.0, thickness)
    elif kind == "microphone":
        disc((rng.uniform(0.05, 0.09),) * 2)
        line(middle, rng.uniform(0.3, 0.7) * np.pi, 1.0, rng.uniform(0.03, 0.05))
    else:
        disc(tuple(rng.uniform(0.05, 0.18, 2)))
    cover = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    skin = np.array([0.1, -0.25, -0.45]) + rng.uniform(-0.75, 0.55)
    colour = skin if kind == "hand" else rng.uniform(-1, 1, 3)
    shade = cv2.resize(rng.uniform(-1, 1, (4, 4)), (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    picture = colour + rng.uniform(0.05, 0.3) * shade + 0.03 * rng.standard_normal((height, width, 3))
    return picture.clip(-1, 1).astype(np.float32), cover

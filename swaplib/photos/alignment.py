"""Aligning faces as each paper does, with known landmarks, and putting aligned pictures back into a photo.

A matrix is 3x3, float64, and takes pixel coordinates (x, y, 1) of the photo to those of the aligned picture; pixel
centres lie at whole numbers. Photos are uint8 RGB (H, W, 3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import torch

from swaplib.faces import PORTRAIT_MARGIN, Faces, from_uint8, to_uint8

Kind = Literal["portrait", "ffhq", "celeba", "rsgan", "five_point", "arcface", "as_is"]
KINDS = ("portrait", "ffhq", "celeba", "rsgan", "five_point", "arcface", "as_is")
_CANVAS = dict.fromkeys(KINDS, (256, 256)) | {"celeba": (218, 178), "rsgan": (178, 178), "arcface": (112, 112)}
# Eyes, tip of the nose and mouth corners, from left to right in the picture.
_TEMPLATE = {
    # The means of CelebA's published landmarks (Liu et al. 2015, align-and-crop set).
    "celeba": ((69, 111), (108, 111), (88.5, 135), (72, 152), (105, 152)),
    # The same, seen in RSGAN's square: corner (0, 20), 178 x 178 (Natsume et al. 2018, section 3.2).
    "rsgan": ((69, 91), (108, 91), (88.5, 115), (72, 132), (105, 132)),
    # Measured on the aligned samples of MGPE's code, to within 2 px; its default component centres agree: eyes
    # (96, 116) and (160, 116).
    "five_point": ((97.5, 117), (157.5, 117), (127.5, 154), (104, 177), (151, 177)),
    # InsightFace's template of 112 x 96 pictures, widened to 112.
    "arcface": ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)),
}


def canvas(kind: Kind, size: int | tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the height and width of an aligned picture.

    size: the height, or for "as_is" also (height, width); None the paper's own (CelebA: 218 x 178, RSGAN:
    178 x 178, ArcFace: 112, others 256).
    """
    if kind not in KINDS:
        raise ValueError(f"unknown alignment {kind!r}: choose one of {', '.join(KINDS)}")
    height, width = _CANVAS[kind]
    if size is None:
        return height, width
    if isinstance(size, (tuple, list)):
        if kind != "as_is":
            raise ValueError(f"the shape of a {kind!r} picture is fixed: give its height alone, not {tuple(size)}")
        height, width = map(int, size)
    else:
        height, width = int(size), round(size * width / height)
    if height < 8 or width < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    return height, width


def alignment(
    landmarks: np.ndarray,
    kind: Kind = "portrait",
    size: int | tuple[int, int] | None = None,
    shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Return the 3x3 matrix from photo pixels to aligned pixels, for landmarks (68, 2).

    portrait    FFHQ's crop, wider by `faces.PORTRAIT_MARGIN`: how rendered faces are framed
    ffhq        Karras et al. 2019: a rotated square, sized by the eyes' distance and that of eyes and mouth
    celeba      Liu et al. 2015: the similarity that fits five points to the means of CelebA's aligned pictures
    rsgan       the square of CelebA's aligned pictures that RSGAN sees, from their row 20 on
    five_point  Gu et al. 2019 (MGPE): as celeba, with MGPE's centres of eyes and mouth
    arcface     Deng et al. 2019: as celeba, with the template of the published face recognisers
    as_is       no alignment: the centre of a photo of this `shape`, scaled to fill the picture
    """
    height, width = canvas(kind, size)
    if kind == "as_is":
        if shape is None:
            raise ValueError("alignment 'as_is' needs the photo's shape")
        return _fill(shape, height, width)
    points = np.asarray(landmarks, float)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be 68 finite points (x, y), got an array of shape {points.shape}")
    # The nose tip of five-point sets lies between dlib's tip (30) and the base below it (33).
    nose = points[[30, 33]].mean(0)
    five = np.stack([points[36:42].mean(0), points[42:48].mean(0), nose, points[48], points[54]])
    if np.ptp(five[:2], axis=0).max() < 1e-3:
        raise ValueError("both eyes lie on the same point: these landmarks belong to no face")
    if kind in ("portrait", "ffhq"):
        return _ffhq(five, height, PORTRAIT_MARGIN if kind == "portrait" else 1.0)
    template = (np.array(_TEMPLATE[kind], float) + 0.5) * (height / _CANVAS[kind][0]) - 0.5
    return _similarity(five, template)


def _ffhq(five: np.ndarray, size: int, margin: float) -> np.ndarray:
    """Return FFHQ's crop, `margin` times as wide.

    Its x axis is the vector from eye to eye plus the vector from eyes to mouth turned by a right angle.
    """
    eye, mouth = five[:2].mean(0), five[3:].mean(0)
    eyes, down = five[1] - five[0], mouth - eye
    x = eyes - np.array([-down[1], down[0]])
    x *= margin * max(np.hypot(*eyes) * 2.0, np.hypot(*down) * 1.8) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    centre = eye + 0.1 * down
    corners = np.stack([centre - x - y, centre + x - y, centre + x + y])
    edge = size - 0.5  # corners of the picture, not centres of its corner pixels
    return _similarity(corners, np.array([[-0.5, -0.5], [edge, -0.5], [edge, edge]]))


def _similarity(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Fit rotation, scale and shift by least squares: a complex number times a point, plus another."""
    p, q = points @ np.array([1, 1j]), template @ np.array([1, 1j])
    centred = p - p.mean()
    factor = np.vdot(centred, q - q.mean()) / np.vdot(centred, centred)
    shift = q.mean() - factor * p.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag], [0, 0, 1]])


def resizing(shape: tuple[int, ...], new_shape: tuple[int, ...]) -> np.ndarray:
    """Return the matrix from the pixels of a picture of `shape` (H, W) to those of the same picture at another size."""
    x, y = new_shape[1] / shape[1], new_shape[0] / shape[0]
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1.0]])


def _fill(shape: tuple[int, ...], height: int, width: int) -> np.ndarray:
    factor = max(height / shape[0], width / shape[1])
    matrix = resizing((1, 1), (factor, factor))
    matrix[:2, 2] += (np.array([width, height]) - np.array([shape[1], shape[0]]) * factor) / 2
    return matrix


def move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map points (N, 2) through a matrix."""
    return np.asarray(points) @ matrix[:2, :2].T + matrix[:2, 2]


def warp(image: np.ndarray, matrix: np.ndarray, shape: tuple[int, int], outside: str = "reflect") -> np.ndarray:
    """Warp an image (H, W) or (H, W, C) by the matrix to a picture of `shape` (height, width).

    Enlarged by bicubic interpolation; reduced by averaging a finer picture, so that nothing aliases.
    `outside`: "reflect" the image at its borders, or "zero".
    """
    factor = min(16, int(np.ceil(1 / np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) - 1e-6)))
    border = {"reflect": cv2.BORDER_REFLECT, "zero": cv2.BORDER_CONSTANT}[outside]
    fine = cv2.warpAffine(
        image,
        (resizing((1, 1), (factor, factor)) @ matrix)[:2],
        (shape[1] * factor, shape[0] * factor),
        flags=cv2.INTER_CUBIC,
        borderMode=border,
    )
    return fine if factor == 1 else cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA)


def warp_labels(labels: np.ndarray, matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Warp a label map (H, W) uint8 by nearest neighbour; background outside."""
    return cv2.warpAffine(labels, matrix[:2], shape[::-1], flags=cv2.INTER_NEAREST)


def warp_photo(photo: np.ndarray, matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Warp as `warp`; outside the photo, show its mirror image, blurrier with distance (as in FFHQ)."""
    picture = warp(photo, matrix, shape)
    # A pixel is outside when its centre maps back to outside the photo.
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    back = move(np.stack([xs, ys], -1).reshape(-1, 2), np.linalg.inv(matrix))
    inside = ((back > -0.5) & (back < np.array(photo.shape[1::-1]) - 0.5)).all(1).reshape(shape)
    if inside.all():
        return picture
    distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5) / max(shape)
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.03 * max(shape), borderType=cv2.BORDER_REFLECT)
    weight = np.clip(distance / 0.04, 0, 1)[..., None]
    return np.rint(picture + (blurred.astype(np.float32) - picture) * weight).astype(np.uint8)


def align(faces: Faces, kind: Kind = "portrait", size: int | tuple[int, int] | None = None) -> Faces:
    """Align faces with known landmarks (such as rendered ones) without detecting anything; labels move along."""
    if faces.landmarks is None:
        raise ValueError("these faces have no landmarks to align by: use photos.prepare, which finds them")
    shape = canvas(kind, size)
    images, labels, points = [], [], []
    for k, landmarks in enumerate(faces.landmarks.double().cpu().numpy()):
        matrix = alignment(landmarks, kind, size, faces.size)
        images.append(from_uint8(warp_photo(to_uint8(faces.images[k]), matrix, shape)))
        points.append(torch.from_numpy(move(landmarks, matrix)).float())
        if faces.labels is not None:
            labels.append(torch.from_numpy(warp_labels(faces.labels[k].cpu().numpy(), matrix, shape)))
    return replace(
        faces,
        images=torch.stack(images),
        landmarks=torch.stack(points),
        labels=torch.stack(labels) if labels else None,
    )


def paste_back(
    photo: np.ndarray, picture: np.ndarray | torch.Tensor, matrix: np.ndarray, mask: Any = None
) -> np.ndarray:
    """Put an aligned picture back into its photo, uint8 (H, W, 3).

    picture: uint8 (h, w, 3), or an image in [-1, 1] (3, h, w) or (1, 3, h, w). mask (h, w): what of it to take,
    True/False (its edge is softened inwards) or weights in [0, 1]; None takes all but a soft margin. Pixels that
    the mask doesn't reach stay identical, bit for bit.
    """
    if isinstance(picture, torch.Tensor):
        picture = to_uint8(picture.reshape(picture.shape[-3:]))
    height, width = picture.shape[:2]
    weight = _margin(height, width) * _soft_mask(mask, height, width)
    back = np.linalg.inv(matrix)
    corners = move(np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5, back)
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, photo.shape[1::-1])
    if right <= left or bottom <= top:
        return photo.copy()
    back[:2, 2] -= (left, top)
    shape = (int(bottom - top), int(right - left))
    alpha = np.clip(warp(weight.astype(np.float32), back, shape, outside="zero"), 0, 1)[..., None]
    result = photo.copy()
    patch = result[top:bottom, left:right]
    mixed = patch + (warp(picture, back, shape).astype(np.float32) - patch) * alpha
    patch[:] = np.where(alpha > 1e-3, np.rint(mixed).clip(0, 255), patch).astype(np.uint8)
    return result


def _margin(height: int, width: int) -> np.ndarray:
    """Return weights that fall smoothly to 0 at the picture's border, over 6% of its size."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.06 * n) for n in (height, width))
    ramp = np.clip(np.minimum(y[:, None], x[None]), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _soft_mask(mask: Any, height: int, width: int) -> np.ndarray | float:
    if mask is None:
        return 1.0
    mask = np.asarray(mask).reshape(np.shape(mask)[-2:])
    if mask.shape != (height, width):
        raise ValueError(f"the mask is {mask.shape}, the picture {(height, width)}: both must have the same size")
    if mask.dtype != bool:
        return np.clip(mask.astype(np.float32), 0, 1)
    sigma = max(height, width) / 100
    # Distance to the edge in pixels, made smooth: 0 outside, 1 from 2 sigma inside on.
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) / (2 * sigma)
    ramp = np.clip(cv2.GaussianBlur(depth, (0, 0), sigma / 2), 0, 1) * mask
    return ramp * ramp * (3 - 2 * ramp)

"""How alike two pictures are: the true-swap score, and the measures it is made of.

All pictures are compared at 128 pixels; larger and smaller ones are resized (bicubic, antialiased) first.

MS-SSIM variant: the five standard scales and weights (Wang, Simoncelli & Bovik 2003), with a Gaussian window of 7
taps and sigma 1.5 in place of 11 taps, so that the coarsest scale of a 128-pixel picture (8 pixels) still holds
whole windows; windows lie wholly inside the picture, values in [0, 1], negative contrast terms count as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from swaplib import synthetic
from swaplib.faces import Faces, region, to_unit

SIZE = 128  # pixels per side at which pictures are compared
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

# ---------------------------------------------------------------------------------------------- two pictures


def face_region(labels: torch.Tensor) -> torch.Tensor:
    """Mark skin, nose, eyes, brows, lips and mouth: bool, the shape of `labels`."""
    return region(labels, *synthetic.FACE_REGION)


def absolute_error(images: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean absolute difference, of a range of 1 (RSGAN, Table 1), (B,).

    images, truth: (B, 3, H, W) in [-1, 1]. weight: (B, H, W), the weight of each pixel; NaN for a picture where nothing
    counts. The same holds for every measure here.
    """
    return _mean((to_unit(images) - to_unit(truth)).abs(), weight)


def psnr(images: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the peak signal-to-noise ratio in dB, (B,); infinite for equal pictures."""
    return -10 * torch.log10(_mean((to_unit(images) - to_unit(truth)) ** 2, weight))


def ssim(images: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | None = None, taps: int = 7) -> torch.Tensor:
    """Return the structural similarity (Wang et al. 2004), Gaussian window of `taps` taps and sigma 1.5, (B,)."""
    similarity, _ = _similarity(to_unit(images), to_unit(truth), taps)
    return _mean(similarity, _inner(weight, taps))


def ms_ssim(
    images: torch.Tensor,
    truth: torch.Tensor,
    weight: torch.Tensor | None = None,
    taps: int = 7,
    scales: Sequence[float] = SCALES,
) -> torch.Tensor:
    """Return the multi-scale structural similarity, (B,); the variant is described at the top of this file.

    Raises ValueError for pictures whose coarsest scale is smaller than the window.
    """
    least = taps * 2 ** (len(scales) - 1)
    if min(images.shape[-2:]) < least:
        raise ValueError(f"pictures of {tuple(images.shape[-2:])} are too small for {len(scales)} scales: {least} px")
    images, truth = to_unit(images), to_unit(truth)
    weight = None if weight is None else weight.float()
    product = torch.ones(len(images), device=images.device)
    for k, exponent in enumerate(scales):
        similarity, contrast = _similarity(images, truth, taps)
        term = _mean(contrast if k < len(scales) - 1 else similarity, _inner(weight, taps))
        product = product * term.clamp(min=0) ** exponent
        images, truth = F.avg_pool2d(images, 2), F.avg_pool2d(truth, 2)
        weight = None if weight is None else F.avg_pool2d(weight[:, None], 2)[:, 0]
    return product


def _similarity(a: torch.Tensor, b: torch.Tensor, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return SSIM and its contrast-structure factor at every whole window.

    Both are (B, 3, H - taps + 1, W - taps + 1).
    """
    line = torch.exp(-((torch.arange(taps, device=a.device, dtype=a.dtype) - taps // 2) ** 2) / (2 * 1.5**2))
    line = line / line.sum()

    def blur(x):
        x = F.conv2d(x, line.reshape(1, 1, -1, 1).expand(3, -1, -1, -1), groups=3)
        return F.conv2d(x, line.reshape(1, 1, 1, -1).expand(3, -1, -1, -1), groups=3)

    mean_a, mean_b = blur(a), blur(b)
    variance = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    contrast = (2 * covariance + 0.03**2) / (variance + 0.03**2)
    return contrast * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2), contrast


def _inner(weight: torch.Tensor | None, taps: int) -> torch.Tensor | None:
    """Return the weights at the centres of the whole windows."""
    rim = taps // 2
    return None if weight is None else weight[:, rim:-rim, rim:-rim]


def _mean(values: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Return the weighted mean of (B, C, H, W) over all axes but the batch."""
    values = values.mean(1)
    if weight is None:
        return values.mean((1, 2))
    weight = weight.to(values)
    return (values * weight).sum((1, 2)) / weight.sum((1, 2))


# ---------------------------------------------------------------------------------------------- one swap


def score_swaps(images: torch.Tensor, truth: Faces) -> dict[str, torch.Tensor]:
    """Compute the true-swap score of images (B, 3, H, W): every measure, in the whole picture and in the face region.

    truth: the true swaps, whose labels give the face region. Returns name -> (B,).
    """
    images, truth = resized(images, SIZE), truth.resize(SIZE)
    face = face_region(truth.labels)
    scores = {"error": absolute_error(images, truth.images)}
    for name, measure in (("psnr", psnr), ("ssim", ssim), ("ms_ssim", ms_ssim)):
        scores[name] = measure(images, truth.images)
        scores[f"{name}_face"] = measure(images, truth.images, face)
    return scores


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    return Faces(images=images).resize(size).images

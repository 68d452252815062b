"""Halving and doubling pictures through the low-pass filter [1, 3, 3, 1] / 8, as StyleGAN2 and NCSN++ do.

Outside the picture there are zeros. Written with pooling and interpolation: as depthwise convolutions they take several
times as long on a CPU, and most of a small network's time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def blur(x: torch.Tensor, padding: int) -> torch.Tensor:
    """Filter after adding `padding` zeros on each side: (B, C, H, W) -> (B, C, H + 2 padding − 3, …)."""
    x = F.pad(x, (padding,) * 4) if padding else x
    if x.stride(1) == 1:
        for _ in range(3):  # [1, 1] * [1, 1] * [1, 1] = [1, 3, 3, 1]
            x = F.avg_pool2d(x, 2, 1)
        return x
    for _ in range(3):  # pooling is slow where channels are not last
        x = x[..., 1:] + x[..., :-1]
    for _ in range(3):
        x = x[..., 1:, :] + x[..., :-1, :]
    return x / 64


def half(x: torch.Tensor) -> torch.Tensor:
    """Halve pictures: (B, C, H, W) -> (B, C, H / 2, W / 2)."""
    # In each direction the filter averages the mean over 4 pixels and the mean over the 2 in their middle.
    wide = ((rows, columns) for rows in (4, 2) for columns in (4, 2))
    return sum(F.avg_pool2d(x, size, 2, (size[0] // 2 - 1, size[1] // 2 - 1)) for size in wide) / 4


def double(x: torch.Tensor) -> torch.Tensor:
    """Double pictures: (B, C, H, W) -> (B, C, 2 H, 2 W)."""
    # Linear interpolation has exactly these weights; the rim of zeros is cut off again.
    wide = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")
    return wide[..., 2:-2, 2:-2]

"""Halving and doubling pictures through the low-pass filter [1, 3, 3, 1] / 8, as StyleGAN2 and NCSN++ do.

Outside the picture there are zeros. Written with sums and one product of matrices or, where channels are last, with
pooling and interpolation: as depthwise convolutions they take several times as long on a CPU, and most of a small
network's time; as pooling and interpolation where channels are first, in bfloat16, five times as long.
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
    if x.stride(1) == 1:
        # In each direction the filter averages the mean over 4 pixels and the mean over the 2 in their middle.
        wide = ((rows, columns) for rows in (4, 2) for columns in (4, 2))
        return sum(F.avg_pool2d(x, size, 2, (size[0] // 2 - 1, size[1] // 2 - 1)) for size in wide) / 4
    x = F.pad(x, (1, 1, 1, 1))
    even, odd = x[..., ::2, :], x[..., 1::2, :]
    x = torch.add(even[..., :-1, :] + odd[..., 1:, :], odd[..., :-1, :] + even[..., 1:, :], alpha=3)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.add(even[..., :-1] + odd[..., 1:], odd[..., :-1] + even[..., 1:], alpha=3) / 64


def double(x: torch.Tensor) -> torch.Tensor:
    """Double pictures: (B, C, H, W) -> (B, C, 2 H, 2 W)."""
    if x.stride(1) == 1 or x.shape[3] > 64:  # a product takes longer the larger its matrix
        # Linear interpolation has exactly these weights; the rim of zeros is cut off again.
        return F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")[..., 2:-2, 2:-2]
    size, columns = x.shape, x.shape[3]
    x = F.pad(x, (0, 0, 1, 1))
    middle = x[..., 1:-1, :]
    pairs = (torch.add(x[..., :-2, :], middle, alpha=3), torch.add(x[..., 2:, :], middle, alpha=3))
    place = torch.arange(2 * columns, device=x.device)
    weights = x.new_zeros(columns + 2, 2 * columns)
    weights[place // 2 + 1, place] = 3 / 16
    weights[place // 2 + place % 2 * 2, place] = 1 / 16
    with torch.autocast(x.device.type, enabled=False):  # which would multiply float32 in bfloat16
        x = torch.stack(pairs, 3).view(-1, columns) @ weights[1:-1]
    return x.view(*size[:2], 2 * size[2], 2 * columns)

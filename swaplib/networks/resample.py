"""Halving and doubling pictures through the low-pass filter [1, 3, 3, 1], as StyleGAN2 and NCSN++ do."""

from __future__ import annotations

import torch
import torch.nn.functional as F

TAPS = (1, 3, 3, 1)


def _kernel(x: torch.Tensor, gain: float) -> torch.Tensor:
    line = x.new_tensor(TAPS) / sum(TAPS)
    return (gain * torch.outer(line, line)).expand(x.shape[1], 1, -1, -1)


def blur(x: torch.Tensor, padding: int) -> torch.Tensor:
    """Filtered, with so many zeros on each side before: (B, C, H, W) -> (B, C, H + 2 padding − 3, …)."""
    return F.conv2d(x, _kernel(x, 1), padding=padding, groups=x.shape[1])


def half(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
    return F.conv2d(x, _kernel(x, 1), stride=2, padding=1, groups=x.shape[1])


def double(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
    return F.conv_transpose2d(x, _kernel(x, 4), stride=2, padding=1, groups=x.shape[1])

"""Codes: normal distributions over them (Kingma & Welling 2014), and great circles between unit vectors."""

from __future__ import annotations

import torch
from torch import nn


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return ½ Σ (μ² + σ² − log σ² − 1), the divergence from the standard normal (Kingma & Welling 2014, appendix B).

    (B, Z) each; summed over Z, mean over the batch.
    """
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1).mean()


def draw(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Draw a code, (B, Z), differentiable in both arguments."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


def slerp(start: torch.Tensor, end: torch.Tensor, amount: float | torch.Tensor) -> torch.Tensor:
    """Return the point at `amount` of the great circle from start to end, along the last axis (Shoemake 1985).

    Unit vectors in, unit vectors out. Between opposite vectors the circle is not unique; any of them is taken.
    """
    start, end = nn.functional.normalize(start, dim=-1), nn.functional.normalize(end, dim=-1)
    # atan2 keeps its precision for nearly equal vectors, where arccos loses half of its digits.
    angle = 2 * torch.atan2((start - end).norm(dim=-1, keepdim=True), (start + end).norm(dim=-1, keepdim=True))
    chord = end - start * (start * end).sum(-1, keepdim=True)
    tangent = nn.functional.normalize(chord, dim=-1)
    return start * torch.cos(amount * angle) + tangent * torch.sin(amount * angle)

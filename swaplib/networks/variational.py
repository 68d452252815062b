"""Normal distributions over codes (Kingma & Welling 2014)."""

from __future__ import annotations

import torch


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """½ (μᵀμ + Σ (σ² − log σ² − 1)) to the standard normal one; (B, Z) each, summed over Z, mean over the batch."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1).mean()


def draw(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """A code at random, (B, Z), differentiable in both."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()

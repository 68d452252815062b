"""The optimiser of all training: Adam in torch's fused form, with what that form leaves out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def make_adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
) -> torch.optim.AdamW:
    """Make a fused AdamW whose steps are seen.

    Fused steps change weights without raising their versions, by which layers know that what they keep of them is out
    of date (`networks.prepared`).
    """
    optimiser = torch.optim.AdamW(parameters, learning_rate, betas, weight_decay=weight_decay, fused=True)
    optimiser.register_step_post_hook(_tell)
    return optimiser


def _tell(optimiser: torch.optim.Optimizer, *_) -> None:
    for group in optimiser.param_groups:
        torch.autograd.graph.increment_version(group["params"])

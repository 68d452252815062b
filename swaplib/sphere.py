"""Unit vectors."""

from __future__ import annotations

import torch
from torch import nn


def slerp(start: torch.Tensor, end: torch.Tensor, amount: float | torch.Tensor) -> torch.Tensor:
    """Point at `amount` of the great circle from start to end, along the last axis (Shoemake 1985).

    Unit vectors in, unit vectors out. Between opposite vectors the circle is not unique; any one is taken.
    """
    start, end = nn.functional.normalize(start, dim=-1), nn.functional.normalize(end, dim=-1)
    # atan2 keeps its precision for nearly equal vectors, where arccos loses half of its digits.
    angle = 2 * torch.atan2((start - end).norm(dim=-1, keepdim=True), (start + end).norm(dim=-1, keepdim=True))
    chord = end - start * (start * end).sum(-1, keepdim=True)
    tangent = nn.functional.normalize(chord, dim=-1)
    return start * torch.cos(amount * angle) + tangent * torch.sin(amount * angle)

"""Label maps that give a target the shape of a source's face (Liu et al. 2023, E4S, `swap_face_mask.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch


def is_one_of(labels: torch.Tensor, order: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Return where label maps (B, H, W), in an order of classes, show one of some, bool."""
    wanted = [order.index(name) for name in names]
    return torch.isin(labels, torch.tensor(wanted, device=labels.device, dtype=labels.dtype))


Layer = tuple[Literal["source", "target"], Sequence[str]]
"""Whose classes are painted, and which."""


def paint(
    source: torch.Tensor, target: torch.Tensor, order: Sequence[str], layers: Sequence[Layer]
) -> Iterator[torch.Tensor]:
    """Yield a canvas (B, H, W) after each step: the target's background, each layer, and skin where nothing is yet.

    source, target: integers (B, H, W) in the order of classes, the first of which is the background. The source is
    never painted on the target's background. Where nothing is painted, the canvas holds len(order).
    """
    nothing, background = len(order), target == 0
    canvas = torch.full_like(target, nothing).masked_fill(background, 0)
    yield canvas
    for whose, names in layers:
        labels = source if whose == "source" else target
        where = is_one_of(labels, order, names)
        canvas = torch.where(where & ~background, labels.to(canvas.dtype), canvas)
        yield canvas
    yield canvas.masked_fill(canvas == nothing, order.index("skin"))


def recompose(
    source: torch.Tensor, target: torch.Tensor, order: Sequence[str], layers: Sequence[Layer]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the target's label map with classes of the source's, and where holes were filled with skin, bool.

    The last canvas of `paint`, which takes the same.
    """
    *_, before, whole = paint(source, target, order, layers)
    return whole, before == len(order)

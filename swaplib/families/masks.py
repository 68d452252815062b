"""Label maps that give a target the shape of a source's face (Liu et al. 2023, E4S, `swap_face_mask.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def is_one_of(labels: torch.Tensor, order: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Return where label maps (B, H, W), in an order of classes, show one of some, bool."""
    wanted = [order.index(name) for name in names]
    return torch.isin(labels, torch.tensor(wanted, device=labels.device, dtype=labels.dtype))


def recompose(
    source: torch.Tensor,
    target: torch.Tensor,
    order: Sequence[str],
    inner: Sequence[str],
    below: Sequence[str] = (),
    above: Sequence[str] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the target's label map with the source's inner face, and where holes were filled with skin, bool.

    Painted one over the other: the target's classes `below`, the source's `inner` ones, except on the target's
    background, and the target's `above`. What then is neither painted nor background becomes skin. source, target:
    integers (B, H, W) in the order of classes, the first of which is the background.
    """
    nothing = len(order)
    canvas, background = torch.full_like(target, nothing), target == 0
    for labels, names in ((target, below), (source, inner), (target, above)):
        where = is_one_of(labels, order, names)
        if labels is source:
            where &= ~background
        canvas = torch.where(where, labels, canvas)
    holes = (canvas == nothing) & ~background
    canvas = torch.where(holes, order.index("skin"), canvas)
    return torch.where(background, 0, canvas).to(target.dtype), holes

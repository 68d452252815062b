"""How easily an embedder is painted to: pixels that satisfy it and show nobody.

A network that learns to swap faces learns what its teacher asks for. If some pixels' worth of noise make an embedder
take one person for another, a swapper finds such noise sooner than a face. Two measures, on pairs whose true swap is
known:

- `paint` changes nothing but pixels until the embedder answers with the source's identity; an independent judge (dlib)
  then says how often the source is really there.
- `align` compares the direction that the embedder's gradient gives, starting from the target, with the way to the true
  swap: 1 if it points there, 0 if the two have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from swaplib.judges.identity import identity_loss, root_mean_square

Embedder = Callable[[torch.Tensor], torch.Tensor]
"""Images (B, 3, H, W) in [-1, 1] -> unit vectors (B, D)."""


def paint(
    embedder: Embedder, images: torch.Tensor, wanted: torch.Tensor, most: float = 4.0, steps: int = 40
) -> torch.Tensor:
    """Change pixels alone so that an embedder answers with the wanted unit vectors (B, D); return the pictures.

    By projected gradient descent (Madry et al. 2018): each change's root mean square is at most `most` grey levels of
    256. images: (B, 3, H, W) in [-1, 1].
    """
    radius = most / 127.5
    stride = 2.5 * radius / steps
    change = torch.zeros_like(images)
    for _ in range(steps):
        change.requires_grad_()
        loss = 1 - (embedder((images + change).clamp(-1, 1)) * wanted).sum(1)
        (slope,) = torch.autograd.grad(loss.sum(), change)
        change = change.detach() - stride * slope / root_mean_square(slope)
        change = change * (radius / root_mean_square(change)).clamp(max=1)
    return (images + change).clamp(-1, 1)


def align(embedder: Embedder, images: torch.Tensor, truths: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the cosine (B,) of what an embedder asks for and of the way from pictures to their true swaps.

    What it asks for is the direction in which its identity loss falls fastest. images, truths: (B, 3, H, W); wanted:
    unit vectors (B, D) of the sources.
    """
    images = images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(len(images) * identity_loss(embedder(images), wanted), images)
    return F.cosine_similarity(-slope.flatten(1), (truths - images).detach().flatten(1))

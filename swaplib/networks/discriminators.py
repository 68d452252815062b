"""Discriminators and the losses of the game between them and a generator (Goodfellow et al. 2014)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks.blocks import channels, down


class PatchDiscriminator(nn.Module):
    """A logit for a picture (global), or for each of its patches (as in pix2pix, Isola et al. 2017).

    (B, 3, size, size) -> (B, 1, P, P), float32 also under bfloat16. Normalised spectrally: real and generated pictures
    come in separate batches, whose statistics batch normalisation would give away.
    """

    def __init__(self, size: int, width: int, most: int, patches: bool = False):
        super().__init__()
        outputs = channels(size, width, most)
        outputs = outputs[: max(1, len(outputs) - 2)] if patches else outputs
        self.body = down(3, outputs, "spectral")
        self.head = nn.Conv2d(outputs[-1], 1, 3, 1, 1) if patches else nn.Conv2d(outputs[-1], 1, 4)

    def forward(self, images):  # (B, 3, size, size) -> (B, 1, P, P)
        return self.head(self.body(images)).float()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the hidden layer before the last, float32: (B, C, 8, 8) of a global discriminator."""
        return self.body[:-2](images).float()

    def judge(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits that follow from `features`."""
        return self.head(self.body[-2:](features)).float()


def discriminator_loss(real: torch.Tensor, fakes: list[torch.Tensor]) -> torch.Tensor:
    """Return −log D(x) − Σ log(1 − D(x')) over the kinds x' of generated pictures, from logits.

    Goodfellow et al. 2014, eq. 1.
    """
    return F.softplus(-real).mean() + sum(F.softplus(fake).mean() for fake in fakes)


def generator_loss(fakes: list[torch.Tensor]) -> torch.Tensor:
    """Return −Σ log D(x') from logits, the non-saturating loss of Goodfellow et al. 2014, §3."""
    return sum(F.softplus(-fake).mean() for fake in fakes)

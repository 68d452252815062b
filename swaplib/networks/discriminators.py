"""Critics and the losses of the game between them and a generator (Goodfellow et al. 2014)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks.blocks import channels, down


class Critic(nn.Module):
    """A logit for a picture (global), or for each of its patches (as in pix2pix, Isola et al. 2017).

    (B, 3, size, size) -> (B, 1, P, P), float32 also under bfloat16. Spectrally normalised: a critic sees real and
    generated pictures in turn, which a normalisation by batch would tell apart by their statistics.
    """

    def __init__(self, size: int, width: int, most: int, patches: bool = False):
        super().__init__()
        outputs = channels(size, width, most)
        outputs = outputs[: max(1, len(outputs) - 2)] if patches else outputs
        self.body = down(3, outputs, "spectral")
        self.head = nn.Conv2d(outputs[-1], 1, 3, 1, 1) if patches else nn.Conv2d(outputs[-1], 1, 4)

    def forward(self, images):
        return self.head(self.body(images)).float()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The hidden layer before the last, float32: (B, C, 8, 8) of a global critic."""
        return self.body[:-2](images).float()

    def judge(self, features: torch.Tensor) -> torch.Tensor:
        """The logits that follow from `features`."""
        return self.head(self.body[-2:](features)).float()


def critic_loss(real: torch.Tensor, fakes: list[torch.Tensor]) -> torch.Tensor:
    """−log D(x) − Σ log(1 − D(x')) of logits, over the kinds x' of generated pictures."""
    return F.softplus(-real).mean() + sum(F.softplus(fake).mean() for fake in fakes)


def fooling_loss(fakes: list[torch.Tensor]) -> torch.Tensor:
    """The generator's non-saturating counterpart: −Σ log D(x') of logits."""
    return sum(F.softplus(-fake).mean() for fake in fakes)

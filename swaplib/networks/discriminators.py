"""Discriminators and the losses of the game between them and a generator (Goodfellow et al. 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

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


class ProjectedDiscriminator(nn.Module):
    """Logits from the features that a frozen network sees at several scales (Sauer et al. 2021, arXiv:2111.01007, §3).

    A discriminator of pixels has to learn to see first; this one begins with eyes. Its features are mixed by fixed
    random maps, across channels (1 x 1) and from coarse to fine (3 x 3), so that it can't watch a few of them only.

    channels, sizes: of the frozen maps, finest first. width: channels after mixing and in the heads. condition:
    dimensions of a vector that says whose picture it should be: heads then add ⟨V z, φ(x)⟩ (Miyato & Koyama 2018).
    """

    def __init__(self, channels: Sequence[int], sizes: Sequence[int], width: int, condition: int = 0):
        super().__init__()
        self.mixed = nn.ModuleList(nn.Conv2d(found, width, 1) for found in channels)
        self.crossed = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in channels)
        for fixed in (*self.mixed.parameters(), *self.crossed.parameters()):
            fixed.requires_grad_(False)
        halvings = [max(0, (size // 4).bit_length() - 1) for size in sizes]
        self.bodies = nn.ModuleList(down(width, [width] * count, "spectral") for count in halvings)
        self.heads = nn.ModuleList(spectral_norm(nn.Conv2d(width, 1, min(4, size))) for size in sizes)
        self.wanted = nn.ModuleList(nn.Linear(condition, width) for _ in sizes) if condition else None

    def trainable(self) -> list[nn.Parameter]:
        """Return what it learns: all but the fixed maps."""
        fixed = {id(one) for one in (*self.mixed.parameters(), *self.crossed.parameters())}
        return [one for one in self.parameters() if id(one) not in fixed]

    def forward(self, maps: Sequence[torch.Tensor], condition: torch.Tensor | None = None) -> torch.Tensor:
        """Return a logit for each scale, float32: maps (B, C, H, W), finest first, and (B, D) -> (B, scales)."""
        logits, coarser = [], None
        for level in reversed(range(len(self.heads))):
            seen = self.mixed[level](maps[level])
            if coarser is not None:
                seen = (seen + F.interpolate(coarser, seen.shape[-2:], mode="bilinear")) / 2**0.5
            coarser = seen = self.crossed[level](seen)
            last = self.bodies[level](seen)
            logit = self.heads[level](last).float().mean((1, 2, 3))
            if self.wanted is not None:
                pooled = last.float().mean((2, 3))
                logit = logit + (self.wanted[level](condition).float() * pooled).sum(1) / pooled.shape[1] ** 0.5
            logits.append(logit)
        return torch.stack(logits, 1)


def discriminator_loss(real: torch.Tensor, fakes: list[torch.Tensor]) -> torch.Tensor:
    """Return −log D(x) − Σ log(1 − D(x')) over the kinds x' of generated pictures, from logits.

    Goodfellow et al. 2014, eq. 1.
    """
    return F.softplus(-real).mean() + sum(F.softplus(fake).mean() for fake in fakes)


def generator_loss(fakes: list[torch.Tensor]) -> torch.Tensor:
    """Return −Σ log D(x') from logits, the non-saturating loss of Goodfellow et al. 2014, §3."""
    return sum(F.softplus(-fake).mean() for fake in fakes)


def paired_loss(higher: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """Return −log σ(D(x) − D(x')) of logits in pairs, x being the kind of picture that should have the higher one.

    True ones for the discriminator, generated ones for the generator: the relativistic loss (Jolicoeur-Martineau 2018)
    as R3GAN has it (Huang et al. 2024, arXiv:2501.05441, eq. 1).
    """
    return F.softplus(lower - higher).mean()


def hinge_discriminator_loss(real: torch.Tensor, fakes: list[torch.Tensor]) -> torch.Tensor:
    """Return max(0, 1 − D(x)) + Σ max(0, 1 + D(x')), means over logits (Lim & Ye 2017)."""
    return F.relu(1 - real).mean() + sum(F.relu(1 + fake).mean() for fake in fakes)


def tell_apart(real: torch.Tensor, fake: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the hinge loss of logits of true and of generated pictures, and the share of both that is told right."""
    right = torch.cat([real > 0, fake <= 0]).float().mean()
    return {"discriminator": hinge_discriminator_loss(real, [fake]), "accuracy": right}


def hinge_generator_loss(fakes: list[torch.Tensor]) -> torch.Tensor:
    """Return −Σ D(x'), means of logits."""
    return -sum(fake.mean() for fake in fakes)

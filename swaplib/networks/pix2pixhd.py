"""From label maps to pictures, as in pix2pixHD (Wang et al. 2018, arXiv:1711.11585), fused with a given background.

Mask-Guided Portrait Editing (Gu et al. 2019, arXiv:1905.10346) joins features of a face's components to those of the
mask, and adds a branch for the background before the last layers. Without the former it is pix2pixHD's global
generator.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks import discriminators
from swaplib.networks.convolution import Conv2d, Sequential


class Residual(nn.Module):
    """x + f(x), f being two 3 x 3 convolutions with reflecting borders."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = Sequential(
            nn.ReflectionPad2d(1), Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
            nn.ReflectionPad2d(1), Conv2d(width, width, 3), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x):  # (B, width, H, W) -> (B, width, H, W)
        return x + self.layers(x)


class Generator(nn.Module):
    """Mask, features and background to a picture, float32 also under bfloat16.

    labels: classes, the first one the background. width: channels at full size, doubling with each halving. halvings:
    how often the mask is halved, down to the grid of the features. blocks: residual ones. features: channels of the
    features that are given with the mask. fused: whether the last layers see the background; else it is pasted.
    """

    def __init__(
        self, labels: int, width: int = 64, halvings: int = 2, blocks: int = 9, features: int = 0, fused: bool = True
    ):
        super().__init__()
        widths = [width << k for k in range(halvings + 1)]
        pairs = list(pairwise(widths))
        encoder = [nn.ReflectionPad2d(3), Conv2d(labels, width, 7), nn.BatchNorm2d(width), nn.ReLU()]
        for narrow, wide in pairs:
            encoder += [Conv2d(narrow, wide, 3, 2, 1), nn.BatchNorm2d(wide), nn.ReLU()]
        body = [Conv2d(widths[-1] + features, widths[-1], 1), *(Residual(widths[-1]) for _ in range(blocks))]
        for narrow, wide in pairs[::-1]:
            body += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.mask_encoder = Sequential(*encoder)
        self.body = Sequential(*body)
        behind = Sequential(nn.ReflectionPad2d(3), Conv2d(3, width, 7), nn.BatchNorm2d(width), nn.ReLU())
        self.background_encoder = behind if fused else None
        self.background_decoder = nn.Sequential(
            nn.Conv2d((1 + fused) * width, width, 1), nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()
        )

    def foreground(self, mask: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Return the face as features (B, width, S, S), from a mask of ones and zeros (B, labels, S, S)."""
        return self.body(torch.cat([self.mask_encoder(mask), *features], 1))

    def behind(self, mask: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        """Return features (B, width, S, S) of a picture (B, 3, S, S), zero where the mask shows no background."""
        return self.background_encoder(background) * mask[:, :1]

    def forward(self, mask, background, features=()):  # (B, L, S, S), (B, 3, S, S), (B, F, G, G) … -> (B, 3, S, S)
        if self.background_encoder is None:
            shown = self.background_decoder(self.foreground(mask, list(features))).float()
            return torch.where(mask[:, :1] > 0.5, background, shown)
        both = [self.foreground(mask, list(features)), self.behind(mask, background)]
        return self.background_decoder(torch.cat(both, 1)).float()


class MultiscaleDiscriminator(nn.Module):
    """Logits of the patches of a picture with its mask, at full size, half size, …, and the features before them.

    Normalised by batch: it must see real and generated pictures in one batch (`compared`), since the statistics of
    separate batches would tell them apart.
    """

    def __init__(self, inputs: int, width: int = 64, halvings: int = 3, scales: int = 2):
        super().__init__()
        self.scales = nn.ModuleList(self._layers(inputs, width, halvings) for _ in range(scales))

    @staticmethod
    def _layers(inputs: int, width: int, halvings: int) -> nn.ModuleList:
        layers = [nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(0.2))]
        for k in range(1, halvings + 1):
            narrow, wide = width * min(1 << (k - 1), 8), width * min(1 << k, 8)
            stride = 2 if k < halvings else 1
            layers.append(nn.Sequential(nn.Conv2d(narrow, wide, 4, stride, 2), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)))
        return nn.ModuleList([*layers, nn.Sequential(nn.Conv2d(wide, 1, 4, 1, 2))])

    def forward(self, mask, images):  # (B, L, S, S), (B, 3, S, S) -> for each scale (B, C, P, P), (B, 1, P + 1, P + 1)
        x, found = torch.cat([mask, images], 1), []
        for k, layers in enumerate(self.scales):
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if k else x
            features = x
            for layer in layers[:-1]:
                features = layer(features)
            found.append((features.float(), layers[-1](features).float()))
        return found

    def compared(self, mask: torch.Tensor, fakes: torch.Tensor, images: torch.Tensor) -> list[tuple]:
        """Return, for each scale, features and logits of generated pictures, and of real ones with the same masks."""
        both = self(torch.cat([mask, mask]), torch.cat([fakes, images]))
        return [tuple(zip(*(one.chunk(2) for one in pair), strict=True)) for pair in both]


def generator_loss(outputs: list[tuple]) -> torch.Tensor:
    """Return −log D(G(…), m) of `MultiscaleDiscriminator.compared`, summed over the scales (pix2pixHD, eq. 3)."""
    return discriminators.generator_loss([fake for (_, fake), _ in outputs])


def discriminator_loss(outputs: list[tuple]) -> torch.Tensor:
    """Return −log D(x, m) − log(1 − D(G(…), m)) of `MultiscaleDiscriminator.compared`.

    Summed over the scales (pix2pixHD, eq. 3).
    """
    return sum(discriminators.discriminator_loss(real, [fake]) for (_, fake), (_, real) in outputs)


def feature_matching(outputs: list[tuple], squared: bool = False) -> torch.Tensor:
    """Return |f − f'| (pix2pixHD, eq. 4) or, if squared, ½ (f − f')² (Mask-Guided Portrait Editing, L_FM).

    f: the discriminator's last features; mean over them, summed over the scales.
    """
    pairs = [(fake, real.detach()) for (fake, _), (real, _) in outputs]
    return sum(0.5 * F.mse_loss(*pair) if squared else F.l1_loss(*pair) for pair in pairs)


def start_normal(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02²), those of normalisations from N(1, 0.02²), and zero the biases, as in pix2pix."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)

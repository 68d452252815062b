"""Perceptual distances of two pictures: distances of features, at several scales, of a network that knows faces.

    d(x, y) = mean over levels of ‖ φ(x)/‖φ(x)‖ − φ(y)/‖φ(y)‖ ‖²,  channels normalised at each pixel, mean over pixels

as in LPIPS (Zhang et al. 2018, arXiv:1801.03924), but without learned weights: `feature_distance` uses the trunk of our
classifying embedder, as face papers use VGGFace's. `AlexNetDistance` is LPIPS itself, where its weights are available.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.judges.base import PublishedConfig, PublishedJudge
from swaplib.judges.identity import IdentityLinear
from swaplib.judges.parsing import Parser

CLOSE = (0.25, 0.31, 0.5)
"""Left, top and side of the square around brows, eyes, nose and mouth in portrait framing, shares of the picture."""


def close_up(images: torch.Tensor) -> torch.Tensor:
    """Return the middle of portraits (B, 3, S, S), from the brows to the mouth, enlarged to S pixels."""
    size = images.shape[-1]
    left, top, side = (round(share * size) for share in CLOSE)
    return F.interpolate(images[..., top : top + side, left : left + side], (size, size), mode="bilinear")


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=1, keepdim=True).clamp(min=1e-8)


class FeatureDistance(nn.Module):
    """The distance (B,) of images (B, 3, H, W) in [-1, 1]: 0 for equal pictures, symmetric, differentiable.

    own_size: the judge sees pictures at their own size instead of its config's.
    close: it also sees `close_up` of them, which counts as much. In the features of a whole portrait nose, eyes, brows
    and mouth are a small part of the distance between two pictures, as they are of the pictures.
    """

    def __init__(self, judge: IdentityLinear | Parser, own_size: bool = False, close: bool = False):
        super().__init__()
        self.judge, self.own_size, self.close = judge, own_size, close

    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) twice -> (B,)
        return self.compare(self.features(images), self.features(others))

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return what is compared, a map (B, C, h, w) for each level; worth keeping for pictures that stay."""
        size = images.shape[-1] if self.own_size else None
        maps = list(self.judge.features(images, size))
        if self.close:
            maps += self.judge.features(close_up(images), images.shape[-1])
        return [_unit(one.float()) for one in maps]

    @staticmethod
    def compare(features: list[torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
        """Return the distance (B,) of two pictures' features."""
        levels = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(features, others, strict=True)]
        return torch.stack(levels).mean(0)


class AlexNetDistance(PublishedJudge):
    """LPIPS v0.1 on AlexNet's five maps after their ReLUs, with the same interface. Pictures keep their size.

    AlexNet's published weights fill it (alexnet-owt-7be5be79.pth, which the user must supply); LPIPS's own ship with
    torchmetrics.
    """

    name = "lpips"
    official = ("features", "weights")

    def __init__(self, config: PublishedConfig | None = None):
        super().__init__(config)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        self.weights = nn.ParameterList(torch.ones(1, width, 1, 1) for width in (64, 192, 384, 256, 256))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])

    def _maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps, x = [], (images - self.shift) / self.scale
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return maps

    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) twice -> (B,)
        pairs = zip(self._maps(images), self._maps(others), self.weights, strict=True)
        return sum((weight * (_unit(a) - _unit(b)).square()).sum(1).mean((1, 2)) for a, b, weight in pairs)


def mesh_distance(images: torch.Tensor, others: torch.Tensor, square: int = 8) -> torch.Tensor:
    """Return how much two pictures (B, 3, S, S) differ in what returns every two pixels, sideways, down and in both.

    The mean absolute difference, in squares of pixels. Our judges' first layers step by two pixels, and hardly see it.
    """
    size = images.shape[-1]
    across = 1 - 2 * (torch.arange(size, device=images.device) % 2)
    down = across[:, None]
    return sum(
        F.avg_pool2d((images - others) * sign, square).abs().mean() / 3 for sign in (across, down, across * down)
    )


def feature_distance(judge: IdentityLinear | Parser, own_size: bool = False, close: bool = False) -> FeatureDistance:
    """Freeze a classifying embedder, or a parser, and return the distance of its features."""
    return FeatureDistance(judge.freeze(), own_size, close)

"""How different do two pictures look? Distances of features, at several scales, of a network that knows faces.

    d(x, y) = mean over levels of ‖ φ(x)/‖φ(x)‖ − φ(y)/‖φ(y)‖ ‖²,  channels normalised at each pixel, mean over pixels

as in LPIPS (Zhang et al. 2018, arXiv:1801.03924), but without learned weights: `features` takes the trunk of our
classifying embedder, as face papers take VGGFace's. `alexnet` is LPIPS itself, where its weights are at hand.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch
from torch import nn

from swaplib import weights
from swaplib.judges.identity import IdentityLinear


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=1, keepdim=True).clamp(min=1e-8)


class FeatureDistance(nn.Module):
    """(B, 3, H, W) twice, in [-1, 1] -> (B,): 0 for equal pictures, symmetric, differentiable.

    own_size: the judge sees pictures at their own size instead of its own.
    """

    def __init__(self, judge: IdentityLinear, own_size: bool = False):
        super().__init__()
        self.judge, self.own_size = judge, own_size

    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        seen = (one if self.own_size else self.judge.seen(one) for one in (images, others))
        pairs = zip(*(self.judge.trunk.features(one) for one in seen), strict=True)
        levels = [(_unit(a.float()) - _unit(b.float())).square().sum(1).mean((1, 2)) for a, b in pairs]
        return torch.stack(levels).mean(0)


class AlexNetDistance(nn.Module):
    """LPIPS v0.1 on AlexNet's five maps after their ReLUs; the same interface. Pictures at their own size."""

    def __init__(self):
        super().__init__()
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

    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        pairs = zip(self._maps(images), self._maps(others), self.weights, strict=True)
        return sum((weight * (_unit(a) - _unit(b)).square()).sum(1).mean((1, 2)) for a, b, weight in pairs)


def features(judge: IdentityLinear, own_size: bool = False) -> FeatureDistance:
    """The distance on a classifying embedder, which is held still."""
    return FeatureDistance(judge.freeze(), own_size)


def alexnet(network: str | os.PathLike, linear: str | os.PathLike | None = None) -> AlexNetDistance:
    """LPIPS: AlexNet's published weights (alexnet-owt-7be5be79.pth) and LPIPS's own (alex.pth).

    linear: torchmetrics brings a copy of it along, which is taken where none is named. Nothing in the files is
    executed. Raises FileNotFoundError, and ValueError for files of something else.
    """
    distance = AlexNetDistance()
    found = weights.tensors(network)
    own = {name.removeprefix("features."): value for name, value in found.items() if name.startswith("features.")}
    linear = _torchmetrics() if linear is None else Path(linear)
    lines = weights.tensors(linear)
    try:
        distance.features.load_state_dict(own)
        for k, weight in enumerate(distance.weights):
            weight.data.copy_(lines[f"lin{k}.model.1.weight"])
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{network} and {linear} don't hold AlexNet and LPIPS's weights for it: check them") from error
    return distance.requires_grad_(False).eval()


def _torchmetrics() -> Path:
    spec = importlib.util.find_spec("torchmetrics")
    return Path(spec.origin).parent / "functional" / "image" / "lpips_models" / "alex.pth"

"""The residual network of ArcFace with squeeze and excitation (Deng et al. 2019; Hu et al. 2018), IR-SE50.

Parameters are named as in model_ir_se50.pth, the weights that most face editors train and measure with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import nn

from swaplib.networks.convolution import Conv2d, Sequential

UNITS = (3, 4, 14, 3)
"""Units in each level. The first unit of a level has stride 2 and doubles the channels, except in level one."""


class Excitation(nn.Module):
    """Each channel times a share that is computed from the means of all channels."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x):  # (B, C, H, W) -> (B, C, H, W)
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Unit(nn.Module):
    """x → shortcut(x) + f(x), the stride in the second convolution of f."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: type[nn.Module] = nn.BatchNorm2d):
        super().__init__()
        if inputs == outputs:
            self.shortcut_layer = nn.MaxPool2d(1, stride)  # takes every stride-th pixel
        else:
            self.shortcut_layer = Sequential(Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))
        self.res_layer = Sequential(
            norm(inputs),
            Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            norm(outputs),
            Excitation(outputs),
        )

    def forward(self, x):  # (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)
        return self.shortcut_layer(x) + self.res_layer(x)


class Trunk(nn.Module):
    """(B, 3, H, W) in [-1, 1] to the maps of four levels, the first at half the size.

    width: channels before the first level; factors: multiples of it after each level. units: how many each level has.
    norm: the layer that normalises maps.
    """

    def __init__(
        self,
        width: int = 64,
        factors: Sequence[int] = (1, 2, 4, 8),
        units: Sequence[int] = UNITS,
        norm: type[nn.Module] = nn.BatchNorm2d,
    ):
        super().__init__()
        self.input_layer = Sequential(Conv2d(3, width, 3, 1, 1, bias=False), norm(width), nn.PReLU(width))
        body, inputs = [], width
        for factor, count in zip(factors, units, strict=True):
            for k in range(count):
                body.append(Unit(inputs, factor * width, 1 if k else 2, norm))
                inputs = factor * width
        self.body = nn.Sequential(*body)
        self.ends = tuple(accumulate(units))

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the map after each level."""
        maps, x = [], self.input_layer(images)
        for number, unit in enumerate(self.body, 1):
            x = unit(x)
            if number in self.ends:
                maps.append(x)
        return maps


class IRSE50(Trunk):
    """(B, 3, 112, 112) in [-1, 1] to a unit vector (B, 512)."""

    def __init__(self):
        super().__init__()
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.6), nn.Flatten(), nn.Linear(512 * 49, 512), nn.BatchNorm1d(512)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, 112, 112) -> (B, 512)
        return nn.functional.normalize(self.output_layer(self.features(images)[-1]), dim=1)

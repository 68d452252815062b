"""The residual network of ArcFace with squeeze and excitation (Deng et al. 2019; Hu et al. 2018), IR-SE50.

Parameters are named as in model_ir_se50.pth, the weights that most face editors train and measure with.
"""

from __future__ import annotations

import torch
from torch import nn

UNITS = ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))
"""Input channels, output channels and number of the units in each level; a level's first one has stride 2."""


class Excitation(nn.Module):
    """Each channel times a share that follows from all channels' means."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x):
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Unit(nn.Module):
    """x → shortcut(x) + f(x), the stride in the second convolution of f."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        if inputs == outputs:
            self.shortcut_layer = nn.MaxPool2d(1, stride)  # takes every stride-th pixel
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            Excitation(outputs),
        )

    def forward(self, x):
        return self.shortcut_layer(x) + self.res_layer(x)


class IRSE50(nn.Module):
    """(B, 3, 112, 112) in [-1, 1] to a unit vector (B, 512)."""

    def __init__(self):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.body = nn.Sequential(*(
            Unit(inputs if k == 0 else outputs, outputs, 2 if k == 0 else 1)
            for inputs, outputs, count in UNITS
            for k in range(count)
        ))  # fmt: skip
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.6), nn.Flatten(), nn.Linear(512 * 49, 512), nn.BatchNorm1d(512)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.output_layer(self.body(self.input_layer(images))), dim=1)

"""Residual networks (He et al. 2016), with parameters named as in torchvision, so that its files load."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from swaplib.networks.convolution import Conv2d, Sequential


def _normed(convolution: nn.Conv2d, norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    return convolution(x, norm) if isinstance(convolution, Conv2d) else norm(convolution(x))


class _Block(nn.Module):
    """x → act(shortcut(x) + f(x)), f being a subclass's `residual`: from `inputs` channels to width · expansion."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, conv: type[nn.Conv2d] = nn.Conv2d):
        super().__init__()
        outputs = width * self.expansion
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = Sequential(conv(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):  # (B, inputs, H, W) -> (B, width · expansion, H / stride, W / stride)
        return self.relu(self.residual(x) + (x if self.downsample is None else self.downsample(x)))


class Basic(_Block):
    """Two 3 x 3 convolutions."""

    def __init__(self, inputs: int, width: int, stride: int, conv: type[nn.Conv2d] = nn.Conv2d):
        super().__init__(inputs, width, stride, conv)
        self.conv1, self.bn1 = conv(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def residual(self, x):
        return _normed(self.conv2, self.bn2, self.relu(_normed(self.conv1, self.bn1, x)))


class Bottleneck(_Block):
    """1 x 1, 3 x 3, 1 x 1; the stride is the middle one's."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, conv: type[nn.Conv2d] = nn.Conv2d):
        super().__init__(inputs, width, stride, conv)
        self.conv1, self.bn1 = conv(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)

    def residual(self, x):
        x = self.relu(_normed(self.conv1, self.bn1, x))
        return _normed(self.conv3, self.bn3, self.relu(_normed(self.conv2, self.bn2, x)))


class ResNet(nn.Module):
    """(B, 3, H, W) to the maps of four levels; the first at a quarter of the size, or at half of it without the pool.

    blocks: number in each level. width: channels of the stem, doubling from level to level. conv: the kind of
    convolution.
    """

    def __init__(
        self,
        block: type[Basic | Bottleneck],
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        pool: bool = True,
        conv: type[nn.Conv2d] = nn.Conv2d,
    ):
        super().__init__()
        self.conv1, self.bn1 = conv(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
        inputs = width
        for level, count in enumerate(blocks):
            wide = width << level
            layers = []
            for k in range(count):
                layers.append(block(inputs, wide, 2 if level and not k else 1, conv))
                inputs = wide * block.expansion
            self.add_module(f"layer{level + 1}", nn.Sequential(*layers))
        self.levels = len(blocks)
        self.outputs = inputs

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the map after each level."""
        maps = [self.maxpool(self.relu(_normed(self.conv1, self.bn1, images)))]
        for level in range(self.levels):
            maps.append(self.get_submodule(f"layer{level + 1}")(maps[-1]))
        return maps[1:]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last map's mean over the picture, (B, 3, H, W) -> (B, outputs)."""
        return self.features(images)[-1].mean((2, 3))


def resnet18() -> ResNet:
    return ResNet(Basic, (2, 2, 2, 2), conv=Conv2d)


def resnet50() -> ResNet:
    return ResNet(Bottleneck, conv=Conv2d)

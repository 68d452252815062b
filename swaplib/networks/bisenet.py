"""BiSeNet (Yu et al. 2018) as the public face parser uses it: ResNet-18, without a spatial path, 19 classes.

Parameters are named as in 79999_iter.pth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks.convolution import Conv2d
from swaplib.networks.resnet import resnet18


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3):
        super().__init__()
        self.conv = Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):  # (B, inputs, H, W) -> (B, outputs, H, W)
        return self.conv(x, self.bn).relu()


class Head(nn.Module):
    """Logits of the classes."""

    def __init__(self, inputs: int, width: int, classes: int):
        super().__init__()
        self.conv = Conv(inputs, width)
        self.conv_out = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, x):  # (B, inputs, H, W) -> (B, classes, H, W)
        return self.conv_out(self.conv(x))


class Attention(nn.Module):
    """A convolution whose channels are weighted by a function of their means."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = Conv(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x):  # (B, inputs, H, W) -> (B, outputs, H, W)
        x = self.conv(x)
        return x * self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))).sigmoid()


class ContextPath(nn.Module):
    """Pictures to maps at an eighth (the trunk's and the path's own) and at a sixteenth of their size."""

    def __init__(self):
        super().__init__()
        self.resnet = resnet18()
        self.arm16, self.arm32 = Attention(256, 128), Attention(512, 128)
        self.conv_head32, self.conv_head16 = Conv(128, 128), Conv(128, 128)
        self.conv_avg = Conv(512, 128, 1)

    def forward(self, images):  # (B, 3, H, W) -> two of (B, 128, H/8, W/8), (B, 128, H/16, W/16)
        _, eighth, sixteenth, last = self.resnet.features(images)
        whole = self.conv_avg(last.mean((2, 3), keepdim=True))
        coarse = self.arm32(last) + whole
        coarse = self.conv_head32(F.interpolate(coarse, sixteenth.shape[-2:]))
        fine = self.arm16(sixteenth) + coarse
        return eighth, self.conv_head16(F.interpolate(fine, eighth.shape[-2:])), coarse


class Fusion(nn.Module):
    """Two maps of one size into one."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.convblk = Conv(inputs, outputs, 1)
        self.conv1 = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, *maps):  # (B, C, H, W) each, `inputs` channels together -> (B, outputs, H, W)
        x = self.convblk(torch.cat(maps, 1))
        return x + x * self.conv2(self.conv1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class BiSeNet(nn.Module):
    """(B, 3, H, W), normalised by ImageNet's mean and deviation, to logits (B, classes, H, W)."""

    def __init__(self, classes: int = 19):
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion(256, 256)
        self.conv_out = Head(256, 256, classes)
        # Training also supervises the path at two coarser levels.
        self.conv_out16, self.conv_out32 = Head(128, 64, classes), Head(128, 64, classes)

    def heads(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the logits and those of the two coarser levels, each (B, classes, H, W)."""
        eighth, fine, coarse = self.cp(images)
        maps = self.conv_out(self.ffm(eighth, fine)), self.conv_out16(fine), self.conv_out32(coarse)
        return tuple(_enlarged(one, images) for one in maps)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, classes, H, W)
        eighth, fine, _ = self.cp(images)
        return _enlarged(self.conv_out(self.ffm(eighth, fine)), images)


def _enlarged(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=True)

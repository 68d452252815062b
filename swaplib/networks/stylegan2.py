"""StyleGAN2's networks (Karras et al. 2020), their parameters named as in the official PyTorch code."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks.resample import blur, half


def _leaky(x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    return F.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)


class Linear(nn.Module):
    """Weights of unit variance, scaled when used ("equalised learning rate")."""

    def __init__(self, inputs: int, outputs: int, active: bool = False):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
        self.gain, self.active = inputs**-0.5, active

    def forward(self, x):
        x = F.linear(x, self.weight * self.gain, self.bias)
        return _leaky(x) if self.active else x


class Conv(nn.Module):
    """The same for convolutions; halves the picture if asked to. gain: of the output."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, shrink: bool = False, linear: bool = False, gain: float = 1.0
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = None if linear else nn.Parameter(torch.zeros(outputs))
        self.scale, self.shrink, self.gain = (inputs * kernel**2) ** -0.5, shrink, gain

    def forward(self, x):
        weight, kernel = self.weight * self.scale, self.weight.shape[-1]
        if not self.shrink:
            x = F.conv2d(x, weight, self.bias, padding=kernel // 2)
        elif kernel == 1:
            x = F.conv2d(half(x), weight, self.bias)
        else:
            x = F.conv2d(blur(x, 1 + kernel // 2), weight, self.bias, stride=2)
        return x * self.gain if self.bias is None else _leaky(x, self.gain)


class _Down(nn.Module):
    """A residual block that halves the picture; the first one begins with the picture itself."""

    def __init__(self, inputs: int, outputs: int, first: bool):
        super().__init__()
        self.fromrgb = Conv(3, inputs, 1) if first else None
        self.conv0 = Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3, shrink=True, gain=math.sqrt(0.5))
        self.skip = Conv(inputs, outputs, 1, shrink=True, linear=True, gain=math.sqrt(0.5))

    def forward(self, x):
        x = x if self.fromrgb is None else self.fromrgb(x)
        return self.skip(x) + self.conv1(self.conv0(x))


class _End(nn.Module):
    """4 x 4 pixels, and how much the batch varies, to a logit."""

    def __init__(self, channels: int, group: int):
        super().__init__()
        self.group = group
        self.conv = Conv(channels + 1, channels, 3)
        self.fc, self.out = Linear(channels * 16, channels, active=True), Linear(channels, 1)

    def forward(self, x):
        x = torch.cat([x, batch_deviation(x, self.group)], 1)
        return self.out(self.fc(self.conv(x).flatten(1)))


def batch_deviation(x: torch.Tensor, group: int) -> torch.Tensor:
    """Mean standard deviation within groups of the batch, (B, 1, H, W) (Karras et al. 2018, §3).

    group: pictures in one; the greatest number up to it that divides the batch.
    """
    batch, _, height, width = x.shape
    group = next(size for size in range(min(group, batch), 0, -1) if batch % size == 0)
    deviation = x.unflatten(0, (group, -1)).var(0, correction=0).add(1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(group)[:, None, None, None].expand(-1, -1, height, width)


class Discriminator(nn.Module):
    """(B, 3, size, size) to logits (B, 1), float32 also under bfloat16.

    base: channels · size at most; most: channels at most. group: pictures whose variation is looked at together.
    """

    def __init__(self, size: int, base: int = 32768, most: int = 512, group: int = 4):
        super().__init__()
        self.sizes = [size >> k for k in range(size.bit_length() - 3)]
        for k, side in enumerate(self.sizes):
            wide, narrow = min(base // side, most), min(base // (side // 2), most)
            self.add_module(f"b{side}", _Down(wide, narrow, first=k == 0))
        self.b4 = _End(min(base // 4, most), group)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for side in self.sizes:
            images = self.get_submodule(f"b{side}")(images)
        return self.b4(images).float()


def gradient_penalty(critic: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """R1: ‖∇ D(x)‖², mean over real pictures (Mescheder et al. 2018); weigh it by γ/2. In float32."""
    images = images.detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()

"""NCSN++ (Song et al. 2021, arXiv:2011.13456), as in the configuration for FFHQ, conditioned on a given vector.

BigGAN's residual blocks, resampling through a low-pass filter, skips scaled by 1/√2, a pyramid of the input fed in on
the way down ("input skip") and one of the output summed on the way up ("output skip"). The modules are in one list, in
the order of use, named as in the official code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks.convolution import Conv2d
from swaplib.networks.resample import double, half


def _norm(channels: int) -> nn.GroupNorm:
    """Normalise by groups of 4 channels or more, 32 groups at most."""
    most = min(channels // 4, 32)
    return nn.GroupNorm(next(k for k in range(most, 0, -1) if channels % k == 0), channels, eps=1e-6)


def _conv(inputs: int, outputs: int, kernel: int = 3, zero: bool = False) -> Conv2d:
    """Build a convolution with uniform weights of variance 1 / (mean of fan in and fan out).

    zero: with zeros instead, so that a residual is 0 at first.
    """
    layer = Conv2d(inputs, outputs, kernel, 1, kernel // 2)
    nn.init.zeros_(layer.weight) if zero else nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """BigGAN's residual block; `resize` is `half`, `double` or None.

    modulated: the condition scales and shifts the normalised map, as in Dhariwal and Nichol (2021, arXiv:2105.05233),
    instead of being added before.
    """

    def __init__(self, inputs: int, outputs: int, condition: int, resize=None, modulated: bool = False):
        super().__init__()
        self.resize, self.modulated = resize, modulated
        self.GroupNorm_0, self.Conv_0 = _norm(inputs), _conv(inputs, outputs)
        self.Dense_0 = nn.Linear(condition, 2 * outputs if modulated else outputs)
        nn.init.xavier_uniform_(self.Dense_0.weight)
        nn.init.zeros_(self.Dense_0.bias)
        self.GroupNorm_1, self.Conv_1 = _norm(outputs), _conv(outputs, outputs, zero=True)
        if inputs != outputs or resize:
            self.Conv_2 = _conv(inputs, outputs, 1)

    def forward(self, x, condition):  # (B, inputs, H, W), (B, condition) -> (B, outputs, H, W), or half, or double
        h = F.silu(self.GroupNorm_0(x))
        if self.resize:
            h, x = self.resize(h), self.resize(x)
        told = self.Dense_0(F.silu(condition))[:, :, None, None]
        if self.modulated:
            scale, shift = told.chunk(2, 1)
            h = self.GroupNorm_1(self.Conv_0(h)) * (1 + scale) + shift
        else:
            h = self.GroupNorm_1(self.Conv_0(h) + told)
        h = self.Conv_1(F.silu(h))
        return ((self.Conv_2(x) if hasattr(self, "Conv_2") else x) + h) / math.sqrt(2)


class PerPixel(nn.Module):
    """A linear map of the channels."""

    def __init__(self, channels: int, zero: bool = False):
        super().__init__()
        self.W, self.b = nn.Parameter(torch.zeros(channels, channels)), nn.Parameter(torch.zeros(channels))
        if not zero:
            nn.init.xavier_uniform_(self.W, 0.1**0.5)

    def forward(self, x):  # (B, C, H, W) -> (B, C, H, W)
        return torch.einsum("bchw,cd->bdhw", x, self.W) + self.b[:, None, None]


class Attention(nn.Module):
    """Self-attention over all pixels."""

    def __init__(self, channels: int):
        super().__init__()
        self.GroupNorm_0 = _norm(channels)
        self.NIN_0, self.NIN_1, self.NIN_2 = (PerPixel(channels) for _ in range(3))
        self.NIN_3 = PerPixel(channels, zero=True)

    def forward(self, x):  # (B, C, H, W) -> (B, C, H, W)
        h = self.GroupNorm_0(x)
        query, key, value = (layer(h).flatten(2).transpose(1, 2) for layer in (self.NIN_0, self.NIN_1, self.NIN_2))
        seen = F.scaled_dot_product_attention(query, key, value)
        return (x + self.NIN_3(seen.transpose(1, 2).unflatten(2, x.shape[-2:]))) / math.sqrt(2)


class Combine(nn.Module):
    """A coarse copy of the input, added to a map."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.Conv_0 = _conv(inputs, outputs, 1)

    def forward(self, x, h):  # (B, inputs, H, W), (B, outputs, H, W) -> (B, outputs, H, W)
        return self.Conv_0(x) + h


class NCSNPP(nn.Module):
    """(B, channels, size, size) and a vector (B, condition) to (B, channels, size, size); zeros before training.

    width: channels at full size; factors: multiples of it, one for each level. blocks: per level. attention: the sizes
    that have it. modulated: as in `Block`. shown: channels that it returns, if not as many as it gets.
    """

    def __init__(
        self,
        size: int,
        width: int,
        factors: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        condition: int,
        channels: int = 3,
        modulated: bool = False,
        shown: int = 0,
    ):
        super().__init__()
        block = partial(Block, modulated=modulated)
        self.blocks, self.levels, self.attention = blocks, len(factors), tuple(attention)
        self._finest = size
        self.wide = width >= 64
        outputs = [width * factor for factor in factors]
        modules: list[nn.Module] = [_conv(channels, width)]
        inside, kept = width, [width]
        for level, wide in enumerate(outputs):
            for _ in range(blocks):
                modules.append(block(inside, wide, condition))
                inside = wide
                if size >> level in self.attention:
                    modules.append(Attention(inside))
                kept.append(inside)
            if level < self.levels - 1:
                modules += [block(inside, inside, condition, half), Combine(channels, inside)]
                kept.append(inside)
        modules += [block(inside, inside, condition), Attention(inside), block(inside, inside, condition)]
        for level, wide in reversed(list(enumerate(outputs))):
            for _ in range(blocks + 1):
                modules.append(block(inside + kept.pop(), wide, condition))
                inside = wide
            if size >> level in self.attention:
                modules.append(Attention(inside))
            modules += [_norm(inside), _conv(inside, shown or channels, zero=True)]
            if level:
                modules.append(block(inside, inside, condition, double))
        self.all_modules = nn.ModuleList(modules)

    def forward(self, images: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        # (B, channels, size, size), (B, condition) -> (B, channels, size, size)
        if self.wide and not torch.is_grad_enabled():
            images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        module = iter(self.all_modules)
        kept, coarse = [next(module)(images)], images
        for level in range(self.levels):
            for _ in range(self.blocks):
                kept.append(self._look(module, next(module)(kept[-1], condition)))
            if level < self.levels - 1:
                coarse = half(coarse)
                h = next(module)(kept[-1], condition)
                kept.append(next(module)(coarse, h))
        h = next(module)(kept[-1], condition)
        h = next(module)(h)
        h = next(module)(h, condition)
        output = None
        for level in reversed(range(self.levels)):
            for _ in range(self.blocks + 1):
                h = next(module)(torch.cat([h, kept.pop()], 1), condition)
            h = self._look(module, h)
            norm, to_rgb = next(module), next(module)
            shown = to_rgb(F.silu(norm(h)))
            output = shown if output is None else double(output) + shown
            if level:
                h = next(module)(h, condition)
        return output.float()

    def grow_from(self, other: NCSNPP) -> None:
        """Take over a network of half the size whose levels are this one's but the first, keeping their scales.

        What is new, the finest level, begins as it was built: it adds nothing yet to what the others show.
        """
        new = self.blocks + 2 + (self._finest in self.attention) * self.blocks  # its modules on the way down
        self.all_modules[0].load_state_dict(other.all_modules[0].state_dict())
        for mine, theirs in zip(self.all_modules[1 + new :], other.all_modules[1:], strict=False):
            mine.load_state_dict(theirs.state_dict())

    def _look(self, module, h):
        """Apply attention, at the sizes that have it."""
        return next(module)(h) if h.shape[-1] in self.attention else h

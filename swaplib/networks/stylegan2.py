"""StyleGAN2's networks (Karras et al. 2020, arXiv:1912.04958), with parameters named as in the official PyTorch code.

    z ── mapping ── w ── affine ── styles s
    const ── [ · s, convolution, · d, + noise, + bias, leaky ReLU ] × layers ── ToRGB at each size, summed up

A style scales a layer's inputs before the convolution, which all pictures of a batch share, and the outputs are brought
back to unit variance after it: the same numbers as a convolution with separate weights for each picture ("modulated
weights"), which is slow on a CPU. Without gradients large maps are computed in strips of rows that fit into the
processor's cache, so that filter, noise and activation cost little, since none of them fetches memory again. And since
weights are the same for all pictures, wide layers convolve by `winograd`, with kernels prepared once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks import winograd
from swaplib.networks.prepared import Prepared
from swaplib.networks.resample import blur, double, half

Noise = Literal["const", "random", "none"]
"""What is added to each layer's map: always the same numbers, new ones from torch's random generator, or nothing."""

_STRIP = 1 << 21  # numbers of a map that are computed at once: 8 MB
_WIDE = 256  # channels above which a convolution by `winograd` is faster, measured


def _leaky(x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    return F.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)


class Linear(nn.Module):
    """Weights of unit variance, scaled when used ("equalised learning rate").

    rate: how much faster the layer learns. bias: its initial value.
    """

    def __init__(self, inputs: int, outputs: int, active: bool = False, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.gain, self.rate, self.active = rate * inputs**-0.5, rate, active

    def forward(self, x):  # (…, inputs) -> (…, outputs)
        x = F.linear(x, self.weight * self.gain, self.bias * self.rate)
        return _leaky(x) if self.active else x


# ---------------------------------------------------------------------------------------------- generator


class Mapping(nn.Module):
    """The mapping from Z to W."""

    def __init__(self, z: int, w: int, layers: int):
        super().__init__()
        self.layers = layers
        for k in range(layers):
            self.add_module(f"fc{k}", Linear(w if k else z, w, active=True, rate=0.01))
        self.register_buffer("w_avg", torch.zeros(w))

    def forward(self, z: torch.Tensor) -> torch.Tensor:  # (B, z) -> (B, w)
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for k in range(self.layers):
            x = self.get_submodule(f"fc{k}")(x)
        if self.training:
            self.w_avg.lerp_(x.detach().float().mean(0), 0.005)
        return x


class Layer(nn.Module):
    """A convolution steered by a style, with noise and activation; doubles the map if asked to."""

    def __init__(self, inputs: int, outputs: int, w: int, size: int, grow: bool = False):
        super().__init__()
        self.affine = Linear(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.size, self.grow = size, grow
        self._prepared = Prepared()

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: Noise = "const") -> torch.Tensor:
        # (B, inputs, s, s), (B, w) -> (B, outputs, size, size)
        style, scale = self.steer(w)
        return self.steered(x, style[..., None, None], scale[..., None, None], self.noise(len(x), noise))

    def steer(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scales of inputs (…, inputs) by codes (…, w), and of outputs, back to unit variance, (…, outputs).

        Both are float32.
        """
        style = self.affine(w).float()
        with torch.autocast(w.device.type, enabled=False):  # d: one over the deviation of the outputs
            scale = (style.square() @ self._summed_squares() + 1e-8).rsqrt()
        return style, scale * 4 if self.grow else scale  # doubling puts zeros between the pixels

    def _summed_squares(self) -> torch.Tensor:
        """Return the sums of the squares of each kernel, (inputs, outputs)."""
        if (torch.is_grad_enabled() and self.weight.requires_grad) or not isinstance(self.weight, nn.Parameter):
            return self.weight.square().sum((2, 3)).T
        return self._prepared.get("squares", [self.weight], lambda: self.weight.detach().square().sum((2, 3)).T)

    def noise(self, batch: int, kind: Noise) -> torch.Tensor | None:
        """Return the noise (1 or B, 1, size, size) times its strength, or None."""
        if kind == "none":
            return None
        if kind == "random":
            noise = torch.randn(batch, 1, self.size, self.size, device=self.weight.device)
        else:
            noise = self.noise_const.reshape(-1, 1, self.size, self.size)  # inversion gives each picture its own
        return noise * self.noise_strength

    def steered(
        self, x: torch.Tensor, style: torch.Tensor, scale: torch.Tensor, noise: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute the layer from the results of `steer` and `noise`: scales (B, C, 1, 1), or one for each pixel."""
        if torch.is_grad_enabled():
            return self._rows(x, style, scale, noise, 0, self.size)
        out = None
        for some, top, bottom in _strips(len(x), len(self.bias), self.size):
            shown = noise if noise is None else noise[some if len(noise) > 1 else slice(None), :, top:bottom]
            rows = self._rows(x[some], style[some], scale[some], shown, top, bottom)
            if rows.shape[2] == self.size and len(rows) == len(x):
                return rows
            if out is None:
                shape = len(x), len(self.bias), self.size, self.size
                out = torch.empty(shape, dtype=rows.dtype, device=x.device, memory_format=torch.channels_last)
            out[some, :, top:bottom] = rows
        return out

    def _rows(self, x, style, scale, noise, top: int, bottom: int) -> torch.Tensor:
        """Compute the rows of the layer's output from `top` to `bottom`."""
        style = style.to(x.dtype)
        if self.grow:
            x = _window(x, top // 2 - 1, bottom // 2 + 1, style)
            x = blur(F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2, padding=1), 0)
        else:
            x = self._convolved(_window(x, top - 1, bottom + 1, style))
        return self.finish(x, scale if scale.shape[2] == 1 else scale[:, :, top:bottom], noise)

    def finish(self, x: torch.Tensor, scale: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        """Apply scale, noise, bias and activation; the activation's gain √2 is applied to its inputs."""
        bias = (self.bias * math.sqrt(2)).to(x.dtype)[:, None, None]
        x = torch.addcmul(bias, x, (scale * math.sqrt(2)).to(x.dtype))
        if noise is not None:
            x += (noise * math.sqrt(2)).to(x.dtype)
        return F.leaky_relu(x, 0.2, inplace=True)

    def _convolved(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H + 2, W + 2) to (B, outputs, H, W)."""
        fast = x.dtype == torch.float32 and x.device.type == "cpu" and self.size >= 8 and len(self.bias) >= _WIDE
        if not fast or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return F.conv2d(x, self.weight)
        kernels = self._prepared.get("kernels", [self.weight], lambda: winograd.transformed(self.weight))
        return winograd.convolve(x, kernels)


def _window(x: torch.Tensor, top: int, bottom: int, style: torch.Tensor) -> torch.Tensor:
    """Scale rows `top` to `bottom` by their styles, with one more column on each side and zeros beyond the map."""
    some = slice(max(top, 0), bottom)
    rows = x[:, :, some] * (style if style.shape[2] == 1 else style[:, :, some])
    return F.pad(rows, (1, 1, max(-top, 0), max(bottom - x.shape[2], 0)))


def _strips(batch: int, channels: int, size: int) -> Iterator[tuple[slice, int, int]]:
    """Yield pieces of a map that are not too large: some pictures, the first row, the row after the last."""
    pictures = max(1, _STRIP // (channels * size**2))
    rows = min(size, max(4, _STRIP // (channels * size) // 4 * 4))
    for first in range(0, batch, pictures):
        for top in range(0, size, rows):
            yield slice(first, first + pictures), top, min(top + rows, size)


class ToRGB(nn.Module):
    """A map's contribution to the picture, float32."""

    def __init__(self, inputs: int, w: int):
        super().__init__()
        self.affine = Linear(w, inputs, bias=1.0)
        self.weight, self.bias = nn.Parameter(torch.randn(3, inputs, 1, 1)), nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:  # (B, inputs, S, S), (B, w) -> (B, 3, S, S)
        style = self.affine(w) * x.shape[1] ** -0.5
        weight = self.weight[:, :, 0, 0] * style[:, None]
        return torch.einsum("bchw,boc->bohw", x, weight.to(x.dtype)).float() + self.bias[:, None, None]


class _Up(nn.Module):
    """The layers of one size: one that doubles the map, another, and ToRGB.

    The first size has a constant in place of the one that doubles.
    """

    def __init__(self, inputs: int, outputs: int, w: int, size: int):
        super().__init__()
        if size == 4:
            self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        else:
            self.conv0 = Layer(inputs, outputs, w, size, grow=True)
        self.conv1 = Layer(outputs, outputs, w, size)
        self.torgb = ToRGB(outputs, w)


class Synthesis(nn.Module):
    """W+ to pictures: (B, layers, w) to (B, 3, size, size), float32 also under bfloat16, about in [-1, 1].

    Each block's ToRGB shares its style with the next block's first layer.
    """

    def __init__(self, size: int, base: int, most: int, w: int):
        super().__init__()
        self.sizes = [4 << k for k in range(size.bit_length() - 2)]
        self.layers = 2 * len(self.sizes)
        for side in self.sizes:
            wide, narrow = min(2 * base // side, most), min(base // side, most)
            self.add_module(f"b{side}", _Up(wide, narrow, w, side))

    def crop(self, size: int) -> None:
        """Drop the blocks of larger pictures: smaller pictures don't need them."""
        for side in [side for side in self.sizes if side > size]:
            delattr(self, f"b{side}")
            self.sizes.remove(side)
        self.layers = 2 * len(self.sizes)

    def affines(self) -> list[Linear]:
        """Return the map from code to style of each code, as SeFa's official code does.

        They are the convolutions', and for the last code, which no convolution reads, ToRGB's.
        """
        blocks = [self.get_submodule(f"b{side}") for side in self.sizes]
        convolutions = [layer for block in blocks for layer in block.children() if isinstance(layer, Layer)]
        return [layer.affine for layer in (*convolutions, blocks[-1].torgb)]

    def indexed(self) -> Iterator[tuple[Layer | ToRGB, int]]:
        """Yield layers and ToRGBs in the order of use, each with the number of the code that it reads."""
        for k, side in enumerate(self.sizes):
            block = self.get_submodule(f"b{side}")
            if k:
                yield block.conv0, 2 * k - 1
            yield block.conv1, 2 * k
            yield block.torgb, 2 * k + 1

    def forward(self, ws: torch.Tensor, noise: Noise = "const") -> torch.Tensor:  # (B, layers, w) -> (B, 3, size, size)
        return self.walk(len(ws), lambda layer, x, k: layer(x, ws[:, k], noise), lambda torgb, x, k: torgb(x, ws[:, k]))

    def walk(self, batch: int, layer: Callable, torgb: Callable) -> torch.Tensor:
        """Take the constant through all layers to pictures (B, 3, size, size).

        `layer` and `torgb` are called with a module, the map and the number of its code.
        """
        x = self.b4.const.movedim(0, 2).expand(batch, -1, -1, -1).contiguous().movedim(3, 1)  # channels last
        picture = None
        for module, k in self.indexed():
            if isinstance(module, Layer):
                x = layer(module, x, k)
            else:
                shown = torgb(module, x, k)
                picture = shown if picture is None else double(picture) + shown
        return picture


class Generator(nn.Module):
    """Codes in Z, W or W+ to pictures.

    base: channels · size at most; most: channels at most. z, w: dimensions. depth: layers of the mapping.
    """

    def __init__(self, size: int, base: int = 32768, most: int = 512, z: int = 512, w: int = 512, depth: int = 8):
        super().__init__()
        self.mapping, self.synthesis = Mapping(z, w, depth), Synthesis(size, base, most, w)

    @property
    def layers(self) -> int:
        """Number of layers of W+: 2 log2(size) − 2."""
        return self.synthesis.layers

    def plus(self, w: torch.Tensor, truncation: float = 1.0, cutoff: int | None = None) -> torch.Tensor:
        """Turn W or W+ into truncated W+: (B, w) or (B, layers, w) to (B, layers, w).

        The first `cutoff` layers (all if None) are drawn towards the mean, which they equal at truncation 0.
        """
        ws = w[:, None].expand(-1, self.layers, -1) if w.ndim == 2 else w
        near = self.mapping.w_avg.lerp(ws[:, :cutoff].to(self.mapping.w_avg), truncation)
        return near if cutoff is None else torch.cat([near, ws[:, cutoff:]], 1)

    def forward(
        self, z: torch.Tensor, truncation: float = 1.0, cutoff: int | None = None, noise: Noise = "const"
    ) -> torch.Tensor:
        """Turn standard normal codes (B, z) into pictures (B, 3, size, size)."""
        return self.synthesis(self.plus(self.mapping(z), truncation, cutoff), noise)


# ---------------------------------------------------------------------------------------------- discriminator


class Conv(nn.Module):
    """A convolution with weights scaled as in `Linear`; `shrink` halves the picture. gain: of the output."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, shrink: bool = False, linear: bool = False, gain: float = 1.0
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = None if linear else nn.Parameter(torch.zeros(outputs))
        self.scale, self.shrink, self.gain = (inputs * kernel**2) ** -0.5, shrink, gain

    def forward(self, x):  # (B, inputs, H, W) -> (B, outputs, H, W), or half of H and W
        weight, kernel = self.weight * self.scale, self.weight.shape[-1]
        if not self.shrink:
            x = F.conv2d(x, weight, self.bias, padding=kernel // 2)
        elif kernel == 1:
            x = F.conv2d(half(x), weight, self.bias)
        else:
            x = F.conv2d(blur(x, 1 + kernel // 2), weight, self.bias, stride=2)
        return x * self.gain if self.bias is None else _leaky(x, self.gain)


class _Down(nn.Module):
    """A residual block that halves a map; the first one reads the picture itself."""

    def __init__(self, inputs: int, outputs: int, first: bool):
        super().__init__()
        self.fromrgb = Conv(3, inputs, 1) if first else None
        self.conv0 = Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3, shrink=True, gain=math.sqrt(0.5))
        self.skip = Conv(inputs, outputs, 1, shrink=True, linear=True, gain=math.sqrt(0.5))

    def forward(self, x):  # (B, inputs or 3, H, W) -> (B, outputs, H/2, W/2)
        x = x if self.fromrgb is None else self.fromrgb(x)
        return self.skip(x) + self.conv1(self.conv0(x))


class _End(nn.Module):
    """A map of 4 x 4 pixels, together with how much the batch varies, to a logit."""

    def __init__(self, channels: int, group: int):
        super().__init__()
        self.group = group
        self.conv = Conv(channels + 1, channels, 3)
        self.fc, self.out = Linear(channels * 16, channels, active=True), Linear(channels, 1)

    def forward(self, x):  # (B, channels, 4, 4) -> (B, 1)
        x = torch.cat([x, batch_deviation(x, self.group)], 1)
        return self.out(self.fc(self.conv(x).flatten(1)))


def batch_deviation(x: torch.Tensor, group: int) -> torch.Tensor:
    """Return the mean standard deviation within groups of the batch, (B, 1, H, W) (Karras et al. 2018, §3).

    group: pictures in a group; the greatest number up to it that divides the batch is used.
    """
    batch, _, height, width = x.shape
    group = next(size for size in range(min(group, batch), 0, -1) if batch % size == 0)
    deviation = x.unflatten(0, (group, -1)).var(0, correction=0).add(1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(group)[:, None, None, None].expand(-1, -1, height, width)


class Discriminator(nn.Module):
    """(B, 3, size, size) to logits (B, 1), float32 also under bfloat16.

    base: channels · size at most; most: channels at most. group: pictures whose variation is measured together.
    """

    def __init__(self, size: int, base: int = 32768, most: int = 512, group: int = 4):
        super().__init__()
        self.sizes = [size >> k for k in range(size.bit_length() - 3)]
        for k, side in enumerate(self.sizes):
            wide, narrow = min(base // side, most), min(base // (side // 2), most)
            self.add_module(f"b{side}", _Down(wide, narrow, first=k == 0))
        self.b4 = _End(min(base // 4, most), group)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, size, size) -> (B, 1)
        images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        for side in self.sizes:
            images = self.get_submodule(f"b{side}")(images)
        return self.b4(images).float()


def gradient_penalty(discriminator: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return R1 = E ‖∇ D(x)‖² over real pictures (Mescheder et al. 2018, eq. 9), to be weighted by γ/2; float32."""
    images = images.detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def path_lengths(synthesis: Synthesis, ws: torch.Tensor, shown: torch.Tensor, noise: Noise = "random") -> torch.Tensor:
    """Return how far a picture moves with its code, ‖∇ ⟨G(w), y⟩‖, (B,), float32 (§3.2, eq. 4).

    Root mean square over the layers. ws: (B, layers, w), computed by parameters that are to learn. shown: y, pictures
    (B, 3, S, S) of normal noise.
    """
    with torch.autocast(ws.device.type, enabled=False):
        moved = (synthesis(ws.float(), noise) * shown).sum() / shown.shape[-1]
        (gradient,) = torch.autograd.grad(moved, ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()

"""Convolutional pyramids: a picture down to 4 x 4, and a code up to a picture.

Stride-2 4 x 4 convolutions throughout: transposed ones are four times as fast on a CPU as upsampling followed by 3 x 3.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def channels(size: int, width: int, most: int) -> list[int]:
    """Return the channels after each halving from `size` pixels to 4 x 4: `width`, then doubling, at most `most`.

    Raises ValueError for a size that is not a power of two, 16 or more.
    """
    halvings = (size // 4).bit_length() - 1
    if size != 4 << halvings or halvings < 2:
        raise ValueError(f"size must be a power of two from 16 on, got {size}")
    return [min(width << k, most) for k in range(halvings)]


def down(inputs: int, outputs: list[int], norm: Literal["batch", "group", "spectral"] = "batch") -> nn.Sequential:
    """Stack n convolutions, (B, inputs, S, S) -> (B, outputs[-1], S / 2^n, S / 2^n).

    norm: by batch; by groups of 8 channels; or of the weights by their largest singular value (Miyato et al. 2018).
    """
    layers: list[nn.Module] = []
    for wide in outputs:
        convolution = nn.Conv2d(inputs, wide, 4, 2, 1)
        if norm == "spectral":
            layers.append(spectral_norm(convolution))
        else:
            layers += [convolution, nn.BatchNorm2d(wide) if norm == "batch" else nn.GroupNorm(8, wide)]
        layers.append(nn.LeakyReLU(0.2))
        inputs = wide
    return nn.Sequential(*layers)


class Decoder(nn.Module):
    """Codes to a picture: (B, …) each -> (B, 3, size, size) in [-1, 1], float32 also under bfloat16.

    inputs: dimensions of all codes together. width: channels at the last resolution.
    """

    def __init__(self, size: int, inputs: int, width: int, most: int):
        super().__init__()
        coarse_first = channels(size, width, most)[::-1]
        self.seed = nn.Linear(inputs, coarse_first[0] * 16)
        layers: list[nn.Module] = [nn.BatchNorm2d(coarse_first[0]), nn.LeakyReLU(0.2)]
        for wide, narrow in zip(coarse_first, [*coarse_first[1:], coarse_first[-1]], strict=True):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(coarse_first[-1], 3, 3, 1, 1), nn.Tanh())

    def forward(self, *codes):  # (B, …) each -> (B, 3, size, size)
        return self.body(self.seed(torch.cat(codes, 1)).unflatten(1, (-1, 4, 4))).float()


def copy_layers(mine: nn.Module, theirs: nn.Module) -> None:
    """Copy weights from a network for pictures of this or another size, wherever layers correspond.

    Coarse layers correspond to each other: a decoder begins with them, any other pyramid ends with them. Layers that
    only one of the two has, and those of unequal size, stay as they are.
    """
    for name, module in mine.named_modules():
        inside, _, _ = name.rpartition(".")
        if isinstance(module, nn.Sequential):
            order = 1 if isinstance(mine.get_submodule(inside), Decoder) else -1
            for layer, other in zip(module[::order], theirs.get_submodule(name)[::order], strict=False):
                _copy(layer, other)
        elif isinstance(module, (nn.Linear, nn.Conv2d, nn.LSTM)) and not _within_pyramid(mine, inside):
            _copy(module, theirs.get_submodule(name))


def copy_by_name(mine: nn.Module, theirs: nn.Module) -> None:
    """Copy the tensors of the same name and shape.

    This is for networks whose layers are named after the size that they work at, or work at any size.
    """
    own = mine.state_dict()
    known = {name: value for name, value in theirs.state_dict().items() if name in own}
    mine.load_state_dict(own | {name: value for name, value in known.items() if value.shape == own[name].shape})


def _within_pyramid(network: nn.Module, name: str) -> bool:
    """Tell whether a submodule is, or lies in, an `nn.Sequential`."""
    while name:
        if isinstance(network.get_submodule(name), nn.Sequential):
            return True
        name, _, _ = name.rpartition(".")
    return False


def _copy(mine: nn.Module, theirs: nn.Module) -> None:
    shapes, found = ({k: v.shape for k, v in module.state_dict().items()} for module in (mine, theirs))
    if shapes == found:
        mine.load_state_dict(theirs.state_dict())

"""3 x 3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4 x 4, 3 x 3).

Andrew Lavin, Scott Gray: Fast Algorithms for Convolutional Neural Networks. CVPR 2016, arXiv:1509.09308.

    tiles of 6 x 6 ── Bᵀ · B ──┐
                               ├─ a product of matrices for each of the 36 places ── Aᵀ · A ── 4 x 4 outputs
    kernels 3 x 3 ──── G · Gᵀ ─┘

The transformed kernels are worth keeping, so this is for frozen weights. In single precision the results differ from a
plain convolution's by about a hundred-thousandth of the largest value; half precision would lose too much.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

_B = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
      (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip
_G = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
      (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip
_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

_STRIP = 1 << 19  # numbers of tiles that are computed at once, at least: 2 MB


@cache
def _both(rows: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """Combine the transforms of rows and columns in one matrix."""
    one = torch.tensor(rows, dtype=torch.float32)
    return torch.kron(one, one)


def transformed(weight: torch.Tensor) -> torch.Tensor:
    """Transform kernels (outputs, inputs, 3, 3) for `convolve`, to (36, inputs, outputs)."""
    return (_both(_G) @ weight.flatten(2).permute(2, 1, 0).flatten(1)).unflatten(1, weight.shape[1::-1]).contiguous()


def convolve(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Convolve as `F.conv2d` without padding: (B, inputs, H + 2, W + 2) to (B, outputs, H, W), float32.

    H and W must be multiples of 4. kernels: from `transformed`.
    """
    x = x.permute(0, 2, 3, 1).contiguous()
    batch, height, width, inputs = x.shape
    down, right = (height - 2) // 4, (width - 2) // 4
    image, row, column, channel = x.stride()
    shape, strides = (6, 6, batch, down, right, inputs), (row, column, image, 4 * row, 4 * column, channel)
    tiles = (_both(_B) @ x.as_strided(shape, strides).reshape(36, -1)).view(36, -1, inputs)
    found = _both(_A) @ torch.bmm(tiles, kernels).view(36, -1)
    found = found.view(4, 4, batch, down, right, -1).permute(2, 3, 0, 4, 1, 5)
    return found.reshape(batch, 4 * down, 4 * right, -1).permute(0, 3, 1, 2)


def conv2d(x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None = None, padding: int = 1) -> torch.Tensor:
    """Convolve maps of any size, (B, inputs, H, W) to (B, outputs, H + 2 padding - 2, …), channels last, with a bias.

    Computed in strips of rows whose tiles stay in the processor's cache, beside the kernels.
    """
    batch, _, height, width = x.shape
    tall, wide = height + 2 * padding - 2, width + 2 * padding - 2
    x = x.contiguous(memory_format=torch.channels_last)
    out = x.new_empty((batch, kernels.shape[2], tall, wide)).contiguous(memory_format=torch.channels_last)
    row = 36 * -(-wide // 4) * max(kernels.shape[1:])  # numbers in a row of tiles
    some = max(1, min(max(2 * kernels.numel(), _STRIP), 8 * _STRIP) // row)  # rows of tiles at once
    down = -(-tall // 4)  # rows of tiles in a picture
    pictures, rows = max(1, some // down), 4 * min(some, down)
    for first in range(0, batch, pictures):
        for top in range(0, tall, rows):
            bottom = min(top + rows, tall)
            above, below = max(top - padding, 0), min(bottom + 2 - padding, height)
            left, over = padding, above - (top - padding)
            right, under = padding - wide % -4, bottom + 2 - padding - below + (top - bottom) % 4
            window = F.pad(x[first : first + pictures, :, above:below], (left, right, over, under))
            part = convolve(window, kernels)
            part = part[:, :, : bottom - top, :wide]
            out[first : first + pictures, :, top:bottom] = part if bias is None else part + bias[:, None, None]
    return out

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

_B = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
      (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip
_G = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
      (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip
_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


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

"""The U-Net of pix2pix (Isola et al. 2017, arXiv:1611.07004), the parser in Mask-Guided Portrait Editing's code."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


class UNet(nn.Module):
    """(B, 3, H, W) to (B, classes, H, W) in [-1, 1]; H and W multiples of 2^levels.

    The skip connections carry each map after its LeakyReLU. Dropout, used only in training, is left out.
    """

    def __init__(self, classes: int = 11, width: int = 64, levels: int = 6):
        super().__init__()
        widths = [width * min(1 << k, 8) for k in range(levels)]
        self.downs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False) for inputs, outputs in pairwise([3, *widths])
        )
        self.down_norms = nn.ModuleList(nn.BatchNorm2d(wide) for wide in widths[1:-1])
        inputs = [2 * wide for wide in widths[:-1]] + widths[-1:]
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 4, 2, 1, 1, bias=not k)
            for k, (wide, narrow) in enumerate(zip(inputs, [classes, *widths[:-1]], strict=True))
        )
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(wide) for wide in widths[:-1])

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, classes, H, W)
        maps, x = [], images
        for k, down in enumerate(self.downs):
            x = down(x)
            if 0 < k < len(self.downs) - 1:
                x = self.down_norms[k - 1](x)
            if k < len(self.downs) - 1:
                x = F.leaky_relu(x, 0.2)
                maps.append(x)
        for k in range(len(self.ups) - 1, -1, -1):
            height, width = x.shape[-2:]
            x = self.ups[k](F.relu(x))[..., : 2 * height, : 2 * width]  # cut its extra row and column
            if k:
                x = torch.cat([maps[k - 1], self.up_norms[k - 1](x)], 1)
        return x.tanh()

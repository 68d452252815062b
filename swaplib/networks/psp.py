"""From a picture to StyleGAN2's W+ in one step: the published encoders, at their authors' sizes.

    picture ─ IR-SE50 ─┬─ 64 px ─ 1 × 1 ─ + ── fine styles, 7 …      pSp: each head gives one layer's code
                       ├─ 32 px ─ 1 × 1 ─ + ── middle, 3 … 6         e4e: the first head gives w for all layers,
                       └─ 16 px ───────────┴── coarse, 0 … 2              the others offsets from it

pSp: Elad Richardson et al., Encoding in Style, CVPR 2021, arXiv:2008.00951, `GradualStyleEncoder`. e4e: Omer Tov et
al., Designing an Encoder for StyleGAN Image Manipulation, SIGGRAPH 2021, arXiv:2102.02766, `Encoder4Editing`; it learns
one offset after the other, coarse ones first, and small ones keep its codes near W, where editing works.

Parameters are named as in the authors' files, which `swaplib.weights.published` reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.faces import Faces
from swaplib.networks.convolution import Conv2d
from swaplib.networks.ir_se import Trunk
from swaplib.networks.stylegan2 import Linear

SIZE = 256
"""Pixels of the pictures that the encoders read."""


class Style(nn.Module):
    """A map (B, inputs, size, size) to one layer's code (B, w): halved down to a pixel."""

    def __init__(self, inputs: int, w: int, size: int):
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(size.bit_length() - 1):
            layers += [Conv2d(w if k else inputs, w, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = Linear(w, w)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, inputs, size, size) -> (B, w)
        return self.linear(self.convs(x).flatten(1))


class Encoder(Trunk):
    """The common part of both encoders.

    size: of the generator's pictures, which determines the number of layers. width: channels of the trunk's first
    level. w: dimensions of a code. latent_avg: the mean code (layers, w), which is added to all; zeros until a file's
    is set. As in the authors' code it is not part of the state.
    """

    latent_avg: torch.Tensor

    def __init__(self, size: int = 1024, width: int = 64, w: int = 512):
        super().__init__(width)
        self.layers = 2 * (size.bit_length() - 1) - 2
        self.levels = [0 if layer < 3 else 1 if layer < 7 else 2 for layer in range(self.layers)]
        self.styles = nn.ModuleList(Style(8 * width, w, SIZE >> 4 - level) for level in self.levels)
        self.latlayer1 = Conv2d(4 * width, 8 * width, 1)
        self.latlayer2 = Conv2d(2 * width, 8 * width, 1)
        self.register_buffer("latent_avg", torch.zeros(self.layers, w), persistent=False)

    def maps(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the coarse, middle and fine maps, of 16, 32 and 64 pixels, each with the coarser ones added."""
        _, fine, middle, coarse = self.features(Faces(images).resize(SIZE).images)
        middle = self._added(coarse, self.latlayer1(middle))
        return coarse, middle, self._added(middle, self.latlayer2(fine))

    @staticmethod
    def _added(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        return F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True) + fine


class GradualStyleEncoder(Encoder):
    """pSp's encoder."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encode pictures (B, 3, H, W) in [-1, 1], aligned "ffhq", as codes (B, layers, w)."""
        maps = self.maps(images)
        codes = [style(maps[level]) for style, level in zip(self.styles, self.levels, strict=True)]
        return self.latent_avg + torch.stack(codes, 1)


class Encoder4Editing(Encoder):
    """e4e's encoder."""

    def forward(self, images: torch.Tensor, stage: int | None = None) -> torch.Tensor:
        """Encode pictures (B, 3, H, W) in [-1, 1], aligned "ffhq", as codes (B, layers, w).

        stage: the last layer that has an offset, as in progressive training; at 0 all layers are alike. None: all.
        """
        maps = self.maps(images)
        w, *offsets = (
            style(maps[level]) if stage is None or layer <= stage else torch.zeros_like(self.latent_avg[:1])
            for layer, (style, level) in enumerate(zip(self.styles, self.levels, strict=True))
        )
        return self.latent_avg + torch.stack([w, *(w + offset for offset in offsets)], 1)

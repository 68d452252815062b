"""E4S's networks (Liu et al. 2023, arXiv:2211.14068): a code for each region of a face, and a generator that reads it.

    picture ─ IR-SE50 with instance normalisation ─┬─ 64 px ─┐              means over each region of the label map,
                                                   ├─ 32 px ─┼─ pooled ──── 256 + 512 + 512 numbers: its texture
                                                   └─ 16 px ─┘
    texture ─ an MLP for each region ─ style codes of the first K layers;  the mean code for the others
    codes, label map ─ StyleGAN2 whose first K layers take each pixel's style from its region's codes

Parameters are named as in the authors' file, except for the generator, which is ours (`weights.published` reads both).

The authors' generator computes each masked layer once for each region, over the whole map, and cuts the regions out:
twelve times the work. Here it is done once: a pixel whose neighbours all lie in its own region needs only its own
style, so one convolution of the map, with each pixel scaled by its region's style, gives the right value; the others,
near borders, are computed one by one, their neighbours scaled by that pixel's style. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.faces import one_hot
from swaplib.networks.ir_se import UNITS, Trunk
from swaplib.networks.stylegan2 import Layer, Linear, Noise, Synthesis, ToRGB

# ---------------------------------------------------------------------------------------------- encoder


def shares(labels: torch.Tensor, regions: int, size: int, soft: bool = False) -> torch.Tensor:
    """Turn label maps (B, H, W) into masks (B, regions, size, size) of nearest pixels or, if soft, shares of area."""
    if not soft:
        return one_hot(resized(labels, size), regions)
    return F.adaptive_avg_pool2d(one_hot(labels, regions), size)


def resized(labels: torch.Tensor, size: int) -> torch.Tensor:
    """Resize label maps (B, H, W), int64, reading each new pixel's place at its top left, as the authors do."""
    return F.interpolate(labels[:, None].float(), (size, size), mode="nearest")[:, 0].long()


class RegionEncoder(Trunk):
    """F: pictures and label maps to texture vectors (B, regions, outputs), zeros for regions that are absent.

    size: of the pictures that it reads. width, factors, units: as in `Trunk`. levels: which of the four maps are
    pooled. soft: on a coarse map, a pixel counts for each of its regions by area, instead of for one of them.
    """

    def __init__(
        self,
        size: int = 256,
        width: int = 64,
        factors: Sequence[int] = (2, 4, 8, 8),
        units: Sequence[int] = UNITS,
        levels: Sequence[int] = (1, 2, 3),
        regions: int = 12,
        soft: bool = False,
    ):
        super().__init__(width, factors, units, nn.InstanceNorm2d)
        self.size, self.levels, self.regions, self.soft = size, tuple(levels), regions, soft
        self.outputs = sum(width * factors[level] for level in levels)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Encode (B, 3, H, W) in [-1, 1] with labels (B, H', W') as (B, regions, outputs), float32."""
        if images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        maps = self.features(images)
        return torch.cat([self._pooled(maps[level].float(), labels) for level in self.levels], 2)

    def _pooled(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        masks = shares(labels, self.regions, x.shape[-1], self.soft).flatten(2)
        sums = torch.einsum("brp,bcp->brc", masks, x.flatten(2))
        return sums / masks.sum(2, keepdim=True).clamp(min=1e-6)


class RegionMLP(nn.Module):
    """A region's texture (B, inputs) to its style codes (B, layers, w), without the mean code."""

    def __init__(self, inputs: int, w: int, layers: int):
        super().__init__()
        self.mlp = nn.Sequential(Linear(inputs, w), nn.LeakyReLU(0.01), Linear(w, layers * w))
        self.layers = layers

    def forward(self, texture: torch.Tensor) -> torch.Tensor:  # (B, inputs) -> (B, layers, w)
        return self.mlp(texture).unflatten(1, (self.layers, -1))


class RegionMLPs(nn.ModuleList):
    """One MLP for each region. layers: K, the number of layers that get codes of their own."""

    def __init__(self, regions: int, inputs: int, w: int, layers: int):
        super().__init__(RegionMLP(inputs, w, layers) for _ in range(regions))
        self.layers = layers

    def forward(self, textures: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """Map textures (B, regions, inputs) and the mean (L, w) to codes (B, regions, L, w), float32.

        From layer K on, a code is the mean alone.
        """
        own = torch.stack([mlp(textures[:, k]) for k, mlp in enumerate(self)], 1).float()
        return mean + F.pad(own, (0, 0, 0, len(mean) - self.layers))


# ---------------------------------------------------------------------------------------------- generator


class Regions:
    """A label map at a layer's size: (B, S, S), int64."""

    def __init__(self, labels: torch.Tensor, regions: int):
        self.labels, self.size = labels, labels.shape[-1]
        self.masks = F.one_hot(labels.flatten(1), regions).float()  # (B, S · S, regions)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Spread each region's numbers (B, regions, C) to its pixels: (B, C, S, S), channels last."""
        with torch.autocast(values.device.type, enabled=False):  # a product with ones and zeros, exact at fp32
            return (self.masks @ values).unflatten(1, self.labels.shape[1:]).movedim(-1, 1)

    @cached_property
    def _extremes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest and the highest label among a pixel and its neighbours."""
        labels = self.labels[:, None].float()
        return -F.max_pool2d(-labels, 3, 1, 1)[:, 0], F.max_pool2d(labels, 3, 1, 1)[:, 0]

    def border(self, inputs: Regions) -> torch.Tensor:
        """Find the pixels that a layer's convolution computes partly from another region's inputs: flat indices."""
        times = self.size // inputs.size
        low, high = (one.repeat_interleave(times, 1).repeat_interleave(times, 2) for one in inputs._extremes)
        return ((low != self.labels) | (high != self.labels)).flatten().nonzero()[:, 0]

    def of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the labels of some pixels, given as flat indices."""
        return self.labels.flatten()[pixels]


def masked_layer(
    layer: Layer, x: torch.Tensor, w: torch.Tensor, inputs: Regions, outputs: Regions, noise: Noise
) -> torch.Tensor:
    """Compute Σ_r M_r · (the layer's convolution by region r's code), then noise and activation, once.

    x: (B, C, s, s). w: codes (B, regions, w). inputs, outputs: label maps of the sizes of x and of the result.
    """
    style, scale = layer.steer(w)
    noise = layer.noise(len(x), noise)
    shown = layer.steered(x, inputs.spread(style), outputs.spread(scale), noise)
    pixels = outputs.border(inputs)
    if not len(pixels):
        return shown
    order, right = _one_by_one(layer, x, style, scale, noise, outputs, pixels)
    flat = shown.movedim(1, -1).flatten(0, 2)
    flat = flat.index_put((order,), right) if torch.is_grad_enabled() else flat.index_put_((order,), right)
    return flat.unflatten(0, outputs.labels.shape).movedim(-1, 1)


def _one_by_one(
    layer: Layer,
    x: torch.Tensor,
    style: torch.Tensor,
    scale: torch.Tensor,
    noise: torch.Tensor | None,
    regions: Regions,
    pixels: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `masked_layer` at some pixels: their indices, in another order, and their values, (N, C)."""
    size, wide, times = regions.size, x.shape[-1] + 2, 2 if layer.grow else 1
    around = F.pad(x, (1, 1, 1, 1)).movedim(1, -1).flatten(0, 2)  # one row per pixel
    three = torch.arange(3, device=x.device)
    window = (three[:, None] * wide + three).flatten()
    order, found = [], []
    row, column = pixels // size % size, pixels % size
    for (down, right), kernel in _kernels(layer).items():
        some = pixels[(row % times == down) & (column % times == right)]
        picture, row_in, column_in = some // size**2, some // size % size // times, some % size // times
        corner = (picture * wide + row_in) * wide + column_in
        # `index_select` differentiates two to four times as fast as indexing does.
        near = around.index_select(0, (corner[:, None] + window).flatten()).unflatten(0, (-1, 9))
        own = style.flatten(0, 1).index_select(0, picture * style.shape[1] + regions.of(some))
        near = near * own[:, None].to(x.dtype)
        order.append(some)
        found.append(near.flatten(1) @ kernel.to(x.dtype))
    order, found = torch.cat(order), torch.cat(found)
    scale = scale.flatten(0, 1).index_select(0, order // size**2 * scale.shape[1] + regions.of(order))
    if noise is not None:
        noise = noise.expand(len(x), -1, -1, -1).flatten()[order][:, None, None, None]
    return order, layer.finish(found[..., None, None], scale[..., None, None], noise)[..., 0, 0]


def _kernels(layer: Layer) -> dict[tuple[int, int], torch.Tensor]:
    """Return the weights of a pixel's 3 x 3 neighbours in the input, (9 C, outputs).

    In a layer that doubles, they are keyed by the pixel's row and column modulo 2: the layer's weights w, followed by
    the filter f = [1, 3, 3, 1] / 8, give Σ_k w_k f_{2u + k − a + 1} for the neighbour u = -1, 0, 1 of a pixel in row a,
    and the same for columns.
    """
    if not layer.grow:
        return {(0, 0): layer.weight.permute(2, 3, 1, 0).flatten(0, 2)}
    taps = layer.weight.new_tensor([1, 3, 3, 1]) / 8
    share = layer.weight.new_zeros(2, 3, 3)
    for a in range(2):
        for u in range(3):
            for k in range(3):
                tap = 2 * (u - 1) + k - a + 1
                share[a, u, k] = taps[tap] if 0 <= tap < 4 else 0
    kernels = torch.einsum("auk,bvl,ockl->abuvco", share, share, layer.weight).flatten(2, 4)
    return {(a, b): kernels[a, b] for a in range(2) for b in range(2)}


def masked_torgb(torgb: ToRGB, x: torch.Tensor, w: torch.Tensor, regions: Regions) -> torch.Tensor:
    """Compute a map's contribution to the picture, (B, 3, S, S), region by region; w: codes (B, regions, w)."""
    style = torgb.affine(w) * x.shape[1] ** -0.5
    weight = torgb.weight[:, :, 0, 0] * style[:, :, None]
    shown = torch.einsum("bchw,broc->brohw", x, weight.to(x.dtype)).float()
    label = regions.labels[:, None, None].expand(-1, 1, 3, -1, -1)
    return shown.gather(1, label)[:, 0] + torgb.bias[:, None, None]


def masked_synthesis(
    synthesis: Synthesis, codes: torch.Tensor, labels: torch.Tensor, masked: int, noise: Noise = "const"
) -> torch.Tensor:
    """Turn codes (B, regions, layers, w) and label maps (B, H, W) into pictures (B, 3, size, size), float32.

    masked: K, the number of layers that are steered by region; the others take the first region's codes.
    """
    count = codes.shape[1]
    at = {side: Regions(resized(labels, side), count) for side in synthesis.sizes}

    def steer(layer: Layer, x: torch.Tensor, k: int) -> torch.Tensor:
        if k >= masked:
            return layer(x, codes[:, 0, k], noise)
        return masked_layer(layer, x, codes[:, :, k], at[x.shape[-1]], at[layer.size], noise)

    def show(torgb: ToRGB, x: torch.Tensor, k: int) -> torch.Tensor:
        return torgb(x, codes[:, 0, k]) if k >= masked else masked_torgb(torgb, x, codes[:, :, k], at[x.shape[-1]])

    return synthesis.walk(len(codes), steer, show)


def reach(synthesis: Synthesis, labels: torch.Tensor, region: int, masked: int) -> torch.Tensor:
    """Find the pixels (B, size, size) that may change with one region's codes.

    They are those of its mask in any masked layer, and what later layers carry on from there, one pixel further each. A
    region present at 4 x 4 pixels reaches nearly everything; one too small for the coarse maps stays near itself. Not
    valid for the first region where it steers unmasked layers.
    """

    def wider(mask: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(mask, 3, 1, 1)

    changed = picture = None
    for module, k in synthesis.indexed():
        side = module.size if isinstance(module, Layer) else changed.shape[-1]
        own = (resized(labels, side) == region)[:, None].float() * float(k < masked)
        if isinstance(module, ToRGB):
            shown = torch.maximum(changed, own)
            spread = 0 if picture is None else wider(picture).repeat_interleave(2, 2).repeat_interleave(2, 3)
            picture = shown if picture is None else torch.maximum(spread, shown)
        elif changed is None:
            changed = own
        else:
            carried = wider(changed)
            carried = carried.repeat_interleave(2, 2).repeat_interleave(2, 3) if module.grow else carried
            changed = torch.maximum(carried, own)
    return picture[:, 0] > 0

"""Convolutions that do less at inference: wide ones by `winograd`, and a normalisation by batch folded into weights.

    training, gradients, a GPU, half precision    convolution, then normalisation: torch's own
    else                                          one convolution, with weights that are prepared once

Prepared weights follow the layer's (`prepared`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks import winograd
from swaplib.networks.prepared import Prepared

_WIDE = 128  # outputs from which `winograd` is faster, measured with half as many inputs …
_TILES = 16  # … and this many tiles


class Conv2d(nn.Conv2d):
    """A convolution with torch's parameters and, where one is given, the normalisation that follows it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._prepared = Prepared()

    def forward(self, x: torch.Tensor, norm: nn.Module | None = None) -> torch.Tensor:
        # (B, inputs, H, W) -> (B, outputs, H', W')
        fast, folds = self._is_fast(x), self._folds(norm)
        if norm is not None and not folds:
            return norm(self(x))
        if not (fast or folds) or not self._is_inference(x):
            x = super().forward(x)
            return x if norm is None else norm(x)
        weight, bias = self._prepare(norm, fast)
        if fast:
            return winograd.conv2d(x, weight, bias, self.padding[0])
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def _is_inference(self, x: torch.Tensor) -> bool:
        single = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return single and not self.training and not torch.is_grad_enabled()

    def _folds(self, norm: nn.Module | None) -> bool:
        """Tell whether a normalisation is folded in; beside few outputs it costs little."""
        return isinstance(norm, nn.BatchNorm2d) and not norm.training and self.out_channels >= _WIDE // 2

    def _is_fast(self, x: torch.Tensor) -> bool:
        """Tell whether `winograd` computes it, and pays."""
        shape = self.kernel_size, self.stride, self.dilation, self.groups
        known = shape == ((3, 3), (1, 1), (1, 1), 1) and self.padding in ((0, 0), (1, 1))
        wide = self.out_channels >= _WIDE and self.in_channels >= _WIDE // 2
        return known and wide and len(x) * -(-x.shape[2] // 4) * -(-x.shape[3] // 4) >= _TILES

    def _prepare(self, norm: nn.BatchNorm2d | None, fast: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return weights, or `winograd`'s kernels, and bias, with the normalisation in them."""
        tensors = [*self.parameters(recurse=False), *self.buffers(recurse=False)]
        if norm is not None:
            tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        return self._prepared.get("winograd" if fast else "plain", tensors, lambda: self._fold(norm, fast))

    def _fold(self, norm: nn.BatchNorm2d | None, fast: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight, bias = self.weight, self.bias
        if norm is not None:
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            shift = -norm.running_mean if bias is None else bias - norm.running_mean
            weight, bias = weight * scale[:, None, None, None], norm.bias + shift * scale
        return (winograd.transformed(weight) if fast else weight.contiguous(memory_format=torch.channels_last)), bias


class Sequential(nn.Sequential):
    """Layers one after the other; a convolution takes the normalisation after it along."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = [*self, None]
        for before, layer, after in zip([None, *layers], layers, layers[1:], strict=False):
            if isinstance(layer, Conv2d):
                x = layer(x, after if isinstance(after, nn.BatchNorm2d) else None)
            elif not (isinstance(before, Conv2d) and isinstance(layer, nn.BatchNorm2d)):
                x = layer(x)
        return x

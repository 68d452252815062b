"""Adaptive augmentation: random changes to all pictures, real and generated, that the discriminator sees.

The more it has memorised the training set, the more pictures are changed.

Tero Karras et al.: Training Generative Adversarial Networks with Limited Data. NeurIPS 2020, arXiv:2006.06676. Mirrors,
quarter turns, shifts, scalings, rotations and colours, with the strengths of its Appendix B, each applied with
probability p. While p stays below 0.8 the generator can tell what unchanged pictures look like, and learns just that.

Where we differ: pictures are sampled bilinearly, without the paper's wavelet filter, which only matters for strong
magnification; filters and corruptions, which the paper leaves out of its final set, are missing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

_GREY = 3**-0.5  # of each colour in the unit vector of luminance


class Augment(nn.Module):
    """Differentiable changes of pictures (B, 3, S, S) in [-1, 1]; random numbers are torch's.

    target     r_t (§3.1): p is steered so that the discriminator's logits of real pictures have this mean sign;
               0: no augmentation
    images     number of real pictures in which p can go from 0 to 1
    """

    def __init__(self, target: float = 0.6, images: int = 500_000):
        super().__init__()
        self.target, self.images = target, images
        self.register_buffer("p", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, S, S) -> (B, 3, S, S)
        if not self.target or self.p == 0:
            return images
        return _recoloured(_moved(images, float(self.p)), float(self.p))

    @torch.no_grad()
    def follow(self, logits: torch.Tensor) -> None:
        """Raise or lower p according to the logits of a batch of real pictures: r_t = E[sign D(x)]."""
        if self.target:
            step = torch.sign(logits.sign().mean() - self.target) * len(logits) / self.images
            self.p.add_(step).clamp_(0, 1)


def _maybe(values: torch.Tensor, p: float, otherwise: float = 0.0) -> torch.Tensor:
    """Keep each picture's value with probability p, else take `otherwise`."""
    return torch.where(torch.rand(len(values), device=values.device) < p, values, otherwise)


def _matrix(a, b, c, d, x, y) -> torch.Tensor:
    """Return (B, 3, 3): the linear map with the rows (a, b) and (c, d), then a shift by (x, y)."""
    like = next(value for value in (a, b, c, d, x, y) if isinstance(value, torch.Tensor))
    values = [
        torch.as_tensor(value, device=like.device).expand(len(like)) for value in (a, b, x, c, d, y, 0.0, 0.0, 1.0)
    ]
    return torch.stack(values, 1).unflatten(1, (3, 3))


def _rotation(angle: torch.Tensor) -> torch.Tensor:
    return _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos(), 0.0, 0.0)


def _moved(images: torch.Tensor, p: float) -> torch.Tensor:
    """Apply pixel blitting and geometric changes in the paper's order, mirroring the picture at its borders."""
    count, size = len(images), images.shape[-1]

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, device=images.device)

    def normal(deviation: float) -> torch.Tensor:
        return torch.randn(count, device=images.device) * deviation

    mirror = _maybe(uniform(0, 1).round() * -2 + 1, p, 1.0)
    quarter = _maybe(uniform(0, 4).floor() * (math.pi / 2), p)
    whole = [_maybe((uniform(-0.125, 0.125) * size).round() / size, p) * 2 for _ in range(2)]  # pictures are 2 wide
    zoom, stretch = (_maybe(normal(0.2), p).exp2() for _ in range(2))
    once = 1 - math.sqrt(1 - p)  # one rotation before the stretching and one after: at least one with probability p
    first, second = (_maybe(uniform(-math.pi, math.pi), once) for _ in range(2))
    fine = [_maybe(normal(0.125), p) * 2 for _ in range(2)]
    steps = (
        _matrix(mirror, 0.0, 0.0, 1.0, 0.0, 0.0), _rotation(quarter), _matrix(1.0, 0.0, 0.0, 1.0, *whole),
        _matrix(zoom, 0.0, 0.0, zoom, 0.0, 0.0), _rotation(first),
        _matrix(stretch, 0.0, 0.0, 1 / stretch, 0.0, 0.0), _rotation(second), _matrix(1.0, 0.0, 0.0, 1.0, *fine),
    )  # fmt: skip
    motion = torch.eye(3, device=images.device).expand(count, 3, 3)
    for step in steps:
        motion = step @ motion
    grid = F.affine_grid(torch.linalg.inv(motion)[:, :2], list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), padding_mode="reflection", align_corners=False)


def _recoloured(images: torch.Tensor, p: float) -> torch.Tensor:
    """Change brightness, contrast, hue and saturation, and flip luminance."""
    count, device = len(images), images.device
    brightness = _maybe(torch.randn(count, device=device) * 0.2, p)
    contrast = _maybe(torch.randn(count, device=device) * 0.5, p).exp2()
    turned = _maybe(torch.rand(count, device=device).round(), p)
    hue = _maybe((2 * torch.rand(count, device=device) - 1) * math.pi, p)
    saturation = _maybe(torch.randn(count, device=device), p).exp2()
    # About the axis of luminance: the grey part, what is orthogonal to it, and that turned by a right angle.
    grey = torch.full((3, 3), 1 / 3, device=device)
    colour = torch.eye(3, device=device) - grey
    across = torch.tensor([[0, -_GREY, _GREY], [_GREY, 0, -_GREY], [-_GREY, _GREY, 0]], device=device)
    hue, saturation, contrast, turned = (v[:, None, None] for v in (hue, saturation, contrast, turned))
    linear = contrast * ((1 - 2 * turned) * grey + saturation * (hue.cos() * colour + hue.sin() * across))
    shift = (1 - 2 * turned[:, 0]) * brightness[:, None] * contrast[:, 0]
    return torch.einsum("bij,bjhw->bihw", linear.to(images.dtype), images) + shift[..., None, None].to(images.dtype)

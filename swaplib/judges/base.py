"""The base of all judges: they are trained like families, then frozen."""

from __future__ import annotations

import os
from typing import ClassVar

import torch
from torch import nn

from swaplib.faces import Faces
from swaplib.training.model import FrozenModel
from swaplib.weights.filling import Fillable


class Judge(FrozenModel):
    """A network that measures pictures, and trains families by what it measures.

    Its methods take images (B, 3, H, W) in [-1, 1] of any size and resize them to the config's, differentiably.
    """

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """Resize images to the config's size."""
        return Faces(images).resize(self.config.size).images


class PublishedJudge(Fillable, nn.Module):
    """A judge that others trained: only their published file fills it."""

    official: ClassVar[tuple[str, ...]] = ("network",)

    def load_official(self, path: str | os.PathLike) -> PublishedJudge:
        """Load the published weights and freeze the judge: evaluation mode, no gradients of its own.

        Raises as `Fillable.load_official` does.
        """
        return super().load_official(path).requires_grad_(False).eval()

"""The base of all judges: they are trained like families, then frozen."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

import torch

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


@dataclass(frozen=True)
class PublishedConfig:
    """Nothing to choose: a published judge has one size."""

    @classmethod
    def paper(cls) -> PublishedConfig:
        return cls()

    smoke = demo = paper


class PublishedJudge(Fillable, Judge):
    """A judge that others trained: only their published file fills it."""

    Config = PublishedConfig
    official: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, config: PublishedConfig | None = None):
        super().__init__(config or PublishedConfig())

    def load_official(self, path: str | os.PathLike) -> PublishedJudge:
        """Load the published weights and freeze the judge: evaluation mode, no gradients of its own.

        Raises as `Fillable.load_official` does.
        """
        return super().load_official(path).freeze()

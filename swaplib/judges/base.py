"""What judges share: they are trained like families, then held still."""

from __future__ import annotations

import torch

from swaplib.data import Dataset
from swaplib.faces import Faces
from swaplib.learner import Teacher


class Judge(Teacher):
    """A network that measures pictures, and trains families by what it measures.

    Its methods take images (B, 3, H, W) in [-1, 1] of any size and resize them to the config's, differentiably.
    """

    def report(self, dataset: Dataset) -> dict[str, float]:
        """How good it is on a prepared dataset whose truth is known: name -> number, for its card."""
        raise NotImplementedError

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """Images at the config's size."""
        return Faces(images).resize(self.config.size).images

"""What judges share: they are trained like families, then held still."""

from __future__ import annotations

import torch

from swaplib.data import Dataset
from swaplib.faces import Faces
from swaplib.learner import Learner


class Judge(Learner):
    """A network that measures pictures, and trains families by what it measures.

    Its methods take images (B, 3, H, W) in [-1, 1] of any size and resize them to the config's, differentiably.
    """

    trained: bool = True

    def freeze(self) -> Judge:
        """For good in evaluation mode and without gradients of its own, also as a part of a family that trains."""
        self.frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Judge:
        return super().train(mode and not getattr(self, "frozen", False))

    def needed(self) -> None:
        """Raises ValueError where this judge has no weights that it could teach by."""
        if not self.trained:
            raise ValueError(
                f"the judge {self.name} that this learns from has no weights: train it (swaplib train {self.name}) "
                "and name the folder with its weights in SWAPLIB_WEIGHTS"
            )

    def report(self, dataset: Dataset) -> dict[str, float]:
        """How good it is on a prepared dataset whose truth is known: name -> number, for its card."""
        raise NotImplementedError

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """Images at the config's size."""
        return Faces(images).resize(self.config.size).images

"""What judges share: they are trained like families, then held still."""

from __future__ import annotations

import torch

from swaplib.faces import Faces
from swaplib.training.model import Teacher


class Judge(Teacher):
    """A network that measures pictures, and trains families by what it measures.

    Its methods take images (B, 3, H, W) in [-1, 1] of any size and resize them to the config's, differentiably.
    """

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """Images at the config's size."""
        return Faces(images).resize(self.config.size).images

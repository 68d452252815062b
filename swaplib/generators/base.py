"""What generators share whose pictures have codes in W+: random codes, and those that a renderer's pupil knows."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import nn

from swaplib.faces import Faces
from swaplib.training.model import FrozenModel
from swaplib.weights.filling import Fillable


class CodedGenerator(Fillable, FrozenModel):
    """Base of generators. Subclasses have `_known`, which gives a pupil's codes (B, w) of rendered faces.

    network    with `mapping` from Z to W, and `plus` from W to W+
    official   what a published file fills: all of the network
    """

    official: ClassVar[tuple[str, ...]] = ("network",)
    network: nn.Module
    config: Any

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, truncation: float = 1.0, cutoff: int | None = None) -> torch.Tensor:
        """Draw random codes (count, layers, w), truncated as in `Generator.plus`."""
        z = torch.randn(count, self.config.z, generator=torch.Generator().manual_seed(seed))
        w = self.network.mapping(z.to(self.network.mapping.w_avg.device))
        return self.network.plus(w, truncation, cutoff)

    @torch.no_grad()
    def read(self, faces: Faces) -> torch.Tensor:
        """Return the codes (B, layers, w) of rendered faces: exact ones, for a generator that was the renderer's pupil.

        Raises ValueError for faces without factors, and for a generator that didn't learn from them.
        """
        if not self.config.pupil:
            raise ValueError("this generator did not learn from factors: find codes with its encoder, or by projecting")
        return self.network.plus(self._known(faces))

    def require_pupil(self) -> None:
        """Raise ValueError where it doesn't know the codes of rendered faces."""
        if not self.config.pupil:
            raise ValueError(
                "only a generator that was the renderer's pupil knows the codes of rendered faces: name the folder "
                "with the weights of one in SWAPLIB_WEIGHTS, or choose another preset"
            )

    def compare_codes(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the mean squared difference of codes (B, layers, w), each number in its own variance.

        Directions in which codes hardly differ show in pictures as well.
        """
        return ((found - wanted) / self._spread).square().mean()

    @cached_property
    def _spread(self) -> torch.Tensor:
        """The standard deviations of random codes, (layers, w)."""
        return self.sample(4096).std(0)

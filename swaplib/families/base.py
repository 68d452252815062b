"""The contract that every family keeps: encode a face into named latent parts, mix the parts, decode them.

    source ─ encode ─┐
                     ├─ mix(amounts) ─ decode ─ swapped picture
    target ─ encode ─┘

`amounts` says for each part how much of it comes from the source: 0 keeps the target's, 1 takes the source's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from swaplib.faces import Faces
from swaplib.networks.codes import slerp
from swaplib.training.model import Learner

Geometry = Literal["euclidean", "sphere", "labels", "image"]
LabelOrder = Literal["celebamask_hq", "bisenet", "e4s", "mgpe"]


@dataclass(frozen=True)
class Part:
    """One named piece of a face's latent code.

    shape is that of one face, without the batch axis. geometry says what lies between two codes:
    euclidean   the straight line
    sphere      the great circle, each vector along the last axis keeping unit length
    labels      nothing: integer classes, which flip from one to the other at an amount of one half
    image       a cross-fade, pixel by pixel
    order says which classes a label map holds, as `swaplib.faces.LABELS` counts them.
    regions: of CelebAMask-HQ's classes, those whose looks the part holds, where it is told them by a mask.
    """

    name: str
    shape: tuple[int, ...]
    geometry: Geometry = "euclidean"
    order: LabelOrder = "celebamask_hq"
    regions: tuple[str, ...] = ()


Codes = dict[str, torch.Tensor]
"""Part name -> tensor (B, *part.shape), in the order of the family's parts."""


def mix_part(part: Part, source: torch.Tensor, target: torch.Tensor, amount: float | torch.Tensor) -> torch.Tensor:
    """What lies at `amount` between the target's code (0) and the source's (1), by the part's geometry.

    amount: a number, or a tensor (B,) with one for each face. The ends are exact, bit for bit.
    """
    amount = torch.as_tensor(amount, dtype=torch.float32, device=target.device).expand(len(target))
    amount = amount.reshape(-1, *[1] * (target.ndim - 1))
    if part.geometry == "labels":
        return torch.where(amount >= 0.5, source, target)
    between = slerp(target, source, amount) if part.geometry == "sphere" else torch.lerp(target, source, amount)
    return torch.where(amount == 0, target, torch.where(amount == 1, source, between))


class Family(Learner):
    """A face-swapping system. Subclasses define what a `Learner` needs, and besides:

    parts        the latent parts, in order
    swap_parts   what a plain swap takes from the source
    any_size     whether pictures of other sizes than the config's are taken too; the codes' sizes then follow them
    """

    swap_parts: ClassVar[tuple[str, ...]]
    any_size: ClassVar[bool] = False
    parts: tuple[Part, ...]

    def encode(self, faces: Faces) -> Codes:
        """Faces at the config's size to codes. What a family needs beyond the images, it says in its docstring."""
        raise NotImplementedError

    def decode(self, codes: Codes) -> torch.Tensor:
        """Codes to images (B, 3, H, W) in [-1, 1]."""
        raise NotImplementedError

    def check_size(self, images: torch.Tensor) -> None:
        """Raises ValueError for images (B, 3, H, W) that are not of the config's size."""
        size, (height, width) = self.config.size, images.shape[-2:]
        if (height, width) != (size, size):
            raise ValueError(f"{self.name} takes {size} px pictures here, got {width} x {height}: use faces.resize")

    def sample(self, count: int, seed: int = 0) -> Codes:
        """Random codes, where the family is generative."""
        raise ValueError(f"{self.name} is not generative: give it faces to encode instead")

    def directions(self) -> dict[str, Codes]:
        """Changes that the family knows by name: name -> (part -> tensor of the part's shape), for `latent.edit`."""
        return {}

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Part -> the matrices (outputs, dimensions) that are the first to read its code, for `directions.sefa`."""
        return {}

    def tunable(self) -> Iterable[nn.Parameter]:
        """What `latent.tune` may fit to some faces: of what `decode` reads, not of what `encode` does."""
        return ()

    def given(self, source: Codes, target: Codes) -> Codes:
        """What each part of a mix is at an amount of 1: the source's, or what a family makes of it for this target."""
        return source

    def mix(self, source: Codes, target: Codes, amounts: Mapping[str, float | torch.Tensor] | None = None) -> Codes:
        """Codes between target (0) and what the source gives (1), part by part; parts that are not named stay the
        target's.

        Without amounts: a plain swap. Raises ValueError for a part that the family does not have.
        """
        amounts = {name: 1.0 for name in self.swap_parts} if amounts is None else amounts
        names = [part.name for part in self.parts]
        unknown = [name for name in amounts if name not in names]
        if unknown:
            raise ValueError(f"{self.name} has no part {unknown[0]!r}: its parts are {', '.join(names)}")
        given = self.given(source, target)
        return {
            part.name: mix_part(part, given[part.name], target[part.name], amounts.get(part.name, 0.0))
            for part in self.parts
        }

    @torch.no_grad()
    def swap(
        self, source: Faces, target: Faces, amounts: Mapping[str, float | torch.Tensor] | None = None
    ) -> torch.Tensor:
        """The target's picture with the source's parts, images (B, 3, H, W) in [-1, 1]."""
        if len(source) != len(target):
            raise ValueError(f"{len(source)} sources but {len(target)} targets: give one source for each target")
        return self.decode(self.mix(self.encode(source), self.encode(target), amounts))

    @torch.no_grad()
    def look(self, faces: Faces) -> torch.Tensor:
        """Pictures, their reconstructions, and each with the face of the one before it: (3, B, 3, S, S)."""
        device = next(self.parameters()).device
        faces = faces.resize(self.config.size).to(device)
        before = faces[torch.arange(len(faces)).roll(1)]
        return torch.stack([faces.images, self.decode(self.encode(faces)), self.swap(before, faces)])

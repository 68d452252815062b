"""Families with a step added before or after their swaps: stitched, driven, shown the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from swaplib import photos, synthetic
from swaplib.faces import Faces
from swaplib.families import Codes, Family, Overlay
from swaplib.latent.reenactment import Reenactor
from swaplib.photos import blending

# ---------------------------------------------------------------------------------------------- before and after a swap


class Wrapped(Family):
    """Another family under another name; subclasses add steps before or after its swaps.

    Everything else is the family's own. swap_parts: what a plain swap takes from the source; None: the family's choice.
    """

    def __init__(self, family: Family, name: str, swap_parts: Sequence[str] | None = None):
        super().__init__(family.config)
        self.family, self.name = family, name
        self.parts, self.swap_parts, self.any_size = family.parts, swap_parts or family.swap_parts, family.any_size
        self.moved, self.known_only = family.moved, family.known_only

    def encode(self, faces: Faces) -> Codes:
        return self.family.encode(faces)

    def decode(self, codes: Codes) -> torch.Tensor:
        return self.family.decode(codes)

    def sample(self, count: int, seed: int = 0) -> Codes:
        return self.family.sample(count, seed)

    def directions(self) -> dict[str, Codes]:
        return self.family.directions()

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        return self.family.consumers()

    def tunable(self) -> Iterable[torch.nn.Parameter]:
        return self.family.tunable()

    def tuning_loss(self, images: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return self.family.tuning_loss(images, wanted)

    def average(self, codes: Sequence[Codes]) -> Codes:
        return self.family.average(codes)

    def transfer(self, source: Codes, target: Codes) -> Codes:
        return self.family.transfer(source, target)

    def mix(self, source: Codes, target: Codes, amounts: Mapping[str, float | torch.Tensor] | None = None) -> Codes:
        return self.family.mix(source, target, dict.fromkeys(self.swap_parts, 1.0) if amounts is None else amounts)

    def cover(self, mixed: Codes, target: Codes) -> torch.Tensor | None:
        return self.family.cover(mixed, target)


class Stitched(Wrapped):
    """A family whose swaps are stitched into the target's picture in the gradient domain (RSGAN-GD, section 3.3).

    Within the hull of the target's landmarks a swap keeps the gradients that the family made; outside it, the target's
    pixels are restored bit for bit. first: the first landmark of the hull, as in `photos.rsgan_mask`. Needs
    `faces.landmarks` of the targets.
    """

    def __init__(self, family: Family, first: int = 0):
        super().__init__(family, f"{family.name}-gd")
        self.first = first

    @torch.no_grad()
    def overlay(
        self,
        source: Faces,
        target: Faces,
        amounts: Mapping[str, float | torch.Tensor] | None = None,
        also: Sequence[Faces] = (),
    ) -> Overlay:
        if target.landmarks is None:
            raise ValueError("stitching needs faces.landmarks of the target: prepare the photographs first")
        swapped = self.family.overlay(source, target, amounts, also).images
        hull = photos.rsgan_mask(target.landmarks, target.size, self.first).to(target.images.device)
        return Overlay(blending.gradient_domain(swapped, target.images, hull))


class Driven(Wrapped):
    """A family whose sources take on their targets' pose and expression first (E4S, section 3.1).

    reenactor: as from `reenactment.load`; some need landmarks of the sources and say so.
    """

    def __init__(self, family: Family, reenactor: Reenactor):
        super().__init__(family, f"{family.name}-{reenactor.name}")
        self.reenactor, self.moved = reenactor, ()

    @torch.no_grad()
    def overlay(
        self,
        source: Faces,
        target: Faces,
        amounts: Mapping[str, float | torch.Tensor] | None = None,
        also: Sequence[Faces] = (),
    ) -> Overlay:
        driven = [self.reenactor.drive(one, target) for one in (source, *also)]
        return self.family.overlay(driven[0], target, amounts, driven[1:])


class Shown(Wrapped):
    """A family that is shown the true swap and draws it from its own codes, which tells how much of it they can hold.

    Faces have to be rendered ones of one size; amounts and other pictures make no difference.
    """

    def __init__(self, family: Family):
        super().__init__(family, f"{family.name}-shown")
        self.moved, self.known_only = (), True

    @torch.no_grad()
    def overlay(
        self,
        source: Faces,
        target: Faces,
        amounts: Mapping[str, float | torch.Tensor] | None = None,
        also: Sequence[Faces] = (),
    ) -> Overlay:
        return Overlay(self.family.rebuild(synthetic.true_swap(source, target)))

"""The contract that every family keeps: encode a face into named latent parts, mix the parts, decode them.

    source ─ encode ─┐
                     ├─ mix(amounts) ─ decode ─ swapped picture
    target ─ encode ─┘

`amounts` says for each part how much of it comes from the source: 0 keeps the target's, 1 takes the source's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.faces import Faces
from swaplib.networks.codes import slerp
from swaplib.photos import blending
from swaplib.training.model import Model
from swaplib.weights.filling import Fillable

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
    regions: the classes of CelebAMask-HQ whose appearance the part holds, where a mask tells it apart.
    """

    name: str
    shape: tuple[int, ...]
    geometry: Geometry = "euclidean"
    order: LabelOrder = "celebamask_hq"
    regions: tuple[str, ...] = ()


Codes = dict[str, torch.Tensor]
"""Part name -> tensor (B, *part.shape), in the order of the family's parts."""


class Overlay(NamedTuple):
    """What a swap lays over its target's picture: images (B, 3, H, W) in [-1, 1], and how much of each pixel counts.

    weights (B, H, W) lie between 0, where the target's own pixel stays, and 1; None where all of it has been drawn.
    """

    images: torch.Tensor
    weights: torch.Tensor | None = None

    @classmethod
    def join(cls, overlays: Sequence[Overlay]) -> Overlay:
        """Return several overlays, one after the other, as one."""
        weights = [one.weights for one in overlays if one.weights is not None]
        return cls(torch.cat([one.images for one in overlays]), torch.cat(weights) if weights else None)

    def to(self, device: str | torch.device) -> Overlay:
        """Return it on a device."""
        return Overlay(self.images.to(device), None if self.weights is None else self.weights.to(device))

    def over(self, target: Faces) -> torch.Tensor:
        """Return the pictures at the size of their targets, whose own pixels stay where the weights are 0."""
        images = Faces(self.images).resize(target.size).images
        if self.weights is None:
            return images
        weights = F.interpolate(self.weights[:, None], target.size, mode="bilinear", antialias=True)[:, 0]
        return blending.lay(images, target.images, weights)


def average_part(part: Part, codes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of several codes of a part, by its geometry; of labels and of images the first one's."""
    if part.geometry in ("labels", "image"):
        return codes[0]
    mean = torch.stack(list(codes)).mean(0)
    return F.normalize(mean, dim=-1) if part.geometry == "sphere" else mean


def mix_part(part: Part, source: torch.Tensor, target: torch.Tensor, amount: float | torch.Tensor) -> torch.Tensor:
    """Return the code at `amount` between the target's (0) and the source's (1), by the part's geometry.

    amount: a number, or a tensor (B,) with one for each face. The ends are exact, bit for bit.
    """
    amount = torch.as_tensor(amount, dtype=torch.float32, device=target.device).expand(len(target))
    amount = amount.reshape(-1, *[1] * (target.ndim - 1))
    if part.geometry == "labels":
        return torch.where(amount >= 0.5, source, target)
    between = slerp(target, source, amount) if part.geometry == "sphere" else torch.lerp(target, source, amount)
    return torch.where(amount == 0, target, torch.where(amount == 1, source, between))


class Family(Fillable, Model):
    """A face-swapping system. Subclasses define what a `Model` needs, and in addition:

    parts        the latent parts, in order
    swap_parts   what a plain swap takes from the source
    swap_printed what its paper's own takes, where another does better by the one table; None: the same
    any_size     whether pictures of other sizes than the config's are accepted; the codes' sizes then follow them
    paper        what its paper calls the system, and the arXiv id; None where it has none
    official     what the authors' published file must fill (`load_official`); empty where there is no such file
    official_framing  how the authors align the pictures that their file has learned from
    moved        what its paper lets come along with the source's face, as `synthetic.true_swap` names it
    known_only   whether it reads codes from the factors of rendered faces, so that what it made can't be swapped again
    driven       whether its paper first gives the source the target's pose and expression (`latent.Driven`)
    """

    swap_parts: ClassVar[tuple[str, ...]]
    swap_printed: tuple[str, ...] | None = None
    official_framing: ClassVar[str] = "portrait"
    any_size: ClassVar[bool] = False
    paper: ClassVar[tuple[str, str] | None] = None
    moved: ClassVar[tuple[str, ...]] = ()
    known_only: bool = False
    driven: ClassVar[bool] = False
    parts: tuple[Part, ...]

    @property
    def framing(self) -> str:
        """How its pictures are aligned, as `photos.align` calls it."""
        return getattr(self.config, "framing", "portrait")

    def encode(self, faces: Faces) -> Codes:
        """Encode faces at the config's size; subclasses say what they need beyond the images."""
        raise NotImplementedError

    def decode(self, codes: Codes) -> torch.Tensor:
        """Decode codes to images (B, 3, H, W) in [-1, 1]."""
        raise NotImplementedError

    def fit_size(self, faces: Faces) -> Faces:
        """Return the faces at a size that the family takes: its own, or, where it takes any, as they are."""
        return faces if self.any_size else faces.resize(self.config.size)

    def check_size(self, images: torch.Tensor) -> None:
        """Raise ValueError for images (B, 3, H, W) that are not of the config's size."""
        size, (height, width) = self.config.size, images.shape[-2:]
        if (height, width) != (size, size):
            raise ValueError(f"{self.name} takes {size} px pictures here, got {width} x {height}: use faces.resize")

    def sample(self, count: int, seed: int = 0) -> Codes:
        """Draw random codes, where the family is generative."""
        raise ValueError(f"{self.name} is not generative: give it faces to encode instead")

    def directions(self) -> dict[str, Codes]:
        """Return changes that the family knows by name, for `latent.edit`: name -> (part -> tensor of its shape)."""
        return {}

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Return part -> the matrices (outputs, dimensions) that read its code first, for `directions.sefa`."""
        return {}

    def tunable(self) -> Iterable[nn.Parameter]:
        """Return what `latent.tune` may fit to some faces: parameters that `decode` reads, not those of `encode`."""
        return ()

    def tuning_loss(self, images: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return what `latent.tune` lowers: how far decoded images (B, 3, H, W) are from what they are to show."""
        return F.l1_loss(images, wanted)

    def average(self, codes: Sequence[Codes]) -> Codes:
        """Return one code of the same people from several pictures of them, part by part (`average_part`)."""
        if len(codes) == 1:
            return codes[0]
        return {part.name: average_part(part, [one[part.name] for one in codes]) for part in self.parts}

    def transfer(self, source: Codes, target: Codes) -> Codes:
        """Return each part at an amount of 1: the source's, or what a family makes of it for this target."""
        return source

    def mix(self, source: Codes, target: Codes, amounts: Mapping[str, float | torch.Tensor] | None = None) -> Codes:
        """Mix the target's codes (0) with what the source gives (1), part by part; unnamed parts stay the target's.

        Without amounts: a plain swap. Raises ValueError for a part that the family does not have.
        """
        amounts = {name: 1.0 for name in self.swap_parts} if amounts is None else amounts
        names = [part.name for part in self.parts]
        unknown = [name for name in amounts if name not in names]
        if unknown:
            raise ValueError(f"{self.name} has no part {unknown[0]!r}: its parts are {', '.join(names)}")
        given = self.transfer(source, target)
        return {
            part.name: mix_part(part, given[part.name], target[part.name], amounts.get(part.name, 0.0))
            for part in self.parts
        }

    def cover(self, mixed: Codes, target: Codes) -> torch.Tensor | None:
        """Return the weights of an `Overlay` of mixed codes over their targets' pictures; None where all is drawn."""
        return None

    def split(self, faces: Faces) -> Iterator[slice]:
        """Yield the rows of faces, as many as it takes at a time at its own size, or theirs where it takes any."""
        step = self.at_once(faces.size[0] if self.any_size else None)
        yield from (slice(first, first + step) for first in range(0, len(faces), step))

    @torch.no_grad()
    def overlay(
        self,
        source: Faces,
        target: Faces,
        amounts: Mapping[str, float | torch.Tensor] | None = None,
        also: Sequence[Faces] = (),
    ) -> Overlay:
        """Return the target's picture with the source's parts, and where it is to replace the target's own.

        Pictures are made a few at a time. also: other pictures of the sources' people, each as many as there are
        sources. Raises ValueError for other numbers of them, and where the pictures are not finite.
        """
        for one in (source, *also):
            if len(one) != len(target):
                raise ValueError(f"{len(one)} sources but {len(target)} targets: give one source for each target")
        made = []
        for rows in self.split(target):
            ours = self.average([self.encode(one[rows]) for one in (source, *also)])
            theirs = self.encode(target[rows])
            mixed = self.mix(ours, theirs, take_rows(amounts, rows))
            made.append(Overlay(self.decode(mixed), self.cover(mixed, theirs)))
        overlay = Overlay.join(made)
        if not all(torch.isfinite(one).all() for one in overlay if one is not None):
            raise ValueError(f"{self.name} draws numbers that are not finite: choose other weights of it")
        return overlay

    def swap(
        self, source: Faces, target: Faces, amounts: Mapping[str, float | torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return the target's picture with the source's parts as it is drawn, images (B, 3, H, W) in [-1, 1].

        `latent.swap` also lays it over the target's own picture, where the family says how.
        """
        return self.overlay(source, target, amounts).images

    @torch.no_grad()
    def rebuild(self, faces: Faces) -> torch.Tensor:
        """Return what comes back of pictures, images (B, 3, H, W) in [-1, 1], encoded and decoded a few at a time."""
        return torch.cat([self.decode(self.encode(faces[rows])) for rows in self.split(faces)])

    @torch.no_grad()
    def preview(self, faces: Faces) -> torch.Tensor:
        """Show pictures, their reconstructions, and each with the face of the one before it: (3, B, 3, S, S)."""
        device = next(self.parameters()).device
        faces = faces.resize(self.config.size).to(device)
        before = faces[torch.arange(len(faces)).roll(1)]
        return torch.stack([faces.images, self.rebuild(faces), self.swap(before, faces)])


Amounts = Mapping[str, "float | torch.Tensor"]


def take_rows(amounts: Amounts | None, rows: slice) -> Amounts | None:
    """Return the amounts of some faces, where there is one for each face."""
    if amounts is None:
        return None
    several = {name: isinstance(amount, torch.Tensor) and amount.ndim > 0 for name, amount in amounts.items()}
    return {name: amount[rows] if several[name] else amount for name, amount in amounts.items()}

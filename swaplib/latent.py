"""The verbs over latent parts that every family shares: swap at any size, interpolate, edit, tune, stitch, drive."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm.auto import tqdm

from swaplib import blend, photos
from swaplib.faces import Faces
from swaplib.families import Codes, Family, Part
from swaplib.photos import PhotoError
from swaplib.reenact import Reenactor

Photo = str | os.PathLike | Image.Image | np.ndarray
Face = str | int | tuple[float, float]


def fit(family: Family, faces: Faces) -> Faces:
    """The faces at a size that the family takes: its own, or, where it takes any, as they are."""
    return faces if family.any_size else faces.resize(family.config.size)


@torch.no_grad()
def encode(family: Family, faces: Faces, batch: int = 32) -> Codes:
    """The codes of faces of any size, so many at a time."""
    device = next((parameter.device for parameter in family.parameters()), "cpu")
    chunks = [faces[first : first + batch].to(device) for first in range(0, len(faces), batch)]
    codes = [family.encode(fit(family, chunk)) for chunk in chunks]
    return {part.name: torch.cat([one[part.name] for one in codes]) for part in family.parts}


def batches(codes: Codes, batch: int = 32) -> Iterator[Codes]:
    """So many faces' codes at a time."""
    for first in range(0, len(next(iter(codes.values()))), batch):
        yield {name: code[first : first + batch] for name, code in codes.items()}


def swap(
    family: Family, source: Faces, target: Faces, amounts: Mapping[str, float | torch.Tensor] | None = None
) -> torch.Tensor:
    """`Family.swap` for faces of any size, images (B, 3, H, W) at the target's size."""
    images = family.swap(fit(family, source), fit(family, target), amounts)
    return Faces(images).resize(target.size).images


@torch.no_grad()
def interpolate(
    family: Family, source: Faces, target: Faces, steps: int = 9, parts: Sequence[str] | None = None
) -> torch.Tensor:
    """Pictures on the way from the target (first) to the source (last), images (steps, B, 3, H, W) in [-1, 1].

    parts: those that change, by name, each along its own geometry; the others stay the target's. None: all of them,
    so that the path ends at all that the source gives (`Family.given`), with most families the source itself. Raises
    ValueError for an unknown part and for fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"{steps} steps: a path needs at least its two ends")
    names = [part.name for part in family.parts] if parts is None else parts
    ours, theirs = family.encode(source), family.encode(target)
    amounts = (k / (steps - 1) for k in range(steps))
    return torch.stack([family.decode(family.mix(ours, theirs, dict.fromkeys(names, amount))) for amount in amounts])


def edit(
    family: Family,
    codes: Codes,
    directions: Mapping[str, torch.Tensor],
    strengths: float | torch.Tensor | Mapping[str, float | torch.Tensor] = 1.0,
) -> Codes:
    """Codes with strength x direction added to the parts that `directions` names; the other parts are passed on.

    directions: part name -> tensor of the part's shape, or (B, *shape). strengths: one number, a tensor (B,) with one
    for each face, or either by part name. On a sphere the result is brought back to unit length; pictures stay in
    [-1, 1]. Raises ValueError for an unknown part, for one of integer labels, and for a direction of another shape.
    """
    known = {part.name: part for part in family.parts}
    edited = dict(codes)
    for name, direction in directions.items():
        if name not in known:
            raise ValueError(f"{family.name} has no part {name!r}: its parts are {', '.join(known)}")
        strength = strengths[name] if isinstance(strengths, Mapping) else strengths
        edited[name] = _edit_part(known[name], codes[name], direction, strength)
    return edited


def _edit_part(part: Part, code: torch.Tensor, direction: torch.Tensor, strength: float | torch.Tensor) -> torch.Tensor:
    if part.geometry == "labels":
        raise ValueError(f"part {part.name!r} holds integer labels, which have no directions: paint them instead")
    if direction.shape not in (code.shape, code.shape[1:]):
        raise ValueError(f"the direction for {part.name!r} is {tuple(direction.shape)}, not {tuple(code.shape[1:])}")
    strength = torch.as_tensor(strength, dtype=code.dtype, device=code.device)
    moved = code + strength.reshape(-1, *[1] * (code.ndim - 1)) * direction.to(code)
    if part.geometry == "sphere":
        return F.normalize(moved, dim=-1)
    return moved.clamp(-1, 1) if part.geometry == "image" else moved


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images and those that they should be, (B, 3, H, W) each -> a number."""


def tune(
    family: Family,
    faces: Faces,
    steps: int = 200,
    learning_rate: float = 1e-3,
    batch: int = 4,
    seed: int = 0,
    loss: Loss = F.l1_loss,
    progress: bool = True,
) -> Family:
    """A copy of the family that shows some faces more as they are: decode(encode(x)) nearer to x (E4S, suppl. 8.4).

    faces: the target's, such as the frames of one video. Their codes stay what they are, and so does all but what the
    family calls `tunable`; Adam takes so many steps, on random batches. The family itself isn't changed.
    Raises ValueError for one that has nothing to tune.
    """
    tuned = deepcopy(family.lean()).eval().requires_grad_(False)
    learning = [parameter.requires_grad_() for parameter in tuned.tunable()]
    if not learning:
        raise ValueError(f"{family.name} has nothing that could be tuned: swap without")
    codes, wanted = encode(tuned, faces), fit(family, faces).images.to(learning[0].device)
    optimiser = torch.optim.Adam(learning, learning_rate)
    draw = torch.Generator().manual_seed(seed)
    for _ in tqdm(range(steps), desc="tuning", unit="step", disable=not progress):
        rows = torch.randperm(len(faces), generator=draw)[:batch]
        shown = tuned.decode({name: code[rows] for name, code in codes.items()})
        optimiser.zero_grad()
        loss(shown, wanted[rows]).backward()
        optimiser.step()
    return tuned.requires_grad_(False)


# ---------------------------------------------------------------------------------------------- before and after a swap


class Wrapped(Family):
    """Another family under another name; all that it does is the family's own, but for what subclasses do before or
    after its swaps. swap_parts: what a plain swap takes from the source; the family's own choice where None."""

    def __init__(self, family: Family, name: str, swap_parts: Sequence[str] | None = None):
        super().__init__(family.config)
        self.family, self.name = family, name
        self.parts, self.swap_parts, self.any_size = family.parts, swap_parts or family.swap_parts, family.any_size

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

    def given(self, source: Codes, target: Codes) -> Codes:
        return self.family.given(source, target)

    def mix(self, source: Codes, target: Codes, amounts: Mapping[str, float | torch.Tensor] | None = None) -> Codes:
        return self.family.mix(source, target, dict.fromkeys(self.swap_parts, 1.0) if amounts is None else amounts)


class Stitched(Wrapped):
    """A family whose swaps are stitched into the target's picture in the gradient domain (RSGAN-GD, section 3.3).

    Within the hull of the target's landmarks a swap keeps the gradients that the family made; outside it, the target's
    pixels come back bit for bit. first: the first landmark of the hull, as in `photos.rsgan_mask`. Needs
    `faces.landmarks` of the targets.
    """

    def __init__(self, family: Family, first: int = 0):
        super().__init__(family, f"{family.name}-gd")
        self.first = first

    @torch.no_grad()
    def swap(
        self, source: Faces, target: Faces, amounts: Mapping[str, float | torch.Tensor] | None = None
    ) -> torch.Tensor:
        if target.landmarks is None:
            raise ValueError("stitching needs faces.landmarks of the target: prepare the photographs first")
        swapped = self.family.swap(source, target, amounts)
        hull = photos.rsgan_mask(target.landmarks, target.size, self.first).to(target.images.device)
        return blend.gradient_domain(swapped, target.images, hull)


class Driven(Wrapped):
    """A family whose sources take on their targets' pose and expression first (E4S, section 3.1).

    reenactor: one of `reenact.load`; it may need landmarks of the sources, as it says itself.
    """

    def __init__(self, family: Family, reenactor: Reenactor):
        super().__init__(family, f"{family.name}-{reenactor.name}")
        self.reenactor = reenactor

    @torch.no_grad()
    def swap(
        self, source: Faces, target: Faces, amounts: Mapping[str, float | torch.Tensor] | None = None
    ) -> torch.Tensor:
        return self.family.swap(self.reenactor.drive(source, target), target, amounts)


# ---------------------------------------------------------------------------------------------- photographs


def swap_photographs(
    family: Family,
    source: Photo,
    target: Photo,
    kind: photos.Kind = "portrait",
    size: int | None = None,
    source_face: Face = "largest",
    target_face: Face = "largest",
    amounts: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Put the source's face into the target photograph: both are aligned, swapped, and the result is pasted back.

    source, target: a path, a PIL image or an array. kind: the alignment. size: height of the aligned pictures in
    pixels; None for the family's own, or, where it takes any size, for that of the face in the target photograph.
    source_face, target_face: which face, as in `photos.choose`. amounts: as in `Family.mix`; None for a plain swap.
    Returns the photograph, uint8 RGB (H, W, 3), bit for bit the target's where the swap changes nothing, and notes
    on what was done. Raises PhotoError with one sentence that names the photograph and the remedy.
    """
    into = prepared("target", target, kind, size or family.config.size, target_face)
    if size is None and family.any_size:
        scale = np.sqrt(abs(np.linalg.det(into.matrix[:2, :2])))
        size = int(np.clip(family.config.size / scale, 64, 1024))
        into = prepared("target", target, kind, size, target_face)
    own = prepared("source", source, kind, into.faces.size[0], source_face)
    try:
        device = next((parameter.device for parameter in family.parameters()), "cpu")
        picture = family.swap(own.faces.to(device), into.faces.to(device), amounts).cpu()
    except ValueError as error:
        raise PhotoError(f"{family.name} can't swap these photographs: {error}", "family") from error
    photo = photos.paste_back(into.photo, picture, into.matrix, changed(picture, into.faces.images))
    notes = [f"{name}: {one.note}" for name, one in (("source", own), ("target", into)) if one.note]
    return photo, notes


def prepared(role: str, photo: Photo, kind: photos.Kind, size: int, face: Face) -> photos.Prepared:
    """As `photos.prepare`, whose errors then name the photograph's role."""
    try:
        return photos.prepare(photo, kind, size, face)
    except PhotoError as error:
        raise PhotoError(f"{role}: {error}", error.cause) from error


def changed(picture: torch.Tensor, before: torch.Tensor) -> np.ndarray:
    """Weights (H, W): 1 where the picture differs from what was there, falling to 0 beyond."""
    changed = ((picture - before).abs().amax(1)[0] > 1 / 255).numpy().astype(np.float32)
    reach = max(1, round(max(changed.shape) / 100))
    wide = cv2.dilate(changed, np.ones((3, 3)), iterations=2 * reach)
    return cv2.GaussianBlur(wide, (0, 0), reach)

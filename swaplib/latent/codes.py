"""Operations on latent parts that all families share: swap at any size, interpolate, edit, tune."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from swaplib.faces import Faces
from swaplib.families import Codes, Family, Part
from swaplib.families.base import take_rows


@torch.no_grad()
def encode(family: Family, faces: Faces, batch: int = 32) -> Codes:
    """Encode faces of any size, `batch` at a time at most."""
    device, batch = _device(family), min(batch, family.at_once())
    chunks = [faces[first : first + batch].to(device) for first in range(0, len(faces), batch)]
    codes = [family.encode(family.fit_size(chunk)) for chunk in chunks]
    return {part.name: torch.cat([one[part.name] for one in codes]) for part in family.parts}


def split_batches(codes: Codes, batch: int = 32) -> Iterator[Codes]:
    """Yield the codes of `batch` faces at a time."""
    for first in range(0, len(next(iter(codes.values()))), batch):
        yield {name: code[first : first + batch] for name, code in codes.items()}


def _device(family: Family) -> torch.device:
    return next((parameter.device for parameter in family.parameters()), torch.device("cpu"))


@torch.no_grad()
def decode(family: Family, codes: Codes, batch: int = 32, largest: int | None = None) -> torch.Tensor:
    """Decode codes to images (B, 3, H, W) in [-1, 1], `batch` at a time at most.

    largest: edge of the pictures that are kept, in pixels, so that few are large at a time; None: as they are made.
    """
    batches = split_batches(codes, min(batch, family.at_once()))
    return torch.cat([_shrink(family.decode(one), largest) for one in batches])


def _shrink(images: torch.Tensor, largest: int | None) -> torch.Tensor:
    size = images.shape[-1]
    return Faces(images).resize(size if largest is None else min(size, largest)).images


def swap(
    family: Family, source: Faces, target: Faces, amounts: Mapping[str, float | torch.Tensor] | None = None
) -> torch.Tensor:
    """Swap faces of any size, wherever they are; return images (B, 3, H, W) at the target's size, beside the target.

    Where the family draws but a part of the picture (`Family.overlay`), the rest is the target's, bit for bit.
    """
    if len(source) != len(target):
        raise ValueError(f"{len(source)} sources but {len(target)} targets: give one source for each target")
    device, shown = _device(family), []
    for rows in family.split(target):
        pair = (family.fit_size(one[rows]).to(device) for one in (source, target))
        overlay = family.overlay(*pair, take_rows(amounts, rows)).to(target.images.device)
        shown.append(overlay.over(target[rows]))
    return torch.cat(shown)


@torch.no_grad()
def swap_each(
    family: Family, source: Faces, target: Faces, ways: Mapping[Any, Mapping[str, float] | None], largest: int = 128
) -> dict[Any, torch.Tensor]:
    """Swap the same pairs in several ways: name -> images (B, 3, H, W) in [-1, 1].

    source, target: of any size. ways: name -> amounts, as `Family.mix` takes them. largest: edge of the pictures that
    are kept, in pixels; smaller ones stay as they are. Pairs are encoded once, and few pictures are large at a time, so
    that a thousand pairs at 1024 px fit into memory.
    """
    device, shown = _device(family), {name: [] for name in ways}
    for rows in family.split(target):
        ours, theirs = (family.encode(family.fit_size(one[rows]).to(device)) for one in (source, target))
        for name, amounts in ways.items():
            shown[name].append(_shrink(family.decode(family.mix(ours, theirs, amounts)), largest).cpu())
    return {name: torch.cat(pictures) for name, pictures in shown.items()}


@torch.no_grad()
def interpolate(
    family: Family, source: Faces, target: Faces, steps: int = 9, parts: Sequence[str] | None = None
) -> torch.Tensor:
    """Return pictures on the path from the target (first) to the source (last), (steps, B, 3, H, W) in [-1, 1].

    parts: names of those that change, each along its own geometry; the others stay the target's. None: all of them,
    so that the path ends at everything the source gives (`Family.transfer`), with most families the source itself.
    Raises ValueError for an unknown part and for fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"{steps} steps: a path needs at least its two ends")
    names = [part.name for part in family.parts] if parts is None else parts
    ours, theirs = family.encode(source), family.encode(target)
    amounts = (k / (steps - 1) for k in range(steps))
    return torch.stack([decode(family, family.mix(ours, theirs, dict.fromkeys(names, amount))) for amount in amounts])


def edit(
    family: Family,
    codes: Codes,
    directions: Mapping[str, torch.Tensor],
    strengths: float | torch.Tensor | Mapping[str, float | torch.Tensor] = 1.0,
) -> Codes:
    """Add strength x direction to the parts that `directions` names; the other parts are passed on.

    directions: part name -> tensor of the part's shape, or (B, *shape). strengths: one number, a tensor (B,) with one
    for each face, or either by part name. On a sphere the result is normalised to unit length; images stay in [-1, 1].
    Raises ValueError for an unknown part, for one of integer labels, and for a direction of another shape.
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


def tune(
    family: Family,
    faces: Faces,
    steps: int = 200,
    learning_rate: float = 1e-3,
    batch: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> Family:
    """Return a copy of the family that reproduces some faces better: decode(encode(x)) nearer to x (E4S, suppl. 8.4).

    faces: whom the swaps are to show, as they are to look: for a film, the source driven by its frames
    (`Reenactor.drive`). Tuned on the target's own frames instead, a family draws the target. Codes stay fixed, and so
    does everything but what the family calls `tunable`; Adam takes `steps` steps of `Family.tuning_loss` on random
    batches (the paper: 200 for each frame) of `batch` pictures, fewer where they are large. The family itself isn't
    changed. Raises ValueError for a family that has nothing to tune.
    """
    tuned = deepcopy(family.for_inference()).eval().requires_grad_(False)
    learning = [parameter.requires_grad_() for parameter in tuned.tunable()]
    if not learning:
        raise ValueError(f"{family.name} has nothing that could be tuned: swap without")
    codes, wanted = encode(tuned, faces), family.fit_size(faces).images.to(learning[0].device)
    optimiser = torch.optim.Adam(learning, learning_rate)
    draw, batch = torch.Generator().manual_seed(seed), min(batch, family.at_once())
    for _ in tqdm(range(steps), desc="tuning", unit="step", disable=not progress):
        rows = torch.randperm(len(faces), generator=draw)[:batch]
        shown = tuned.decode({name: code[rows] for name, code in codes.items()})
        optimiser.zero_grad()
        family.tuning_loss(shown, wanted[rows]).backward()
        optimiser.step()
    return tuned.requires_grad_(False)

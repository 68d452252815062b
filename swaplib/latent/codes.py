"""The verbs over latent parts that every family shares: swap at any size, interpolate, edit, tune."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from swaplib.faces import Faces
from swaplib.families import Codes, Family, Part


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

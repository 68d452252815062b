"""E4S's regions: which of them a swap takes, its label map and its textures, and the blend with the target's picture.

Label maps are integers (B, H, W) in the order of `REGIONS`. After Liu et al. 2023, arXiv:2211.14068, and the authors'
`swap_face_mask.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F

from swaplib.faces import E4S as REGIONS
from swaplib.families.base import Codes
from swaplib.families.masks import Layer, is_one_of, paint, recompose
from swaplib.photos import blending

INNER = ("lip", "eyebrows", "eyes", "nose", "skin", "mouth")
"""Regions whose shape a swap takes from the source."""
TEXTURES = ("lip", "eyebrows", "eyes", "nose", "skin", "ears", "neck", "mouth")
"""Regions whose texture a swap takes from the source."""


def is_in(labels: torch.Tensor, *names: str) -> torch.Tensor:
    """Return where label maps (B, H, W) show one of some regions, bool."""
    return is_one_of(labels, REGIONS, names)


_NECK: Layer = ("target", ("neck", "ears", "earring"))
_HAIR: Layer = ("target", ("hair",))
_FACE: Layer = ("source", INNER)
_GLASSES: Layer = ("target", ("eye_glasses",))


def swap_mask(source: torch.Tensor, target: torch.Tensor, hair_first: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the target's label map with the source's inner face, and where holes were filled with skin, bool.

    Painted one over the other: the target's neck, ears, earrings and hair; the source's inner face, except on the
    target's background; the target's glasses. hair_first: if False, hair comes after the inner face.
    """
    layers = (_NECK, _HAIR, _FACE, _GLASSES) if hair_first else (_NECK, _FACE, _HAIR, _GLASSES)
    return recompose(source, target, REGIONS, layers)


def paint_mask(source: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the canvas of `swap_mask` after each step (supplement, Fig. 1): title -> labels (B, H, W).

    Where nothing is painted yet it holds len(REGIONS).
    """
    titles = ("background", "neck, ears", "hair", "inner face", "glasses", "holes")
    canvases = paint(source, target, REGIONS, (_NECK, _HAIR, _FACE, _GLASSES))
    return dict(zip(titles, canvases, strict=True))


def transfer_hair_mask(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the target's label map with the source's hair.

    It covers all but glasses and what lies below the brows. Where the target's own hair is removed, the source's
    background, ears or neck appear, else skin.
    """
    own = torch.where(is_in(source, "background", "ears", "neck"), source, REGIONS.index("skin"))
    bald = torch.where(is_in(target, "hair"), own, target)
    covered = is_in(source, "hair") & ~is_in(bald, "eye_glasses", "eyes", "nose", "lip", "mouth")
    return torch.where(covered, source, bald)


def swap_textures(
    source: torch.Tensor, target: torch.Tensor, names: tuple[str, ...] = TEXTURES, mean_neck: bool = False
) -> torch.Tensor:
    """Return the target's texture vectors, or style codes, (B, regions, …) with some of the source's.

    Where a source shows no inside of the mouth (its vector is zero) the target's stays; without ears, half of it.
    mean_neck: the neck's is the mean of both.
    """
    mixed = target.clone()
    for k in map(REGIONS.index, names):
        mixed[:, k] = source[:, k]
    for name, share in (("ears", 0.5), ("mouth", 1.0)):
        k = REGIONS.index(name)
        if name in names:
            lacking = (source[:, k].flatten(1) == 0).all(1)
            mixed[lacking, k] = share * target[lacking, k]
    if mean_neck and "neck" in names:
        k = REGIONS.index("neck")
        mixed[:, k] = (source[:, k] + target[:, k]) / 2
    return mixed


def control_amounts(strengths: Mapping[str, float] | float = 0.0) -> dict[str, float]:
    """Return amounts for `mix`: the swap's shape, and λ of the target's texture by region (§8.3).

    λ = 0 is a full swap, 1 the target's texture. strengths: λ of all, or region -> λ. Raises ValueError for a region
    that no swap changes.
    """
    if not isinstance(strengths, Mapping):
        strengths = dict.fromkeys(TEXTURES, strengths)
    if unknown := set(strengths) - set(TEXTURES):
        raise ValueError(f"a swap leaves the texture of {min(unknown)!r} alone: choose from {', '.join(TEXTURES)}")
    return {**{name: 1.0 - strengths.get(name, 0.0) for name in TEXTURES}, "mask": 1.0}


def transfer_hair(source: Codes, target: Codes) -> Codes:
    """Return the target with the source's hair, its shape and its texture."""
    return {**target, "hair": source["hair"], "mask": transfer_hair_mask(source["mask"], target["mask"])}


COVERED = tuple(name for name in REGIONS if name not in ("background", "hair", "earring"))
"""Regions that a swap draws itself; of the others the target's own pixels stay."""


def cover_face(inside: torch.Tensor) -> torch.Tensor:
    """Return the weights (B, H, W) by which a generated picture replaces the target's, given where, bool.

    As in the authors' code at 1024 px: grown by 10 pixels, eroded by 5, and faded over 5 on both sides of the rim.
    Smaller maps are enlarged for it, so that the fade is as fine as there.
    """
    rows = [_fade_rim(one.numpy().tobytes(), tuple(one.shape)) for one in inside.cpu()]
    return torch.stack(rows).to(inside.device)


@lru_cache(maxsize=8)  # a slider of a texture leaves the map alone from frame to frame
def _fade_rim(inside: bytes, shape: tuple[int, int]) -> torch.Tensor:
    inside = torch.frombuffer(bytearray(inside), dtype=torch.bool).reshape(1, *shape)
    factor = max(1, 1024 // shape[-1])
    large = inside.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    radius = max(1, round(large.shape[-1] * 5 / 1024))
    return F.avg_pool2d(blending.fade(large, radius, 2 * radius)[:, None], factor)[0, 0]


def blend_swap(
    shown: torch.Tensor,
    target: torch.Tensor,
    mask: torch.Tensor,
    holes: torch.Tensor | None = None,
    how: Literal["soft", "laplacian"] = "soft",
) -> torch.Tensor:
    """Blend a generated swap into the target's picture; both (B, 3, H, W) in [-1, 1].

    mask: the swap's label map (B, H, W), of which the regions `COVERED` are taken. holes: what is taken in addition.
    how: fade in along the rim (`cover_face`), or paste and smooth by Laplacian pyramids within 10 pixels of it, at
    1024 px.
    """
    inside = is_in(mask, *COVERED)
    inside = inside if holes is None else inside | holes
    if how == "soft":
        return blending.lay(shown, target, cover_face(inside))
    rim, _ = blending.band(inside, max(1, round(shown.shape[-1] * 10 / 1024)))
    pasted = torch.where(inside[:, None], shown, target)
    return blending.laplacian(target, pasted, rim.float())

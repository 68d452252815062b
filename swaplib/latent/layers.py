"""Which part of a code carries what: layers in groups, and what parts, groups and channels change in a picture.

    groups(family)                       coarse, middle, fine1, fine2 -> names of layers; else every part by itself
    amounts(groups(family), ["middle"])  for `Family.mix`: a swap by groups
    influence(family, source, target)    what each group changes alone, and what all the others do without it
    channels(family, codes, part)        what each channel of one part changes

Changes are what our judges see (`panel.read`) and what the pixels say. Layers are parts named w00, w01, …: the codes
of a StyleGAN, from the coarsest map to the finest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import pandas as pd
import torch

from swaplib import latent
from swaplib.faces import Faces
from swaplib.families import Codes, Family
from swaplib.judges import panel

Convention = Literal["nominal", "consumed", "each"]
Groups = Mapping[str, Sequence[str]]
"""Name -> names of parts."""

NAMES = ("coarse", "middle", "fine1", "fine2")
"""Maps of 4 and 8 pixels; of 16 and 32; of 64 and 128; larger ones (LatentSwap, arXiv:2402.18351, Fig. 10)."""
READINGS = {
    "smooth": ("identity, smooth", "distance of unit vectors"),
    "margin": ("identity, margin", "distance of unit vectors"),
    "shape": ("shape", "mm"),
    "expression": ("expression", "mm"),
    "pose": ("pose", "degrees"),
    "skin": ("skin colour", "ΔE of CIE 1976"),
    "hair": ("hair colour", "ΔE of CIE 1976"),
    "pixels": ("pixels", "mean absolute difference, of a range of 1"),
}
"""What is read of two pictures, as `panel.differences` calls it -> its heading, and the unit of its change."""


# ---------------------------------------------------------------------------------------------- groups


def groups(family: Family, convention: Convention = "nominal") -> dict[str, tuple[str, ...]]:
    """The family's parts in groups, each part in one: name -> names of parts.

    convention, for layers: "nominal", two for each size of the maps; "consumed", by the size of the map that a layer's
    code steers in StyleGAN2, whose first size has one convolution: the nominal groups then begin one layer earlier;
    "each", every layer by itself. Groups that a small generator has no layers for are left out. Parts that are no
    layers are groups by themselves. Raises ValueError for another convention.
    """
    if convention not in get_args(Convention):
        raise ValueError(f"unknown convention {convention!r}: choose one of {', '.join(get_args(Convention))}")
    layers = [part.name for part in family.parts if re.fullmatch(r"w\d+", part.name)]
    found: dict[str, tuple[str, ...]] = {}
    for part in family.parts:
        name = part.name
        if name in layers and convention != "each":
            name = NAMES[min(_doublings(layers.index(name), len(layers), convention) // 2, len(NAMES) - 1)]
        found[name] = (*found.get(name, ()), part.name)
    return found


def _doublings(layer: int, layers: int, convention: Convention) -> int:
    """How often the map that a layer's code steers was doubled from 4 pixels."""
    # Of the last code only the last ToRGB takes any notice.
    return layer // 2 if convention == "nominal" else min((layer + 1) // 2, (layers - 1) // 2)


def amounts(
    groups: Groups, chosen: Sequence[str] | Mapping[str, float | torch.Tensor]
) -> dict[str, float | torch.Tensor]:
    """Amounts of parts for `Family.mix`, by groups; other groups stay the target's.

    chosen: groups to take from the source, or group -> amount. Raises ValueError for an unknown group.
    """
    chosen = chosen if isinstance(chosen, Mapping) else dict.fromkeys(chosen, 1.0)
    if unknown := [name for name in chosen if name not in groups]:
        raise ValueError(f"no group {unknown[0]!r}: there are {', '.join(groups)}")
    return {part: amount for name, amount in chosen.items() for part in groups[name]}


# ---------------------------------------------------------------------------------------------- influence


@torch.no_grad()
def influence(
    family: Family, source: Faces | Codes, target: Faces | Codes, groups: Groups | None = None, batch: int = 32
) -> pd.DataFrame:
    """What each group of parts changes in the target's picture when it comes from the source.

    source, target: pairs of faces, or of codes. groups: as from `groups`, which is taken by default. batch: pairs at a
    time. Changes are distances from the picture that the family makes of the target's own code. Columns:

    group, swapped   "alone", or "all but": every other group instead
    reading, unit    as in `READINGS`; those whose judge is not released are missing
    change           mean over the pairs
    full             the same where all groups are swapped
    share, error     change / full, a ratio of means, and its standard error over the pairs (NaN for one pair)
    pairs            how many; fewer where a reading sees nothing, such as hair on a bald head

    Raises ValueError where there are not as many sources as targets.
    """
    by = _chosen(family, groups)
    both = [latent.encode(family, one, batch) if isinstance(one, Faces) else one for one in (source, target)]
    sources, count = (len(next(iter(codes.values()))) for codes in both)
    if sources != count:
        raise ValueError(f"{sources} sources but {count} targets: give one source for each target")
    every = amounts(by, list(by))
    exchanges = {("", "all"): every}
    for name, parts in by.items():
        exchanges[name, "alone"] = dict.fromkeys(parts, 1.0)
        exchanges[name, "all but"] = {part: 1.0 for part in every if part not in parts}
    found = {key: [] for key in exchanges}
    for pair in zip(*(latent.batches(codes, batch) for codes in both), strict=True):
        still = _read(family, family.mix(*pair, {}))
        for key, exchange in exchanges.items():
            found[key].append(_changes(_read(family, family.mix(*pair, exchange)), still))
    changes = {key: {name: torch.cat([one[name] for one in chunks]) for name in chunks[0]}
               for key, chunks in found.items()}  # fmt: skip
    full = changes.pop(("", "all"))
    return pd.DataFrame([
        {"group": group, "swapped": swapped, **_reading(name), **_ratio(values, full[name])}
        for (group, swapped), one in changes.items() for name, values in one.items()
    ])  # fmt: skip


def heat(table: pd.DataFrame, swapped: Literal["alone", "all but"] = "alone") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The shares of `influence`, groups down and readings across, and their standard errors: for `figures.heat_map`."""
    chosen = table[table["swapped"] == swapped]
    order, readings = chosen["group"].unique(), chosen["reading"].unique()
    shares, errors = (chosen.pivot(index="group", columns="reading", values=what).loc[order, readings]
                      for what in ("share", "error"))  # fmt: skip
    headings = {name: heading for name, (heading, _) in READINGS.items()}
    return shares.rename(columns=headings), errors.rename(columns=headings)


@torch.no_grad()
def channels(
    family: Family, codes: Codes, part: str, k: float = 1.0, pictures: int = 16, judges: bool = False
) -> pd.DataFrame:
    """What a picture changes when one channel of a part moves up by k standard deviations.

    codes: of many faces, whose standard deviations are taken; the first `pictures` of them are looked at. judges:
    whether they read the pictures, too; else only the pixels count. Columns: part, channel (of the flattened part),
    reading and unit, change (mean over the pictures), error (its standard error). Raises ValueError for an unknown
    part, for one of integer labels, and for fewer than two codes.
    """
    if part not in codes:
        raise ValueError(f"{family.name} has no part {part!r}: its parts are {', '.join(codes)}")
    if len(codes[part]) < 2:
        raise ValueError(f"{len(codes[part])} code: a standard deviation needs two at least")
    deviations = codes[part].float().std(0)
    shown = next(latent.batches(codes, pictures))
    still, found = _read(family, shown, judges), []
    for channel, deviation in enumerate(deviations.flatten()):
        step = torch.zeros_like(deviations)
        step.view(-1)[channel] = k * deviation
        moved = _read(family, latent.edit(family, shown, {part: step}), judges)
        for name, values in _changes(moved, still).items():
            found.append({"part": part, "channel": channel, **_reading(name), **_mean(values)})
    return pd.DataFrame(found)


# ---------------------------------------------------------------------------------------------- readings


def _chosen(family: Family, given: Groups | None) -> Groups:
    return groups(family) if given is None else given


def _reading(name: str) -> dict[str, str]:
    return {"reading": name, "unit": READINGS[name][1]}


def _read(family: Family, codes: Codes, judges: bool = True) -> tuple[torch.Tensor, panel.Reading]:
    images = family.decode(codes).float().cpu()
    return images, panel.read(images) | panel.colours(images) if judges else {}


def _changes(one: tuple, other: tuple) -> dict[str, torch.Tensor]:
    """Distances of two batches of pictures, reading -> (B,)."""
    return panel.differences(one[1], other[1]) | {"pixels": (one[0] - other[0]).abs().mean((1, 2, 3)) / 2}


def _mean(values: torch.Tensor) -> dict[str, float]:
    values = values[values.isfinite()]
    error = values.std() / len(values) ** 0.5 if len(values) > 1 else torch.nan
    return {"change": float(values.mean()), "error": float(error)}


def _ratio(values: torch.Tensor, full: torch.Tensor) -> dict[str, float]:
    """A ratio of means and its standard error (Cochran 1977, Sampling Techniques, eq. 6.13)."""
    seen = values.isfinite() & full.isfinite()
    values, full, count = values[seen].double(), full[seen].double(), int(seen.sum())
    change, whole = values.mean(), full.mean()
    share = change / whole
    off = values - share * full
    error = (off.square().sum() / max(count - 1, 1) / count).sqrt() / whole if count > 1 else torch.nan
    return {"change": float(change), "full": float(whole), "share": float(share), "error": float(error), "pairs": count}

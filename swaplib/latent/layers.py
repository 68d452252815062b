"""Which part of a code carries what: layers in groups, and what parts, groups and channels change in a picture.

    group_parts(family)                               coarse, middle, fine1, fine2 -> names of layers; else each part
    choose_amounts(group_parts(family), ["middle"])   amounts for `Family.mix`: a swap by groups
    measure_influence(family, source, target)         what each group changes alone, and all the others without it
    measure_changes(family, source, target)           the same, pair by pair
    measure_channels(family, codes, part)             what each channel of one part changes

Changes are measured by judges (`Judges.read`) and in pixels. Layers are parts named w00, w01, …: the codes of a
StyleGAN, from the coarsest map to the finest.
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
from swaplib.judges import Judges
from swaplib.judges.panel import Reading

Convention = Literal["nominal", "consumed", "each"]
Groups = Mapping[str, Sequence[str]]
"""Name -> names of parts."""
Changes = Mapping[tuple[str, str], Mapping[str, torch.Tensor]]
"""(Group, "alone" or "all but"), and ("", "all") -> reading -> change of each pair, (B,)."""

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
"""Name of a reading of two pictures, as in `Judges.differences` -> its heading, and the unit of its change."""
NOBODY = Judges()
"""No judges: only pixels count."""


# ---------------------------------------------------------------------------------------------- groups


def group_parts(family: Family, convention: Convention = "nominal") -> dict[str, tuple[str, ...]]:
    """Sort the family's parts into groups, each part in one: name -> names of parts.

    convention, for layers: "nominal", two for each size of the maps; "consumed", by the size of the map that a layer's
    code steers in StyleGAN2, whose first size has one convolution: the nominal groups then begin one layer earlier;
    "each", every layer by itself. Groups for which a small generator has no layers are left out. Parts that are not
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
    """Return how often the map that a layer's code steers was doubled from 4 pixels."""
    # Only the last ToRGB reads the last code.
    return layer // 2 if convention == "nominal" else min((layer + 1) // 2, (layers - 1) // 2)


def choose_amounts(
    groups: Groups, chosen: Sequence[str] | Mapping[str, float | torch.Tensor]
) -> dict[str, float | torch.Tensor]:
    """Return the parts' amounts for `Family.mix`, chosen by groups; other groups stay the target's.

    chosen: groups to take from the source, or group -> amount. Raises ValueError for an unknown group.
    """
    chosen = chosen if isinstance(chosen, Mapping) else dict.fromkeys(chosen, 1.0)
    if unknown := [name for name in chosen if name not in groups]:
        raise ValueError(f"no group {unknown[0]!r}: there are {', '.join(groups)}")
    return {part: amount for name, amount in chosen.items() for part in groups[name]}


# ---------------------------------------------------------------------------------------------- influence


def measure_influence(
    family: Family,
    source: Faces | Codes,
    target: Faces | Codes,
    groups: Groups | None = None,
    batch: int = 32,
    judges: Judges | None = None,
) -> pd.DataFrame:
    """Measure what each group of parts changes in the target's picture when it comes from the source.

    The arguments, and what is raised, are those of `measure_changes`. Columns:

    group, swapped   "alone", or "all but": every other group instead
    reading, unit    as in `READINGS`; those without a judge are missing
    change           mean over the pairs
    full             the same where all groups are swapped
    share, error     change / full, a ratio of means, and its standard error over the pairs (NaN for one pair)
    pairs            how many; fewer where a reading is undefined, such as hair on a bald head
    """
    return tabulate_changes(measure_changes(family, source, target, groups, batch, judges))


@torch.no_grad()
def measure_changes(
    family: Family,
    source: Faces | Codes,
    target: Faces | Codes,
    groups: Groups | None = None,
    batch: int = 32,
    judges: Judges | None = None,
) -> Changes:
    """Measure what each group of parts changes, pair by pair.

    source, target: pairs of faces, or of codes. groups: as from `group_parts`, which is the default. batch: pairs
    at a time. judges: who reads the pictures; our own released ones by default. Changes are distances from the picture
    that the family makes of the target's own code. Raises ValueError where there are not as many sources as targets.
    """
    by = _chosen(family, groups)
    judges = Judges.released() if judges is None else judges
    both = [latent.encode(family, one, batch) if isinstance(one, Faces) else one for one in (source, target)]
    sources, count = (len(next(iter(codes.values()))) for codes in both)
    if sources != count:
        raise ValueError(f"{sources} sources but {count} targets: give one source for each target")
    every = choose_amounts(by, list(by))
    exchanges = {("", "all"): every}
    for name, parts in by.items():
        exchanges[name, "alone"] = dict.fromkeys(parts, 1.0)
        exchanges[name, "all but"] = {part: 1.0 for part in every if part not in parts}
    found = {key: [] for key in exchanges}
    for pair in zip(*(latent.split_batches(codes, batch) for codes in both), strict=True):
        still = _read(judges, family, family.mix(*pair, {}))
        for key, exchange in exchanges.items():
            found[key].append(_changes(judges, _read(judges, family, family.mix(*pair, exchange)), still))
    return {key: {name: torch.cat([one[name] for one in chunks]) for name in chunks[0]}
            for key, chunks in found.items()}  # fmt: skip


def tabulate_changes(changes: Changes) -> pd.DataFrame:
    """Return `measure_influence`'s table of what `measure_changes` found."""
    full = changes["", "all"]
    return pd.DataFrame([
        {"group": group, "swapped": swapped, **_reading(name), **_ratio(values, full[name])}
        for (group, swapped), one in changes.items() if group for name, values in one.items()
    ])  # fmt: skip


def make_heat_table(
    table: pd.DataFrame, swapped: Literal["alone", "all but"] = "alone"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the shares of `measure_influence`, groups down and readings across, and their standard errors.

    Both are for `figures.heat_map`.
    """
    chosen = table[table["swapped"] == swapped]
    order, readings = chosen["group"].unique(), chosen["reading"].unique()
    shares, errors = (chosen.pivot(index="group", columns="reading", values=what).loc[order, readings]
                      for what in ("share", "error"))  # fmt: skip
    headings = {name: _describe(name)[0] for name in readings}
    return shares.rename(columns=headings), errors.rename(columns=headings)


@torch.no_grad()
def measure_channels(
    family: Family, codes: Codes, part: str, k: float = 1.0, pictures: int = 16, judges: Judges | None = NOBODY
) -> pd.DataFrame:
    """Measure what changes in a picture when one channel of a part moves up by k standard deviations.

    codes: of many faces, for the standard deviations; the first `pictures` of them are looked at. judges: who also
    reads the pictures; by default nobody, and only the pixels count; None: our own released ones. Columns: part,
    channel (of the flattened part), reading and unit, change (mean over the pictures), error (its standard error).
    Raises ValueError for an unknown part, for one of integer labels, and for fewer than two codes.
    """
    if part not in codes:
        raise ValueError(f"{family.name} has no part {part!r}: its parts are {', '.join(codes)}")
    if len(codes[part]) < 2:
        raise ValueError(f"{len(codes[part])} code: a standard deviation needs two at least")
    deviations = codes[part].float().std(0)
    shown = next(latent.split_batches(codes, pictures))
    judges = Judges.released() if judges is None else judges
    still, found = _read(judges, family, shown), []
    for channel, deviation in enumerate(deviations.flatten()):
        step = torch.zeros_like(deviations)
        step.view(-1)[channel] = k * deviation
        moved = _read(judges, family, latent.edit(family, shown, {part: step}))
        for name, values in _changes(judges, moved, still).items():
            found.append({"part": part, "channel": channel, **_reading(name), **_mean(values)})
    return pd.DataFrame(found)


# ---------------------------------------------------------------------------------------------- readings


def _chosen(family: Family, given: Groups | None) -> Groups:
    return group_parts(family) if given is None else given


def _describe(name: str) -> tuple[str, str]:
    """Return heading and unit of a reading; one missing in `READINGS` is by an embedder that was handed in."""
    return READINGS.get(name, (f"identity, {name}", "distance of vectors"))


def _reading(name: str) -> dict[str, str]:
    return {"reading": name, "unit": _describe(name)[1]}


def _read(judges: Judges, family: Family, codes: Codes) -> tuple[torch.Tensor, Reading]:
    images = latent.decode(family, codes).float().cpu()
    return images, judges.read(images) | judges.colours(images)


def _changes(judges: Judges, one: tuple, other: tuple) -> dict[str, torch.Tensor]:
    """Return the distances between two batches of pictures, reading -> (B,)."""
    return judges.differences(one[1], other[1]) | {"pixels": (one[0] - other[0]).abs().mean((1, 2, 3)) / 2}


def _mean(values: torch.Tensor) -> dict[str, float]:
    values = values[values.isfinite()]
    error = values.std() / len(values) ** 0.5 if len(values) > 1 else torch.nan
    return {"change": float(values.mean()), "error": float(error)}


def _ratio(values: torch.Tensor, full: torch.Tensor) -> dict[str, float]:
    """Return a ratio of means and its standard error (Cochran 1977, Sampling Techniques, eq. 6.13)."""
    seen = values.isfinite() & full.isfinite()
    values, full, count = values[seen].double(), full[seen].double(), int(seen.sum())
    change, whole = values.mean(), full.mean()
    share = change / whole
    off = values - share * full
    error = (off.square().sum() / max(count - 1, 1) / count).sqrt() / whole if count > 1 else torch.nan
    return {"change": float(change), "full": float(whole), "share": float(share), "error": float(error), "pairs": count}

"""The families by name. This is the only place that knows which ones exist."""

from __future__ import annotations

import os
from typing import Any

import torch

from swaplib import weights
from swaplib.families.autoencoders import ALI, VAEGAN, AlphaGAN
from swaplib.families.base import Codes, Family, Part, Phase, Stage
from swaplib.families.baselines import Landmarks, Target
from swaplib.families.rsgan import RSGAN

__all__ = [
    "NAMES",
    "PRESETS",
    "TRAINED",
    "Codes",
    "Family",
    "Part",
    "Phase",
    "Stage",
    "build",
    "config",
    "kind",
    "load",
]

_FAMILIES: dict[str, type[Family]] = {
    family.name: family for family in (Target, Landmarks, VAEGAN, ALI, AlphaGAN, RSGAN)
}
NAMES = tuple(_FAMILIES)
TRAINED = tuple(name for name, family in _FAMILIES.items() if family.phases is not Family.phases)
PRESETS = ("smoke", "demo", "paper")


def kind(name: str) -> type[Family]:
    """The class of that name. Raises ValueError for a name that is not in `NAMES`."""
    if name not in _FAMILIES:
        raise ValueError(f"unknown family {name!r}: choose one of {', '.join(NAMES)}")
    return _FAMILIES[name]


def config(name: str, preset: str | Any) -> Any:
    """The config of a family at a preset; a config itself is passed on.

    Raises ValueError for a name that is not in `NAMES` and for a preset that is not in `PRESETS`.
    """
    own = kind(name).Config
    if isinstance(preset, own):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    return getattr(own, preset)()


def build(name: str, preset: str | Any = "demo", seed: int = 0) -> Family:
    """The family of that name at a preset's size, untrained, its random weights following from the seed.

    preset: its name, or a config of the family's own. Raises ValueError as `config` does.
    """
    chosen = config(name, preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(name)(chosen)


def load(
    name: str,
    preset: str = "demo",
    device: str | torch.device = "cpu",
    file: str | os.PathLike | None = None,
) -> Family:
    """The family of that name, trained, in evaluation mode: with the preset's released weights or a file's.

    file: weights saved by `weights.save`; the family then has the config they were trained with, not the preset's.
    Raises ValueError as `build` and `weights.load` do, FileNotFoundError where there are no such weights.
    """
    if file is not None:
        family = build(name, weights.config(file, kind(name)))
        return weights.load(family, file).to(device)
    family = build(name, preset)
    if family.phases():
        released = weights.released(name, preset)
        if not released.exists():
            raise FileNotFoundError(
                f"{name} has no released weights for the preset {preset}: train it (swaplib train {name} --preset "
                f"{preset}) and load that file, or choose another preset"
            )
        weights.load(family, released)
    return family.to(device).eval()

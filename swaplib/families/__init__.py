"""The families by name. This is the only place that knows which ones exist."""

from __future__ import annotations

import torch

from swaplib.families.base import Codes, Family, Part, Phase
from swaplib.families.baselines import Landmarks, Target

__all__ = ["NAMES", "PRESETS", "Codes", "Family", "Part", "Phase", "load"]

_FAMILIES: dict[str, type[Family]] = {family.name: family for family in (Target, Landmarks)}
NAMES = tuple(_FAMILIES)
PRESETS = ("smoke", "demo", "paper")


def load(name: str, preset: str = "demo", device: str | torch.device = "cpu") -> Family:
    """The family of that name at a preset's size, in evaluation mode.

    Raises ValueError for a name that is not in `NAMES` and for a preset that is not in `PRESETS`.
    """
    if name not in _FAMILIES:
        raise ValueError(f"unknown family {name!r}: choose one of {', '.join(NAMES)}")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    family = _FAMILIES[name]
    return family(getattr(family.Config, preset)()).to(device).eval()

"""Frozen models that train or measure the families, by name; and `Judges`, the set that a table measures with."""

from __future__ import annotations

from swaplib.judges.base import Judge, PublishedJudge
from swaplib.judges.panel import Judges
from swaplib.judges.registry import (
    ALL,
    NAMES,
    PUBLISHED,
    TRAINED,
    build,
    config,
    frozen,
    kind,
    load,
    load_for_photographs,
    load_official,
    load_stand_in,
    start,
)

__all__ = [
    "ALL", "NAMES", "PUBLISHED", "TRAINED", "Judge", "Judges", "PublishedJudge", "build", "config", "frozen", "kind",
    "load", "load_for_photographs", "load_official", "load_stand_in", "start",
]  # fmt: skip

"""Weights: released ones with their cards, and published files of others, which `weights.published` reads."""

from __future__ import annotations

from swaplib.weights.configs import as_config, differences, filled, plain
from swaplib.weights.files import content, tensors
from swaplib.weights.released import (
    FOLDER,
    FORMAT,
    Card,
    config,
    find_released,
    hardware,
    load,
    read_card,
    save,
    searching,
)

__all__ = (
    "FOLDER",
    "FORMAT",
    "Card",
    "as_config",
    "config",
    "content",
    "differences",
    "filled",
    "find_released",
    "hardware",
    "load",
    "plain",
    "read_card",
    "save",
    "searching",
    "tensors",
)  # fmt: skip

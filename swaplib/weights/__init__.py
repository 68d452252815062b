"""Weights: our released ones with their cards, and other people's published files, which `weights.published` reads."""

from __future__ import annotations

from swaplib.weights.configs import as_config, describe_differences, fill_defaults, to_plain
from swaplib.weights.files import read_content, read_tensors
from swaplib.weights.released import (
    FOLDER,
    FORMAT,
    OFFICIAL,
    Card,
    ImportCard,
    best_for_photographs,
    check_fit,
    describe_hardware,
    file_sha256,
    find_released,
    list_loaded,
    load,
    read_card,
    read_config,
    read_frozen,
    read_name,
    save,
    searching,
    user_folder,
)

__all__ = (
    "FOLDER",
    "FORMAT",
    "OFFICIAL",
    "Card",
    "ImportCard",
    "as_config",
    "best_for_photographs",
    "check_fit",
    "describe_differences",
    "describe_hardware",
    "file_sha256",
    "fill_defaults",
    "find_released",
    "list_loaded",
    "load",
    "read_card",
    "read_config",
    "read_content",
    "read_frozen",
    "read_name",
    "read_tensors",
    "save",
    "searching",
    "to_plain",
    "user_folder",
)  # fmt: skip

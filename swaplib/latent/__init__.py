"""Operations on latent parts, written once for all families.

More are in `latent.directions`, `latent.layers`, `latent.inversion` and `latent.reenactment`.
"""

from __future__ import annotations

from swaplib.latent.codes import decode, edit, encode, interpolate, split_batches, swap, swap_each, tune
from swaplib.latent.photographs import (
    ALIKE,
    Face,
    Photo,
    Who,
    describe_likeness,
    describe_unchanged,
    lay_back,
    measure_crop,
    prepare_photo,
    swap_everyone,
    swap_photographs,
    weigh,
)
from swaplib.latent.wrappers import Driven, Shown, Stitched, Wrapped

__all__ = (
    "ALIKE",
    "Driven",
    "Face",
    "Photo",
    "Shown",
    "Stitched",
    "Who",
    "Wrapped",
    "decode",
    "describe_likeness",
    "describe_unchanged",
    "edit",
    "encode",
    "interpolate",
    "lay_back",
    "measure_crop",
    "prepare_photo",
    "split_batches",
    "swap",
    "swap_each",
    "swap_everyone",
    "swap_photographs",
    "tune",
    "weigh",
)  # fmt: skip

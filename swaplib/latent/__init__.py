"""What is done with latent parts, written once for all families.

`latent.directions`, `latent.layers`, `latent.inversion` and `latent.reenactment` have more.
"""

from __future__ import annotations

from swaplib.latent.codes import Loss, batches, edit, encode, fit, interpolate, swap, tune
from swaplib.latent.photographs import Face, Photo, changed, prepared, swap_photographs
from swaplib.latent.wrappers import Driven, Stitched, Wrapped

__all__ = (
    "Driven", "Face", "Loss", "Photo", "Stitched", "Wrapped", "batches", "changed", "edit", "encode", "fit",
    "interpolate", "prepared", "swap", "swap_photographs", "tune",
)  # fmt: skip

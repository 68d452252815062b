"""Generators, whose codes families edit, and their encoders by name. Only this place knows which ones exist."""

from __future__ import annotations

from swaplib import judges
from swaplib.generators.encoder import E4E, PSP, PublishedEncoder, StyleEncoder
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.generators.stylenerf import StyleNeRF
from swaplib.training.model import FrozenModel
from swaplib.training.registry import Registry

__all__ = ["ALL", "ENCODERS", "NAMES", "TRAINED", "build", "config", "frozen", "kind", "load", "start"]

ENCODERS: Registry[PublishedEncoder] = Registry("published encoder", (E4E, PSP))
"""Encoders that others trained."""
ALL: Registry[FrozenModel] = Registry("generator", (StyleGAN2, StyleEncoder, StyleNeRF), below=(judges.ALL, ENCODERS))
NAMES = tuple(ALL)
TRAINED = ALL.trained
kind, config, build, start, load, frozen = ALL.kind, ALL.config, ALL.build, ALL.start, ALL.load, ALL.frozen

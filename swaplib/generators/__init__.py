"""Generators and their encoders by name: what families edit in. This is the only place that knows which ones exist."""

from __future__ import annotations

from swaplib.generators.encoder import StyleEncoder
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.training.model import Teacher
from swaplib.training.registry import Registry

__all__ = ["ALL", "NAMES", "TRAINED", "build", "config", "frozen", "kind", "load"]

ALL: Registry[Teacher] = Registry("generator", (StyleGAN2, StyleEncoder))
NAMES = tuple(ALL)
TRAINED = ALL.trained
kind, config, build, load, frozen = ALL.kind, ALL.config, ALL.build, ALL.load, ALL.frozen

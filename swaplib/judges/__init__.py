"""Frozen networks that train or measure the families, by name. This is the only place that knows which ones exist."""

from __future__ import annotations

from swaplib.judges.base import Judge
from swaplib.judges.identity import Identity, IdentityLinear, IdentityMargin, IdentitySupCon
from swaplib.judges.parsing import Parser
from swaplib.judges.shape import Shape
from swaplib.training.registry import Registry

__all__ = ["ALL", "NAMES", "TRAINED", "Judge", "build", "config", "frozen", "kind", "load"]

ALL: Registry[Judge] = Registry("judge", (Identity, IdentitySupCon, IdentityLinear, IdentityMargin, Parser, Shape))
NAMES = tuple(ALL)
TRAINED = ALL.trained
kind, config, build, load, frozen = ALL.kind, ALL.config, ALL.build, ALL.load, ALL.frozen

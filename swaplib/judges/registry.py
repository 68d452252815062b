"""The judges by name. This is the only place that knows which ones exist."""

from __future__ import annotations

import os

import torch

from swaplib import weights
from swaplib.judges.base import Judge, PublishedJudge
from swaplib.judges.identity import (
    ArcFace,
    Identity,
    IdentityLinear,
    IdentityMargin,
    IdentitySupCon,
    LatentSwapEmbedder,
)
from swaplib.judges.parsing import HelenParser, Parser, PublicParser
from swaplib.judges.perceptual import AlexNetDistance
from swaplib.judges.shape import Shape
from swaplib.training.registry import Registry
from swaplib.weights import filling

PUBLISHED: Registry[PublishedJudge] = Registry(
    "published judge", (ArcFace, LatentSwapEmbedder, PublicParser, HelenParser, AlexNetDistance)
)
"""Judges that others trained."""
ALL: Registry[Judge] = Registry(
    "judge", (Identity, IdentitySupCon, IdentityLinear, IdentityMargin, Parser, Shape), below=(PUBLISHED,)
)
NAMES = tuple(ALL)
TRAINED = ALL.trained
kind, config, build, start, load, frozen = ALL.kind, ALL.config, ALL.build, ALL.start, ALL.load, ALL.frozen


def load_for_photographs(name: str, device: str | torch.device = "cpu") -> Judge:
    """Load a judge with its weights that know photographs best. Raises as `load` does."""
    return load(name, weights.best_for_photographs(name), device)


def load_official(path: str | os.PathLike) -> PublishedJudge:
    """Build the judge that a published file fills, or an imported one, whichever of `PUBLISHED` it belongs to.

    Nothing in the file is executed. Raises FileNotFoundError, and ValueError for a file that fills none of them.
    """
    if name := weights.read_name(path):
        return PUBLISHED.load(name, file=path)
    return PUBLISHED.kind(filling.recognise(path, PUBLISHED))().load_official(path)


def load_stand_in(name: str, path: str | os.PathLike) -> PublishedJudge:
    """Build the judge in a file as `load_official` does, if it can take the place of the one of ours of that name.

    Raises ValueError also where it can't.
    """
    found = load_official(path)
    if found.name not in (known := kind(name).stand_ins):
        raise ValueError(f"{path} holds {found.name}, which can't stand in for our {name}: name a file of {known[0]}")
    return found

"""The judges by name. This is the only place that knows which ones exist."""

from __future__ import annotations

import os

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

ALL: Registry[Judge] = Registry("judge", (Identity, IdentitySupCon, IdentityLinear, IdentityMargin, Parser, Shape))
NAMES = tuple(ALL)
TRAINED = ALL.trained
kind, config, build, start, load, frozen = ALL.kind, ALL.config, ALL.build, ALL.start, ALL.load, ALL.frozen

PUBLISHED: dict[str, type[PublishedJudge]] = {
    kind.name: kind for kind in (ArcFace, LatentSwapEmbedder, PublicParser, HelenParser, AlexNetDistance)
}
"""Judges that others trained, by name."""


def load_official(path: str | os.PathLike) -> PublishedJudge:
    """Build the judge that a published file fills, whichever of `PUBLISHED` its tensors belong to.

    Nothing in the file is executed. Raises FileNotFoundError, and ValueError for a file that fills none of them.
    """
    return PUBLISHED[filling.recognise(path, PUBLISHED)]().load_official(path)

"""A family's whole training, stage after stage (`Family.stages`), in one folder.

    for stage, step in curriculum.follow("rsgan", "demo", data, "runs/rsgan", minutes=120):
        print(stage.name, step.step, step.totals)

    runs/rsgan/1_half/   what `train` keeps of the first stage: checkpoint, log, samples
    runs/rsgan/2_alone/  the next one begins with the averaged weights of the one before

`swaplib train` is this on the command line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from swaplib import families, train
from swaplib.families import Family, Stage
from swaplib.runs import Data, Precision
from swaplib.train import Schedule, Step


def follow(
    name: str,
    preset: str | Any,
    data: Data,
    folder: str | os.PathLike,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = False,
    start: Family | None = None,
    flips: bool = True,
    device: str = "auto",
    precision: Precision = "auto",
    compile: bool = False,
    sample: Callable[[Family], torch.Tensor] | None = None,
    progress: bool = True,
) -> Iterator[tuple[Stage, Step]]:
    """Train a family from nothing, or from what another of its kind knows, through all its stages.

    preset   its name, or a config itself
    steps    of all stages together; the config's own number where neither steps nor minutes are given
    minutes  of training, of all stages together
    start    a family whose weights are the beginning (`Family.adopt`)
    The other arguments are those of `train.train`, which names the errors. Yields each stage with its steps; a signal
    ends it as it ends `train`. `result` gives the family afterwards.
    """
    config = families.config(name, preset)
    steps = config.steps if steps is None and minutes is None else steps
    known = start
    for stage, place in _places(name, config, folder):
        family = families.build(name, stage.config, seed)
        if known is not None:
            family.adopt(known)
        share = {"steps": steps and max(1, round(stage.share * steps)), "minutes": minutes and stage.share * minutes}
        settings = {"flips": flips, "device": device, "precision": precision, "compile": compile}
        for step in train.train(
            family, data, **share, batch=config.batch, seed=seed, folder=place, resume=resume,
            schedule=schedule(stage.rates), sample=sample, progress=progress, **settings,
        ):  # fmt: skip
            yield stage, step
            if step.end and step.end.startswith("SIG"):
                return
        known = families.build(name, stage.config)
        train.restore(known, place)


def result(name: str, preset: str | Any, folder: str | os.PathLike) -> tuple[Family, dict[str, Any]]:
    """The family at the end of a folder's last stage, in evaluation mode, and the run's steps, images and seconds.

    Raises FileNotFoundError where the last stage was not begun.
    """
    config = families.config(name, preset)
    totals = {"steps": 0, "images": 0, "seconds": 0.0}
    for stage, place in _places(name, config, folder):
        family = families.build(name, stage.config)
        done = train.restore(family, place)
        for total, key in zip(totals, ("step", "images", "seconds"), strict=True):
            totals[total] += done[key]
    return family, totals


def schedule(rates: tuple[float, float]) -> Schedule:
    """Half a cosine from the first of two factors to the second."""
    first, last = rates
    return lambda progress: last + (first - last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def _places(name: str, config: Any, folder: str | os.PathLike) -> list[tuple[Stage, Path]]:
    stages = families.kind(name).stages(config)
    return [(stage, Path(folder) / f"{k}_{stage.name}") for k, stage in enumerate(stages, 1)]

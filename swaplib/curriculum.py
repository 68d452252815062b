"""A family's whole training, stage after stage (`Family.stages`), in one folder.

    for stage, step in curriculum.follow("rsgan", "demo", data, "runs/rsgan_demo", minutes=120):
        print(stage.name, step.step, step.totals)

    runs/rsgan_demo/1_half/    what `train` keeps of the first stage: checkpoint, log, samples
    runs/rsgan_demo/2_alone/   the next one begins with the averaged weights of the one before

`swaplib train` is this on the command line.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from swaplib import data, families, weights
from swaplib.faces import Faces
from swaplib.families import Family, Stage
from swaplib.runs import CHECKPOINT, Data, Precision, config_of
from swaplib.train import Schedule, Step, restore
from swaplib.train import train as train_stage


def follow(
    name: str,
    preset: str | Any,
    faces: Data,
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
    workers: int = 2,
    sample: Callable[[Family], torch.Tensor] | None = None,
    progress: bool = True,
) -> Iterator[tuple[Stage, Step]]:
    """Train a family through all its stages, from random weights or from what another of its kind knows.

    preset   its name, or a config itself
    steps    of all stages together; the config's own number where neither steps nor minutes are given
    minutes  of training, of all stages together
    start    a family whose weights are the beginning (`Family.adopt`); stages of smaller pictures than its are left out
    The other arguments are those of `train.train`, which says what it raises. Yields each step with its stage; after
    a signal, the step that it ended with is the last. `result` gives the family afterwards.
    """
    config = families.config(name, preset)
    if name not in families.TRAINED:
        raise ValueError(f"{name} has nothing to learn: choose one of {', '.join(families.TRAINED)}")
    steps = config.steps if steps is None and minutes is None else steps
    known = start
    for stage, place in _places(name, config, folder, start):
        family = families.build(name, stage.config, seed)
        if known is not None:
            family.adopt(known)
        for step in train_stage(
            family,
            faces,
            steps and max(1, round(stage.share * steps)),
            minutes=minutes and stage.share * minutes,
            batch=config.batch,
            seed=seed,
            folder=place,
            resume=resume,
            schedule=schedule(stage.rates),
            flips=flips,
            device=device,
            precision=precision,
            compile=compile,
            workers=workers,
            sample=sample,
            progress=progress,
        ):
            yield stage, step
            if step.end and step.end.startswith("SIG"):
                return
        known = families.build(name, stage.config)
        restore(known, place)


def result(name: str, preset: str | Any, folder: str | os.PathLike) -> tuple[Family, dict[str, Any]]:
    """The family at the end of a folder's last stage, in evaluation mode, and the run's steps, images and seconds.

    Raises FileNotFoundError where there is no run.
    """
    totals, family = {"steps": 0, "images": 0, "seconds": 0.0}, None
    for stage, place in _places(name, families.config(name, preset), folder):
        if not place.exists():
            continue
        family = families.build(name, stage.config)
        done = restore(family, place)
        totals = {key: totals[key] + done["step" if key == "steps" else key] for key in totals}
    if family is None:
        raise FileNotFoundError(f"{folder} holds no run of {name}: train it there first")
    return family, totals


def log(name: str, preset: str | Any, folder: str | os.PathLike) -> pd.DataFrame:
    """The logs of all stages as one table, with a column `stage`; steps, images and seconds count through."""
    tables, before = [], {"step": 0, "images": 0, "seconds": 0.0}
    for stage, place in _places(name, families.config(name, preset), folder):
        if not (place / "log.csv").exists():
            continue
        table = pd.read_csv(place / "log.csv")
        table[list(before)] += pd.Series(before)
        before = table[list(before)].iloc[-1].to_dict()
        tables.append(table.assign(stage=stage.name))
    if not tables:
        raise FileNotFoundError(f"{folder} holds no log of {name}: train it there first")
    return pd.concat(tables, ignore_index=True)


def schedule(rates: tuple[float, float]) -> Schedule:
    """Half a cosine from the first of two factors to the second."""
    first, last = rates
    return lambda progress: last + (first - last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def _places(name: str, config: Any, folder: str | os.PathLike, start: Family | None = None) -> list[tuple[Stage, Path]]:
    """The stages with their folders; their shares add up to 1."""
    stages = families.kind(name).stages(config)
    places = [(stage, Path(folder) / f"{k}_{stage.name}") for k, stage in enumerate(stages, 1)]
    if start is not None:
        places = [(stage, place) for stage, place in places if stage.config.size >= start.config.size]
    total = sum(stage.share for stage, _ in places)
    return [(replace(stage, share=stage.share / total), place) for stage, place in places]


# ---------------------------------------------------------------------------------------------- from data to weights


def train(
    name: str,
    preset: str,
    folders: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    start: str | os.PathLike | None = None,
    **settings: Any,
) -> Path | None:
    """Train a family on the training splits of prepared datasets; save its weights and their card.

    folders: the datasets; of several, each is shown equally often.

    out: gets the run's folder {name}_{preset} and {name}_{preset}.safetensors. start: weights to begin with, or another
    run's folder, which also holds what only training needs (critics).
    settings: as for `follow`. Returns the weights' path; None where a signal stopped the run before its end.
    """
    datasets = [data.open(folder) for folder in folders]
    place = Path(out) / f"{name}_{preset}"
    known = None
    if start is not None:
        known = _latest(name, Path(start)) if Path(start).is_dir() else families.load(name, file=start)
    held_out = datasets[-1].split("val" if datasets[-1].splits.get("val", 0) >= 8 else "train")
    shown = held_out[list(range(min(8, len(held_out))))]
    end = "steps"
    splits = [dataset.split("train") for dataset in datasets]
    learned = splits[0] if len(splits) == 1 else data.Mixed(splits)
    for _, step in follow(name, preset, learned, place, start=known, sample=lambda it: swaps(it, shown), **settings):
        end = step.end or end
    if end.startswith("SIG"):
        return None
    path = Path(out) / f"{name}_{preset}.safetensors"
    if int(os.environ.get("RANK", "0")):  # of several processes, the first one writes
        return path
    family, totals = result(name, preset, place)
    family.finish(learned[list(range(min(2000, len(learned))))].resize(family.config.size))
    card = weights.Card(
        data=" and as often ".join(f"{len(split):,} faces: {split.card['what']}" for split in splits),
        hardware=weights.hardware(next(family.parameters()).device),
        command=shlex.join(["swaplib", *sys.argv[1:]]),
        licence=", ".join(sorted(set().union(*(split.metadata["licence"] for split in splits)))),
        **totals,
    )
    return weights.save(family, path, card)


def _latest(name: str, folder: Path) -> Family:
    """The family as the last stage of a run left it, whatever its config."""
    checkpoints = sorted(folder.glob(f"*/{CHECKPOINT}"))
    if not checkpoints:
        raise FileNotFoundError(f"{folder} holds no run: name the folder of one, or a file of weights")
    family = families.build(name, weights.as_config(config_of(checkpoints[-1]), families.kind(name)))
    restore(family, checkpoints[-1].parent)
    return family


def rendered(
    folder: str | os.PathLike, count: int, world: str = "calm", seed: int = 0, size: int = 64, jobs: int = 2
) -> Path:
    """A dataset of rendered faces to train on: rendered now, as far as it isn't there yet."""
    return data.render(folder, count, seed=seed, world=world, size=max(size, 64), jobs=jobs)


def swaps(family: Family, faces: Faces) -> torch.Tensor:
    """What a look at a run shows: pictures, their reconstructions, and each with the face of the one before it.

    faces (B); images (3, B, 3, S, S) in [-1, 1], a row for each of the three.
    """
    device = next(family.parameters()).device
    faces = faces.resize(family.config.size).to(device)
    before = faces[torch.arange(len(faces)).roll(1)]
    rebuilt = family.decode(family.encode(faces))
    return torch.stack([faces.images, rebuilt, family.swap(before, faces)])

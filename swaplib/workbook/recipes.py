"""A model's whole training, stage after stage (`Model.stages`), in one folder.

    for stage, step in recipes.follow("rsgan", "demo", data, "runs/rsgan_demo", minutes=120):
        print(stage.name, step.step, step.totals)

    runs/rsgan_demo/1_half/    what `train` keeps of the first stage: checkpoint, log, previews
    runs/rsgan_demo/2_alone/   the next one begins with the averaged weights of the one before

`swaplib train` is this on the command line.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from swaplib import data, families, weights
from swaplib.foreign import read_table
from swaplib.provenance import clear_left_over
from swaplib.training.loop import Step, restore
from swaplib.training.loop import train as train_stage
from swaplib.training.model import Data, Model, Stage
from swaplib.training.registry import Registry
from swaplib.training.runtime import CHECKPOINT, config_of
from swaplib.weights import describe_differences

TRAINED = tuple(families.ALL.everything)
"""All models that can be trained: judges and generators first, since families learn from them."""


def registry(name: str) -> Registry:
    """Return the registry that has a model of that name. Raises ValueError for a name that can't be trained."""
    if name not in TRAINED:
        raise ValueError(f"{name} is nothing that learns: choose one of {', '.join(TRAINED)}")
    return families.ALL.everything[name]


def follow(
    name: str,
    preset: str | Any,
    faces: Data,
    folder: str | os.PathLike,
    *,
    start: Model | None = None,
    stage: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    **settings: Any,
) -> Iterator[tuple[Stage, Step]]:
    """Train a model through all its stages, from random weights or from those of another of its kind.

    preset   its name, or a config itself
    start    a model whose weights to start from (`Model.init_from`); stages of smaller pictures than its are skipped
    stage    the name of the stage to begin with: what `start` has learned needn't be learned again
    steps    of all stages together; the config's own number where neither steps nor minutes are given
    minutes  of training, of all stages together
    settings other fields of `TrainSettings`; batch, schedule, flips and folder are the model's and the stage's own

    Yields each step with its stage; after a signal, the step it interrupted is the last. `load_result` gives the
    model afterwards. Raises ValueError for a stage that there isn't, and as `training.loop.train` does.
    """
    kinds = registry(name)
    config = kinds.config(name, preset)
    steps = config.steps if steps is None and minutes is None else steps
    known = start
    for part, place in _places(name, config, folder, start, stage):
        model = kinds.start(name, part.config, seed)
        if known is not None:
            _begin_with(model, known)
        own = {"batch": config.batch, "schedule": part.schedule, "flips": model.mirrored, "folder": place}
        own |= {"minutes": minutes and part.share * minutes, "seed": seed}
        for step in train_stage(model, faces, steps and max(1, round(part.share * steps)), **own, **settings):
            yield part, step
            if step.end and step.end.startswith("SIG"):
                return
        known = kinds.start(name, part.config)
        restore(known, place)


def _begin_with(model: Model, known: Model) -> None:
    """Let a model begin with another's weights. Raises ValueError where they are of another build."""
    try:
        model.init_from(known)
    except (RuntimeError, LookupError) as error:
        differing = describe_differences(weights.to_plain(known.config), weights.to_plain(model.config))
        raise ValueError(
            f"these weights to start from are of a {known.name} with {differing}, which this one can't begin with: "
            "choose others"
        ) from error


def load_result(name: str, preset: str | Any, folder: str | os.PathLike) -> tuple[Model, dict[str, Any]]:
    """Return the model at the end of a folder's last stage, in evaluation mode, and steps, images and seconds.

    Raises FileNotFoundError where there is no run.
    """
    totals, family = {"steps": 0, "images": 0, "seconds": 0.0}, None
    for stage, place in _places(name, registry(name).config(name, preset), folder):
        if not place.exists():
            continue
        family = registry(name).start(name, stage.config)
        done = restore(family, place)
        totals = {key: totals[key] + done["step" if key == "steps" else key] for key in totals}
    if family is None:
        raise FileNotFoundError(f"{folder} holds no run of {name}: train it there first")
    return family, totals


def read_log(name: str, preset: str | Any, folder: str | os.PathLike) -> pd.DataFrame:
    """Read the logs of all stages as one table, with a column `stage`; steps, images and seconds count through."""
    tables, before = [], {"step": 0, "images": 0, "seconds": 0.0}
    for stage, place in _places(name, registry(name).config(name, preset), folder):
        if not (place / "log.csv").exists():
            continue
        table = read_table(place / "log.csv", "train it again in another folder", before)
        if table.empty:
            continue
        table[list(before)] += pd.Series(before)
        before = table[list(before)].iloc[-1].to_dict()
        tables.append(table.assign(stage=stage.name))
    if not tables:
        raise FileNotFoundError(f"{folder} holds no log of {name}: train it there first")
    return pd.concat(tables, ignore_index=True)


def _places(
    name: str, config: Any, folder: str | os.PathLike, start: Model | None = None, first: str | None = None
) -> list[tuple[Stage, Path]]:
    """Return the stages with their folders, from the one of that name on; their shares add up to 1."""
    stages = registry(name).kind(name).stages(config)
    places = [(stage, Path(folder) / f"{k}_{stage.name}") for k, stage in enumerate(stages, 1)]
    names = [stage.name for stage in stages]
    if first is not None and first not in names:
        raise ValueError(f"the training of {name} has no stage {first!r}: choose one of {', '.join(names)}")
    if first is not None:
        places = places[names.index(first) :]
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
    """Train a family or a judge on the training splits of prepared datasets; save its weights and their card.

    folders: the datasets, as `Model.training_data` takes them. out: gets the run's folder {name}_{preset} and
    {name}_{preset}.safetensors. start: weights to begin with, or another run's folder, which also holds what only
    training needs (discriminators). settings: as for `follow`, stage among them.
    Returns the weights' path; None where a signal stopped the run before its end.
    """
    clear_left_over(out)
    datasets = [data.open(folder) for folder in folders]
    place = Path(out) / f"{name}_{preset}"
    known = None
    if start is not None:
        known = _latest(name, Path(start)) if Path(start).is_dir() else registry(name).load(name, file=start)
    held_out = datasets[-1].split("val" if datasets[-1].splits.get("val", 0) >= 8 else "train")
    shown = held_out[list(range(min(8, len(held_out))))]
    end = "steps"
    splits = [dataset.split("train") for dataset in datasets]
    learned = _arrange(name, preset, splits)
    settings = {"preview": lambda it: it.preview(shown), "checked": _held_out(name, preset, datasets), **settings}
    for _, step in follow(name, preset, learned, place, start=known, **settings):
        end = step.end or end
    if end.startswith("SIG"):
        return None
    path = Path(out) / f"{name}_{preset}.safetensors"
    if int(os.environ.get("RANK", "0")):  # of several processes, the first one writes
        return path
    family, totals = load_result(name, preset, place)
    family.on_train_end(splits[0][list(range(min(2000, len(splits[0]))))].resize(family.config.size))
    card = weights.Card(
        data=" and as often ".join(f"{len(split):,} faces: {split.card['what']}" for split in splits),
        hardware=weights.describe_hardware(next(family.parameters()).device),
        command=shlex.join(["swaplib", *map(_without_folders, sys.argv[1:])]),
        licence=", ".join(sorted(set().union(*(split.metadata["licence"] for split in splits)))),
        **totals,
    )
    return weights.save(family, path, card)


def _arrange(name: str, preset: str, splits: Sequence[data.Dataset]) -> Data:
    """Return parts of data sets as a model learns from them."""
    kinds = registry(name)
    learned = kinds.kind(name).training_data(kinds.config(name, preset), splits)
    if learned is None:
        learned = splits[0] if len(splits) == 1 else data.Mixed(splits)
    return learned


def _held_out(name: str, preset: str, datasets: Sequence[data.Dataset]) -> Data | None:
    """Return what the data sets hold out, arranged as for learning; None where that is less than a batch."""
    if not all(dataset.splits.get("val", 0) for dataset in datasets):
        return None
    held_out = _arrange(name, preset, [dataset.split("val") for dataset in datasets])
    return held_out if len(held_out) >= registry(name).config(name, preset).batch else None


def _without_folders(argument: str) -> str:
    """Return an absolute path without folders that exist on this machine only, since cards are published."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _latest(name: str, folder: Path) -> Model:
    """Return the model as the last stage of a run left it, whatever its config."""
    checkpoints = sorted(folder.glob(f"*/{CHECKPOINT}"))
    if not checkpoints:
        raise FileNotFoundError(f"{folder} holds no run: name the folder of one, or a file of weights")
    kinds = registry(name)
    found = config_of(checkpoints[-1])
    try:
        config = weights.as_config(found, kinds.kind(name))
    except ValueError as error:
        raise ValueError(f"{checkpoints[-1]}: {error}") from error
    family = kinds.start(name, config)
    restore(family, checkpoints[-1].parent)
    return family


def render_dataset(
    name: str, preset: str, out: str | os.PathLike, count: int, world: str = "calm", seed: int = 0, jobs: int = 2
) -> Path:
    """Render a dataset for a model to learn from, as far as it isn't there yet; return its folder in `out`.

    Its pictures have the size of the model's config, 64 px at least; each person is in as many as the config asks for.
    """
    config = registry(name).config(name, preset)
    size, shots = max(config.size, 64), getattr(config, "shots", 1)
    folder = Path(out) / f"faces_{world}_{size}{f'_x{shots}' if shots > 1 else ''}"
    return data.render(folder, count, seed=seed, world=world, size=size, jobs=jobs, shots=shots)

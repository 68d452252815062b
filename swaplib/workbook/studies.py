"""Studies: variants of a system trained alike, measured, and kept in studies/results/ for the notebooks to show.

    swaplib study e4s runs/faces_calm_64 runs/study          all variants
    swaplib study e4s runs/faces_calm_64 runs/study full     one of them
    swaplib study e4s runs/faces_calm_64 runs/study --seeds 3

A study is a module in the checkout's folder studies/: it states its VARIANTS, how one is measured, and a `main` with
the command line's arguments. Everything that studies share is here.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from swaplib import provenance
from swaplib.foreign import read_arrays, read_table
from swaplib.training.loop import Step
from swaplib.training.model import Data, Model
from swaplib.workbook import recipes

Faces = Annotated[Path, typer.Argument(help="A prepared dataset of rendered faces.")]
Runs = Annotated[Path, typer.Argument(help="Where the runs are kept.")]
Chosen = Annotated[list[str] | None, typer.Argument(help="Variants to make; all of them where none is named.")]
Seeds = Annotated[int, typer.Option(min=1, help="Trainings of each variant, by as many seeds.")]
Variants = Mapping[str, tuple[str, Any]]
"""Title -> (name of the model, its config)."""


@dataclass(frozen=True)
class Run:
    """The training of one variant. settings: as for `recipes.follow`."""

    title: str
    name: str
    config: Any
    faces: Data
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.settings.get("seed", 0)

    def steps(self) -> Iterator[Step]:
        """Train and yield the steps. A signal raises SystemExit with a sentence, once the step is saved."""
        for _, step in recipes.follow(self.name, self.config, self.faces, self.folder, progress=False, **self.settings):
            if step.end and step.end.startswith("SIG"):
                lost = "begin again in another folder of runs: what was measured on the way is lost"
                then = "the same command goes on from here" if self.settings.get("resume") else lost
                raise SystemExit(f"{step.end}: {then}")
            yield step

    def result(self) -> tuple[Model, dict[str, Any]]:
        """Return the trained model, in evaluation mode, and the run's steps, images and seconds."""
        model, totals = recipes.load_result(self.name, self.config, self.folder)
        return model.eval(), totals

    def train(self) -> tuple[Model, dict[str, Any]]:
        """Train to the end, and return `result`."""
        for _ in self.steps():
            pass
        return self.result()


@dataclass(frozen=True)
class Found:
    """The result of measuring a variant: rows of the study's table, and pictures by name."""

    rows: Sequence[Mapping[str, Any]]
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


def make(
    study: str,
    variants: Variants,
    measure: Callable[[Run], Found],
    faces: Data,
    runs: Path,
    chosen: Sequence[str] | None = None,
    seeds: int = 1,
    **settings: Any,
) -> None:
    """Train and measure variants one after the other; after each, replace its earlier rows and pictures.

    Writes studies/results/STUDY.csv, whose columns `variant` and `seed` tell the trainings apart, and STUDY.npz where
    there are pictures, those of the first seed. chosen: titles; all variants where there are none. seeds: how many
    trainings of each, by the seeds 0, 1, … settings: as for `recipes.follow`.
    """
    torch.set_num_threads(1)
    for title in chosen or variants:
        if title not in variants:
            raise ValueError(f"the study {study} has no variant {title!r}: choose from {'; '.join(variants)}")
    for seed, title in itertools.product(range(seeds), chosen or variants):
        name, config = variants[title]
        folder = Path(runs) / (plain(title) + (f"_{seed}" if seed else ""))
        found = measure(Run(title, name, config, faces, folder, {"seed": seed, **settings}))
        rows = [{key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}
                for row in found.rows]  # fmt: skip
        save_rows(f"{study}.csv", title, rows, variants, seed)
        if found.pictures and not seed:
            save_pictures(f"{study}.npz", found.pictures)
        typer.echo(f"{title}, seed {seed}: {rows[-1]}")


def plain(title: str) -> str:
    """Turn a variant's title into the name of its run's folder."""
    return title.replace("λ", "latent").replace(", ", "_").replace(" ", "_")


def save_rows(file: str, title: str, rows: Sequence[Mapping[str, Any]], titles: Iterable[str], seed: int = 0) -> None:
    """Replace a training's rows in a table of results; seed 0 replaces those of its variant's other seeds as well.

    Variants are in the order of `titles`, and each one's trainings in that of their seeds.
    """
    path, order = results(file), list(titles)
    earlier = read_results(file, ("variant",)) if path.exists() else pd.DataFrame({"variant": []})
    earlier = earlier.assign(seed=earlier.get("seed", 0))
    replaced = (earlier["variant"] == title) & ((earlier["seed"] == seed) | (seed == 0))
    kept = earlier[earlier["variant"].isin(order) & ~replaced]
    every = pd.concat([kept, pd.DataFrame([{"variant": title, "seed": seed, **row} for row in rows])])
    every = every.assign(place=every["variant"].map(order.index)).sort_values(["place", "seed"], kind="stable")
    with provenance.replacing(path) as temporary:
        every.drop(columns="place").to_csv(temporary, index=False)


def save_pictures(file: str, pictures: Mapping[str, np.ndarray]) -> None:
    """Put pictures into a file of results, beside those of other names in it."""
    path = results(file)
    earlier = read_arrays(path, _MAKE_AGAIN) if path.exists() else {}
    with provenance.replacing(path) as temporary:
        np.savez_compressed(temporary, **{**earlier, **pictures})


# ---------------------------------------------------------------------------------------------- files of the checkout


def results(name: str) -> Path:
    """Return the path of a file in studies/results. Raises FileNotFoundError where swaplib runs without a checkout."""
    return _folder() / "results" / name


_MAKE_AGAIN = "take the committed one back with git, or run its study again"


def read_results(name: str, columns: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Read a table in studies/results; columns: that it must have. Raises as `foreign.read_table` does."""
    return read_table(results(name), _MAKE_AGAIN, columns, **options)


def differences(table: pd.DataFrame, column: str, one: str, other: str) -> np.ndarray:
    """Return a column of one variant minus that of another, trained by the same seeds, (seeds,)."""
    by_seed = table.pivot(index="seed", columns="variant", values=column)
    return (by_seed[one] - by_seed[other]).dropna().to_numpy()


def load(name: str) -> ModuleType:
    """Load studies/NAME.py. Raises FileNotFoundError without a checkout, ValueError for an unknown name."""
    folder = _folder()
    there = sorted(path.stem for path in folder.glob("*.py"))
    if name not in there:
        raise ValueError(f"there is no study {name!r}: choose one of {', '.join(there)}")
    spec = importlib.util.spec_from_file_location(f"swaplib_study_{name}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


def run(name: str, arguments: Sequence[str] = ()) -> None:
    """Run a study with the arguments of its command line. Raises as `load` does."""
    program = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
    program.command()(load(name).main)
    program(list(arguments), prog_name=f"swaplib study {name}", standalone_mode=False)


def _folder() -> Path:
    checkout = provenance.checkout()
    if checkout is None:
        raise FileNotFoundError("studies are part of the checkout: clone swaplib and install it with pip -e")
    return checkout / "studies"

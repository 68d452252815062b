"""Commands that train: a system or judge, the variants of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaplib.cli.shared import Jobs, Seed, World, sentences


def train(
    family: Annotated[str | None, typer.Argument(help="Which system or judge; `swaplib info` lists them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that can learn, judges first.")] = False,
    preset: Annotated[
        str,
        typer.Option(
            help="smoke, demo or paper; known: smooth_swap and latent_swap, told the truth; printed: both of them "
            "by their papers' losses alone; views: latent_swap in StyleNeRF; photo: the parser, for photographs."
        ),
    ] = "demo",
    data: Annotated[
        list[Path] | None, typer.Option(help="Prepared dataset; of several, each as often. Rendered faces where none.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where runs and weights go.")] = Path("runs"),
    minutes: Annotated[float | None, typer.Option(min=0, help="Of training, for each family.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="For each family; the preset's own by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run was stopped.")] = False,
    start: Annotated[
        Path | None,
        typer.Option(help="Weights to begin with, or better the folder of a run: it has the discriminators, too."),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Which of its stages to begin with, by name.")] = None,
    faces: Annotated[int, typer.Option(min=1, help="How many faces are rendered where no data is given.")] = 4000,
    world: World = "calm",
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, tf32 or bf16.")] = "auto",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the networks: for a GPU.")] = False,
    jobs: Jobs = 2,
) -> None:
    """Train FAMILY through all its stages and save its weights with their card.

    Families learn from judges: with weights of theirs in OUT, else in the folders that SWAPLIB_WEIGHTS lists, else
    with the released ones.

    Runs of several GPUs: torchrun --nproc_per_node N -m swaplib.cli train FAMILY …
    """
    with sentences(FloatingPointError):
        from swaplib.weights import searching
        from swaplib.workbook import recipes

        if every == (family is not None):
            raise ValueError("name one family or judge, or say --all: swaplib train rsgan")
        names = recipes.TRAINED if every else [family]
        run = {"steps": steps, "minutes": minutes, "seed": seed, "resume": resume, "device": device}
        run |= {"precision": precision, "compile": compile, "start": start, "stage": stage}
        for name in names:
            found = data or [recipes.render_dataset(name, preset, out, faces, world, seed, jobs)]
            with searching(out):
                path = recipes.train(name, preset, found, out, **run)
            if path is None:
                typer.echo(f"{name}: stopped; the same command with --resume goes on")
                raise typer.Exit(130)
            typer.echo(f"{path} and its card {path.with_suffix('.md').name}")


def study(
    name: Annotated[str, typer.Argument(help="A module of studies/, such as rsgan.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The study's own: swaplib study NAME --help tells them.")
    ] = None,
) -> None:
    """Train variants of a system alike, measure them, and renew what studies/results/ holds of them."""
    with sentences(FloatingPointError):
        from swaplib.workbook import studies

        studies.run(name, arguments or ())

"""Commands that run the notebooks, and open them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from swaplib.cli.shared import Preset, sentences, split_pair


def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Names or numbers, such as 00; all when none.")] = None,
    preset: Preset = "demo",
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Renew notebooks/ and figures/, what changed.")] = False,
    figures: Annotated[Path | None, typer.Option(help="Another folder for the figures.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Notebooks side by side; as many as there are cores by default.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Prepared photographs, where no truth is needed, in the place of rendered faces."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, for notebooks that take one.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is missing, what is skipped, how long it takes.")
    ] = False,
) -> None:
    """Run the notebooks into build/, with their figures, and make an HTML copy of the workbook.

    What is missing is listed first, with the commands that help; notebooks that need it are skipped.
    """
    from swaplib.workbook import runner

    with sentences(runner.WorkbookError):
        pairs = dict(split_pair(text, "--set NAME=VALUE") for text in values or [])
        pairs |= {name: str(value) for name, value in (("data", data), ("device", device)) if value is not None}
        start = time.perf_counter()
        plan = runner.plan_run(notebooks or (), preset, pairs)
        if dry_run or plan.missing:
            typer.echo(plan.tell() + "\n")
        if dry_run:
            return
        report = runner.run(notebooks or (), preset, pairs, update=update, figures_folder=figures, jobs=jobs)
        typer.echo(
            f"{len(report.seconds)} notebooks in {time.perf_counter() - start:.0f} s\n"
            f"figures   {report.figures / 'README.md'}\nworkbook  {report.index}"
        )
        if update:
            typer.echo(f"renewed   {', '.join(report.renewed) or 'nothing: all is as it was'}")


def lab(context: typer.Context) -> None:
    """Open the notebooks in JupyterLab; its own options, such as --port 9000, are passed on."""
    from swaplib.workbook.runner import WorkbookError, root

    with sentences(WorkbookError):
        if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in context.args:
            raise ValueError("JupyterLab doesn't run as root: use another account, or say swaplib lab --allow-root")
        # The checkout is its root, so that links from the notebooks to the figures lead there.
        where = [f"--ServerApp.root_dir={root()}", "--LabApp.default_url=/lab/tree/notebooks/00_start.ipynb"]
        os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *where, *context.args])

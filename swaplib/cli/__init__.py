"""The command line: `swaplib COMMAND`. Heavy imports wait inside the commands, so that `--help` answers at once.

Exit codes: 0 done, 1 an error, said in one sentence on stderr, 2 wrong usage, 130 interrupted.
SWAPLIB_DEBUG=1 in the environment shows the traceback of every error.
"""

from __future__ import annotations

from typing import Annotated

import typer

from swaplib.cli import data, info, measuring, swapping, training, weights, workbook

app = typer.Typer(
    name="swaplib",
    help="Face swapping in latent spaces: a workbook, and the tools behind it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"swaplib {version('swaplib')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it, exit.")
    ] = False,
) -> None:
    """Face swapping in latent spaces: a workbook, and the tools behind it."""


# In the order of `swaplib --help`.
app.command()(swapping.swap)
app.command()(swapping.faces)
app.command()(data.prepare)
app.command()(data.render)
app.command()(training.train)
app.command()(measuring.evaluate)
app.command()(workbook.run)
app.command()(info.cache)
app.command(context_settings={"allow_interspersed_args": False})(training.study)
app.command()(weights.release)
app.command()(info.info)
app.command("import")(weights.import_)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(workbook.lab)

bench = typer.Typer(help="The true-swap benchmark: pairs as pictures, and scores of anybody's swaps of them.")
app.add_typer(bench, name="benchmark")
bench.command()(measuring.export)
bench.command("run")(measuring.fill)
bench.command()(measuring.score)
bench.command()(measuring.sets)

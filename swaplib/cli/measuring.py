"""Commands that measure: the comparison table, and the benchmark of anybody's swaps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaplib.cli.shared import Jobs, Preset, Seed, World, check_device, sentences, split_pair

_OF_TRUTH = ("psnr", "psnr_face", "ms_ssim_face")
_SHOWN = ("to_source", "nearer_source", "detected", "reconstruction_error", "twice_error", "seconds")


def evaluate(
    families: Annotated[str, typer.Option(help="Names, separated by commas.")] = "target,landmarks",
    pairs: Annotated[int, typer.Option(min=2, help="Number of pairs.")] = 500,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV; a Markdown table is put beside it.")] = Path(
        "evaluation.csv"
    ),
    data: Annotated[
        Path | None, typer.Option(help="Prepared photographs to swap; rendered faces and true swaps where none.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the photographs: train, val or test; test or val where there is one.")
    ] = None,
    seed: Seed = 0,
    size: Annotated[int, typer.Option(min=64, max=512, help="Edge of the pictures in pixels.")] = 128,
    world: World = "calm",
    preset: Preset = "demo",
    jobs: Jobs = 2,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=FILE",
            help="A published judge of your own as further columns: identity, parser or perceptual; may be repeated.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Make the comparison table: families on rendered pairs whose true swap is known, or on photographs."""
    with sentences():
        from swaplib import data as datasets
        from swaplib import metrics
        from swaplib.judges import Judges
        from swaplib.provenance import replacing

        names = [name.strip() for name in families.split(",") if name.strip()]
        found = None if data is None else datasets.open(data)
        if found is not None:
            split = split or next((name for name in ("test", "val") if name in found.splits), None)
            found = found.split(split) if split else found
        judges = Judges.released(preset if preset == "official" else "demo")
        for text in judge or ():
            kind, file = split_pair(text, "--judge KIND=FILE")
            judges = judges.with_files(**{kind: file})
        table = metrics.evaluate(
            names, pairs, seed, size=size, world=world, preset=preset, jobs=jobs, photographs=found, judges=judges,
            device=check_device(device),
        )  # fmt: skip
        with replacing(out) as temporary:
            table.to_csv(temporary)
        with replacing(out.with_suffix(".md")) as temporary:
            temporary.write_text(metrics.table_markdown(table) + "\n", encoding="utf-8")
        shown = [*(_OF_TRUTH if found is None else ()), *_SHOWN, *(metric.name for metric in judges.columns())]
        typer.echo(metrics.table_markdown(table, shown))
        typer.echo(f"\nThe whole table: {out} and {out.with_suffix('.md')}")


def export(
    out: Annotated[Path, typer.Argument(help="Folder for the pairs.")],
    name: Annotated[str, typer.Option("--set", help="Which pairs; `swaplib benchmark sets` lists them.")] = "calm",
    pairs: Annotated[int | None, typer.Option(min=1, help="How many; the set's own number by default.")] = None,
    size: Annotated[int, typer.Option(min=128, max=512, help="Edge of the pictures in pixels.")] = 256,
    seed: Seed = 0,
    jobs: Jobs = 2,
) -> None:
    """Write sources, targets and, apart from them, true swaps as PNG files."""
    with sentences(FileExistsError):
        from swaplib import benchmark

        card = benchmark.export(out, name, pairs, size, seed, jobs)
        typer.echo(f"{len(card.pairs)} pairs in {out}: {card.series}, {name}, {size} px, {card.digest[:12]}")


def fill(
    pairs: Annotated[Path, typer.Argument(help="Folder of exported pairs.")],
    out: Annotated[Path, typer.Argument(help="Folder for the swaps.")],
    family: Annotated[str, typer.Option(help="Which system; `swaplib info` lists them.")] = "landmarks",
    preset: Preset = "demo",
    weights: Annotated[Path | None, typer.Option(help="Other weights of the family than the released ones.")] = None,
    drive: Annotated[
        str | None, typer.Option(help="First give the source the target's pose and expression: exact or landmarks.")
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="Give it pictures alone, as an outside system has them.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Fill a folder with a family's swaps. Stopped and started again, it goes on where it was."""
    with sentences():
        from swaplib import benchmark
        from swaplib.workbook import swapping

        system = swapping.load_system(family, preset, check_device(device), weights, drive=drive)
        typer.echo(f"swaps in {benchmark.run(system, pairs, out, bare)}")


def score(
    pairs: Annotated[Path, typer.Argument(help="Folder of exported pairs.")],
    swaps: Annotated[list[str], typer.Argument(help="Folders of swaps, FOLDER or NAME=FOLDER.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables and page.")] = Path("report"),
    against: Annotated[str, typer.Option(help="The row that the others are compared with.")] = "target",
    jobs: Jobs = 2,
) -> None:
    """Score folders of swaps, anybody's, whose files are named like the pairs; see the page that it names."""
    with sentences():
        from swaplib import benchmark, metrics

        named = (text.partition("=") if "=" in text else (Path(text).name, "", text) for text in swaps)
        report = benchmark.score(pairs, {name: folder for name, _, folder in named}, jobs=jobs)
        page = report.save(out, against)
        typer.echo(metrics.table_markdown(report.summary, benchmark.SHOWN))
        typer.echo(f"\n{report.tell()}\n\nAll of it: {page}")


def sets() -> None:
    """List the sets of pairs."""
    from swaplib import metrics

    for name, one in metrics.SETS.items():
        typer.echo(f"{name:<16} {one.count:>4}  {one.title}")

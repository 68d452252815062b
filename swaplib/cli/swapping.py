"""Commands that swap, and that show whose face there is to be swapped."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from swaplib.cli.shared import Seed, check_device, sentences


def swap(
    source: Annotated[Path, typer.Argument(help="Photograph that gives the identity.")],
    target: Annotated[Path, typer.Argument(help="Photograph or film that receives it, or a folder of them.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Where to save: .png, .jpg or .webp; a film as .mp4 or .gif; for a folder, a folder."
        ),
    ],
    family: Annotated[str, typer.Option(help="Which system; `swaplib info` lists them.")] = "landmarks",
    preset: Annotated[
        str | None,
        typer.Option(help="smoke, demo, paper, official (imported), or photo: knows photographs, the default."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Other weights of the family than the released ones.")] = None,
    stitch: Annotated[bool, typer.Option("--stitch", help="Stitch the face in, in the gradient domain.")] = False,
    drive: Annotated[
        str | None,
        typer.Option(
            help="First give the source the target's pose and expression: landmarks, FaceVid2Vid's file, or identity, "
            "which changes nothing. By default as the family's paper does."
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="Another photograph of SOURCE's person: codes are averaged. May be repeated."),
    ] = None,
    amount: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PART=]NUMBER",
            help="How much comes from the source, 0 to 1: of a part, or of all that a swap takes but label maps. May "
            "be repeated.",
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Alignment, as in `prepare`; by default what the weights have learned from.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=32, max=1024, help="Edge of the aligned pictures, where a family takes any.")
    ] = None,
    parser: Annotated[
        Path | None, typer.Option(help="A published parser's file: it finds the regions instead of ours.")
    ] = None,
    tune: Annotated[
        int,
        typer.Option(min=0, help="Steps of fitting the generator to a film's driven frames; E4S's paper: 200 a frame."),
    ] = 0,
    seed: Seed = 0,
    face: Annotated[
        str,
        typer.Option(
            "--face",
            "--faces",
            metavar="WHO",
            help="Whose face is swapped: largest, central, a number (`swaplib faces` shows them), a point X,Y, "
            "a photograph of the person, or all.",
        ),
    ] = "largest",
    other: Annotated[
        list[Path] | None,
        typer.Option(help="With --faces all: a photograph for the next person. May be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Put the face of SOURCE into the photograph or film TARGET. Faces are found and aligned by themselves.

    A film's or folder's swap that was stopped goes on where it was when the same command is given again.
    """
    with sentences():
        from swaplib import families
        from swaplib.weights import best_for_photographs
        from swaplib.workbook import swapping

        preset = preset or best_for_photographs(family)
        for path in (source, *(also or ()), *(other or ()), target):
            if out.exists() and path.exists() and out.samefile(path):
                raise ValueError(f"{out} is the source or the target: choose another name for the result")
        who = _parse_face(face)
        if other and who != "all":
            raise ValueError("--other is for --faces all: name one source for one face")
        drive = drive or ("landmarks" if families.kind(family).driven else None)
        system = swapping.load_system(
            family, preset, check_device(device), weights, parser=parser, drive=drive, stitch=stitch
        )
        given = ([source, *also] if also else source, target, out, who, other or ())
        options = {"amounts": _read_amounts(amount, system), "kind": kind, "size": size, "seed": seed, "tune": tune}
        options["made"] = "generated" if family in families.TRAINED else "composite"
        options["text"] = f"Face swap by the family {family}."
        if target.is_dir():
            report = swapping.swap_folder(system, *given, **options)
            typer.echo(report.tell())
            raise typer.Exit(1 if report.failed else 0)
        for note in swapping.swap_file(system, *given, **options):
            typer.echo(note)
        typer.echo(f"{out}: marked as synthetic in its metadata")


def _parse_face(text: str) -> Any:
    """Return what --face names: a word, a number, a point or the path of a photograph."""
    if text in ("largest", "central", "all"):
        return text
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        x, y = map(float, text.split(","))
        return (x, y)
    if not Path(text).is_file():
        raise ValueError(
            f"--face {text}: there is no file of that name; say largest, central, all, a number, a point X,Y or a "
            "photograph of the person"
        )
    return Path(text)


def _read_amounts(texts: list[str] | None, system: Any) -> dict[str, float] | None:
    """Return the amounts of a swap: of single parts, and of all that it takes; label maps are taken whole."""
    if not texts:
        return None
    kinds = {part.name: part.geometry for part in system.parts}
    amounts = dict.fromkeys(system.swap_parts, 1.0)
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if not 0 <= amount <= 1:
            raise ValueError(f"--amount {text}: say a number from 0 to 1, or PART=NUMBER")
        if name and name not in kinds:
            raise ValueError(f"--amount {text}: {system.name} has no part {name!r}; its parts are {', '.join(kinds)}")
        chosen = [name] if name else [part for part in system.swap_parts if kinds[part] != "labels"]
        amounts |= dict.fromkeys(chosen, amount)
    return amounts


def faces(
    target: Annotated[Path, typer.Argument(help="Photograph or film.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to save the thumbnails; NAME_faces.png by default.")
    ] = None,
) -> None:
    """Show who is in TARGET, with the numbers that `swaplib swap --face` takes: when, how large, and thumbnails."""
    with sentences():
        from PIL import Image

        from swaplib import figures
        from swaplib.provenance import replacing
        from swaplib.video import preview

        out = out or Path(f"{target.stem}_faces.png")
        if out.suffix.lower() not in figures.ENDINGS:
            raise ValueError(
                f"{out}: thumbnails are saved as {', '.join(figures.ENDINGS)}; choose one of these endings"
            )
        if out.exists() and target.exists() and out.samefile(target):
            raise ValueError(f"{out} is the target: choose another name for the thumbnails")
        lines, sheet = preview.show_faces(target)
        with replacing(out) as temporary:
            Image.fromarray(sheet).save(temporary)
        for line in lines:
            typer.echo(line)
        typer.echo(f"thumbnails: {out}")

"""The command line: `swaplib COMMAND`. Heavy imports wait inside the commands, so that `--help` answers at once.

Exit codes: 0 done, 1 an error, said in one sentence on stderr, 2 wrong usage, 130 interrupted.
SWAPLIB_DEBUG=1 in the environment shows the traceback of every error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="swaplib",
    help="Face swapping in latent spaces: a workbook, and the tools behind it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Preset = Annotated[str, typer.Option(help="smoke, demo, paper, or official: imported weights.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes.")]
World = Annotated[str, typer.Option(help="calm (near-frontal, soft light) or wild (everything).")]


@contextmanager
def _sentences(*expected: type[Exception]):
    """Expected errors become one sentence and exit code 1; anything else is a bug and keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError, *expected) as error:
        if os.environ.get("SWAPLIB_DEBUG"):
            raise
        typer.echo(f"swaplib: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("swaplib: interrupted", err=True)
        raise typer.Exit(130) from None


def check_device(device: str) -> str:
    """Return the device. Raises ValueError for one that is unknown, or not here."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}: choose cpu or cuda")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("there is no CUDA device here: choose the device cpu")
    return device


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


@app.command()
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
    with _sentences():
        from swaplib import families, latent
        from swaplib.latent import reenactment
        from swaplib.weights import find_released

        preset = preset or ("photo" if find_released(family, "photo").exists() else "demo")
        sources = [[source, *also] if also else source, *(other or ())]
        for path in (source, *(also or ()), *(other or ()), target):
            if out.exists() and path.exists() and out.samefile(path):
                raise ValueError(f"{out} is the source or the target: choose another name for the result")
        who = _parse_face(face)
        if len(sources) > 1 and who != "all":
            raise ValueError("--other is for --faces all: name one source for one face")
        system = families.load(family, preset, device=check_device(device), file=weights)
        if parser is not None:
            _replace_parser(system, parser, device)
        drive = drive or ("landmarks" if system.driven else "identity")
        if drive != "identity":
            published = Path(drive).is_file()
            driver = (
                reenactment.load("facevid2vid", drive, device) if published else reenactment.load(drive, device=device)
            )
            system = latent.Driven(system, driver)
        system = latent.Stitched(system) if stitch else system
        options = {"amounts": _read_amounts(amount, system), "kind": kind or system.framing, "size": size}
        options |= {"seed": seed, "tune": tune, "text": f"Face swap by the family {family}."}
        options["made"] = "generated" if family in families.TRAINED else "composite"
        if target.is_dir():
            _swap_folder(system, sources, target, out, who, options)
            return
        for note in _swap_one(system, sources, target, out, who, options):
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


def _replace_parser(system: Any, file: Path, device: str) -> None:
    """Let a published parser find the regions of a family."""
    from swaplib import judges

    if "parser" not in system.frozen:
        raise ValueError(f"{system.name} looks at no regions: leave --parser out")
    found = judges.load_official(file)
    if found.name not in (known := judges.kind("parser").stand_ins):
        raise ValueError(f"{file} holds {found.name}, which can't stand in for our parser: name a file of {known[0]}")
    system.parser = found.to(device)


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


def _swap_one(
    system: Any, sources: list[Any], target: Path, out: Path, who: Any, options: Mapping[str, Any]
) -> list[str]:
    """Swap in a photograph or a film, and save the result."""
    import torch

    from swaplib import figures, latent
    from swaplib.video import files

    if files.is_video(target):
        from swaplib import video

        return video.swap(system, sources[0], target, out, face=who, others=sources[1:], strict=True, **options)
    if options["tune"]:
        raise ValueError(f"{target} is no film: leave --tune out")
    aligned = {name: options[name] for name in ("kind", "size", "amounts")} | {"strict": True}
    torch.manual_seed(options["seed"])
    if who == "all":
        photo, notes = latent.swap_everyone(system, sources[0], target, sources[1:], **aligned)
    else:
        photo, notes = latent.swap_photographs(system, sources[0], target, target_face=who, **aligned)
    figures.save_picture(photo, out, options["made"], text=options["text"])
    return notes


def _swap_folder(
    system: Any, sources: list[Any], folder: Path, out: Path, who: Any, options: Mapping[str, Any]
) -> None:
    """Swap in every photograph and film of a folder; what can't be used is told, and the rest is done."""
    from tqdm.auto import tqdm

    from swaplib.video import files

    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder for the results of a folder")
    names: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        is_film = path.is_file() and files.is_video(path)
        if path.is_file() and (is_film or path.suffix.lower() in (*_SAVED, *_READ)):
            ending = (".gif" if path.suffix.lower() == ".gif" else ".mp4") if is_film else path.suffix.lower()
            ending = ending if is_film or ending in _SAVED else ".png"
            name = f"{path.stem}{ending}"
            names[f"{path.name}{ending}" if name in names else name] = path
    if not names:
        raise ValueError(f"{folder} holds no photograph or film: name a folder that does")
    wanted = {name: path for name, path in names.items() if not (out / name).exists()}
    failed = 0
    for name, path in tqdm(wanted.items(), desc="swapping", unit="file"):
        try:
            _swap_one(system, sources, path, out / name, who, options)
        except (ValueError, OSError) as error:
            failed += 1
            tqdm.write(f"swaplib: {path.name}: {' '.join(str(error).split())}", file=sys.stderr)
    if there := len(names) - len(wanted):
        typer.echo(f"{there} were there already: delete those that are to be made again")
    typer.echo(f"{len(wanted) - failed} of {len(names)} swapped into {out}: marked as synthetic in their metadata")
    if failed:
        raise typer.Exit(1)


_SAVED = (".png", ".jpg", ".jpeg", ".webp")
_READ = (".tif", ".tiff", ".bmp", ".gif", ".ppm", ".avif", ".heic", ".heif")


@app.command()
def faces(
    target: Annotated[Path, typer.Argument(help="Photograph or film.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to save the thumbnails; NAME_faces.png by default.")
    ] = None,
) -> None:
    """Show who is in TARGET, with the numbers that `swaplib swap --face` takes: when, how large, and thumbnails."""
    with _sentences():
        from PIL import Image

        from swaplib.provenance import replacing
        from swaplib.video import preview

        out = out or Path(f"{target.stem}_faces.png")
        if out.suffix.lower() not in _SAVED:
            raise ValueError(f"{out}: thumbnails are saved as {', '.join(_SAVED)}; choose one of these endings")
        if out.exists() and target.exists() and out.samefile(target):
            raise ValueError(f"{out} is the target: choose another name for the thumbnails")
        lines, sheet = preview.show_faces(target)
        with replacing(out) as temporary:
            Image.fromarray(sheet).save(temporary)
        for line in lines:
            typer.echo(line)
        typer.echo(f"thumbnails: {out}")


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(help="Photographs, or a published dataset in its own layout.")],
    out: Annotated[Path, typer.Argument(help="Where the prepared dataset goes.")],
    layout: Annotated[str, typer.Option(help="auto, or the dataset's name.")] = "auto",
    kind: Annotated[
        str,
        typer.Option(
            help="Alignment: portrait (as the rendered faces), ffhq, celeba, rsgan, five_point, arcface or as_is."
        ),
    ] = "portrait",
    size: Annotated[int, typer.Option(min=16, help="Edge of the aligned pictures in pixels.")] = 256,
    jobs: Jobs = 2,
    backend: Annotated[str | None, typer.Option(help="joblib's backend, such as threading.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask cluster, such as tcp://host:8786: all its workers prepare.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many files.")] = None,
    parse: Annotated[bool, typer.Option("--parse", help="Label pictures without labels by the parser.")] = False,
) -> None:
    """Find, align and label the faces of a folder. Stopped and started again, it goes on where it was."""
    with _sentences():
        from swaplib import data, judges

        parser = judges.load("parser").parse if parse else None
        options = {"limit": limit, "parser": parser}
        if scheduler is None:
            typer.echo(data.prepare(folder, out, layout, kind, size, jobs, backend=backend, **options))
            return
        with data.connect(scheduler):
            typer.echo(data.prepare(folder, out, layout, kind, size, jobs, backend="dask", **options))


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Where the prepared dataset goes.")],
    count: Annotated[int, typer.Option(min=1, help="Number of faces.")] = 100,
    seed: Seed = 0,
    world: World = "calm",
    size: Annotated[int, typer.Option(min=64, max=512, help="Edge of the pictures in pixels.")] = 128,
    shots: Annotated[int, typer.Option(min=1, help="Pictures of each person.")] = 1,
    relatives: Annotated[int, typer.Option(min=1, help="People that share one skin: only heads tell them apart.")] = 1,
    crossed: Annotated[
        int, typer.Option(min=1, help="People in the same shots: each picture is the true swap of others.")
    ] = 1,
    jobs: Jobs = 2,
) -> None:
    """Render faces with their labels, landmarks, attributes and factors into a prepared dataset."""
    with _sentences():
        from swaplib import data

        people = {"shots": shots, "relatives": relatives, "crossed": crossed}
        path = data.render(out, count, seed=seed, world=world, size=size, jobs=jobs, **people)
        typer.echo(f"{count} faces in {path}")


@app.command()
def train(
    family: Annotated[str | None, typer.Argument(help="Which system or judge; `swaplib info` lists them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that can learn, judges first.")] = False,
    preset: Preset = "demo",
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
    with _sentences(FloatingPointError):
        from swaplib.weights import searching
        from swaplib.workbook import recipes

        if every == (family is not None):
            raise ValueError("name one family or judge, or say --all: swaplib train rsgan")
        names = recipes.TRAINED if every else [family]
        run = {"steps": steps, "minutes": minutes, "seed": seed, "resume": resume, "device": device}
        run |= {"precision": precision, "compile": compile, "start": start}
        for name in names:
            config = recipes.registry(name).config(name, preset)
            size, shots = config.size, getattr(config, "shots", 1)
            place = out / f"faces_{world}_{max(size, 64)}{f'_x{shots}' if shots > 1 else ''}"
            found = data or [recipes.render_dataset(place, faces, world, seed, size, jobs, shots)]
            with searching(out):
                path = recipes.train(name, preset, found, out, **run)
            if path is None:
                typer.echo(f"{name}: stopped; the same command with --resume goes on")
                raise typer.Exit(130)
            typer.echo(f"{path} and its card {path.with_suffix('.md').name}")


@app.command()
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
    with _sentences():
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
            judges = judges.with_files(**dict([_pair(text, "--judge KIND=FILE")]))
        table = metrics.evaluate(
            names, pairs, seed, size=size, world=world, preset=preset, jobs=jobs, photographs=found, judges=judges,
            device=check_device(device),
        )  # fmt: skip
        with replacing(out) as temporary:
            table.to_csv(temporary)
        with replacing(out.with_suffix(".md")) as temporary:
            temporary.write_text(metrics.table_markdown(table) + "\n", encoding="utf-8")
        narrow = ["to_source", "nearer_source", "detected", "reconstruction_error", "twice_error", "seconds"]
        narrow = ["psnr", "psnr_face", "ms_ssim_face", *narrow] if found is None else narrow
        narrow += [metric.name for metric in judges.columns()]
        typer.echo(metrics.table_markdown(table, narrow))
        typer.echo(f"\nThe whole table: {out} and {out.with_suffix('.md')}")


@app.command()
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

    with _sentences(runner.WorkbookError):
        pairs = dict(_pair(text) for text in values or [])
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


def _pair(text: str, usage: str = "--set NAME=VALUE") -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise typer.BadParameter(f"{text!r}: write {usage}")
    return name, value


bench = typer.Typer(help="The true-swap benchmark: pairs as pictures, and scores of anybody's swaps of them.")
app.add_typer(bench, name="benchmark")


@bench.command()
def export(
    out: Annotated[Path, typer.Argument(help="Folder for the pairs.")],
    name: Annotated[str, typer.Option("--set", help="Which pairs; `swaplib benchmark sets` lists them.")] = "calm",
    pairs: Annotated[int | None, typer.Option(min=1, help="How many; the set's own number by default.")] = None,
    size: Annotated[int, typer.Option(min=128, max=512, help="Edge of the pictures in pixels.")] = 256,
    seed: Seed = 0,
    jobs: Jobs = 2,
) -> None:
    """Write sources, targets and, apart from them, true swaps as PNG files."""
    with _sentences(FileExistsError):
        from swaplib import benchmark

        card = benchmark.export(out, name, pairs, size, seed, jobs)
        typer.echo(f"{len(card.pairs)} pairs in {out}: {card.series}, {name}, {size} px, {card.digest[:12]}")


@bench.command("run")
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
    with _sentences():
        from swaplib import benchmark, families, latent
        from swaplib.latent import reenactment

        system = families.load(family, preset, device=check_device(device), file=weights)
        system = latent.Driven(system, reenactment.load(drive)) if drive else system
        typer.echo(f"swaps in {benchmark.run(system, pairs, out, bare)}")


@bench.command()
def score(
    pairs: Annotated[Path, typer.Argument(help="Folder of exported pairs.")],
    swaps: Annotated[list[str], typer.Argument(help="Folders of swaps, FOLDER or NAME=FOLDER.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables and page.")] = Path("report"),
    against: Annotated[str, typer.Option(help="The row that the others are compared with.")] = "target",
    jobs: Jobs = 2,
) -> None:
    """Score folders of swaps, anybody's, whose files are named like the pairs; see the page that it names."""
    with _sentences():
        from swaplib import benchmark, metrics

        named = (text.partition("=") if "=" in text else (Path(text).name, "", text) for text in swaps)
        report = benchmark.score(pairs, {name: folder for name, _, folder in named}, jobs=jobs)
        page = report.save(out, against)
        typer.echo(metrics.table_markdown(report.summary, benchmark.SHOWN))
        typer.echo(f"\n{report.tell()}\n\nAll of it: {page}")


@bench.command()
def sets() -> None:
    """List the sets of pairs."""
    from swaplib import metrics

    for name, one in metrics.SETS.items():
        typer.echo(f"{name:<16} {one.count:>4}  {one.title}")


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything that is kept.")] = False,
) -> None:
    """Tell what is kept on disk between runs (rendered faces, scores of swaps), or remove it."""
    from swaplib import cache

    with _sentences():
        if clear:
            typer.echo(f"{cache.clear() / 1e6:,.0f} MB removed from {cache.folder()}")
        elif cache.folder() is None:
            typer.echo("nothing is kept: SWAPLIB_CACHE is empty")
        else:
            count, size = cache.usage()
            typer.echo(f"{count:,} results, {size / 1e6:,.0f} MB of {cache.limit() / 1e6:,.0f}, in {cache.folder()}")


@app.command(context_settings={"allow_interspersed_args": False})
def study(
    name: Annotated[str, typer.Argument(help="A module of studies/, such as rsgan.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The study's own: swaplib study NAME --help tells them.")
    ] = None,
) -> None:
    """Train variants of a system alike, measure them, and renew what studies/results/ holds of them."""
    with _sentences(FloatingPointError):
        from swaplib.workbook import studies

        studies.run(name, arguments or ())


@app.command()
def release(
    name: Annotated[str, typer.Argument(help="Of the family, judge or generator.")],
    preset: Annotated[str, typer.Argument(help="smoke, demo, paper or photo.")],
    file: Annotated[Path, typer.Argument(help="Weights with their card, as swaplib train saves them.")],
    pairs: Annotated[int, typer.Option(min=2, help="Rendered calm pairs that a family is measured on.")] = 200,
    notes: Annotated[str, typer.Option(help="Markdown for the card's end.")] = "",
    size: Annotated[int, typer.Option(min=64, max=512, help="Edge of the rendered pictures in pixels.")] = 128,
    data: Annotated[
        list[Path] | None, typer.Option(help="Prepared datasets to measure a judge or generator on.")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Folders of the runs that led to FILE, in order: their log is kept.")
    ] = None,
) -> None:
    """Measure the weights in FILE and make them the released ones of NAME at PRESET.

    What the weights before them measured is printed beside it: replace weights only by better ones.
    """
    with _sentences():
        from swaplib.workbook import releasing

        made = releasing.release(
            name, preset, file, pairs=pairs, size=size, notes=notes, datasets=data or (), runs=run or ()
        )
        for column, value in made.results.items():
            typer.echo(f"{column:<32} {value:>8} {f'was {made.before[column]}' if column in made.before else ''}")
        typer.echo(made.file)


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    results: Annotated[bool, typer.Option("--results", help="Only the systems' results, from their cards.")] = False,
) -> None:
    """List families, generators, judges and networks, with their parts and sizes."""
    with _sentences():
        if results:
            from swaplib.workbook import releasing

            typer.echo(releasing.results_markdown())
            return
        found = describe()
        if as_json:
            typer.echo(json.dumps(found, indent=1))
            return
        for name, facts in (found["families"] | found["generators"] | found["judges"]).items():
            sizes = ", ".join(f"{preset} {count:,}" for preset, count in facts["parameters"].items())
            released = facts["weights"]
            weights = f"{released['file']}, {released['bytes'] / 1e6:.1f} MB" if released else "none"
            parts = f"\n  parts       {', '.join(facts['parts'])}" if "parts" in facts else ""
            networks = ", ".join(f"{child} {count:,}" for child, count in facts["networks"].items()) or "none"
            typer.echo(f"{name}{parts}\n  parameters  {sizes}\n  paper's     {networks}\n  weights     {weights}")
        for name, count in found["networks"].items():
            typer.echo(f"network {name}: {count:,} parameters")


def describe() -> dict[str, Any]:
    """Return what `swaplib info` says.

    Of families, generators and judges: parameters by preset, at the paper's size also of each network in them; the
    released weights; a family's parts. Of networks by name, parameters at the paper's size: those that
    `Model.counted` names, all in a model that learn and that its use needs (no discriminators), and those that only
    published files fill.
    """
    import torch

    from swaplib import families, judges
    from swaplib.weights import published

    counted: dict[str, int] = {}

    def facts(learners: Any, name: str) -> dict[str, Any]:
        sizes = {preset: _size(learners.build(name, preset)) for preset in ("smoke", "demo")}
        with torch.device("meta"):  # the largest networks are only counted
            whole = learners.build(name, "paper")
        sizes["paper"] = _size(whole)
        networks = {child: _size(network) for child, network in whole.named_children()}
        counted.update({title: networks[child] for title, child in whole.counted.items()})
        if learned := _size(whole.for_inference(), trainable=True):
            counted[f"{name}_trainable"] = learned
        return {"parameters": sizes, "networks": networks, "weights": _released(learners, name)}

    kinds = {"families": families.ALL} | dict(zip(("judges", "generators"), families.ALL.below, strict=True))
    found = {kind: {name: facts(learners, name) for name in learners} for kind, learners in kinds.items()}
    for name, told in found["families"].items():
        told["parts"] = [part.name for part in families.build(name, "demo").parts]
    with torch.device("meta"):
        loaded = {
            **{f"{kind}_encoder": encoder(1024) for kind, encoder in published.ENCODERS.items()},
            "facevid2vid": published.FaceVid2Vid(),
            **{name: judges.PUBLISHED.build(name) for name in judges.PUBLISHED},
        }
    found["networks"] = counted | {name: _size(network) for name, network in loaded.items()}
    return found


def _size(network: Any, trainable: bool = False) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad or not trainable)


def _released(learners: Any, name: str) -> dict[str, Any] | None:
    """Describe the file of a model's demo weights; None where there is none."""
    from swaplib import weights

    file = weights.find_released(name, "demo")
    if not file.exists():
        return None
    size = weights.read_config(file, learners.kind(name)).size
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "resolution": size,
        "card": file.with_suffix(".md").name,
    }


@app.command("import")
def import_(
    file: Annotated[
        Path | None, typer.Argument(help="A published file, or the folder of Mask-Guided Portrait Editing's.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A folder; by default the first of SWAPLIB_WEIGHTS, else among your own data."
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List all published files that load here, and by which Python.")
    ] = False,
) -> None:
    """Make published weights loadable at the preset "official". Nothing in the file is executed."""
    if not listed and file is None:
        raise typer.BadParameter("name FILE, or say --list")
    with _sentences():
        if listed:
            from swaplib.weights import published

            typer.echo(published.official_text())
            return
        from swaplib.workbook import importing

        for made in importing.import_file(file, out):
            typer.echo(f"{made.name}: {made.parameters:,} parameters, preset official, {made.file}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open the notebooks in JupyterLab; its own options, such as --port 9000, are passed on."""
    from swaplib.workbook.runner import WorkbookError, root

    with _sentences(WorkbookError):
        if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in context.args:
            raise ValueError("JupyterLab doesn't run as root: use another account, or say swaplib lab --allow-root")
        # The checkout is its root, so that links from the notebooks to the figures lead there.
        where = [f"--ServerApp.root_dir={root()}", "--LabApp.default_url=/lab/tree/notebooks/00_start.ipynb"]
        os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *where, *context.args])


if __name__ == "__main__":
    app()

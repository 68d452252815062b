"""Swaps of files, saved with the synthetic mark: in a photograph, in a film, or in all that a folder holds.

    system = load_system("e4s", drive="landmarks")
    swap_file(system, "anna.jpg", "party.mp4", "swapped.mp4", face="largest")
    swap_folder(system, "anna.jpg", "holidays", "swapped")

`swaplib swap` is this on the command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from swaplib import families, figures, judges, latent, photos, video
from swaplib.families import Family
from swaplib.latent import reenactment
from swaplib.provenance import DigitalSource
from swaplib.video import files

_READ = (*figures.ENDINGS, ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".avif", ".heic", ".heif")
"""Endings of the photographs of a folder."""


def load_system(
    name: str,
    preset: str = "demo",
    device: str = "cpu",
    file: str | os.PathLike | None = None,
    *,
    parser: str | os.PathLike | None = None,
    drive: str | os.PathLike | None = None,
    stitch: bool = False,
) -> Family:
    """Load a family as `families.load` does, with the steps that are wanted around its swaps.

    parser: a published parser's file; it finds the regions in the place of ours, which is the one that knows
    photographs best (`judges.load_for_photographs`) beside the demo's families. drive: the reenactor that first gives
    the source the target's pose and expression, by name (`reenactment.load`), or FaceVid2Vid's file; None and
    "identity" leave the source as it is. stitch: as in `latent.Stitched`.
    Raises as they do, and ValueError for a parser of a family that looks at no regions.
    """
    family = families.load(name, preset, device=device, file=file)
    if parser is not None:
        if "parser" not in family.frozen:
            raise ValueError(f"{family.name} looks at no regions: leave the parser out")
        family.parser = judges.load_stand_in("parser", parser).to(device)
    elif preset in ("demo", "photo") and any(part.geometry == "labels" for part in family.parts):
        family.parser = judges.load_for_photographs("parser", device)
    if drive not in (None, "identity"):
        published = Path(drive).is_file()
        driver = reenactment.load("facevid2vid", drive, device) if published else reenactment.load(drive, device=device)
        family = latent.Driven(family, driver)
    return latent.Stitched(family) if stitch else family


def swap_file(
    family: Family,
    source: latent.Photo | Sequence[latent.Photo],
    target: str | os.PathLike,
    out: str | os.PathLike,
    face: latent.Who = "largest",
    others: Sequence[latent.Photo] = (),
    *,
    kind: photos.Kind | None = None,
    size: int | None = None,
    amounts: Mapping[str, float] | None = None,
    seed: int = 0,
    tune: int = 0,
    made: DigitalSource = "composite",
    text: str = "",
) -> list[str]:
    """Swap in a photograph or a film, and save the result; return notes on what was done.

    The arguments are `video.swap`'s, kind None the family's own alignment. Raises ValueError as that and
    `latent.swap_photographs` do, also for a swap that changes nothing, and for a photograph to tune on.
    """
    if files.is_video(target):
        return video.swap(
            family, source, target, out, kind or family.framing, size, face, others, amounts,
            seed=seed, tune=tune, made=made, text=text, strict=True,
        )  # fmt: skip
    if tune:
        raise ValueError(f"{target} is no film: leave tuning out")
    options = {"kind": kind, "size": size, "amounts": amounts, "strict": True}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(face, str) and face == "all":
            photo, notes = latent.swap_everyone(family, source, target, others, **options)
        else:
            photo, notes = latent.swap_photographs(family, source, target, target_face=face, **options)
    figures.save_picture(photo, out, made, text=text)
    return notes


class Report(NamedTuple):
    """What became of a folder's photographs and films: how many were swapped, were there before, and failed."""

    out: Path
    swapped: int
    before: int
    failed: int

    def tell(self) -> str:
        """Say it in words."""
        there = f"{self.before} were there already: delete those that are to be made again\n" if self.before else ""
        total = self.swapped + self.before + self.failed
        return f"{there}{self.swapped} of {total} swapped into {self.out}: marked as synthetic in their metadata"


def swap_folder(
    family: Family,
    source: latent.Photo | Sequence[latent.Photo],
    folder: str | os.PathLike,
    out: str | os.PathLike,
    face: latent.Who = "largest",
    others: Sequence[latent.Photo] = (),
    **options: Any,
) -> Report:
    """Swap in every photograph and film of a folder that has no result in the folder `out` yet.

    The other arguments are `swap_file`'s. What can't be used is told on stderr, and the rest is done. Raises ValueError
    for a folder that holds neither, and where `out` is a file.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder for the results of a folder")
    targets = _name_results(folder)
    if not targets:
        raise ValueError(f"{folder} holds no photograph or film: name a folder that does")
    wanted = {name: path for name, path in targets.items() if not (out / name).exists()}
    failed = 0
    for name, path in tqdm(wanted.items(), desc="swapping", unit="file"):
        try:
            swap_file(family, source, path, out / name, face, others, **options)
        except (ValueError, OSError) as error:
            failed += 1
            tqdm.write(f"swaplib: {path.name}: {' '.join(str(error).split())}", file=sys.stderr)
    return Report(out, len(wanted) - failed, len(targets) - len(wanted), failed)


def _name_results(folder: Path) -> dict[str, Path]:
    """Return a folder's photographs and films by the names of their results, no two of them alike."""
    names: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = path.suffix.lower()
        if not path.is_file():
            continue
        if files.is_video(path):
            ending = ".gif" if ending == ".gif" else ".mp4"
        elif ending not in _READ:
            continue
        elif ending not in figures.ENDINGS:
            ending = ".png"
        name = f"{path.stem}{ending}"
        names[f"{path.name}{ending}" if name in names else name] = path
    return names

"""Update what is committed from what a run has made, and only what changed.

A figure's files are replaced when its pixels changed, a table's when its numbers did. Measured times don't count: they
differ between any two runs. What stays keeps its manifest entry, with the commit and the versions that made it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from swaplib.figures.gallery import write_gallery
from swaplib.figures.saving import read_manifest, writing_manifest
from swaplib.foreign import read_table
from swaplib.photos.reading import open_image
from swaplib.provenance import replacing

WORDS = ("paper", "caption", "notebook")  # what the gallery says of an entry


def refresh(source: str | Path, target: str | Path, notebooks: Collection[str] | None = None) -> list[str]:
    """Update a folder of figures from another one; return the names of those whose files were replaced.

    notebooks: whose figures; None: all of them. Figures that the source lacks stay: long runs and studies made them.
    The gallery is updated too. Nothing is written where nothing changed.
    """
    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise ValueError(f"figures can't be renewed from their own folder {target}: let the run write into another one")
    fresh = {
        name: entry
        for name, entry in read_manifest(source).items()
        if notebooks is None or entry["notebook"] in notebooks
    }
    replaced = []
    with writing_manifest(target) as entries:
        for name, entry in fresh.items():
            old = entries.get(name)
            if old is not None and not has_changed(source, entry, target, old):
                entries[name] = old | {key: entry[key] for key in WORDS}
                continue
            for file in entry["files"]:
                with replacing(target / file) as temporary:
                    shutil.copyfile(source / file, temporary)
            for file in set(old["files"] if old else ()) - set(entry["files"]):
                (target / file).unlink(missing_ok=True)
            entries[name] = entry
            replaced.append(name)
    write_gallery(target)
    return replaced


def has_changed(source: Path, entry: dict, target: Path, old: dict) -> bool:
    """Return whether a figure's pixels or a table's numbers differ from the committed ones."""
    if entry["files"] != old["files"] or not all((target / file).exists() for file in old["files"]):
        return True
    paths = source / entry["files"][0], target / old["files"][0]
    if entry["kind"] == "table":
        first, second = (_read_numbers(path) for path in paths)
        return not first.equals(second)
    first, second = (_read_pixels(path) for path in paths)
    return not np.array_equal(first, second)


def _read_pixels(path: Path) -> np.ndarray:
    """Decode a picture to RGB."""
    with open_image(path, str(path)) as image:
        return np.asarray(image.convert("RGB"))


def _read_numbers(path: Path) -> pd.DataFrame:
    """Read a table as text, cell by cell, without its columns of measured times."""
    table = read_table(path, "run the notebooks again", dtype=str, keep_default_na=False)
    return table[[column for column in table.columns if not column.startswith("seconds")]]

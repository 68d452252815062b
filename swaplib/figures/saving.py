"""Figures, tables and pictures, saved with the story of how they came about."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure
from PIL import Image

from swaplib.figures.drawing import as_picture
from swaplib.provenance import (
    DigitalSource,
    checkout,
    commit,
    origin,
    png_text,
    replacing,
    sha256,
    software,
    versions,
    xmp_packet,
)

# ---------------------------------------------------------------------------------------------- the manifest


def folder() -> Path:
    """Where figures go: SWAPLIB_FIGURES, or figures/ in the checkout. Raises FileNotFoundError outside of one."""
    if chosen := os.environ.get("SWAPLIB_FIGURES"):
        return Path(chosen)
    root = checkout()
    if root is None:
        raise FileNotFoundError("swaplib does not run from a checkout: set SWAPLIB_FIGURES to a folder for the figures")
    return root / "figures"


def _entry(name: str, kind: str, paper: str | None, caption: str | None, checkpoints, provenance: dict) -> dict:
    """The manifest's entry for one figure or table, without its list of files."""
    where = origin()
    parameters = where["parameters"] | {key: value for key, value in provenance.items() if key != "seed"}
    return {
        "kind": kind,
        "paper": paper,
        "caption": caption,
        "notebook": where["notebook"],
        "parameters": parameters,
        "seed": provenance.get("seed", parameters.get("seed")),
        "commit": commit(),
        "checkpoints": {Path(path).name: sha256(path) for path in checkpoints},
        "versions": versions(),
    }


def manifest() -> dict[str, dict]:
    """The entries of figures/manifest.json by name; empty where nothing was saved yet."""
    path = folder() / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@contextmanager
def writing_manifest():
    """The manifest's entries, to be changed in place; several processes may do so at once."""
    root = folder()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".manifest.lock"):
        entries = manifest()
        yield entries
        with replacing(root / "manifest.json") as temporary:
            text = json.dumps(dict(sorted(entries.items())), indent=1, ensure_ascii=False, default=str)
            temporary.write_text(text + "\n", encoding="utf-8")


def _record(name: str, entry: dict, files: Sequence[Path]) -> None:
    """Enter one figure into the manifest."""
    with writing_manifest() as entries:
        entries[name] = {"files": [path.relative_to(folder()).as_posix() for path in files]} | entry


def _base(name: str) -> Path:
    """The path of a figure, without its ending."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or Path(name).suffix:
        raise ValueError(f"{name!r} is no name for a figure: write folder/name, without an ending")
    return folder().joinpath(*parts)


# ---------------------------------------------------------------------------------------------- saving


def save(
    figure: Figure,
    name: str,
    paper: str | None = None,
    caption: str | None = None,
    checkpoints: Sequence[str | Path] = (),
    source: DigitalSource = "rendered",
    **provenance: Any,
) -> Path:
    """Save a figure as PNG, and as PDF where nothing in it is a raster image; returns the PNG's path.

    name: "folder/name" below `folder()`. paper: the figure or table of a paper that it regenerates, such as
    "RSGAN Fig. 3". checkpoints: weight files whose hashes belong to the story. provenance: seed, preset, ...
    Files are written under a temporary name first, so that an interrupted run leaves the old ones whole.
    """
    base = _base(name)
    base.parent.mkdir(parents=True, exist_ok=True)
    entry = _entry(name, "figure", paper, caption, checkpoints, provenance)
    story = json.dumps({"name": name, **entry}, ensure_ascii=False, default=str)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor="white", metadata={"Software": None})
    files = [base.with_name(base.name + ".png")]
    with replacing(files[0]) as temporary, Image.open(buffer) as image:
        text = f"Figure with synthetic faces. {caption or name}"
        image.convert("RGB").save(temporary, optimize=True, pnginfo=png_text(source, text, Provenance=story))
    if not any(ax.images for ax in figure.axes):
        files.append(base.with_name(base.name + ".pdf"))
        facts = {"Title": name, "Creator": software(), "Keywords": story, "CreationDate": None, "ModDate": None}
        with replacing(files[1]) as temporary:
            figure.savefig(temporary, format="pdf", bbox_inches="tight", metadata=facts)
    _record(name, entry, files)
    return files[0]


def save_table(
    frame: pd.DataFrame,
    name: str,
    paper: str | None = None,
    caption: str | None = None,
    markdown: str | None = None,
    checkpoints: Sequence[str | Path] = (),
    **provenance: Any,
) -> Path:
    """Save a table as CSV (all digits) and as Markdown beside it (to read); returns the CSV's path.

    markdown: the readable form, where the caller has a better one than `markdown_table`.
    """
    base = _base(name)
    entry = _entry(name, "table", paper, caption, checkpoints, provenance)
    files = [base.with_name(base.name + ".csv"), base.with_name(base.name + ".md")]
    named = frame.index.name is not None or not isinstance(frame.index, pd.RangeIndex)
    with replacing(files[0]) as temporary:
        frame.to_csv(temporary, index=named)
    with replacing(files[1]) as temporary:
        temporary.write_text((markdown or markdown_table(frame)).rstrip() + "\n", encoding="utf-8")
    _record(name, entry, files)
    return files[0]


def markdown_table(frame: pd.DataFrame) -> str:
    """A data frame as a Markdown table; numbers with four digits that count, a dash for a missing one."""
    if frame.index.name is not None or not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()

    def cell(value: Any) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return "–"
        return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value).replace("|", "\\|")

    head = [str(name) for name in frame.columns]
    rule = ["---:" if pd.api.types.is_numeric_dtype(kind) else ":---" for kind in frame.dtypes]
    body = [[cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))


def save_picture(image: Any, path: str | Path, source: DigitalSource = "composite", text: str = "") -> Path:
    """Save one picture as PNG, JPEG or WebP, by the path's ending; its metadata says that it is synthetic.

    image: (3, H, W) in [-1, 1], or uint8 RGB (H, W, 3). source: how it came about, IPTC's digital source type.
    Raises ValueError for another ending.
    """
    path = Path(path)
    array = as_picture(image)
    if array.ndim != 3:
        raise ValueError("a picture to be saved needs three colours, not a mask")
    note = " ".join(
        part for part in ("Synthetic picture made by face swapping or rendering with swaplib.", text) if part
    )
    packet = xmp_packet(source, note)
    options = {
        ".png": {"format": "PNG", "pnginfo": png_text(source, note)},
        ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0, "xmp": packet.encode()},
        ".webp": {"format": "WEBP", "quality": 95, "xmp": packet.encode()},
    }
    options[".jpeg"] = options[".jpg"]
    if path.suffix.lower() not in options:
        raise ValueError(f"{path}: pictures are saved as {', '.join(sorted(options))}; choose one of these endings")
    with replacing(path) as temporary:
        Image.fromarray(array).save(temporary, **options[path.suffix.lower()])
    return path

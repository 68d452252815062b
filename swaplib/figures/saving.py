"""Figures, tables and pictures, saved with a record of how they were made.

A run writes into its own folder below build/. What it didn't make is read from the checkout's figures/, which
`refreshing` updates. The commit and the versions are in the manifest alone, so that the same figure is the same file.
"""

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
from PIL import Image, UnidentifiedImageError

from swaplib import weights
from swaplib.figures.drawing import as_picture
from swaplib.foreign import check_fields, damaged, parse_json, read_json
from swaplib.photos import load
from swaplib.photos.reading import PhotoError, open_image
from swaplib.provenance import (
    DigitalSource,
    as_cell,
    checkout,
    commit,
    origin,
    png_text,
    replacing,
    sha256,
    software,
    versions,
    write_text,
    xmp_packet,
)

JPEG_QUALITY = 90
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""What `save_picture` writes."""

# ---------------------------------------------------------------------------------------------- the manifest


def folder() -> Path:
    """Return where figures go: SWAPLIB_FIGURES, or build/figures in the checkout.

    Raises FileNotFoundError outside a checkout.
    """
    if chosen := os.environ.get("SWAPLIB_FIGURES"):
        return Path(chosen)
    root = checkout()
    if root is None:
        raise FileNotFoundError("swaplib does not run from a checkout: set SWAPLIB_FIGURES to a folder for the figures")
    return root / "build" / "figures"


def committed() -> Path | None:
    """Return the checkout's figures/, which runs read and `refresh` updates; None outside a checkout."""
    root = checkout()
    return root / "figures" if root else None


def layers() -> list[Path]:
    """List the folders that are read: the run's own, then the committed one."""
    second = committed()
    return [folder()] if second is None or second.resolve() == folder().resolve() else [folder(), second]


def _entry(name: str, kind: str, paper: str | None, caption: str | None, checkpoints, provenance: dict) -> dict:
    """Make the manifest's entry for one figure or table, without its list of files."""
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


def read_manifest(root: Path) -> dict[str, dict]:
    """Read the entries of one folder's manifest.json by name; empty where nothing was saved yet.

    Raises ValueError for a damaged one.
    """
    return read_entries(root / "manifest.json")


def read_entries(path: Path) -> dict[str, dict]:
    """Read a JSON file of entries by name that runs have written; empty where there is none.

    Raises ValueError for a damaged one.
    """
    if not path.exists():
        return {}
    remedy = "delete it and run the notebooks again"
    found = read_json(path, "a list of entries", remedy)
    return {name: check_fields(entry, {}, path, remedy) for name, entry in found.items()}


def manifest() -> dict[str, dict]:
    """Return the entries of all figures and tables by name: the run's own, otherwise the committed ones."""
    entries: dict[str, dict] = {}
    for root in reversed(layers()):
        entries |= read_manifest(root)
    return dict(sorted(entries.items()))


def find(name: str) -> Path:
    """Return the picture of a figure, or the CSV of a table, from the first folder that has it.

    Raises FileNotFoundError for one that was never saved.
    """
    for root in layers():
        entry = read_manifest(root).get(name)
        if entry and (root / entry["files"][0]).exists():
            return root / entry["files"][0]
    raise FileNotFoundError(f"no figure or table {name!r}: run the notebook that makes it")


@contextmanager
def writing_manifest(root: Path | None = None):
    """Yield the manifest's entries, to be changed in place; several processes may do so at once."""
    root = root or folder()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".manifest.lock"):
        entries = read_manifest(root)
        yield entries
        text = json.dumps(dict(sorted(entries.items())), indent=1, ensure_ascii=False, default=str)
        write_text(root / "manifest.json", text + "\n")


def _record(name: str, entry: dict, files: Sequence[Path]) -> None:
    """Enter one figure into the manifest."""
    with writing_manifest() as entries:
        entries[name] = {"files": [path.relative_to(folder()).as_posix() for path in files]} | entry


def _base(name: str) -> Path:
    """Return the path of a figure without its extension."""
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
    """Save a figure: as JPEG where it shows raster images, otherwise as PNG and PDF; return the first file's path.

    name: "folder/name" below `folder()`. paper: the figure or table of a paper that it regenerates, such as
    "RSGAN Fig. 3". checkpoints: weight files whose hashes are recorded. provenance: seed, preset, ...
    Files are written under a temporary name first, so that an interrupted run leaves the old ones intact.
    """
    base = _base(name)
    base.parent.mkdir(parents=True, exist_ok=True)
    entry = _entry(name, "figure", paper, caption, checkpoints, provenance)
    story = json.dumps({"name": name, **tell_story(entry)}, ensure_ascii=False, default=str)
    text = f"Figure with synthetic faces. {caption or name}"
    buffer = BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor="white", metadata={"Software": None})
    raster = any(ax.images for ax in figure.axes)
    files = [base.with_name(base.name + (".jpg" if raster else ".png"))]
    with replacing(files[0]) as temporary, Image.open(buffer) as image:
        write_raster(image.convert("RGB"), temporary, source, text, story)
    if not raster:
        files.append(base.with_name(base.name + ".pdf"))
        facts = {"Title": name, "Creator": software(), "Keywords": story, "CreationDate": None, "ModDate": None}
        with replacing(files[1]) as temporary:
            figure.savefig(temporary, format="pdf", bbox_inches="tight", metadata=facts)
    for other in {".jpg", ".png", ".pdf"} - {path.suffix for path in files}:
        base.with_name(base.name + other).unlink(missing_ok=True)  # of an earlier run that drew it differently
    _record(name, entry, files)
    return files[0]


def tell_story(entry: dict) -> dict:
    """Return what a file records about itself: its entry without what may change while the figure doesn't."""
    return {key: value for key, value in entry.items() if key not in ("files", "commit", "versions")}


def write_raster(image: Image.Image, path: Path, source: DigitalSource, text: str, story: str) -> None:
    """Write the pixels of a figure by the path's extension, with the synthetic mark and its record (JSON).

    A chart as PNG takes 256 colours: a third of the bytes, and almost all of its pixels unchanged; its PDF is exact.
    """
    if path.suffix == ".jpg":
        packet = xmp_packet(source, text).encode()
        options = {"quality": JPEG_QUALITY, "subsampling": 0, "optimize": True, "progressive": True}
        image.save(path, format="JPEG", xmp=packet, comment=story.encode(), **options)
    else:
        few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE, kmeans=1)
        few.save(path, format="PNG", optimize=True, pnginfo=png_text(source, text, Provenance=story))


def read_story(path: str | Path) -> dict[str, Any]:
    """Read what a saved figure records about itself: name, notebook, parameters, seed, checkpoint hashes.

    Raises ValueError for a picture without a record.
    """
    try:
        with open_image(path, str(path)) as image:
            story = image.info.get("comment") or getattr(image, "text", {}).get("Provenance")
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no picture: give a figure that figures.save wrote") from None
    except Exception as error:  # damaged files make Pillow's decoders raise a dozen kinds of exception
        raise damaged(path, error, "get a whole copy of it") from error
    try:
        return parse_json(story)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no provenance: give a figure that figures.save wrote") from error


def save_table(
    frame: pd.DataFrame,
    name: str,
    paper: str | None = None,
    caption: str | None = None,
    markdown: str | None = None,
    checkpoints: Sequence[str | Path] = (),
    **provenance: Any,
) -> Path:
    """Save a table as CSV (all digits) and as Markdown beside it (to read); return the CSV's path.

    markdown: the readable form, where the caller has a better one than `markdown_table`. checkpoints: as for `save`;
    weights that the process has loaded are recorded in any case, as they may have taken part.
    """
    base = _base(name)
    checkpoints = [*checkpoints, *weights.list_loaded()]
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
    """Write a data frame as a Markdown table; numbers with four significant digits, a dash for a missing one."""
    if frame.index.name is not None or not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()

    def cell(value: Any) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return "–"
        return f"{value:.4g}" if isinstance(value, (float, np.floating)) else as_cell(value)

    head = [as_cell(name) for name in frame.columns]
    rule = ["---:" if pd.api.types.is_numeric_dtype(kind) else ":---" for kind in frame.dtypes]
    body = [[cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))


def save_picture(image: Any, path: str | Path, source: DigitalSource = "composite", text: str = "") -> Path:
    """Save one picture as PNG, JPEG or WebP, by the path's extension; its metadata says that it is synthetic.

    image: (3, H, W) in [-1, 1], or uint8 RGB (H, W, 3), or RGBA, which JPEG lays on white. source: how it was made,
    IPTC's digital source type. Raises ValueError for another extension.
    """
    path = Path(path)
    alpha = image[..., 3] if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 4 else None
    array = as_picture(image if alpha is None else image[..., :3])
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
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path}: pictures are saved as {', '.join(ENDINGS)}; choose one of these endings")
    if alpha is not None:
        is_jpeg = options[path.suffix.lower()]["format"] == "JPEG"
        array = load(np.dstack([array, alpha])) if is_jpeg else np.dstack([array, alpha])
    with replacing(path) as temporary:
        Image.fromarray(array).save(temporary, **options[path.suffix.lower()])
    return path

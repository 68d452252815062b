"""From a folder of photographs to a prepared data set: found, aligned, labelled, in parallel and resumably."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from joblib import delayed
from tqdm.auto import tqdm

from swaplib import photos
from swaplib.data import writer
from swaplib.data.layouts import LICENCES, Entry, Layout, read_labels, recognise
from swaplib.photos import PhotoError
from swaplib.provenance import Hold, sha256

# ---------------------------------------------------------------------------------------------- photographs


@dataclass(frozen=True)
class Report:
    """What `prepare` did: `faces` in the data set, `done` of them in this run, and why pictures were skipped."""

    folder: Path
    found: str
    faces: int
    done: int
    skipped: pd.DataFrame
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.found} -> {self.faces:,} faces in {self.folder}"]
        if self.done:
            lines.append(f"{self.done:,} made in {self.seconds:.0f} s ({self.done / self.seconds:.1f} a second)")
        if len(self.skipped):
            causes = ", ".join(f"{count:,} {cause}" for cause, count in self.skipped["cause"].value_counts().items())
            lines.append(f"{len(self.skipped):,} skipped: {causes}; the reasons are in {self.folder / 'skipped.csv'}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Job:
    """What is the same for all pictures of a run."""

    folder: Path
    out: Path
    kind: photos.Kind
    size: int | tuple[int, int] | None
    smallest: float
    labels: str
    licence: str
    validation: float
    parser: photos.Parser | None


def prepare(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    layout: str = "auto",
    kind: photos.Kind = "portrait",
    size: int | tuple[int, int] | None = 256,
    jobs: int = 2,
    *,
    backend: str | None = None,
    labels: bool = True,
    label_order: str | None = None,
    face: Literal["largest", "central"] | None = None,
    smallest: float = 32,
    validation: float = 0.1,
    licence: str | None = None,
    picture: Literal["png", "jpg"] = "png",
    limit: int | None = None,
    parser: photos.Parser | None = None,
    progress: bool = True,
) -> Report:
    """Find, align and save the faces of a folder of pictures; run it again to go on after a stop.

    layout      celeba, celebamask_hq, ffhq, vggface2, helen, lfw, plain; auto recognises it and reports it
    kind, size  as in `photos.alignment`; "as_is" keeps pictures that are already aligned
    backend     joblib's, "dask" for a cluster; None: the one of `joblib.parallel_config`, or processes
    labels      warp existing label maps along with the pictures; label_order as in `layouts.recognise`
    face        which of several faces is taken; None leaves it to the layout
    smallest    least width of a face, pixels
    validation  the share of people that goes to the split "val" where the layout has no splits
    licence     in place of the layout's
    picture     "png" (lossless) or "jpg"
    limit       only the first `limit` pictures
    parser      makes the label maps of pictures that come without: `Parser.parse` of a judge

    A finished set may be prepared again: new and changed pictures are added, skipped ones tried again. The result
    depends neither on `jobs` nor on stops. Pictures that can't be used are listed in skipped.csv, each with its reason.
    Raises FileNotFoundError, NotADirectoryError or ValueError for folders that don't fit, OSError if writing fails.
    """
    began = time.perf_counter()
    folder, out = Path(folder), Path(out)
    if picture not in ("png", "jpg"):
        raise ValueError(f"picture must be 'png' or 'jpg', got {picture!r}")
    shape = photos.canvas(kind, size)
    found = recognise(folder, layout, label_order)
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise ValueError(f"{out} lies in the folder of the pictures, {folder}: choose one outside")
    terms = LICENCES[found.name] if licence is None else licence
    # Folders of one name are not one folder; what stands in the card doesn't tell where they lie.
    place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    settings = {
        "source": f"{_readable(folder.resolve().name)} ({place})",
        "layout": found.name,
        "kind": kind,
        "size": list(shape),
    }
    settings |= {"labels": found.labels if labels else "", "face": face, "smallest": smallest}
    settings |= {"validation": validation, "licence": terms, "picture": picture}
    settings |= {"parsed": True} if parser else {}
    card = make_card("data.prepare", f"{found}, aligned as {kind}", shape, settings)
    job = _Job(folder, out, kind, size, smallest, settings["labels"], terms, validation, parser)
    with Hold(out):
        writer.start(out, card)
        entries = [replace(entry, face=face) if face else entry for entry in found.entries[:limit]]
        before = _work(job, found, entries, picture, jobs, backend, progress)
        rows, skipped = _known(job)
        table = pd.DataFrame([skipped[name] for name in sorted(skipped)], columns=["source", "cause", "reason"])
        writer.finish(out, card, rows.values(), table)
    return Report(out, str(found), len(rows), len(rows) - before, table, time.perf_counter() - began)


def make_card(made_by: str, what: str, shape: tuple[int, int], settings: dict[str, Any]) -> dict[str, Any]:
    versions = {"swaplib": version("swaplib"), "labels": "CelebAMask-HQ, 19 classes"}
    return {"made_by": made_by, "what": what, "size": list(shape), "settings": settings, **versions}


def _work(
    job: _Job, found: Layout, entries: list[Entry], picture: str, jobs: int, backend: str | None, progress: bool
) -> int:
    """Prepare the entries that are not done; return the number of faces that existed before."""
    rows, skipped = _known(job)
    names = _names(found, picture)
    entries = [entry for entry in entries if _is_readable(job, entry.source)]
    todo = [entry for entry in entries if entry.source not in rows and entry.source not in skipped]
    if progress:
        resumed = f"; {len(entries) - len(todo):,} were done before" if len(todo) < len(entries) else ""
        tqdm.write(f"{found}{resumed}")
    bar = tqdm(total=len(entries), initial=len(entries) - len(todo), unit="picture", disable=not progress)
    writer.run(job.out, (delayed(_prepare_one)(job, entry, names[entry.source]) for entry in todo), jobs, backend, bar)
    return len(rows)


def _readable(name: str) -> str:
    """Return a file's name as text; bytes of another encoding than the file system's are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_readable(job: _Job, source: str) -> bool:
    """Return whether a name is text, which tables can hold; record one that is not as skipped."""
    shown = _readable(source)
    if shown == source:
        return True
    reason = f"{shown} is no name in UTF-8: rename it"
    record = {"source": shown, "cause": "name", "reason": reason}
    writer.write_record(job.out, hashlib.sha256(os.fsencode(source)).hexdigest()[:32], record)
    return False


def _hash(path: Path) -> str:
    return sha256(path)[:32]


def _known(job: _Job) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return, by source, the rows of pictures that are done and unchanged, and the records of those skipped so far."""

    def current(row: dict[str, Any]) -> bool:
        try:
            path = job.folder / row["source"]
            same = path.stat().st_size == row["source_bytes"] and _hash(path) == row.get("source_sha256")
        except FileNotFoundError:
            same = True  # what was prepared stays, even if its photo is gone
        return same and all((job.out / row[name]).exists() for name in ("file", "labels") if row[name])

    records = writer.read_records(job.out)
    done = [*writer.read_rows(job.out), *(record for record in records if "file" in record)]
    rows = {row["source"]: row for row in done if current(row)}
    return rows, {one["source"]: one for one in records if "reason" in one and one["source"] not in rows}


def _names(found: Layout, picture: str) -> dict[str, str]:
    """Return each source's picture name, below images/: its own path with the new suffix.

    The old suffix is kept as well where two names differ in nothing else.
    """
    short = {entry.source: entry.source.removeprefix(f"{found.base}/").rpartition(".")[0] for entry in found.entries}
    short = {source: name or source.removeprefix(f"{found.base}/") for source, name in short.items()}
    count = Counter(name.casefold() for name in short.values())
    full = {source: source.removeprefix(f"{found.base}/") for source in short}
    return {
        source: f"{name if count[name.casefold()] == 1 else full[source]}.{picture}" for source, name in short.items()
    }


def _prepare_one(job: _Job, entry: Entry, name: str) -> int:
    try:
        image, labels, row = _align_one(job, entry)
    except PhotoError as error:
        reason = str(error).replace(f"{job.folder}{os.sep}", "")
        record = {"source": entry.source, "cause": error.cause, "reason": reason}
    except (ArithmeticError, RuntimeError, ValueError, MemoryError) as error:  # one odd picture must not end the run
        reason = f"{entry.source} made {type(error).__name__} ({error}): look at the picture, or report it"
        record = {"source": entry.source, "cause": "unexpected", "reason": reason}
    else:
        writer.write_picture(job.out, f"images/{name}", image)
        record = {"file": f"images/{name}", "labels": None, **row}
        if labels is None and job.parser is not None:
            labels = photos.parse(image, np.reshape(row["landmarks"], (68, 2)), job.parser)
        if labels is not None:
            record["labels"] = f"labels/{name.rpartition('.')[0]}.png"
            writer.write_picture(job.out, record["labels"], labels)
    writer.write_record(job.out, hashlib.sha256(entry.source.encode()).hexdigest()[:32], record)
    return 1


def _align_one(job: _Job, entry: Entry) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    path = job.folder / entry.source
    if entry.landmarks is None:
        photo, face, notes = photos.find(path, entry.face, job.smallest)
        landmarks = face.landmarks
    else:
        (photo, notes), landmarks = photos.read(path), np.array(entry.landmarks, float)
    shape = photos.canvas(job.kind, job.size)
    matrix = photos.alignment(landmarks, job.kind, job.size, photo.shape)
    labels = None
    if job.labels:
        values = read_labels(job.folder, entry, job.labels)
        labels = photos.warp_labels(values, matrix @ photos.resizing(values.shape, photo.shape), shape)
    licence = job.licence if entry.licence is None else entry.licence
    row = {
        "source": entry.source,
        "subject": entry.subject,
        "split": entry.split or split_of(entry.subject or entry.source, job.validation),
        "landmarks": photos.move(landmarks, matrix).astype(np.float32).ravel().tolist(),
        "attributes": None if entry.attributes is None else list(entry.attributes),
        "licence": licence,
        "note": "; ".join(notes),
        "matrix": matrix.ravel().tolist(),
        "source_bytes": path.stat().st_size,
        "source_sha256": _hash(path),
    }
    return photos.warp_photo(photo, matrix, shape), labels, row


def split_of(name: str, validation: float) -> str:
    """Choose "train" or "val" by the person's (or picture's) name alone, so that nobody is in both."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "val" if share < validation else "train"

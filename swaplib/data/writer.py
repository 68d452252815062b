"""Writing a prepared data set: whole files only, and a record for each finished picture.

Every file is written under another name in `.unfinished/` and then renamed. A run killed at any moment leaves no
half-written file, and the next one reads the records there and goes on where it stopped.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from PIL import Image
from pyarrow import parquet
from tqdm.auto import tqdm

from swaplib.foreign import TABLE_BYTES, check_file, damaged, parse_json, read_json, read_text

WORK = ".unfinished"
_ROWS = 20_000_000
_COLUMNS = (
    "file", "labels", "source", "subject", "split", "landmarks", "attributes", "licence", "note", "matrix",
    "source_bytes", "source_sha256",
)  # fmt: skip


def read_card(folder: Path) -> dict[str, Any] | None:
    """Read the set's card.json; None if there is none. Raises ValueError for a damaged one."""
    path = folder / "card.json"
    if not path.exists():
        return None
    fields = {"made_by": str, "size": list, "settings": dict}
    return read_json(path, "a card", "prepare the data set again in an empty folder", fields)


def write(out: Path, name: str, save: Callable[[Path], Any]) -> None:
    """Let `save` write a file under a temporary name in the same file system; rename it once it is whole."""
    temporary = out / WORK / f"{uuid.uuid4().hex}{Path(name).suffix}"
    save(temporary)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, out / name)


def write_picture(out: Path, name: str, array: np.ndarray) -> None:
    """Write a uint8 picture (H, W, 3) or (H, W) as PNG or JPEG, by the name's suffix."""
    # PNG at its fastest level: a little larger, several times as fast.
    options = {"quality": 95, "subsampling": 0} if name.endswith(".jpg") else {"compress_level": 1}
    write(out, name, lambda path: Image.fromarray(array).save(path, **options))


def write_record(out: Path, name: str, content: Any) -> None:
    """Record a finished piece of work; its pictures must have been written before."""
    text = json.dumps(content, ensure_ascii=False)
    write(out, f"{WORK}/records/{name}.json", lambda path: path.write_text(text, encoding="utf-8"))


def read_records(out: Path) -> list[Any]:
    """Read what `write_record` wrote; numbers may be NaN, where they are not known."""
    records, remedy = [], "delete it, and run the same again"
    for path in sorted((out / WORK / "records").glob("*.json")):
        text = read_text(path, "a record", remedy)
        try:
            records.append(parse_json(text, finite=False))
        except ValueError as error:
            raise damaged(path, error, remedy) from error
    return records


def read_metadata(path: Path) -> pd.DataFrame:
    """Read a set's table. Raises ValueError for one that is damaged, or of more rows than a set has."""
    remedy = "prepare the data set again"
    path = check_file(path, "a table", TABLE_BYTES)
    try:
        rows = parquet.read_metadata(path).num_rows
        table = pd.read_parquet(path) if rows <= _ROWS else None
    except Exception as error:  # pyarrow raises a dozen kinds of exception for a damaged file
        raise damaged(path, error, remedy) from error
    if table is None:
        raise damaged(path, f"it says that it has {rows:,} rows", remedy)
    return table


def read_rows(out: Path) -> list[dict[str, Any]]:
    """Read the metadata of a finished set, None for unknown values; an empty list if there is none yet."""
    path = out / "metadata.parquet"
    if not path.exists():
        return []
    table = read_metadata(path).astype(object)
    return table.where(table.notna(), None).to_dict("records")


def start(out: Path, card: dict[str, Any]) -> None:
    """Prepare the folder; raise ValueError if it holds something else, or a set made with other settings."""
    old = read_card(out)
    if old is None and out.exists() and (not out.is_dir() or any(path.name != WORK for path in out.iterdir())):
        raise ValueError(f"{out} exists and is no prepared data set: choose an empty or a new folder")
    begun = (out / "metadata.parquet").exists() or any((out / WORK / "records").glob("*.json"))
    if old is not None and begun:
        new, before = (_words({"made_by": c["made_by"], **c["settings"]}) for c in (json.loads(json.dumps(card)), old))
        if new != before:
            raise ValueError(f"{out} was made with {before}, not with {new}: choose another folder")
    (out / WORK / "records").mkdir(parents=True, exist_ok=True)
    if not begun:
        _write_card(out, {**card, "complete": False})


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def _write_card(out: Path, card: dict[str, Any]) -> None:
    text = json.dumps(card, ensure_ascii=False, indent=1) + "\n"
    write(out, "card.json", lambda path: path.write_text(text, encoding="utf-8"))


def run(out: Path, tasks: Iterable[Any], jobs: int, backend: str | None, bar: tqdm) -> None:
    """Run joblib's delayed tasks; each returns how many pictures it finished.

    SIGTERM ends the worker processes, too, as Ctrl-C does. Raises OSError where the disk is full, or a worker is gone.
    """
    # `Parallel` alone doesn't know joblib's external backends, such as dask.
    chosen = nullcontext() if backend is None else parallel_config(backend)
    try:
        with bar, chosen, _terminated_as_interrupted():
            results = Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
            try:
                for done in results:
                    bar.update(done)
            except KeyboardInterrupt:
                get_reusable_executor().shutdown(kill_workers=True)
                raise
    except TerminatedWorkerError as error:
        raise OSError(
            f"a worker process was killed, perhaps for lack of memory: run it again with fewer jobs; what is done in "
            f"{out} is kept"
        ) from error
    except OSError as error:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise OSError(
            error.errno, f"could not write to {out} ({why}): make room, then run it again; what is done is kept"
        ) from error


@contextmanager
def connect(scheduler: str, timeout: float = 10) -> Iterator[None]:
    """Let joblib's backend "dask" use the workers of a cluster, within the context.

    scheduler: its address, such as tcp://host:8786. Workers need this package and the same folders under the same
    names. Raises ImportError without dask, and OSError where nobody answers within `timeout` seconds.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a cluster needs dask: install it by pip install 'swaplib[cluster]'") from error
    try:
        client = Client(scheduler, timeout=timeout, set_as_default=True)
    except (OSError, ValueError, TypeError) as error:
        raise OSError(
            f"no dask scheduler answers at {scheduler}: start one (dask scheduler) and workers (dask worker ADDRESS)"
        ) from error
    with client:
        yield


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, in the main thread; other threads can't be asked to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _hash_pictures(out: Path, table: pd.DataFrame) -> str:
    """Return the SHA-256 of all pictures and label maps in the table's order: equal for the same set elsewhere."""
    digest = hashlib.sha256()
    for file in table[["file", "labels"]].stack().dropna():
        digest.update((out / file).read_bytes())
    return digest.hexdigest()


def finish(out: Path, card: dict[str, Any], rows: Iterable[dict[str, Any]], skipped: pd.DataFrame) -> None:
    """Write the tables and the card, then drop the records."""
    rows = sorted(rows, key=lambda row: row["source"])
    names = [*_COLUMNS, *sorted({name for row in rows for name in row} - set(_COLUMNS))]
    table = pd.DataFrame([[row.get(name) for name in names] for row in rows], columns=names)
    for name in names:
        if name in ("landmarks", "attributes") or name.startswith("factor_"):
            table[name] = [None if value is None else np.asarray(value, np.float32) for value in table[name]]
    write(out, "metadata.parquet", lambda path: table.to_parquet(path, index=False))
    write(out, "skipped.csv", lambda path: skipped.to_csv(path, index=False))
    counts = {
        "faces": len(table),
        "labelled": int(table["labels"].notna().sum()),
        "subjects": len(set(table["subject"]) - {""}),
        "splits": {str(name): int(count) for name, count in table["split"].value_counts().sort_index().items()},
        "skipped": len(skipped),
        "sha256": _hash_pictures(out, table),
    }
    _write_card(out, {**card, **counts, "complete": True})
    shutil.rmtree(out / WORK, ignore_errors=True)

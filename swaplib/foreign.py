"""Files from elsewhere: what every reader asks of one before it looks into it, and the readers of plain formats.

Each other kind has a reader of its own, which begins with `check_file` or does the same for its kind:

    weights      weights.files: torch files and safetensors; weights.unpickling; weights.released: cards
    pictures     photos.reading.open_image
    films        video.files
    data sets    data.writer: cards and tables; data.layouts: what published ones come with

All raise FileNotFoundError, OSError or ValueError with one sentence: the file, what is wrong with it, and the remedy.
"""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TEXT_BYTES = 64 << 20
TABLE_BYTES = 1 << 30
"""Larger files are refused: decoded, they take a multiple of that."""
_WEB = (b"<!doctype html", b"<html", b"<?xml")


class EmptyFileError(ValueError):
    """A file of no bytes."""


def check_file(path: str | os.PathLike, what: str, most: int | None = None) -> Path:
    """Return the path of a plain file that can be read and is neither empty nor a web page.

    what: what it should hold, such as "a table". most: its bytes at most. Raises FileNotFoundError, and OSError or
    ValueError for anything else that is no such file.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{path} is a folder, and {what} is a file: name that")
        if not stat.S_ISREG(status.st_mode):  # a pipe, say, would be waited for without end
            raise ValueError(f"{path} is a pipe or a device, not {what}: name a plain file")
        with path.open("rb") as file:
            begin = file.read(512)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}: check the path") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(f"{path} can't be read ({error.strerror}): check its permissions, or copy it again") from error
    if not begin:
        raise EmptyFileError(f"{path} is empty (0 bytes): get a whole copy of it")
    if begin.lstrip().lower().startswith(_WEB):  # servers like to send one instead of a file
        raise ValueError(
            f"{path} is a web page, not {what}: open its address in a browser, where large files want to be confirmed, "
            "and save the file itself"
        )
    if most is not None and status.st_size > most:
        raise ValueError(f"{path} has {status.st_size:,} bytes, and {what} has at most {most:,}: choose another file")
    return path


def damaged(path: str | os.PathLike, reason: object, remedy: str) -> ValueError:
    """Return the error of a file that doesn't hold what it should."""
    words = " ".join(str(reason).split())
    return ValueError(f"{path} is damaged ({words[:160]}): {remedy}")


# ---------------------------------------------------------------------------------------------- plain formats


def read_text(path: str | os.PathLike, what: str, remedy: str, most: int = TEXT_BYTES) -> str:
    """Read a file of text in UTF-8."""
    path = check_file(path, what, most)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"byte {error.start} is no text in UTF-8", remedy) from error


def parse_json(text: str, finite: bool = True) -> Any:
    """Parse JSON; finite: of finite numbers alone. Raises ValueError, for values nested too deeply, too."""

    def refuse(constant: str) -> None:
        raise ValueError(f"it holds {constant}, which is no number")

    try:
        return json.loads(text, parse_constant=refuse if finite else None)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def read_json(
    path: str | os.PathLike,
    what: str,
    remedy: str,
    fields: Mapping[str, type | tuple[type, ...]] | None = None,
    most: int = TEXT_BYTES,
) -> dict[str, Any]:
    """Read a file that holds one JSON object; fields: that it must have, each with its type."""
    text = read_text(path, what, remedy, most)
    try:
        found = parse_json(text)
    except ValueError as error:
        raise damaged(path, error, remedy) from error
    return check_fields(found, fields or {}, path, remedy)


def read_yaml(path: str | os.PathLike, what: str, remedy: str) -> Any:
    """Read a file of YAML that holds plain values."""
    return parse_yaml(read_text(path, what, remedy), path, remedy)


def parse_yaml(text: str, path: str | os.PathLike, remedy: str) -> Any:
    """Parse YAML of plain values; the path appears in error messages. Raises ValueError."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise damaged(path, error, remedy) from error


def check_fields(
    found: Any, fields: Mapping[str, type | tuple[type, ...]], path: str | os.PathLike, remedy: str
) -> dict[str, Any]:
    """Return an object that was read, if it has all fields, each of its type. Raises ValueError."""
    if not isinstance(found, dict):
        raise damaged(path, f"it holds no object but {type(found).__name__}", remedy)
    for name, kind in fields.items():
        if name not in found:
            raise damaged(path, f"it has no {name}", remedy)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(found[name], kind) or (isinstance(found[name], bool) and bool not in kinds):
            raise damaged(path, f"its {name} can't be {str(found[name])[:40]!r}", remedy)
    return found


def read_table(path: str | os.PathLike, remedy: str, columns: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Read a table of text, CSV unless pandas' options say otherwise; columns: that it must have."""
    import pandas as pd

    path = check_file(path, "a table", TABLE_BYTES)
    try:
        table = pd.read_csv(path, **options)
    except (ValueError, LookupError, OverflowError, csv.Error) as error:
        raise damaged(path, error, remedy) from error
    if missing := [name for name in columns if name not in table]:
        raise damaged(path, f"it has no column {missing[0]}", remedy)
    return table


def read_arrays(path: str | os.PathLike, remedy: str, names: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file, plain numbers alone; names: that it must hold."""
    import numpy as np

    path = check_file(path, "a file of arrays", TABLE_BYTES)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds of exception for a damaged file
        reason = "it holds more than arrays of numbers" if "pickle" in str(error) else error
        raise damaged(path, reason, remedy) from error
    if missing := [name for name in names if name not in arrays]:
        raise damaged(path, f"it has no {missing[0]}", remedy)
    return arrays

"""What is kept on disk between runs: results that take long and follow from their key alone, such as rendered faces.

Each result is a small safetensors file named by the SHA-256 of its key, in SWAPLIB_CACHE or the user's cache folder
(~/.cache/swaplib on Linux). Several processes may share it: a file appears complete or not at all. Above the limit
(SWAPLIB_CACHE_LIMIT, in megabytes; 4,000 by default) what was not used for longest goes first. Where nothing can be
written, everything is made as if there were no cache. SWAPLIB_CACHE= (empty) goes without.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import platformdirs
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

Result = dict[str, torch.Tensor]

LIMIT = 4_000_000_000  # bytes
_WRITTEN = 100_000_000  # bytes that one process writes before it looks whether the whole is above the limit
_LEFT_OVER = 3600  # seconds after which an unfinished file is one of a process that was killed
_written = _WRITTEN  # so that the first write looks
_failed = False


def folder() -> Path | None:
    """Return the folder, which may not exist yet; None where the user wants no cache."""
    chosen = os.environ.get("SWAPLIB_CACHE")
    if chosen is None:
        return Path(platformdirs.user_cache_dir("swaplib", appauthor=False))
    return Path(chosen).expanduser() if chosen else None


def recall(kind: str, keys: Sequence[bytes], make: Callable[[list[int]], Sequence[Result]]) -> list[Result]:
    """Return the result of each key: from the cache, or made now and kept.

    kind: the folder's name; what one kind means by a key must never change, so a key holds versions, too. make: gets
    the numbers of the keys that are not there, in order, and returns their results.
    """
    where = folder()
    if where is None:
        return list(make(list(range(len(keys)))))
    names = [hashlib.sha256(key).hexdigest() for key in keys]
    paths = [where / kind / name[:2] / f"{name[2:]}.safetensors" for name in names]
    results = [_read(path) for path in paths]
    missing = [number for number, result in enumerate(results) if result is None]
    if missing:
        for number, result in zip(missing, make(missing), strict=True):
            results[number] = result
            _write(paths[number], result)
        _keep_limit(where)
    return results


def clear() -> int:
    """Remove everything that is kept; return how many bytes that frees."""
    entries = _list_entries()
    for path, _ in entries:
        path.unlink(missing_ok=True)
    return sum(status.st_size for _, status in entries)


def usage() -> tuple[int, int]:
    """Return how many results are kept, and their bytes."""
    entries = _list_entries()
    return len(entries), sum(status.st_size for _, status in entries)


def limit() -> int:
    """Return how many bytes may be kept. Raises ValueError for a limit that is no number."""
    text = os.environ.get("SWAPLIB_CACHE_LIMIT")
    if text is None:
        return LIMIT
    try:
        return round(float(text) * 1e6)
    except ValueError as error:
        raise ValueError(f"SWAPLIB_CACHE_LIMIT is {text!r}: give a number of megabytes, such as 500") from error


@functools.cache
def digest_code() -> str:
    """Return a digest of the package's files: what is kept of other code must not be taken for this one's."""
    files = sorted(path for ending in ("*.py", "*.npz") for path in Path(__file__).parent.rglob(ending))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def fingerprint(thing: Any) -> bytes | None:
    """Return a digest of all that a value holds, for keys; None where that can't be known.

    Known are plain values, tensors, and what the package and torch make of them, such as families and judges. What a
    notebook or another package defines may change without notice.
    """
    digest = hashlib.sha256()
    try:
        for part in _list_parts(thing):
            digest.update(part)
    except TypeError:
        return None
    return digest.digest()


def _list_parts(thing: Any) -> Iterator[bytes]:
    """Yield bytes that tell a value from any other one. Raises TypeError for one that is not known."""
    named = isinstance(thing, (type, FunctionType))
    kind = thing if named else type(thing)
    yield f"\0{kind.__module__}.{kind.__qualname__}\0".encode()
    if isinstance(thing, (type(None), bool, int, float, str, bytes, torch.device, torch.dtype, torch.Size)):
        yield repr(thing).encode()
    elif isinstance(thing, (np.ndarray, np.generic)):
        yield f"{thing.dtype} {thing.shape}".encode()
        yield from _list_parts(thing.tolist()) if thing.dtype.hasobject else (thing.tobytes(),)
    elif isinstance(thing, torch.Tensor):
        yield f"{thing.dtype} {tuple(thing.shape)}".encode()
        yield thing.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(thing, Mapping):
        for key in sorted(thing, key=repr):
            yield from _list_parts((key, thing[key]))
    elif isinstance(thing, (list, tuple)):
        for value in thing:
            yield from _list_parts(value)
    elif isinstance(thing, (set, frozenset)):
        yield from _list_parts(sorted(thing, key=repr))
    elif kind.__module__.partition(".")[0] not in ("swaplib", "torch") or "<" in kind.__qualname__:
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} may change without notice")
    elif not named:
        yield from _list_parts(thing.__getstate__() if hasattr(type(thing), "__getstate__") else vars(thing))


def _read(path: Path) -> Result | None:
    """Return a kept result; None where there is none, or none that is whole."""
    try:
        result = load(path.read_bytes())
        os.utime(path)  # used now
    except (OSError, SafetensorError):
        return None
    return result


def _write(path: Path, result: Result) -> None:
    """Keep a result, or say once that it can't be kept."""
    global _failed, _written
    if _failed:
        return
    data = save({name: values.contiguous() for name, values in result.items()})
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        _failed = True
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        warnings.warn(
            f"nothing more is kept in {path.parent.parent.parent} ({error.strerror}), so that later runs take longer: "
            "make room, or set SWAPLIB_CACHE to another folder",
            stacklevel=2,
        )
    _written += len(data)


def _keep_limit(where: Path) -> None:
    """Remove what was not used for longest, down to nine tenths of the limit, where there is more than the limit."""
    global _written
    most = limit()
    if _written < min(_WRITTEN, most / 10):
        return
    _written = 0
    entries = sorted(_list_entries(), key=lambda entry: entry[1].st_mtime)
    size = sum(status.st_size for _, status in entries)
    wanted = size if size <= most else 0.9 * most
    for path, status in entries:
        if size > wanted or (path.suffix == ".part" and status.st_mtime < time.time() - _LEFT_OVER):
            path.unlink(missing_ok=True)
            size -= status.st_size


def _list_entries() -> list[tuple[Path, os.stat_result]]:
    """List the files with their status; one that another process removes meanwhile is left out."""
    where, entries = folder(), []
    for path in where.glob("*/??/*") if where and where.is_dir() else ():
        try:
            entries.append((path, path.stat()))
        except OSError:
            continue
    return entries

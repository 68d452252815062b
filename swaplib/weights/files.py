"""Contents of torch files, read without executing anything in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

# ---------------------------------------------------------------------------------------------- others' files


Tensors = dict[str, torch.Tensor]
"""Name -> tensor."""


def save_tensors(tensors: Tensors, path: str | os.PathLike, metadata: dict[str, str], shown: str | os.PathLike) -> None:
    """Write tensors as safetensors; raise OSError, with the name to be shown, where they can't be written."""
    try:
        save_file(tensors, path, metadata)
    except (SafetensorError, OSError) as error:
        raise OSError(f"could not write {shown} ({error}): make room or choose another folder") from error


def read_content(path: str | os.PathLike) -> Any:
    """Read what a torch file (.pt, .pth, .ckpt) holds without executing anything in it.

    Raises FileNotFoundError, and ValueError for a file that torch can't read or that asks for more than data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    with path.open("rb") as file:
        begin = file.read(512).lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(
            f"{path} is a web page, not weights: open its address in a browser, where large files want to be confirmed"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise nearly anything for a damaged file
        raise ValueError(
            f"{path} is damaged, or it holds code, which swaplib never executes ({asked_for(error)}): download it "
            "again from its authors' page"
        ) from error
    check_tensors(found, path)
    return found


_DEPTH = 20  # of containers within each other, in any file of weights


def check_tensors(found: Any, path: str | os.PathLike) -> None:
    """Raise ValueError for tensors that hold more than the file does, or numbers that are no weights.

    torch makes room for a tensor that says it is larger than its data, and fills it with whatever is in memory.
    """
    tensors = {id(tensor): tensor for tensor in _walk(found, path)}.values()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    size = Path(path).stat().st_size
    if sum(storages.values()) > size + 2**20 or sum(tensor.nbytes for tensor in tensors) > 4 * size + 2**20:
        raise ValueError(f"{path} says that it holds more numbers than it does: download it again")
    check_finite(tensors, path)


def check_finite(tensors: Iterable[torch.Tensor], path: str | os.PathLike) -> None:
    """Raise ValueError for numbers that are infinite or none at all: whoever uses them shows nothing but black."""
    if any(tensor.is_floating_point() and not torch.isfinite(tensor).all() for tensor in tensors):
        raise ValueError(f"{path} holds numbers that are not finite, which no trained network has: get another file")


def _walk(found: Any, path: str | os.PathLike) -> Iterator[torch.Tensor]:
    """Yield the tensors of nested containers, each container once."""
    waiting, seen = [(found, 0)], set()
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, (Mapping, list, tuple)) and id(one) not in seen:
            if depth > _DEPTH:
                raise ValueError(f"{path} holds containers nested too deeply: choose a file of weights")
            seen.add(id(one))
            waiting += [(inner, depth + 1) for inner in (one.values() if isinstance(one, Mapping) else one)]


def asked_for(error: Exception) -> str:
    """Return what torch's restricted unpickler says that a file asks for, or else the error's kind."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return found[1] if found else type(error).__name__


def read_tensors(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Read the named tensors of a published checkpoint (.pt, .pth, .ckpt) without executing anything in it.

    Where the file holds a `state_dict` among other things, only that is read. Raises as `read_content` does, and
    ValueError for a file without named tensors.
    """
    found = read_content(path)
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    pairs = found.items() if isinstance(found, Mapping) else ()
    named = {name: value for name, value in pairs if isinstance(value, torch.Tensor)}
    if not named:
        raise ValueError(f"{path} holds no tensors by name: choose a file of weights")
    return named

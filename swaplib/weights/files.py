"""Contents of torch files and of safetensors, read without executing anything in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from swaplib.foreign import check_file

# ---------------------------------------------------------------------------------------------- others' files


Tensors = dict[str, torch.Tensor]
"""Name -> tensor."""


def save_tensors(tensors: Tensors, path: str | os.PathLike, metadata: dict[str, str], shown: str | os.PathLike) -> None:
    """Write tensors as safetensors; raise OSError, with the name to be shown, where they can't be written."""
    try:
        save_file(tensors, path, metadata)
    except (SafetensorError, OSError) as error:
        raise OSError(f"could not write {shown} ({error}): make room or choose another folder") from error


def read_content(path: str | os.PathLike, remedy: str = "download it again from its authors' page") -> Any:
    """Read what a torch file (.pt, .pth, .ckpt) holds without executing anything in it.

    Raises as `check_file` does, and ValueError for a file that torch can't read or that asks for more than data.
    """
    path = check_file(path, "weights")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise nearly anything for a damaged file
        raise ValueError(
            f"{path} is damaged, or it holds code, which swaplib never executes ({asked_for(error)}): {remedy}"
        ) from error
    check_tensors(found, path)
    return found


Shapes = dict[str, tuple[int, ...]]


def read_head(path: str | os.PathLike) -> tuple[dict[str, str], Shapes]:
    """Read what a safetensors file says of itself, and the shapes of its tensors, without reading these.

    Raises as `check_file` does, and ValueError for a file that is damaged or no safetensors file.
    """
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 no dict
        return file.metadata() or {}, shapes


def read_safetensors(path: str | os.PathLike, names: Iterable[str]) -> Tensors:
    """Read some tensors of a safetensors file. Raises as `read_head` does, and ValueError for numbers not finite."""
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in names}
    check_finite(tensors.values(), path)
    return tensors


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Any]:
    path = check_file(path, "weights")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except Exception as error:  # its own error, and torch's for a kind of numbers that it doesn't know
        remedy = "copy it again" if path.suffix == ".safetensors" else "a published file is read by swaplib import"
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): {remedy}") from error


_DEPTH = 20  # of containers within each other, in any file of weights


def check_tensors(found: Any, path: str | os.PathLike) -> None:
    """Raise ValueError for tensors that hold more than the file does, or numbers that are no weights.

    torch makes room for a tensor that says it is larger than its data, and fills it with whatever is in memory.
    """
    tensors = {id(tensor): tensor for tensor in _walk(found, path)}.values()
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ValueError(f"{path} holds a tensor that is sparse, quantised or empty of numbers: choose a dense one")
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    size = Path(path).stat().st_size
    if sum(storages.values()) > size + 2**20 or sum(tensor.nbytes for tensor in tensors) > 4 * size + 2**20:
        raise ValueError(f"{path} says that it holds more numbers than it does: download it again")
    check_finite(tensors, path)


def check_finite(tensors: Iterable[torch.Tensor], path: str | os.PathLike) -> None:
    """Raise ValueError for numbers that are infinite or none at all: whoever uses them shows nothing but black."""
    if any(not _is_finite(tensor) for tensor in tensors):
        raise ValueError(f"{path} holds numbers that are not finite, which no trained network has: get another file")


def _is_finite(tensor: torch.Tensor) -> bool:
    plain = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor  # 8 bits know no test
    return bool(torch.isfinite(plain).all())


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
    named = {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, torch.Tensor)}
    if not named:
        raise ValueError(f"{path} holds no tensors by name: choose a file of weights")
    return named

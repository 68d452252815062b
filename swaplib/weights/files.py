"""Contents of torch files, read without executing anything in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

# ---------------------------------------------------------------------------------------------- others' files


Tensors = dict[str, torch.Tensor]
"""Name -> tensor."""


def read_content(path: str | os.PathLike) -> Any:
    """Read what a torch file (.pt, .pth, .ckpt) holds without executing anything in it.

    Raises FileNotFoundError, and ValueError for a file that torch can't read or that asks for more than data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise nearly anything for a damaged file
        raise ValueError(
            f"{path} is damaged, or it holds code, which swaplib never executes ({asked_for(error)}): download it "
            "again from its authors' page"
        ) from error


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

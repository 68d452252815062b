"""What torch files hold, read without executing anything in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:  # at run time, nothing here needs it
    pass


# ---------------------------------------------------------------------------------------------- others' files


Tensors = dict[str, torch.Tensor]
"""Name -> tensor."""


def content(path: str | os.PathLike) -> Any:
    """What a file of torch's (.pt, .pth, .ckpt) holds; nothing in it is executed.

    Raises FileNotFoundError, and ValueError for a file that torch doesn't read or that asks for more than data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise nearly anything for a damaged file
        raise ValueError(
            f"{path} is damaged, or it holds code, which swaplib never executes ({asked_for(error)}): get the file "
            "from its authors' page anew"
        ) from error


def asked_for(error: Exception) -> str:
    """What torch's restricted unpickler says that a file asks for; else the error's kind."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return found[1] if found else type(error).__name__


def tensors(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """The tensors of a published checkpoint (.pt, .pth, .ckpt) by name; nothing in the file is executed.

    Where the file holds a `state_dict` among other things, that one's. Raises as `content` does, and ValueError for a
    file without tensors by name.
    """
    found = content(path)
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    pairs = found.items() if isinstance(found, Mapping) else ()
    named = {name: value for name, value in pairs if isinstance(value, torch.Tensor)}
    if not named:
        raise ValueError(f"{path} holds no tensors by name: choose a file of weights")
    return named

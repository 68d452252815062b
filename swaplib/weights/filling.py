"""Models of a fixed size, filled with published weights: one verb, `load_official(path)`, for all of them.

    families.build("e4s", "paper").load_official("iteration_300000.pt")
    judges.load_official("79999_iter.pth")

A file is read without executing anything in it, its tensors are renamed (`published_names`), all names and shapes are
compared, and only then is anything copied: a file that is refused leaves the model unchanged.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from swaplib.weights import published
from swaplib.weights import published_names as names
from swaplib.weights.catalogue import official_file
from swaplib.weights.files import Tensors, read_tensors


@dataclass(frozen=True)
class Filling:
    """How a published file fills a model.

    what     what the file holds, in error messages
    read     path -> content of the file
    rename   content -> path of a submodule -> its tensors; empty for a file of something else
    remedy   what to do where sizes differ
    spare    pattern of tensors that not every build of the model has
    beside   pattern of the files of one folder that are read together; empty where one file is all
    """

    what: str
    read: Callable[[Path], Any]
    rename: Callable[[Any], names.Networks]
    remedy: str = "choose another file"
    spare: str = r"(?!)"
    beside: str = ""


def _read_mask_guided(path: Path) -> dict[str, Tensors]:
    """Read the authors' networks from a folder, or from the folder and epoch of one of their files.

    Image decoders and discriminators, which only training needs, may be missing.
    """
    folder, epoch = path, "latest"
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}: check the path")
    if path.is_file():
        named = re.fullmatch(r"(.+)_net_\w+\.pth", path.name)
        if not named:
            raise ValueError(f"{path} isn't named as the authors' files are (latest_net_G.pth): name their folder")
        folder, epoch = path.parent, named[1]
    parts = names.MASK_GUIDED_PARTS
    needed = ["G", *(f"{kind}_{part}" for kind in ("encoder", "decoder") for part in parts)]
    files = {name: folder / f"{epoch}_net_{name}.pth" for name in (*needed, *(f"decoder_{p}_image" for p in parts))}
    files |= {name: folder / f"{epoch}_net_{name}.pth" for name in ("D", "D2")}
    return {name: read_tensors(file) for name, file in files.items() if name in needed or file.exists()}


def _read_lpips(path: Path) -> Tensors:
    """Read AlexNet's file, and the copy of LPIPS's own weights that torchmetrics ships."""
    package = Path(importlib.util.find_spec("torchmetrics").origin).parent
    return read_tensors(path) | read_tensors(package / "functional" / "image" / "lpips_models" / "alex.pth")


FILLINGS: Mapping[str, Filling] = {
    "stylegan2": Filling(
        "a StyleGAN2 generator", published.read, names.from_stylegan2,
        'build stylegan2 with the size and channels of the file: "paper" is 1024 px',
    ),
    "stylenerf": Filling(
        "a StyleNeRF generator", published.read, names.from_stylenerf,
        "build stylenerf with Config.released of the file's size",
    ),
    "e4s": Filling("E4S", published.read, names.from_e4s, 'build the family at the preset "paper"'),
    "mask_guided": Filling(
        "Mask-Guided Portrait Editing's networks", _read_mask_guided, names.from_mask_guided,
        "build the family with Config.released() or Config.paper()", r"\.log_variance\.", "*_net_*.pth",
    ),
    "latent_swap": Filling(
        "LatentSwap's mixers", read_tensors, names.from_latentswap,
        "build the family with the generator that they were made for",
    ),
    "ir_se50": Filling("IR-SE50", read_tensors, names.from_ir_se50),
    "latentswap_embedder": Filling("LatentSwap's embedder", read_tensors, names.from_latentswap_embedder),
    "bisenet": Filling("BiSeNet", read_tensors, names.from_bisenet),
    "helen": Filling("Mask-Guided Portrait Editing's parser", read_tensors, names.from_helen),
    "lpips": Filling("AlexNet", _read_lpips, names.from_lpips),
}  # fmt: skip
"""Model, by its name -> how it is filled."""

T = TypeVar("T", bound="Fillable")


class Fillable:
    """A mixin for networks with a `name` that a published file can fill.

    official   submodules and buffers that the file must fill completely; others are filled where the file has them
    """

    name: ClassVar[str]
    official: ClassVar[tuple[str, ...]] = ()

    def load_official(self: T, path: str | os.PathLike) -> T:
        """Load the weights of a published file (`published.OFFICIAL`) and return the model.

        Nothing in the file is executed. Raises FileNotFoundError, and ValueError for a file of something else or of
        networks of other sizes.
        """
        fill(self, path)
        return self


def fill(model: nn.Module, path: str | os.PathLike, content: Any = None) -> None:
    """Copy a published file's tensors into a model, all or none.

    content: what the model's filling reads of the file, where it has been read already. Raises as
    `Fillable.load_official` does.
    """
    if model.name not in FILLINGS:
        raise ValueError(f"no published file fills {model.name}: there are some for {', '.join(FILLINGS)}")
    filling, own = FILLINGS[model.name], model.state_dict()
    networks = _rename(filling, filling.read(Path(path)) if content is None else content)
    if not networks:
        row = official_file(model.name)
        raise ValueError(f"{path} doesn't hold {filling.what}: choose {row.files} of {row.project}")
    found: Tensors = {}
    for network, tensors_of in networks.items():
        here = {name: value for name, value in own.items() if _lies_in(name, [network])}
        if here or _lies_in(network, model.official):  # the file may hold more than is needed here
            given = {f"{network}.{name}".rstrip("."): value for name, value in tensors_of.items()}
            _compare(here, given, filling, path)
            found |= given
    needed = {name: value for name, value in own.items() if _lies_in(name, model.official)}
    _compare(needed, {name: found[name] for name in needed if name in found}, filling, path)
    with torch.no_grad():
        for name in own.keys() & found.keys():
            own[name].copy_(found[name])


def recognise(path: str | os.PathLike, candidates: Iterable[str]) -> str:
    """Return the name of the candidate model that a file of named tensors fills.

    Raises FileNotFoundError, and ValueError for a file that fills none of them.
    """
    candidates, contents = list(candidates), {}
    for name in candidates:
        filling = FILLINGS[name]
        if filling.read not in contents:  # each file is read once, however many models it may fill
            contents[filling.read] = filling.read(Path(path))
        if _rename(filling, contents[filling.read]):
            return name
    known = ", ".join(f"{name} ({official_file(name).files.split(';')[0]})" for name in candidates)
    raise ValueError(f"{path} fills none of the models that are known here: choose a file of {known}")


def _rename(filling: Filling, content: Any) -> names.Networks:
    try:
        return filling.rename(content)
    except (LookupError, ValueError, RuntimeError):  # similar names, and what looking them up raises
        return {}


def _lies_in(name: str, places: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{place}.") for place in places)


def _compare(own: Tensors, given: Tensors, filling: Filling, path: str | os.PathLike) -> None:
    """Raise ValueError where names or shapes differ, ignoring batch counters, which old files lack."""
    for name in sorted(own.keys() | given.keys()):
        if name.endswith("num_batches_tracked") or (name not in own and re.search(filling.spare, name)):
            continue
        there, here = (_shape(side.get(name)) for side in (given, own))
        if there != here:
            raise ValueError(
                f"{path} holds {filling.what}, but of another build than this one ({name}: there {there}, here {here})"
                f": {filling.remedy}"
            )


def _shape(value: torch.Tensor | None) -> str:
    return "missing" if value is None else " x ".join(map(str, value.shape)) or "a number"

"""Released weights: a safetensors file in half precision, and a model card beside it that says where it comes from.

    checkpoints/rsgan_demo.safetensors   parameters as float16, buffers as they are; its head says family and config
    checkpoints/rsgan_demo.md            the card: a YAML head for programs, sentences and tables for people

A checkpoint of a training run is another thing: it holds all that is needed to go on (`swaplib.training.loop`).
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from swaplib.provenance import commit, replacing, sha256, versions

if TYPE_CHECKING:  # at run time, nothing here needs it
    from swaplib.training.model import Learner
from swaplib.weights.configs import as_config, differences, filled, plain

FORMAT = 1
FOLDER = Path(__file__).parent.parent / "checkpoints"


@dataclass(frozen=True)
class Card:
    """What a reader must know about weights, besides what the file itself says.

    data       what they were trained on, in words
    steps, images, seconds   as in `train.Step`
    hardware   what they were trained on, as `hardware()` names it
    command    that made them
    licence    of the weights, in words if the data narrows it
    results    the row of the comparison table: column -> number or text
    notes      anything else: Markdown
    """

    data: str
    steps: int
    images: int
    seconds: float
    hardware: str
    command: str
    licence: str
    results: Mapping[str, float | str] = field(default_factory=dict)
    notes: str = ""


def find_released(name: str, preset: str) -> Path:
    """Where the weights of a family or judge at a preset are, if there are any.

    Your own go before the released ones: those in the folders of `searching`, and then in those that the environment
    variable SWAPLIB_WEIGHTS lists.
    """
    file = f"{name}_{preset}.safetensors"
    listed = filter(None, os.environ.get("SWAPLIB_WEIGHTS", "").split(os.pathsep))
    own = (Path(folder) / file for folder in (*_searched.get(), *listed))
    return next((path for path in own if path.exists()), FOLDER / file)


_searched: ContextVar[tuple[Path, ...]] = ContextVar("searched", default=())


@contextmanager
def searching(folder: str | os.PathLike) -> Iterator[None]:
    """Within it, weights are looked for in a folder first."""
    token = _searched.set((Path(folder), *_searched.get()))
    try:
        yield
    finally:
        _searched.reset(token)


def hardware(device: str | torch.device = "cpu") -> str:
    """The name of the GPU, or of the processor with the number of cores."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{os.cpu_count()} cores of {name}"


# ---------------------------------------------------------------------------------------------- saving


def save(family: Learner, path: str | os.PathLike, card: Card) -> Path:
    """Write the weights, and the card beside them under the same name with .md; each file whole or not at all.

    What only training needs (`Learner.training_only`) is left out. Raises ValueError for a name that doesn't end in
    .safetensors and for a parameter that half precision can't hold.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} must end in .safetensors: choose such a name")
    parameters = dict(family.named_parameters())
    tensors = {}
    for name, value in _needed(family).items():
        tensors[name] = (value.half() if name in parameters else value).detach().cpu().contiguous().clone()
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{name} holds numbers that float16 can't: train with smaller ones")
    head = {"format": str(FORMAT), "family": family.name, "config": json.dumps(plain(family.config))}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={f"swaplib.{key}": value for key, value in head.items()})
        text = _card_text(family, path.name, temporary, card)  # a card that can't be written leaves no weights behind
    with replacing(path.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _needed(family: Learner) -> dict[str, torch.Tensor]:
    """The state without the submodules that only training needs."""
    left_out = tuple(f"{name}." for name in family.training_only)
    return {name: value for name, value in family.state_dict().items() if not name.startswith(left_out)}


def _card_text(family: Learner, name: str, path: Path, card: Card) -> str:
    """The card of weights called `name` that lie at `path`."""
    needed = _needed(family)
    parameters = sum(value.numel() for key, value in family.named_parameters() if key in needed)
    head = {
        "family": family.name,
        "file": name,
        "format": FORMAT,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "parameters": parameters,
        "config": plain(family.config),
        **asdict(card),
        "results": dict(card.results),
        "commit": commit(),
        "versions": {key: version for key, version in versions().items() if key in ("swaplib", "torch", "python")},
    }
    del head["notes"]
    lines = [
        f"# Weights of `{family.name}`: {name}",
        f"{parameters:,} parameters in half precision, {head['bytes'] / 1e6:.1f} MB. Trained on {card.data}: "
        f"{card.steps:,} steps, {card.images:,} images, {card.seconds / 60:,.0f} minutes on {card.hardware}.",
        f"Licence: {card.licence}",
        f"Made by:\n\n    {card.command}",
    ]
    if card.results:
        columns = [
            " | ".join(card.results),
            " | ".join("---" for _ in card.results),
            " | ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in card.results.values()),
        ]
        lines += ["Its row of the comparison table:", "\n".join(f"| {row} |" for row in columns)]
    lines += [card.notes] if card.notes else []
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)}---\n\n"
        + "\n\n".join(lines)
        + "\n"
    )


# ---------------------------------------------------------------------------------------------- loading


def load(family: Learner, path: str | os.PathLike) -> Learner:
    """Load weights into a family and return it, in evaluation mode.

    Raises FileNotFoundError, and ValueError for a damaged or foreign file, one of another family or config, and one
    whose tensors are not the family's. The family is changed only if all is well.
    """
    path = Path(path)
    head, tensors = _read(path)
    _check_name(path, head, family)
    if differing := differences(filled(head["config"], type(family.config)), plain(family.config)):
        raise ValueError(f"{path} holds weights of a {family.name} with {differing}: build the family like that")
    needed = _needed(family)
    for what, names in {"lacks": needed.keys() - tensors.keys(), "has more:": tensors.keys() - needed.keys()}.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{path} {what} {min(names)}{more}: it was made with another version of {family.name}")
    for name, value in tensors.items():
        if value.shape != needed[name].shape:
            raise ValueError(
                f"{path} has {name} as {tuple(value.shape)}, but {family.name} needs {tuple(needed[name].shape)}: it "
                f"was made with another version of {family.name}"
            )
    with torch.no_grad():
        for name, value in tensors.items():
            needed[name].copy_(value)
    return family.eval()


def config(path: str | os.PathLike, kind: type[Learner]) -> Any:
    """The config that the weights in a file were trained with, for a family of the class `kind`.

    Fields that are newer than the file have their defaults. Raises FileNotFoundError, and ValueError for a damaged
    or foreign file, one of another family and one whose config has fields that the class doesn't know.
    """
    path = Path(path)
    head, _ = _read(path, tensors=False)
    _check_name(path, head, kind)
    try:
        return as_config(head["config"], kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_name(path: Path, head: dict[str, Any], family: Learner | type[Learner]) -> None:
    if head["family"] != family.name:
        raise ValueError(f"{path} holds weights of {head['family']}, not of {family.name}: choose another file")


def read_card(path: str | os.PathLike) -> dict[str, Any]:
    """The machine-readable head of the card beside a weights file.

    Raises FileNotFoundError where a file is missing, ValueError for a card that is damaged or of other weights.
    """
    path = Path(path)
    card = path.with_suffix(".md")
    for file in (path, card):
        if not file.exists():
            raise FileNotFoundError(f"there is no {file}: weights come with a card, and a card with weights")
    parts = card.read_text(encoding="utf-8").split("---\n", 2)
    try:
        head = yaml.safe_load(parts[1])
        written = head["sha256"]
    except (IndexError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{card} is damaged: it has no YAML head with the file's sha256") from error
    if written != sha256(path):
        raise ValueError(f"{card} describes other weights than {path.name} holds: save them anew with their card")
    return head


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            values = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118 no dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): copy it anew") from error
    head = {key: metadata.get(f"swaplib.{key}") for key in ("format", "family", "config")}
    if None in head.values():
        raise ValueError(f"{path} is a safetensors file, but not one of swaplib's: choose another")
    if int(head["format"]) > FORMAT:
        raise ValueError(f"{path} was written by a newer swaplib (format {head['format']}): update swaplib")
    return {**head, "config": json.loads(head["config"])}, values

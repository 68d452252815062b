"""Released weights: a safetensors file in half precision, and beside it a model card that says where it comes from.

    checkpoints/rsgan_demo.safetensors   parameters as float16, buffers as they are; the header has family and config
    checkpoints/rsgan_demo.md            the card: a YAML head for programs, sentences and tables for people

Imported weights (`swaplib import`) are such files, too, at the preset "official" and in the precision of their source.

A checkpoint of a training run is something else: it holds all that is needed to resume (`swaplib.training.loop`).
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import platformdirs
import torch
import yaml

from swaplib.foreign import check_fields, damaged, parse_json, parse_yaml, read_text
from swaplib.provenance import commit, replacing, sha256, versions
from swaplib.weights.configs import Saveable, as_config, describe_differences, fill_defaults, to_plain
from swaplib.weights.files import Shapes, read_head, read_safetensors, save_tensors

FORMAT = 1
FOLDER = Path(__file__).parent.parent / "checkpoints"
OFFICIAL = "official"
"""The preset of imported weights: their sizes are those of the published file."""


@dataclass(frozen=True)
class Card:
    """What a reader must know about weights, besides what the file itself says.

    data       what they were trained on, in words
    steps, images, seconds   as in `train.Step`
    hardware   what they were trained on, as `describe_hardware()` names it
    command    the command that made them
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

    precision: ClassVar[torch.dtype] = torch.float16

    def head(self) -> dict[str, Any]:
        """Return what programs read."""
        found = {**asdict(self), "results": dict(self.results)}
        del found["notes"]
        return found

    def sentences(self, size: str) -> list[str]:
        """Return what people read, by paragraphs; size: in words."""
        lines = [
            f"{size} Trained on {self.data}: {self.steps:,} steps, {self.images:,} images, "
            f"{self.seconds / 60:,.0f} minutes on {self.hardware}.",
            f"Licence: {self.licence}",
            f"Made by:\n\n    {self.command}",
        ]
        if self.results:
            cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in self.results.values())
            columns = [" | ".join(self.results), " | ".join("---" for _ in self.results), " | ".join(cells)]
            lines += ["Its row of the comparison table:", "\n".join(f"| {row} |" for row in columns)]
        return lines + ([self.notes] if self.notes else [])


@dataclass(frozen=True)
class ImportCard:
    """What a reader must know about weights that come from somebody else's published file.

    source    name of each file that was read -> its SHA-256
    project   owner/repository, or the package that ships the file
    licence   of the authors' code and, where stated, of the weights
    fills     what the weights are here, in words
    needs     what else their use takes: role -> which weights
    command   the command that made them
    """

    source: Mapping[str, str]
    project: str
    licence: str
    fills: str
    needs: Mapping[str, str]
    command: str

    precision: ClassVar[torch.dtype] = torch.float32

    def head(self) -> dict[str, Any]:
        """Return what programs read."""
        return {**asdict(self), "source": dict(self.source), "needs": dict(self.needs), "results": {}}

    def sentences(self, size: str) -> list[str]:
        """Return what people read, by paragraphs; size: in words."""
        files = "\n".join(f"- {name}, SHA-256 {digest}" for name, digest in self.source.items())
        needs = "\n".join(f"- {role}: {which}" for role, which in self.needs.items())
        return [
            f"{size} Published by {self.project}; here: {self.fills}. Read from",
            files,
            f"Licence: {self.licence}",
            *(["Its use takes", needs] if needs else []),
            f"Made by:\n\n    {self.command}",
        ]


def user_folder() -> Path:
    """Return where imported weights go: the first folder of SWAPLIB_WEIGHTS, else one among the user's own data."""
    listed = [Path(folder) for folder in os.environ.get("SWAPLIB_WEIGHTS", "").split(os.pathsep) if folder]
    return listed[0].expanduser() if listed else _data_folder()


def _data_folder() -> Path:
    return Path(platformdirs.user_data_dir("swaplib", appauthor=False)) / "weights"


def find_released(name: str, preset: str, sha256: str | None = None) -> Path:
    """Find the weights of a model at a preset, or return the path that released ones would have.

    Your own take precedence over the released ones: those in the folders of `searching`, then in those that the
    environment variable SWAPLIB_WEIGHTS lists, then imported ones among the user's own data. sha256: of the wanted
    file, which then takes precedence over all others; an earlier one may lie beside its successor, with the first eight
    digits in its name (identity_demo-a390efac).
    """
    listed = filter(None, os.environ.get("SWAPLIB_WEIGHTS", "").split(os.pathsep))
    files = [f"{name}_{preset}.safetensors", *([f"{name}_{preset}-{sha256[:8]}.safetensors"] if sha256 else ())]
    own = [_data_folder()] if preset == OFFICIAL else []
    folders = (*_searched.get(), *(Path(folder).expanduser() for folder in listed), *own, FOLDER)
    every = [folder / file for folder in folders for file in files]
    there = [path for path in every if path.exists()]
    wanted = [path for path in there if sha256 and file_sha256(path) == sha256]
    return next(iter([*wanted, *there]), FOLDER / files[0])


def best_for_photographs(name: str) -> str:
    """Return the preset of a model's weights that know photographs best: "photo" where there are such, else "demo"."""
    return "photo" if find_released(name, "photo").exists() else "demo"


def file_sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file of weights, reading it once as long as it doesn't change."""
    path = Path(path)
    return _sha256(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: Path, written: int) -> str:
    return sha256(path)


_searched: ContextVar[tuple[Path, ...]] = ContextVar("searched", default=())


@contextmanager
def searching(folder: str | os.PathLike) -> Iterator[None]:
    """Look for weights in a folder first, within the context."""
    token = _searched.set((Path(folder), *_searched.get()))
    try:
        yield
    finally:
        _searched.reset(token)


def describe_hardware(device: str | torch.device = "cpu") -> str:
    """Return the name of the GPU, or of the processor with its number of cores."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{os.cpu_count()} cores of {name}"


# ---------------------------------------------------------------------------------------------- saving


def save(
    model: Saveable, path: str | os.PathLike, card: Card | ImportCard, file: str | os.PathLike | None = None
) -> Path:
    """Write the weights, and the card beside them under the same name with .md, each file whole or not at all.

    What only training needs (`Model.training_only`) is left out. Parameters are kept in half precision, imported ones
    (`ImportCard`) in full. file: what the weights were loaded from; it is copied as it is, since other weights name it
    by its SHA-256, and only the card is written. Raises ValueError for a name that doesn't end in
    .safetensors and for a parameter that half precision can't hold.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} must end in .safetensors: choose such a name")
    with replacing(path) as temporary:
        if file is None:
            _write_tensors(model, temporary, card.precision, path)
        else:
            shutil.copyfile(file, temporary)
        text = _card_text(model, path.name, temporary, card)  # a card that can't be written leaves no weights behind
    with replacing(path.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _write_tensors(model: Saveable, to: Path, precision: torch.dtype, path: Path) -> None:
    """Write the weights that will lie at `path`, with a head that says what they are of."""
    parameters = dict(model.named_parameters())
    tensors = {}
    for name, value in _needed(model).items():
        kept = value.to(precision) if name in parameters else value
        tensors[name] = kept.detach().cpu().contiguous().clone()
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{name} holds numbers that float16 can't: train with smaller ones")
    head = {"format": str(FORMAT), "family": model.name, "config": json.dumps(to_plain(model.config))}
    head["frozen"] = json.dumps(model.frozen_hashes())
    save_tensors(tensors, to, {f"swaplib.{key}": value for key, value in head.items()}, path)


def _needed(model: Saveable) -> dict[str, torch.Tensor]:
    """Return the state without the submodules that only training needs."""
    left_out = tuple(f"{name}." for name in model.training_only)
    return {name: value for name, value in model.state_dict().items() if not name.startswith(left_out)}


def _frozen_files(model: Saveable) -> dict[str, dict[str, str]]:
    """Return what a card says about the frozen models: keyword -> file and SHA-256."""
    wanted, hashes = model.frozen_models(model.config), model.frozen_hashes()
    return {
        keyword: {"file": "{}_{}.safetensors".format(*wanted[keyword]), "sha256": value}
        for keyword, value in hashes.items()
    }


def _card_text(model: Saveable, name: str, path: Path, card: Card | ImportCard) -> str:
    """Return the card of the weights called `name` that lie at `path`."""
    needed = _needed(model)
    parameters = sum(value.numel() for key, value in model.named_parameters() if key in needed)
    head = {
        "family": model.name,
        "file": name,
        "format": FORMAT,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "parameters": parameters,
        "config": to_plain(model.config),
        "frozen": _frozen_files(model),
        **card.head(),
        "commit": commit(),
        "versions": {key: version for key, version in versions().items() if key in ("swaplib", "torch", "python")},
    }
    precision = "half precision" if card.precision == torch.float16 else "32 bits"
    size = f"{parameters:,} parameters in {precision}, {head['bytes'] / 1e6:.1f} MB."
    lines = [f"# Weights of `{model.name}`: {name}", *card.sentences(size)]
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)}---\n\n"
        + "\n\n".join(lines)
        + "\n"
    )


# ---------------------------------------------------------------------------------------------- loading


def load(model: Saveable, path: str | os.PathLike) -> Saveable:
    """Load weights into a model and return it, in evaluation mode.

    Raises FileNotFoundError, and ValueError for a damaged or foreign file, one of another model or config, and one
    whose tensors are not the model's. The model is changed only if all is well.
    """
    path = Path(path)
    head, shapes = _read(path)
    _check_name(path, head, model)
    if differing := describe_differences(fill_defaults(head["config"], type(model.config)), to_plain(model.config)):
        raise ValueError(f"{path} holds weights of a {model.name} with {differing}: build the family like that")
    for keyword, wanted in head["frozen"].items():
        own = model.frozen.get(keyword)
        if own is not None and keyword not in model.training_only and getattr(own, "sha256", None) != wanted:
            raise ValueError(
                f"{path} was trained with another {keyword} (SHA-256 {wanted[:12]}…) than this {model.name} has: load "
                f"it by name, which finds that one (families.load({model.name!r}, file=…))"
            )
    needed = _needed(model)
    _compare_shapes(path, shapes, model)
    tensors = read_safetensors(path, shapes)
    with torch.no_grad():
        for name, value in tensors.items():
            needed[name].copy_(value)
    _loaded.append(path.resolve())
    return model.eval()


_loaded: list[Path] = []


def list_loaded() -> list[Path]:
    """List the files of weights that this process has loaded, in order: what its measurements may have used."""
    return [path for path in dict.fromkeys(_loaded) if path.exists()]


def check_fit(model: Saveable, path: str | os.PathLike) -> None:
    """Raise ValueError where a file's tensors are not a model's, without reading them.

    model: may be on the device "meta", so that a file whose config asks for a giant costs nothing.
    """
    path = Path(path)
    _compare_shapes(path, _read(path)[1], model)


def _compare_shapes(path: Path, shapes: Shapes, model: Saveable) -> None:
    needed = {name: tuple(value.shape) for name, value in _needed(model).items()}
    for what, names in {"lacks": needed.keys() - shapes.keys(), "has more:": shapes.keys() - needed.keys()}.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{path} {what} {min(names)}{more}: it was made with another version of {model.name}")
    for name, shape in shapes.items():
        if shape != needed[name]:
            raise ValueError(
                f"{path} has {name} as {shape}, but {model.name} needs {needed[name]}: it was made with another "
                f"version of {model.name}"
            )


def read_frozen(path: str | os.PathLike) -> dict[str, str]:
    """Return the SHA-256 of the frozen models' files that weights were trained with, by constructor keyword.

    Raises as `read_config` does.
    """
    head, _ = _read(Path(path))
    return head["frozen"]


def read_config(path: str | os.PathLike, kind: type[Saveable]) -> Any:
    """Return the config that the weights in a file were trained with, for a model of the class `kind`.

    Fields that are newer than the file have their defaults. Raises FileNotFoundError, and ValueError for a damaged or
    foreign file, one of another model and one whose config has fields that the class doesn't know.
    """
    path = Path(path)
    head, _ = _read(path)
    _check_name(path, head, kind)
    try:
        return as_config(head["config"], kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_name(path: str | os.PathLike) -> str | None:
    """Return the name of the model whose weights a file holds; None for a file that is not one of swaplib's."""
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        return read_head(path)[0].get("swaplib.family")
    except (OSError, ValueError):
        return None


def _check_name(path: Path, head: dict[str, Any], model: Saveable | type[Saveable]) -> None:
    if head["family"] != model.name:
        raise ValueError(f"{path} holds weights of {head['family']}, not of {model.name}: choose another file")


def read_card(path: str | os.PathLike) -> dict[str, Any]:
    """Read the machine-readable head of the card beside a weights file.

    Raises FileNotFoundError where a file is missing, and ValueError for a card that is damaged or of other weights.
    """
    path = Path(path)
    card = path.with_suffix(".md")
    for file in (path, card):
        if not file.exists():
            raise FileNotFoundError(f"there is no {file}: weights come with a card, and a card with weights")
    remedy = "copy it again, with its weights"
    parts = read_text(card, "a card of weights", remedy).split("---\n", 2)
    if len(parts) < 3:
        raise damaged(card, "it has no YAML head with the file's sha256", remedy)
    head = check_fields(parse_yaml(parts[1], card, remedy), _HEAD, card, remedy)
    if head["sha256"] != sha256(path):
        raise ValueError(f"{card} describes other weights than {path.name} holds: save them again with their card")
    return head


_HEAD = {"family": str, "sha256": str, "config": dict, "frozen": dict, "results": dict}
"""What every card says, and of which kind it is."""


def _read(path: Path) -> tuple[dict[str, Any], Shapes]:
    """Return what a file of swaplib's says of itself, and the shapes of its tensors."""
    metadata, shapes = read_head(path)
    head = {key: metadata.get(f"swaplib.{key}") for key in ("format", "family", "config")}
    if None in head.values():
        raise ValueError(
            f"{path} is a safetensors file, but not one of swaplib's: choose another, or make it one by swaplib import"
        )
    if not re.fullmatch(r"[0-9]{1,4}", head["format"]) or int(head["format"]) > FORMAT:
        raise ValueError(f"{path} was written by a newer swaplib (format {head['format']}): update swaplib")
    config, frozen = (_read_json(text, path) for text in (head["config"], metadata.get("swaplib.frozen", "{}")))
    if not all(isinstance(value, str) for value in frozen.values()):
        raise ValueError(f"{path} has a damaged head: copy it again")
    return {**head, "config": config, "frozen": frozen}, shapes


def _read_json(text: str, path: Path) -> dict[str, Any]:
    """Read a part of a file's head. Raises ValueError for what is no JSON object of plain numbers."""
    try:
        found = parse_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} has a damaged head: copy it again")
    return found

"""Published files made loadable: recognised, and written as weights that everything finds at the preset "official".

    import_file("iteration_300000.pt")           e4s_official.safetensors, and its card
    import_file("e4e_ffhq_encode.pt")            e4e_official.safetensors, stylegan2_official.safetensors
    import_file("checkpoints/pretrained")        mask_guided_official.safetensors, helen_official.safetensors

They go into the first folder of SWAPLIB_WEIGHTS, or else among the user's own data. `families.load("e4s", "official")`,
`swap`, `evaluate`, `benchmark`, the studio and the notebooks find them there.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from swaplib import families, generators, judges, weights
from swaplib.latent import reenactment
from swaplib.provenance import Hold, sha256
from swaplib.training.model import Model
from swaplib.training.registry import Registry
from swaplib.weights import OFFICIAL, filling, published
from swaplib.weights import published_names as names
from swaplib.weights.catalogue import official_file
from swaplib.weights.files import read_tensors

REGISTRIES: tuple[Registry, ...] = (
    families.ALL, generators.ALL, generators.ENCODERS, judges.PUBLISHED, reenactment.PUBLISHED,
)  # fmt: skip
"""Where models are that a published file fills."""
_OF_TENSORS = ("latent_swap", "ir_se50", "latentswap_embedder", "bisenet", "helen", "lpips")
# What else an imported model takes, by role. Files are looked for when it is loaded: the first that is there.
NEEDS: Mapping[str, Mapping[str, str]] = {
    "e4s": {"parser, for pictures without labels": "bisenet_official, or else our own parser_demo"},
    "mask_guided": {"parser, for pictures without labels": "bisenet_official, or else our own parser_demo"},
    "latent_swap": {
        "encoder, for photographs": "e4e_official or psp_official; without one, codes are drawn or projected"
    },
}


class Found(NamedTuple):
    """A model that a published file fills: its name in the catalogue, and what was read of the file."""

    name: str
    content: Any


class Imported(NamedTuple):
    """Weights that were written: the file, the model's name, and how many numbers it has."""

    file: Path
    name: str
    parameters: int


def registry(name: str) -> Registry:
    """Return the registry of a model that a published file fills. Raises ValueError for another name."""
    for one in REGISTRIES:
        if name in one:
            return one
    raise ValueError(f"no published file fills {name}: see swaplib import --list")


def find_models(path: str | os.PathLike) -> list[Found]:
    """Recognise a published file, or a folder of Mask-Guided Portrait Editing's.

    Nothing in it is executed. Raises FileNotFoundError, and ValueError for a file of something else.
    """
    path = Path(path)
    if name := weights.read_name(path):
        raise ValueError(
            f"{path} holds swaplib's own weights of {name} already: put it into a folder of SWAPLIB_WEIGHTS"
        )
    if path.is_dir() or re.fullmatch(r".+_net_(?!P\b)\w+\.pth", path.name):
        return _find_mask_guided(path)
    networks = published.find_networks(path)
    if "e4s" in networks:
        return [Found("e4s", {name: part for name, part in networks.items() if name != "D"})]
    found = [Found(name, networks) for name in (*published.ENCODERS, "facevid2vid") if name in networks]
    for name in ("stylegan2", "stylenerf"):
        content = {"G_ema": networks["G_ema"]} if "G_ema" in networks else {}
        found += [Found(name, content)] if filling.FILLINGS[name].rename(content) else []
    if found:
        return found
    if networks:
        raise ValueError(
            f"{path} holds only {', '.join(networks)}, of which nothing is built here: choose another file"
        )
    name = filling.recognise(path, _OF_TENSORS)
    return [Found(name, filling.FILLINGS[name].read(path))]


def _find_mask_guided(path: Path) -> list[Found]:
    found = [Found("mask_guided", filling.FILLINGS["mask_guided"].read(path))]
    parser = path / "latest_net_P.pth"
    return found + ([Found("helen", read_tensors(parser))] if parser.is_file() else [])


def import_file(path: str | os.PathLike, out: str | os.PathLike | None = None) -> list[Imported]:
    """Write the weights of a published file as swaplib's own, each with a card; return them.

    out: a folder; None for `weights.user_folder`. An encoder's generator is written only where no StyleGAN2 has been
    imported before. Weights of the same name from another file are kept beside the new ones, with the first eight
    digits of their SHA-256 in their name: what was trained with them finds them by that. Raises as `find_models` does,
    ValueError for networks of an unknown size and where a generator has to be imported first, and OSError.
    """
    path = Path(path)
    folder = weights.user_folder() if out is None else Path(out)
    if folder.suffix == ".safetensors":
        raise ValueError(f"{folder} is the name of a file: name the folder, in which each model gets a file of its own")
    found = find_models(path)
    digests = _hash_sources(path, found)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with Hold(folder), weights.searching(folder):
        for one in found:
            beside = one.name == "stylegan2" and len(found) > 1  # an encoder's own
            if beside and weights.find_released(one.name, OFFICIAL).exists():
                continue
            model = build_model(one, path)
            row = official_file(one.name)
            card = weights.ImportCard(
                digests,
                row.project,
                row.licence,
                row.fills,
                _list_needs(model),
                shlex.join(["swaplib", "import", path.name]),
            )
            target = folder / f"{one.name}_{OFFICIAL}.safetensors"
            if not _is_there(target, model, digests):  # what was trained with the file finds it by its SHA-256
                _keep_other(target)
                weights.save(model, target, card)
            count = sum(value.numel() for key, value in model.named_parameters() if not _is_left_out(model, key))
            written.append(Imported(target, one.name, count))
    return written


def _hash_sources(path: Path, found: Sequence[Found]) -> dict[str, str]:
    filled = filling.FILLINGS.get(found[0].name)
    several = filled is not None and filled.beside
    files = sorted((path if path.is_dir() else path.parent).glob(filled.beside)) if several else [path]
    return {file.name: sha256(file) for file in files}


def _is_there(target: Path, model: Model, digests: Mapping[str, str]) -> bool:
    """Return whether a file holds this model's weights, imported from the same files, already."""
    try:
        card = weights.read_card(target)
    except (FileNotFoundError, ValueError):
        return False
    made = {"source": dict(digests), "config": weights.to_plain(model.config)}
    known = {key: entry["sha256"] for key, entry in card["frozen"].items()}
    return {key: card.get(key) for key in made} == made and known == model.frozen_hashes()


def _keep_other(target: Path) -> None:
    """Give the weights that have a name already, and their card, a name of their own."""
    if not target.exists():
        return
    name = f"{target.stem}-{weights.file_sha256(target)[:8]}"
    for ending in (".md", ".safetensors"):
        if target.with_suffix(ending).exists():
            target.with_suffix(ending).replace(target.with_name(name + ending))


def _list_needs(model: Model) -> dict[str, str]:
    hashes = model.frozen_hashes()
    return {keyword: f"the file of SHA-256 {digest}" for keyword, digest in hashes.items()} | dict(
        NEEDS.get(model.name, {})
    )


def _is_left_out(model: Model, parameter: str) -> bool:
    return parameter.startswith(tuple(f"{name}." for name in model.training_only))


# ---------------------------------------------------------------------------------------------- building


def build_model(found: Found, path: str | os.PathLike) -> Model:
    """Build a model of the size that a published file has, and fill it; the path appears in error messages.

    Raises ValueError for networks of an unknown size.
    """
    name, content = found
    kinds = registry(name)
    if name in published.ENCODERS:
        return kinds.kind(name).from_network(published.build_networks({name: content[name]}, path)[name])
    if name == "facevid2vid":
        network = published.build_networks({name: content[name]}, path)[name]
        width = len(content[name]["generator.first.conv.bias"])
        return reenactment.DrivingNetwork(reenactment.Config(width), network)
    frozen = {"generator": _find_generator(path)} if _needs_generator(kinds, name) else {}
    configs = _list_configs(name, content, frozen)
    refused = None
    for config in configs:
        with torch.device("meta"):
            like = kinds.build(name, config, frozen=frozen)
        try:
            filling.fill(like, path, content)
        except ValueError as error:
            refused = refused or error
            continue
        return _fill(kinds, name, config, path, content, frozen)
    raise refused or ValueError(f"{path} holds a {name} of an unknown size: choose another file")


def _needs_generator(kinds: Registry, name: str) -> bool:
    """Return whether a model draws by a generator that its own published file doesn't hold."""
    kind = kinds.kind(name)
    return "generator" in kind.frozen_models(kinds.config(name, "paper")) and "generator" not in kind.official


def _fill(kinds: Registry, name: str, config: Any, path: str | os.PathLike, content: Any, frozen: Mapping) -> Model:
    """Return the filled model. Of its frozen models it keeps those alone without which its numbers mean nothing."""
    kind = kinds.kind(name)
    wanted = {key: which for key, which in kind.frozen_models(config).items() if key not in kind.optional}
    found = {key: kinds.holder(which[0]).frozen(*which) for key, which in wanted.items() if key not in frozen}
    model = kinds.build(name, config, frozen={**dict.fromkeys(kind.optional), **found, **frozen})
    filling.fill(model, path, content)
    model.frozen = dict(frozen)
    return model.eval()


def _list_configs(name: str, content: Any, frozen: Mapping[str, Any]) -> Sequence[Any]:
    """Return the configs that a file may be of: read from its tensors, or those of our presets."""
    if name in judges.PUBLISHED:
        return [judges.PUBLISHED.config(name, OFFICIAL)]
    kind = registry(name).kind(name)
    if name in _SIZED:
        try:
            configs = [_SIZED[name](kind, content, frozen)]
        except (LookupError, ValueError, RuntimeError):
            return []
    else:
        presets = ("released", "paper", "demo", "smoke")
        configs = [getattr(kind.Config, preset)() for preset in presets if hasattr(kind.Config, preset)]
    return [_as_published(kind, config) for config in configs]


def _as_published(kind: type[Model], config: Any) -> Any:
    """Return a family's config with its authors' framing and imported networks beside it; others as they are."""
    if not hasattr(config, "framing"):
        return config
    fields = {"framing", "judges_preset", "parser_preset"} & vars(config).keys()
    return replace(config, **{name: kind.official_framing if name == "framing" else OFFICIAL for name in fields})


def _read_stylegan2(kind: type[Model], content: Any, frozen: Mapping[str, Any]) -> Any:
    return replace(kind.Config.paper(), **published.read_sizes(content["G_ema"]))


def _read_stylenerf(kind: type[Model], content: Any, frozen: Mapping[str, Any]) -> Any:
    sizes = vars(published.read_build(content["G_ema"]))
    return replace(kind.Config.released(sizes["size"]), **sizes)


def _read_mixers(kind: type[Model], content: Any, frozen: Mapping[str, Any]) -> Any:
    """Return LatentSwap's config: its mixers' number and depth from the file, its pictures from the generator."""
    tensors = names.from_latentswap(content)["mixer"]
    layers, depth = len(tensors["weights.0"]), sum(name.startswith("weights.") for name in tensors)
    return replace(
        kind.Config.paper(), size=frozen["generator"].config.size, generator_preset=OFFICIAL, encoder_preset=OFFICIAL,
        space="w+" if layers > 1 else "w", depth=depth,
    )  # fmt: skip


_SIZED = {"stylegan2": _read_stylegan2, "stylenerf": _read_stylenerf, "latent_swap": _read_mixers}
"""Formats whose tensors say how large the model is; the others are of one of our presets."""


def _find_generator(path: str | os.PathLike) -> Model:
    """Return the imported StyleGAN2. Raises ValueError where there is none."""
    if not weights.find_released("stylegan2", OFFICIAL).exists():
        row = official_file("stylegan2")
        raise ValueError(
            f"{path} holds mixers of a generator's codes, and no StyleGAN2 has been imported: import the one that they "
            f"were trained with first (swaplib import FILE; {row.files.split(',')[0]} of {row.project})"
        )
    return generators.frozen("stylegan2", OFFICIAL)

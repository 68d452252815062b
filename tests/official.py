"""Weights and inputs of the reference outputs in tests/fixtures: functions of a seed and a name, so that no file holds
them. Uniform numbers of numpy's frozen legacy generator; RECIPE in tests/fixtures/README.md says how."""

from __future__ import annotations

import json
import platform
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from swaplib.weights import published_names

FOLDER = Path(__file__).parent / "fixtures"


def describe_machine() -> str:
    """Name what decides the last bits of a result: the processor's build, and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else platform.processor()
    build = " ".join(
        dict.fromkeys(re.findall(r"^(?:vendor_id|cpu family|model|stepping)\s*: (\S+)$", text, re.MULTILINE))
    )
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{build}, {capability}, torch {torch.__version__}, numpy {np.__version__}, {platform.system()}"


def expected(name: str) -> dict[str, torch.Tensor]:
    with np.load(FOLDER / name / "expected.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def inputs(name: str) -> dict[str, torch.Tensor]:
    with np.load(FOLDER / name / "inputs.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def uniform(seed: int, name: str, shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
    numbers = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode())).random_sample(int(np.prod(shape)))
    return torch.from_numpy((low + (high - low) * numbers).reshape(shape).astype(np.float32))


def fill(network: nn.Module, name: str, key=lambda name: name) -> nn.Module:
    """Give a network the seeded weights of a fixture; `key`: our name of a tensor -> the official."""
    fill_tensors({key(ours): tensor for ours, tensor in network.state_dict().items()}, name)
    return network.eval()


def fill_tensors(tensors: dict[str, torch.Tensor], name: str) -> None:
    """The same for tensors under their official names."""
    recipe = json.loads((FOLDER / name / "recipe.json").read_text())
    for key, tensor in tensors.items():
        if tensor.is_floating_point():
            _fill(tensor, key, recipe)


def _fill(tensor: torch.Tensor, key: str, recipe: dict) -> None:
    shape = tuple(tensor.shape)
    count = int(np.prod(shape))
    fitting = (rule for rule in recipe["rules"] if rule[1] <= len(shape) <= rule[2] and re.search(rule[0], key))
    *_, mean, scale = next(fitting)
    if scale == "keep":
        return
    numbers = np.random.RandomState(zlib.crc32(f"{recipe['seed']}:{key}".encode())).random_sample(count)
    values = ((2 * numbers - 1) * 1.7320508075688772).reshape(shape)
    if isinstance(scale, str):
        scale = float(scale.removeprefix("fan:")) / np.sqrt(count / shape[0])
    tensor.copy_(torch.from_numpy(np.asarray(mean + scale * values, np.float32)))


def keys(name: str, part: str = "") -> dict[str, tuple[int, ...]]:
    """The official state dict's names and shapes; part: of which network, where there are several."""
    networks = json.loads((FOLDER / name / "keys.json").read_text())
    network = networks[part] if part else next(iter(networks.values()))
    return {key: tuple(shape) for key, (shape, *_) in network["tensors"].items()}


# ---------------------------------------------------------------------------------------------- small published files
# Of the published layouts, with random numbers, as small as our presets are.


def write_rosinality(path: Path, network: nn.Module, mean: torch.Tensor | None = None) -> Path:
    """A generator's file as rosinality's training writes it."""
    state, own = published_names.to_rosinality(network.state_dict())
    torch.save({"g_ema": state, "latent_avg": own if mean is None else mean}, path)
    return path


def write_e4s(path: Path, family: nn.Module) -> Path:
    """E4S's file, from a family of any size."""
    state = family.state_dict()

    def inside(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    theirs, _ = published_names.to_rosinality(inside("generator."))
    own = {f"module.{name.replace('mlps', 'MLPs')}": value for name, value in state.items()
           if name.startswith(("encoder.", "mlps."))}  # fmt: skip
    own |= {f"module.G.{name}": value for name, value in theirs.items()}
    judge, _ = published_names.to_rosinality(inside("discriminator."))
    torch.save({"state_dict": own, "latent_avg": family.mean, "D_state_dict": judge, "opts": {"K": 6}}, path)
    return path


def write_encoder(path: Path, encoder: nn.Module, generator: nn.Module) -> Path:
    """pSp's or e4e's file: an encoder and its generator."""
    theirs, mean = published_names.to_rosinality(generator.state_dict())
    state = {f"decoder.{name}": value for name, value in theirs.items()}
    state |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    options = {"encoder_type": type(encoder).__name__, "start_from_latent_avg": True}
    torch.save({"state_dict": state, "opts": options, "latent_avg": mean.expand(encoder.layers, -1).clone()}, path)
    return path


def write_latent_swap(path: Path, mixer: nn.Module) -> Path:
    """LatentSwap's checkpoint: a network for each layer, its linear layers at even numbers."""
    names = {}
    for what, stacked in (("weight", mixer.weights), ("bias", mixer.biases)):
        for k, values in enumerate(stacked):
            for layer, value in enumerate(values):
                names[f"identity_mixer.mixer.{layer}.{2 * k}.{what}"] = value if what == "weight" else value[0]
    torch.save({"state_dict": {name: value.detach().clone() for name, value in names.items()}, "epoch": 39}, path)
    return path


def write_facevid2vid(path: Path, network: nn.Module) -> Path:
    """FaceVid2Vid's checkpoint."""
    torch.save({name: part.state_dict() for name, part in network.named_children()} | {"epoch": 189}, path)
    return path


def write_mask_guided(folder: Path, family: nn.Module) -> Path:
    """The folder of Mask-Guided Portrait Editing's files, without what only training needs."""
    folder.mkdir()
    for name in ["G", *(f"{kind}_{part}" for kind in ("encoder", "decoder") for part in family.encoders)]:
        state = family.get_submodule(published_names.mask_guided_place(name)).state_dict()
        named = [(key, published_names.mask_guided_name(key)) for key in keys("mask_guided_portrait_editing", name)]
        torch.save({key: state[own] for key, own in named if own in state}, folder / f"latest_net_{name}.pth")
    return folder

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

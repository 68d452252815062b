"""From the names of TensorFlow's and rosinality's StyleGAN2 to those of the official PyTorch code, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from swaplib.weights.files import Tensors


def as_floats(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Without the filters, which never change."""
    kept = {name: value for name, value in tensors.items() if not name.endswith("resample_filter")}
    return {name: value.detach().float().clone() for name, value in kept.items()}


# ---------------------------------------------------------------------------------------------- TensorFlow's names


def variables_of(network: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    found = {prefix + name: np.asarray(value) for name, value in network["variables"]}
    for name, part in network["components"].items():
        found |= variables_of(part, f"{prefix}{name}/")
    return found


_MODULES = {"4x4/Conv": "b4.conv", "4x4/Dense0": "b4.fc", "Output": "b4.out"}
_PIECES = {"mod_weight": "affine.weight", "mod_bias": "affine.bias"}


def from_tensorflow(variables: Mapping[str, np.ndarray], critic: bool) -> Tensors:
    """Transposed from HWIO; filters of doubling convolutions are turned over, and styles' biases count from 1."""
    tensors = {}
    for name, value in variables.items():
        new = _critic_name(name) if critic else _generator_name(name)
        if new is None:
            continue
        if "conv0" in new and new.endswith("weight") and value.ndim == 4 and not critic:
            value = value[::-1, ::-1]
        if value.ndim == 4:
            value = value[0, 0] if "noise" in new else value[0] if "const" in new else value.transpose(3, 2, 0, 1)
        value = value.T if value.ndim == 2 and "noise" not in new else value
        tensors[new] = torch.from_numpy(np.array(value, np.float32)) + float(new.endswith("affine.bias"))
    return tensors


def _generator_name(name: str) -> str | None:
    """The official PyTorch name of a TensorFlow variable; None for one that is not a weight."""
    if name == "dlatent_avg":
        return "mapping.w_avg"
    if found := re.fullmatch(r"mapping/Dense(\d+)/(\w+)", name):
        return f"mapping.fc{found[1]}.{found[2]}"
    if found := re.fullmatch(r"synthesis/noise(\d+)", name):
        number = int(found[1])
        layer = "b4.conv1" if number == 0 else f"b{8 << (number - 1) // 2}.conv{(number - 1) % 2}"
        return f"synthesis.{layer}.noise_const"
    found = re.fullmatch(r"synthesis/(\d+)x\1/(Const|Conv|Conv0_up|Conv1|ToRGB)/(\w+)", name)
    if not found:
        return None
    if found[2] == "Const":
        return "synthesis.b4.const"
    layer = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb"}[found[2]]
    return f"synthesis.b{found[1]}.{layer}.{_PIECES.get(found[3], found[3])}"


def _critic_name(name: str) -> str | None:
    module, _, piece = name.rpartition("/")
    if module in _MODULES:
        return f"{_MODULES[module]}.{piece}"
    layers = {"FromRGB": "fromrgb", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"}
    found = re.fullmatch(r"(\d+)x\1/(\w+)", module)
    return f"b{found[1]}.{layers[found[2]]}.{piece}" if found and found[2] in layers else None


_PIECES_OF_LAYERS = {
    "weight": "conv.weight", "affine.weight": "conv.modulation.weight", "affine.bias": "conv.modulation.bias",
    "bias": "activate.bias", "noise_strength": "noise.weight",
}  # fmt: skip
_PIECES_OF_CRITICS = {
    "fromrgb": {"weight": "0.weight", "bias": "1.bias"}, "conv0": {"weight": "conv1.0.weight", "bias": "conv1.1.bias"},
    "conv1": {"weight": "conv2.1.weight", "bias": "conv2.2.bias"}, "skip": {"weight": "skip.1.weight"},
}  # fmt: skip
_ENDS_OF_CRITICS = {
    "conv.weight": "final_conv.0.weight", "conv.bias": "final_conv.1.bias", "fc.weight": "final_linear.0.weight",
    "fc.bias": "final_linear.0.bias", "out.weight": "final_linear.1.weight", "out.bias": "final_linear.1.bias",
}  # fmt: skip


def rosinality_name(name: str, size: int) -> str:
    """What rosinality calls a tensor that the official code calls `name`, of a generator or discriminator of `size`."""
    if found := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", name):
        return f"style.{int(found[1]) + 1}.{found[2]}"
    if name == "synthesis.b4.const":
        return "input.input"
    generates, side, layer, piece = re.fullmatch(r"(synthesis\.)?b(\d+)\.(\w+)\.([\w.]+)", name).groups()
    level = int(side).bit_length() - 1
    if not generates:
        if side == "4":
            return _ENDS_OF_CRITICS[f"{layer}.{piece}"]
        block = 0 if layer == "fromrgb" else size.bit_length() - level
        return f"convs.{block}.{_PIECES_OF_CRITICS[layer][piece]}"
    if layer == "torgb":
        place = "to_rgb1" if side == "4" else f"to_rgbs.{level - 3}"
        return f"{place}.{'bias' if piece == 'bias' else _PIECES_OF_LAYERS[piece]}"
    number = 2 * (level - 3) + int(layer[-1])  # of the layer; -1 for the first one
    if piece == "noise_const":
        return f"noises.noise_{number + 1}"
    return f"{'conv1' if side == '4' else f'convs.{number}'}.{_PIECES_OF_LAYERS[piece]}"


def _official_names(size: int, critic: bool) -> list[str]:
    sides = [4 << k for k in range(size.bit_length() - 2)]
    if critic:
        blocks = [f"b{side}.{piece}" for side in sides[1:] for piece in
                  ("conv0.weight", "conv0.bias", "conv1.weight", "conv1.bias", "skip.weight")]  # fmt: skip
        rgb = [f"b{size}.fromrgb.{piece}" for piece in ("weight", "bias")]
        return rgb + blocks + [f"b4.{piece}" for piece in _ENDS_OF_CRITICS]
    pieces = [*_PIECES_OF_LAYERS, "noise_const"]
    layers = [f"b{side}.{layer}" for side in sides for layer in ("conv0", "conv1")[side == 4 :]]
    steered = [f"{layer}.{piece}" for layer in layers for piece in pieces]
    shown = [f"b{side}.torgb.{piece}" for side in sides for piece in list(_PIECES_OF_LAYERS)[:4]]
    return [f"synthesis.{name}" for name in ("b4.const", *steered, *shown)]


def from_rosinality(tensors: Mapping[str, torch.Tensor], mean: torch.Tensor | None = None) -> Tensors:
    """A generator's or discriminator's state dict under the official names; mean: the file's `latent_avg`.

    Raises KeyError for tensors that are missing.
    """
    critic = "final_conv.0.weight" in tensors
    if critic:
        size = 4 << max(int(name.split(".")[1]) for name in tensors if name.startswith("convs."))
        names = _official_names(size, critic)
    else:
        size = 8 << max(int(name.split(".")[1]) for name in tensors if name.startswith("to_rgbs."))
        depth = sum(bool(re.fullmatch(r"style\.\d+\.bias", name)) for name in tensors)
        names = [f"mapping.fc{k}.{piece}" for k in range(depth) for piece in ("weight", "bias")]
        names += _official_names(size, critic)
    found = {name: _bare(name, tensors[rosinality_name(name, size)]) for name in names}
    if not critic:
        w = found["mapping.fc0.weight"].shape[0]
        found["mapping.w_avg"] = torch.zeros(w) if mean is None else mean.reshape(w)
    return as_floats(found)


def _bare(name: str, value: torch.Tensor) -> torch.Tensor:
    """Without the axes of length 1 that rosinality's generators have in front."""
    if name.endswith("noise_strength"):
        return value.reshape(())
    if name.endswith("torgb.bias"):
        return value.flatten()
    axes = 2 if "noise_const" in name else int(name.startswith("synthesis") and value.ndim > 3)
    return value[(0,) * axes]


def to_rosinality(tensors: Mapping[str, torch.Tensor]) -> tuple[Tensors, torch.Tensor | None]:
    """A state dict under the official names as rosinality's, without its filters, and its `latent_avg`."""
    size = max(int(found[1]) for name in tensors if (found := re.search(r"\bb(\d+)\.", name)))
    named = {name: value for name, value in tensors.items() if name != "mapping.w_avg"}
    renamed = {rosinality_name(name, size): _dressed(name, value) for name, value in named.items()}
    return renamed, tensors.get("mapping.w_avg")


def _dressed(name: str, value: torch.Tensor) -> torch.Tensor:
    if name.endswith("noise_strength"):
        return value.reshape(1)
    if name.endswith("torgb.bias"):
        return value[None, :, None, None]
    if "noise_const" in name:
        return value[None, None]
    return value[None] if name.startswith("synthesis") and value.ndim > 2 else value

"""Names of published tensors: StyleGAN2's in TensorFlow and rosinality's code to the official ones, others' to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from swaplib.weights.files import Tensors


def as_floats(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return the tensors as float32, without the filters, which never change."""
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


def from_tensorflow(variables: Mapping[str, np.ndarray], discriminator: bool) -> Tensors:
    """Convert TensorFlow's variables to tensors under the official PyTorch names.

    Convolutions are transposed from HWIO, filters of upsampling convolutions are flipped, and 1 is added to the styles'
    biases.
    """
    tensors = {}
    for name, value in variables.items():
        new = _discriminator_name(name) if discriminator else _generator_name(name)
        if new is None:
            continue
        if "conv0" in new and new.endswith("weight") and value.ndim == 4 and not discriminator:
            value = value[::-1, ::-1]
        if value.ndim == 4:
            value = value[0, 0] if "noise" in new else value[0] if "const" in new else value.transpose(3, 2, 0, 1)
        value = value.T if value.ndim == 2 and "noise" not in new else value
        tensors[new] = torch.from_numpy(np.array(value, np.float32)) + float(new.endswith("affine.bias"))
    return tensors


def _generator_name(name: str) -> str | None:
    """Return the official PyTorch name of a TensorFlow variable, or None for one that is not a weight."""
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


def _discriminator_name(name: str) -> str | None:
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
_PIECES_OF_DISCRIMINATORS = {
    "fromrgb": {"weight": "0.weight", "bias": "1.bias"}, "conv0": {"weight": "conv1.0.weight", "bias": "conv1.1.bias"},
    "conv1": {"weight": "conv2.1.weight", "bias": "conv2.2.bias"}, "skip": {"weight": "skip.1.weight"},
}  # fmt: skip
_ENDS_OF_DISCRIMINATORS = {
    "conv.weight": "final_conv.0.weight", "conv.bias": "final_conv.1.bias", "fc.weight": "final_linear.0.weight",
    "fc.bias": "final_linear.0.bias", "out.weight": "final_linear.1.weight", "out.bias": "final_linear.1.bias",
}  # fmt: skip


def rosinality_name(name: str, size: int) -> str:
    """Return rosinality's name of a tensor that the official code calls `name`, in a network for pictures of `size`."""
    if found := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", name):
        return f"style.{int(found[1]) + 1}.{found[2]}"
    if name == "synthesis.b4.const":
        return "input.input"
    generates, side, layer, piece = re.fullmatch(r"(synthesis\.)?b(\d+)\.(\w+)\.([\w.]+)", name).groups()
    level = int(side).bit_length() - 1
    if not generates:
        if side == "4":
            return _ENDS_OF_DISCRIMINATORS[f"{layer}.{piece}"]
        block = 0 if layer == "fromrgb" else size.bit_length() - level
        return f"convs.{block}.{_PIECES_OF_DISCRIMINATORS[layer][piece]}"
    if layer == "torgb":
        place = "to_rgb1" if side == "4" else f"to_rgbs.{level - 3}"
        return f"{place}.{'bias' if piece == 'bias' else _PIECES_OF_LAYERS[piece]}"
    number = 2 * (level - 3) + int(layer[-1])  # of the layer; -1 for the first one
    if piece == "noise_const":
        return f"noises.noise_{number + 1}"
    return f"{'conv1' if side == '4' else f'convs.{number}'}.{_PIECES_OF_LAYERS[piece]}"


def _official_names(size: int, discriminator: bool) -> list[str]:
    sides = [4 << k for k in range(size.bit_length() - 2)]
    if discriminator:
        blocks = [f"b{side}.{piece}" for side in sides[1:] for piece in
                  ("conv0.weight", "conv0.bias", "conv1.weight", "conv1.bias", "skip.weight")]  # fmt: skip
        rgb = [f"b{size}.fromrgb.{piece}" for piece in ("weight", "bias")]
        return rgb + blocks + [f"b4.{piece}" for piece in _ENDS_OF_DISCRIMINATORS]
    pieces = [*_PIECES_OF_LAYERS, "noise_const"]
    layers = [f"b{side}.{layer}" for side in sides for layer in ("conv0", "conv1")[side == 4 :]]
    steered = [f"{layer}.{piece}" for layer in layers for piece in pieces]
    shown = [f"b{side}.torgb.{piece}" for side in sides for piece in list(_PIECES_OF_LAYERS)[:4]]
    return [f"synthesis.{name}" for name in ("b4.const", *steered, *shown)]


def from_rosinality(tensors: Mapping[str, torch.Tensor], mean: torch.Tensor | None = None) -> Tensors:
    """Return a generator's or discriminator's state dict under the official names; mean is the file's `latent_avg`.

    Raises KeyError for tensors that are missing.
    """
    discriminator = "final_conv.0.weight" in tensors
    if discriminator:
        size = 4 << _last_number(tensors, "convs.")
        names = _official_names(size, discriminator)
    else:
        size = 8 << _last_number(tensors, "to_rgbs.")
        depth = sum(bool(re.fullmatch(r"style\.\d+\.bias", name)) for name in tensors)
        names = [f"mapping.fc{k}.{piece}" for k in range(depth) for piece in ("weight", "bias")]
        names += _official_names(size, discriminator)
    found = {}
    for name in names:
        theirs = rosinality_name(name, size)
        if "noise_const" in name and theirs not in tensors:  # many files leave the noise out, which is random anyway
            side = int(re.search(r"b(\d+)", name)[1])
            found[name] = torch.zeros(side, side)
        else:
            found[name] = _bare(name, tensors[theirs])
    if not discriminator:
        w = found["mapping.fc0.weight"].shape[0]
        found["mapping.w_avg"] = torch.zeros(w) if mean is None else mean.reshape(w)
    return as_floats(found)


def _last_number(tensors: Mapping[str, torch.Tensor], prefix: str) -> int:
    """Return the highest number after a prefix. Raises KeyError where there is none, or none that a network has."""
    found = {int(part) for name in tensors if name.startswith(prefix) and (part := name.split(".")[1]).isdecimal()}
    if not found or max(found) > 10:
        raise KeyError(f"{prefix}0" if not found else f"{prefix}{max(found)}")
    return max(found)


def _bare(name: str, value: torch.Tensor) -> torch.Tensor:
    """Drop the leading axes of length 1 that rosinality's generators have."""
    if name.endswith("noise_strength"):
        return value.reshape(())
    if name.endswith("torgb.bias"):
        return value.flatten()
    axes = 2 if "noise_const" in name else int(name.startswith("synthesis") and value.ndim > 3)
    return value[(0,) * axes]


def to_rosinality(tensors: Mapping[str, torch.Tensor]) -> tuple[Tensors, torch.Tensor | None]:
    """Return a state dict under rosinality's names, without filters, and its `latent_avg`."""
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


# ---------------------------------------------------------------------------------------------- our networks' names
#
# From a file's content to the tensors of our networks: path of a submodule in the model that they fill -> its tensors.
# A file of something else gives an empty dict, or raises whatever looking up its tensors raises.

Networks = dict[str, Tensors]
"""Network -> tensors: by its name in a file, or by its path in a model."""


def from_e4s(networks: Mapping[str, Tensors]) -> Networks:
    """Rename what `published.read` returns for E4S's file, with the discriminator where the file has one."""
    if not {"e4s", "G"} <= networks.keys():
        return {}
    found = {"mean": {"": networks["e4s"]["mean"]}, "generator": networks["G"]}
    found |= {part: _inside(networks["e4s"], f"{part}.") for part in ("encoder", "mlps")}
    return found | ({"discriminator": networks["D"]} if "D" in networks else {})


def from_stylegan2(networks: Mapping[str, Tensors]) -> Networks:
    """Rename what `published.read` returns for a generator's file, with the discriminator where the file has one."""
    return _generator(networks, "synthesis.b4.const")


def from_stylenerf(networks: Mapping[str, Tensors]) -> Networks:
    """Return what `published.read` gives for StyleNeRF's file as it is: its names are ours."""
    return _generator(networks, "synthesis.fg_nerf.fc_in.weight")


def _generator(networks: Mapping[str, Tensors], known: str) -> Networks:
    """Return generator and discriminator of a file whose generator has a tensor of that name."""
    places = {"G_ema": "network", "D": "discriminator"}
    here = known in networks.get("G_ema", {})
    return {places[name]: networks[name] for name in places if name in networks} if here else {}


def from_latentswap(tensors: Mapping[str, torch.Tensor]) -> Networks:
    """Stack the mixers of a LatentSwap checkpoint, which has a network per layer where we have one for all."""
    mixers = _inside(tensors, "identity_mixer.mixer.")
    if not mixers:
        return {}
    layers, depth = (len({name.split(".")[k] for name in mixers}) for k in (0, 1))
    found = {}
    for k in range(depth):  # the odd numbers between are activations
        for what, ours in (("weight", "weights"), ("bias", "biases")):
            value = torch.stack([mixers[f"{layer}.{2 * k}.{what}"] for layer in range(layers)])
            found[f"{ours}.{k}"] = value if value.ndim == 3 else value[:, None]
    return {"mixer": found}


MASK_GUIDED_PARTS = ("left_eye", "right_eye", "mouth", "skin", "hair")
"""Components of a face, each with an encoder and two decoders in files of their own."""
_MASK_GUIDED_NAMES = (
    (r"^downsample_model\.", "mask_encoder."),
    (r"^bg_encoder\.", "background_encoder."),
    (r"^bg_decoder\.", "background_decoder."),
    (r"^model\.", "body."),
    (r"\.conv_block\.", ".layers."),
    (r"^scale0_layer", "scales.1."),  # theirs begin with the coarsest
    (r"^scale1_layer", "scales.0."),
    (r"^conv\.(\d+)\.conv\.(?=\d)", r"body.\1."),
    (r"^conv\.(\d+)\.conv\.", r"body.\1.0."),
    (r"^conv\.(\d+)\.bn\.", r"body.\1.1."),
    (r"^conv\.", "body."),
    (r"^fc_mu\.", "mean."),
    (r"^fc_var\.", "log_variance."),
    (r"^fc\.0\.", "seed."),
)


def mask_guided_place(network: str) -> str:
    """Return the path in our model of an authors' network, such as G, D or encoder_mouth."""
    whole = {"G": "generator", "D": "discriminators.paired", "D2": "discriminators.unpaired"}
    if network in whole:
        return whole[network]
    kind, _, part = network.partition("_")
    image = part.endswith("_image")
    return f"{'image_' if image else ''}{kind}s.{part.removesuffix('_image')}"


def mask_guided_name(name: str) -> str:
    """Return our name of a tensor in one of these networks."""
    for pattern, new in _MASK_GUIDED_NAMES:
        name = re.sub(pattern, new, name)
    return name


def from_mask_guided(networks: Mapping[str, Tensors]) -> Networks:
    """Rename all networks of Mask-Guided Portrait Editing, and the tensors in them."""
    return {
        mask_guided_place(network): {mask_guided_name(name): value for name, value in tensors.items()}
        for network, tensors in networks.items()
    }


def from_ir_se50(tensors: Mapping[str, torch.Tensor]) -> Networks:
    """Return IR-SE50's tensors as they are: its names are ours."""
    return {"network": dict(tensors)} if "output_layer.3.weight" in tensors else {}


def from_latentswap_embedder(tensors: Mapping[str, torch.Tensor]) -> Networks:
    """Rename the embedder in the checkpoint of its own training."""
    network = _inside(tensors, "net.")
    return {part: _inside(network, f"{part}.") for part in ("resnet", "last")} if "resnet.fc.weight" in network else {}


def from_bisenet(tensors: Mapping[str, torch.Tensor]) -> Networks:
    """Return BiSeNet's tensors as they are: its names are ours."""
    return {"network": dict(tensors)} if "cp.resnet.conv1.weight" in tensors else {}


def from_helen(tensors: Mapping[str, torch.Tensor]) -> Networks:
    """Rename the parser of Mask-Guided Portrait Editing, a U-Net."""
    if not all(name.startswith("model.model.") for name in tensors):
        return {}
    return {"network": {pix2pix_name(name): value for name, value in tensors.items()}}


def pix2pix_name(name: str) -> str:
    """Return our name of a tensor of pix2pix's U-Net, where each level lies inside the one before."""
    *path, layer, what = name.split(".")
    level = path.count("model") - 2
    kind = ("downs", "downs", "down_norms", "ups", "up_norms", "ups", "up_norms")[int(layer)]
    return f"{kind}.{level - kind.endswith('norms')}.{what}"


def from_lpips(tensors: Mapping[str, torch.Tensor]) -> Networks:
    """Rename AlexNet's convolutions and LPIPS's weights of them, which its file calls `lin0.model.1.weight` etc."""
    if not {"features.10.weight", "lin4.model.1.weight"} <= tensors.keys():
        return {}
    weights = {f"{k}": tensors[f"lin{k}.model.1.weight"] for k in range(5)}
    return {"features": _inside(tensors, "features."), "weights": weights}


def _inside(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

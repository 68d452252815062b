"""Published checkpoints of StyleGAN2, of what was built on it, and of FaceVid2Vid; nothing in them is executed.

    read("ffhq.pkl")              NVIDIA's PyTorch pickles (stylegan2-ada-pytorch)   G, D, G_ema
    read("…config-f.pkl")         NVIDIA's TensorFlow pickles                        G, D, G_ema
    read("550000.pt")             rosinality's files                                 G_ema; G and D if they are there
    read("e4e_ffhq_encode.pt")    pSp's and e4e's files                              psp or e4e, G_ema
    read("….pth.tar")             FaceVid2Vid's file that E4S uses                   facevid2vid
    read("iteration_300000.pt")   E4S's file                                         e4s, G; D if it is there
    read("anything.safetensors")  what `convert` wrote

All give tensors by network and by the names of the official PyTorch code, which our networks bear too. NVIDIA's
pickles carry the source text of their classes, which their own loader executes; here it is never looked at. A pickle
may only name the few things that weights need; the first other one ends the reading.
"""

from __future__ import annotations

import io
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from swaplib.networks import psp
from swaplib.networks.facevid2vid import FaceVid2Vid
from swaplib.networks.stylegan2 import Generator
from swaplib.provenance import replacing, sha256
from swaplib.weights import asked_for, content

Tensors = dict[str, torch.Tensor]


def read(path: str | os.PathLike) -> dict[str, Tensors]:
    """Network -> tensors by their official names, float32.

    Raises FileNotFoundError, and ValueError for a file that asks for more than data, is damaged or holds something
    else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    if path.suffix == ".safetensors":
        return _converted(path)
    found = _unpickled(path) if path.suffix == ".pkl" else content(path)
    try:
        networks = _nvidia(found) if path.suffix == ".pkl" else _torch_file(found)
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} isn't laid out as a published checkpoint is ({error!r}): choose another") from error
    if not networks:
        raise ValueError(
            f"{path} holds no network that is known here: choose a file of StyleGAN2, pSp, e4e, E4S or FaceVid2Vid"
        )
    return networks


def convert(path: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Write what `read` gives as safetensors, each tensor named network.name; whole or not at all.

    Raises as `read` does, and ValueError for a name that doesn't end in .safetensors.
    """
    path, out = Path(path), Path(out)
    if out.suffix != ".safetensors":
        raise ValueError(f"{out} must end in .safetensors: choose such a name")
    networks = read(path)
    tensors = {f"{kind}.{name}": value.contiguous() for kind, part in networks.items() for name, value in part.items()}
    with replacing(out) as temporary:
        save_file(tensors, temporary, {"swaplib.source": path.name, "swaplib.source_sha256": sha256(path)})
    return out


def _converted(path: Path) -> dict[str, Tensors]:
    networks: dict[str, Tensors] = {}
    try:
        with safe_open(path, framework="pt") as file:
            if "swaplib.source" not in (file.metadata() or {}):
                raise ValueError(f"{path} wasn't made by swaplib import: choose another file")
            for key in file.keys():  # noqa: SIM118 no dict
                network, _, name = key.partition(".")
                networks.setdefault(network, {})[name] = file.get_tensor(key)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): copy it anew") from error
    return networks


def generator(path: str | os.PathLike) -> Generator:
    """The generator with averaged weights of a published file, in evaluation mode. Raises as `read` does."""
    networks = read(path)
    if "G_ema" not in networks:
        raise ValueError(f"{path} holds no generator, only {', '.join(networks)}: choose another file")
    return build(networks["G_ema"], path)


def build(tensors: Tensors, path: str | os.PathLike) -> Generator:
    """A generator of the size that its tensors have; the path stands in error messages."""
    widths = {int(name.split(".")[1][1:]): len(value) for name, value in tensors.items() if "conv1.bias" in name}
    depth = sum(bool(re.fullmatch(r"mapping\.fc\d+\.bias", name)) for name in tensors)
    try:
        size = max(widths)
        w, z = tensors["mapping.fc0.weight"].shape
        network = Generator(size, size * widths[size], widths[4], z, w, depth)
        network.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} holds a generator of another build: only StyleGAN2's skip layout is known") from error
    return network.requires_grad_(False).eval()


ENCODERS: dict[str, type[psp.Encoder]] = {"psp": psp.GradualStyleEncoder, "e4e": psp.Encoder4Editing}
"""Network, as `read` calls it -> class, as the files call it."""


def codec(path: str | os.PathLike) -> tuple[psp.Encoder, Generator]:
    """The encoder of pSp's or e4e's file and the generator that it encodes for, both in evaluation mode.

        encoder, generator = codec("e4e_ffhq_encode.pt")
        pictures = generator.synthesis(encoder(images))

    The encoder takes pictures (B, 3, H, W) in [-1, 1], aligned "ffhq" and resized to 256 px by itself, and gives codes
    (B, layers, w), the file's mean code included. Raises as `read` does, and ValueError for a file without such an
    encoder, or with one of another build.
    """
    networks = read(path)
    kind = next((name for name in ENCODERS if name in networks), None)
    if kind is None or "G_ema" not in networks:
        raise ValueError(
            f"{path} holds no encoder of pSp's or e4e's with its generator, only {', '.join(networks)}: choose another "
            "file"
        )
    generator = build(networks["G_ema"], path)
    encoder = _encoder(ENCODERS[kind], networks[kind], path)
    if encoder.latent_avg.shape != (generator.layers, generator.mapping.w_avg.shape[0]):
        raise ValueError(
            f"{path} holds an encoder to {tuple(encoder.latent_avg.shape)} and a generator of {generator.layers} "
            "layers: choose another file"
        )
    return encoder, generator


def _encoder(kind: type[psp.Encoder], tensors: Tensors, path: str | os.PathLike) -> psp.Encoder:
    """An encoder of the size that its tensors have, which become its own."""
    mean = tensors.get("latent_avg")
    tensors = {name: value for name, value in tensors.items() if name != "latent_avg"}
    layers = len({name.split(".")[1] for name in tensors if name.startswith("styles.")})
    try:
        width, w = len(tensors["input_layer.0.weight"]), len(tensors["styles.0.linear.bias"])
        with torch.device("meta"):  # so that 267 million numbers are not drawn in vain
            network = kind(2 << layers // 2, width, w)
        network.load_state_dict(tensors, assign=True)
        network.latent_avg = torch.zeros(layers, w) if mean is None else mean.expand(layers, w).clone()
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds an encoder of another build: only pSp's and e4e's on IR-SE50, for pictures in three "
            "colours, are known"
        ) from error
    return network.requires_grad_(False).eval()


def facevid2vid(path: str | os.PathLike) -> FaceVid2Vid:
    """The reenactment network of a published file (00000189-checkpoint.pth.tar), in evaluation mode.

    Raises as `read` does, and ValueError for a file without it, or with one of another build, such as that without
    spatially adaptive normalisation.
    """
    networks = read(path)
    if "facevid2vid" not in networks:
        raise ValueError(f"{path} holds no FaceVid2Vid, only {', '.join(networks)}: choose another file")
    tensors = networks["facevid2vid"]
    try:
        with torch.device("meta"):
            network = FaceVid2Vid(len(tensors["generator.first.conv.bias"]))
        network.load_state_dict(tensors, assign=True)
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds a FaceVid2Vid of another build: only that with 15 keypoints and a SPADE generator is known"
        ) from error
    return network.requires_grad_(False).eval()


# ---------------------------------------------------------------------------------------------- pickles


class _Refused(Exception):
    pass


class _Reader(pickle.Unpickler):
    """An unpickler that knows data only."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        # Made anew for each file, so that nothing that a pickle does to them outlives it.
        network = type("Network", (dict,), {"__setstate__": dict.update})
        arrays = {f"numpy.{core}.multiarray": np.empty(0).__reduce__()[0] for core in ("core", "_core")}
        self.known: dict[str, Callable] = {
            "collections.OrderedDict": OrderedDict,
            "dnnlib.util.EasyDict": type("EasyDict", (dict,), {}),
            "dnnlib.tflib.network.Network": network,
            "torch_utils.persistence._reconstruct_persistent_obj": lambda meta: network(meta["state"]),
            "torch._utils._rebuild_tensor_v2": lambda *given: torch._utils._rebuild_tensor_v2(*given),
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch.storage._load_from_bytes": _storage,
            "numpy.dtype": np.dtype,
            "numpy.ndarray": np.ndarray,
            "_codecs.encode": lambda text, _: text.encode("latin1"),
            **{f"{module}.scalar": _scalar for module in arrays},
            **{f"{module}._reconstruct": lambda *given, make=make: make(*given) for module, make in arrays.items()},
        }

    def find_class(self, module: str, name: str) -> Callable:
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def _storage(data: bytes) -> Any:
    """The numbers of a tensor, which torch has saved within the pickle in its own format."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _Refused(asked_for(error)) from None


def _scalar(kind: np.dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, kind)[0]


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _Reader(file).load()
    except _Refused as error:
        raise ValueError(
            f"{path} asks for {error}, which weights don't need: nothing in it was executed; get the file from its "
            "authors' page"
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{path} is damaged or no pickle ({type(error).__name__}): copy it anew") from error


def _nvidia(found: Any) -> dict[str, Tensors]:
    """Networks of either of NVIDIA's codes: TensorFlow's are a tuple."""
    if isinstance(found, tuple):
        names = dict(zip(("G", "D", "G_ema"), found, strict=True))
        return {name: _from_tensorflow(_variables(network), name == "D") for name, network in names.items()}
    return {name: _floats(_state(found[name])) for name in ("G", "D", "G_ema") if found.get(name) is not None}


def _state(module: Mapping[str, Any], prefix: str = "") -> Tensors:
    """The state dict of a module of which only its attributes are known."""
    own = {**module["_parameters"], **module["_buffers"]}
    tensors = {prefix + name: value for name, value in own.items() if isinstance(value, torch.Tensor)}
    for name, inner in module["_modules"].items():
        tensors |= _state(inner, f"{prefix}{name}.")
    return tensors


def _floats(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Without the filters, which never change."""
    kept = {name: value for name, value in tensors.items() if not name.endswith("resample_filter")}
    return {name: value.detach().float().clone() for name, value in kept.items()}


# ---------------------------------------------------------------------------------------------- TensorFlow's names


def _variables(network: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    found = {prefix + name: np.asarray(value) for name, value in network["variables"]}
    for name, part in network["components"].items():
        found |= _variables(part, f"{prefix}{name}/")
    return found


_MODULES = {"4x4/Conv": "b4.conv", "4x4/Dense0": "b4.fc", "Output": "b4.out"}
_PIECES = {"mod_weight": "affine.weight", "mod_bias": "affine.bias"}


def _from_tensorflow(variables: Mapping[str, np.ndarray], critic: bool) -> Tensors:
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


# ---------------------------------------------------------------------------------------------- rosinality's names


def _torch_file(found: Any) -> dict[str, Tensors]:
    """Networks of a file of rosinality's kind, of pSp's, of e4e's, of E4S's or of FaceVid2Vid's."""
    pieces = ("generator", "kp_detector", "he_estimator")
    if all(piece in found for piece in pieces):
        return {"facevid2vid": {f"{piece}.{name}": value for piece in pieces for name, value in found[piece].items()}}
    if "g_ema" in found:
        networks = {"G_ema": from_rosinality(found["g_ema"], found.get("latent_avg"))}
        networks |= {"G": from_rosinality(found["g"], found.get("latent_avg"))} if "g" in found else {}
        return networks | ({"D": from_rosinality(found["d"])} if "d" in found else {})
    state, mean = found.get("state_dict", {}), found.get("latent_avg")
    if any("MLPs." in name for name in state):
        return _e4s(state, mean, found.get("D_state_dict"))
    parts = {kind: _within(state, f"{kind}.") for kind in ("encoder", "decoder")}
    if not all(parts.values()):
        return {}
    # Both kinds have the same tensors: which one it is, only the options tell.
    kinds = {encoder.__name__: kind for kind, encoder in ENCODERS.items()}
    kind = kinds.get(found.get("opts", {}).get("encoder_type"), "encoder")
    # Their mean is one for each layer, all alike.
    alike = mean if mean is None or mean.ndim == 1 else mean[0]
    encoder = parts["encoder"] if mean is None else parts["encoder"] | {"latent_avg": mean}
    encoder = {name: value.float() if value.is_floating_point() else value for name, value in encoder.items()}
    return {kind: encoder, "G_ema": from_rosinality(parts["decoder"], alike)}


def _e4s(state: Mapping[str, torch.Tensor], mean: torch.Tensor, critic: Mapping | None) -> dict[str, Tensors]:
    """The mean code is one for each layer; its first one stands for the mapping's."""
    state = {name.removeprefix("module."): value.float() for name, value in state.items()}
    own = {name: value for name, value in state.items() if name.startswith("encoder.")}
    own |= {name.replace("MLPs", "mlps"): value for name, value in state.items() if name.startswith("MLPs.")}
    networks = {"e4s": own | {"mean": mean.float()}, "G": from_rosinality(_within(state, "G."), mean[0])}
    return networks | ({"D": from_rosinality(critic)} if critic else {})


def _within(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


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
    return _floats(found)


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

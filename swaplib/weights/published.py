"""Published checkpoints of StyleGAN2, StyleNeRF, models built on them, and FaceVid2Vid; nothing in them is executed.

    read("ffhq.pkl")              NVIDIA's PyTorch pickles (stylegan2-ada-pytorch)   G, D, G_ema
    read("…config-f.pkl")         NVIDIA's TensorFlow pickles                        G, D, G_ema
    read("ffhq_256.pkl")          StyleNeRF's pickles                                G, D, G_ema
    read("550000.pt")             rosinality's files                                 G_ema; G and D if present
    read("e4e_ffhq_encode.pt")    pSp's and e4e's files                              psp or e4e, G_ema
    read("….pth.tar")             FaceVid2Vid's file that E4S uses                   facevid2vid
    read("iteration_300000.pt")   E4S's file                                         e4s, G; D if present
    read("….safetensors")         a generator's tensors by their official names

All give tensors by network and by the names of the official PyTorch code, which our networks use too. `load_official`
builds the networks whose size can be read from the file; models of a fixed size are filled by their method of the
same name (`swaplib.weights.filling`). `OFFICIAL` lists all files that load.

NVIDIA's pickles carry the source text of their classes, which their own loader executes; here it is never looked at
(`swaplib.weights.unpickling`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swaplib.foreign import check_file
from swaplib.networks import psp, stylenerf
from swaplib.networks.facevid2vid import FaceVid2Vid
from swaplib.networks.stylegan2 import Generator
from swaplib.weights.catalogue import OFFICIAL, OfficialFile, official_markdown, official_text
from swaplib.weights.files import Tensors, check_finite, read_content, read_head, read_safetensors
from swaplib.weights.published_names import from_rosinality
from swaplib.weights.unpickling import nvidia_networks, unpickle

__all__ = [
    "ENCODERS", "OFFICIAL", "Networks", "OfficialFile", "build", "load_official", "official_markdown",
    "official_text", "read",
]  # fmt: skip


def read(path: str | os.PathLike) -> dict[str, Tensors]:
    """Read each network's tensors by their official names, float32: network -> tensors.

    Raises FileNotFoundError, and ValueError for a file that asks for more than data, is damaged or holds something
    else.
    """
    networks = find_networks(path)
    if not networks:
        raise ValueError(
            f"{path} holds no network that is known here: choose a file of StyleGAN2, StyleNeRF, pSp, e4e, E4S or "
            "FaceVid2Vid"
        )
    return networks


def find_networks(path: str | os.PathLike) -> dict[str, Tensors]:
    """Read as `read` does; return nothing for a file that holds none of these networks."""
    path = check_file(path, "weights")
    if path.suffix == ".safetensors":
        return _without_other_builds(_read_safetensors(path), path)
    found = unpickle(path) if path.suffix == ".pkl" else _unwrapped(read_content(path))
    try:
        networks = nvidia_networks(found) if path.suffix == ".pkl" else _torch_file(found)
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} isn't laid out as a published checkpoint is ({error!r}): choose another") from error
    check_finite((tensor for tensors in networks.values() for tensor in tensors.values()), path)
    return _without_other_builds(networks, path)


def _read_safetensors(path: Path) -> dict[str, Tensors]:
    _, shapes = read_head(path)
    alone = any(key.startswith("synthesis.") for key in shapes)  # a generator's tensors by their official names
    keys = [key for key in shapes if alone or key.startswith(("G_ema.", "G.", "D."))]
    if not keys:
        raise ValueError(f"{path} holds no network by its official names: choose another file")
    networks: dict[str, Tensors] = {}
    for key, value in read_safetensors(path, keys).items():
        network, _, name = ("G_ema", "", key) if alone else key.partition(".")
        networks.setdefault(network, {})[name] = value.float() if value.is_floating_point() else value
    return networks


def _unwrapped(found: Any) -> Any:
    """Return a torch file's content without the prefix that `DataParallel` puts before all names."""
    if not isinstance(found, Mapping):
        return found
    if found and all(isinstance(name, str) and name.startswith("module.") for name in found):
        return {name.removeprefix("module."): value for name, value in found.items()}
    return {name: _unwrapped(value) if isinstance(value, Mapping) else value for name, value in found.items()}


def _without_other_builds(networks: dict[str, Tensors], path: Path) -> dict[str, Tensors]:
    """Return networks of known builds. Raises ValueError for the cousins of StyleGAN2 that are not."""
    for tensors in (networks[name] for name in ("G_ema", "G") if name in networks):
        if "mapping.embed.weight" in tensors:
            raise ValueError(f"{path} is a generator of labelled classes: only StyleGAN2 without labels is known")
        if any(re.match(r"synthesis\.(L\d+_|input\.)", name) for name in tensors):
            raise ValueError(f"{path} is a StyleGAN3: only StyleGAN2 is known, so choose one of its files")
        shown = [len(value) for name, value in tensors.items() if name.endswith("torgb.weight")]
        if shown and set(shown) != {3}:
            raise ValueError(f"{path} makes pictures of {shown[0]} channels: only generators of colours are known")
    return networks


class Networks(dict[str, nn.Module]):
    """What `load_official` returns: a dict that explains a missing name in one sentence."""

    def __init__(self, networks: Mapping[str, nn.Module], path: str | os.PathLike):
        super().__init__(networks)
        self.path = path

    def __missing__(self, name: str) -> nn.Module:
        raise ValueError(f"{self.path} holds no {name}, only {', '.join(self)}: choose another file")


def load_official(path: str | os.PathLike) -> Networks:
    """Build the networks of a published file whose size can be read from it, frozen and in evaluation mode.

        networks = load_official("e4e_ffhq_encode.pt")
        pictures = networks["G_ema"].synthesis(networks["e4e"](images))

    G_ema        the generator with averaged weights, StyleGAN2's or StyleNeRF's
    e4e, psp     the encoder for it: pictures (B, 3, H, W) in [-1, 1], aligned "ffhq", which it resizes to 256 px, to
                 codes (B, layers, w), the file's mean code included
    facevid2vid  the reenactment network

    Raises as `read` does, and ValueError for networks of another build, and for a file that fills a family instead.
    """
    return build_networks(read(path), path)


def build_networks(found: Mapping[str, Tensors], path: str | os.PathLike) -> Networks:
    """Build the networks of what `read` returned; the path appears in error messages.

    Raises as `load_official` does.
    """
    if "e4s" in found:
        raise ValueError(f"{path} fills a family: call families.build('e4s', 'paper').load_official with it")
    networks: dict[str, nn.Module] = {}
    if "G_ema" in found:
        networks["G_ema"] = build(found["G_ema"], path)
    for name, kind in ENCODERS.items():
        if name in found:
            networks[name] = _encoder(kind, found[name], path)
            if "G_ema" in networks:
                _check_codec(networks[name], networks["G_ema"], path)
    if "facevid2vid" in found:
        networks["facevid2vid"] = _facevid2vid(found["facevid2vid"], path)
    if not networks:
        raise ValueError(f"{path} holds only {', '.join(found)}, of which nothing is built here: choose another file")
    return Networks(networks, path)


def build(tensors: Tensors, path: str | os.PathLike) -> Generator:
    """Build a generator of the size that its tensors have; the path appears in error messages.

    Raises ValueError for one of another build.
    """
    if "synthesis.fg_nerf.fc_in.weight" in tensors:
        return _stylenerf(tensors, path)
    try:
        sizes = read_sizes(tensors)
        network = Generator(sizes["size"], sizes["base"], sizes["most"], sizes["z"], sizes["w"], sizes["depth"])
        network.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} holds a generator of another build: only StyleGAN2's skip layout is known") from error
    return network.requires_grad_(False).eval()


def read_sizes(tensors: Tensors) -> dict[str, int]:
    """Return size, base, most, z, w and depth of StyleGAN2's generator, as its constructor and config call them.

    Raises KeyError or ValueError for tensors of something else.
    """
    widths = _read_widths(tensors)
    depth = sum(bool(re.fullmatch(r"mapping\.fc\d+\.bias", name)) for name in tensors)
    size = max(widths)
    w, z = tensors["mapping.fc0.weight"].shape
    return {"size": size, "base": size * widths[size], "most": widths[4], "z": z, "w": w, "depth": depth}


def _read_widths(tensors: Tensors) -> dict[int, int]:
    """Return the channels of a generator's blocks by their pictures' size, which doubles from block to block."""
    named = re.compile(r"synthesis\.b(\d{1,4})\.conv1\.bias")
    widths = {int(found[1]): len(value) for name, value in tensors.items() if (found := named.fullmatch(name))}
    if sorted(widths) != [min(widths) << k for k in range(len(widths))]:
        raise ValueError(f"blocks of {sorted(widths)} pixels")
    return widths


def _stylenerf(tensors: Tensors, path: str | os.PathLike) -> stylenerf.Generator:
    """Build StyleNeRF's generator of the size that its tensors have."""
    try:
        network = stylenerf.Generator(read_build(tensors))
        network.load_state_dict(tensors)
    except (LookupError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds a StyleNeRF of another build: only that of stylenerf_ffhq, at any size, is known"
        ) from error
    return network.requires_grad_(False).eval()


def read_build(tensors: Tensors) -> stylenerf.Build:
    """Return the sizes of StyleNeRF's generator. Raises LookupError or ValueError for tensors of something else."""
    front, back = (_within(tensors, f"synthesis.{field}_nerf.") for field in ("fg", "bg"))
    widths = _read_widths(tensors)
    depth = sum(bool(re.fullmatch(r"mapping\.fc\d+\.bias", name)) for name in tensors)
    size, first = max(widths), min(widths)
    w, z = tensors["mapping.fc0.weight"].shape
    octaves = front["fc_in.weight"].shape[1] // 6
    return stylenerf.Build(
        size, size * widths[size], widths[first], z, w, depth, first // 2, len(front["feat_out.bias"]),
        len(front["fc_in.bias"]), _count_blocks(front), len(back["fc_in.bias"]), _count_blocks(back),
        back["fc_in.weight"].shape[1] - 8 * octaves, octaves=octaves,
    )  # fmt: skip


def _count_blocks(field: Tensors) -> int:
    return 1 + len({name.split(".")[1] for name in field if name.startswith("blocks.")})


ENCODERS: dict[str, type[psp.Encoder]] = {"psp": psp.GradualStyleEncoder, "e4e": psp.Encoder4Editing}
"""Network, as `read` calls it -> class, as the files call it."""


def _check_codec(encoder: psp.Encoder, generator: Generator, path: str | os.PathLike) -> None:
    if encoder.latent_avg.shape != (generator.layers, generator.mapping.w_avg.shape[0]):
        raise ValueError(
            f"{path} holds an encoder to {tuple(encoder.latent_avg.shape)} and a generator of {generator.layers} "
            "layers: choose another file"
        )


def _encoder(kind: type[psp.Encoder], tensors: Tensors, path: str | os.PathLike) -> psp.Encoder:
    """Build an encoder of the size that its tensors have, which become its own."""
    mean = tensors.get("latent_avg")
    tensors = {name: value for name, value in tensors.items() if name != "latent_avg"}
    layers = len({name.split(".")[1] for name in tensors if name.startswith("styles.")})
    try:
        width, w = len(tensors["input_layer.0.weight"]), len(tensors["styles.0.linear.bias"])
        with torch.device("meta"):  # so that 267 million numbers are not drawn for nothing
            network = kind(2 << layers // 2, width, w)
        network.load_state_dict(tensors, assign=True)
        network.latent_avg = torch.zeros(layers, w) if mean is None else mean.expand(layers, w).clone()
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds an encoder of another build: only pSp's and e4e's on IR-SE50, for pictures in three "
            "colours, are known"
        ) from error
    return network.requires_grad_(False).eval()


def _facevid2vid(tensors: Tensors, path: str | os.PathLike) -> FaceVid2Vid:
    """Build the network of the width that its tensors have, refusing one without spatially adaptive normalisation."""
    try:
        with torch.device("meta"):
            network = FaceVid2Vid(len(tensors["generator.first.conv.bias"]))
        network.load_state_dict(tensors, assign=True)
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds a FaceVid2Vid of another build: only that with 15 keypoints and a SPADE generator is known"
        ) from error
    return network.requires_grad_(False).eval()


# ---------------------------------------------------------------------------------------------- rosinality's names


def _torch_file(found: Any) -> dict[str, Tensors]:
    """Return the networks of a file by rosinality, pSp, e4e, E4S or FaceVid2Vid."""
    pieces = ("generator", "kp_detector", "he_estimator")
    if all(found.get(piece) for piece in pieces):
        return {"facevid2vid": {f"{piece}.{name}": value for piece in pieces for name, value in found[piece].items()}}
    if any(str(name).startswith("to_rgbs.") for name in found):  # a generator's state dict alone
        return {"G_ema": from_rosinality(found)}
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
    # Both kinds have the same tensors; only the options tell them apart.
    kinds = {encoder.__name__: kind for kind, encoder in ENCODERS.items()}
    kind = kinds.get(found.get("opts", {}).get("encoder_type"), "encoder")
    # Their mean has one row per layer, all equal.
    alike = mean if mean is None or mean.ndim == 1 else mean[0]
    encoder = parts["encoder"] if mean is None else parts["encoder"] | {"latent_avg": mean}
    encoder = {name: value.float() if value.is_floating_point() else value for name, value in encoder.items()}
    return {kind: encoder, "G_ema": from_rosinality(parts["decoder"], alike)}


def _e4s(state: Mapping[str, torch.Tensor], mean: torch.Tensor, discriminator: Mapping | None) -> dict[str, Tensors]:
    """Split E4S's file into its own networks, its generator and, where present, its discriminator.

    The mean code has one row per layer; the first one stands for the mapping's.
    """
    state = {name.removeprefix("module."): value.float() for name, value in state.items()}
    own = {name: value for name, value in state.items() if name.startswith("encoder.")}
    own |= {name.replace("MLPs", "mlps"): value for name, value in state.items() if name.startswith("MLPs.")}
    networks = {"e4s": own | {"mean": mean.float()}, "G": from_rosinality(_within(state, "G."), mean[0])}
    return networks | ({"D": from_rosinality(discriminator)} if discriminator else {})


def _within(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
